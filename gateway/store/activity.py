"""The activity: one line for each request of an identity provider or admin, its outcome, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.scim.documents import fold
from gateway.store.clock import now
from gateway.store.database import Database
from gateway.store.records import ActivityRecord

COLUMNS = (
    "id, at, connection_uid, principal, operation, user_name, status, outcome, detail, ignored,"
    " decisions, request_id"
)
INTO = (
    "activity (organization_id, at, connection_uid, principal, operation, user_name, user_key, status, outcome, detail,"
    " ignored, decisions, request_id)"
)

#: The outcome in words of SQL: as a parameter it would not find the index of failures.
_OUTCOMES: dict[str | None, tuple[str, ...]] = {
    None: (),
    "success": ("outcome = 'success'",),
    "failure": ("outcome = 'failure'",),
}
#: organization key, connection id, principal, operation, user, status, detail, ignored, decisions, request id
Line = tuple[int, str | None, str | None, str, str | None, int, str | None, str, str, str | None]


class ActivityLog:
    """Lines of organizations."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, lines: Sequence[tuple[int, Line]]) -> None:
        """Write lines, each with its moment."""
        self._db.insert(INTO, [row(moment, line) for moment, line in lines])

    def page(
        self, organization_id: int, before: tuple[int, int] | None, limit: int, *, outcome: str | None = None,
        user: str | None = None, connection: str | None = None,
    ) -> list[ActivityRecord]:  # fmt: skip
        """The newest first, from the one before `before` (its moment and key) on.

        By the moment, for reads are written a little after they happened.
        """
        wanted: dict[str, Any] = {
            "user_key = ?": fold(user) if user else None,
            "connection_uid = ?": connection,
        }
        conditions = {sql: value for sql, value in wanted.items() if value is not None}
        where = "".join(f" AND {sql}" for sql in (*_OUTCOMES[outcome], *conditions))
        if before:
            where += " AND (at, id) < (?, ?)"
        rows = self._db.all(
            f"SELECT {COLUMNS} FROM activity WHERE organization_id = ?{where} ORDER BY at DESC, id DESC LIMIT ?",
            organization_id,
            *conditions.values(),
            *(before or ()),
            limit,
        )
        return [ActivityRecord._make(row) for row in rows]

    def last_call(
        self, organization_id: int, connection: str, outcome: str | None = None
    ) -> ActivityRecord | None:
        """The newest line of a connection that its identity provider left, not an admin who worked at it."""
        row = self._db.one(
            f"SELECT {COLUMNS} FROM activity WHERE organization_id = ? AND connection_uid = ?"
            " AND operation LIKE '% /%'"
            " AND operation NOT LIKE '% /organizations%' AND operation NOT LIKE '% /connections%'"
            f"{''.join(f' AND {sql}' for sql in _OUTCOMES[outcome])} ORDER BY at DESC, id DESC LIMIT 1",
            organization_id,
            connection,
        )
        return ActivityRecord._make(row) if row else None

    def prune(self, before: int, most: int = 1000) -> int:
        """Forget the oldest lines from before a moment, a few at a time; how many."""
        oldest = self._db.one("SELECT at FROM activity ORDER BY id LIMIT 1")
        if oldest is None or oldest[0] >= before:
            return 0
        # Lines are written in the order of their moments, but for a second or so.
        return self._db.run(
            "DELETE FROM activity WHERE id IN (SELECT id FROM activity ORDER BY id LIMIT ?) AND at < ?",
            most,
            before,
        )


def row(moment: int, line: Line) -> tuple[Any, ...]:
    """A line as it is written."""
    (
        organization_id,
        connection,
        principal,
        operation,
        user,
        status,
        detail,
        ignored,
        decisions,
        request_id,
    ) = line
    outcome = "success" if status < 400 else "failure"
    key = fold(user) if user else None
    return (
        organization_id, moment or now(), connection, principal, operation, user, key, status, outcome,
        detail, ignored, decisions, request_id,
    )  # fmt: skip
