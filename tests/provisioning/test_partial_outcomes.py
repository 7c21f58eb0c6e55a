"""A success that did less than was asked for says so: `partial` in the activity, a warning in the connection test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from gateway import GroupGrant, hookimpl
from gateway.provisioning import diagnostics
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import PATCH

pytestmark = pytest.mark.slow

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
URN = "urn:calendly:scim:schemas:2.0:User"
NOTHING = "there is nothing to warn of"


@pytest.fixture
def okta(deployment: Deployment) -> Scim:
    """A connection with Map to groups: `Sales EMEA` and `Straße` lead to groups."""
    okta = deployment.connection("okta")
    save(okta, {"Sales EMEA": "Sales", "Straße": "Streets"})
    return okta


def save(okta: Scim, rules: dict[str, str]) -> None:
    path = f"/connections/{okta.uid}/group-mapping"
    listed = [{"value": value, "group": group} for value, group in rules.items()]
    plan = {"enabled": True, "attribute": f"{URN}:group", "rules": listed, "apply_to_existing": True}
    assert okta.deployment.admin("POST", f"{path}/preview", plan).status == 200
    etag = okta.deployment.last_headers["ETag"]
    assert okta.deployment.admin("PUT", path, plan, If_Match=etag).status == 200


def body(value: Any, name: str = "user1@acme.test", **more: Any) -> dict[str, Any]:
    return {"schemas": [USER, URN], "userName": name, URN: {"group": value}} | more


def create(okta: Scim, value: Any, name: str = "user1@acme.test") -> str:
    answer = okta.call("POST", "/Users", body(value, name))
    assert answer.status == 201, answer.text
    return str(answer.json["id"])


def newest(okta: Scim) -> tuple[str, str]:
    line = okta.deployment.admin("GET", f"/organizations/{okta.organization.uid}/activity?limit=1").json[
        "items"
    ][0]
    return line["outcome"], line["detail"] or ""


def check(okta: Scim, name: str) -> str:
    answer = okta.deployment.admin("POST", f"/connections/{okta.uid}/test").json
    assert answer["ok"] is True
    assert answer["checks"][-1]["name"] == "last_failure"
    return next((str(each["message"]) for each in answer["checks"] if each["name"] == name), NOTHING)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (
            "sales emea",
            'by letter case or Unicode normalization alone lead to no group: "sales emea" for "Sales EMEA". Mend',
        ),
        (
            "STRAßE",
            'by letter case or Unicode normalization alone lead to no group: "STRAßE" for "Straße". Mend',
        ),
        ("Legal", 'in no rule of Map to groups lead to no group: "Legal". Add'),
        (["Sales EMEA", "Legal", "Ops"], 'lead to no group: "Legal", "Ops". Add'),
        ("x" * 5000, f'"{"x" * 50}'),
    ],
)
def test_a_value_without_a_rule_makes_a_create_partial(okta: Scim, value: Any, named: str) -> None:
    create(okta, value)
    outcome, detail = newest(okta)
    assert (outcome, named in detail, detail.endswith(".")) == ("partial", True, True), detail
    assert len(detail) < 2100


def test_an_accent_in_another_normal_form_is_not_told_as_letter_case(okta: Scim) -> None:
    save(okta, {"Caf\u00e9": "Cooks"})
    create(okta, "Cafe\u0301")
    assert "by letter case or Unicode normalization alone lead to no group" in newest(okta)[1]


@pytest.mark.parametrize("value", ["Sales EMEA", ["Sales EMEA", "Straße"], [], None])
def test_a_user_whose_values_have_rules_is_a_success(okta: Scim, value: Any) -> None:
    create(okta, value)
    assert newest(okta) == ("success", "")


def test_a_change_is_partial_by_the_values_that_it_brings(okta: Scim) -> None:
    path = f"/Users/{create(okta, 'Legal')}"
    assert newest(okta)[0] == "partial"
    # Deactivated, or written as it is: this request left nothing out.
    assert okta.patch(path, {"op": "replace", "path": "active", "value": False}).status == 200
    assert newest(okta)[0] == "success"
    assert okta.call("PUT", path, body("Legal", displayName="New")).status == 200
    assert newest(okta)[0] == "success"
    assert okta.patch(path, {"op": "replace", "path": f"{URN}:group", "value": "SALES EMEA"}).status == 200
    assert newest(okta)[0] == "partial"
    assert okta.call("PUT", path, body("Sales EMEA")).status == 200
    assert newest(okta)[0] == "success"


def test_the_rules_as_they_are_now_decide(okta: Scim) -> None:
    create(okta, "Legal")
    assert newest(okta)[0] == "partial"
    save(okta, {"Legal": "Lawyers"})
    create(okta, "Legal", "user2@acme.test")
    assert newest(okta) == ("success", "")
    create(okta, "Sales EMEA", "user3@acme.test")
    assert newest(okta)[0] == "partial"


@contextmanager
def counted(deployment: Deployment) -> Iterator[list[str]]:
    """The statements that the store sends."""
    database, sent = deployment.gateway.store.database, list[str]()
    wrapped = {name: getattr(database, name) for name in ("run", "one", "all")}

    def counting(name: str) -> Any:
        def send(sql: str, *parameters: Any) -> Any:
            sent.append(sql)
            return wrapped[name](sql, *parameters)

        return send

    for name in wrapped:
        setattr(database, name, counting(name))
    yield sent
    for name in wrapped:
        delattr(database, name)


def test_it_costs_no_statement(okta: Scim) -> None:
    create(okta, "Legal", "user0@acme.test")
    create(okta, "Sales EMEA", "user1@acme.test")
    counts = []
    for number, value in enumerate(("Other", "sales emea"), 2):
        with counted(okta.deployment) as sent:
            create(okta, value, f"user{number}@acme.test")
        counts.append([sql for sql in sent if "mapping_rules" in sql])
    # The question of the mapping itself, which was there before.
    assert [len(each) for each in counts] == [1, 1]


class Wishful:
    """A plugin that wants groups, some of which nobody made."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    @hookimpl
    def gateway_resolve_groups(self) -> list[GroupGrant]:
        return [GroupGrant(name) for name in self.names]


def test_a_group_that_a_plugin_wants_and_nobody_made_is_left_out(deployment: Deployment) -> None:
    scim = deployment.connection("generic")
    path = f"/organizations/{scim.organization.uid}/groups"
    assert deployment.admin("POST", path, {"name": "Here"}).status == 201
    deployment.gateway.plugins.add(Wishful(["Here", "Nowhere"]), "wishful")
    scim.user("user1@acme.test")
    outcome, detail = newest(scim)
    assert (outcome, "'Here'" in detail) == ("partial", False)
    assert detail.startswith(
        "The plugin wishful puts the user into the group 'Nowhere', and the application has no group"
    )
    assert "POST /Users for user1@acme.test" in check(scim, "last_partial")
    assert "'Nowhere'" in check(scim, "last_partial")
    assert "A later call" not in check(scim, "last_partial")
    # A pushed group is not the plugin's to fill.
    scim.group("Pushed")
    deployment.gateway.plugins.add(Wishful(["Here"]), "other")
    assert deployment.admin("POST", path, {"name": "Nowhere"}).status == 201
    scim.user("user2@acme.test")
    assert newest(scim) == ("success", "")
    assert check(scim, "last_partial").endswith(" A later call went well.")


class Late:
    """A plugin that wants a group; `meanwhile` happens each time after the answer was asked for."""

    def __init__(self, meanwhile: Iterable[Callable[[], Any]]) -> None:
        self.meanwhile = iter(meanwhile)

    @hookimpl
    def gateway_resolve_groups(self) -> list[GroupGrant]:
        next(self.meanwhile, lambda: None)()
        return [GroupGrant("Late")]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_what_an_attempt_left_out_that_left_nothing_is_not_told(deployment: Deployment, method: str) -> None:
    """The first attempt meets a conflict; before the second one somebody makes the group that was missing."""
    scim = deployment.connection("okta")
    path = f"/organizations/{scim.organization.uid}"
    user = {"schemas": [USER], "userName": "user1@acme.test", "active": True}
    uid = "" if method == "POST" else f"/{scim.user('user1@acme.test')['id']}"
    # The first request to the admin REST makes its application: within a plugin's call that would be a slow plugin.
    assert deployment.admin("GET", path).status == 200
    late = Late(
        [
            lambda: deployment.gateway.store.organizations.edit(scim.organization, {"seat_limit": 50}),
            lambda: deployment.admin("POST", f"{path}/groups", {"name": "Late"}),
        ]
    )
    deployment.gateway.plugins.add(late, "late")
    operations = [{"op": "replace", "value": {"displayName": "User One"}}]
    message = {"schemas": [PATCH], "Operations": operations} if method == "PATCH" else user
    assert scim.call(method, f"/Users{uid}", message).status == (201 if method == "POST" else 200)
    assert next(late.meanwhile, None) is None  # there were two attempts
    deployment.gateway.activity_writer.flush()
    (line,) = [
        line
        for line in deployment.activity(scim.organization)
        if line.operation.startswith(f"{method} /Users")
    ][:1]
    assert (line.outcome, line.detail, line.ignored) == ("success", None, "[]")
    decisions = json.loads(line.decisions)
    assert [decision for number, decision in enumerate(decisions) if decision in decisions[:number]] == []
    assert [each["hook"] for each in decisions].count("resolve_groups") == 1


def test_the_connection_test_counts_values_without_a_rule(
    okta: Scim, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check(okta, "last_partial") == check(okta, "map_to_groups") == NOTHING
    for number, value in enumerate(("Legal", "Legal", "sales emea", "Sales EMEA", None)):
        create(okta, value, f"user{number}@acme.test")
    reported = check(okta, "map_to_groups")
    assert reported.startswith("Of the newest 5 users, 3 users have a value that no rule covers. ")
    assert '"sales emea" for "Sales EMEA" (1 user)' in reported
    assert 'lead to no group: "Legal" (2 users). Add' in reported
    assert "POST /Users for user2@acme.test" in check(okta, "last_partial")
    # The cost does not grow with the users.
    monkeypatch.setattr(diagnostics, "USERS", 2)
    assert check(okta, "map_to_groups") == NOTHING
    save(okta, {"Other": "Others"})
    assert '"Sales EMEA" (1 user)' in check(okta, "map_to_groups")


def test_the_connection_test_names_members_that_are_waited_for(
    okta: Scim, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check(okta, "waiting_members") == NOTHING
    okta.group("Field", ("u1",))
    assert "wait for 1 member whom" in check(okta, "waiting_members")
    assert "u1 of 'Field'" in check(okta, "waiting_members")
    okta.group("Many", tuple(f"m{n}" for n in range(9)))
    assert "wait for 10 members" in check(okta, "waiting_members")
    monkeypatch.setattr(diagnostics, "MEMBERS", 5)
    assert "wait for more than 5 members" in check(okta, "waiting_members")
    assert "Many" not in check(okta.deployment.connection("okta", okta.organization), "waiting_members")


def test_without_its_plugin_a_connection_is_looked_at_all_the_same(
    okta: Scim, deployment: Deployment
) -> None:
    config = deployment.gateway.config
    later = Deployment(config.instance, plugins_disabled=("okta",))
    answer = later.admin("POST", f"/connections/{okta.uid}/test")
    later.close()
    assert (answer.status, answer.json["ok"]) == (200, False)


@pytest.mark.parametrize(
    ("patience", "left_out"),
    [
        (
            None,
            "1 of 3 operations was refused: the lines of this request id say which and why. Mend those and send",
        ),
        (1, "Mend those and send them again. 1 of 3 was not begun. Send them again."),
    ],
)
def test_a_bulk_request_says_what_it_did_not_do(
    deployment: Deployment, patience: int | None, left_out: str
) -> None:
    scim = deployment.connection("generic")
    names = ("user1@acme.test", "user1@acme.test", "user2@acme.test")
    operations = [
        {
            "method": "POST",
            "path": "/Users",
            "bulkId": str(number),
            "data": {"schemas": [USER], "userName": name},
        }
        for number, name in enumerate(names)
    ]
    message = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations}
    message |= {"failOnErrors": patience} if patience else {}
    assert scim.call("POST", "/Bulk", message).status == 200
    (line,) = [line for line in deployment.activity(scim.organization) if line.operation == "POST /Bulk"]
    assert (line.outcome, left_out in line.detail) == ("partial", True), line.detail
    whole = message | {
        "Operations": [operations[2] | {"data": {"schemas": [USER], "userName": "user3@acme.test"}}]
    }
    assert scim.call("POST", "/Bulk", whole).status == 200
    lines = [line for line in deployment.activity(scim.organization) if line.operation == "POST /Bulk"]
    assert [each.outcome for each in lines] == ["success", "partial"]
