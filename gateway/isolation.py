"""What keeps core and plugins apart: what a plugin is handed, what is taken from it, and a watch over its calls.

Python cannot end a call from outside. So a plugin that dawdles is not stopped but named, and what must not wait for it
(the telling of events, `Listener`) runs in a thread of its own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from time import monotonic
from types import MappingProxyType
from typing import Any

log = logging.getLogger("gateway.plugins")

#: How a call of a plugin ended: with an answer, with «not mine», with a refusal that it raised, with another exception,
#: or with something that is no answer to this question.
OUTCOMES = ANSWERED, NONE, REFUSED, FAILED, RUBBISH = "answered", "none", "refused", "failed", "rubbish"
#: Seconds that a listener is waited for once its turn is over, so that the event it is at counts as told.
GRACE = 2.0
_DEEPEST = 64


class Rubbish(Exception):
    """An answer that cannot be used; says what it is, never what it holds."""


def frozen(value: Any) -> Any:
    """JSON that nobody can change: mappings are read-only views, lists are tuples."""
    if isinstance(value, Mapping):
        return MappingProxyType({key: frozen(held) for key, held in value.items()})
    if isinstance(value, list | tuple):
        return tuple(frozen(held) for held in value)
    return value


def copied(value: Any) -> Any:
    """JSON for somebody who may do with it what they like."""
    if isinstance(value, dict):
        return {key: copied(held) for key, held in value.items()}
    if isinstance(value, list):
        return [copied(held) for held in value]
    return value


def check_plain(value: Any, left: int = _DEEPEST) -> None:
    """Raises Rubbish unless what a plugin answered is JSON through and through."""
    if isinstance(value, str) or value is None or isinstance(value, bool | int):
        return
    if left == 0:
        raise Rubbish(f"is nested more than {_DEEPEST} levels deep")
    if isinstance(value, dict):
        for key, held in value.items():
            if not isinstance(key, str):
                raise Rubbish(f"holds a key that is a {type(key).__name__}, not a text")
            check_plain(held, left - 1)
    elif isinstance(value, list):
        for held in value:
            check_plain(held, left - 1)
    elif not isinstance(value, float) or not isfinite(value):
        raise Rubbish(f"holds a {type(value).__name__}, which is no JSON")


# Watching -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Tally:
    """Calls of one hook of one plugin since it was last looked at. Counted under its lock."""

    plugin: str
    hook: str
    answered: int = 0
    none: int = 0
    refused: int = 0
    failed: int = 0
    rubbish: int = 0
    slow: int = 0
    seconds: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def taken(self) -> tuple[dict[str, int], int, float]:
        """Calls by outcome, slow ones among them, and seconds; it begins with nothing again."""
        with self.lock:
            calls = {outcome: getattr(self, outcome) for outcome in OUTCOMES}
            told = calls, self.slow, self.seconds
            self.answered = self.none = self.refused = self.failed = self.rubbish = self.slow = 0
            self.seconds = 0.0
        return told


class Watch:
    """Counts what plugins do, and names whoever takes too long. `limit` in seconds; 0 = nobody does."""

    def __init__(self, limit: float) -> None:
        self.limit = limit or float("inf")
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._lock = threading.Lock()
        #: Called when something is worth to be seen at once. Whoever shows the numbers sets it.
        self.noted: Callable[[], None] = _nobody

    def tally(self, plugin: str, hook: str) -> Tally:
        """The one tally of a hook of a plugin."""
        with self._lock:
            return self._tallies.setdefault((plugin, hook), Tally(plugin, hook))

    def tallies(self) -> list[Tally]:
        """All of them."""
        with self._lock:
            return list(self._tallies.values())

    def ended(self, tally: Tally, outcome: str, seconds: float) -> str | None:
        """A call has ended otherwise than well, or late. What there is to say of the time it took, if anything."""
        late = seconds > self.limit
        with tally.lock:
            setattr(tally, outcome, getattr(tally, outcome) + 1)
            tally.seconds += seconds
            tally.slow += late
        if late:
            log.warning("plugin %s took %.1f seconds for %s", tally.plugin, seconds, tally.hook)
        if late or outcome in (FAILED, RUBBISH):
            self.noted()
        return f"took {seconds:.1f} seconds" if late else None


def _nobody() -> None:
    pass


class Listener:
    """A plugin that is told events, in a thread of its own: whoever tells it waits for a while, never for ever.

    While a call goes on for longer than that nothing more is told, so that the order stays.
    """

    def __init__(self, name: str, tell: Callable[[Any], bool]) -> None:
        self.name, self._tell = name, tell
        self._late: _Round | None = None

    @property
    def late(self) -> bool:
        """Whether a call outlasted its turn, and `end_of_late_call` has not taken over yet how it ended."""
        return self._late is not None

    def end_of_late_call(self) -> tuple[int, bool] | None:
        """How a late call ended: events told since `hear` returned, and whether it went well; None while it runs."""
        if self._late is None or not self._late.over.is_set():
            return None
        round_, self._late = self._late, None
        return round_.told - round_.reported, round_.well

    def hear(self, events: Iterable[Any], seconds: float) -> tuple[int, bool]:
        """Tell events in their order for so long: how many were told, and whether it can go on with the next."""
        if self._late is not None:
            return 0, False
        round_ = _Round(self._tell, list(events))
        # A daemon: a call that never ends does not keep the process from ending.
        threading.Thread(target=round_.run, name=f"gateway-tells-{self.name}", daemon=True).start()
        if round_.over.wait(seconds):
            return round_.told, round_.well
        round_.stop = True
        if round_.over.wait(GRACE):
            return round_.told, round_.well
        round_.reported = told = round_.told
        self._late = round_
        log.warning(
            "plugin %s has been at one event for %.1f seconds; it is told no more until that ends",
            self.name,
            monotonic() - round_.since,
        )
        return told, False


class _Round:
    """Some events on their way to one listener."""

    def __init__(self, tell: Callable[[Any], bool], events: list[Any]) -> None:
        self._tell, self._events = tell, events
        self.told, self.well, self.stop, self.since = 0, True, False, monotonic()
        #: Events that were told before `hear` returned.
        self.reported = 0
        self.over = threading.Event()

    def run(self) -> None:
        try:
            for event in self._events:
                self.since = monotonic()
                if not self._tell(event):
                    self.well = False
                    return
                self.told += 1
                if self.stop:
                    return
        finally:
            self.over.set()
