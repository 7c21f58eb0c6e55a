"""Deadlines of what a client owes: the rest of a body, or room for the next piece of an answer."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

log = logging.getLogger("gateway.server")

#: Seconds between two looks: a deadline is met this much late at the most.
LOOK_SECONDS = 0.5


class Deadlines:
    """One deadline for each exchange, watched by one thread of the process.

    Either `clear` or the action takes a deadline away, never both: whoever does goes on with the exchange.
    """

    def __init__(self) -> None:
        self._set: dict[Any, tuple[float, Callable[[], None]]] = {}
        threading.Thread(target=self._watch, name="gateway-deadlines", daemon=True).start()

    def set(self, exchange: Any, seconds: float, action: Callable[[], None]) -> None:
        """Run `action` in `seconds`, unless the deadline is cleared before."""
        self._set[exchange] = time.monotonic() + seconds, action

    def clear(self, exchange: Any) -> bool:
        """Take a deadline away; False if it has passed, and its action runs."""
        return self._set.pop(exchange, None) is not None

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            moment = time.monotonic()
            for exchange, (at, action) in list(self._set.items()):
                if at <= moment and self.clear(exchange):
                    try:
                        action()
                    except Exception:  # the deadlines of all others depend on this thread
                        log.exception("the end of a deadline failed")
                del exchange, action
