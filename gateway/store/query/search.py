"""Lists: pages of users, groups or both, each beginning where the page before it ended.

A list may hold several types: those of the first one come first. Its rows then stand on one axis, each type with a
stretch of its own, so that a walk or a cursor remembers one number whatever it is in the middle of.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

from gateway.scim.errors import TooMany
from gateway.scim.filter_ast import Filter
from gateway.scim.schemas import ResourceType
from gateway.scim.sorting import Sort
from gateway.store import users
from gateway.store.engine.base import Database, Overrun, Weight
from gateway.store.memberships import Groups
from gateway.store.query.candidates import (
    Tree,
    candidates,
    gathered,
    is_active,
    is_answered,
    reach,
    table_of,
)
from gateway.store.query.columns import USERS, Reach, Table
from gateway.store.query.filter_sql import FALSE, NULL, TRUE, Compiler, Condition
from gateway.store.query.page_bookmarks import FRESH_NOTE, PageBookmarks, Place, fresh_note
from gateway.store.query.page_positions import PagePositions
from gateway.store.query.single_statement import Tally, users_page
from gateway.store.records import ConnectionRecord, ListedUser

#: The stretch of each type on the axis of a list: more than there are rows of one type.
_STRETCH = 1 << 61


@dataclass(frozen=True)
class Query:
    """What is listed: of which types, the first one first; which of them, all if None; by what, by making if None."""

    types: tuple[ResourceType, ...]
    tree: Filter | None = None
    sort: Sort | None = None
    #: Whether groups are shown with their members.
    members: bool = True

    @property
    def all_users(self) -> bool:
        """Whether this is the list of all users, in the order of making."""
        return len(self.types) == 1 and self.types[0].name == "User" and not (self.tree or self.sort)

    @cached_property
    def gathered(self) -> Tree | None:
        """The filter as it is compiled. Raises TooMany for one of too many comparisons."""
        return None if self.tree is None else gathered(self.tree)

    @cached_property
    def reach(self) -> Reach:
        """How many resources the engine may have to read for one page, by the filter and the order alone."""
        if self.sort:
            return Reach.ALL
        if self.gathered is None:
            return Reach.NAMED
        return max(reach(kind, self.gathered) for kind in self.types)

    @property
    def expensive(self) -> bool:
        """Whether no index answers it: the engine reads all that the connection sees. Known before anything is run."""
        return self.reach is Reach.ALL

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
    #: A SELECT of the keys of all that may meet the condition; None: all may.
    among: Condition | None = None
    #: Whether those are the keys of all that meet the condition and are seen.
    answered: bool = False
    #: `active eq true`: what it leaves out is counted.
    active: bool = False
    weight: Weight = Weight(("doc",))
    #: The moment of the monotonic clock at which the engine ends what it does for the list; None: it takes its time.
    until: float | None = None


class Search:
    """Pages of users and groups that a connection sees."""

    def __init__(self, database: Database, seconds: int = 0, page_bytes: int = 1 << 62) -> None:
        """`seconds`: how long one list may take whose work no index bounds; 0 = as long as it takes. `page_bytes`: a
        page that holds so much ends, though it could hold more resources."""
        self._db, self._bookmarks, self._seconds, self._bytes = (
            database,
            PageBookmarks(database),
            seconds,
            page_bytes,
        )
        self._positions = PagePositions(database)

    def page(self, connection: ConnectionRecord, query: Query, start: int, count: int) -> Page:
        """`start` counts from 1 (RFC 7644, 3.4.2.4); the order is the same on every page and run."""
        if count == 0:
            return Page(self._total(connection, self._parts(query, connection)), [])
        known = (
            self._bookmarks.place(connection, query.digest, start) if start > 1 and not query.sort else None
        )
        place = known or Place(None, 0, start - 1)
        if place.offset and query.all_users:
            key = self._positions.behind(connection, place.after, place.offset)
            place = Place(None, _STRETCH if key is None else key)
        # One more than the page holds tells whether this is the last one.
        parts, records, groups, cut = self._found(connection, query, place, count + 1)
        more = cut or len(records) > count
        del records[count:]
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
        parts, records, groups, cut = self._found(connection, query, Place(None, after), count + 1)
        if cut or len(records) > count:
            del records[count:]
            return Page(self._total(connection, parts), records, _place(parts, records[-1]), groups)
        total = self._total(connection, parts) if after else len(records)
        return Page(total, records, groups=groups)

    def _found(
        self, connection: ConnectionRecord, query: Query, place: Place, count: int
    ) -> tuple[list[_Part], list[Any], Groups | None, bool]:
        """What is listed, its rows from a place on, the groups of those who are in them, if they came with them, and
        whether there would be others but for their size."""
        next_start = 0 if place.after or place.offset else count
        if query.all_users and not place.offset and self._db.dialect.turns:
            note = fresh_note(connection, query.digest, next_start)
            found = users_page(self._db, connection, place.after, count, note, self._bytes)
            parts = [_Part(USERS, None, NULL, 0, found.tally, weight=Weight(ListedUser._fields))]
            if found.fits:
                return parts, found.users, found.groups, False
            # Read again, as far as it fits; the note is that of a page that does.
            parts = [parts[0]._replace(tally=found.tally._replace(noted=None))]
            return parts, *self._rows(connection, parts, place.after, 0, count)
        parts = self._parts(query, connection, next_start)
        if query.sort:
            return parts, *self._sorted(connection, parts, query.sort, place.offset, count)
        return parts, *self._rows(connection, parts, place.after, place.offset, count)

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
            self._bookmarks.end(connection, query.digest, place)
            return
        next_start, last = start + len(records), _place(parts, records[-1])
        if start == 1:
            self._bookmarks.begin(connection, query.digest, next_start, last, parts[0].tally.noted)
            return
        if place.offset:
            place = Place(None, _place(parts, records[0]) - 1)
        self._bookmarks.step(connection, query.digest, start, place, next_start, last)

    def _rows(
        self, connection: ConnectionRecord, parts: list[_Part], after: int, offset: int, count: int
    ) -> tuple[list[Any], None, bool]:
        """As `_found`: the rows, and whether there would be others but for their size."""
        records: list[Any] = []
        room = self._bytes
        for number, part in enumerate(parts):
            if len(records) == count or after >= part.begin + _STRETCH:
                continue
            if offset and number and after < part.begin:
                # Past the end of the types before: the offset goes on within this one.
                offset = max(0, offset - self._total_of(connection, parts[number - 1]))
            behind = max(0, after - part.begin)
            if offset and part.where is None and not behind:
                if offset >= part.tally.total:
                    continue
                if part.table is USERS:
                    key = self._positions.behind(connection, 0, offset)
                    behind, offset = _STRETCH if key is None else key, 0
            sql, parameters = self._page(
                connection, part, behind, 0 if records else offset, count - len(records)
            )
            rows, cut = self._fitting(part, room, sql, *parameters)
            # `_make` does the same in Python, at twice the cost.
            records += map(partial(tuple.__new__, part.table.record), rows)
            if cut:
                return records, None, True
            room -= sum(part.weight.of(rows)) if number + 1 < len(parts) else 0
        return records, None, False

    def _page(
        self, connection: ConnectionRecord, part: _Part, after: int, offset: int, count: int
    ) -> tuple[str, tuple[Any, ...]]:
        """A SELECT of the rows of one page, in the order of making, and its parameters."""
        table, where = part.table, part.where
        if where is None and not offset:
            return self._range(connection, part, after, count)
        # Keys first: rows that are skipped or sorted are not read.
        keys, parameters = self._keys(connection, part, after, offset, count)
        return f"SELECT {table.columns} FROM {table.name} WHERE id IN ({keys}) ORDER BY id", parameters

    def _keys(
        self, connection: ConnectionRecord, part: _Part, after: int, offset: int, count: int
    ) -> tuple[str, tuple[Any, ...]]:
        """A SELECT of the keys of one page, in the order of making, and its parameters."""
        page = f"LIMIT {int(count)} OFFSET {int(offset)}"
        if part.among is None:
            # Two ranges of one index, each cut to a page, whoever owns them.
            where, table = part.where or TRUE, part.table
            mine, nobodys = (
                f"SELECT * FROM (SELECT id FROM {table.name} WHERE organization_id = ? AND connection_id {owner}"
                f" AND {table.alive.format(t=table.name)} AND id > ? AND {where.sql}"
                f" ORDER BY id LIMIT {int(count + offset)}) half"
                for owner in ("= ?", "IS NULL")
            )
            of_connection = (connection.organization_id, connection.id, after, *where.parameters)
            of_nobody = (connection.organization_id, after, *where.parameters)
            sql = f"SELECT id FROM ({mine} UNION ALL {nobodys}) halves ORDER BY id {page}"
            return sql, of_connection + of_nobody
        if part.answered:
            sql = f"SELECT id FROM ({part.among.sql}) found WHERE +id > ? ORDER BY +id {page}"
            return sql, (*part.among.parameters, after)
        seen = f"SELECT id FROM {self._seen(part)} AND +id > ? ORDER BY +id {page}"
        return seen, (*_seen_by(connection, part), after)

    def _fitting(
        self, part: _Part, size: int, sql: str, *parameters: Any
    ) -> tuple[list[tuple[Any, ...]], bool]:
        """See Database.fitting. Raises TooMany."""
        if part.where == FALSE:
            return [], False
        try:
            return self._db.fitting(part.until, part.weight, size, sql, *parameters)
        except Overrun:
            raise self._too_long() from None

    def _all(self, part: _Part, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """All rows of a statement of a list, unless it takes too long. Raises TooMany."""
        try:
            return self._db.all_before(part.until, sql, *parameters)
        except Overrun:
            raise self._too_long() from None

    def _too_long(self) -> TooMany:
        return TooMany(
            f"This list took longer than {self._seconds} s and was ended: no index answers its filter or its order."
            " Filter by eq on id, userName, externalId, displayName or emails.value, or page through all without"
            " filter and sortBy."
        )

    def _range(
        self, connection: ConnectionRecord, part: _Part, after: int, count: int
    ) -> tuple[str, tuple[Any, ...]]:
        """The same of all that a connection sees: the same cost however many there are."""
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
            return sql, (organization_id, connection.id, after, count)
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
        return sql, (*mine, *nobodys, count)

    def _sorted(
        self, connection: ConnectionRecord, parts: list[_Part], sort: Sort, offset: int, count: int
    ) -> tuple[list[Any], None, bool]:
        """As `_rows`, in the order of a value; among equals in that of making. Positions are counted: no row is a place
        here."""
        keys = " UNION ALL ".join(
            f"SELECT {number} AS part, id, {part.key.sql} AS sort_key FROM {self._seen(part)}"
            for number, part in enumerate(parts)
        )
        # RFC 7644, 3.4.2.3: whoever has no value comes last, first in descending order.
        order = "DESC NULLS FIRST" if sort.descending else "ASC NULLS LAST"
        found = self._all(
            parts[0],
            f"SELECT part, id FROM ({keys}) keys ORDER BY sort_key {order}, part, id LIMIT ? OFFSET ?",
            *(value for part in parts for value in (*part.key.parameters, *_seen_by(connection, part))),
            count,
            offset,
        )
        held = self._held(parts, found)
        records = [self._records(connection, part, found[:held], number) for number, part in enumerate(parts)]
        # Whoever went between the two statements is left out.
        shown = [records[part][id_] for part, id_ in found[:held] if id_ in records[part]]
        return shown, None, held < len(found)

    def _held(self, parts: list[_Part], found: list[tuple[Any, ...]]) -> int:
        """How many of the resources found, each told by its part and key, fit on a page."""
        weights: list[dict[int, int]] = []
        for number, part in enumerate(parts):
            counted, each = part.weight.counted or "0", part.weight.each
            weigh = f"{self._db.dialect.octets('doc')} + {each} * {counted}"
            keys = [id_ for of, id_ in found if of == number]
            weights.append(
                dict(
                    self._db.among(
                        keys,
                        lambda marks, weigh=weigh, part=part: (  # type: ignore[misc]
                            f"SELECT id, {weigh} FROM {part.table.name} WHERE id IN ({marks})"
                        ),
                    )
                )
            )
        room = self._bytes
        for number, (part, id_) in enumerate(found):
            if room <= 0:
                return number
            room -= weights[part].get(id_, 0)
        return len(found)

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
        until = None
        if self._seconds and query.reach > Reach.NAMED:
            until = time.monotonic() + self._seconds
        parts, tree = [], query.gathered
        for number, resource in enumerate(query.types):
            table, where, key, among = table_of(resource), None, NULL, None
            if tree or query.sort:
                compiler = Compiler(self._db.dialect, resource, table, connection)
                where = compiler.condition(tree) if tree else None
                key = compiler.key(query.sort.path) if query.sort else NULL
            if tree and where != FALSE:
                where, among = self._narrowed(connection, resource, tree, where)
            active = tree is not None and is_active(resource, tree)
            note = fresh_note(connection, query.digest, next_start)
            tally = self._tally(connection, resource.name, note) if where is None or active else Tally()
            answered = among is not None and is_answered(resource, tree)
            counted = table.counted if query.members and table.counted else ()
            weight = Weight(table.record._fields, *counted)
            parts.append(
                _Part(table, where, key, number * _STRETCH, tally, among, answered, active, weight, until)
            )
        return parts

    def _narrowed(
        self, connection: ConnectionRecord, resource: ResourceType, tree: Tree, where: Condition | None
    ) -> tuple[Condition | None, Condition | None]:
        """The condition, FALSE where nobody can meet it, and who may."""
        selects = candidates(resource, tree, connection.organization_id, connection.id)
        if selects is None:
            return where, None
        if not selects:
            return FALSE, None
        parameters = tuple(value for _, values in selects for value in values)
        return where, Condition(" UNION ALL ".join(sql for sql, _ in selects), parameters)

    def _total(self, connection: ConnectionRecord, parts: Sequence[_Part]) -> int:
        return sum(self._total_of(connection, part) for part in parts)

    def _total_of(self, connection: ConnectionRecord, part: _Part) -> int:
        if part.where is None:
            return part.tally.total
        if part.where == FALSE:
            return 0
        if part.active:
            return part.tally.total - self._inactive(connection, part)
        if part.answered and part.among:
            rows = self._all(part, f"SELECT COUNT(*) FROM ({part.among.sql}) found", *part.among.parameters)
        else:
            rows = self._all(part, f"SELECT COUNT(*) FROM {self._seen(part)}", *_seen_by(connection, part))
        return int(rows[0][0])

    def _inactive(self, connection: ConnectionRecord, part: _Part) -> int:
        """How many users are not active."""
        lookup = USERS.lookups["active"]
        sql = f"SELECT COUNT(*) FROM ({lookup.sql}) found"
        return int(self._all(part, sql, connection.organization_id, connection.id)[0][0])

    def _seen(self, part: _Part) -> str:
        """What a connection sees of a type and the filter lets through: the FROM and WHERE of a statement."""
        where, name, seen = part.where or TRUE, part.table.name, users.VISIBLE
        if part.among:
            few = part.until is None
            # `+`: those who may meet the filter are looked up by their keys.
            seen = (
                f"{self._db.dialect.key_in(part.among.sql, few)} AND +organization_id = ?"
                " AND (+connection_id = ? OR +connection_id IS NULL)"
            )
        return f"{name} WHERE {seen} AND {part.table.alive.format(t=name)} AND {where.sql}"

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


def _seen_by(connection: ConnectionRecord, part: _Part) -> tuple[Any, ...]:
    """The parameters of what a connection sees of a type."""
    among = part.among.parameters if part.among else ()
    return (*among, connection.organization_id, connection.id, *(part.where or TRUE).parameters)
