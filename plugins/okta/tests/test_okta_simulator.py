"""The simulator against a server that is not ours: when right it passes, when broken it is found out."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import ClassVar

import pytest
from gateway_okta.simulator import SIMULATOR, requests

from gateway.simulation import SimulationOptions
from gateway.simulation.scenario import run_concurrently
from gateway.testing import ScenarioPromises

pytestmark = pytest.mark.slow

# Tests are imported by path (importmode=importlib), so a neighbour is too.
_spec = importlib.util.spec_from_file_location(
    "okta_other_server", Path(__file__).with_name("other_server.py")
)
other_server = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(other_server)
OtherServer = other_server.OtherServer

STYLES = pytest.mark.parametrize("style", SIMULATOR.styles)


def simulate(server, **options):
    return list(SIMULATOR.run(server, SimulationOptions(**options)))


def failures(steps):
    """The first failure of each scene: its title without the actor, and its explanation."""
    failed = [step for step in reversed(steps) if not step.ok]
    return {re.sub(r"^.*: ", "", step.title): step.explanation for step in failed}


@STYLES
@pytest.mark.parametrize(("users", "groups"), [(0, 0), (0, 1), (1, 1), (2, 1), (3, 2), (120, 1)])
def test_a_right_server_passes_and_the_steps_are_counted_beforehand(style, users, groups):
    options = SimulationOptions(users=users, groups=groups, style=style, run="r1")
    steps = list(SIMULATOR.run(OtherServer(), options))
    assert failures(steps) == {}
    assert len(steps) == SIMULATOR.count_steps(options)


@STYLES
def test_conversations_may_be_held_at_the_same_time(style):
    options = SimulationOptions(users=12, groups=3, style=style, concurrency=8, refused=2)
    steps = list(SIMULATOR.run(OtherServer(seats=12), options))
    assert failures(steps) == {}
    assert len(steps) == SIMULATOR.count_steps(options)


def test_the_first_style_is_the_default_and_another_is_refused():
    assert [step.title for step in simulate(OtherServer())] == [
        step.title for step in simulate(OtherServer(), style="oin")
    ]
    with pytest.raises(ValueError, match="not wizard"):
        simulate(OtherServer(), style="wizard")


BROKEN = [
    # fault, style, the step that shows it, words of its explanation
    ("total as text", "oin", "list two users", "totalResults to be a number, and not '0'"),
    ("any token", "oin", "refuse a wrong token", "Came 200. Expected status 401."),
    ("html errors", "oin", "answer for an unknown id", "not JSON: '<html>Internal Server Error</html>'"),
    ("empty create", "oin", "assign", "an id that is text and not empty"),
    ("ignores filters", "oin", "look up by user name", "the filter was not followed"),
    ("letter case", "oin", "look up in capitals", "letter case does not tell user names apart"),
    ("200 for a duplicate", "oin", "create once more", "Came 200. Expected status 409."),
    (
        "refuses empty values",
        "oin",
        "push empty values",
        'with the detail "A telephone number needs a value."',
    ),
    ("profile is lost", "oin", "update the profile", "name.familyName to be 'NewFamily1', and not 'Family1'"),
    ("refuses the id", "oin", "repeat the name", 'Came 400 with the detail "id is read-only."'),
    ("filtered remove is ignored", "oin", "remove and add members in one message", "was not removed"),
    ("deactivation is lost", "oin", "read the inactive user", "active to be False, and not True"),
    ("deactivation is lost", "aiw", "deactivate", "active to be False, and not True"),
    (
        "inactive is gone",
        "oin",
        "read the inactive user",
        'Came 404 with the detail "There is no such user."',
    ),
    ("unstable order", "oin", "import users", "the order must be the same on every page"),
]


@pytest.mark.parametrize(("fault", "style", "title", "words"), BROKEN)
def test_a_broken_server_is_found_out(fault, style, title, words):
    users = 120 if fault == "unstable order" else 3
    found = failures(simulate(OtherServer(fault), users=users, style=style))
    assert words in found[title]
    assert found[title].startswith("Sent ")


def test_a_server_that_forgets_an_added_member_is_found_out():
    server = OtherServer()
    apply = server._apply
    server._apply = lambda document, operation: operation["op"] == "add" or apply(document, operation)
    assert "was not added" in failures(simulate(server))["add members"]


COUNTED_WRONG = [
    (lambda total, page: (total + 1, page), "no empty page after 3"),
    (lambda total, page: (total, [*page, {"id": "stranger"}]), "no more than 3"),
    (lambda total, page: (total, [*page[:2], {"id": "stranger"}]), "user3@acme.test to be among them"),
    (lambda total, page: (10**9, page), "the order must be the same on every page"),
]


@pytest.mark.parametrize(("change", "words"), COUNTED_WRONG)
def test_an_import_that_does_not_add_up_is_found_out(change, words):
    server = OtherServer(*["unstable order"] if "order" in words else [])
    right = server._list

    def wrong(kind, query):
        status, answer = right(kind, query)
        if kind == "Users" and query["count"] == ["100"] and "filter" not in query:
            answer["totalResults"], answer["Resources"] = change(answer["totalResults"], answer["Resources"])
        return status, answer

    server._list = wrong
    assert words in failures(simulate(server))["import users"]


def test_no_answer_at_all_is_a_failed_step():
    class Silent:
        def call(self, *args, **kwargs):
            return other_server.Answer(0, None, "connection refused", 0.0)

    explanations = failures(simulate(Silent())).values()
    assert explanations
    assert all("no answer (connection refused)" in each for each in explanations)


class TestScenario(ScenarioPromises):
    plugin = "okta"
    left_active: ClassVar = {
        (style, keep): active
        for style in SIMULATOR.styles
        for keep, active in ((False, [False] * 3), (True, [True, True, False]))
    }


# Over capacity ----------------------------------------------------------------------------------------------


def test_an_assignment_that_must_be_refused_shows_the_words_of_the_server():
    steps = simulate(OtherServer(seats=2), users=2, refused=1)
    refused = [step for step in steps if step.phase == "Over capacity"]
    assert failures(steps) == {}
    assert '"No seat is left here."' in refused[0].explanation


def test_a_server_that_gives_a_seat_it_does_not_have_is_found_out():
    steps = simulate(OtherServer(), users=2, refused=1)
    assert "Came 201. Expected status 403." in failures(steps)["be refused for want of a seat"]


def test_a_seat_missing_in_a_usual_assignment_ends_that_conversation_alone():
    steps = simulate(OtherServer(seats=2), users=3)
    failed = [step for step in steps if not step.ok]
    assert [step.title for step in failed] == ["user3@acme.test: assign"]
    assert "No seat is left here." in failed[0].explanation


# What is left behind ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("keep", "active"), [(False, [False] * 3), (True, [True, True, False])])
def test_users_are_deactivated_in_the_end_and_never_deleted(keep, active):
    server = OtherServer()
    simulate(server, users=3, keep_active=keep)
    assert [user["active"] for user in server.kept["Users"].values()] == active
    assert not [path for method, path, *_ in server.calls if method == "DELETE" and "/Users" in path]


def test_names_carry_the_run_so_that_it_may_be_played_again():
    server = OtherServer()
    for run in ("a", "b"):
        assert failures(simulate(server, run=run, domain="corp.local")) == {}
    names = [user["userName"] for user in server.kept["Users"].values()]
    assert names[0] == "user1.a@corp.local"
    assert len(set(names)) == 6


def test_a_user_who_was_there_before_is_linked():
    server = OtherServer()
    server.call("POST", "/Users", {"userName": "USER1@acme.test", "active": True})
    steps = simulate(server)
    assert failures(steps) == {}
    assert "Linked to the user with the id users-1." in steps[4].explanation


# As Okta sends it -------------------------------------------------------------------------------------------


def test_headers_are_those_of_okta():
    server = OtherServer()
    simulate(server)
    for _, _, body, headers in server.calls:
        assert headers == dict(requests.HEADERS if body is None else requests.HEADERS_WITH_BODY)


def test_filters_are_percent_encoded():
    assert requests.user_named("a b@acme.test") == (
        "/Users?filter=userName%20eq%20%22a%20b%40acme.test%22&startIndex=1&count=100"
    )


def test_a_put_returns_what_the_server_had_sent():
    fetched = {"id": "1", "meta": {}, "name": {"formatted": "Old Name", "givenName": "Old"}, "nickName": "O"}
    body = requests.overlay(fetched, requests.profile("new@acme.test", "New", "Name", "00u1"))
    assert body["id"] == "1"
    assert body["nickName"] == "O"
    assert body["name"] == {"formatted": "Old Name", "givenName": "New", "familyName": "Name"}


def test_only_apps_made_with_the_wizard_put_groups_and_never_patch():
    server = OtherServer()
    simulate(server, style="aiw")
    methods = {method for method, *_ in server.calls}
    assert "PATCH" not in methods
    assert ("PUT", "/Groups/groups-1") in {(method, path) for method, path, *_ in server.calls}


def test_a_crash_of_a_conversation_is_not_swallowed_by_the_pool():
    def crash():
        yield from ()
        raise RuntimeError("the session broke")

    with pytest.raises(RuntimeError, match="the session broke"):
        list(run_concurrently([crash(), crash()], workers=2))
