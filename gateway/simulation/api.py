"""The interface between a simulator of an identity provider and the program that runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Answer:
    """The response of a SCIM server: status (0 = no response), parsed JSON or None, raw text, and duration."""

    status: int
    json: Any
    text: str
    seconds: float


class Session(Protocol):
    """Sends requests to the server under test. Paths are relative to the SCIM base URL, bodies are JSON."""

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] = ...,
    ) -> Answer:
        """Send one request with the connection's token, or with `token` in its place."""
        ...


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """How much a simulator should do: numbers of users and groups, the style of its app, parallel conversations."""

    users: int = 3
    groups: int = 1
    style: str = ""
    concurrency: int = 1
    #: Text that keeps the names of this run apart from those of other runs.
    run: str = ""
    domain: str = "acme.test"
    #: Further users, whose creation the server must refuse for want of a seat.
    refused: int = 0
    #: Leave the users active at the end, all but the last.
    keep_active: bool = False

    def user_name(self, name: str) -> str:
        """Return `name` as the user name of this run: an address in its domain."""
        return f"{name}.{self.run}@{self.domain}" if self.run else f"{name}@{self.domain}"

    def group_name(self, name: str) -> str:
        """Return `name` as the name of a group of this run."""
        return f"{name} {self.run}".strip()


@dataclass(frozen=True, slots=True)
class Step:
    """The result of one action: whether the server did what it must, and the explanation. `phase` groups the steps."""

    phase: str
    title: str
    ok: bool
    explanation: str = ""
    answers: tuple[Answer, ...] = ()


@dataclass(frozen=True, slots=True)
class Simulator:
    """The simulator of an identity provider: the styles of apps that it knows (the first is the default), and its run.

    `gateway.simulation.build_simulator` makes one of phases.
    """

    styles: tuple[str, ...]
    #: Calls the server, and yields a step for each action. Raises ValueError for a style that it does not know.
    run: Callable[[Session, SimulationOptions], Iterator[Step]]
    #: How many steps `run` yields when all goes well, for a progress bar.
    count_steps: Callable[[SimulationOptions], int]
