"""Delivers committed events to the plugins that listen, in the order of each organization.

A position is stored for each listener and organization. What failed, or what a process did not deliver before it
ended, is delivered again: at least once, never out of order. Processes divide the work by leases on these streams.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gateway.plugin.contracts import Event, Organization
from gateway.plugin.manager import PluginManager
from gateway.provisioning.caller import Callers
from gateway.provisioning.worker import Worker
from gateway.scim.errors import NotFound
from gateway.store import Store
from gateway.store.delivery_positions import Position
from gateway.store.ids_and_time import now, rfc3339
from gateway.store.records import EventRecord

#: Events that a listener receives before the next ones are read.
BATCH_SIZE = 1000
#: Streams that a process leases together; the rest is left to other processes until these are done.
STREAMS = 100
#: A process delivers at once what it changed itself; for what others left, and for what failed, it looks this often.
SWEEP_SECONDS = 30.0
#: Seconds for which a listener receives events of one organization before those of the next one follow.
SLICE_SECONDS = 1.0
#: Seconds between two times that positions are stored, all that moved in one transaction.
WRITE_SECONDS = 1.0
#: Seconds for which a process has a stream to itself. Renewed while it delivers, so that a process that dies delays
#: its streams by no more.
LEASE_SECONDS = 20.0
#: A listener that raised receives the event again after 1, 2, 4, … seconds, at most this many.
MAX_RETRY_SECONDS = 300


class _LateCall(NamedTuple):
    """A call that outlasted its time slice. `position`: that of its stream before; `leased_until`: monotonic."""

    position: Position
    leased_until: float


class EventRelay:
    """Delivers events to listeners. Each stream of a listener is delivered by one process at a time."""

    def __init__(self, store: Store, plugins: PluginManager, callers: Callers, worker: Worker) -> None:
        self._store, self._plugins, self._callers, self._worker = store, plugins, callers, worker
        self._changed: set[int] = set()
        self._swept = -SWEEP_SECONDS
        self._late_calls: dict[str, _LateCall] = {}
        self._registered: set[str] = set()
        self._holder = ""
        self._lock = threading.Lock()
        self._delivering = threading.Lock()

    def schedule(self, organization_ids: Iterable[int]) -> None:
        """Deliver the events of organizations that this process changed, in the next round of the worker."""
        if self._look_again(organization_ids) and self._plugins.listeners():
            self._worker.wake()

    def deliver(self) -> None:
        """Deliver to each listener the events behind its position."""
        listeners = self._plugins.listeners()
        if not listeners:
            return
        with self._delivering:
            # Made here, behind the fork: no two processes have the same.
            self._holder = self._holder or secrets.token_hex(8)
            for plugin in list(self._late_calls):
                self._check_late_call(plugin)
            organizations = self._take_changed()
            if organizations == []:
                return
            for plugin in listeners:
                self._deliver_to(plugin, organizations)

    def _take_changed(self) -> list[int] | None:
        """Return the organizations that this process changed, or None when it is time to look at all of them."""
        with self._lock:
            changed, self._changed = sorted(self._changed), set()
        if time.monotonic() - self._swept < SWEEP_SECONDS:
            return changed
        self._swept = time.monotonic()
        return None

    def _look_again(self, organization_ids: Iterable[int]) -> bool:
        """Look at organizations in the next round, whenever that is; return whether there are any."""
        again = set(organization_ids)
        with self._lock:
            self._changed |= again
        return bool(again)

    def _request_sweep(self) -> None:
        with self._lock:
            self._swept = -SWEEP_SECONDS

    def _deliver_to(self, plugin: str, organizations: list[int] | None) -> None:
        positions = self._store.listener_positions
        if plugin not in self._registered:
            with self._store.transaction():
                positions.register(plugin, self._plugins.listening_since(plugin))
            self._registered.add(plugin)
        if plugin in self._late_calls:
            return  # all organizations are looked at when its call has ended
        moment = now()
        behind = positions.behind(plugin, organizations)
        free = [each for each in behind if max(each.retry_at, each.lease_until) <= moment]
        # A process that delivers now may have looked before the newest event; what was postponed is not due for long.
        soon = moment + int(SWEEP_SECONDS * 1_000_000)
        self._look_again(
            each.organization_id for each in behind if moment < max(each.retry_at, each.lease_until) < soon
        )
        for start in range(0, len(free), STREAMS):
            self._deliver_streams(plugin, free[start : start + STREAMS])
            if plugin in self._late_calls:
                return

    def _deliver_streams(self, plugin: str, wanted: Sequence[Position]) -> None:
        """Lease streams, deliver a time slice of each, and store the positions together, at least once a second."""
        try:
            with self._store.transaction():
                taken = self._store.listener_positions.take(wanted, self._holder, now(), _lease_end())
        except NotFound:  # one organization was removed since: the others follow in the next round
            self.schedule(each.organization_id for each in wanted)
            return
        in_time = {each.stream for each in taken}
        self._look_again(each.organization_id for each in wanted if each.stream not in in_time)
        moved: list[Position] = []
        written = time.monotonic()
        while taken:
            position = taken.pop(0)
            after = self._deliver_slice(position)
            if plugin in self._late_calls:
                # Nothing more is delivered by this process; the others may.
                moved += [each._replace(lease_until=0) for each in taken]
                taken.clear()
            moved.append(after)
            if not taken or time.monotonic() - written >= WRITE_SECONDS:
                until = _lease_end()
                held = self._write([*moved, *(each._replace(lease_until=until) for each in taken)])
                taken = [each for each in taken if each.stream in held]
                moved, written = [], time.monotonic()

    def _deliver_slice(self, position: Position) -> Position:
        """Deliver events of one stream for `SLICE_SECONDS`; the rest follows in the next round.

        Returns the new position, without a lease unless the call is late.
        """
        plugin, organization_id, *_ = position
        until, full = time.monotonic() + SLICE_SECONDS, True
        position = position._replace(lease_until=0)
        while full and (records := self._store.events.page(organization_id, position.seq, BATCH_SIZE)):
            full = len(records) == BATCH_SIZE
            try:
                organization = self._callers.tenant(self._store.organizations.by_key(organization_id))
            except NotFound:  # removed since, with its events
                return position
            # Older events may have been pruned.
            position = position._replace(seq=records[0].seq - 1)
            epoch = self._store.publications.state().epoch
            events = [_event(organization, record, epoch) for record in records]
            count, succeeded = self._plugins.deliver(plugin, events, max(0.0, until - time.monotonic()))
            if count:
                position = position._replace(seq=records[count - 1].seq, failures=0, retry_at=0)
            if self._plugins.is_late(plugin):
                position = position._replace(lease_until=_lease_end())
                self._late_calls[plugin] = _LateCall(position, time.monotonic() + LEASE_SECONDS)
                return position
            if not succeeded:
                position = _postpone(position)
            if not succeeded or time.monotonic() >= until:
                self.schedule([organization_id])
                return position
        return position

    def _check_late_call(self, plugin: str) -> None:
        """Store how a late call ended; while it goes on, renew the lease of its stream."""
        call = self._late_calls[plugin]
        result = self._plugins.take_late_result(plugin)
        if result is not None:
            count, succeeded = result
            # First: what cannot be stored now is delivered again, as after a crash.
            del self._late_calls[plugin]
            self._request_sweep()
            position = call.position._replace(lease_until=0)
            if count:
                position = position._replace(seq=position.seq + count, failures=0, retry_at=0)
            self._write([position if succeeded else _postpone(position)])
        elif time.monotonic() > call.leased_until - LEASE_SECONDS / 2:
            position = call.position._replace(lease_until=_lease_end())
            self._late_calls[plugin] = _LateCall(position, time.monotonic() + LEASE_SECONDS)
            self._write([position])

    def _write(self, positions: Sequence[Position]) -> set[tuple[str, int]]:
        """Store positions; return the streams whose lease is still this process's."""
        with self._store.transaction():
            return self._store.listener_positions.write(positions, self._holder)


def _lease_end() -> int:
    return now() + int(LEASE_SECONDS * 1_000_000)


def _postpone(position: Position) -> Position:
    """Count a failure at the next event, which is delivered again after a wait."""
    wait = min(2**position.failures, MAX_RETRY_SECONDS) * 1_000_000
    return position._replace(failures=position.failures + 1, retry_at=now() + wait, lease_until=0)


def _event(organization: Organization, record: EventRecord, epoch: int) -> Event:
    return Event(
        id=record.seq,
        type=record.type,
        at=rfc3339(record.at),
        organization=organization,
        connection=record.connection_uid,
        resource=record.resource,
        resource_id=record.resource_uid,
        data=json.loads(record.data),
        epoch=epoch,
    )
