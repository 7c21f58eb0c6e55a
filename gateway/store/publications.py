"""The order of events over all organizations: numbers without gap, given to events after their commit.

The events of an organization follow its commits (`store.organizations.Reservation`). Over all of them there is no order
that a transaction could know before it ends, so committed events are published: under the lock of the one row of
`feed_state`, ranges of them get the next numbers. What commits later is published later.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from gateway.store.engine.base import Database
from gateway.store.events import COLUMNS, INTO, Event, position
from gateway.store.ids_and_time import now
from gateway.store.records import EventRecord

#: Stands for the deployment itself where an organization is named: it has events of its own.
DEPLOYMENT = 0
#: A position behind all events: nothing more of a removed organization is published.
CLOSED = 1 << 62
_MOVE = "ON CONFLICT (organization_id) DO UPDATE SET seq = excluded.seq"
#: Ends the publication of an organization.
CLOSE = f"INSERT INTO publications (organization_id, seq) VALUES (?, {CLOSED}) {_MOVE}"
#: The events of the deployment itself that are not published.
_OWN = (
    "SELECT 0 AS id, {columns} FROM feed_state f LEFT JOIN publications p ON p.organization_id = 0"
    " WHERE f.id = 1 AND f.seq > COALESCE(p.seq, 0)"
)


class FeedState(NamedTuple):
    """`epoch` changes after a restored backup. `published`: the last number. `seq`: the deployment's last event."""

    epoch: int
    published: int
    seq: int


class Range(NamedTuple):
    """Events of one organization, of which the last has the number `number` over all organizations."""

    number: int
    organization_id: int
    first_seq: int
    last_seq: int


class Publications:
    """The order over all organizations, and how far each one is published."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def state(self) -> FeedState:
        """Return epoch and last numbers."""
        row = self._db.one("SELECT epoch, published, seq FROM feed_state WHERE id = 1")
        assert row is not None
        return FeedState._make(row)

    def begin_epoch(self, at_least: int) -> int:
        """Begin another epoch, because numbers are given again after a restored backup; return it."""
        row = self._db.one(
            "UPDATE feed_state SET epoch = CASE WHEN epoch < ? THEN ? ELSE epoch + 1 END WHERE id = 1 RETURNING epoch",
            at_least,
            at_least,
        )
        assert row is not None
        return int(row[0])

    def lock(self) -> FeedState:
        """Return the state and keep it until the transaction ends: one process publishes at a time."""
        row = self._db.one(
            "UPDATE feed_state SET published = published WHERE id = 1 RETURNING epoch, published, seq"
        )
        assert row is not None
        return FeedState._make(row)

    def add_event(self, event: Event, moment: int | None = None) -> int:
        """Write an event of the deployment itself, in the transaction of what it says; return its number there."""
        row = self._db.one("UPDATE feed_state SET seq = seq + 1 WHERE id = 1 RETURNING seq")
        assert row is not None
        seq = int(row[0])
        values = (position(DEPLOYMENT, seq), DEPLOYMENT, seq, event.type, now() if moment is None else moment)
        self._db.insert(
            INTO, [(*values, event.resource, event.resource_uid, event.connection_uid, event.data)]
        )
        return seq

    def close(self, organization_id: int, uid: str, name: str) -> None:
        """Publish nothing more of an organization but that it was removed: in the transaction that begins it."""
        self.add_event(_organization_event("organization.removed", uid, name))
        self._db.run(CLOSE, organization_id)

    def unpublished(self, organization_ids: Sequence[int] | None = None) -> list[int]:
        """Return the organizations with events that are not published, or that are new, among the given ones or all.

        The deployment is looked at in any case, and comes first.
        """
        pending = (
            f"{_OWN.format(columns='f.seq')} UNION ALL SELECT o.id, p.seq FROM organizations o"
            " LEFT JOIN publications p ON p.organization_id = o.id WHERE o.event_seq > COALESCE(p.seq, -1)"
        )
        if organization_ids is None:
            rows = self._db.all(f"{pending} ORDER BY 1")
        else:
            rows = self._db.among(organization_ids, lambda marks: f"{pending} AND o.id IN ({marks})")
        return sorted({row[0] for row in rows})

    def publish(self, organization_ids: Sequence[int]) -> int:
        """Give the next numbers to the events of organizations that have none; return the last number.

        In a transaction. The events of the deployment come first: an organization is made before it has users.
        """
        before = last = self.lock().published
        self._introduce(organization_ids)
        marks = ",".join("?" * len(organization_ids))
        pending = (
            f"{_OWN.format(columns='COALESCE(p.seq, 0) AS seq, f.seq AS newest')}"
            " UNION ALL SELECT o.id, p.seq, o.event_seq FROM organizations o"
            f" JOIN publications p ON p.organization_id = o.id WHERE o.event_seq > p.seq AND o.id IN ({marks})"
        )
        rows = self._db.all(
            "INSERT INTO published_events (number, organization_id, first_seq, last_seq)"
            " SELECT ? + CAST(SUM(newest - seq) OVER (ORDER BY id) AS BIGINT), id, seq + 1, newest"
            f" FROM ({pending}) AS pending RETURNING number",
            before,
            *organization_ids,
        )
        if rows:
            last = int(max(rows)[0])
            self._db.run(
                "INSERT INTO publications (organization_id, seq)"
                f" SELECT organization_id, last_seq FROM published_events WHERE number > ? {_MOVE}",
                before,
            )
            self._db.run("UPDATE feed_state SET published = ? WHERE id = 1", last)
        return last

    def _introduce(self, organization_ids: Sequence[int]) -> None:
        """Write that organizations were created which are not in the order yet."""
        rows = self._db.among(
            organization_ids,
            lambda marks: (
                "SELECT o.id, o.uid, o.name, o.created FROM organizations o LEFT JOIN publications p"
                f" ON p.organization_id = o.id WHERE p.organization_id IS NULL AND o.id IN ({marks})"
            ),
        )
        for key, uid, name, created in sorted(rows):
            self.add_event(_organization_event("organization.created", uid, name), created)
            self._db.run("INSERT INTO publications (organization_id, seq) VALUES (?, 0)", key)

    def ranges(self, after: int, limit: int) -> list[Range]:
        """Return the next ranges that end behind a number, in order. The first may begin before it."""
        rows = self._db.all(
            "SELECT number, organization_id, first_seq, last_seq FROM published_events WHERE number > ?"
            " ORDER BY number LIMIT ?",
            after,
            limit,
        )
        return [Range._make(row) for row in rows]

    def page(self, after: int, limit: int) -> tuple[list[tuple[int, int, EventRecord]], int, bool]:
        """Return events as (number, organization key, event), where to go on, and whether the next ones are missing.

        Events of organizations that were removed meanwhile are left out, so a page may be empty and not the last. A
        page ends before events that are not kept any more.
        """
        numbers: dict[int, tuple[int, int]] = {}
        following, ranges = after, self.ranges(after, limit)
        missing = bool(ranges) and ranges[0].number - (ranges[0].last_seq - ranges[0].first_seq) > after + 1
        for each in ranges:
            first = each.number - (each.last_seq - each.first_seq)
            for number in range(max(first, after + 1), min(each.number, after + limit) + 1):
                seq = each.last_seq - (each.number - number)
                numbers[position(each.organization_id, seq)] = (number, each.organization_id)
                following = number
        rows = self._db.among(
            list(numbers), lambda marks: f"SELECT id, {COLUMNS} FROM events WHERE id IN ({marks})"
        )
        events = sorted((*numbers[row[0]], EventRecord._make(row[1:])) for row in rows)
        if lacking := numbers.keys() - {row[0] for row in rows}:
            present = self._present({numbers[key][1] for key in lacking})
            pruned = [numbers[key][0] for key in lacking if numbers[key][1] in present]
            if pruned:
                following = min(pruned) - 1
                events = [event for event in events if event[0] <= following]
                missing = missing or following == after
        return events, following, missing

    def _present(self, organization_ids: set[int]) -> set[int]:
        """Return those that were not removed, nor are being removed: what they had published, they have."""
        rows = self._db.among(
            sorted(organization_ids),
            lambda marks: (
                f"SELECT organization_id FROM publications WHERE seq < {CLOSED} AND organization_id IN ({marks})"
            ),
        )
        return {row[0] for row in rows}

    def news(self, after: int, limit: int) -> list[tuple[int, int | None, int | None]]:
        """Return (epoch, number, organization) of each range behind a number, at most `limit`.

        At least one row: number and organization are None where there is no range.
        """
        rows = self._db.all(
            "SELECT f.epoch, p.number, p.organization_id FROM feed_state f LEFT JOIN published_events p"
            " ON p.number > ? WHERE f.id = 1 ORDER BY p.number LIMIT ?",
            after,
            limit,
        )
        return [(epoch, number, key) for epoch, number, key in rows]


def _organization_event(kind: str, uid: str, name: str) -> Event:
    return Event(kind, "Organization", uid, None, json.dumps({"id": uid, "name": name}))
