"""The simulator against the gateway, and against the gateway with faults that were met in the field."""

from __future__ import annotations

from typing import ClassVar

import pytest
from gateway_jumpcloud.simulator import SIMULATOR

from gateway.simulation import SimulationOptions
from gateway.testing import ScenarioPromises, faults

pytestmark = pytest.mark.slow


class TestScenario(ScenarioPromises):
    plugin = "jumpcloud"
    # The users that were assigned, and not the test user.
    left_active: ClassVar = {("custom", False): [False] * 3, ("custom", True): [True, True, False]}
    faults: ClassVar = [
        (faults.ignore_removals, "remove the first by value", "Expected members to be"),
        (faults.remove_all_members, "remove the first by value", "and not []"),
        (faults.hide_inactive, "deactivate", "the inactive user to be found still"),
        (faults.ignore_filters, "look up", "the filter was not followed"),
        (faults.send_total_as_text, "look up", "totalResults to be a number, and not '0'"),
        (faults.keep_active, "deactivate", "active to be False, and not True"),
        (faults.omit_id, "create", "an id that is text and not empty"),
        (faults.ignore_deletes, "activate", "Came 200. Expected status 404."),
        (faults.answer_html, "activate", "not JSON: '<html>Bad Gateway</html>'"),
        (faults.refuse_connections, "activate", "no answer (connection refused)"),
    ]

    def test_a_server_that_reads_entries_in_the_value_of_a_remove_needs_no_plugin(self, deployment):
        assert faults.failures(self.simulate(deployment.connection("generic"))) == {}


def test_a_refusal_for_want_of_seats_shows_the_words_of_the_server(deployment):
    jumpcloud = deployment.connection("jumpcloud", deployment.organization(seats=2))
    steps = list(SIMULATOR.run(jumpcloud, SimulationOptions(users=2, refused=1)))
    assert faults.failures(steps) == {}
    assert any("seat" in step.explanation for step in steps if step.phase == "Over capacity")
