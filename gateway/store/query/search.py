"""Lists: pages of users, groups or both, each beginning where the page before it ended.

A list may have several types; those of the first one come first. Its rows are then on one axis, each type with an
interval of its own, so that a bookmark or cursor is one number, whatever type it points to.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from gateway.scim.errors import TooMany
from gateway.scim.schemas import ResourceType
from gateway.scim.sorting import Sort
from gateway.store import users
from gateway.store.engine.base import Database, Overrun, Weight
from gateway.store.memberships import Groups
from gateway.store.query.candidates import (
    Tree,
    candidates,
    is_active,
    is_answered,
    table_of,
)
from gateway.store.query.columns import USERS, Reach, Table
from gateway.store.query.filter_sql import FALSE, NULL, TRUE, Condition, FilterCompiler
from gateway.store.query.page_bookmarks import (
    FRESH_BOOKMARK,
    PageBookmarks,
    PageStart,
    fresh_bookmark_parameters,
)
from gateway.store.query.page_positions import PagePositions
from gateway.store.query.query import Query
from gateway.store.query.single_statement import Tally, users_page
from gateway.store.records import ConnectionRecord, ListedUser

#: The interval of each type on the axis of a list, larger than the number of rows of one type.
_STRETCH = 1 << 61


class Page(NamedTuple):
    """One page of a list: the total, the records, and the axis position of the last one if more follow."""

    total: int
    records: list[Any]
    next: int | None = None
    #: The groups of users by their keys, if they were read with the page.
    groups: Groups | None = None


class _Part(NamedTuple):
    """The part of a list that one type contributes."""

    table: Table
    where: Condition | None
    key: Condition
    #: The start of its interval on the axis.
    begin: int
    #: The number of visible rows, if there is no condition.
    tally: Tally = Tally()
    #: A SELECT of the keys of all rows that may meet the condition, or None if any row may.
    among: Condition | None = None
    #: True if those are exactly the keys of the visible rows that meet the condition.
    answered: bool = False
    #: True for `active eq true`: the inactive users are counted instead.
    active: bool = False
    weight: Weight = Weight(("doc",))
    #: The time of the monotonic clock at which the engine aborts the list, or None.
    until: float | None = None


class Search:
    """Pages of users and groups that are visible to a connection."""

    def __init__(self, database: Database, seconds: int = 0, page_bytes: int = 1 << 62) -> None:
        """Bound the work of a list.

        `seconds` limits a list that no index bounds, 0 for no limit. A page that reaches `page_bytes` ends there.
        """
        self._db, self._bookmarks, self._seconds, self._bytes = (
            database,
            PageBookmarks(database),
            seconds,
            page_bytes,
        )
        self._positions = PagePositions(database)

    def page(self, connection: ConnectionRecord, query: Query, start: int, count: int) -> Page:
        """Return the page at `start`, from 1 (RFC 7644, 3.4.2.4), in an order that is the same on every page.

        Raises TooMany if the list takes too long.
        """
        if count == 0:
            return Page(self._count(connection, self._parts(query, connection)), [])
        known = (
            self._bookmarks.find(connection, query.digest, start) if start > 1 and not query.sort else None
        )
        place = known or PageStart(None, 0, start - 1)
        if place.offset and query.all_users:
            key = self._positions.key_at(connection, place.after, place.offset)
            place = PageStart(None, _STRETCH if key is None else key)
        # One row more than the page holds shows whether this is the last one.
        parts, records, groups, cut = self._read_page(connection, query, place, count + 1)
        more = cut or len(records) > count
        del records[count:]
        if not query.sort:
            self._record_bookmark(connection, query, parts, start, place, records, more)
        if start == 1 and not more:
            return Page(len(records), records, groups=groups)
        # Users may be removed between pages: a total below the rows returned would end the client's loop too early.
        handed_out = start - 1 + len(records) + more
        total = self._count(connection, parts)
        return Page(max(total, handed_out) if records else total, records, groups=groups)

    def page_after(self, connection: ConnectionRecord, query: Query, after: int, count: int) -> Page:
        """Return the page after an axis position (0: the first page), in order of creation. Raises TooMany."""
        parts, records, groups, cut = self._read_page(connection, query, PageStart(None, after), count + 1)
        if cut or len(records) > count:
            del records[count:]
            return Page(self._count(connection, parts), records, _axis_position(parts, records[-1]), groups)
        total = self._count(connection, parts) if after else len(records)
        return Page(total, records, groups=groups)

    def _read_page(
        self, connection: ConnectionRecord, query: Query, place: PageStart, count: int
    ) -> tuple[list[_Part], list[Any], Groups | None, bool]:
        """Return the parts of a list, the rows of a page, the groups of its users, and True if rows were cut off.

        The groups are None unless one statement reads them with the page.
        """
        next_start = 0 if place.after or place.offset else count
        if query.all_users and not place.offset and self._db.dialect.has_round_trips:
            note = fresh_bookmark_parameters(connection, query.digest, next_start)
            found = users_page(self._db, connection, place.after, count, note, self._bytes)
            parts = [_Part(USERS, None, NULL, 0, found.tally, weight=Weight(ListedUser._fields))]
            if found.fits:
                return parts, found.users, found.groups, False
            # Read again as far as it fits; the bookmark found belongs to a page that fits.
            parts = [parts[0]._replace(tally=found.tally._replace(noted=None))]
            return parts, *self._read_rows(connection, parts, place.after, 0, count)
        parts = self._parts(query, connection, next_start)
        if query.sort:
            return parts, *self._read_sorted(connection, parts, query.sort, place.offset, count)
        return parts, *self._read_rows(connection, parts, place.after, place.offset, count)

    def _record_bookmark(
        self,
        connection: ConnectionRecord,
        query: Query,
        parts: list[_Part],
        start: int,
        place: PageStart,
        records: list[Any],
        more: bool,
    ) -> None:
        """Store the bookmark of the next page."""
        if not more:
            self._bookmarks.record_last(connection, query.digest, place)
            return
        next_start, last = start + len(records), _axis_position(parts, records[-1])
        if start == 1:
            self._bookmarks.record_first(connection, query.digest, next_start, last, parts[0].tally.noted)
            return
        if place.offset:
            place = PageStart(None, _axis_position(parts, records[0]) - 1)
        self._bookmarks.record_next(connection, query.digest, start, place, next_start, last)

    def _read_rows(
        self, connection: ConnectionRecord, parts: list[_Part], after: int, offset: int, count: int
    ) -> tuple[list[Any], None, bool]:
        """Return the rows, None for the groups, and True if rows were cut off by their size."""
        records: list[Any] = []
        room = self._bytes
        for number, part in enumerate(parts):
            if len(records) == count or after >= part.begin + _STRETCH:
                continue
            if offset and number and after < part.begin:
                # Past the end of the types before: the offset continues within this one.
                offset = max(0, offset - self._count_part(connection, parts[number - 1]))
            behind = max(0, after - part.begin)
            if offset and part.where is None and not behind:
                if offset >= part.tally.total:
                    continue
                if part.table is USERS:
                    key = self._positions.key_at(connection, 0, offset)
                    behind, offset = _STRETCH if key is None else key, 0
            sql, parameters = self._page_sql(
                connection, part, behind, 0 if records else offset, count - len(records)
            )
            rows, cut = self._read_fitting(part, room, sql, *parameters)
            # `_make` does the same in Python, at twice the cost.
            records += map(partial(tuple.__new__, part.table.record), rows)
            if cut:
                return records, None, True
            room -= sum(part.weight.of(rows)) if number + 1 < len(parts) else 0
        return records, None, False

    def _page_sql(
        self, connection: ConnectionRecord, part: _Part, after: int, offset: int, count: int
    ) -> tuple[str, tuple[Any, ...]]:
        """Return a SELECT of the rows of one page, in order of creation, and its parameters."""
        table, where = part.table, part.where
        if where is None and not offset:
            return self._range_sql(connection, part, after, count)
        # Keys first, so that skipped or sorted rows are not read.
        keys, parameters = self._keys_sql(connection, part, after, offset, count)
        return f"SELECT {table.columns} FROM {table.name} WHERE id IN ({keys}) ORDER BY id", parameters

    def _keys_sql(
        self, connection: ConnectionRecord, part: _Part, after: int, offset: int, count: int
    ) -> tuple[str, tuple[Any, ...]]:
        """Return a SELECT of the keys of one page, in order of creation, and its parameters."""
        page = f"LIMIT {int(count)} OFFSET {int(offset)}"
        if part.among is None:
            # Two ranges of one index, for the connection and without one, each cut to a page.
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
        seen = f"SELECT id FROM {self._visible(part)} AND +id > ? ORDER BY +id {page}"
        return seen, (*_visible_parameters(connection, part), after)

    def _read_fitting(
        self, part: _Part, size: int, sql: str, *parameters: Any
    ) -> tuple[list[tuple[Any, ...]], bool]:
        """Run `Database.fitting` for a part. Raises TooMany."""
        if part.where == FALSE:
            return [], False
        try:
            return self._db.fitting(part.until, part.weight, size, sql, *parameters)
        except Overrun:
            raise self._timeout_refusal() from None

    def _read_all(self, part: _Part, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return all rows of a statement, unless it takes too long. Raises TooMany."""
        try:
            return self._db.all_before(part.until, sql, *parameters)
        except Overrun:
            raise self._timeout_refusal() from None

    def _timeout_refusal(self) -> TooMany:
        return TooMany(
            f"This list took longer than {self._seconds} s and was ended: no index answers its filter or its order."
            " Filter by eq on id, userName, externalId, displayName or emails.value, or page through all without"
            " filter and sortBy."
        )

    def _range_sql(
        self, connection: ConnectionRecord, part: _Part, after: int, count: int
    ) -> tuple[str, tuple[Any, ...]]:
        """Return a SELECT of a page of all visible rows, at the same cost however many there are."""
        table = part.table
        alive = table.alive.format(t=table.name)
        one = (
            "SELECT {columns} FROM {table} WHERE organization_id = ? AND connection_id {owner} AND {alive} AND id > ?"
            " ORDER BY id LIMIT ?"
        )
        organization_id = connection.organization_id
        if part.tally.of_nobody == 0:
            # A user without connection that is created meanwhile came after this request.
            sql = one.format(columns=table.columns, table=table.name, owner="= ?", alive=alive)
            return sql, (organization_id, connection.id, after, count)
        # Two ranges of one index, for the connection and without one, each cut to a page.
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

    def _read_sorted(
        self, connection: ConnectionRecord, parts: list[_Part], sort: Sort, offset: int, count: int
    ) -> tuple[list[Any], None, bool]:
        """Return the rows as `_read_rows` does, by sort key and then order of creation. Positions are counted."""
        keys = " UNION ALL ".join(
            f"SELECT {number} AS part, id, {part.key.sql} AS sort_key FROM {self._visible(part)}"
            for number, part in enumerate(parts)
        )
        # RFC 7644, 3.4.2.3: resources without the value come last, first in descending order.
        order = "DESC NULLS FIRST" if sort.descending else "ASC NULLS LAST"
        found = self._read_all(
            parts[0],
            f"SELECT part, id FROM ({keys}) keys ORDER BY sort_key {order}, part, id LIMIT ? OFFSET ?",
            *(
                value
                for part in parts
                for value in (*part.key.parameters, *_visible_parameters(connection, part))
            ),
            count,
            offset,
        )
        held = self._count_fitting(parts, found)
        records = [
            self._read_records(connection, part, found[:held], number) for number, part in enumerate(parts)
        ]
        # A resource removed between the two statements is left out.
        shown = [records[part][id_] for part, id_ in found[:held] if id_ in records[part]]
        return shown, None, held < len(found)

    def _count_fitting(self, parts: list[_Part], found: list[tuple[Any, ...]]) -> int:
        """Return how many of the resources, given by part and key, fit on a page."""
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

    def _read_records(
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
        parts, tree = [], query.merged_tree
        for number, resource in enumerate(query.types):
            table, where, key, among = table_of(resource), None, NULL, None
            if tree or query.sort:
                compiler = FilterCompiler(self._db.dialect, resource, table, connection)
                where = compiler.condition(tree) if tree else None
                key = compiler.key(query.sort.path) if query.sort else NULL
            if tree and where != FALSE:
                where, among = self._find_candidates(connection, resource, tree, where)
            active = tree is not None and is_active(resource, tree)
            note = fresh_bookmark_parameters(connection, query.digest, next_start)
            tally = self._tally(connection, resource.name, note) if where is None or active else Tally()
            answered = among is not None and is_answered(resource, tree)
            counted = table.counted if query.members and table.counted else ()
            weight = Weight(table.record._fields, *counted)
            parts.append(
                _Part(table, where, key, number * _STRETCH, tally, among, answered, active, weight, until)
            )
        return parts

    def _find_candidates(
        self, connection: ConnectionRecord, resource: ResourceType, tree: Tree, where: Condition | None
    ) -> tuple[Condition | None, Condition | None]:
        """Return the condition, FALSE if no resource can meet it, and the SELECT of candidates or None."""
        selects = candidates(resource, tree, connection.organization_id, connection.id)
        if selects is None:
            return where, None
        if not selects:
            return FALSE, None
        parameters = tuple(value for _, values in selects for value in values)
        return where, Condition(" UNION ALL ".join(sql for sql, _ in selects), parameters)

    def _count(self, connection: ConnectionRecord, parts: Sequence[_Part]) -> int:
        return sum(self._count_part(connection, part) for part in parts)

    def _count_part(self, connection: ConnectionRecord, part: _Part) -> int:
        if part.where is None:
            return part.tally.total
        if part.where == FALSE:
            return 0
        if part.active:
            return part.tally.total - self._count_inactive(connection, part)
        if part.answered and part.among:
            rows = self._read_all(
                part, f"SELECT COUNT(*) FROM ({part.among.sql}) found", *part.among.parameters
            )
        else:
            rows = self._read_all(
                part, f"SELECT COUNT(*) FROM {self._visible(part)}", *_visible_parameters(connection, part)
            )
        return int(rows[0][0])

    def _count_inactive(self, connection: ConnectionRecord, part: _Part) -> int:
        """Return the number of inactive users."""
        lookup = USERS.lookups["active"]
        sql = f"SELECT COUNT(*) FROM ({lookup.sql}) found"
        return int(self._read_all(part, sql, connection.organization_id, connection.id)[0][0])

    def _visible(self, part: _Part) -> str:
        """Return the FROM and WHERE of the visible resources of a type that meet the filter."""
        where, name, seen = part.where or TRUE, part.table.name, users.VISIBLE
        if part.among:
            few = part.until is None
            # `+`: no index on these columns; candidates are looked up by their keys.
            seen = (
                f"{self._db.dialect.key_in(part.among.sql, few)} AND +organization_id = ?"
                " AND (+connection_id = ? OR +connection_id IS NULL)"
            )
        return f"{name} WHERE {seen} AND {part.table.alive.format(t=name)} AND {where.sql}"

    def _tally(self, connection: ConnectionRecord, resource: str, note: tuple[Any, ...]) -> Tally:
        rows = self._db.all(
            "SELECT connection, n FROM tallies WHERE organization_id = ? AND resource = ? AND connection IN (0, ?)"
            f" UNION ALL SELECT -1, ({FRESH_BOOKMARK})",
            connection.organization_id,
            resource,
            connection.id,
            *note,
        )
        counted = dict(rows)
        return Tally(counted.get(0, 0), counted.get(connection.id, 0), counted[-1])


def _axis_position(parts: Sequence[_Part], record: Any) -> int:
    """Return the position of a record on the axis."""
    if len(parts) == 1:
        key: int = record[0]
        return key
    begin = next(part.begin for part in parts if isinstance(record, part.table.record))
    return begin + int(record.id)


def _visible_parameters(connection: ConnectionRecord, part: _Part) -> tuple[Any, ...]:
    """Return the parameters of `Search._visible`."""
    among = part.among.parameters if part.among else ()
    return (*among, connection.organization_id, connection.id, *(part.where or TRUE).parameters)
