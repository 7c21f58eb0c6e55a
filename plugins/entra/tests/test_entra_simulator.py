"""The simulator against servers with faults of the field: each is found out in the step that shows it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import ClassVar

import pytest
from gateway_entra.simulator import SIMULATOR, requests

from gateway import ENTERPRISE_URN
from gateway.simulation import Answer, SimulationOptions
from gateway.testing import ScenarioPromises

pytestmark = pytest.mark.slow

NOT_FOUND = Answer(404, {"detail": "There is nobody."}, "", 0.0)


class Faulty:
    """A session whose requests or answers are changed on the way."""

    def __init__(self, session, on_the_way_there=None, on_the_way_back=None):
        self.session, self.sent = session, []
        self.there = on_the_way_there or (lambda method, path, body: body)
        self.back = on_the_way_back or (lambda method, path, answer: answer)

    def call(self, method, path, body=None, **given):
        self.sent.append((method, path, body, given))
        body = self.there(method, path, json.loads(json.dumps(body)))
        return self.back(method, path, self.session.call(method, path, body, **given))


def operations(change):
    """A fault in what a server makes of each operation."""

    def there(method, path, body):
        if method == "PATCH":
            body["Operations"] = [changed for each in body["Operations"] for changed in change(each)]
        return body

    return {"on_the_way_there": there}


def answers(change):
    """A fault in a resource or list that a server shows."""

    def back(method, path, answer):
        shown = json.loads(answer.text) if answer.json else None
        return replace(answer, json=change(method, path, shown)) if isinstance(shown, dict) else answer

    return {"on_the_way_back": back}


def told(change):
    """A fault in the answer as a whole."""
    return {"on_the_way_back": change}


def nobody_is_404(method, path, answer):
    empty = isinstance(answer.json, dict) and answer.json.get("totalResults") == 0
    return NOT_FOUND if empty else answer


def inactive_is_gone(method, path, shown):
    users = shown.get("Resources", [])
    left = [user for user in users if user.get("active") is not False]
    return {**shown, "Resources": left, "totalResults": len(left)} if len(left) < len(users) else shown


def manager_as_text(method, path, shown):
    if manager := shown.get(ENTERPRISE_URN, {}).get("manager"):
        shown[ENTERPRISE_URN]["manager"] = manager["value"]
    return shown


def by_the_rfc(operation):
    """A remove with a value, read as one of all values."""
    if operation["op"].lower() == "remove":
        operation.pop("value", None)
    return [operation]


def without(*paths):
    return lambda each: [] if each.get("path") in paths else [each]


def only_plain_names(operation):
    value = operation.get("value")
    if operation.get("path") is None and isinstance(value, dict):
        operation["value"] = {name: held for name, held in value.items() if "." not in name}
    return [operation]


FAULTS = [
    ("an empty list is 404", "legacy", told(nobody_is_404), "test users", "Expected status 200"),
    ("total as text", "rfc", answers(lambda m, p, s: {**s, "totalResults": str(s.get("totalResults"))}),
     "look up", "the filter was not followed"),
    ("a list of no resources", "rfc", answers(lambda m, p, s: {**s, "Resources": "none"}), "test groups",
     "Resources that have an id"),
    ("inactive is gone", "legacy", answers(inactive_is_gone), "disable", "to be found still"),
    ("manager as text", "legacy", answers(manager_as_text), "set manager", "manager|value to be"),
    ("all members are removed", "legacy", operations(by_the_rfc), "remove member", "to be a member"),
    ("removal is lost", "rfc", operations(lambda each: [] if "members[" in each.get("path", "") else [each]),
     "remove member", "to be no member any more"),
    ("names are no paths", "rfc", operations(only_plain_names), "update", "name|familyName to be"),
    ("elements are not made", "rfc", operations(without('addresses[type eq "work"].locality')), "fill",
     "addresses|locality to be"),
    ("a boolean in text is lost", "legacy", operations(without("active")), "disable",
     "active to be False"),
    ("any token", "legacy", told(lambda m, p, a: replace(a, status=200) if a.status == 401 else a),
     "wrong token", "Expected status 401"),
    ("a twin is made", "rfc", told(lambda m, p, a: replace(a, status=201) if a.status == 409 else a),
     "create again", "Expected status 409"),
    ("members are shown", "legacy", answers(lambda m, p, s: {**s, "members": []} if "/Groups/" in p else s),
     "read without members", "which were excluded"),
    ("a deletion is kept", "rfc", told(lambda m, p, a: replace(a, status=200) if a.status == 404 else a),
     "delete", "Expected status 404"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("style", "fault", "title", "words"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS]
)
def test_a_fault_is_found_out_in_the_step_that_shows_it(deployment, style, fault, title, words):
    server = Faulty(deployment.connection("entra"), **fault)
    failed = {
        step.title.rpartition(": ")[2]: step.explanation
        for step in SIMULATOR.run(server, SimulationOptions(users=3, groups=1, style=style))
        if not step.ok
    }
    assert words in failed[title]
    assert failed[title].startswith("Sent ")


@pytest.mark.parametrize("style", SIMULATOR.styles)
@pytest.mark.parametrize(
    ("users", "groups", "refused", "keep"), [(0, 0, 0, False), (0, 1, 0, False), (1, 1, 1, True), (3, 2, 2, False)]
)  # fmt: skip
def test_a_right_server_passes_and_the_steps_are_counted_beforehand(
    deployment, style, users, groups, refused, keep
):
    entra = deployment.connection("entra", deployment.organization(seats=users))
    options = SimulationOptions(
        users, groups, style, concurrency=2, run="r", refused=refused, keep_active=keep
    )
    steps = list(SIMULATOR.run(entra, options))
    assert [step.explanation for step in steps if not step.ok] == []
    assert len(steps) == SIMULATOR.count_steps(options)
    assert deployment.used(entra.organization) == (users - 1 if keep else 0)


def test_each_style_sends_its_own_dialect_and_no_other(deployment):
    said = {}
    for style in SIMULATOR.styles:
        server = Faulty(deployment.connection("entra"))
        list(SIMULATOR.run(server, SimulationOptions(users=2, style=style)))
        bodies = [body for method, _, body, _ in server.sent if method == "PATCH"]
        said[style] = [operation for body in bodies for operation in body["Operations"]]
        assert all(not given["headers"] for _, _, body, given in server.sent if body is None)
    assert {operation["op"] for operation in said["legacy"]} == {"Add", "Replace", "Remove"}
    assert {operation["op"] for operation in said["rfc"]} == {"add", "replace", "remove"}
    assert all("path" in operation for operation in said["legacy"])
    assert not any(isinstance(operation["value"], bool) for operation in said["legacy"])
    assert not any("value" in operation for operation in said["rfc"] if operation["op"] == "remove")


def test_the_first_style_is_the_default_and_another_is_refused():
    assert SIMULATOR.count_steps(SimulationOptions()) == SIMULATOR.count_steps(
        SimulationOptions(style="legacy")
    )
    with pytest.raises(ValueError, match="not scim"):
        SIMULATOR.count_steps(SimulationOptions(style="scim"))


def test_a_play_may_be_repeated_against_the_same_server(deployment):
    entra = deployment.connection("entra")
    for _ in range(2):
        assert [step.title for step in SIMULATOR.run(entra, SimulationOptions(run="r")) if not step.ok] == []


def test_one_change_has_its_path_in_either_dialect():
    assert requests.change("rfc", {"nickName": "Babs"}, "add")["Operations"] == [
        {"op": "add", "path": "nickName", "value": "Babs"}
    ]
    assert requests.change("legacy", {"active": False})["Operations"] == [
        {"op": "Replace", "path": "active", "value": "False"}
    ]


class TestScenario(ScenarioPromises):
    plugin = "entra"
    left_active: ClassVar = {("legacy", False): [False] * 2, ("rfc", True): [True, True]}
