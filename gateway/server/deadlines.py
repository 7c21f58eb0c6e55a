"""Deadlines for a client: to send the rest of a body, or to read an answer before its next piece."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

log = logging.getLogger("gateway.server")

#: Seconds between two checks: an action runs this late at most.
CHECK_INTERVAL = 0.5


class Deadlines:
    """One deadline for each exchange, checked by one thread of the process.

    A deadline is removed either by `clear` or by its action, never by both: the one that removes it continues the
    exchange.
    """

    def __init__(self) -> None:
        self._deadlines: dict[Any, tuple[float, Callable[[], None]]] = {}
        threading.Thread(target=self._watch, name="gateway-deadlines", daemon=True).start()

    def set(self, exchange: Any, seconds: float, action: Callable[[], None]) -> None:
        """Run `action` after `seconds`, unless the deadline is cleared before."""
        self._deadlines[exchange] = time.monotonic() + seconds, action

    def clear(self, exchange: Any) -> bool:
        """Remove a deadline; return False if it has passed and its action runs."""
        return self._deadlines.pop(exchange, None) is not None

    def _watch(self) -> None:
        while True:
            time.sleep(CHECK_INTERVAL)
            moment = time.monotonic()
            for exchange, (at, action) in list(self._deadlines.items()):
                if at <= moment and self.clear(exchange):
                    try:
                        action()
                    except Exception:  # the deadlines of all others depend on this thread
                        log.exception("the end of a deadline failed")
                del exchange, action
