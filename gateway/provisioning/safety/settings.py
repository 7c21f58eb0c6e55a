"""The brake and the pause of a connection, as its row holds them."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import NamedTuple

from gateway.store.ids_and_time import now, rfc3339

#: What a pause stops: every change, or those that take somebody's access.
ALL, REMOVALS = "all", "removals"


class Brake(NamedTuple):
    """How many removals a connection may make in so many minutes: a share of its people, but at least `least`."""

    percent: int
    least: int
    minutes: int

    def limit(self, people: int) -> int:
        """Return the number of removals for a connection that manages so many people."""
        return max(self.least, self.percent * people // 100)


class Pause(NamedTuple):
    """A pause; times in microseconds."""

    scope: str
    since: int
    until: int
    reason: str
    by: str | None

    def covers(self, removal: bool) -> bool:
        """Return whether a change has to wait; `removal`: it takes somebody's access."""
        return (removal or self.scope == ALL) and now() < self.until

    def as_json(self) -> dict[str, object]:
        """Return what the REST shows."""
        return {
            "scope": self.scope,
            "since": rfc3339(self.since),
            "until": rfc3339(self.until),
            "reason": self.reason,
            "by": self.by,
        }


@lru_cache(maxsize=1024)
def read_brake(text: str | None) -> Brake | None:
    """Return the brake of a connection from its row."""
    return Brake(**json.loads(text)) if text else None


@lru_cache(maxsize=1024)
def read_pause(text: str | None) -> Pause | None:
    """Return the pause of a connection from its row, though it may be over."""
    return Pause(**json.loads(text)) if text else None
