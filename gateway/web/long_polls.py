"""Requests that wait for an event: suspended by the server, without a thread each, until there is one or time is over.

A view of a feed that has no events raises `Waiting`. Where the server can suspend a request (`gateway serve`), the
request is run again when events of its organization are published; elsewhere it is answered at once, without events.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from typing import Protocol

from gateway.provisioning.publication import Tail
from gateway.scim.errors import Refusal

log = logging.getLogger("gateway.web")

#: Requests of a process that may wait, and those of one token; one more is answered at once.
MAX_WAITING, MAX_WAITING_OF_TOKEN = 1000, 20
#: Seconds between two looks for published events while a request waits.
LOOK_SECONDS = 0.25


class Waiting(BaseException):
    """Raised by a request that found no events and may wait.

    `organization_id` is the one whose events it waits for, None for those of all; `client` names the token.
    """

    def __init__(self, organization_id: int | None, client: str, seconds: float) -> None:
        super().__init__(organization_id, client, seconds)
        self.organization_id, self.client, self.seconds = organization_id, client, seconds


class Poll(Protocol):
    """A suspended request."""

    def is_gone(self) -> bool:
        """Return whether its client has disconnected; the request has ended then."""

    def attempt(self, last: bool) -> bool:
        """Run it again; return False if it still waits. `last`: it is answered in any case."""


class _Place:
    """Where a request waits. `due`: it is to be run again."""

    def __init__(self, poll: Poll, waiting: Waiting) -> None:
        self.poll, self.organization_id, self.client = poll, waiting.organization_id, waiting.client
        self.until = time.monotonic() + waiting.seconds
        # Events that were published before it was noted here would wake nobody.
        self.due = True


class LongPolls:
    """The requests of one process that wait, and the one thread that runs them again."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self._changed = threading.Condition()
        self._places: dict[Poll, _Place] = {}
        self._clients: Counter[str] = Counter()
        self._started = self._stopped = False

    def add(self, poll: Poll, waiting: Waiting) -> bool:
        """Have a request wait; return False if too many do, or the process stops."""
        with self._changed:
            if (
                self._stopped
                or len(self._places) >= MAX_WAITING
                or self._clients[waiting.client] >= MAX_WAITING_OF_TOKEN
            ):
                return False
            if not self._started:
                self._started = True
                self._tail.subscribe(self._wake)
                threading.Thread(target=self._run, name="gateway-long-polls", daemon=True).start()
            self._places[poll] = _Place(poll, waiting)
            self._clients[waiting.client] += 1
            self._changed.notify()
        return True

    def stop(self) -> None:
        """Answer all requests that wait, and let none wait any more: the process stops."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _wake(self, organization_ids: set[int]) -> None:
        with self._changed:
            for place in self._places.values():
                if place.organization_id is None or place.organization_id in organization_ids:
                    place.due = True

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._places:
                    self._changed.wait()
            try:
                self._tail.advance()
            except Refusal as refusal:
                # While the database does not serve, requests wait until their time is over.
                log.debug("no look for events: %s", refusal.detail)
            for place in self._take_due():
                self._attempt(place)
            with self._changed:
                if not self._stopped and not any(place.due for place in self._places.values()):
                    self._changed.wait(LOOK_SECONDS)

    def _take_due(self) -> list[_Place]:
        moment = time.monotonic()
        with self._changed:
            due = [
                place
                for place in self._places.values()
                if place.due or self._stopped or place.until <= moment or place.poll.is_gone()
            ]
            for place in due:
                place.due = False
        return due

    def _attempt(self, place: _Place) -> None:
        last = self._stopped or place.until <= time.monotonic()
        if not place.poll.is_gone() and not place.poll.attempt(last):
            return
        with self._changed:
            del self._places[place.poll]
            self._clients[place.client] -= 1
            if not self._clients[place.client]:
                del self._clients[place.client]
