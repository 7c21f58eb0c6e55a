"""Groups of the application: made by hand, or pushed by a connection. Their members are in `memberships`."""

from __future__ import annotations

from typing import Any

from gateway.scim.json_text import Json, dumps, fold, fold_json
from gateway.store.engine.base import Database, WriteConflict
from gateway.store.ids_and_time import new_id, now
from gateway.store.records import ConnectionRecord, GroupRecord, OrganizationRecord
from gateway.store.users import VISIBLE

COLUMNS = "id, uid, connection_id, name, external_id, members, doc, created, modified, version"


class Groups:
    """Stored groups."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def seen(self, connection: ConnectionRecord, uid: str) -> GroupRecord | None:
        """Find a group that is visible to this connection: its own, or one that no connection pushes."""
        row = self._db.one(
            f"SELECT {COLUMNS} FROM groups WHERE uid = ? AND {VISIBLE}",
            uid,
            connection.organization_id,
            connection.id,
        )
        return GroupRecord._make(row) if row else None

    def of(self, organization: OrganizationRecord, uid: str) -> GroupRecord | None:
        """Find a group of the organization, of any connection."""
        row = self._db.one(
            f"SELECT {COLUMNS} FROM groups WHERE uid = ? AND organization_id = ?", uid, organization.id
        )
        return GroupRecord._make(row) if row else None

    def manual(self, organization_id: int, name: str) -> GroupRecord | None:
        """Find the group of that name, letter case aside, that no connection pushes."""
        row = self._db.one(
            f"SELECT {COLUMNS} FROM groups WHERE organization_id = ? AND name_key = ? AND connection_id IS NULL",
            organization_id,
            fold(name),
        )
        return GroupRecord._make(row) if row else None

    def namesake(
        self, organization_id: int, connection_id: int | None, name: str, but: int = 0
    ) -> GroupRecord | None:
        """Find a group with this name, letter case aside, that is visible to the connection."""
        row = self._db.one(
            f"SELECT {COLUMNS} FROM groups WHERE name_key = ? AND {VISIBLE} AND id <> ?",
            fold(name),
            organization_id,
            connection_id,
            but,
        )
        return GroupRecord._make(row) if row else None

    def pushed_name(self, organization_id: int, name: str) -> GroupRecord | None:
        """Find a pushed group of that name."""
        row = self._db.one(
            f"SELECT {COLUMNS} FROM groups WHERE organization_id = ? AND name_key = ? AND connection_id IS NOT NULL",
            organization_id,
            fold(name),
        )
        return GroupRecord._make(row) if row else None

    def clashing(self, connection: ConnectionRecord) -> list[GroupRecord]:
        """List the groups of a connection with the name of a manual group."""
        rows = self._db.all(
            f"SELECT {COLUMNS} FROM groups WHERE organization_id = ? AND connection_id = ? AND name_key IN"
            " (SELECT name_key FROM groups WHERE organization_id = ? AND connection_id IS NULL) ORDER BY id",
            connection.organization_id,
            connection.id,
            connection.organization_id,
        )
        return [GroupRecord._make(row) for row in rows]

    def add(self, organization_id: int, connection_id: int | None, document: Json) -> GroupRecord:
        """Insert a group; the caller has checked in the same transaction that the name is free."""
        moment = now()
        row = self._db.one(
            "INSERT INTO groups (uid, organization_id, connection_id, name, name_key, external_id, doc, doc_key,"
            " created, modified, members, version)"
            f" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 1) RETURNING {COLUMNS}",
            new_id(),
            organization_id,
            connection_id,
            *_columns(document),
            moment,
            moment,
        )
        assert row is not None
        return GroupRecord._make(row)

    def rewrite(
        self,
        organization_id: int,
        connection_id: int | None,
        group: GroupRecord,
        document: Json,
    ) -> GroupRecord | None:
        """Store the new state of a group; return None if it was written since `group` was read."""
        row = self._db.one(
            "UPDATE groups SET connection_id = ?, name = ?, name_key = ?, external_id = ?, doc = ?, doc_key = ?,"
            " modified = ?, version = version + 1"
            f" WHERE organization_id = ? AND id = ? AND version = ? RETURNING {COLUMNS}",
            connection_id,
            *_columns(document),
            now(),
            organization_id,
            group.id,
            group.version,
        )
        return GroupRecord._make(row) if row else None

    def add_members(self, organization_id: int, group_id: int, by: int) -> GroupRecord:
        """Change the number of members by so many and count up the version; return the group as it is now stored.

        Raises WriteConflict when it was removed.
        """
        row = self._db.one(
            "UPDATE groups SET members = members + ?, modified = ?, version = version + 1"
            f" WHERE organization_id = ? AND id = ? RETURNING {COLUMNS}",
            by,
            now(),
            organization_id,
            group_id,
        )
        if row is None:
            raise WriteConflict
        return GroupRecord._make(row)

    def remove(self, organization_id: int, group: GroupRecord) -> bool:
        """Delete a group with its grants; return False if it was deleted before."""
        return (
            self._db.run("DELETE FROM groups WHERE organization_id = ? AND id = ?", organization_id, group.id)
            > 0
        )

    def page(
        self, organization: OrganizationRecord, prefix: str, after: int, limit: int
    ) -> list[GroupRecord]:
        """Return groups whose names start with a prefix, letter case aside, in the order of creation, from a key on."""
        key = fold(prefix)
        rows = self._db.all(
            f"SELECT {COLUMNS} FROM groups WHERE organization_id = ? AND id > ?"
            " AND (? = '' OR (name_key >= ? AND name_key < ?)) ORDER BY id LIMIT ?",
            organization.id,
            after,
            key,
            key,
            key + "\U0010ffff",
            limit,
        )
        return [GroupRecord._make(row) for row in rows]


def _columns(document: Json) -> tuple[Any, ...]:
    """Return the columns that repeat parts of a document for SQL, and the document."""
    name, text = document["displayName"], dumps(document)
    return name, fold(name), document.get("externalId"), text, fold_json(text)
