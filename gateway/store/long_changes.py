"""Changes of very many users that are made in portions, each a transaction: what is left of them, and how far they are.

A row stands from the first transaction of such a change until the last one, so that any process can go on with it.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.store.engine.base import Database
from gateway.store.ids_and_time import new_id, now
from gateway.store.records import ConnectionRecord

#: Users follow new rules; what a mapping granted becomes manual; a connection, an organization is removed.
APPLY, RELEASE, REMOVE = "apply", "release", "remove"
COLUMNS = "uid, organization_id, connection_id, kind, path, after, until, done, users, principal, request_id, touched"


class LongChange(NamedTuple):
    """One of them. Users with keys above `after` and up to `until` are left; `done` of `users` were looked at."""

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
    """What is being changed in portions. A connection has one at most, an organization another one."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def begin(
        self, organization_id: int, connection: ConnectionRecord | None, kind: str, path: str = "[]", *,
        principal: str | None = None, request_id: str | None = None,
    ) -> str:  # fmt: skip
        """Note a change of all users that are there now, in place of what was being changed; its id."""
        self.abandon(organization_id, connection)
        tenant, parameters = "organization_id = ?", [organization_id]
        if connection is not None:
            tenant, parameters = f"{tenant} AND connection_id = ?", [organization_id, connection.id]
        last = self._db.one(f"SELECT MAX(id) FROM users WHERE {tenant} AND deleted = 0", *parameters)
        tally = tenant.replace("connection_id", "connection")
        total = self._db.one(f"SELECT SUM(n) FROM tallies WHERE resource = 'User' AND {tally}", *parameters)
        uid, moment = new_id(), now()
        self._db.run(
            "INSERT INTO long_changes (uid, organization_id, connection_id, kind, path, after, until, done, users,"
            " principal, request_id, began, touched) VALUES (?, ?, ?, ?, ?, 0, ?, 0, ?, ?, ?, ?, ?)",
            uid,
            organization_id,
            connection.id if connection else None,
            kind,
            path,
            (last and last[0]) or 0,
            int((total and total[0]) or 0),
            principal,
            request_id,
            moment,
            moment,
        )
        return uid

    def abandon(self, organization_id: int, connection: ConnectionRecord | None) -> None:
        """What was being changed is left as it is."""
        which = "IS NULL" if connection is None else f"= {connection.id:d}"
        self._db.run(
            f"DELETE FROM long_changes WHERE organization_id = ? AND connection_id {which}", organization_id
        )

    def of(self, organization_id: int, connection: ConnectionRecord | None) -> LongChange | None:
        """The one of a connection, or of an organization."""
        which = "IS NULL" if connection is None else f"= {connection.id:d}"
        row = self._db.one(
            f"SELECT {COLUMNS} FROM long_changes WHERE organization_id = ? AND connection_id {which}",
            organization_id,
        )
        return LongChange._make(row) if row else None

    def by_id(self, uid: str) -> LongChange | None:
        """By the id that `begin` gave; None once it is over."""
        row = self._db.one(f"SELECT {COLUMNS} FROM long_changes WHERE uid = ?", uid)
        return LongChange._make(row) if row else None

    def untouched(self, since: int) -> list[LongChange]:
        """Those with which nobody went on since a moment, the oldest first."""
        rows = self._db.all(
            f"SELECT {COLUMNS} FROM long_changes WHERE touched < ? ORDER BY began LIMIT 100", since
        )
        return [LongChange._make(row) for row in rows]

    def advance(self, change: LongChange, after: int, done: int) -> None:
        """So many more users are done, up to this key."""
        self._db.run(
            "UPDATE long_changes SET after = ?, done = done + ?, touched = ? WHERE uid = ?",
            after,
            done,
            now(),
            change.uid,
        )

    def end(self, change: LongChange) -> None:
        """All are done."""
        self._db.run("DELETE FROM long_changes WHERE uid = ?", change.uid)
