"""What is stored about one user in the tables of activity, events, holds and adoption, newest first.

No index of events names a user, so the newest `WINDOW` events of the organization are read by their primary key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from gateway.scim.json_text import fold
from gateway.store.activity import COLUMNS, USER_LENGTH
from gateway.store.engine.base import Database
from gateway.store.events import position
from gateway.store.records import ActivityRecord, UserRecord

#: Events of an organization that are searched for those of a user, and how many of these are shown.
WINDOW, MOST_EVENTS = 20_000, 500
#: Names of a user whose lines are read.
MOST_NAMES = 20


class UserEvent(NamedTuple):
    """An event of a user; `user_name` is JSON."""

    seq: int
    type: str
    at: int
    connection_uid: str | None
    user_name: str | None


class HeldRemoval(NamedTuple):
    """A removal of a user that was held back, by the id of the connection that asked for it."""

    connection_uid: str
    action: str
    first: int
    last: int
    tries: int
    allowed: int


class Adoption(NamedTuple):
    """A connection that asked to manage a user."""

    id: int
    connection_uid: str
    state: str
    first: int
    decided: int | None
    decided_by: str | None


class Timelines:
    """Reads of everything about one user."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def events(self, organization_id: int, uid: str) -> list[UserEvent]:
        """Return events of a user among the newest of an organization, the newest first."""
        row = self._db.one("SELECT event_seq FROM organizations WHERE id = ?", organization_id)
        newest = int(row[0]) if row else 0
        name = self._db.dialect.part("data", ("userName",))
        rows = self._db.all(
            f"SELECT seq, type, at, connection_uid, {name} FROM events WHERE id > ? AND id <= ? AND resource_uid = ?"
            " ORDER BY id DESC LIMIT ?",
            position(organization_id, max(0, newest - WINDOW)),
            *(position(organization_id, newest), uid, MOST_EVENTS),
        )
        return [UserEvent._make(row) for row in rows]

    def lines(
        self, organization_id: int, uid: str, names: Sequence[str], before: tuple[int, int], limit: int
    ) -> list[ActivityRecord]:
        """Return lines of the activity about a user under any of its names, the newest first, before moment and key.

        Lines about another user who had one of the names are left out.
        """
        found: dict[int, ActivityRecord] = {}
        for key in sorted({fold(name)[:USER_LENGTH] for name in names})[:MOST_NAMES]:
            rows = self._db.all(
                f"SELECT {COLUMNS} FROM activity WHERE organization_id = ? AND user_key = ? AND (at, id) < (?, ?)"
                " AND (target_uid = ? OR target_uid IS NULL OR target_uid = '') ORDER BY at DESC, id DESC LIMIT ?",
                *(organization_id, key, *before, uid, limit),
            )
            found |= {row[0]: ActivityRecord._make(row) for row in rows}
        return sorted(found.values(), key=lambda line: (line.at, line.id), reverse=True)[:limit]

    def held_removals(self, organization_id: int, uid: str) -> list[HeldRemoval]:
        """Return removals of a user that wait, or were decided lately."""
        return self._rows(
            HeldRemoval,
            "SELECT c.uid, h.action, h.first, h.last, h.tries, h.allowed FROM connections c JOIN held_removals h"
            " ON h.connection_id = c.id AND h.resource = 'User' AND h.uid = ? WHERE c.organization_id = ?"
            " ORDER BY c.id LIMIT 100",
            *(uid, organization_id),
        )

    def adoptions(self, organization_id: int, user: UserRecord) -> list[Adoption]:
        """Return which connections asked to manage a user."""
        return self._rows(
            Adoption,
            "SELECT a.id, c.uid, a.state, a.first, a.decided, a.decided_by FROM adoptions a"
            " JOIN connections c ON c.id = a.connection_id WHERE a.user_id = ? AND a.organization_id = ?"
            " ORDER BY a.id LIMIT 100",
            *(user.id, organization_id),
        )

    def _rows(self, kind: Any, sql: str, *parameters: Any) -> list[Any]:
        return [kind._make(row) for row in self._db.all(sql, *parameters)]
