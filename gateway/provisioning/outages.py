"""Counts the requests that are refused while the database does not serve, for the log and the activity afterwards."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.provisioning.trace import Trace
from gateway.store.activity import RefusalCount
from gateway.store.engine.failures import Outage
from gateway.store.ids_and_time import now

log = logging.getLogger("gateway")

#: Slugs of base URLs that are counted separately. During an outage no caller is authenticated: slugs may be invented.
MAX_SLUGS = 1000
#: Characters of the longest slug that is counted.
SLUG_LENGTH = 200
#: Seconds without a failure after which it is tried whether the database serves again.
QUIET_SECONDS = 1.0
#: The reason under which the activity counts refusals of an outage.
REASON = "outage"


@dataclass
class _Period:
    """One outage as this process sees it. `began` and `failed` are moments of the monotonic clock."""

    began: float
    failed: float
    requests: int = 0
    #: Refusals that are not written yet, by slug.
    counts: dict[str, RefusalCount] = field(default_factory=dict)
    #: When the first refusal came that the last answer of `pending` did not count, by slug.
    since: dict[str, int] = field(default_factory=dict)
    #: Requests that were written already, and the connections whose activity counts them.
    written: int = 0
    connections: set[str] = field(default_factory=set)


class Outages:
    """The outages of the database that one process sees. Safe to call from any thread; nothing in here waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._period: _Period | None = None

    def record(self, outage: Outage, trace: Trace | None = None) -> None:
        """Record that the database did not serve; `trace` is that of the request which was refused, if one was."""
        clock = time.monotonic()
        with self._lock:
            begins = self._period is None
            period = self._period = self._period or _Period(clock, clock)
            period.failed = clock
            if trace is not None:
                period.requests += 1
                _count(period, outage, trace)
        if begins:
            log.warning(
                "the database does not serve: %s; requests are refused with 503 until it is back", outage.what
            )

    def pending(self, at_once: bool) -> dict[str, RefusalCount] | None:
        """Return the refusals to be written, by slug, or None while no outage can have ended.

        `at_once`: also when the last failure was a moment ago.
        """
        with self._lock:
            period = self._period
            if period is None or (not at_once and time.monotonic() - period.failed < QUIET_SECONDS):
                return None
            period.since.clear()
            return dict(period.counts)

    def confirm(self, written: Mapping[str, RefusalCount], connections: Mapping[str, str]) -> None:
        """Subtract refusals that `pending` returned and that were written; ends the outage unless more came meanwhile.

        `connections`: public ids by slug, of those slugs that exist.
        """
        with self._lock:
            period = self._period
            if period is None:
                return
            for slug, count in written.items():
                left = period.counts.pop(slug)
                if left.times > count.times:
                    first = period.since.get(slug, left.last)
                    period.counts[slug] = left._replace(first=first, times=left.times - count.times)
                if slug in connections:
                    period.written += count.times
                    period.connections.add(connections[slug])
            if period.counts:
                return
            self._period = None
        log.warning(
            "the database serves again after %.0f s; %d requests were refused: %d of %d connections, whose activity"
            " counts them, and %d others",
            time.monotonic() - period.began,
            period.requests,
            period.written,
            len(period.connections),
            period.requests - period.written,
        )

    def log_lost(self) -> None:
        """Log the refusals that no activity will count, when the process ends before the database serves."""
        with self._lock:
            period, self._period = self._period, None
        if period is not None:
            log.warning(
                "the database does not serve for %.0f s; %d requests were refused, which no activity counts",
                time.monotonic() - period.began,
                period.requests - period.written,
            )


def _count(period: _Period, outage: Outage, trace: Trace) -> None:
    counts, slug, moment = period.counts, trace.slug, now()
    if slug in counts:
        counts[slug] = counts[slug]._replace(last=moment, times=counts[slug].times + 1)
    elif slug and len(slug) <= SLUG_LENGTH and len(counts) < MAX_SLUGS:
        line = trace.line(outage.status)._replace(
            # Several users' requests become one line, and which token was presented nobody could look up.
            principal=None, user=None, target_uid=None, facts="{}", ignored="[]", decisions="[]",
            detail=f"The gateway could not serve these requests: {outage.what}. They were refused with 503, and the"
            " identity provider was told to send them again. Where it shows failed tasks of this time, run them again"
            " there; nothing has to be set up anew.",
        )  # fmt: skip
        counts[slug] = RefusalCount(line, moment, moment, 1)
    else:
        return
    period.since.setdefault(slug, moment)
