"""Calls of identity providers, counted by organization and hour, with the seats of each hour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gateway.store.engine.base import CHUNK, Database
from gateway.store.organizations import COLUMNS
from gateway.store.records import HourRecord, OrganizationRecord


class CallsKey(NamedTuple):
    """The key by which calls are counted; `hour` since 1970."""

    organization_id: int
    hour: int


class CallCounts(NamedTuple):
    """How many calls were carried out, carried out in part, and refused."""

    done: int = 0
    partial: int = 0
    refused: int = 0

    def merge(self, more: CallCounts) -> CallCounts:
        """Return the sum of both, by outcome."""
        return CallCounts(self.done + more.done, self.partial + more.partial, self.refused + more.refused)


class FailingOrganization(NamedTuple):
    """An organization, and how many calls of its identity providers were refused."""

    organization: OrganizationRecord
    refused: int


class HourlyCalls:
    """The stored counts."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, counts: Mapping[CallsKey, CallCounts]) -> None:
        """Add calls to their hours, and store the seats that their organizations have now.

        Counts of an organization that was removed are dropped.
        """
        # In the order of the key: processes that add to the same rows at once would otherwise deadlock.
        rows = sorted((*key, *by_outcome) for key, by_outcome in counts.items())
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            marks = ", ".join(["(?, ?, ?, ?, ?)"] * len(chunk))
            self._db.run(_ADD.format(marks), *(value for row in chunk for value in row))

    def since(self, organization_id: int, hour: int) -> list[HourRecord]:
        """Return the hours of an organization from `hour` on, and the last one before it."""
        columns = f"SELECT {', '.join(HourRecord._fields)} FROM hourly_calls WHERE organization_id = ?"
        before = self._db.all(f"{columns} AND hour < ? ORDER BY hour DESC LIMIT 1", organization_id, hour)
        rows = self._db.all(f"{columns} AND hour >= ? ORDER BY hour", organization_id, hour)
        return [HourRecord._make(row) for row in (*before, *rows)]

    def failing(self, hour: int, limit: int) -> list[FailingOrganization]:
        """Return the organizations with refused calls from `hour` on, most first, then those whose seats are in use."""
        rows = self._db.all(
            f"SELECT {COLUMNS}, COALESCE(r.refused, 0) FROM organizations o LEFT JOIN"
            " (SELECT organization_id, CAST(SUM(refused) AS BIGINT) AS refused FROM hourly_calls"
            " WHERE hour >= ? AND refused > 0 GROUP BY organization_id) r ON r.organization_id = o.id"
            " WHERE r.refused > 0 OR o.seats_used >= o.seat_limit"
            " ORDER BY COALESCE(r.refused, 0) DESC, o.id LIMIT ?",
            hour,
            limit,
        )
        return [FailingOrganization(OrganizationRecord._make(row[:-1]), row[-1]) for row in rows]

    def prune(self, before: int, most: int) -> int:
        """Delete at most `most` rows of hours before `before`, the oldest first; return how many were deleted."""
        return self._db.run(
            "DELETE FROM hourly_calls WHERE (organization_id, hour) IN (SELECT organization_id, hour FROM hourly_calls"
            " WHERE hour < ? ORDER BY hour, organization_id LIMIT ?)",
            before,
            most,
        )


# `WHERE 1 = 1`: without a WHERE clause SQLite reads ON as that of the join.
_ADD = (
    "WITH counted (organization_id, hour, done, partial, refused) AS (VALUES {})"
    " INSERT INTO hourly_calls (organization_id, hour, done, partial, refused, seats_used, seat_limit)"
    " SELECT o.id, c.hour, c.done, c.partial, c.refused, o.seats_used, o.seat_limit"
    " FROM counted c JOIN organizations o ON o.id = c.organization_id WHERE 1 = 1 ORDER BY o.id, c.hour"
    " ON CONFLICT (organization_id, hour) DO UPDATE SET done = hourly_calls.done + excluded.done,"
    " partial = hourly_calls.partial + excluded.partial, refused = hourly_calls.refused + excluded.refused,"
    " seats_used = excluded.seats_used, seat_limit = excluded.seat_limit"
)
