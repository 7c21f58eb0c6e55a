"""Long changes: changes of very many users in portions, each a transaction, with the progress of each change.

A row exists from the first transaction of such a change to the last one, so that any process can continue it.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.store.engine.base import Database
from gateway.store.ids_and_time import new_id, now
from gateway.store.records import ConnectionRecord

#: Kinds: apply new mapping rules; make grants of a mapping manual; remove a connection or organization; import people.
APPLY, RELEASE, REMOVE, IMPORT = "apply", "release", "remove", "import"
COLUMNS = "uid, organization_id, connection_id, kind, path, after, until, done, users, principal, request_id, touched"


class LongChange(NamedTuple):
    """A change in progress: users with keys above `after` up to `until` are left; `done` of `users` are processed.

    Of an import `path` is its id, and the keys are the numbers of its rows.
    """

    uid: str
    organization_id: int
    connection_id: int | None
    kind: str
    path: str
    after: int
    until: int
    done: int
    users: int
    principal: str | None
    request_id: str | None
    touched: int


class LongChanges:
    """The changes in progress: at most one for a connection, and one for an organization."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def begin(
        self, organization_id: int, connection: ConnectionRecord | None, kind: str, path: str = "[]", *,
        principal: str | None = None, request_id: str | None = None,
    ) -> str:  # fmt: skip
        """Insert a change of all users that exist now, in place of the previous one; return its id."""
        self.abandon(organization_id, connection)
        tenant, parameters = "organization_id = ?", [organization_id]
        if connection is not None:
            tenant, parameters = f"{tenant} AND connection_id = ?", [organization_id, connection.id]
        last = self._db.one(f"SELECT MAX(id) FROM users WHERE {tenant} AND deleted = 0", *parameters)
        tally = tenant.replace("connection_id", "connection")
        total = self._db.one(f"SELECT SUM(n) FROM tallies WHERE resource = 'User' AND {tally}", *parameters)
        key, users = connection.id if connection else None, int((total and total[0]) or 0)
        return self._insert(
            organization_id, key, kind, path, (last and last[0]) or 0, users, principal, request_id
        )

    def begin_import(
        self, organization_id: int, import_uid: str, rows: int, principal: str | None, request_id: str | None
    ) -> str:
        """Insert the change that applies the rows of an import; return its id."""
        return self._insert(organization_id, None, IMPORT, import_uid, rows, rows, principal, request_id)

    def _insert(
        self, organization_id: int, connection_id: int | None, kind: str, path: str, until: int, users: int,
        principal: str | None, request_id: str | None,
    ) -> str:  # fmt: skip
        uid, moment = new_id(), now()
        self._db.run(
            "INSERT INTO long_changes (uid, organization_id, connection_id, kind, path, after, until, done, users,"
            " principal, request_id, began, touched) VALUES (?, ?, ?, ?, ?, 0, ?, 0, ?, ?, ?, ?, ?)",
            uid,
            organization_id,
            connection_id,
            kind,
            path,
            until,
            users,
            principal,
            request_id,
            moment,
            moment,
        )
        return uid

    def abandon(self, organization_id: int, connection: ConnectionRecord | None) -> None:
        """Delete the change in progress; the users processed so far stay changed."""
        which = "IS NULL" if connection is None else f"= {connection.id:d}"
        self._db.run(
            f"DELETE FROM long_changes WHERE organization_id = ? AND connection_id {which}", organization_id
        )

    def find(self, organization_id: int, connection: ConnectionRecord | None) -> LongChange | None:
        """Find the change of a connection, or of an organization (`connection` None)."""
        which = "IS NULL" if connection is None else f"= {connection.id:d}"
        row = self._db.one(
            f"SELECT {COLUMNS} FROM long_changes WHERE organization_id = ? AND connection_id {which}",
            organization_id,
        )
        return LongChange._make(row) if row else None

    def by_id(self, uid: str) -> LongChange | None:
        """Find a change by the id that `begin` returned; None once it has ended."""
        row = self._db.one(f"SELECT {COLUMNS} FROM long_changes WHERE uid = ?", uid)
        return LongChange._make(row) if row else None

    def find_abandoned(self, since: int) -> list[LongChange]:
        """List changes without progress since a time in microseconds, oldest first, at most 100."""
        rows = self._db.all(
            f"SELECT {COLUMNS} FROM long_changes WHERE touched < ? ORDER BY began LIMIT 100", since
        )
        return [LongChange._make(row) for row in rows]

    def advance(self, change: LongChange, after: int, done: int) -> None:
        """Record that `done` more users were processed, up to the key `after`."""
        self._db.run(
            "UPDATE long_changes SET after = ?, done = done + ?, touched = ? WHERE uid = ?",
            after,
            done,
            now(),
            change.uid,
        )

    def end(self, change: LongChange) -> None:
        """Delete a change that has processed all users."""
        self._db.run("DELETE FROM long_changes WHERE uid = ?", change.uid)
