"""Members that were pushed before their user was here: ids that groups wait for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.store.engine.base import Database


class WaitingMembers:
    """Which group waits for which user."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, group_id: int, uids: Iterable[str]) -> None:
        """Remember ids that are not here (yet), for a group."""
        self._db.run_many(
            "INSERT INTO waiting_members (group_id, user_uid) VALUES (?, ?) ON CONFLICT DO NOTHING",
            [(group_id, uid) for uid in uids],
        )

    def of(self, group_id: int) -> list[str]:
        """The ids that a group waits for."""
        rows = self._db.all("SELECT user_uid FROM waiting_members WHERE group_id = ?", group_id)
        return [row[0] for row in rows]

    def count(self, group_id: int) -> int:
        """How many ids a group waits for."""
        (row,) = self._db.all("SELECT COUNT(*) FROM waiting_members WHERE group_id = ?", group_id)
        return int(row[0])

    def are_more(self, organization_id: int, connection_id: int | None, most: int) -> bool:
        """Whether the groups of a connection together wait for more than `most` ids."""
        found = self._db.one(
            "SELECT 1 FROM groups g JOIN waiting_members w ON w.group_id = g.id"
            " WHERE g.organization_id = ? AND g.connection_id = ? LIMIT 1 OFFSET ?",
            *(organization_id, connection_id, most),
        )
        return found is not None

    def newest(
        self, organization_id: int, connection_id: int, most: int, groups: int
    ) -> list[tuple[str, str]]:
        """At most `most` members that the newest `groups` groups of a connection wait for: (name, id of the user)."""
        rows = self._db.all(
            "SELECT g.name, w.user_uid FROM (SELECT id, name FROM groups WHERE organization_id = ?"
            " AND connection_id = ? ORDER BY id DESC LIMIT ?) g JOIN waiting_members w ON w.group_id = g.id LIMIT ?",
            *(organization_id, connection_id, groups, most),
        )
        return [(name, uid) for name, uid in rows]

    def forget(self, group_id: int, uids: Sequence[str] | None) -> None:
        """No longer wait for these, or for anybody."""
        if uids is None:
            self._db.run("DELETE FROM waiting_members WHERE group_id = ?", group_id)
        for uid in uids or ():
            self._db.run("DELETE FROM waiting_members WHERE group_id = ? AND user_uid = ?", group_id, uid)

    def take(self, organization_id: int, connection_id: int | None, uid: str) -> list[int]:
        """Take away the waiting of a connection's groups for its user, who is here now; the keys of those groups.

        A group of another connection, which does not see the user, goes without.
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
