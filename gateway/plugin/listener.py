"""Delivers events to one plugin, in a thread of its own for which the caller waits a limited time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

log = logging.getLogger("gateway.plugins")

#: Seconds to wait for the current event once the time slice is over, so that it counts as delivered.
GRACE_SECONDS = 2.0


class Listener:
    """A plugin that receives events one after the other.

    A call that outlasts the wait is late: nothing more is delivered until it ends, so that the order stays.
    """

    def __init__(self, name: str, deliver_one: Callable[[Any], bool]) -> None:
        self.name, self._deliver_one = name, deliver_one
        self._late: _Delivery | None = None

    @property
    def late(self) -> bool:
        """True while a call is late, and until `take_late_result` has returned its result."""
        return self._late is not None

    def take_late_result(self) -> tuple[int, bool] | None:
        """Return how many events a late call delivered since `deliver` returned, and whether none failed.

        None while it runs.
        """
        if self._late is None or not self._late.over.is_set():
            return None
        delivery, self._late = self._late, None
        return delivery.count - delivery.reported, delivery.succeeded

    def deliver(self, events: Iterable[Any], seconds: float) -> tuple[int, bool]:
        """Deliver events in order for `seconds`; return how many were delivered, and whether none failed or is late."""
        if self._late is not None:
            return 0, False
        delivery = _Delivery(self._deliver_one, list(events))
        # A daemon: a call that never ends does not keep the process from ending.
        threading.Thread(target=delivery.run, name=f"gateway-delivers-{self.name}", daemon=True).start()
        if delivery.over.wait(seconds):
            return delivery.count, delivery.succeeded
        delivery.stop = True
        if delivery.over.wait(GRACE_SECONDS):
            return delivery.count, delivery.succeeded
        delivery.reported = count = delivery.count
        self._late = delivery
        log.warning(
            "plugin %s has been at one event for %.1f seconds; it is told no more until that ends",
            self.name,
            monotonic() - delivery.since,
        )
        return count, False


class _Delivery:
    """A batch of events that one thread delivers."""

    def __init__(self, deliver_one: Callable[[Any], bool], events: list[Any]) -> None:
        self._deliver_one, self._events = deliver_one, events
        self.count, self.succeeded, self.stop, self.since = 0, True, False, monotonic()
        #: Events that were delivered before `deliver` returned.
        self.reported = 0
        self.over = threading.Event()

    def run(self) -> None:
        try:
            for event in self._events:
                self.since = monotonic()
                if not self._deliver_one(event):
                    self.succeeded = False
                    return
                self.count += 1
                if self.stop:
                    return
        finally:
            self.over.set()
