"""The simulator against the gateway, and against the gateway broken in ways that were met in the field."""

from __future__ import annotations

import json

import pytest
from gateway_onelogin.simulator import SIMULATOR

from gateway.simulation import Answer, SimulationOptions
from gateway.testing.faults import (
    Broken,
    active_lost,
    emptied,
    failures,
    hidden,
    html,
    ignored,
    no_id,
    silent,
    text_total,
    unfiltered,
)

STYLES = pytest.mark.parametrize("style", SIMULATOR.styles)


def simulate(session, **options):
    return list(SIMULATOR.run(session, SimulationOptions(**({"run": "r1"} | options))))


@STYLES
@pytest.mark.parametrize(
    ("users", "groups", "concurrency"), [(0, 0, 1), (0, 1, 1), (1, 1, 1), (3, 2, 1), (4, 2, 3)]
)
def test_the_gateway_passes_and_the_steps_are_counted_beforehand(
    deployment, style, users, groups, concurrency
):
    options = SimulationOptions(users=users, groups=groups, style=style, concurrency=concurrency)
    steps = list(SIMULATOR.run(deployment.connection("onelogin"), options))
    assert failures(steps) == {}
    assert len(steps) == SIMULATOR.count_steps(options)


@pytest.mark.parametrize(("style", "keep", "active"), [
    ("suspend", False, [False] * 3), ("suspend", True, [True, True, False]),
    ("delete", False, []), ("delete", True, [True, True]),
])  # fmt: skip
def test_what_is_left_behind(deployment, style, keep, active):
    onelogin = deployment.connection("onelogin")
    assert failures(simulate(onelogin, style=style, keep_active=keep)) == {}
    users = deployment.listed(f"/organizations/{onelogin.organization.uid}/users")
    assert sorted((user["active"] for user in users), reverse=True) == active


def test_it_may_be_played_again(deployment):
    onelogin = deployment.connection("onelogin")
    assert failures(simulate(onelogin, run="a")) == failures(simulate(onelogin, run="b")) == {}


def test_a_style_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="not wizard"):
        list(SIMULATOR.run(None, SimulationOptions(style="wizard")))


def test_a_want_of_seats_shows_the_words_of_the_server(deployment):
    onelogin = deployment.connection("onelogin", deployment.organization(seats=2))
    steps = simulate(onelogin, users=2, refused=1)
    assert failures(steps) == {}
    assert any("seat" in step.explanation for step in steps if step.phase == "Over capacity")


def test_a_server_that_reads_the_entries_in_the_value_of_a_remove_serves_onelogin_without_a_plugin(
    deployment,
):
    assert failures(simulate(deployment.connection("generic"))) == {}


# Broken -----------------------------------------------------------------------------------------------------


BROKEN = [
    (ignored, "remove the first by value", "Expected members to be"),
    (ignored, "suspend", "to be no member of Group 1"),
    (emptied, "remove the first by value", "and not []"),
    (hidden, "suspend", "the inactive user to be found still"),
    (unfiltered, "look up", "the filter was not followed"),
    (text_total, "look up nobody", "totalResults to be a number, and not '0'"),
    (active_lost, "suspend", "active to be False, and not True"),
    (no_id, "create", "an id that is text and not empty"),
    (html, "look up nobody", "not JSON: '<html>Bad Gateway</html>'"),
    (silent, "look up nobody", "no answer (connection refused)"),
]


@pytest.mark.parametrize(("spoil", "title", "words"), BROKEN)
def test_a_broken_server_is_found_out(deployment, spoil, title, words):
    onelogin = deployment.connection("onelogin")
    onelogin.user("somebody@acme.test")
    found = failures(simulate(Broken(onelogin, spoil)))
    assert words in found[title]
    assert found[title].startswith("Sent ")


@STYLES
@pytest.mark.parametrize(
    "body", [None, [], "text", 7, {}, {"Resources": [1], "totalResults": 1}, {"id": "x"}]
)
@pytest.mark.parametrize("status", [200, 201, 204, 404])
def test_answers_of_any_shape_are_steps_and_no_crash(style, body, status):
    def odd(call, method, path, body_sent):
        return Answer(status, body, json.dumps(body), 0.0)

    session = type("Session", (), {"call": None})()
    assert any(not step.ok for step in simulate(Broken(session, odd), style=style))


# As OneLogin sends it ---------------------------------------------------------------------------------------


def test_members_and_groups_are_told_as_they_were_recorded(deployment):
    onelogin = deployment.connection("onelogin")
    server = Broken(onelogin, lambda call, method, path, body: call(method, path, body))
    simulate(server, users=1, style="delete")
    sent = [body for method, _, body in server.sent if body]
    changes = [body["Operations"][0] for body in sent if "Operations" in body]
    assert {change["op"] for change in changes} == {"add", "remove"}
    assert all(set(change) == {"op", "path", "value"} for change in changes)
    assert all(len(change["value"]) == 1 for change in changes)
    assert [set(body) for body in sent if "members" in body] == []
    assert not any("externalId" in body for body in sent)
    assert ("GET", "/Groups?count=100&startIndex=1", None) in server.sent
