"""How far each subscriber received the events of each organization, and which process delivers to it now.

A stream is one organization's events for one subscriber: a plugin that listens, or a webhook. Its process holds a
lease, which ends by itself when that process does. A stream without a row begins with the organization's first event.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

from gateway.store.engine.base import Database
from gateway.store.events import event_range

#: Streams that one statement names.
_PORTION = 50


class Position(NamedTuple):
    """How far one stream is: the number of the last event received, and failures in a row at the next one.

    `retry_at` and `lease_until` are microseconds since 1970; 0 for never failed, and for free.
    """

    subscriber: Any
    organization_id: int
    seq: int
    failures: int = 0
    retry_at: int = 0
    lease_until: int = 0

    @property
    def stream(self) -> tuple[Any, int]:
        """The subscriber and the key of the organization."""
        return self.subscriber, self.organization_id


class DueStream(NamedTuple):
    """A stream of a webhook that has events and may be leased."""

    position: Position
    #: The uid of the organization, None for the deployment.
    organization: str | None
    #: How many of its events the endpoint refused for good.
    parked: int


class DeliveryPositions:
    """The positions and leases of one kind of subscriber.

    `table` has the columns of `Position`, the first of them called `subscriber`, and `lease_holder`.
    """

    def __init__(self, database: Database, table: str, subscriber: str) -> None:
        self._db, self._table, self._subscriber = database, table, subscriber
        self._into = (
            f"{table} ({subscriber}, organization_id, seq, failures, retry_at, lease_until, lease_holder)"
        )
        self._columns = (
            f"{table}.{subscriber}, {table}.organization_id, {table}.seq, {table}.failures, {table}.retry_at,"
            f" {table}.lease_until"
        )

    def take(self, positions: Sequence[Position], holder: str, moment: int, until: int) -> list[Position]:
        """Lease those streams that are free and not postponed at `moment`; return them as they are stored now.

        Of two processes that ask at the same time one gets a stream.
        """
        table = self._table
        taken: list[Position] = []
        for portion in _portions(positions):
            rows = self._db.all(
                f"INSERT INTO {self._into} VALUES {','.join(['(?, ?, 0, 0, 0, ?, ?)'] * len(portion))}"
                f" ON CONFLICT ({self._subscriber}, organization_id) DO UPDATE SET"
                " lease_until = excluded.lease_until, lease_holder = excluded.lease_holder"
                f" WHERE {table}.lease_until <= ? AND {table}.retry_at <= ? RETURNING {self._columns}",
                *chain.from_iterable((*position.stream, until, holder) for position in portion),
                moment,
                moment,
            )
            taken += [Position._make(row) for row in rows]
        return taken

    def write(self, positions: Sequence[Position], holder: str) -> set[tuple[Any, int]]:
        """Store positions of streams that `holder` leased, and their leases (0 releases); return what it still holds.

        A stream whose lease another process took meanwhile is left as it is, and no position moves back.
        """
        held: set[tuple[Any, int]] = set()
        for portion in _portions(positions):
            rows = self._db.all(
                "WITH moved (subscriber, organization_id, seq, failures, retry_at, lease_until) AS"
                f" (VALUES {','.join(['(?, ?, ?, ?, ?, ?)'] * len(portion))})"
                f" UPDATE {self._table} SET"
                f" seq = CASE WHEN moved.seq > {self._table}.seq THEN moved.seq ELSE {self._table}.seq END,"
                " failures = moved.failures, retry_at = moved.retry_at, lease_until = moved.lease_until FROM moved"
                f" WHERE {self._table}.{self._subscriber} = moved.subscriber"
                f" AND {self._table}.organization_id = moved.organization_id AND lease_holder = ?"
                f" RETURNING {self._table}.{self._subscriber}, {self._table}.organization_id",
                *chain.from_iterable(portion),
                holder,
            )
            held.update((subscriber, organization_id) for subscriber, organization_id in rows)
        return held


class ListenerPositions(DeliveryPositions):
    """Positions of the plugins that listen."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, "deliveries", "plugin")

    def register(self, plugin: str, since: int) -> None:
        """Register a listener, which receives the events from `since` (microseconds) on, all of them with 0.

        A listener that was registered before keeps its positions. One statement for all organizations, which reads the
        newest events of each first, by the primary key.
        """
        if self._db.one("SELECT 1 FROM listeners WHERE plugin = ?", plugin):
            return
        # It has a position from before there was this table: not new.
        if self._db.one("SELECT 1 FROM deliveries WHERE plugin = ? LIMIT 1", plugin):
            since = 0
        self._db.run(
            "INSERT INTO listeners (plugin, since) VALUES (?, ?) ON CONFLICT (plugin) DO NOTHING",
            plugin,
            since,
        )
        if since:
            before = (
                f"SELECT e.seq FROM events e WHERE {event_range('e.id', 'o.id')} AND e.at < ?"
                " ORDER BY e.id DESC LIMIT 1"
            )
            self._db.run(
                "INSERT INTO deliveries (plugin, organization_id, seq, failures, retry_at)"
                f" SELECT ?, o.id, COALESCE(({before}), 0), 0, 0 FROM organizations o WHERE o.event_seq > 0"
                " ON CONFLICT (plugin, organization_id) DO NOTHING",
                plugin,
                since,
            )

    def behind(self, plugin: str, organization_ids: Sequence[int] | None = None) -> list[Position]:
        """Return the streams of a listener that have events which it has not received, leased and postponed ones too.

        Among the given organizations, or (None) among all, which costs a look at each.
        """
        sql = (
            "SELECT o.id, COALESCE(d.seq, 0), COALESCE(d.failures, 0), COALESCE(d.retry_at, 0),"
            " COALESCE(d.lease_until, 0) FROM organizations o"
            " LEFT JOIN deliveries d ON d.organization_id = o.id AND d.plugin = ?"
            " WHERE o.event_seq > COALESCE(d.seq, 0)"
        )
        if organization_ids is None:
            rows = self._db.all(sql, plugin)
        else:
            rows = self._db.among(organization_ids, lambda marks: f"{sql} AND o.id IN ({marks})", plugin)
        return [Position(plugin, *row) for row in rows]

    def failing(self) -> list[tuple[str, int, int]]:
        """Return each listener that fails: its plugin, in how many organizations, and how often in a row at most."""
        rows = self._db.all(
            "SELECT plugin, COUNT(*), MAX(failures) FROM deliveries WHERE failures > 0"
            " GROUP BY plugin ORDER BY plugin"
        )
        return [(plugin, organizations, failures) for plugin, organizations, failures in rows]


class WebhookPositions(DeliveryPositions):
    """Positions of webhooks. The organization 0 is the deployment, whose events go to the operator's webhooks."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, "webhook_positions", "webhook_id")

    def due(
        self, webhook_id: int, organization_ids: Sequence[int] | None, moment: int, limit: int
    ) -> list[DueStream]:
        """Return streams of a webhook for all organizations that have events and are free and not postponed.

        Those that failed less come first. Among the given organizations, or (None) among all, which costs a look at
        each.
        """
        sql = (
            f"{_DUE} FROM organizations o {_DUE_JOIN} ON p.webhook_id = ? AND p.organization_id = o.id"
            f" WHERE {_IS_DUE}"
        )
        given = (webhook_id, webhook_id, webhook_id, moment, moment)
        if organization_ids is None:
            rows = self._db.all(f"{sql} ORDER BY 4 LIMIT ?", *given, limit)
        else:
            rows = self._db.among(organization_ids, lambda marks: f"{sql} AND o.id IN ({marks})", *given)
            rows = sorted(rows, key=lambda row: row[3])[:limit]
        if organization_ids is None or 0 in organization_ids:
            deployment = _DUE.replace("o.id", "o.organization_id").replace("o.uid", "NULL")
            rows = [
                *self._db.all(
                    f"{deployment} FROM (SELECT 0 AS organization_id, seq AS event_seq FROM feed_state WHERE id = 1) o"
                    f" {_DUE_JOIN} ON p.webhook_id = ? AND p.organization_id = 0 WHERE {_IS_DUE}",
                    *given,
                ),
                *rows,
            ]
        return [DueStream(Position._make(row[:6]), row[6], row[7]) for row in rows[:limit]]

    def due_of_own(self, webhook_ids: Sequence[int], moment: int) -> list[DueStream]:
        """Return the same of webhooks for one organization each."""
        own = _DUE.replace("?", "w.id")
        rows = self._db.among(
            webhook_ids,
            lambda marks: (
                f"{own} FROM webhooks w JOIN organizations o ON o.id = w.organization_id {_DUE_JOIN}"
                f" ON p.webhook_id = w.id AND p.organization_id = o.id WHERE {_IS_DUE} AND w.id IN ({marks})"
            ),
            moment,
            moment,
        )
        return [DueStream(Position._make(row[:6]), row[6], row[7]) for row in rows]

    def leases_of_others(self, holder: str, since: int) -> list[tuple[int, int]]:
        """Return the organization and the end of each lease of other processes that ends after `since`.

        Costs a look at each position.
        """
        rows = self._db.all(
            "SELECT DISTINCT organization_id, lease_until FROM webhook_positions"
            " WHERE lease_until > ? AND lease_holder <> ?",
            *(since, holder),
        )
        return [(organization_id, until) for organization_id, until in rows]

    def lags(self) -> list[int]:
        """Return for each webhook that events are sent to by how many it is behind, of all types."""
        behind = (
            "SUM(CASE WHEN o.event_seq > COALESCE(p.seq, 0) THEN o.event_seq - COALESCE(p.seq, 0) ELSE 0 END)"
        )
        position = "LEFT JOIN webhook_positions p ON p.webhook_id = w.id AND p.organization_id = o.id"
        sent = "w.state IN ('on', 'failing') AND w.url <> ''"
        rows = self._db.all(
            f"SELECT {behind} FROM webhooks w CROSS JOIN organizations o {position}"
            f" WHERE w.organization_id IS NULL AND {sent} GROUP BY w.id"
            f" UNION ALL SELECT {behind} FROM webhooks w JOIN organizations o ON o.id = w.organization_id {position}"
            f" WHERE {sent} GROUP BY w.id"
        )
        return [int(row[0]) for row in rows]

    def end_waits(self, webhook_id: int) -> None:
        """Make all streams of a webhook due that wait after a failure: it works again."""
        self._db.run(
            "UPDATE webhook_positions SET retry_at = 0 WHERE webhook_id = ? AND retry_at > 0", webhook_id
        )


_DUE = (
    "SELECT ?, o.id, COALESCE(p.seq, 0), COALESCE(p.failures, 0), COALESCE(p.retry_at, 0), COALESCE(p.lease_until, 0),"
    " o.uid, (SELECT COUNT(*) FROM webhook_parked k WHERE k.webhook_id = ? AND k.organization_id = o.id)"
)
_DUE_JOIN = "LEFT JOIN webhook_positions p"
_IS_DUE = (
    "o.event_seq > COALESCE(p.seq, 0) AND COALESCE(p.retry_at, 0) <= ? AND COALESCE(p.lease_until, 0) <= ?"
)


def _portions(positions: Sequence[Position]) -> list[list[Position]]:
    """Split positions for statements, in the order of their keys: processes lock rows in the same order."""
    ordered = sorted(positions, key=lambda position: position.stream)
    return [ordered[start : start + _PORTION] for start in range(0, len(ordered), _PORTION)]
