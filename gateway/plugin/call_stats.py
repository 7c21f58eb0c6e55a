"""Counts of the calls of plugins, by hook and outcome, and a warning for each that took too long.

Python cannot end a call from outside, so a slow plugin is named and not stopped.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

log = logging.getLogger("gateway.plugins")

#: How a call of a plugin ended: with an answer, with «not mine», with a refusal that it raised, with another exception,
#: or with something that is no answer to this question.
OUTCOMES = ANSWERED, NONE, REFUSED, FAILED, INVALID = "answered", "none", "refused", "failed", "invalid"


@dataclass(slots=True)
class HookCalls:
    """Calls of one hook of one plugin since it was last looked at. Counted under its lock."""

    plugin: str
    hook: str
    answered: int = 0
    none: int = 0
    refused: int = 0
    failed: int = 0
    invalid: int = 0
    slow: int = 0
    seconds: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def take(self) -> tuple[dict[str, int], int, float]:
        """Return calls by outcome, slow calls and seconds, and start again from zero."""
        with self.lock:
            calls = {outcome: getattr(self, outcome) for outcome in OUTCOMES}
            counts = calls, self.slow, self.seconds
            self.answered = self.none = self.refused = self.failed = self.invalid = self.slow = 0
            self.seconds = 0.0
        return counts


class CallStats:
    """Counts what plugins do, and names each one that takes too long. `limit` in seconds; 0 = no limit."""

    def __init__(self, limit: float) -> None:
        self.limit = limit or float("inf")
        self._tallies: dict[tuple[str, str], HookCalls] = {}
        self._lock = threading.Lock()
        #: Called when something is worth to be seen at once. The exporter of the numbers sets it.
        self.on_notable: Callable[[], None] = _nobody

    def calls(self, plugin: str, hook: str) -> HookCalls:
        """Return the counters of a hook of a plugin, always the same object."""
        with self._lock:
            return self._tallies.setdefault((plugin, hook), HookCalls(plugin, hook))

    def all_calls(self) -> list[HookCalls]:
        """All of them."""
        with self._lock:
            return list(self._tallies.values())

    def count_ended(self, calls: HookCalls, outcome: str, seconds: float) -> str | None:
        """Count a failed or slow call; return a message if it was slow."""
        late = seconds > self.limit
        with calls.lock:
            setattr(calls, outcome, getattr(calls, outcome) + 1)
            calls.seconds += seconds
            calls.slow += late
        if late:
            log.warning("plugin %s took %.1f seconds for %s", calls.plugin, seconds, calls.hook)
        if late or outcome in (FAILED, INVALID):
            self.on_notable()
        return f"took {seconds:.1f} seconds" if late else None


def _nobody() -> None:
    pass
