"""Lists: pages of what a connection sees, each beginning where the page before it ended."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from gateway.scim.filters import Filter
from gateway.scim.schemas import ResourceType
from gateway.store import users
from gateway.store.conditions import GROUPS, TRUE, USERS, Compiler, Condition, Table
from gateway.store.database import Database
from gateway.store.records import ConnectionRecord
from gateway.store.walks import Place, Walks


class Page(NamedTuple):
    """One page of a list: how many there are in all, and those of this page."""

    total: int
    records: list[Any]


class Search:
    """Pages of users and groups that a connection sees."""

    def __init__(self, database: Database) -> None:
        self._db, self._walks = database, Walks(database)

    def page(
        self,
        connection: ConnectionRecord,
        resource: ResourceType,
        tree: Filter | None,
        start: int,
        count: int,
    ) -> Page:
        """`start` counts from 1 (RFC 7644, 3.4.2.4); the order is that of making, the same on every page and run."""
        table = USERS if resource.name == "User" else GROUPS
        where = Compiler(resource, table, connection).condition(tree) if tree else None
        query = (
            hashlib.sha256(f"{resource.name} {tree!r}".encode()).hexdigest()[:32] if tree else resource.name
        )
        if count == 0:
            return Page(self._total(connection, table, where), [])
        place = self._walks.place(connection, query, start)
        after, offset = (place.after, 0) if place else (0, start - 1)
        # One more than the page holds tells whether this is the last one.
        rows = self._rows(connection, table, where, after, offset, count + 1)
        records = [table.record._make(row) for row in rows[:count]]
        if len(rows) > count:
            place = place or Place(None, records[0].id - 1)
            self._walks.step(connection, query, start, place, start + count, records[-1].id)
        elif place:
            self._walks.end(connection, place)
        if start == 1 and len(rows) <= count:
            return Page(len(records), records)
        # Users may go while a client walks: a total below what was handed out would end its walk too early.
        handed_out = start - 1 + len(records) + (len(rows) > count)
        total = self._total(connection, table, where)
        return Page(max(total, handed_out) if records else total, records)

    def _rows(
        self, connection: ConnectionRecord, table: Table, where: Condition | None, after: int | None, offset: int,
        count: int,
    ) -> list[tuple[Any, ...]]:  # fmt: skip
        alive = table.alive.format(t=table.name)
        if where is None and not offset:
            # Two ranges of one index, each cut to a page: the same cost however many there are, whoever owns them.
            part = (
                f"SELECT * FROM (SELECT {table.columns} FROM {table.name} WHERE organization_id = ? AND %s AND {alive}"
                " AND id > ? ORDER BY id LIMIT ?)"
            )
            return self._db.all(
                f"{part % 'connection_id = ?'} UNION ALL {part % 'connection_id IS NULL'} ORDER BY id LIMIT ?",
                connection.organization_id, connection.id, after or 0, count,
                connection.organization_id, after or 0, count, count,
            )  # fmt: skip
        sql, parameters = where or TRUE
        # `+id`: SQLite would else walk the primary key in order rather than use the index of the condition.
        return self._db.all(
            f"SELECT {table.columns} FROM {table.name} WHERE {users.VISIBLE} AND {alive} AND {sql} AND +id > ?"
            " ORDER BY +id LIMIT ? OFFSET ?",
            connection.organization_id,
            connection.id,
            *parameters,
            after or 0,
            count,
            offset,
        )

    def _total(self, connection: ConnectionRecord, table: Table, where: Condition | None) -> int:
        if where is None:
            row = self._db.one(
                "SELECT COALESCE(SUM(n), 0) FROM tallies"
                " WHERE organization_id = ? AND resource = ? AND connection IN (0, ?)",
                connection.organization_id,
                "User" if table is USERS else "Group",
                connection.id,
            )
        else:
            row = self._db.one(
                f"SELECT COUNT(*) FROM {table.name} WHERE {users.VISIBLE} AND {table.alive.format(t=table.name)}"
                f" AND {where.sql}",
                connection.organization_id,
                connection.id,
                *where.parameters,
            )
        return row[0] if row else 0
