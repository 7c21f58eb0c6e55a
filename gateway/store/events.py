"""Events: every committed change, numbered without gap in its organization."""

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


def event_of(key: int) -> tuple[int, int]:
    """Return organization and number of the event with a primary key."""
    return divmod(key, _SPAN)


def event_key(organization: str, seq: str) -> str:
    """Return the primary key of an event as an expression over columns, or sums of them."""
    return f"({organization}) * {_SPAN} + ({seq})"


def event_range(key: str, organization: str) -> str:
    """Return the condition on a column `key` of events that an organization has, whose key is a column as well."""
    return f"{key} >= {organization} * {_SPAN} AND {key} < ({organization} + 1) * {_SPAN}"


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
    """Stored events."""

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
