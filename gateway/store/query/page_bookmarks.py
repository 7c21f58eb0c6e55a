"""Walks through a list: where each page ended, so that the next one goes on there, whoever came or went meanwhile.

`startIndex` counts positions, and positions shift with every user that goes. So each page leaves a note: behind which
row the next one begins. Notes of first pages are shared by all who begin the same list, and are rarely written; whoever
goes on from there has a note of its own, for its last page and for the one that it will ask for next. Several walks of
one list may be under way at once; a page that could belong to more than one of them begins where the earliest would: a
user may then be shown twice, never be missed. A page is handed out also while nothing can be remembered of it: the next
one is then counted from where a walk was known last, for what went before that does not shift it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

from gateway.scim.errors import Unavailable
from gateway.store.engine.base import BRIEF, Database
from gateway.store.ids_and_time import now
from gateway.store.records import ConnectionRecord

_SECOND = 1_000_000
#: How long a walk may pause between two pages.
PAUSE = 3600 * _SECOND
#: The same, once a newer walk of the same list has begun.
PAUSE_OF_OLDER = 300 * _SECOND
#: How old a note of a first page may be before it is written anew with a new moment alone.
FRESH = 60 * _SECOND
#: How long the last page may still be asked for again.
RETRY = 60 * _SECOND
#: How many positions behind its last note a walk is still recognized.
NEAR = 1000

_LIST = "connection_id = ? AND query = ?"
#: Where whoever begins a list goes on after its first page, if that was written down lately: `fresh_note`.
FRESH_NOTE = f"SELECT next_after FROM walks WHERE {_LIST} AND page_start = 1 AND next_start = ? AND until > ?"


def fresh_note(connection: ConnectionRecord, query: str, next_start: int) -> tuple[Any, ...]:
    """The parameters of that statement."""
    return connection.id, query, next_start, now() + PAUSE - FRESH


class Place(NamedTuple):
    """Where a page begins: so many rows behind that one, as the next step of that walk (None: a new one)."""

    walk: int | None
    after: int
    offset: int = 0


class PageBookmarks:
    """Walks of connections."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def place(self, connection: ConnectionRecord, query: str, start: int) -> Place | None:
        """Where the page at `start`, not the first, begins; None when no walk has come near it."""
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
            moment + PAUSE - PAUSE_OF_OLDER,
        )
        return Place(row[0], row[1]) if row else self._near(connection, query, start)

    def _near(self, connection: ConnectionRecord, query: str, start: int) -> Place | None:
        """Of the page before nothing could be remembered, but of one shortly before that."""
        row = self._db.one(
            f"SELECT next_start, next_after FROM walks WHERE {_LIST} AND until > ?"
            " AND next_start BETWEEN ? AND ? ORDER BY next_start DESC, next_after LIMIT 1",
            connection.id,
            query,
            now(),
            start - NEAR,
            start - 1,
        )
        # A walk of its own: another client may be on that one.
        return Place(None, row[1], start - row[0]) if row else None

    def begin(
        self, connection: ConnectionRecord, query: str, next_start: int, next_after: int, noted: int | None
    ) -> None:
        """A first page was handed out: whoever goes on at `next_start` does so behind that row. `noted` is what a fresh
        note said."""
        if noted is not None and noted <= next_after:
            return
        moment = now()
        with suppress(Unavailable), self._db.transaction(BRIEF):
            # Of two who began shortly after each other the one goes on that would miss somebody behind the other's row.
            self._db.run(
                "INSERT INTO walks (connection_id, query, page_start, page_after, next_start, next_after, until)"
                " VALUES (?, ?, 1, 0, ?, ?, ?) ON CONFLICT (connection_id, query, next_start) WHERE page_start = 1"
                " DO UPDATE SET until = excluded.until, next_after = CASE WHEN walks.until > ?"
                " AND walks.next_after < excluded.next_after THEN walks.next_after ELSE excluded.next_after END",
                connection.id,
                query,
                next_start,
                next_after,
                moment + PAUSE,
                moment + PAUSE - PAUSE_OF_OLDER,
            )

    def step(
        self,
        connection: ConnectionRecord,
        query: str,
        start: int,
        place: Place,
        next_start: int,
        next_after: int,
    ) -> None:
        """A full page, not the first, was handed out at `start`: the walk expects the next one at `next_start`."""
        values = (start, place.after, next_start, next_after, now() + PAUSE, connection.id)
        with suppress(Unavailable), self._db.transaction(BRIEF):
            if place.walk is not None:
                self._db.run(
                    "UPDATE walks SET page_start = ?, page_after = ?, next_start = ?, next_after = ?, until = ?"
                    " WHERE connection_id = ? AND id = ?",
                    *values,
                    place.walk,
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

    def end(self, connection: ConnectionRecord, query: str, place: Place) -> None:
        """The last page was handed out."""
        if place.walk is None:
            return
        moment = now()
        with suppress(Unavailable), self._db.transaction(BRIEF):
            # Only that last page may be asked for again; a new walk is not led back by the pages before it.
            self._db.run(
                "UPDATE walks SET page_start = next_start, page_after = next_after, until = ?"
                " WHERE connection_id = ? AND id = ?",
                moment + RETRY,
                connection.id,
                place.walk,
            )
            # Nor by its first page, which others may have been given too.
            self._db.run(
                f"UPDATE walks SET until = ? WHERE {_LIST} AND page_start = 1 AND until > ?",
                moment + PAUSE_OF_OLDER,
                connection.id,
                query,
                moment + PAUSE_OF_OLDER,
            )
