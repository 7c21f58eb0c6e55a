"""Writes the activity and tells listening plugins, apart from the request.

Refusals are written before the answer is out, changes in their own transaction. Reads, and refusals of those who come
too often, are gathered and written together, at most a second later: a lookup costs no write of its own, and a storm
makes no others wait. Listeners are told half a second after a change at most, of all that came meanwhile. What
a killed process had gathered is lost; no change ever is.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from gateway.plugin.contracts import Event, Organization
from gateway.plugin.manager import PluginManager
from gateway.provisioning.caller import Callers, Trace
from gateway.provisioning.outages import WORD, Outages
from gateway.scim.errors import Refusal, RequestTimeout, TooManyRequests, Unavailable
from gateway.store import Store
from gateway.store.activity import Gathered, Line, Reason
from gateway.store.engine.base import BRIEF, BUSY_SECONDS, Busy
from gateway.store.engine.failures import Outage
from gateway.store.ids_and_time import now, rfc3339
from gateway.store.records import EventRecord

log = logging.getLogger("gateway")

FLUSH_SECONDS = 1.0
FLUSH_LINES = 1000
#: Old lines that are forgotten for each that is written.
PACE = 4
#: Rest between two rounds, however much there is to do: what is written together costs less.
ROUND_SECONDS = 0.5
#: Events that a listener is told before it is noted how far it was told.
EVENTS_AT_ONCE = 1000
#: Lines that are kept while they cannot be written; the oldest go first.
MOST_LINES = 100_000
#: A process tells at once what it changed itself; what others left untold, and what failed, it looks for this often.
SWEEP_SECONDS = 30.0
#: Seconds that a listener is told of one organization before the next one has its turn.
TURN_SECONDS = 1.0
#: Seconds for which the process whose listener is still at an event keeps the others from telling it again; renewed
#: while the call goes on, so that a process that dies delays that event by no more.
HOLD_SECONDS = 30.0
#: A listener that raised hears again after 1, 2, 4, … seconds, at most this many.
LONGEST_WAIT = 300
_MINUTE = 60_000_000
_DAY = 86_400_000_000


class Recorder:
    """The activity of one process, and the relay of events to its plugins."""

    def __init__(self, store: Store, plugins: PluginManager, callers: Callers, activity_days: int) -> None:
        self._store, self._plugins, self._callers, self._days = store, plugins, callers, activity_days
        self._lines: list[tuple[int, Line]] = []
        self._used: dict[str, int] = {}
        self._strangers: dict[Reason, Gathered] = {}
        #: Reasons that were written lately, each with the minute: in a storm the rest waits for the end of its minute.
        self._storms: dict[tuple[str, str], int] = {}
        self.outages = Outages()
        self._changed: set[int] = set()
        self._swept = -SWEEP_SECONDS
        #: Listeners whose call outlasted its turn: of which organization, the last event told before, held until when.
        self._late: dict[str, tuple[int, int, float]] = {}
        self._introduced: set[str] = set()
        #: Lines that changes and refusals have written since the last flush.
        self._written = 0
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._relaying = threading.Lock()
        self._wake = threading.Event()
        self._worker: threading.Thread | None = None
        self._worker_pid = 0
        self._stopping = threading.Event()
        #: What the worker does besides: each answers with the keys of organizations that it changed.
        self.chores: list[Callable[[], Iterable[int]]] = []

    # Taking in ------------------------------------------------------------------------------------------------------

    def later(self, trace: Trace) -> None:
        """A read that went well: gathered."""
        self._gather(trace, trace.line(trace.status))

    def _gather(self, trace: Trace, line: Line) -> None:
        moment = now()
        with self._lock:
            self._lines.append((moment, line))
            if trace.token_id:
                self._used[trace.token_id] = moment
            full = len(self._lines) >= FLUSH_LINES
        self._ensure_worker()
        if full:
            self._wake.set()

    def _count(self, trace: Trace, line: Line) -> None:
        """A refusal of somebody who is not known: one line a connection, reason and minute counts them."""
        moment = now()
        # Paths that no endpoint serves count by status alone: each could be another one.
        word = "too many" if line.status == 429 else trace.stranger or f"status {line.status}"
        key = Reason(moment // _MINUTE, str(line.connection_uid), word)
        with self._lock:
            held = self._strangers.get(key)
            if held is not None:
                self._strangers[key] = held._replace(last=moment, times=held.times + 1)
            elif len(self._strangers) < FLUSH_LINES:
                self._strangers[key] = Gathered(line, moment, moment, 1)
        self._ensure_worker()

    def _due(self, whole: bool) -> list[tuple[Reason, Gathered]]:
        """What is to be written of strangers: the first of a reason soon, the rest of a storm once its minute ended."""
        minute = now() // _MINUTE
        with self._lock:
            due = sorted(
                (key, held)
                for key, held in self._strangers.items()
                if whole or key.minute != minute or self._storms.get(key[1:], 0) < minute - 1
            )
            for key, _ in due:
                del self._strangers[key]
                if len(self._storms) >= FLUSH_LINES:
                    self._storms.clear()
                self._storms[key[1:]] = key.minute
        return due

    def changed(self, trace: Trace) -> None:
        """A change that was written with its line: its token was used, and listeners may hear of it."""
        with self._lock:
            self._changed.add(trace.organization_id)
            self._written += 1
            if trace.token_id:
                self._used[trace.token_id] = now()
        self._ensure_worker()
        if self._plugins.listeners():
            self._wake.set()

    def refused(self, trace: Trace, refusal: Refusal) -> None:
        """A refusal: written at once, if the database can be written at all; gathered if it is one of very many."""
        if trace.in_part:
            self.changed(trace)
        if isinstance(refusal, Outage):
            self.unserved(refusal, trace)
            if trace.slug or not trace.organization_id:
                return
            # Of an admin: nobody else's line counts it.
            self._gather(trace, trace.line(refusal.status, refusal.detail))
            return
        if not trace.organization_id:
            return
        known_for = trace.connection_uid or trace.stranger
        if trace.principal is None and known_for and refusal.status < 500:
            self._count(trace, trace.line(refusal.status, refusal.detail))
            return
        # Who was refused for want of the lock has waited for it, and would wait for it here again.
        if isinstance(refusal, TooManyRequests | RequestTimeout | Busy):
            self._gather(trace, trace.line(refusal.status, refusal.detail))
            return
        # What was refused because nobody could write has waited long enough.
        patience = BRIEF if isinstance(refusal, Unavailable) else BUSY_SECONDS
        try:
            with self._store.transaction(patience):
                self._write([(now(), trace.line(refusal.status, refusal.detail))])
        except Unavailable:
            self._gather(trace, trace.line(refusal.status, refusal.detail))

    def unserved(self, outage: Outage, trace: Trace | None = None) -> None:
        """Note that the database did not serve; `trace` is that of the request which was refused for it, if one was."""
        self.outages.note(outage, trace)
        self._ensure_worker()

    # Writing out ----------------------------------------------------------------------------------------------------

    def flush_for_reading(self) -> None:
        """Write what was gathered, so that it is seen, where that is possible soon. What cannot be written stays
        gathered: whoever looks sees what is stored."""
        if not self._writing.acquire(timeout=BRIEF):
            return
        try:
            self._flush(True, BRIEF)
        except Unavailable as failure:
            log.debug("shown without what is gathered: %s", failure.detail)
        finally:
            self._writing.release()

    def flush(self, whole: bool = True) -> None:
        """Write what was gathered, and forget what is too old. What is being written already is waited for.

        `whole`: also what a storm of wrong tokens has left of this minute.
        """
        with self._writing:
            self._flush(whole, BUSY_SECONDS)

    def _flush(self, whole: bool, patience: float) -> None:
        """Write what was gathered while `_writing` is held. Raises Unavailable; all of it stays gathered then."""
        strangers, refused = self._due(whole), self.outages.due(whole)
        with self._lock:
            lines, used = self._lines, self._used
            self._lines, self._used = [], {}
        if not lines and not used and not strangers and refused is None:
            return
        known: dict[str, tuple[str, int]] = {}
        try:
            with self._store.transaction(patience):
                self._write(lines)
                present = self._store.organizations.present(
                    sorted({held.line.organization_id for _, held in strangers})
                )
                for reason, held in strangers:
                    if held.line.organization_id in present:
                        self._store.activity.count(reason, held)
                if refused is not None:
                    self._store.activity.refuse_unless_writable()
                    known = self._store.connections.at_slugs(sorted(refused))
                    self._count_refused(refused, known)
                self._store.tokens.used([(moment, uid) for uid, moment in used.items()])
                if self._days:
                    self._store.activity.prune(now() - self._days * _DAY, self._pace(len(lines)))
        except Unavailable:
            with self._lock:
                for reason, held in strangers:
                    later = self._strangers.get(reason)
                    self._strangers[reason] = held.together(later) if later else held
                self._lines = (lines + self._lines)[-MOST_LINES:]
                self._used = used | self._used
            raise
        if refused is not None:
            self.outages.served(refused, {slug: uid for slug, (uid, _) in known.items()})

    def _count_refused(self, refused: Mapping[str, Gathered], known: Mapping[str, tuple[str, int]]) -> None:
        """Write a line to the activity of each connection whose requests an outage refused.

        By the minute of writing: all processes write theirs when the database is back, into one line.
        """
        minute = now() // _MINUTE
        for slug, (uid, organization_id) in known.items():
            held = refused[slug]
            line = held.line._replace(organization_id=organization_id, connection_uid=uid)
            self._store.activity.count(Reason(minute, uid, WORD), held._replace(line=line))

    def _pace(self, gathered: int) -> int:
        """How many lines may be forgotten now: a few for each that was written, so that a clock that jumps ahead takes
        a little of the activity with it and not all."""
        with self._lock:
            written, self._written = self._written + gathered, 0
        return min(FLUSH_LINES, PACE * max(1, written))

    def _write(self, lines: list[tuple[int, Line]]) -> None:
        """Write lines, but those of an organization that was removed since: one of them must not lose the others."""
        present = self._store.organizations.present(sorted({line.organization_id for _, line in lines}))
        self._store.activity.add(
            [(moment, line) for moment, line in lines if line.organization_id in present]
        )

    def relay(self) -> None:
        """Tell every listening plugin what it has not heard, in the order of each organization."""
        listeners = self._plugins.listeners()
        if not listeners:
            return
        with self._relaying:
            for plugin in list(self._late):
                self._take_over(plugin)
            organizations = self._with_news()
            if organizations == []:
                return
            with self._store.database.only_one("relay") as mine:
                if not mine:
                    # Whoever is at it may have looked before these changes.
                    self._next_round(organizations)
                    return
                for plugin in listeners:
                    self._tell_all(plugin, organizations)

    def _tell_all(self, plugin: str, organizations: list[int] | None) -> None:
        if plugin not in self._introduced:
            with self._store.transaction():
                self._store.events.introduce(plugin, self._plugins.listening_since(plugin))
            self._introduced.add(plugin)
        if plugin in self._late:
            return  # all organizations are looked at when its call has ended
        for organization_id, seq in self._store.events.untold(plugin, organizations):
            self._tell(plugin, organization_id, seq)
            if plugin in self._late:
                return

    def _take_over(self, plugin: str) -> None:
        """Note how a call ended that outlasted its turn; while it goes on, other processes do not tell it again."""
        organization_id, seq, held_until = self._late[plugin]
        ended = self._plugins.take_late_result(plugin)
        if ended is not None:
            told, well = ended
            # First: what cannot be written now is told again, as after a crash.
            del self._late[plugin]
            with self._lock:
                self._swept = -SWEEP_SECONDS
            self._note(plugin, organization_id, seq + told, told, well)
        elif time.monotonic() > held_until - HOLD_SECONDS / 2:
            self._hold(plugin, organization_id, seq)

    def _hold(self, plugin: str, organization_id: int, seq: int) -> None:
        self._late[plugin] = organization_id, seq, time.monotonic() + HOLD_SECONDS
        with self._store.transaction():
            until = now() + int(HOLD_SECONDS * 1_000_000)
            self._store.events.hold(plugin, organization_id, seq, until)

    def _with_news(self) -> list[int] | None:
        """Organizations that this process changed, or None when it is time to look at all."""
        with self._lock:
            changed, self._changed = sorted(self._changed), set()
        if time.monotonic() - self._swept < SWEEP_SECONDS:
            return changed
        self._swept = time.monotonic()
        return None

    def _next_round(self, organizations: list[int] | None) -> None:
        with self._lock:
            if organizations is None:
                self._swept = -SWEEP_SECONDS
            else:
                self._changed.update(organizations)
        if organizations != []:
            self._wake.set()

    def _tell(self, plugin: str, organization_id: int, seq: int) -> None:
        """One turn of an organization: what is left, and what comes meanwhile, is told at the next round."""
        until, full = time.monotonic() + TURN_SECONDS, True
        while full and (records := self._store.events.page(organization_id, seq, EVENTS_AT_ONCE)):
            full = len(records) == EVENTS_AT_ONCE
            organization = self._callers.tenant(self._store.organizations.by_key(organization_id))
            events = [_event(organization, record) for record in records]
            told, well = self._plugins.deliver(plugin, events, max(0.0, until - time.monotonic()))
            seq = records[told - 1].seq if told else seq
            if self._plugins.is_late(plugin):
                if told:
                    self._note(plugin, organization_id, seq, told, True)
                self._hold(plugin, organization_id, seq)
                return
            self._note(plugin, organization_id, seq, told, well)
            if not well or time.monotonic() >= until:
                self._next_round([organization_id])
                return

    def _note(self, plugin: str, organization_id: int, seq: int, told: int, well: bool) -> None:
        with self._store.transaction():
            if told:
                self._store.events.told(plugin, organization_id, seq)
            if not well:
                failures = self._store.events.failures(plugin, organization_id)
                wait = min(2**failures, LONGEST_WAIT) * 1_000_000
                self._store.events.failed(plugin, organization_id, seq, now() + wait)

    # The worker -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Serve activity and listeners from now on, in the process that answers requests; call it after the fork."""
        self._ensure_worker()

    def _ensure_worker(self) -> None:
        # A server may fork after the application was made; threads do not survive that.
        if self._worker_pid == os.getpid():
            return
        with self._lock:
            if self._worker_pid == os.getpid() or self._stopping.is_set():
                return
            self._worker = threading.Thread(target=self._work, name="gateway-recorder", daemon=True)
            self._worker_pid = os.getpid()
            self._worker.start()

    def _work(self) -> None:
        while not self._stopping.wait(ROUND_SECONDS):
            self._wake.wait(FLUSH_SECONDS - ROUND_SECONDS)
            self._wake.clear()
            try:
                self.flush(whole=False)
                self.relay()
                for chore in self.chores:
                    self._next_round(list(chore()))
            except Outage as outage:
                self.outages.note(outage)
            except Refusal as error:
                log.warning("activity and listeners wait: %s", error.detail)
            except Exception:  # what fails now must not end it: there is no second worker
                log.exception("activity and listeners could not be served")
        self._store.database.close()

    def close(self) -> None:
        """Write what is left and stop."""
        self._stopping.set()
        self._wake.set()
        if self._worker and self._worker_pid == os.getpid():
            self._worker.join(timeout=5)
        try:
            self.flush()
        finally:
            self.outages.give_up()


def _event(organization: Organization, record: EventRecord) -> Event:
    return Event(
        id=record.seq,
        type=record.type,
        at=rfc3339(record.at),
        organization=organization,
        connection=record.connection_uid,
        resource="User" if record.resource == "User" else "Group",
        resource_id=record.resource_uid,
        data=json.loads(record.data),
    )
