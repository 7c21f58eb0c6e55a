"""How far a webhook that is polled has acknowledged the events of each organization: rows of `webhook_positions`.

Nobody leases these streams: a move names the position that it is based on.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.store.engine.base import Database


class PolledStream(NamedTuple):
    """An organization whose events a webhook has not acknowledged, and the last one that it has."""

    organization_id: int
    organization_uid: str
    seq: int


class PolledStreams:
    """The positions of webhooks that are polled."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def find(self, webhook_id: int, only: int | None, organization_uid: str) -> PolledStream | None:
        """Return the stream of one organization, in which a webhook of the organization `only` has no other."""
        where, parameters = ("", ()) if only is None else (" AND o.id = ?", (only,))
        row = self._db.one(f"{_STREAM} WHERE o.uid = ?{where}", webhook_id, organization_uid, *parameters)
        return PolledStream._make(row) if row else None

    def behind(self, webhook_id: int, only: int | None, limit: int) -> list[PolledStream]:
        """Return the streams with events that are not acknowledged, in the order of their organizations."""
        where, parameters = ("", ()) if only is None else (" AND o.id = ?", (only,))
        rows = self._db.all(
            f"{_STREAM} WHERE o.event_seq > COALESCE(p.seq, 0){where} ORDER BY o.id LIMIT ?",
            *(webhook_id, *parameters, limit),
        )
        return [PolledStream._make(row) for row in rows]

    def move(self, webhook_id: int, stream: PolledStream, seq: int) -> bool:
        """Move a position forward; False if it is no longer the one of `stream`."""
        return (
            self._db.run(
                "INSERT INTO webhook_positions"
                " (webhook_id, organization_id, seq, failures, retry_at, lease_until, lease_holder)"
                " VALUES (?, ?, ?, 0, 0, 0, NULL) ON CONFLICT (webhook_id, organization_id)"
                " DO UPDATE SET seq = excluded.seq WHERE webhook_positions.seq = ?",
                *(webhook_id, stream.organization_id, seq, stream.seq),
            )
            > 0
        )


_STREAM = (
    "SELECT o.id, o.uid, COALESCE(p.seq, 0) FROM organizations o"
    " LEFT JOIN webhook_positions p ON p.organization_id = o.id AND p.webhook_id = ?"
)
