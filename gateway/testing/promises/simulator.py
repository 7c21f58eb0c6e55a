"""What a plugin promises of its simulator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest

from gateway.simulation.api import Session, SimulationOptions, Simulator, Step
from gateway.testing.deployment import Scim
from gateway.testing.faults import Fault, FaultyServer, FixedAnswerServer, failures
from gateway.testing.promises.base import PluginPromises

#: Bodies that no request of a simulator should be answered with.
ODD_BODIES: tuple[Any, ...] = (
    None,
    [],
    "text",
    7,
    {},
    {"Resources": [1], "totalResults": 1},
    {"id": "x", "name": []},
)


class _Simulations(PluginPromises):
    """Runs the simulator of the plugin."""

    @property
    def simulator(self) -> Simulator:
        """The simulator that the plugin declares."""
        simulator = self.asked.declaration.simulator
        assert isinstance(simulator, Simulator)
        return simulator

    def simulate(self, session: Session, **options: Any) -> list[Step]:
        """Run the simulator to its end, with these fields of `SimulationOptions`."""
        return list(self.simulator.run(session, SimulationOptions(**{"run": "kit"} | options)))


class SimulatorPromises(_Simulations):
    """The promises of a plugin's simulator, where it has one."""

    def test_the_gateway_passes_the_simulator(self, connection: Scim, style: str) -> None:
        """In each style, and the steps are as many as were announced."""
        options = SimulationOptions(users=2, groups=1, style=style, run="kit")
        steps = list(self.simulator.run(connection, options))
        assert [f"{step.title}: {step.explanation}" for step in steps if not step.ok] == []
        assert len(steps) == self.simulator.count_steps(options)

    def test_a_server_that_fails_is_found_out(self, style: str) -> None:
        """A simulator that passes whatever it receives proves nothing."""
        server = FixedAnswerServer(500, {"status": "500", "detail": "a server of a test"})
        steps = self.simulate(server, users=2, style=style)
        assert any(not step.ok for step in steps)
        assert [step.title for step in steps if not step.ok and not step.explanation] == []

    def test_a_server_that_says_yes_to_everything_is_found_out(self, style: str) -> None:
        """A simulator that looks at the status alone believes a server that stores nothing."""
        steps = self.simulate(FixedAnswerServer(200, echo=True), users=2, style=style)
        assert any(not step.ok for step in steps)


class ScenarioPromises(_Simulations):
    """What a plugin promises of a simulator that `gateway.simulation.build_simulator` made, against the gateway."""

    #: A fault of the server, and the step that finds it in the first style: its title, and words of its explanation.
    faults: ClassVar[Sequence[tuple[Fault, str, str]]] = ()
    #: By style and `keep_active`: which of three users the simulator leaves active; a deleted user is left out.
    left_active: ClassVar[Mapping[tuple[str, bool], Sequence[bool]]] = {}

    @pytest.mark.parametrize(
        ("users", "groups", "concurrency"), [(0, 0, 1), (0, 1, 1), (1, 1, 1), (3, 2, 1), (4, 2, 3)]
    )
    def test_steps_are_counted_beforehand(
        self, connection: Scim, style: str, users: int, groups: int, concurrency: int
    ) -> None:
        """For every number of users and groups, however many conversations run at a time."""
        options = SimulationOptions(users=users, groups=groups, style=style, concurrency=concurrency)
        steps = list(self.simulator.run(connection, options))
        assert failures(steps) == {}
        assert len(steps) == self.simulator.count_steps(options)

    def test_users_are_left_as_the_options_say(
        self, connection: Scim, ending: tuple[str, bool, Sequence[bool]]
    ) -> None:
        """Inactive or deleted, all but the last active where `keep_active` is set."""
        style, keep, active = ending
        assert failures(self.simulate(connection, users=3, style=style, keep_active=keep)) == {}
        users = connection.deployment.listed(f"/organizations/{connection.organization.uid}/users")
        assert sorted((user["active"] for user in users), reverse=True) == list(active)

    def test_a_run_may_be_repeated_under_another_name(self, connection: Scim) -> None:
        """`run` keeps the names apart."""
        assert failures(self.simulate(connection, run="a")) == {}
        assert failures(self.simulate(connection, run="b")) == {}

    def test_an_unknown_style_is_refused(self) -> None:
        """By name, before anything is sent."""
        with pytest.raises(ValueError, match="not wizard"):
            self.simulate(FixedAnswerServer(500), style="wizard")

    def test_a_faulty_server_is_found_out(self, connection: Scim, fault: tuple[Fault, str, str]) -> None:
        """In the step that shows the fault, whose explanation says what was sent."""
        spoil, title, words = fault
        connection.user("somebody@acme.test")
        found = failures(self.simulate(FaultyServer(connection, spoil)))
        assert words in found[title]
        assert found[title].startswith("Sent ")

    @pytest.mark.parametrize("status", [0, 200, 201, 204, 404])
    def test_answers_of_any_shape_are_failed_steps_and_no_crash(self, style: str, status: int) -> None:
        """Whatever JSON the body is."""
        for body in ODD_BODIES:
            assert any(not step.ok for step in self.simulate(FixedAnswerServer(status, body), style=style))
