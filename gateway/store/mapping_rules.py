"""The rules of Map to groups: the application group for each value of a user's attribute."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.store.engine.base import Database
from gateway.store.records import ConnectionRecord


class MappingRules:
    """The mapping rules of connections."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def rules(self, connection: ConnectionRecord) -> list[tuple[str, int, str]]:
        """List the rules of a connection: value, group key, group name."""
        rows = self._db.all(
            "SELECT m.value, g.id, g.name FROM mapping_rules m JOIN groups g ON g.id = m.group_id"
            " WHERE m.connection_id = ? ORDER BY m.id",
            connection.id,
        )
        return [(value, group_id, name) for value, group_id, name in rows]

    def values(self, connection_id: int) -> list[str]:
        """Return the distinct values of all rules of a connection."""
        sql = "SELECT DISTINCT value FROM mapping_rules WHERE connection_id = ? ORDER BY value"
        return [row[0] for row in self._db.all(sql, connection_id)]

    def groups_for(self, connection_uid: str, values: Sequence[str]) -> list[str]:
        """Return the names of the groups of these values, if the connection's mapping is enabled."""
        rows = self._db.among(
            values,
            lambda marks: (
                "SELECT g.name FROM mapping_rules m JOIN connections c ON c.id = m.connection_id"
                " JOIN groups g ON g.id = m.group_id"
                f" WHERE c.uid = ? AND c.mapping_enabled = 1 AND m.value IN ({marks})"
            ),
            connection_uid,
        )
        return [row[0] for row in rows]

    def replace(self, connection: ConnectionRecord, rules: Iterable[tuple[str, int]]) -> None:
        """Replace all rules of a connection by these pairs of value and group key."""
        self._db.run("DELETE FROM mapping_rules WHERE connection_id = ?", connection.id)
        self._db.run_many(
            "INSERT INTO mapping_rules (connection_id, value, group_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            [(connection.id, value, group_id) for value, group_id in rules],
        )

    def connections_using(self, group_ids: Sequence[int]) -> dict[int, str]:
        """Return, by the keys of those groups that rules lead to, the name of a connection with such a rule."""
        rows = self._db.among(
            group_ids,
            lambda marks: (
                "SELECT m.group_id, MIN(c.name) FROM mapping_rules m JOIN connections c ON c.id = m.connection_id"
                f" WHERE m.group_id IN ({marks}) GROUP BY m.group_id"
            ),
        )
        return dict(rows)

    def connection_using(self, group_id: int) -> str | None:
        """Return the name of a connection with a rule for this group, or None."""
        row = self._db.one(
            "SELECT c.name FROM mapping_rules m JOIN connections c ON c.id = m.connection_id"
            " WHERE m.group_id = ? LIMIT 1",
            group_id,
        )
        return row[0] if row else None
