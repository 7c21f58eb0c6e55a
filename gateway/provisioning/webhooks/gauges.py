"""How many webhooks are in each state and how far they are behind, for metrics: no name and no organization in it."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

from gateway.scim.errors import Refusal
from gateway.store import Store

#: Seconds for which what was read is used: it looks at each organization for each webhook of the operator.
CACHED_SECONDS = 15.0
#: Parts of the webhooks that are behind by no more than the number given for them.
QUANTILES = (0.5, 0.9, 1.0)


class WebhookGauges(NamedTuple):
    """Webhooks by state, and (part of the webhooks, events) by which these are behind at most; empty without any."""

    states: dict[str, int]
    lags: list[tuple[float, int]]


class GaugeReader:
    """Reads the gauges, seldom."""

    def __init__(self, store: Store) -> None:
        self._store, self._lock = store, threading.Lock()
        self._read, self._read_at = WebhookGauges({}, []), -CACHED_SECONDS

    def read(self) -> WebhookGauges:
        """Return the gauges, at most `CACHED_SECONDS` old. While the database does not serve there are none."""
        with self._lock:
            if time.monotonic() - self._read_at >= CACHED_SECONDS:
                try:
                    self._read = self._gauges()
                except Refusal:
                    self._read = WebhookGauges({}, [])
                self._read_at = time.monotonic()
            return self._read

    def _gauges(self) -> WebhookGauges:
        states = self._store.webhooks.count_states()
        if not states:
            return WebhookGauges({}, [])
        lags = sorted(self._store.webhook_positions.lags())
        return WebhookGauges(
            {"on": 0, "failing": 0, "paused": 0, "disabled": 0} | states,
            [(part, lags[max(0, round(part * len(lags)) - 1)]) for part in QUANTILES] if lags else [],
        )
