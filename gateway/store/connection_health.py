"""What the checks of a connection read beside its own row. All of it is bounded."""

from __future__ import annotations

from gateway.store.engine.base import Database


class ConnectionHealth:
    """Reads for the checks of connections."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def lost_domains(self, organization_id: int, limit: int) -> list[tuple[str, int | None]]:
        """Return domains of an organization whose proof was lost, and since when, by name."""
        rows = self._db.all(
            "SELECT name, lost_since FROM domains WHERE organization_id = ? AND state = 'lost' ORDER BY name LIMIT ?",
            organization_id,
            limit,
        )
        return [(name, since) for name, since in rows]
