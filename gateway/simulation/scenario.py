"""Scenarios of simulators: phases, in which the same actions run for each target and become steps."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from gateway.simulation.api import Session, SimulationOptions, Simulator, Step
from gateway.simulation.client import Client, ExpectationError, ScimClient


@dataclass
class Target:
    """What the actions of a phase are about: a user, a group, or the server as a whole (with an empty label).

    `id` is that of the server. `abandoned` is True once a required action failed; all later actions are left out.
    """

    label: str = ""
    id: str = ""
    abandoned: bool = False


@dataclass
class SimulatedUser(Target):
    """A user of the simulated directory. The label is the user name."""

    given: str = ""
    family: str = ""


@dataclass
class SimulatedGroup(Target):
    """A group of the simulated directory. The label is the display name."""

    users: Sequence[SimulatedUser] = ()

    def known_users(self) -> list[SimulatedUser]:
        """Return the users of the group that the server has; only these can be sent as members."""
        return [user for user in self.users if user.id and not user.abandoned]


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that the identity provider does with a target.

    `run` takes a client and the target, and returns the outcome in a sentence or raises ExpectationError. Where a
    required action fails, the target is abandoned.
    """

    title: str
    run: Callable[[Any, Any], str]
    required: bool = False


@dataclass(frozen=True, slots=True)
class Phase:
    """The same actions for each target: one conversation a target, of which several may run at the same time."""

    name: str
    actions: Sequence[Action]
    targets: Sequence[Target]
    client: Callable[[Session], Client] = ScimClient

    @property
    def step_count(self) -> int:
        """The number of steps when all goes well."""
        return len(self.actions) * len(self.targets)

    def run(self, session: Session, concurrency: int) -> Iterator[Step]:
        """Run all actions, with `concurrency` conversations at a time."""
        yield from run_concurrently([self._converse(session, target) for target in self.targets], concurrency)

    def _converse(self, session: Session, target: Target) -> Iterator[Step]:
        for action in self.actions:
            if target.abandoned:
                return
            client = self.client(session)
            try:
                ok, outcome = True, action.run(client, target)
            except ExpectationError as expected:
                ok, outcome = False, f"Came {client.describe_last_answer()}. Expected {expected}."
            target.abandoned = action.required and not ok
            title = f"{target.label}: {action.title}" if target.label else action.title
            yield Step(self.name, title, ok, client.explain(outcome), tuple(client.answers))


U = TypeVar("U", bound=SimulatedUser)
G = TypeVar("G", bound=SimulatedGroup)


def make_users(options: SimulationOptions, kind: type[U], **fields: Any) -> tuple[list[U], list[U]]:
    """Make the users to provision, and those whose creation the server must refuse."""
    users = [
        kind(options.user_name(f"user{number}"), given=f"Given{number}", family=f"Family{number}", **fields)
        for number in range(1, options.users + options.refused + 1)
    ]
    return users[: options.users], users[options.users :]


def make_groups(
    options: SimulationOptions, kind: type[G], users: Sequence[SimulatedUser], **fields: Any
) -> list[G]:
    """Make the groups to push, each with all these users."""
    names = [options.group_name(f"Group {number}") for number in range(1, options.groups + 1)]
    return [kind(name, users=users, **fields) for name in names]


def build_simulator(
    title: str, styles: tuple[str, ...], phases: Callable[[SimulationOptions], Sequence[Phase]]
) -> Simulator:
    """Build a simulator that runs phases one after the other.

    `phases` makes them anew for each run; its options have one of the styles, the first where none was given. `title`
    names the identity provider in the ValueError for an unknown style.
    """

    def checked_phases(options: SimulationOptions) -> Sequence[Phase]:
        if options.style not in ("", *styles):
            plural = "s" if len(styles) > 1 else ""
            raise ValueError(f"{title} has the style{plural} {' and '.join(styles)}, not {options.style}.")
        return phases(replace(options, style=options.style or styles[0]))

    def run(session: Session, options: SimulationOptions) -> Iterator[Step]:
        for phase in checked_phases(options):
            yield from phase.run(session, options.concurrency)

    def count_steps(options: SimulationOptions) -> int:
        return sum(phase.step_count for phase in checked_phases(options))

    return Simulator(styles, run, count_steps)


def run_concurrently(conversations: Sequence[Iterable[Step]], workers: int) -> Iterator[Step]:
    """Yield the steps of all conversations, each as soon as it is done; `workers` conversations run at a time."""
    if workers <= 1:
        for conversation in conversations:
            yield from conversation
        return
    steps: queue.SimpleQueue[Step | None] = queue.SimpleQueue()
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(_collect, conversation, steps) for conversation in conversations]
        try:
            for _ in conversations:
                yield from iter(steps.get, None)
            for future in futures:
                future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _collect(conversation: Iterable[Step], steps: queue.SimpleQueue[Step | None]) -> None:
    """Put the steps of a conversation into the queue, and None at its end."""
    try:
        for step in conversation:
            steps.put(step)
    finally:
        steps.put(None)
