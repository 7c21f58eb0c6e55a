"""Lists: pages of users, groups or both, each beginning where the page before it ended.

A list may hold several types: those of the first one come first. Its rows then stand on one axis, each type with a
stretch of its own, so that a walk or a cursor remembers one number whatever it is in the middle of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from gateway.scim.filters import Filter
from gateway.scim.schemas import ResourceType
from gateway.scim.sorting import Sort
from gateway.store import users
from gateway.store.at_once import Tally, users_page
from gateway.store.conditions import FALSE, NULL, TRUE, Compiler, Condition
from gateway.store.database import Database
from gateway.store.memberships import Groups
from gateway.store.records import ConnectionRecord
from gateway.store.tables import GROUPS, USERS, Table
from gateway.store.walks import FRESH_NOTE, Place, Walks, fresh_note

#: The stretch of each type on the axis of a list: more than there are rows of one type.
_STRETCH = 1 << 61


@dataclass(frozen=True)
class Query:
    """What is listed: of which types, the first one first; which of them, all if None; by what, by making if None."""

    types: tuple[ResourceType, ...]
    tree: Filter | None = None
    sort: Sort | None = None

    @property
    def all_users(self) -> bool:
        """Whether this is the list of all users, in the order of making."""
        return len(self.types) == 1 and self.types[0].name == "User" and not (self.tree or self.sort)

    @property
    def digest(self) -> str:
        """The same for the same list, whatever part of it is asked for."""
        names = "+".join(kind.name for kind in self.types)
        return hashlib.sha256(f"{names} {self.tree!r}".encode()).hexdigest()[:32] if self.tree else names


class Page(NamedTuple):
    """One page of a list: how many there are in all, those of this page, and the place of the last if more remain."""

    total: int
    records: list[Any]
    next: int | None = None
    #: The groups of users by their keys, where they were read with them.
    groups: Groups | None = None


class _Part(NamedTuple):
    """What one type adds to a list."""

    table: Table
    where: Condition | None
    key: Condition
    #: Where its stretch of the axis begins.
    begin: int
    #: Where there is no condition.
    tally: Tally = Tally()


class Search:
    """Pages of users and groups that a connection sees."""

    def __init__(self, database: Database) -> None:
        self._db, self._walks = database, Walks(database)

    def page(self, connection: ConnectionRecord, query: Query, start: int, count: int) -> Page:
        """`start` counts from 1 (RFC 7644, 3.4.2.4); the order is the same on every page and run."""
        if count == 0:
            return Page(self._total(connection, self._parts(query, connection)), [])
        known = self._walks.place(connection, query.digest, start) if start > 1 and not query.sort else None
        place = known or Place(None, 0, start - 1)
        # One more than the page holds tells whether this is the last one.
        parts, records, groups = self._found(connection, query, place, count + 1)
        more = len(records) > count
        if more:
            records.pop()
        if not query.sort:
            self._remember(connection, query, parts, start, place, records, more)
        if start == 1 and not more:
            return Page(len(records), records, groups=groups)
        # Users may go while a client walks: a total below what was handed out would end its walk too early.
        handed_out = start - 1 + len(records) + more
        total = self._total(connection, parts)
        return Page(max(total, handed_out) if records else total, records, groups=groups)

    def page_after(self, connection: ConnectionRecord, query: Query, after: int, count: int) -> Page:
        """The page behind a place that an earlier page ended at (0: the first page), in the order of making."""
        parts, records, groups = self._found(connection, query, Place(None, after), count + 1)
        if len(records) > count:
            records.pop()
            return Page(self._total(connection, parts), records, _place(parts, records[-1]), groups)
        total = self._total(connection, parts) if after else len(records)
        return Page(total, records, groups=groups)

    def _found(
        self, connection: ConnectionRecord, query: Query, place: Place, count: int
    ) -> tuple[list[_Part], list[Any], Groups | None]:
        """What is listed, its rows from a place on, and the groups of those who are in them, if they came with them."""
        next_start = 0 if place.after or place.offset else count
        if query.all_users and not place.offset and self._db.dialect.turns:
            found = users_page(
                self._db, connection, place.after, count, fresh_note(connection, query.digest, next_start)
            )
            return [_Part(USERS, None, NULL, 0, found.tally)], found.users, found.groups
        parts = self._parts(query, connection, next_start)
        if query.sort:
            return parts, self._sorted(connection, parts, query.sort, place.offset, count), None
        return parts, self._rows(connection, parts, place.after, place.offset, count), None

    def _remember(
        self,
        connection: ConnectionRecord,
        query: Query,
        parts: list[_Part],
        start: int,
        place: Place,
        records: list[Any],
        more: bool,
    ) -> None:
        """Where the next page begins, for whoever asks for it."""
        if not more:
            self._walks.end(connection, query.digest, place)
            return
        next_start, last = start + len(records), _place(parts, records[-1])
        if start == 1:
            self._walks.begin(connection, query.digest, next_start, last, parts[0].tally.noted)
            return
        if place.offset:
            place = Place(None, _place(parts, records[0]) - 1)
        self._walks.step(connection, query.digest, start, place, next_start, last)

    def _rows(
        self, connection: ConnectionRecord, parts: list[_Part], after: int, offset: int, count: int
    ) -> list[Any]:
        records: list[Any] = []
        for number, part in enumerate(parts):
            if len(records) == count or after >= part.begin + _STRETCH:
                continue
            if offset and number and after < part.begin:
                # Past the end of the types before: the offset goes on within this one.
                offset = max(0, offset - self._total_of(connection, parts[number - 1]))
            behind = max(0, after - part.begin)
            rows = self._rows_of(connection, part, behind, 0 if records else offset, count - len(records))
            # `_make` does the same in Python, at twice the cost.
            records += map(partial(tuple.__new__, part.table.record), rows)
        return records

    def _rows_of(
        self, connection: ConnectionRecord, part: _Part, after: int, offset: int, count: int
    ) -> list[tuple[Any, ...]]:
        table, where = part.table, part.where
        if where == FALSE:
            return []
        if where is None and not offset:
            return self._range(connection, part, after, count)
        # `+id`: SQLite would else walk the primary key in order rather than use the index of the condition.
        return self._db.all(
            f"SELECT {table.columns} FROM {_seen(part)} AND +id > ? ORDER BY +id LIMIT ? OFFSET ?",
            *_seen_by(connection, part),
            after,
            count,
            offset,
        )

    def _range(
        self, connection: ConnectionRecord, part: _Part, after: int, count: int
    ) -> list[tuple[Any, ...]]:
        """A page of all that a connection sees: the same cost however many there are."""
        table = part.table
        alive = table.alive.format(t=table.name)
        one = (
            "SELECT {columns} FROM {table} WHERE organization_id = ? AND connection_id {owner} AND {alive} AND id > ?"
            " ORDER BY id LIMIT ?"
        )
        organization_id = connection.organization_id
        if part.tally.of_nobody == 0:
            # Whoever is made by hand meanwhile came after this page was asked for.
            sql = one.format(columns=table.columns, table=table.name, owner="= ?", alive=alive)
            return self._db.all(sql, organization_id, connection.id, after, count)
        # Two ranges of one index, each cut to a page, whoever owns them.
        columns = "id" if self._db.dialect.sorts_copies else table.columns
        halves = (
            f"SELECT * FROM ({one.format(columns=columns, table=table.name, owner=owner, alive=alive)}) half"
            for owner in ("= ?", "IS NULL")
        )
        sql = f"{' UNION ALL '.join(halves)} ORDER BY id LIMIT ?"
        if columns == "id":
            sql = f"SELECT {table.columns} FROM {table.name} WHERE id IN (SELECT id FROM ({sql}) page) ORDER BY id"
        mine, nobodys = (organization_id, connection.id, after, count), (organization_id, after, count)
        return self._db.all(sql, *mine, *nobodys, count)

    def _sorted(
        self, connection: ConnectionRecord, parts: list[_Part], sort: Sort, offset: int, count: int
    ) -> list[Any]:
        """In the order of a value; among equals in that of making. Positions are counted: no row is a place here."""
        keys = " UNION ALL ".join(
            f"SELECT {number} AS part, id, {part.key.sql} AS sort_key FROM {_seen(part)}"
            for number, part in enumerate(parts)
        )
        # RFC 7644, 3.4.2.3: whoever has no value comes last, first in descending order.
        order = "DESC NULLS FIRST" if sort.descending else "ASC NULLS LAST"
        found = self._db.all(
            f"SELECT part, id FROM ({keys}) keys ORDER BY sort_key {order}, part, id LIMIT ? OFFSET ?",
            *(value for part in parts for value in (*part.key.parameters, *_seen_by(connection, part))),
            count,
            offset,
        )
        records = [self._records(connection, part, found, number) for number, part in enumerate(parts)]
        # Whoever went between the two statements is left out.
        return [records[part][id_] for part, id_ in found if id_ in records[part]]

    def _records(
        self, connection: ConnectionRecord, part: _Part, found: list[tuple[Any, ...]], number: int
    ) -> dict[int, Any]:
        table = part.table
        rows = self._db.among(
            [id_ for of, id_ in found if of == number],
            lambda marks: (
                f"SELECT {table.columns} FROM {table.name} WHERE {users.VISIBLE}"
                f" AND {table.alive.format(t=table.name)} AND id IN ({marks})"
            ),
            connection.organization_id,
            connection.id,
        )
        return {row[0]: table.record._make(row) for row in rows}

    def _parts(self, query: Query, connection: ConnectionRecord, next_start: int = 0) -> list[_Part]:
        parts = []
        for number, resource in enumerate(query.types):
            table, where, key = USERS if resource.name == "User" else GROUPS, None, NULL
            if query.tree or query.sort:
                compiler = Compiler(self._db.dialect, resource, table, connection)
                where = compiler.condition(query.tree) if query.tree else None
                key = compiler.key(query.sort.path) if query.sort else NULL
            note = fresh_note(connection, query.digest, next_start)
            tally = Tally() if where else self._tally(connection, resource.name, note)
            parts.append(_Part(table, where, key, number * _STRETCH, tally))
        return parts

    def _total(self, connection: ConnectionRecord, parts: Sequence[_Part]) -> int:
        return sum(self._total_of(connection, part) for part in parts)

    def _total_of(self, connection: ConnectionRecord, part: _Part) -> int:
        if part.where is None:
            return part.tally.of_nobody + part.tally.of_connection
        row = self._db.one(f"SELECT COUNT(*) FROM {_seen(part)}", *_seen_by(connection, part))
        return row[0] if row else 0

    def _tally(self, connection: ConnectionRecord, resource: str, note: tuple[Any, ...]) -> Tally:
        rows = self._db.all(
            "SELECT connection, n FROM tallies WHERE organization_id = ? AND resource = ? AND connection IN (0, ?)"
            f" UNION ALL SELECT -1, ({FRESH_NOTE})",
            connection.organization_id,
            resource,
            connection.id,
            *note,
        )
        counted = dict(rows)
        return Tally(counted.get(0, 0), counted.get(connection.id, 0), counted[-1])


def _place(parts: Sequence[_Part], record: Any) -> int:
    """Of a record, on the axis."""
    if len(parts) == 1:
        return record[0]  # type: ignore[no-any-return]
    return next(part.begin for part in parts if isinstance(record, part.table.record)) + record.id


def _seen(part: _Part) -> str:
    """What a connection sees of a type and the filter lets through: the FROM and WHERE of a statement."""
    where, name = part.where or TRUE, part.table.name
    return f"{name} WHERE {users.VISIBLE} AND {part.table.alive.format(t=name)} AND {where.sql}"


def _seen_by(connection: ConnectionRecord, part: _Part) -> tuple[Any, ...]:
    return (connection.organization_id, connection.id, *(part.where or TRUE).parameters)
