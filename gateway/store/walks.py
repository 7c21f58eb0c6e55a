"""Walks through a list: where each page ended, so that the next one goes on there, whoever came or went meanwhile.

`startIndex` counts positions, and positions shift with every user that goes. A walk remembers, for its last page and
for the one it expects next, the row behind which that page begins. Several walks of one list may be under way at once;
a page that could belong to more than one of them begins where the earliest would: a user may then be shown twice,
never be missed. A page is handed out also while nothing can be remembered of it: the next one is then counted from
where a walk was known last, for what went before that does not shift it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from gateway.scim.errors import Unavailable
from gateway.store.clock import now
from gateway.store.database import BRIEF, Database
from gateway.store.records import ConnectionRecord

_SECOND = 1_000_000
#: How long a walk may pause between two pages.
PAUSE = 3600 * _SECOND
#: The same, once a newer walk of the same list has begun.
PAUSE_OF_OLDER = 300 * _SECOND
#: How long the last page may still be asked for again.
RETRY = 60 * _SECOND
#: How many positions behind its last note a walk is still recognized.
NEAR = 1000


class Place(NamedTuple):
    """Where a page begins: so many rows behind that one, as the next step of that walk (None: a new one)."""

    walk: int | None
    after: int
    offset: int = 0


class Walks:
    """Walks of connections."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def place(self, connection: ConnectionRecord, query: str, start: int) -> Place | None:
        """Where the page at `start` begins; None when no walk has come near it."""
        if start <= 1:
            return Place(None, 0)
        row = self._db.one(
            "SELECT id, CASE WHEN next_start = ? THEN next_after ELSE page_after END AS after FROM walks"
            " WHERE connection_id = ? AND query = ? AND until > ? AND (next_start = ? OR page_start = ?)"
            " ORDER BY after LIMIT 1",
            start,
            connection.id,
            query,
            now(),
            start,
            start,
        )
        return Place(row[0], row[1]) if row else self._near(connection, query, start)

    def _near(self, connection: ConnectionRecord, query: str, start: int) -> Place | None:
        """Of the page before nothing could be remembered, but of one shortly before that."""
        row = self._db.one(
            "SELECT next_start, next_after FROM walks WHERE connection_id = ? AND query = ? AND until > ?"
            " AND next_start BETWEEN ? AND ? ORDER BY next_start DESC, next_after LIMIT 1",
            connection.id,
            query,
            now(),
            start - NEAR,
            start - 1,
        )
        # A walk of its own: another client may be on that one.
        return Place(None, row[1], start - row[0]) if row else None

    def step(
        self,
        connection: ConnectionRecord,
        query: str,
        start: int,
        place: Place,
        next_start: int,
        next_after: int,
    ) -> None:
        """A full page was handed out at `start`: the walk expects the next one at `next_start`."""
        values = (start, place.after, next_start, next_after, now() + PAUSE)
        with suppress(Unavailable), self._db.transaction(BRIEF):
            if place.walk is not None:
                self._db.run(
                    "UPDATE walks SET page_start = ?, page_after = ?, next_start = ?, next_after = ?, until = ?"
                    " WHERE connection_id = ? AND id = ?",
                    *values,
                    connection.id,
                    place.walk,
                )
                return
            older = now() + PAUSE_OF_OLDER
            self._db.run(
                "UPDATE walks SET until = ? WHERE connection_id = ? AND query = ? AND until > ?",
                older,
                connection.id,
                query,
                older,
            )
            self._db.run(
                "DELETE FROM walks WHERE id IN (SELECT id FROM walks WHERE until < ? LIMIT 100)", now()
            )
            self._db.run(
                "INSERT INTO walks (page_start, page_after, next_start, next_after, until, connection_id, query)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                *values,
                connection.id,
                query,
            )

    def end(self, connection: ConnectionRecord, place: Place) -> None:
        """The last page was handed out."""
        if place.walk is not None:
            with suppress(Unavailable), self._db.transaction(BRIEF):
                # Only that last page may be asked for again; a new walk is not led back by the pages before it.
                self._db.run(
                    "UPDATE walks SET page_start = next_start, page_after = next_after, until = ?"
                    " WHERE connection_id = ? AND id = ?",
                    now() + RETRY,
                    connection.id,
                    place.walk,
                )
