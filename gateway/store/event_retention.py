"""Removes old events, those first that no subscriber waits for; numbers are never given again.

The events of an organization stand in the order of time by their primary key, so what is old is a beginning of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from gateway.store.engine.base import Database
from gateway.store.events import event_range, position
from gateway.store.publications import CLOSED, DEPLOYMENT, Publications

#: The organization whose events are those of the deployment itself is one of them here.
_ORGANIZATIONS = "(SELECT 0 AS id UNION ALL SELECT id FROM organizations) o"
_OLDEST = f"(SELECT e.at FROM events e WHERE {event_range('e.id', 'o.id')} ORDER BY e.id LIMIT 1)"


class Stream(NamedTuple):
    """The events of one organization for one subscriber, which received them up to `seq`.

    `active`: it is delivered to, or was until lately.
    """

    organization_id: int
    seq: int
    active: bool


class EventRetention:
    """Reads what may be removed, and removes it, in bounded pieces."""

    def __init__(self, database: Database, publications: Publications) -> None:
        self._db, self._publications = database, publications

    def oldest(self, after: int, limit: int) -> list[tuple[int, int | None]]:
        """Return the next organizations behind a key, in order, and when the oldest event of each was committed.

        Those under a legal hold are left out.
        """
        # Not joined to the others: SQLite would read the oldest event of each organization before it sorts them.
        own = [(DEPLOYMENT, at) for _, at in self.removable(DEPLOYMENT, 1)] if after < DEPLOYMENT else []
        rows = self._db.all(
            f"SELECT o.id, {_OLDEST} FROM organizations o WHERE o.id > ? AND o.legal_hold = 0 ORDER BY o.id LIMIT ?",
            max(after, DEPLOYMENT),
            limit - len(own),
        )
        return [*own, *((key, at) for key, at in rows)]

    def published(self, organization_ids: Sequence[int]) -> dict[int, int]:
        """Return up to which number the events of organizations are published."""
        return dict(
            self._db.among(
                organization_ids,
                lambda marks: (
                    f"SELECT organization_id, seq FROM publications WHERE organization_id IN ({marks})"
                ),
            )
        )

    def streams(
        self, organization_ids: Sequence[int], listeners: Collection[str], active_since: int
    ) -> list[Stream]:
        """Return all streams of organizations.

        Active are the given plugins, webhooks that are sent to, and those that received something or were changed
        since a moment.
        """
        listening = self._db.among(
            organization_ids,
            lambda marks: (
                "SELECT o.id, COALESCE(d.seq, 0), l.plugin FROM organizations o CROSS JOIN listeners l"
                " LEFT JOIN deliveries d ON d.plugin = l.plugin AND d.organization_id = o.id"
                f" WHERE o.id IN ({marks})"
            ),
        )
        # A webhook without a URL is polled, by a receiver that may have ended; of the deployment it receives nothing.
        sent = self._db.among(
            organization_ids,
            lambda marks: (
                "SELECT o.id, COALESCE(p.seq, 0), CASE WHEN w.state IN ('on', 'failing') AND w.url <> ''"
                f" OR COALESCE(w.succeeded, 0) >= ? OR w.modified >= ? THEN 1 ELSE 0 END FROM {_ORGANIZATIONS}"
                " JOIN webhooks w ON w.organization_id = o.id OR w.organization_id IS NULL"
                " LEFT JOIN webhook_positions p ON p.webhook_id = w.id AND p.organization_id = o.id"
                f" WHERE (o.id <> {DEPLOYMENT} OR w.url <> '') AND o.id IN ({marks})"
            ),
            active_since,
            active_since,
        )
        return [Stream(key, seq, plugin in listeners) for key, seq, plugin in listening] + [
            Stream(key, seq, bool(active)) for key, seq, active in sent
        ]

    def removable(self, organization_id: int, limit: int) -> list[tuple[int, int]]:
        """Return number and moment of the oldest events of an organization."""
        rows = self._db.all(
            "SELECT seq, at FROM events WHERE id > ? AND id < ? ORDER BY id LIMIT ?",
            position(organization_id, 0),
            position(organization_id + 1, 0),
            limit,
        )
        return [(seq, at) for seq, at in rows]

    def remove(self, organization_id: int, first: int, last: int) -> int:
        """Delete the events of an organization from one number to another; return how many they were."""
        return self._db.run(
            "DELETE FROM events WHERE id >= ? AND id <= ?",
            position(organization_id, first),
            position(organization_id, last),
        )

    def removed_ranges(self, after: int, limit: int) -> tuple[int | None, int | None]:
        """Look at the next published ranges whose events are all removed, up to the first with one that is kept.

        Returns the number of the last of them whose organization is there (those of organizations that were removed
        are as old as what stands behind them), and where to look on; None at the end.
        """
        ranges = self._publications.ranges(after, limit)
        kept = {
            row[0]
            for row in self._db.among(
                [position(each.organization_id, each.last_seq) for each in ranges],
                lambda marks: f"SELECT id FROM events WHERE id IN ({marks})",
            )
        }
        there = {
            row[0]
            for row in self._db.among(
                sorted({each.organization_id for each in ranges}),
                lambda marks: (
                    f"SELECT organization_id FROM publications WHERE seq < {CLOSED} AND organization_id IN ({marks})"
                ),
            )
        }
        last = None
        for each in ranges:
            if position(each.organization_id, each.last_seq) in kept:
                return last, None
            if each.organization_id in there:
                last = each.number
        return last, ranges[-1].number if len(ranges) == limit else None

    def remove_ranges(self, last: int, most: int) -> int:
        """Delete at most so many of the first published ranges, up to a number; return how many they were."""
        return self._db.run(
            "DELETE FROM published_events WHERE number IN"
            " (SELECT number FROM published_events WHERE number <= ? ORDER BY number LIMIT ?)",
            last,
            most,
        )
