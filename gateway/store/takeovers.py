"""Takeovers: queries for users that move from one connection to another of the same organization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.scim.json_text import fold
from gateway.store.engine.base import Database
from gateway.store.ids_and_time import now
from gateway.store.memberships import MANUAL, MAPPING, PUSH
from gateway.store.records import ConnectionRecord, OrganizationRecord, UserRecord
from gateway.store.users import COLUMNS


class NamedUser(NamedTuple):
    """A user that a request named, deleted or not."""

    id: int
    uid: str
    connection_id: int | None
    user_name: str
    deleted: bool


_NAMED = "id, uid, connection_id, user_name, deleted"


class Takeovers:
    """The reads and writes of a takeover besides those of users."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def managed_users(self, connection: ConnectionRecord, keys: Sequence[int]) -> list[UserRecord]:
        """Return the users with these keys that the connection still manages."""
        rows = self._db.among(
            keys,
            lambda marks: (
                f"SELECT {COLUMNS} FROM users WHERE +organization_id = ? AND +connection_id = ? AND deleted = 0"
                f" AND id IN ({marks}) ORDER BY id"
            ),
            connection.organization_id,
            connection.id,
        )
        return [UserRecord._make(row) for row in rows]

    def find_named(self, organization: OrganizationRecord, names: Sequence[str]) -> dict[str, NamedUser]:
        """Find users by id or userName, letter case aside, of any connection; a live user precedes a deleted one."""
        rows = self._db.among(
            names,
            lambda marks: f"SELECT {_NAMED} FROM users WHERE +organization_id = ? AND uid IN ({marks})",
            organization.id,
        )
        by_uid = {found.uid: found for found in map(NamedUser._make, rows)}
        rows = self._db.among(
            [fold(name) for name in names],
            lambda marks: (
                f"SELECT {_NAMED} FROM users WHERE organization_id = ? AND deleted = 0 AND user_name_key IN ({marks})"
            ),
            organization.id,
        )
        by_name = {fold(found.user_name): found for found in map(NamedUser._make, rows)}
        return {
            name: found
            for name in names
            if (found := by_uid.get(name) or by_name.get(fold(name))) is not None
        }

    def count_holders(self, organization_id: int, addresses: Sequence[str]) -> dict[str, int]:
        """Return how many users that are not deleted have each of these folded e-mail addresses."""
        rows = self._db.among(
            addresses,
            lambda marks: (
                "SELECT e.value_key, COUNT(*) FROM emails e JOIN users u ON u.id = e.user_id"
                f" WHERE e.organization_id = ? AND u.deleted = 0 AND e.value_key IN ({marks}) GROUP BY e.value_key"
            ),
            organization_id,
        )
        return dict(rows)

    def regrant(self, source: ConnectionRecord, keys: Sequence[int], mapped: bool) -> None:
        """Turn the grants of the connection that the users leave into manual ones; no membership changes.

        These are its pushes, which the next push would otherwise end, and, unless another mapping takes them over
        (`mapped`), the grants of its mapping. The version of the groups is raised, because they are represented
        differently.
        """
        pushed = "SELECT id FROM groups WHERE organization_id = ? AND connection_id = ?"
        owned = [(PUSH, f" AND group_id IN ({pushed})", (source.organization_id, source.id))]
        if not mapped:
            owned.append((MAPPING, "", ()))  # type: ignore[arg-type]
        for reason, which, parameters in owned:
            gone = self._db.among(
                keys,
                lambda marks, which=which: (  # type: ignore[misc]
                    f"DELETE FROM grants WHERE source = ?{which} AND user_id IN ({marks}) RETURNING group_id, user_id"
                ),
                reason,
                *parameters,
            )
            self._db.run_many(
                f"INSERT INTO grants (group_id, user_id, source) VALUES (?, ?, '{MANUAL}') ON CONFLICT DO NOTHING",
                gone,
            )
        groups = self._db.among(
            keys, lambda marks: f"SELECT DISTINCT group_id FROM grants WHERE user_id IN ({marks})"
        )
        self._db.run_many(
            "UPDATE groups SET modified = ?, version = version + 1 WHERE id = ? AND organization_id = ?",
            [(now(), group, source.organization_id) for group in sorted({row[0] for row in groups})],
        )

    def awaited_ids(self, uids: Sequence[str]) -> set[str]:
        """Return those of these ids that a pushed group waits for."""
        rows = self._db.among(
            uids, lambda marks: f"SELECT user_uid FROM waiting_members WHERE user_uid IN ({marks})"
        )
        return {row[0] for row in rows}
