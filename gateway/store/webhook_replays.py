"""Positions of webhooks as admins move them: to the newest event, back to an earlier one, behind one that fails.

The deliverer moves them forward (`delivery_positions`). What is moved here takes the lease from the process that
delivers: its next write finds another holder, so it moves nothing back or forward again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from gateway.store.engine.base import Database
from gateway.store.events import event_key, event_range
from gateway.store.records import WebhookRecord


class Lag(NamedTuple):
    """How far an endpoint is behind: events, and when the oldest of them was committed, in microseconds."""

    events: int
    oldest: int | None


class FailingStream(NamedTuple):
    """An organization's events for an endpoint, the next of which fails; 0 is the deployment, whose uid is None."""

    organization_id: int
    organization_uid: str | None
    organization_name: str | None
    seq: int
    failures: int
    #: Microseconds.
    retry_at: int


class ReplayCount(NamedTuple):
    """What a replay sends again: of so many organizations so many events, of all types."""

    organizations: int
    events: int


_INTO = (
    "INSERT INTO webhook_positions"
    " (webhook_id, organization_id, seq, failures, retry_at, lease_until, lease_holder)"
)
_FREE = "failures = 0, retry_at = 0, lease_until = 0, lease_holder = NULL"
_MOVE = f"ON CONFLICT (webhook_id, organization_id) DO UPDATE SET seq = excluded.seq, {_FREE}"
#: The last event before a time, of the organization of a position.
_BEFORE = (
    "COALESCE((SELECT e.seq FROM events e WHERE"
    f" {event_range('e.id', 'webhook_positions.organization_id')} AND e.at < ? ORDER BY e.id DESC LIMIT 1), 0)"
)


class WebhookReplays:
    """Moves positions for an admin, and says how far an endpoint is."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def lag(self, webhook: WebhookRecord) -> Lag:
        """Return how far an endpoint is behind the newest events; types that it does not want are counted too."""
        one, parameters = _one("o.id", webhook.organization_id)
        row = self._db.one(
            "SELECT SUM(o.event_seq - COALESCE(p.seq, 0)), MIN(e.at) FROM organizations o"
            " LEFT JOIN webhook_positions p ON p.organization_id = o.id AND p.webhook_id = ?"
            f" LEFT JOIN events e ON e.id = {event_key('o.id', 'COALESCE(p.seq, 0) + 1')}"
            f" WHERE o.event_seq > COALESCE(p.seq, 0){one}",
            *(webhook.id, *parameters),
        )
        events, oldest = row or (0, None)
        return Lag(int(events or 0), oldest)

    def epoch(self) -> int:
        """Return the epoch of all event numbers."""
        row = self._db.one("SELECT epoch FROM feed_state WHERE id = 1")
        return int(row[0]) if row else 0

    def position(self, webhook: WebhookRecord, organization_id: int) -> int:
        """Return the number of the last event that an endpoint received of an organization."""
        row = self._db.one(
            "SELECT seq FROM webhook_positions WHERE webhook_id = ? AND organization_id = ?",
            *(webhook.id, organization_id),
        )
        return row[0] if row else 0

    def failing_streams(self, webhook: WebhookRecord, limit: int) -> list[FailingStream]:
        """List the organizations whose next event fails, those with the most failures first."""
        rows = self._db.all(
            "SELECT p.organization_id, o.uid, o.name, p.seq, p.failures, p.retry_at FROM webhook_positions p"
            " LEFT JOIN organizations o ON o.id = p.organization_id WHERE p.webhook_id = ? AND p.failures > 0"
            " ORDER BY p.failures DESC, p.organization_id LIMIT ?",
            *(webhook.id, limit),
        )
        return [FailingStream._make(row) for row in rows]

    def move_to_newest(self, webhook: WebhookRecord) -> None:
        """Set the positions of an endpoint to the newest event of each of its organizations, and end its failures."""
        one, parameters = _one("id", webhook.organization_id)
        self._db.run(
            f"{_INTO} SELECT ?, id, event_seq, 0, 0, 0, NULL FROM organizations WHERE event_seq > 0{one} {_MOVE}",
            *(webhook.id, *parameters),
        )
        if webhook.organization_id is None:
            self._db.run(
                f"{_INTO} SELECT ?, 0, seq, 0, 0, 0, NULL FROM feed_state WHERE id = 1 {_MOVE}", webhook.id
            )

    def end_failures(self, webhook: WebhookRecord) -> None:
        """Have the next event of each organization sent at once."""
        self._db.run(
            "UPDATE webhook_positions SET failures = 0, retry_at = 0 WHERE webhook_id = ? AND failures > 0",
            webhook.id,
        )

    def skip(self, webhook: WebhookRecord, organization_id: int, position: int, seq: int) -> bool:
        """Move behind an event, from a position; False if the endpoint is no longer there."""
        return (
            self._db.run(
                f"UPDATE webhook_positions SET seq = ?, {_FREE}"
                " WHERE webhook_id = ? AND organization_id = ? AND seq = ?",
                *(seq, webhook.id, organization_id, position),
            )
            > 0
        )

    def move_back(self, webhook: WebhookRecord, organization_id: int, seq: int) -> bool:
        """Move back behind an event of an organization; False if the endpoint is not beyond it."""
        return (
            self._db.run(
                f"UPDATE webhook_positions SET seq = ?, {_FREE}"
                " WHERE webhook_id = ? AND organization_id = ? AND seq > ?",
                *(seq, webhook.id, organization_id, seq),
            )
            > 0
        )

    def count_since(self, webhook: WebhookRecord, organization_id: int | None, at: int) -> ReplayCount:
        """Count what `move_back_to` would send again."""
        one, parameters = _one("organization_id", organization_id)
        row = self._db.one(
            "SELECT COUNT(*), COALESCE(SUM(seq - target), 0) FROM"
            f" (SELECT seq, {_BEFORE} AS target FROM webhook_positions WHERE webhook_id = ?{one}) AS moved"
            " WHERE target < seq",
            *(at, webhook.id, *parameters),
        )
        return ReplayCount(*map(int, row)) if row else ReplayCount(0, 0)

    def move_back_to(self, webhook: WebhookRecord, organization_id: int | None, at: int) -> None:
        """Move back behind the last event before a time (microseconds), in one organization or (None) in all."""
        one, parameters = _one("organization_id", organization_id)
        self._db.run(
            f"UPDATE webhook_positions SET seq = {_BEFORE}, {_FREE} WHERE webhook_id = ?{one} AND {_BEFORE} < seq",
            *(at, webhook.id, *parameters, at),
        )


def _one(column: str, organization_id: int | None) -> tuple[str, Sequence[Any]]:
    return ("", ()) if organization_id is None else (f" AND {column} = ?", (organization_id,))
