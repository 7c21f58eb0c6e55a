"""Page bookmarks: the row where each page of a list ended, so that the next page continues there.

`startIndex` counts positions, and positions shift with every row that is removed. So each page stores a bookmark: the
row after which the next page begins. Bookmarks of first pages are shared by all clients that begin the same list, and
are rarely written. A client that continues has a bookmark of its own, for its last page and the next one.

Several clients may page through one list at the same time. A page that could belong to several of them begins at the
earliest of their rows: a user may then be returned twice, but is never missed. If a bookmark cannot be written, the
page is returned all the same, and the next one is counted from the last bookmark: rows before it do not shift it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

from gateway.scim.errors import Unavailable
from gateway.store.engine.base import BRIEF, Database
from gateway.store.ids_and_time import SECOND, now
from gateway.store.records import ConnectionRecord

#: How long a client may pause between two pages, in microseconds.
LIFETIME = 3600 * SECOND
#: The same, once another client has begun the same list.
LIFETIME_OF_OLDER = 300 * SECOND
#: The age at which the bookmark of a first page is written again although only its time changes.
REFRESH_AFTER = 60 * SECOND
#: How long the last page can still be repeated.
RETRY = 60 * SECOND
#: How many positions after the last bookmark a request still continues it.
NEAR_POSITIONS = 1000

_LIST = "connection_id = ? AND query = ?"
#: The row after which the second page of a list begins, if its bookmark is fresh; see `fresh_bookmark_parameters`.
FRESH_BOOKMARK = (
    f"SELECT next_after FROM walks WHERE {_LIST} AND page_start = 1 AND next_start = ? AND until > ?"
)


def fresh_bookmark_parameters(connection: ConnectionRecord, query: str, next_start: int) -> tuple[Any, ...]:
    """Return the parameters of `FRESH_BOOKMARK`."""
    return connection.id, query, next_start, now() + LIFETIME - REFRESH_AFTER


class PageStart(NamedTuple):
    """The start of a page: `offset` rows after the row `after`; `walk` is the id of the bookmark to move, or None."""

    walk: int | None
    after: int
    offset: int = 0


class PageBookmarks:
    """The page bookmarks of connections. Failures to write one are ignored."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def find(self, connection: ConnectionRecord, query: str, start: int) -> PageStart | None:
        """Find where the page at position `start` (from 2) begins; return None if no bookmark is near it."""
        moment = now()
        row = self._db.one(
            "SELECT CASE WHEN page_start > 1 THEN id END, CASE WHEN next_start = ? THEN next_after ELSE page_after END"
            f" AS after FROM walks WHERE {_LIST} AND (next_start = ? OR page_start = ?) AND until > ?"
            " AND (until > ? OR NOT EXISTS (SELECT 1 FROM walks newer WHERE newer.connection_id = walks.connection_id"
            " AND newer.query = walks.query AND newer.page_start = 1 AND newer.until > walks.until))"
            " ORDER BY after LIMIT 1",
            start,
            connection.id,
            query,
            start,
            start,
            moment,
            moment + LIFETIME - LIFETIME_OF_OLDER,
        )
        return PageStart(row[0], row[1]) if row else self._find_near(connection, query, start)

    def _find_near(self, connection: ConnectionRecord, query: str, start: int) -> PageStart | None:
        """Find the start of a page whose predecessor has no bookmark by an earlier page."""
        row = self._db.one(
            f"SELECT next_start, next_after FROM walks WHERE {_LIST} AND until > ?"
            " AND next_start BETWEEN ? AND ? ORDER BY next_start DESC, next_after LIMIT 1",
            connection.id,
            query,
            now(),
            start - NEAR_POSITIONS,
            start - 1,
        )
        # A bookmark of its own: another client may use that one.
        return PageStart(None, row[1], start - row[0]) if row else None

    def record_first(
        self, connection: ConnectionRecord, query: str, next_start: int, next_after: int, noted: int | None
    ) -> None:
        """Record that after the first page the list continues at `next_start`, after the row `next_after`.

        `noted` is the result of `FRESH_BOOKMARK`; if it is as early, nothing is written.
        """
        if noted is not None and noted <= next_after:
            return
        moment = now()
        with suppress(Unavailable), self._db.transaction(BRIEF):
            # Of two first pages shortly after each other the earlier row is stored; the later would skip users.
            self._db.run(
                "INSERT INTO walks (connection_id, query, page_start, page_after, next_start, next_after, until)"
                " VALUES (?, ?, 1, 0, ?, ?, ?) ON CONFLICT (connection_id, query, next_start) WHERE page_start = 1"
                " DO UPDATE SET until = excluded.until, next_after = CASE WHEN walks.until > ?"
                " AND walks.next_after < excluded.next_after THEN walks.next_after ELSE excluded.next_after END",
                connection.id,
                query,
                next_start,
                next_after,
                moment + LIFETIME,
                moment + LIFETIME - LIFETIME_OF_OLDER,
            )

    def record_next(
        self,
        connection: ConnectionRecord,
        query: str,
        start: int,
        page: PageStart,
        next_start: int,
        next_after: int,
    ) -> None:
        """Record the page at `start`, and that the next one begins at `next_start`, after the row `next_after`."""
        values = (start, page.after, next_start, next_after, now() + LIFETIME, connection.id)
        with suppress(Unavailable), self._db.transaction(BRIEF):
            if page.walk is not None:
                self._db.run(
                    "UPDATE walks SET page_start = ?, page_after = ?, next_start = ?, next_after = ?, until = ?"
                    " WHERE connection_id = ? AND id = ?",
                    *values,
                    page.walk,
                )
                return
            self._db.run(
                "DELETE FROM walks WHERE id IN (SELECT id FROM walks WHERE until < ? LIMIT 100)", now()
            )
            self._db.run(
                "INSERT INTO walks (page_start, page_after, next_start, next_after, until, connection_id, query)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                *values,
                query,
            )

    def record_last(self, connection: ConnectionRecord, query: str, page: PageStart) -> None:
        """Record that the last page was returned: only this page can still be repeated, for a minute."""
        if page.walk is None:
            return
        moment = now()
        with suppress(Unavailable), self._db.transaction(BRIEF):
            # Only the last page can be repeated; earlier pages would mislead a client that begins again.
            self._db.run(
                "UPDATE walks SET page_start = next_start, page_after = next_after, until = ?"
                " WHERE connection_id = ? AND id = ?",
                moment + RETRY,
                connection.id,
                page.walk,
            )
            # The same for the first page, whose bookmark other clients may share.
            self._db.run(
                f"UPDATE walks SET until = ? WHERE {_LIST} AND page_start = 1 AND until > ?",
                moment + LIFETIME_OF_OLDER,
                connection.id,
                query,
                moment + LIFETIME_OF_OLDER,
            )
