"""The limit of requests a second, for each connection: a bucket of tokens in each worker process.

A request beyond it costs the one statement of its admission and the plugins' answers on it; nothing is written at once,
so it keeps nobody else waiting. A connection's requests may all meet one worker, which knows only its share
of the limit; set the limit well above what an identity provider sends.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from gateway.scim.errors import TooManyRequests

#: Seconds' worth of the whole limit that may come at once after a pause: Okta sends in bursts.
BURST = 10
#: Refusals a second of wrong tokens from one address, at one base URL or at the admin REST; the next ones get 429.
#: More than an identity provider sends whose token has expired (Entra: 25), so that its admin reads the 401.
WRONG_TOKENS = 30
#: Connections that are remembered; the one that was quiet for longest is forgotten, which only fills its bucket.
MOST = 10_000


class RateLimit:
    """Counts requests by key and limits their rate."""

    def __init__(self, rate: int, workers: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        """`rate` is in requests a second over all `workers`; 0 = no limit."""
        self._whole, self._rate, self._burst = rate, rate / max(1, workers), float(rate * BURST)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def admit(self, connection: str) -> None:
        """Count one request. Raises TooManyRequests, which says when to come back."""
        if wait := self.wait(connection):
            raise TooManyRequests(
                f"This connection sends more than the {self._whole} requests a second that are allowed. Nothing was"
                f" changed; try again after {wait} second{'s' if wait > 1 else ''}.",
                retry_after=wait,
            )

    def wait(self, connection: str) -> int:
        """Count one request: 0 when it is within the limit, else whole seconds after which the next one is."""
        if not self._rate:
            return 0
        with self._lock:
            now = self._clock()
            left, at = self._buckets.pop(connection, (self._burst, now))
            left = min(self._burst, left + (now - at) * self._rate)
            admitted = left >= 1
            self._buckets[connection] = (left - admitted, now)
            if len(self._buckets) > MOST:
                del self._buckets[next(iter(self._buckets))]
        return 0 if admitted else max(1, math.ceil((1 - left) / self._rate))
