"""Metrics for Prometheus: how many requests of which kind, how they ended, how long they took.

Labels come from routes, installed plugins and status codes alone, never from what a caller sends, so that their number
is bounded. With `PROMETHEUS_MULTIPROC_DIR` set, as by `gateway serve`, every process answers for all; numbers of
processes that ended are kept, as counters must never fall. Import this late: prometheus_client looks at that variable
while it is imported.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from gateway.plugin.call_stats import CallStats, HookCalls
from gateway.provisioning.webhooks.gauges import WebhookGauges
from gateway.web.http import Request

#: Seconds between two looks at what plugins did. Counting each call here would cost a read as much as two of them.
LOOK_SECONDS = 1.0
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class Metrics:
    """The metrics of one application."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, call_stats: CallStats, webhook_gauges: Callable[[], WebhookGauges]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "gateway_requests", "Requests answered.", ("operation", "idp", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "gateway_request_seconds",
            "Seconds from a request's arrival in Python to its answer; of a streamed one, to its end.",
            ("operation", "idp"),
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._calls = Counter(
            "gateway_plugin_calls",
            "Calls of plugins: answered, none (not theirs), refused, failed (raised), invalid (no answer).",
            ("plugin", "hook", "outcome"),
            registry=self._registry,
        )
        self._slow = Counter(
            "gateway_plugin_slow_calls",
            "Those that took longer than plugin_seconds.",
            ("plugin", "hook"),
            registry=self._registry,
        )
        self._spent = Counter(
            "gateway_plugin_seconds",
            "Seconds that calls of plugins took.",
            ("plugin", "hook"),
            registry=self._registry,
        )
        self._call_stats, self._looked, self._webhook_gauges = call_stats, 0.0, webhook_gauges
        call_stats.on_notable = self.look
        # Finding the children of a metric by their labels costs more than counting.
        self._known: dict[tuple[str | None, str, int], tuple[Counter, Histogram]] = {}

    def count(self, request: Request, status: int) -> None:
        """Count a request that was answered with this status."""
        key = (request.operation, request.idp, status)
        found = self._known.get(key)
        if found is None:
            # A request that met no route is `unknown`, whatever its method.
            operation = request.operation or "unknown"
            found = (
                self._requests.labels(operation, request.idp, status),
                self._seconds.labels(operation, request.idp),
            )
            self._known[key] = found
        requests, seconds = found
        moment = time.perf_counter()
        requests.inc()
        seconds.observe(moment - request.started_at)
        if moment - self._looked > LOOK_SECONDS:
            self._looked = moment
            self.look()

    def look(self) -> None:
        """Add the calls of plugins since the last time."""
        for tally in self._call_stats.all_calls():
            self._take(tally)

    def _take(self, tally: HookCalls) -> None:
        calls, slow, seconds = tally.take()
        if not any(calls.values()):
            return
        self._spent.labels(tally.plugin, tally.hook).inc(seconds)
        if slow:
            self._slow.labels(tally.plugin, tally.hook).inc(slow)
        for outcome, number in calls.items():
            if number:
                self._calls.labels(tally.plugin, tally.hook, outcome).inc(number)

    def text(self) -> bytes:
        """Return all metrics, in Prometheus' text format."""
        self.look()
        registry = self._registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return generate_latest(registry) + generate_latest(_Families(self._webhook_families()))

    def _webhook_families(self) -> list[GaugeMetricFamily]:
        """Return what the database says of webhooks: any process answers for all."""
        gauges = self._webhook_gauges()
        if not gauges.states:
            return []
        states = GaugeMetricFamily("gateway_webhook_endpoints", "Webhooks by state.", labels=["state"])
        for state, number in gauges.states.items():
            states.add_metric([state], number)
        lags = GaugeMetricFamily(
            "gateway_webhook_lag_events",
            "Events by which this part of the webhooks is behind at most.",
            labels=["quantile"],
        )
        for part, events in gauges.lags:
            lags.add_metric([str(part)], events)
        return [states, lags]


class _Families(Collector):
    """Metrics that are read when they are asked for."""

    def __init__(self, families: list[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> list[GaugeMetricFamily]:
        """Return them."""
        return self._families
