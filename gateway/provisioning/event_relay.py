"""Delivers committed events to the plugins that listen, in the order of each organization.

A position is stored for each listener and organization. What failed, or what a process did not deliver before it
ended, is delivered again: at least once, never out of order.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from typing import NamedTuple

from gateway.plugin.contracts import Event, Organization
from gateway.plugin.manager import PluginManager
from gateway.provisioning.caller import Callers
from gateway.provisioning.worker import Worker
from gateway.store import Store
from gateway.store.ids_and_time import now, rfc3339
from gateway.store.records import EventRecord

#: Events that a listener receives before its position is stored.
BATCH_SIZE = 1000
#: A process delivers at once what it changed itself; for what others left, and for what failed, it looks this often.
SWEEP_SECONDS = 30.0
#: Seconds for which a listener receives events of one organization before those of the next one follow.
SLICE_SECONDS = 1.0
#: Seconds for which the process whose listener is still at an event keeps other processes from delivering it again.
#: Renewed while the call goes on, so that a process that dies delays that event by no more.
LEASE_SECONDS = 30.0
#: A listener that raised receives the event again after 1, 2, 4, … seconds, at most this many.
MAX_RETRY_SECONDS = 300


class _LateCall(NamedTuple):
    """A call that outlasted its time slice. `seq`: the last event delivered before; `leased_until`: monotonic."""

    organization_id: int
    seq: int
    leased_until: float


class EventRelay:
    """Delivers events to listeners; one process at a time does."""

    def __init__(self, store: Store, plugins: PluginManager, callers: Callers, worker: Worker) -> None:
        self._store, self._plugins, self._callers, self._worker = store, plugins, callers, worker
        self._changed: set[int] = set()
        self._swept = -SWEEP_SECONDS
        self._late_calls: dict[str, _LateCall] = {}
        self._registered: set[str] = set()
        self._lock = threading.Lock()
        self._delivering = threading.Lock()

    def schedule(self, organization_ids: Iterable[int]) -> None:
        """Deliver the events of organizations that this process changed, in the next round of the worker."""
        changed = set(organization_ids)
        with self._lock:
            self._changed |= changed
        if changed and self._plugins.listeners():
            self._worker.wake()

    def deliver(self) -> None:
        """Deliver to each listener the events behind its position."""
        listeners = self._plugins.listeners()
        if not listeners:
            return
        with self._delivering:
            for plugin in list(self._late_calls):
                self._check_late_call(plugin)
            organizations = self._take_changed()
            if organizations == []:
                return
            with self._store.database.only_one("relay") as mine:
                if not mine:
                    # The process that delivers may have looked before these changes.
                    self._put_back(organizations)
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

    def _put_back(self, organizations: list[int] | None) -> None:
        """Undo `_take_changed`: the next round looks at the same organizations."""
        if organizations is None:
            self._request_sweep()
            self._worker.wake()
        else:
            self.schedule(organizations)

    def _request_sweep(self) -> None:
        with self._lock:
            self._swept = -SWEEP_SECONDS

    def _deliver_to(self, plugin: str, organizations: list[int] | None) -> None:
        if plugin not in self._registered:
            with self._store.transaction():
                self._store.events.register_listener(plugin, self._plugins.listening_since(plugin))
            self._registered.add(plugin)
        if plugin in self._late_calls:
            return  # all organizations are looked at when its call has ended
        for organization_id, seq in self._store.events.undelivered(plugin, organizations):
            self._deliver_slice(plugin, organization_id, seq)
            if plugin in self._late_calls:
                return

    def _deliver_slice(self, plugin: str, organization_id: int, seq: int) -> None:
        """Deliver events of one organization for `SLICE_SECONDS`; the rest follows in the next round."""
        until, full = time.monotonic() + SLICE_SECONDS, True
        while full and (records := self._store.events.page(organization_id, seq, BATCH_SIZE)):
            full = len(records) == BATCH_SIZE
            organization = self._callers.tenant(self._store.organizations.by_key(organization_id))
            events = [_event(organization, record) for record in records]
            count, succeeded = self._plugins.deliver(plugin, events, max(0.0, until - time.monotonic()))
            seq = records[count - 1].seq if count else seq
            if self._plugins.is_late(plugin):
                if count:
                    self._store_position(plugin, organization_id, seq, count, True)
                self._lease(plugin, organization_id, seq)
                return
            self._store_position(plugin, organization_id, seq, count, succeeded)
            if not succeeded or time.monotonic() >= until:
                self.schedule([organization_id])
                return

    def _check_late_call(self, plugin: str) -> None:
        """Store how a late call ended; while it goes on, renew the lease on what follows."""
        call = self._late_calls[plugin]
        result = self._plugins.take_late_result(plugin)
        if result is not None:
            count, succeeded = result
            # First: what cannot be stored now is delivered again, as after a crash.
            del self._late_calls[plugin]
            self._request_sweep()
            self._store_position(plugin, call.organization_id, call.seq + count, count, succeeded)
        elif time.monotonic() > call.leased_until - LEASE_SECONDS / 2:
            self._lease(plugin, call.organization_id, call.seq)

    def _lease(self, plugin: str, organization_id: int, seq: int) -> None:
        self._late_calls[plugin] = _LateCall(organization_id, seq, time.monotonic() + LEASE_SECONDS)
        with self._store.transaction():
            until = now() + int(LEASE_SECONDS * 1_000_000)
            self._store.events.lease_delivery(plugin, organization_id, seq, until)

    def _store_position(
        self, plugin: str, organization_id: int, seq: int, count: int, succeeded: bool
    ) -> None:
        with self._store.transaction():
            if count:
                self._store.events.confirm_delivery(plugin, organization_id, seq)
            if not succeeded:
                failures = self._store.events.count_failures(plugin, organization_id)
                wait = min(2**failures, MAX_RETRY_SECONDS) * 1_000_000
                self._store.events.postpone_delivery(plugin, organization_id, seq, now() + wait)


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
