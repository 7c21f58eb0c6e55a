"""Writes the activity lines of requests, and prunes old ones.

The line of a change is written in the transaction of the change, and the line of a refusal before its answer is sent.
Lines of reads, and of refusals that come in great numbers, are buffered and written together, at most a second later:
a lookup costs no write of its own. Calls of identity providers are counted by hour, and the counts written with the
buffer. A process that is killed loses its buffer and these counts, and never a change.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping

from gateway.provisioning.explanations.pending import Exchange, PendingExplanations, Secrets
from gateway.provisioning.outages import REASON, Outages
from gateway.provisioning.trace import Trace
from gateway.provisioning.worker import Worker
from gateway.scim.errors import NotFound, Refusal, RequestTimeout, TooManyRequests, Unavailable, Waiting
from gateway.store import Store
from gateway.store.activity import ActivityLine, RefusalCount, RefusalKey
from gateway.store.connection_health import Client
from gateway.store.engine.base import BRIEF
from gateway.store.engine.failures import BUSY_SECONDS, Busy, Outage
from gateway.store.hourly_calls import CallCounts, CallsKey
from gateway.store.ids_and_time import DAY, HOUR, MINUTE, now

log = logging.getLogger("gateway")

#: Buffered lines from which on the worker is woken; also counters of refusals that are held at most.
FLUSH_LINES = 1000
#: Lines that are kept while they cannot be written; the oldest go first.
MAX_BUFFERED = 100_000
#: Old lines that are pruned for each that is written.
PRUNED_PER_LINE = 4
#: Old hours that are pruned by one flush.
PRUNED_HOURS = 100
#: One call, by the outcome of its line.
_CALLS = {"success": CallCounts(done=1), "partial": CallCounts(partial=1), "failure": CallCounts(refused=1)}


class ActivityWriter:
    """Buffers and writes the activity of one process. Safe to call from any thread.

    `on_change` is called with the keys of organizations whose events are committed; `activity_days` are the days after
    which lines are pruned, 0 for never; `trace_days` those of explanations, 0 for none at all. `secrets` returns the
    secret settings of a connection.
    """

    def __init__(
        self,
        store: Store,
        worker: Worker,
        outages: Outages,
        on_change: Callable[[Iterable[int]], None],
        activity_days: int,
        trace_days: int,
        secrets: Secrets,
    ) -> None:
        self._store, self._worker, self._outages, self._on_change = store, worker, outages, on_change
        self._days = activity_days
        #: Explanations of requests, which are written with the buffer.
        self._explanations = PendingExplanations(store, trace_days, secrets)
        self._lines: list[tuple[int, ActivityLine]] = []
        #: When each token was used last.
        self._tokens_used: dict[str, int] = {}
        #: Refusals of callers who are not authenticated, one counter a line.
        self._refusals: dict[RefusalKey, RefusalCount] = {}
        #: Minute in which a counter of (connection, reason) was written last: in a storm the rest of a minute waits.
        self._last_written: dict[tuple[str, str], int] = {}
        #: Clients that called with a valid token, by connection, and those that are stored.
        self._clients: dict[str, Client] = {}
        self._clients_stored: dict[str, Client] = {}
        #: Calls of identity providers that are not written yet.
        self._calls: dict[CallsKey, CallCounts] = {}
        #: The hour in which all hours that were old then had been pruned.
        self._pruned_in = 0
        #: Lines that changes and refusals have written since the last flush.
        self._written = 0
        self._lock = threading.Lock()
        self._flushing = threading.Lock()

    # Recording ------------------------------------------------------------------------------------------------------

    def record_read(self, trace: Trace) -> None:
        """Buffer the line of a successful read."""
        self._buffer(trace, trace.line(trace.status))

    def record_change(self, trace: Trace) -> None:
        """Record the use of the token, and report the events, of a change that was committed with its line."""
        self._record_commit(trace, "partial" if trace.is_partial else "success")

    def _record_commit(self, trace: Trace, outcome: str | None) -> None:
        moment = now()
        with self._lock:
            if outcome:
                self._count_call(trace, outcome, moment)
            self._written += 1
            if trace.token_id:
                self._tokens_used[trace.token_id] = moment
        self._worker.start()
        self._on_change([trace.organization_id])

    def explain(self, trace: Trace, exchange: Callable[[], Exchange]) -> None:
        """Buffer the explanation of a request of a connection that is watched."""
        self._explanations.add(trace, exchange, trace.status, None, now())

    def record_refusal(
        self, trace: Trace, refusal: Refusal, exchange: Callable[[], Exchange] | None = None
    ) -> None:
        """Write the line of a refusal; buffer it if it is one of very many or the database cannot be written.

        A refusal of an organization that is not known leaves no line. `exchange` returns what an identity provider
        sent and is answered, for the explanation.
        """
        moment = now()
        trace.page = refusal.page
        if exchange and trace.organization_id and not isinstance(refusal, Outage):
            self._explanations.add(trace, exchange, refusal.status, refusal.detail, moment)
        if trace.refusal_written:
            self._record_commit(trace, "failure")
            return
        if trace.in_part:
            self._record_commit(trace, None)
        if isinstance(refusal, Outage):
            self.record_outage(refusal, trace)
            if trace.slug or not trace.organization_id:
                return
            # A request of an admin: the outage counts those of connections alone.
            self._buffer(trace, trace.line(refusal.status, refusal.detail))
            return
        if not trace.organization_id:
            return
        line = trace.line(refusal.status, refusal.detail)
        attributable = trace.connection_uid or trace.stranger
        if trace.principal is None and attributable and refusal.status < 500:
            self._count(trace, line)
            return
        # A request that waited for the lock in vain would wait for it again here.
        if isinstance(refusal, TooManyRequests | Waiting | RequestTimeout | Busy):
            self._buffer(trace, line)
            return
        # A request that was refused because nothing can be written has waited long enough.
        patience = BRIEF if isinstance(refusal, Unavailable) else BUSY_SECONDS
        try:
            with self._store.transaction(patience):
                self._write([(moment, line)])
        except Unavailable:
            self._buffer(trace, line)
            return
        with self._lock:
            self._count_call(trace, line.outcome, now())

    def record_outage(self, outage: Outage, trace: Trace | None = None) -> None:
        """Record that the database did not serve; `trace` is that of the request which was refused, if one was."""
        self._outages.record(outage, trace)
        self._worker.start()

    def _buffer(self, trace: Trace, line: ActivityLine) -> None:
        moment = now()
        with self._lock:
            self._count_call(trace, line.outcome, moment)
            self._lines.append((moment, line))
            if trace.token_id:
                self._tokens_used[trace.token_id] = moment
            full = len(self._lines) >= FLUSH_LINES
        self._worker.start()
        if full:
            self._worker.wake()

    def _count(self, trace: Trace, line: ActivityLine) -> None:
        """Count a refusal of a caller who is not authenticated: one line for each connection, reason and minute."""
        moment = now()
        # Paths that no endpoint serves count by status alone: each could be another one.
        reason = "too many" if line.status == 429 else trace.stranger or f"status {line.status}"
        key = RefusalKey(moment // MINUTE, str(line.connection_uid), reason)
        with self._lock:
            self._count_call(trace, line.outcome, moment)
            count = self._refusals.get(key)
            if count is not None:
                self._refusals[key] = count._replace(last=moment, times=count.times + 1)
            elif len(self._refusals) < FLUSH_LINES:
                self._refusals[key] = RefusalCount(line, moment, moment, 1)
        self._worker.start()

    def _count_call(self, trace: Trace, outcome: str, moment: int) -> None:
        """Count a request of an identity provider while `_lock` is held; those of admins are not counted."""
        if trace.slug and trace.organization_id:
            hour = moment // HOUR
            key = CallsKey(trace.organization_id, hour)
            counts = self._calls.get(key)
            self._calls[key] = counts.merge(_CALLS[outcome]) if counts else _CALLS[outcome]
            if trace.principal is not None and trace.connection_uid:
                self._clients[trace.connection_uid] = Client(trace.agent, trace.flags, hour)

    # Writing --------------------------------------------------------------------------------------------------------

    def flush_briefly(self) -> None:
        """Write the buffer before it is read, unless that takes long: what cannot be written stays buffered."""
        if not self._flushing.acquire(timeout=BRIEF):
            return
        try:
            self._flush(True, BRIEF)
        except Unavailable as failure:
            log.debug("shown without what is buffered: %s", failure.detail)
        finally:
            self._flushing.release()

    def flush_due(self) -> None:
        """Write the buffer, without the counters of this minute that were written in the last one: the worker's task.

        Raises Unavailable.
        """
        with self._flushing:
            self._flush(False, BUSY_SECONDS)

    def flush(self) -> None:
        """Write the whole buffer and prune old lines. Waits for a flush that goes on. Raises Unavailable."""
        with self._flushing:
            self._flush(True, BUSY_SECONDS)

    def _flush(self, everything: bool, patience: float) -> None:
        """Write the buffer while `_flushing` is held. Raises Unavailable; all of it stays buffered then."""
        refusals, refused = self._take_refusals(everything), self._outages.pending(everything)
        with self._lock:
            lines, tokens_used, calls, clients = self._lines, self._tokens_used, self._calls, self._clients
            self._lines, self._tokens_used, self._calls, self._clients = [], {}, {}, {}
        explained = self._explanations.take()
        if not any((lines, tokens_used, calls, refusals, explained, refused is not None)):
            return
        connections: dict[str, tuple[str, int]] = {}
        try:
            with self._store.transaction(patience):
                self._write(lines)
                self._explanations.write(explained)
                self._write_refusals(refusals)
                if refused is not None:
                    self._store.activity.refuse_unless_writable()
                    connections = self._store.connections.by_slugs(sorted(refused))
                    self._write_outage(refused, connections)
                self._store.tokens.record_use([(moment, uid) for uid, moment in tokens_used.items()])
                self._write_calls(calls, refused or {}, connections)
                self._write_clients(clients)
                self._prune(len(lines))
        except (Unavailable, NotFound):  # the latter for an organization that was removed in this moment
            with self._lock:
                _add_calls(self._calls, calls)
                for key, count in refusals:
                    later = self._refusals.get(key)
                    self._refusals[key] = count.merge(later) if later else count
                self._lines = (lines + self._lines)[-MAX_BUFFERED:]
                self._tokens_used = tokens_used | self._tokens_used
            self._explanations.put_back(explained)
            raise
        if refused is not None:
            self._outages.confirm(refused, {slug: uid for slug, (uid, _) in connections.items()})

    def _take_refusals(self, everything: bool) -> list[tuple[RefusalKey, RefusalCount]]:
        """Take the counters to be written: the first of a reason soon, the rest of a storm once its minute ended."""
        minute = now() // MINUTE
        with self._lock:
            due = sorted(
                (key, count)
                for key, count in self._refusals.items()
                if everything or key.minute != minute or self._last_written.get(key[1:], 0) < minute - 1
            )
            for key, _ in due:
                del self._refusals[key]
                if len(self._last_written) >= FLUSH_LINES:
                    self._last_written.clear()
                self._last_written[key[1:]] = key.minute
        return due

    def _write(self, lines: list[tuple[int, ActivityLine]]) -> None:
        """Write lines, but those of an organization that was removed since: one of them must not lose the others."""
        present = self._store.organizations.present(sorted({line.organization_id for _, line in lines}))
        self._store.activity.add(
            [(moment, line) for moment, line in lines if line.organization_id in present]
        )

    def _write_refusals(self, refusals: list[tuple[RefusalKey, RefusalCount]]) -> None:
        present = self._store.organizations.present(
            sorted({count.line.organization_id for _, count in refusals})
        )
        for key, count in refusals:
            if count.line.organization_id in present:
                self._store.activity.count(key, count)

    def _write_clients(self, clients: Mapping[str, Client]) -> None:
        """Store which clients called: what this process has stored in this hour is not written again."""
        stored = self._clients_stored
        moved = {uid: client for uid, client in clients.items() if stored.get(uid) != client}
        if moved:
            self._store.connection_health.record_clients(moved)
            # Stored again if the transaction fails and they call once more; what is lost then is a User-Agent.
            if len(stored) + len(moved) > MAX_BUFFERED:
                stored.clear()
            stored.update(moved)

    def _write_outage(
        self, refused: Mapping[str, RefusalCount], connections: Mapping[str, tuple[str, int]]
    ) -> None:
        """Write a line to the activity of each connection whose requests an outage refused.

        By the minute of writing: all processes write theirs when the database is back, into one line.
        """
        minute = now() // MINUTE
        for slug, (uid, organization_id) in connections.items():
            count = refused[slug]
            line = count.line._replace(organization_id=organization_id, connection_uid=uid)
            self._store.activity.count(RefusalKey(minute, uid, REASON), count._replace(line=line))

    def _write_calls(
        self,
        calls: Mapping[CallsKey, CallCounts],
        refused: Mapping[str, RefusalCount],
        connections: Mapping[str, tuple[str, int]],
    ) -> None:
        """Write the calls that were counted, and those that an outage refused by the slugs of their connections.

        After all other rows of the flush but the pruned ones: a row of a new hour refers to its organization, which a
        change may hold at that time.
        """
        counts = dict(calls)
        for slug, (_, organization_id) in connections.items():
            key = CallsKey(organization_id, refused[slug].last // HOUR)
            _add_calls(counts, {key: CallCounts(refused=refused[slug].times)})
        self._store.hourly_calls.add(counts)

    def _prune(self, buffered: int) -> None:
        """Prune a few old lines for each that was written: a clock that jumps ahead takes no more of them than that."""
        with self._lock:
            written, self._written = self._written + buffered, 0
        if self._days:
            most = min(FLUSH_LINES, PRUNED_PER_LINE * max(1, written))
            self._store.activity.prune(now() - self._days * DAY, most)
            hour = now() // HOUR
            if hour != self._pruned_in:
                pruned = self._store.hourly_calls.prune(hour - self._days * 24, PRUNED_HOURS)
                self._pruned_in = hour if pruned < PRUNED_HOURS else 0


def _add_calls(counts: dict[CallsKey, CallCounts], more: Mapping[CallsKey, CallCounts]) -> None:
    """Add the counts of `more` to `counts`."""
    for key, by_outcome in more.items():
        counts[key] = counts.get(key, CallCounts()).merge(by_outcome)
