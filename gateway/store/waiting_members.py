"""Waiting members: ids that were pushed into a group before their user was provisioned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.store.engine.base import Database


class WaitingMembers:
    """The ids for which each group waits."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, group_id: int, uids: Iterable[str]) -> None:
        """Insert ids for which a group waits."""
        self._db.run_many(
            "INSERT INTO waiting_members (group_id, user_uid) VALUES (?, ?) ON CONFLICT DO NOTHING",
            [(group_id, uid) for uid in uids],
        )

    def list_of(self, group_id: int) -> list[str]:
        """Return the ids for which a group waits."""
        rows = self._db.all("SELECT user_uid FROM waiting_members WHERE group_id = ?", group_id)
        return [row[0] for row in rows]

    def count(self, group_id: int) -> int:
        """Return the number of ids for which a group waits."""
        (row,) = self._db.all("SELECT COUNT(*) FROM waiting_members WHERE group_id = ?", group_id)
        return int(row[0])

    def exceed(self, organization_id: int, connection_id: int | None, most: int) -> bool:
        """Return whether the groups of a connection together wait for more than `most` ids."""
        found = self._db.one(
            "SELECT 1 FROM groups g JOIN waiting_members w ON w.group_id = g.id"
            " WHERE g.organization_id = ? AND g.connection_id = ? LIMIT 1 OFFSET ?",
            *(organization_id, connection_id, most),
        )
        return found is not None

    def newest(
        self, organization_id: int, connection_id: int, most: int, groups: int
    ) -> list[tuple[str, str]]:
        """Return at most `most` waiting members of the newest `groups` groups of a connection: (group's name, id)."""
        rows = self._db.all(
            "SELECT g.name, w.user_uid FROM (SELECT id, name FROM groups WHERE organization_id = ?"
            " AND connection_id = ? ORDER BY id DESC LIMIT ?) g JOIN waiting_members w ON w.group_id = g.id LIMIT ?",
            *(organization_id, connection_id, groups, most),
        )
        return [(name, uid) for name, uid in rows]

    def forget(self, group_id: int, uids: Sequence[str] | None) -> None:
        """Delete these ids (None: all) from those that a group waits for."""
        if uids is None:
            self._db.run("DELETE FROM waiting_members WHERE group_id = ?", group_id)
            return
        self._db.run_among(
            uids,
            lambda marks: f"DELETE FROM waiting_members WHERE group_id = ? AND user_uid IN ({marks})",
            group_id,
        )

    def take(self, organization_id: int, connection_id: int | None, uid: str) -> list[int]:
        """Delete the id of a user who is provisioned now from all groups of its connection; return their keys.

        A group of another connection, which does not see the user, keeps waiting.
        """
        rows = self._db.all(
            "DELETE FROM waiting_members WHERE user_uid = ? AND EXISTS (SELECT 1 FROM groups g"
            " WHERE g.id = waiting_members.group_id AND g.organization_id = ? AND g.connection_id = ?)"
            " RETURNING group_id",
            uid,
            organization_id,
            connection_id,
        )
        return [row[0] for row in rows]
