"""What a simulator of an identity provider is, and what it is handed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Answer:
    """What a SCIM server said to a simulator: status (0 = no answer at all), parsed JSON or None, and the raw text."""

    status: int
    json: Any
    text: str
    seconds: float


class Session(Protocol):
    """How a simulator reaches the server under test. Paths are relative to the SCIM base URL, bodies are JSON."""

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
class Play:
    """How much a simulator should play: numbers of users and groups, the style of its app, parallel conversations."""

    users: int = 3
    groups: int = 1
    style: str = ""
    concurrency: int = 1
    #: Text that keeps the names of this run apart from those of other runs.
    run: str = ""
    domain: str = "acme.test"
    #: Further assignments that the server must refuse for want of a seat.
    refused: int = 0
    #: Leave the users active at the end, all but the last.
    keep_active: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One thing a simulator did: what, whether the server did what it must, and why not. `phase` groups the rows."""

    phase: str
    title: str
    ok: bool
    explanation: str = ""
    answers: tuple[Answer, ...] = ()


@dataclass(frozen=True, slots=True)
class Simulator:
    """An identity provider played by its plugin: the styles it knows (the first is the default) and the play."""

    styles: tuple[str, ...]
    play: Callable[[Session, Play], Iterator[Step]]
    #: How many steps `play` will give, for a progress bar.
    steps: Callable[[Play], int]
