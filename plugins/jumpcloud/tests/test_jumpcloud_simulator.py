"""The simulator against the gateway, and against the gateway broken in ways that were met in the field."""

from __future__ import annotations

import json

import pytest
from gateway_jumpcloud.simulator import SIMULATOR

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
    undeleted,
    unfiltered,
)


def simulate(session, **options):
    return list(SIMULATOR.run(session, SimulationOptions(**({"run": "r1"} | options))))


@pytest.mark.parametrize(
    ("users", "groups", "concurrency"), [(0, 0, 1), (0, 1, 1), (1, 1, 1), (3, 2, 1), (4, 2, 3)]
)
def test_the_gateway_passes_and_the_steps_are_counted_beforehand(deployment, users, groups, concurrency):
    options = SimulationOptions(users=users, groups=groups, concurrency=concurrency)
    steps = list(SIMULATOR.run(deployment.connection("jumpcloud"), options))
    assert failures(steps) == {}
    assert len(steps) == SIMULATOR.count_steps(options)


@pytest.mark.parametrize(("keep", "active"), [(False, [False] * 3), (True, [True, True, False])])
def test_what_is_left_behind(deployment, keep, active):
    """The users that were assigned, and not the test user."""
    jumpcloud = deployment.connection("jumpcloud")
    assert failures(simulate(jumpcloud, keep_active=keep)) == {}
    users = deployment.listed(f"/organizations/{jumpcloud.organization.uid}/users")
    assert sorted((user["active"] for user in users), reverse=True) == active


def test_it_may_be_played_again(deployment):
    jumpcloud = deployment.connection("jumpcloud")
    assert failures(simulate(jumpcloud, run="a")) == failures(simulate(jumpcloud, run="b")) == {}


def test_a_style_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="not wizard"):
        list(SIMULATOR.run(None, SimulationOptions(style="wizard")))


def test_a_want_of_seats_shows_the_words_of_the_server(deployment):
    jumpcloud = deployment.connection("jumpcloud", deployment.organization(seats=2))
    steps = simulate(jumpcloud, users=2, refused=1)
    assert failures(steps) == {}
    assert any("seat" in step.explanation for step in steps if step.phase == "Over capacity")


def test_a_server_that_reads_the_entries_in_the_value_of_a_remove_serves_jumpcloud_without_a_plugin(
    deployment,
):
    assert failures(simulate(deployment.connection("generic"))) == {}


# Broken -----------------------------------------------------------------------------------------------------


BROKEN = [
    (ignored, "remove the first by value", "Expected members to be"),
    (emptied, "remove the first by value", "and not []"),
    (hidden, "deactivate", "the inactive user to be found still"),
    (unfiltered, "look up", "the filter was not followed"),
    (text_total, "look up", "totalResults to be a number, and not '0'"),
    (active_lost, "deactivate", "active to be False, and not True"),
    (no_id, "create", "an id that is text and not empty"),
    (undeleted, "activate", "Came 200. Expected status 404."),
    (html, "activate", "not JSON: '<html>Bad Gateway</html>'"),
    (silent, "activate", "no answer (connection refused)"),
]


@pytest.mark.parametrize(("spoil", "title", "words"), BROKEN)
def test_a_broken_server_is_found_out(deployment, spoil, title, words):
    jumpcloud = deployment.connection("jumpcloud")
    jumpcloud.user("somebody@acme.test")
    found = failures(simulate(Broken(jumpcloud, spoil)))
    assert words in found[title]
    assert found[title].startswith("Sent ")


@pytest.mark.parametrize(
    "body", [None, [], "text", 7, {}, {"Resources": [1], "totalResults": 1}, {"id": "x"}]
)
@pytest.mark.parametrize("status", [200, 201, 204, 404])
def test_answers_of_any_shape_are_steps_and_no_crash(body, status):
    def odd(call, method, path, body_sent):
        return Answer(status, body, json.dumps(body), 0.0)

    session = type("Session", (), {"call": None})()
    assert any(not step.ok for step in simulate(Broken(session, odd)))
