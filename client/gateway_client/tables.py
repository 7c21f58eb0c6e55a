"""The tables of a copy, and the statements that change them; they run on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from gateway_client.errors import GatewayError
from gateway_client.events import Position

_TABLES = (
    "CREATE TABLE IF NOT EXISTS gateway_users (organization TEXT NOT NULL, id TEXT NOT NULL, user_name TEXT NOT NULL,"
    " display_name TEXT, email TEXT, active INTEGER NOT NULL, document TEXT NOT NULL, PRIMARY KEY (organization, id))",
    # Not unique: a snapshot may be newer than the events that follow, so a name may have two users for a while.
    "CREATE INDEX IF NOT EXISTS gateway_users_by_name ON gateway_users (organization, user_name)",
    "CREATE TABLE IF NOT EXISTS gateway_groups (organization TEXT NOT NULL, id TEXT NOT NULL,"
    " display_name TEXT NOT NULL, PRIMARY KEY (organization, id))",
    "CREATE TABLE IF NOT EXISTS gateway_memberships (organization TEXT NOT NULL, group_id TEXT NOT NULL,"
    " user_id TEXT NOT NULL, PRIMARY KEY (organization, group_id, user_id))",
    "CREATE INDEX IF NOT EXISTS gateway_memberships_by_user ON gateway_memberships (organization, user_id)",
    "CREATE TABLE IF NOT EXISTS gateway_positions (stream TEXT NOT NULL PRIMARY KEY, position TEXT NOT NULL)",
)
_COPIES = ("gateway_memberships", "gateway_groups", "gateway_users")


class Tables:
    """Statements on a cursor of the application's transaction."""

    def __init__(self, cursor: Any, paramstyle: str) -> None:
        self.cursor, self._mark = cursor, "?" if paramstyle == "qmark" else "%s"

    def create(self) -> None:
        """Make the tables that are missing."""
        for table in _TABLES:
            self.cursor.execute(table)

    def put_user(self, organization: str, data: Mapping[str, Any]) -> None:
        """Insert or replace a user."""
        emails = sorted(data.get("emails", ()), key=lambda email: not email.get("primary"))
        self._run(
            "INSERT INTO gateway_users (organization, id, user_name, display_name, email, active, document)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (organization, id) DO UPDATE SET"
            " user_name = excluded.user_name, display_name = excluded.display_name, email = excluded.email,"
            " active = excluded.active, document = excluded.document",
            organization,
            data["id"],
            data["userName"],
            data.get("displayName"),
            emails[0].get("value") if emails else None,
            int(data["active"]),
            json.dumps(data, ensure_ascii=False),
        )

    def put_group(self, organization: str, data: Mapping[str, Any]) -> None:
        """Insert or rename a group; its members stay."""
        self._run(
            "INSERT INTO gateway_groups (organization, id, display_name) VALUES (?, ?, ?)"
            " ON CONFLICT (organization, id) DO UPDATE SET display_name = excluded.display_name",
            organization,
            data["id"],
            data["displayName"],
        )

    def add_members(self, organization: str, group: str, users: Iterable[str]) -> None:
        """Insert those memberships that are missing."""
        sql = "INSERT INTO gateway_memberships VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        for user in users:
            self._run(sql, organization, group, user)

    def remove_members(self, organization: str, group: str, users: Iterable[str]) -> None:
        """Delete those memberships."""
        sql = "DELETE FROM gateway_memberships WHERE organization = ? AND group_id = ? AND user_id = ?"
        for user in users:
            self._run(sql, organization, group, user)

    def remove_user(self, organization: str, user: str) -> None:
        """Delete a user with its memberships."""
        self._run(
            "DELETE FROM gateway_memberships WHERE organization = ? AND user_id = ?", organization, user
        )
        self._run("DELETE FROM gateway_users WHERE organization = ? AND id = ?", organization, user)

    def remove_group(self, organization: str, group: str) -> None:
        """Delete a group with its memberships."""
        self._run(
            "DELETE FROM gateway_memberships WHERE organization = ? AND group_id = ?", organization, group
        )
        self._run("DELETE FROM gateway_groups WHERE organization = ? AND id = ?", organization, group)

    def remove_all(self, organization: str | None) -> None:
        """Delete the copy of an organization, or (None) of all."""
        where, values = ("", ()) if organization is None else (" WHERE organization = ?", (organization,))
        for table in _COPIES:
            self._run(f"DELETE FROM {table}{where}", *values)  # noqa: S608 - of the constants above

    def position(self, stream: str) -> Position | None:
        """Return the stored position of a stream."""
        self._run("SELECT position FROM gateway_positions WHERE stream = ?", stream)
        row = self.cursor.fetchone()
        return Position.parse(row[0]) if row else None

    def move(self, stream: str, before: Position | None, after: Position) -> None:
        """Store a position. Where another process moved it meanwhile, nothing of this transaction is stored."""
        if before is None:
            sql = "INSERT INTO gateway_positions (stream, position) VALUES (?, ?) ON CONFLICT DO NOTHING"
            self._run(sql, stream, str(after))
        else:
            sql = "UPDATE gateway_positions SET position = ? WHERE stream = ? AND position = ?"
            self._run(sql, str(after), stream, str(before))
        if self.cursor.rowcount != 1:
            raise GatewayError("Another process applies events to this copy too: let one of them do it.")

    def _run(self, sql: str, *values: Any) -> None:
        self.cursor.execute(sql.replace("?", self._mark), values)
