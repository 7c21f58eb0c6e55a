"""Prunes events that are older than the operator keeps them, and that no subscriber waits for: a task of the worker.

A follower of a feed keeps its own position, which the gateway does not know: beyond the oldest event it is answered 410
and begins with a snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway.plugin.manager import PluginManager
from gateway.store import Store
from gateway.store.ids_and_time import DAY, HOUR, now

#: Events, and ranges in the order over all organizations, that are removed in one round of the worker.
MOST = 1000
#: Organizations that are looked at in one round.
ORGANIZATIONS = 100
#: Days for which events wait for a subscriber that does not receive.
WAITING_DAYS = 30
_BEGIN = -1


class EventPruning:
    """Prunes the events of all organizations once an hour, a piece in each round; one process at a time."""

    def __init__(
        self, store: Store, plugins: PluginManager, days: int, clock: Callable[[], int] = now
    ) -> None:
        """`days`: how long events are kept, 0 for ever. `clock` returns microseconds since 1970."""
        self._store, self._plugins, self._days, self._clock = store, plugins, days, clock
        #: The hour that is dealt with, and the last organization that was; None when all were.
        self._hour, self._after = 0, None if not days else _BEGIN
        #: How far the published ranges were looked at, None when they all were, and up to which they are removed.
        self._looked: int | None = 0
        self._removed_to: int | None = None

    def prune(self) -> None:
        """Prune the next piece, if it is time. Raises Unavailable."""
        if not self._days:
            return
        moment = self._clock()
        if moment // HOUR != self._hour:
            self._hour, self._after, self._looked = moment // HOUR, _BEGIN, 0
        if self._after is None and self._looked is None and self._removed_to is None:
            return
        with self._store.database.only_one("event-pruning") as mine:
            if not mine:
                return
            if self._after is not None:
                self._after = self._prune_events(self._after, moment)
            elif self._looked is not None:
                last, self._looked = self._store.event_retention.removed_ranges(self._looked, MOST)
                self._removed_to = last or self._removed_to
            elif self._removed_to is not None:
                with self._store.transaction():
                    removed = self._store.event_retention.remove_ranges(self._removed_to, MOST)
                if removed < MOST:
                    self._removed_to = None

    def _prune_events(self, after: int, moment: int) -> int | None:
        """Prune organizations behind a key; return the key behind which to go on, None at the end."""
        retention = self._store.event_retention
        before = moment - self._days * DAY
        looked_at = retention.oldest(after, ORGANIZATIONS)
        old = [key for key, at in looked_at if at is not None and at < before]
        limits = self._limits(old, moment) if old else {}
        left = MOST
        for key in old:
            oldest = retention.removable(key, left)
            last = limits[key].last_of(oldest, before)
            if last:
                with self._store.transaction():
                    left -= retention.remove(key, oldest[0][0], last)
            if left <= 0:
                return key - 1
        return looked_at[-1][0] if len(looked_at) == ORGANIZATIONS else None

    def _limits(self, keys: Sequence[int], moment: int) -> dict[int, _Limit]:
        retention, waited_since = self._store.event_retention, moment - WAITING_DAYS * DAY
        published = retention.published(keys)
        active = {key: published.get(key, 0) for key in keys}
        inactive = dict(active)
        for stream in retention.streams(keys, self._plugins.listeners(), waited_since):
            received = active if stream.active else inactive
            received[stream.organization_id] = min(received[stream.organization_id], stream.seq)
        return {key: _Limit(active[key], inactive[key], waited_since) for key in keys}


class _Limit(NamedTuple):
    """Up to which numbers an organization's events are published and received by all its subscribers.

    For those that are not active, events wait that are younger than `waited_since`.
    """

    active: int
    inactive: int
    waited_since: int

    def last_of(self, oldest: Sequence[tuple[int, int]], before: int) -> int:
        """Return the last of the events (number, moment) that may go with all before it; 0 for none."""
        last = 0
        for seq, at in oldest:
            if at >= before or seq > self.active or (seq > self.inactive and at >= self.waited_since):
                break
            last = seq
        return last
