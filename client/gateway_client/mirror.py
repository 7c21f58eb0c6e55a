"""A copy of users, groups and memberships in tables of the application's own database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from gateway_client.errors import FeedRewound, HistoryGone, SnapshotIncomplete, Unavailable
from gateway_client.events import Event, Position, SnapshotEntry
from gateway_client.feed import Feed
from gateway_client.tables import Tables

_CHANGED_USER = frozenset(
    f"user.{verb}" for verb in ("created", "updated", "deactivated", "reactivated", "restored")
)
#: The stream of the feed of all organizations; any other is the id of an organization.
_ALL = "*"


class Mirror:
    """Keeps `gateway_users`, `gateway_groups` and `gateway_memberships`, and the position in the same transaction.

    So each event takes effect once, and readers never see half of one. A user that was deleted has no row; one that
    was deactivated has `active` 0. Types of events that it does not know change nothing.
    """

    def __init__(
        self,
        connection: Any,
        feed: Feed | None = None,
        paramstyle: str = "qmark",
        react: Callable[[Any, Event], object] | None = None,
    ) -> None:
        """Make the tables that are missing.

        `connection`: one of sqlite3 or psycopg, used by nobody else and not in autocommit mode. `feed`: what `follow`,
        `catch_up` and `rebuild` read; webhooks go to `apply` and need none. `paramstyle`: that of the driver, `qmark`
        for sqlite3 and `format` for psycopg. `react` is called with a cursor and each event, in the transaction and
        after the copy has changed: what it writes is stored together with it. Raises ValueError.
        """
        if paramstyle not in ("qmark", "format", "pyformat"):
            raise ValueError(f"`paramstyle` is qmark, format or pyformat, not {paramstyle!r}.")
        by_statement = isinstance(connection, sqlite3.Connection) and connection.isolation_level is None
        if by_statement or getattr(connection, "autocommit", False) is True:
            raise ValueError("The connection commits each statement by itself: switch its autocommit off.")
        self._connection, self._feed, self._react = connection, feed, react
        self._paramstyle = paramstyle
        with self._transaction() as tables:
            tables.create()

    def follow(self) -> None:
        """Apply events until the feed is stopped; begin anew with a snapshot where the feed says so.

        Raises AccessRefused, UnknownOrganization, UnexpectedAnswer, and what the database raises.
        """
        failures = 0
        feed = self._go_on()
        while not feed.stopped:
            try:
                for events in feed.pages():
                    self.apply(events)
            except (FeedRewound, HistoryGone):
                try:
                    self.rebuild()
                    failures = 0
                except (SnapshotIncomplete, Unavailable) as error:
                    feed.wait_out(error, failures)
                    failures += 1

    def catch_up(self) -> int:
        """Apply what there is now, and return the number of events: for a webhook that wakes, or a job of a clock.

        Raises what `Feed.read` and `Feed.snapshot` raise, but begins anew where the feed was rewound or pruned.
        """
        feed, applied = self._go_on(), 0
        try:
            before = None
            while before != feed.position:
                before = feed.position
                applied += self.apply(feed.read())
        except (FeedRewound, HistoryGone):
            self.rebuild()
        return applied

    def apply(self, events: Iterable[Event]) -> int:
        """Apply events in one transaction, and return how many were new: a double is passed over by its number.

        Events of one organization must come in order, as feeds and webhooks bring them. Raises FeedRewound where an
        event has another epoch than those before it, ValueError for an event without data.
        """
        known: dict[str, Position | None] = {}
        applied: dict[str, Position] = {}
        count = 0
        with self._transaction() as tables:
            for event in events:
                position = Position.parse(event.position)
                stream = position.organization or _ALL
                if stream not in known:
                    known[stream] = tables.position(stream)
                before = applied.get(stream) or known[stream]
                if before and before.epoch not in (0, position.epoch):
                    raise FeedRewound(
                        "The gateway was restored from a backup: its epoch is another. Rebuild the copy."
                    )
                if before and position.number <= before.number:
                    continue
                self._apply(tables, event)
                if self._react:
                    self._react(tables.cursor, event)
                applied[stream], count = position, count + 1
            for stream, position in applied.items():
                tables.move(stream, known[stream], position)
        return count

    def rebuild(self) -> None:
        """Replace the copy by a snapshot, in one transaction. Raises what `Feed.snapshot` raises.

        `react` is not called: compare what the application keeps with the new copy.
        """
        feed = self._source()
        with self._transaction() as tables:
            tables.remove_all(feed.organization)
            for entry in feed.snapshot():
                self._insert(tables, entry)
            stream = feed.organization or _ALL
            tables.move(stream, tables.position(stream), Position.parse(feed.position))

    # Their parts ----------------------------------------------------------------------------------------------------

    def _go_on(self) -> Feed:
        """Set the feed to the stored position."""
        feed = self._source()
        with self._transaction() as tables:
            position = tables.position(feed.organization or _ALL)
        feed.position = str(position or Position(0, 0, feed.organization))
        return feed

    def _source(self) -> Feed:
        if self._feed is None:
            raise ValueError("This Mirror was made without a feed.")
        return self._feed

    def _apply(self, tables: Tables, event: Event) -> None:
        organization, kind, uid, data = event.organization, event.type, event.resource_id, event.data
        if kind == "organization.removed":
            tables.remove_all(uid)
        if organization is None:
            return
        if data is None:
            raise ValueError(
                f"The event {event.key} came without its data; a Mirror needs the feed to read it from."
            )
        if kind in ("user.deleted", "user.erased") or (kind in _CHANGED_USER and data.get("erased")):
            tables.remove_user(organization, uid)
        elif kind in _CHANGED_USER:
            tables.put_user(organization, data)
        elif kind == "group.deleted":
            tables.remove_group(organization, uid)
        elif kind in ("group.created", "group.updated"):
            tables.put_group(organization, data)
        elif kind == "group.members_changed":
            tables.add_members(organization, uid, data["added"])
            tables.remove_members(organization, uid, data["removed"])

    def _insert(self, tables: Tables, entry: SnapshotEntry) -> None:
        if entry.resource == "User":
            tables.put_user(entry.organization, entry.data)
        elif entry.resource == "Group":
            tables.put_group(entry.organization, entry.data)
            members = [member["value"] for member in entry.data.get("members", ())]
            tables.add_members(entry.organization, entry.data["id"], members)

    @contextmanager
    def _transaction(self) -> Iterator[Tables]:
        cursor = self._connection.cursor()
        try:
            yield Tables(cursor, self._paramstyle)
            self._connection.commit()
        except BaseException:
            self._connection.rollback()
            raise
        finally:
            cursor.close()
