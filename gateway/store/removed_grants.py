"""Memberships that deleted users had, so that a deletion can be undone as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.store.engine.base import Database
from gateway.store.ids_and_time import now
from gateway.store.organizations import HELD


class RemovedGrants:
    """Remembers memberships before they end, finds and prunes them."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def remember(self, organization_id: int, user_id: int) -> None:
        """Remember all memberships of a user who is about to be deleted, besides others of an earlier deletion."""
        self._db.run(
            "INSERT INTO removed_grants (organization_id, user_id, group_id, source, at)"
            " SELECT ?, user_id, group_id, source, ? FROM grants WHERE user_id = ?"
            " ON CONFLICT (user_id, group_id, source) DO UPDATE SET at = excluded.at",
            organization_id,
            now(),
            user_id,
        )

    def of_users(self, organization_id: int, user_ids: Sequence[int]) -> list[tuple[int, int, str, int]]:
        """Return user, group, source and moment of the memberships that deleted users had, in that order."""
        rows = self._db.among(
            user_ids,
            lambda marks: (
                "SELECT user_id, group_id, source, at FROM removed_grants WHERE organization_id = ?"
                f" AND user_id IN ({marks})"
            ),
            organization_id,
        )
        return sorted((user, group, source, at) for user, group, source, at in rows)

    def prune(self, before: int, most: int) -> int:
        """Delete at most `most` memberships that ended before a moment, the oldest first, none of a legal hold.

        Return how many they were.
        """
        return self._db.run(
            "DELETE FROM removed_grants WHERE (user_id, group_id, source) IN"
            " (SELECT user_id, group_id, source FROM removed_grants"
            f" WHERE at < ? AND organization_id NOT IN {HELD} ORDER BY at LIMIT ?)",
            before,
            most,
        )
