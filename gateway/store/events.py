"""Events: every committed change, numbered without gap in its organization, and the positions of listeners."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.store.engine.base import Database
from gateway.store.engine.statements import Statement, Step
from gateway.store.ids_and_time import now
from gateway.store.records import EventRecord

COLUMNS = "seq, type, at, resource, resource_uid, connection_uid, data"

INTO = "events (id, organization_id, seq, type, at, resource, resource_uid, connection_uid, data)"
#: More events than one organization ever has.
_SPAN = 1 << 40


class Event(NamedTuple):
    """An event that has no number yet. `data` is a JSON object."""

    type: str
    resource: str
    resource_uid: str
    connection_uid: str | None
    data: str


def position(organization_id: int, seq: int) -> int:
    """Return the primary key of an event: those of an organization are adjacent, in the order of their numbers."""
    return organization_id * _SPAN + seq


_WRITE = Statement(
    "event",
    f"INSERT INTO {INTO} SELECT :base + :reserve.event_seq, :tenant, :reserve.event_seq - :behind, :type, :at,"
    " :resource, :resource_uid, :connection_uid, :data WHERE :go",
)


def event_steps(organization_id: int, events: Sequence[Event], moment: int) -> list[Step]:
    """Return the statements that write events under the last numbers that the statement `reserve` reserved."""
    steps, last = [], len(events) - 1
    for number, event in enumerate(events):
        behind = last - number
        values = event._asdict() | {
            "base": position(organization_id, -behind), "tenant": organization_id, "behind": behind, "at": moment
        }  # fmt: skip
        steps.append(Step(_WRITE._replace(name=f"event_{number}") if number else _WRITE, values))
    return steps


class Events:
    """Stored events, and how far each listener received those of each organization."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, organization_id: int, last: int, events: Sequence[Event]) -> None:
        """Insert events whose numbers were reserved up to `last`."""
        moment, first = now(), last - len(events) + 1
        self._db.insert(
            INTO,
            [
                (
                    position(organization_id, seq),
                    organization_id,
                    seq,
                    event.type,
                    moment,
                    event.resource,
                    event.resource_uid,
                    event.connection_uid,
                    event.data,
                )
                for seq, event in enumerate(events, first)
            ],
        )

    def page(self, organization_id: int, after: int, limit: int) -> list[EventRecord]:
        """Return at most `limit` events in order, from the one after number `after` on."""
        if after >= _SPAN:
            return []
        rows = self._db.all(
            f"SELECT {COLUMNS} FROM events WHERE id > ? AND id < ? ORDER BY id LIMIT ?",
            position(organization_id, after),
            position(organization_id + 1, 0),
            limit,
        )
        return [EventRecord._make(row) for row in rows]

    def newest(self, organization_id: int) -> int:
        """Return the number of the newest event of an organization; 0 before the first."""
        row = self._db.one("SELECT event_seq FROM organizations WHERE id = ?", organization_id)
        return row[0] if row else 0

    def remove(self, organization_id: int) -> None:
        """Delete all events of an organization."""
        self._db.run(
            "DELETE FROM events WHERE id >= ? AND id < ?",
            position(organization_id, 0),
            position(organization_id + 1, 0),
        )

    # Positions of listeners ------------------------------------------------------------------------------------

    def register_listener(self, plugin: str, since: int) -> None:
        """Register a listener, which receives the events from `since` (microseconds) on, all of them with 0.

        A listener that was registered before keeps its positions. One statement for all organizations, which reads the
        newest events of each first, by the primary key.
        """
        if self._db.one("SELECT 1 FROM listeners WHERE plugin = ?", plugin):
            return
        # It has a position from before there was this table: not new.
        if self._db.one("SELECT 1 FROM deliveries WHERE plugin = ? LIMIT 1", plugin):
            since = 0
        self._db.run(
            "INSERT INTO listeners (plugin, since) VALUES (?, ?) ON CONFLICT (plugin) DO NOTHING",
            plugin,
            since,
        )
        if since:
            before = (
                f"SELECT e.seq FROM events e WHERE e.id >= o.id * {_SPAN} AND e.id < (o.id + 1) * {_SPAN}"
                " AND e.at < ? ORDER BY e.id DESC LIMIT 1"
            )
            self._db.run(
                "INSERT INTO deliveries (plugin, organization_id, seq, failures, retry_at)"
                f" SELECT ?, o.id, COALESCE(({before}), 0), 0, 0 FROM organizations o WHERE o.event_seq > 0"
                " ON CONFLICT (plugin, organization_id) DO NOTHING",
                plugin,
                since,
            )

    def undelivered(
        self, plugin: str, organization_ids: Sequence[int] | None = None
    ) -> list[tuple[int, int]]:
        """Return organizations with events that a listener has not received, and its position: (key, number).

        Among the given ones, or (None) among all, which costs a look at each. Leased and postponed ones are left out.
        """
        pending = (
            "SELECT o.id, COALESCE(d.seq, 0) FROM organizations o LEFT JOIN deliveries d"
            " ON d.organization_id = o.id AND d.plugin = ?"
            " WHERE o.event_seq > COALESCE(d.seq, 0) AND COALESCE(d.retry_at, 0) <= ?"
        )
        if organization_ids is None:
            return [(key, seq) for key, seq in self._db.all(pending, plugin, now())]
        rows = self._db.among(
            organization_ids, lambda marks: f"{pending} AND o.id IN ({marks})", plugin, now()
        )
        return [(key, seq) for key, seq in rows]

    def confirm_delivery(self, plugin: str, organization_id: int, seq: int) -> None:
        """Move a listener's position forward to this event, never back, and end its failures and its lease."""
        newest = "CASE WHEN excluded.seq > deliveries.seq THEN excluded.seq ELSE deliveries.seq END"
        self._upsert_delivery(plugin, organization_id, f"seq = {newest}, failures = 0, retry_at = 0", seq, 0)

    def lease_delivery(self, plugin: str, organization_id: int, seq: int, until: int) -> None:
        """Keep all processes from delivering what follows `seq` before `until`: a call of this one goes on."""
        self._upsert_delivery(plugin, organization_id, "retry_at = excluded.retry_at", seq, until, failures=0)

    def postpone_delivery(self, plugin: str, organization_id: int, seq: int, retry_at: int) -> None:
        """Count a failure at the event after `seq`, which is delivered again from `retry_at` on."""
        sets = "failures = deliveries.failures + 1, retry_at = excluded.retry_at"
        self._upsert_delivery(plugin, organization_id, sets, seq, retry_at)

    def count_failures(self, plugin: str, organization_id: int) -> int:
        """Return how often a listener failed in a row at the event that it is to receive next."""
        row = self._db.one(
            "SELECT failures FROM deliveries WHERE plugin = ? AND organization_id = ?",
            plugin,
            organization_id,
        )
        return row[0] if row else 0

    def failing_listeners(self) -> list[tuple[str, int, int]]:
        """Return each listener that fails: its plugin, in how many organizations, and how often in a row at most."""
        rows = self._db.all(
            "SELECT plugin, COUNT(*), MAX(failures) FROM deliveries WHERE failures > 0"
            " GROUP BY plugin ORDER BY plugin"
        )
        return [(plugin, organizations, failures) for plugin, organizations, failures in rows]

    def _upsert_delivery(
        self,
        plugin: str,
        organization_id: int,
        sets: str,
        seq: int,
        retry_at: int,
        failures: int | None = None,
    ) -> None:
        self._db.run(
            "INSERT INTO deliveries (plugin, organization_id, seq, failures, retry_at) VALUES (?, ?, ?, ?, ?)"
            f" ON CONFLICT (plugin, organization_id) DO UPDATE SET {sets}",
            plugin,
            organization_id,
            seq,
            int(retry_at > 0) if failures is None else failures,
            retry_at,
        )
