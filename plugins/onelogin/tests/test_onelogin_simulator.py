"""The simulator against the gateway, and against the gateway with faults that were met in the field."""

from __future__ import annotations

from typing import ClassVar

import pytest
from gateway_onelogin.simulator import SIMULATOR

from gateway.simulation import SimulationOptions
from gateway.testing import ScenarioPromises, faults

pytestmark = pytest.mark.slow


class TestScenario(ScenarioPromises):
    plugin = "onelogin"
    left_active: ClassVar = {
        ("suspend", False): [False] * 3,
        ("suspend", True): [True, True, False],
        ("delete", False): [],
        ("delete", True): [True, True],
    }
    faults: ClassVar = [
        (faults.ignore_removals, "remove the first by value", "Expected members to be"),
        (faults.ignore_removals, "suspend", "to be no member of Group 1"),
        (faults.remove_all_members, "remove the first by value", "and not []"),
        (faults.hide_inactive, "suspend", "the inactive user to be found still"),
        (faults.ignore_filters, "look up", "the filter was not followed"),
        (faults.send_total_as_text, "look up nobody", "totalResults to be a number, and not '0'"),
        (faults.keep_active, "suspend", "active to be False, and not True"),
        (faults.omit_id, "create", "an id that is text and not empty"),
        (faults.answer_html, "look up nobody", "not JSON: '<html>Bad Gateway</html>'"),
        (faults.refuse_connections, "look up nobody", "no answer (connection refused)"),
    ]

    def test_a_server_that_reads_entries_in_the_value_of_a_remove_needs_no_plugin(self, deployment):
        assert faults.failures(self.simulate(deployment.connection("generic"))) == {}

    def test_members_and_groups_are_sent_as_they_were_recorded(self, connection):
        server = faults.FaultyServer(connection, faults.pass_on)
        list(self.simulator.run(server, SimulationOptions(users=1, style="delete")))
        bodies = [body for _, _, body in server.sent if body]
        changes = [body["Operations"][0] for body in bodies if "Operations" in body]
        assert {change["op"] for change in changes} == {"add", "remove"}
        assert all(set(change) == {"op", "path", "value"} for change in changes)
        assert all(len(change["value"]) == 1 for change in changes)
        assert [set(body) for body in bodies if "members" in body] == []
        assert not any("externalId" in body for body in bodies)
        assert ("GET", "/Groups?count=100&startIndex=1", None) in server.sent


def test_a_refusal_for_want_of_seats_shows_the_words_of_the_server(deployment):
    onelogin = deployment.connection("onelogin", deployment.organization(seats=2))
    steps = list(SIMULATOR.run(onelogin, SimulationOptions(users=2, refused=1)))
    assert faults.failures(steps) == {}
    assert any("seat" in step.explanation for step in steps if step.phase == "Over capacity")
