"""Undo: reads of what a connection did since a moment, from the events, and of what is stored of those it did it to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gateway.store.engine.base import Database
from gateway.store.events import position
from gateway.store.records import UserRecord
from gateway.store.users import COLUMNS

#: Numbers of events that one statement reads.
EVENTS_PER_READ = 1_000
#: Numbers of events before the first one of a user that are searched for its earlier document.
WINDOW = 200_000
#: Types of events that say what became of a user, and the one that says who joined or left a group.
USER_TYPES = (
    "user.created", "user.updated", "user.deactivated", "user.reactivated", "user.restored", "user.deleted"
)  # fmt: skip
MEMBERS_CHANGED = "group.members_changed"
_TYPES = ", ".join(f"'{name}'" for name in (*USER_TYPES, MEMBERS_CHANGED))


class PastEvent(NamedTuple):
    """An event of a user or of the members of a group; `data` is JSON, only that of a change of members."""

    seq: int
    type: str
    at: int
    uid: str
    connection_uid: str | None
    data: str | None


class StoredPerson(NamedTuple):
    """A user as stored, deleted or not."""

    user: UserRecord
    deleted: bool


class StoredGroup(NamedTuple):
    """A group, and the connection that pushes it."""

    id: int
    uid: str
    name: str
    connection_id: int | None


class Undos:
    """The reads of an undo. No index of events names a time or a user: they are read by their primary key."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def oldest(self, organization_id: int) -> tuple[int, int] | None:
        """Return number and moment of the oldest stored event; None without one."""
        return self._next(organization_id, 0)

    def first_since(self, organization_id: int, moment: int) -> int:
        """Return a number so that every event since a moment has that one or a later one.

        It is found by bisection, so the events must be in the order of their times, but for the clocks of nodes: the
        caller subtracts by how much they may differ.
        """
        oldest = self.oldest(organization_id)
        row = self._db.one("SELECT event_seq FROM organizations WHERE id = ?", organization_id)
        newest = int(row[0]) if row else 0
        if oldest is None:
            return newest + 1
        low, high = oldest[0], newest + 1
        while low < high:
            middle = (low + high) // 2
            found = self._next(organization_id, middle)
            if found is None or found[1] >= moment:
                high = middle
            else:
                low = found[0] + 1
        return low

    def _next(self, organization_id: int, seq: int) -> tuple[int, int] | None:
        row = self._db.one(
            "SELECT seq, at FROM events WHERE id >= ? AND id < ? ORDER BY id LIMIT 1",
            position(organization_id, seq),
            position(organization_id + 1, 0),
        )
        return (row[0], row[1]) if row else None

    def events(self, organization_id: int, after: int) -> list[PastEvent]:
        """Return the events of users and members among the next `EVENTS_PER_READ` numbers behind one, in order."""
        rows = self._db.all(
            f"SELECT seq, type, at, resource_uid, connection_uid, CASE WHEN type = '{MEMBERS_CHANGED}' THEN data END"
            f" FROM events WHERE id > ? AND id <= ? AND type IN ({_TYPES}) ORDER BY id",
            position(organization_id, after),
            position(organization_id, after + EVENTS_PER_READ),
        )
        return [PastEvent._make(row) for row in rows]

    def documents_before(self, organization_id: int, firsts: Mapping[str, int]) -> dict[str, str]:
        """Return the JSON of the last event of each user before a number, by the user's id.

        A user has none whose events are no longer stored, or further back than `WINDOW` numbers.
        """
        if not firsts:
            return {}
        lowest, highest = min(firsts.values()), max(firsts.values())
        types = ", ".join(f"'{name}'" for name in USER_TYPES)
        rows = self._db.among(
            list(firsts),
            lambda marks: (
                f"SELECT resource_uid, seq FROM events WHERE id > ? AND id < ? AND type IN ({types})"
                f" AND resource_uid IN ({marks})"
            ),
            position(organization_id, max(0, lowest - WINDOW)),
            position(organization_id, highest),
        )
        last: dict[str, int] = {}
        for uid, seq in rows:
            if last.get(uid, 0) < seq < firsts[uid]:
                last[uid] = seq
        data = self._db.among(
            [position(organization_id, seq) for seq in last.values()],
            lambda marks: f"SELECT resource_uid, data FROM events WHERE id IN ({marks})",
        )
        return dict(data)

    def people(self, organization_id: int, uids: Sequence[str]) -> dict[str, StoredPerson]:
        """Return users by their ids, deleted or not."""
        rows = self._db.among(
            uids,
            lambda marks: (
                f"SELECT {COLUMNS}, deleted FROM users WHERE +organization_id = ? AND uid IN ({marks})"
            ),
            organization_id,
        )
        found = (StoredPerson(UserRecord._make(row[:-1]), bool(row[-1])) for row in rows)
        return {person.user.uid: person for person in found}

    def names_in_use(self, organization_id: int, keys: Sequence[str]) -> dict[str, str]:
        """Return the ids of users that are not deleted, by their folded userNames."""
        rows = self._db.among(
            keys,
            lambda marks: (
                "SELECT user_name_key, uid FROM users WHERE organization_id = ? AND deleted = 0"
                f" AND user_name_key IN ({marks})"
            ),
            organization_id,
        )
        return dict(rows)

    def groups(self, organization_id: int, column: str, values: Sequence[int | str]) -> list[StoredGroup]:
        """Return groups by the values of a column, `id` or `uid`."""
        rows = self._db.among(
            values,
            lambda marks: (
                f"SELECT id, uid, name, connection_id FROM groups WHERE +organization_id = ? AND {column} IN ({marks})"
            ),
            organization_id,
        )
        return [StoredGroup._make(row) for row in rows]
