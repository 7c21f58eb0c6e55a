"""Two connections and an admin send random requests, and a model in plain Python says what each is answered.

`tests.oracles.state_machine` has the model. After each step the whole deployment is held against it: the lists of both
connections, the admin REST, the feed of events replayed from nothing, and the rows themselves.

`GATEWAY_MACHINE` in the environment is the number of sequences of fifty steps to try, with fresh dice, where the few
that are tried by themselves are not enough.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings

from gateway.testing.engines import is_postgresql
from tests.oracles.state_machine.machine import ProvisioningMachine
from tests.oracles.state_machine.records import Json, Op
from tests.oracles.state_machine.strategies import (
    ANN,
    ANN_COMES,
    BOB_COMES,
    GONE,
    JOINS,
    LEGAL,
    LINKED,
    MAPPED,
    PLAN,
    PUSHED,
)

pytestmark = pytest.mark.slow

SEQUENCES = int(os.environ.get("GATEWAY_MACHINE", "0"))
#: What was wrong once: operations to begin with, and two requests of which the second comes between the first one's
#: reading and its writing.
INTERRUPTED = {
    "no change, deleted": ([ANN_COMES, MAPPED], Op("user_put", 0, values=ANN), GONE),
    "put in by hand, deleted": ([ANN_COMES, LEGAL], JOINS, GONE),
    "put in by hand, pushed": ([ANN_COMES, LEGAL], JOINS, LINKED),
    "put in by hand, adopted": (
        [MAPPED, BOB_COMES, LEGAL], JOINS, Op("user_put", 0, values={**ANN, "userName": "bob@acme.test"}),
    ),
    "removed by hand, linked": ([LEGAL], Op("admin_group_delete"), LINKED),
    "removed, linked": ([LEGAL], Op("group_delete", 0), LINKED),
    "removed, linked by the other": ([LEGAL], Op("group_delete", 0), replace(LINKED, by=1)),
    "mapped, pushed": ([], MAPPED, Op("group_create", 1, values="Sales")),
    "no change, unmapped": (
        [ANN_COMES, MAPPED], Op("user_put", 0, values=ANN), replace(MAPPED, values={**PLAN, "enabled": False}),
    ),
    "renamed by hand, pushed": (
        [LEGAL], Op("admin_group_rename", values="Support"), Op("group_create", 1, values="Support"),
    ),
    "filled, renamed": (
        [ANN_COMES, PUSHED], Op("group_patch", 0, values=[("add", (0,))]),
        Op("group_patch", 0, values=[("name", "Support")]),
    ),
}  # fmt: skip


@pytest.fixture
def machine() -> Iterator[ProvisioningMachine]:
    machine = ProvisioningMachine()
    yield machine
    machine.teardown()


@pytest.mark.parametrize("case", INTERRUPTED)
def test_a_change_between_read_and_write_of_another_is_respected(
    machine: ProvisioningMachine, case: str
) -> None:
    before, one, other = INTERRUPTED[case]
    for op in before:
        machine.one(op)
    machine.in_between(one, other)
    machine.holds()


def test_events_of_a_user_come_before_those_of_its_memberships(machine: ProvisioningMachine) -> None:
    machine.one(MAPPED)
    machine.one(ANN_COMES)
    kinds = [kind for kind, _ in machine.deployment.events(machine.acme)]
    assert kinds == ["group.created", "user.created", "group.members_changed"]


def test_a_member_that_another_connection_adopted_can_be_removed(machine: ProvisioningMachine) -> None:
    """The connection that put it in no longer sees it, but the group is its own."""
    machine.one(BOB_COMES)
    machine.one(Op("group_create", 0, values="Sales", members=(0,)))
    machine.one(Op("user_put", 1, values={**ANN, "userName": "bob@acme.test"}))
    (group,), bob = machine.model.teams, machine.uid(0)
    assert machine.model.inside(group) == {bob}
    assert machine.scims[0].call("GET", f"/Users/{bob}").status == 404
    machine.one(Op("group_patch", 0, values=[("remove", (0,))]))
    assert machine.model.inside(group) == set()
    machine.holds()


def test_members_of_an_earlier_mapping_pass_to_who_links_their_group(machine: ProvisioningMachine) -> None:
    """Else the connection could not take them out of a group that it pushes: its removal would do nothing."""
    machine.one(MAPPED)
    machine.one(ANN_COMES)
    machine.one(replace(MAPPED, values={**PLAN, "rules": [], "apply_to_existing": False}))
    machine.one(Op("group_put", 0, values="Sales", members=(0,)))
    (group,), ann = machine.model.teams, machine.uid(0)
    assert machine.model.grants == {(group, ann, "push")}
    machine.holds()
    machine.one(Op("group_patch", 0, values=[("remove", (0,))]))
    machine.holds()
    assert machine.model.inside(group) == set()


# PostgreSQL is asked over a socket after each step.
SIZE: Json = {"max_examples": 5 if is_postgresql() else 9, "stateful_step_count": 20, "derandomize": True}
if SEQUENCES:
    SIZE = {"max_examples": SEQUENCES, "stateful_step_count": 50, "print_blob": True}
TestGateway = ProvisioningMachine.TestCase
TestGateway.settings = settings(
    deadline=None, database=None, suppress_health_check=list(HealthCheck), report_multiple_bugs=False, **SIZE
)
