"""Publishes committed events in one order over all organizations, and tells the process which have news.

Each process publishes what it changed itself, in the next round of its worker, and now and then what a process that
ended had left. A late commit is published later: nothing is ever inserted before what a follower has read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from gateway.provisioning.worker import Worker
from gateway.store import Store

#: Seconds between two looks at all organizations.
SWEEP_SECONDS = 30.0
#: Organizations that one transaction publishes: others wait for the lock meanwhile.
BATCH = 500
#: Ranges of events that one statement of `Tail` reads. It begins so many numbers before the newest.
TAIL_RANGES = 1000


class Publisher:
    """Publishes the events of one process: a task of its worker."""

    def __init__(self, store: Store, worker: Worker) -> None:
        self._store, self._worker = store, worker
        self._changed: set[int] = set()
        self._lock = threading.Lock()
        self._swept = -SWEEP_SECONDS

    def schedule(self, organization_ids: Iterable[int]) -> None:
        """Publish the events of organizations that this process changed, in the next round of the worker."""
        changed = set(organization_ids)
        with self._lock:
            self._changed |= changed
        if changed:
            self._worker.wake()

    def publish(self) -> None:
        """Publish what was scheduled; when it is time, what other processes left too. Raises Unavailable."""
        with self._lock:
            changed, self._changed = self._changed, set()
        sweeps = time.monotonic() - self._swept >= SWEEP_SECONDS
        if not changed and not sweeps:
            return
        try:
            pending = self._store.publications.unpublished(None if sweeps else sorted(changed))
            for start in range(0, len(pending), BATCH):
                with self._store.transaction():
                    self._store.publications.publish(pending[start : start + BATCH])
        except BaseException:
            with self._lock:
                self._changed |= changed
            raise
        if sweeps:
            self._swept = time.monotonic()


class Tail:
    """Follows the published events of all processes; safe to call from any thread.

    It begins a little before the newest event, and does so again in another epoch: what is said of an organization may
    have been read already.

    A callback is called with the keys of organizations that have news (0 is the deployment), in the thread that called
    `advance`, and must return quickly.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[set[int]], None]] = []
        #: The last number that was read; None before the first look.
        self.position: int | None = None
        #: The epoch of the numbers; 0 before the first look.
        self.epoch = 0

    def subscribe(self, callback: Callable[[set[int]], None]) -> None:
        """Call a function with the organizations of each look that found news."""
        self._callbacks.append(callback)

    def advance_for_subscribers(self) -> None:
        """Look for news if anything subscribed: a task of the worker."""
        if self._callbacks:
            self.advance()

    def advance(self) -> set[int]:
        """Read what was published since the last look, and return the organizations. Raises Unavailable."""
        with self._lock:
            news = self._read()
        if news:
            for callback in self._callbacks:
                callback(news)
        return news

    def _read(self) -> set[int]:
        news, position = set[int](), self._begin() if self.position is None else self.position
        while True:
            rows = self._store.publications.news(position, TAIL_RANGES)
            if rows[0][0] != self.epoch:
                position = self._begin()
                continue
            for _, number, organization_id in rows:
                if number is not None and organization_id is not None:
                    position = number
                    news.add(organization_id)
            if len(rows) < TAIL_RANGES:
                self.position = position
                return news

    def _begin(self) -> int:
        state = self._store.publications.state()
        self.epoch = state.epoch
        return max(0, state.published - TAIL_RANGES)
