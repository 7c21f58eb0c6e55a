"""The delivery of events to one plugin, in a thread of its own that callers wait for only so long."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

log = logging.getLogger("gateway.plugins")

#: Seconds that a listener is waited for once its turn is over, so that the event it is at counts as told.
GRACE = 2.0


class Listener:
    """A plugin that is told events, in a thread of its own: whoever tells it waits for a while, never for ever.

    While a call goes on for longer than that nothing more is told, so that the order stays.
    """

    def __init__(self, name: str, tell: Callable[[Any], bool]) -> None:
        self.name, self._deliver_one = name, tell
        self._late: _Delivery | None = None

    @property
    def late(self) -> bool:
        """Whether a call outlasted its turn, and `take_late_result` has not taken over yet how it ended."""
        return self._late is not None

    def take_late_result(self) -> tuple[int, bool] | None:
        """How a late call ended: events told since `deliver` returned, and whether it went well; None while it runs."""
        if self._late is None or not self._late.over.is_set():
            return None
        delivery, self._late = self._late, None
        return delivery.told - delivery.reported, delivery.well

    def deliver(self, events: Iterable[Any], seconds: float) -> tuple[int, bool]:
        """Tell events in their order for so long: how many were told, and whether it can go on with the next."""
        if self._late is not None:
            return 0, False
        delivery = _Delivery(self._deliver_one, list(events))
        # A daemon: a call that never ends does not keep the process from ending.
        threading.Thread(target=delivery.run, name=f"gateway-tells-{self.name}", daemon=True).start()
        if delivery.over.wait(seconds):
            return delivery.told, delivery.well
        delivery.stop = True
        if delivery.over.wait(GRACE):
            return delivery.told, delivery.well
        delivery.reported = told = delivery.told
        self._late = delivery
        log.warning(
            "plugin %s has been at one event for %.1f seconds; it is told no more until that ends",
            self.name,
            monotonic() - delivery.since,
        )
        return told, False


class _Delivery:
    """Some events on their way to one listener."""

    def __init__(self, tell: Callable[[Any], bool], events: list[Any]) -> None:
        self._deliver_one, self._events = tell, events
        self.told, self.well, self.stop, self.since = 0, True, False, monotonic()
        #: Events that were told before `deliver` returned.
        self.reported = 0
        self.over = threading.Event()

    def run(self) -> None:
        try:
            for event in self._events:
                self.since = monotonic()
                if not self._deliver_one(event):
                    self.well = False
                    return
                self.told += 1
                if self.stop:
                    return
        finally:
            self.over.set()
