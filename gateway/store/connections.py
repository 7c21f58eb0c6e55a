"""Connections: the identity provider and organization of each base URL."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gateway.store.engine.base import Database
from gateway.store.ids_and_time import new_id, now
from gateway.store.organizations import COLUMNS as ORGANIZATION_COLUMNS
from gateway.store.query.page_positions import PagePositions
from gateway.store.records import ConnectionRecord, OrganizationRecord

COLUMNS = (
    "c.id, c.uid, c.slug, c.organization_id, c.idp, c.name, c.settings, c.provisioning, c.mapping_enabled,"
    " c.mapping_attribute, c.created, c.modified, c.version, c.brake, c.pause, c.adoption, c.watched_until,"
    " c.holds_removals"
)
_WIDTH = len(ConnectionRecord._fields)
_JOINED = (
    f"SELECT {COLUMNS}, {ORGANIZATION_COLUMNS} FROM connections c"
    " JOIN organizations o ON o.id = c.organization_id"
)
_FOR_AUTHENTICATION = (
    f"SELECT {COLUMNS}, {ORGANIZATION_COLUMNS}, t.uid, t.label, t.prefix, t.expires, t.digest FROM connections c"
    " JOIN organizations o ON o.id = c.organization_id"
    " LEFT JOIN tokens t ON t.digest {} AND t.connection_id = c.id WHERE c.slug = ?"
)
_BY_ONE_DIGEST = _FOR_AUTHENTICATION.format("= ?")
_BY_ID = f"{_JOINED} WHERE c.uid = ?"
_BY_KEY = f"{_JOINED} WHERE c.id = ?"
# Letters and digits that are not confused when read aloud.
#: Random characters of a slug by which it is found again though the others are wrong.
_NEAR = 5
_SLUG_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"


def _pair(row: tuple[Any, ...] | None) -> tuple[ConnectionRecord, OrganizationRecord] | None:
    """Split a joined row into connection and organization."""
    if row is None:
        return None
    return ConnectionRecord._make(row[:_WIDTH]), OrganizationRecord._make(row[_WIDTH:])


class AuthenticationRecord(NamedTuple):
    """The connection and organization of a base URL, and the live token that was presented: id, label, prefix."""

    connection: ConnectionRecord
    organization: OrganizationRecord
    token: tuple[str, str, str] | None
    #: The digest under which that token is stored.
    digest: str | None


class Connections:
    """The connections of all organizations; look-ups return the organization as well."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def find_for_authentication(self, slug: str, digests: Sequence[str]) -> AuthenticationRecord | None:
        """Find the connection of a slug and the token with one of the digests; None for an unknown slug."""
        if len(digests) > 1:
            marks = ", ".join("?" * len(digests))
            row = self._db.one(_FOR_AUTHENTICATION.format(f"IN ({marks})"), *digests, slug)
        else:
            row = self._db.one(_BY_ONE_DIGEST, digests[0] if digests else None, slug)
        if row is None:
            return None
        uid, label, prefix, expires, digest = row[-5:]
        live = uid is not None and (expires is None or expires > now())
        connection, organization = (
            ConnectionRecord._make(row[:_WIDTH]),
            OrganizationRecord._make(row[_WIDTH:-5]),
        )
        return AuthenticationRecord(connection, organization, (uid, label, prefix) if live else None, digest)

    def find_near(self, slug: str) -> tuple[ConnectionRecord, OrganizationRecord] | None:
        """Find the only connection whose slug begins as this one does, up to the fifth of its random characters.

        Letter case aside, and `_` for `-`; None where there is no such connection, or more than one.
        """
        kind, dash, rest = slug[:100].lower().replace("_", "-").rpartition("-")
        begin = f"{kind}{dash}{rest[:_NEAR]}"
        if not kind or len(rest) < _NEAR or not begin.isascii():
            return None
        # `~` comes behind all characters of slugs.
        rows = self._db.all(f"{_JOINED} WHERE c.slug >= ? AND c.slug < ? LIMIT 2", begin, f"{begin}~")
        return _pair(rows[0]) if len(rows) == 1 else None

    def by_slugs(self, slugs: Sequence[str]) -> dict[str, tuple[str, int]]:
        """Return public id and organization key of the connections with these slugs, by slug."""
        rows = self._db.among(
            slugs,
            lambda marks: f"SELECT slug, uid, organization_id FROM connections WHERE slug IN ({marks})",
        )
        return {slug: (uid, organization_id) for slug, uid, organization_id in rows}

    def by_id(self, uid: str) -> tuple[ConnectionRecord, OrganizationRecord] | None:
        """Find a connection by its public id."""
        return _pair(self._db.one(_BY_ID, uid))

    def by_key(self, key: int) -> tuple[ConnectionRecord, OrganizationRecord] | None:
        """Find a connection by its key, which other rows refer to; None if it was removed."""
        return _pair(self._db.one(_BY_KEY, key))

    def page(self, organization: OrganizationRecord, after: int, limit: int) -> list[ConnectionRecord]:
        """List connections of an organization after a key, in order of creation."""
        rows = self._db.all(
            f"SELECT {COLUMNS} FROM connections c WHERE c.organization_id = ? AND c.id > ? ORDER BY c.id LIMIT ?",
            organization.id,
            after,
            limit,
        )
        return [ConnectionRecord._make(row) for row in rows]

    def paused(self, after: int, limit: int) -> list[ConnectionRecord]:
        """Return connections of all organizations that have a pause, though it may be over, after a key."""
        rows = self._db.all(
            f"SELECT {COLUMNS} FROM connections c WHERE c.pause IS NOT NULL AND c.id > ? ORDER BY c.id LIMIT ?",
            after,
            limit,
        )
        return [ConnectionRecord._make(row) for row in rows]

    def count_by_idp(self) -> dict[str, int]:
        """Return the number of connections of each identity provider."""
        return dict(self._db.all("SELECT idp, COUNT(*) FROM connections GROUP BY idp ORDER BY idp"))

    def by_keys(self, organization: OrganizationRecord, keys: Sequence[int]) -> dict[int, ConnectionRecord]:
        """Return connections of an organization by their keys."""
        rows = self._db.among(
            keys,
            lambda marks: (
                f"SELECT {COLUMNS} FROM connections c WHERE c.organization_id = ? AND c.id IN ({marks})"
            ),
            organization.id,
        )
        return {row[0]: ConnectionRecord._make(row) for row in rows}

    def add(
        self,
        organization: OrganizationRecord,
        idp: str,
        name: str,
        settings: Mapping[str, Any],
        brake: Mapping[str, int] | None = None,
    ) -> ConnectionRecord:
        """Insert a connection. Its slug cannot be guessed and holds no `_`, which Okta refuses in a base URL."""
        moment = now()
        slug = f"{idp}-{''.join(secrets.choice(_SLUG_LETTERS) for _ in range(10))}".replace("_", "-")
        row = self._db.one(
            "INSERT INTO connections (uid, slug, organization_id, idp, name, settings, provisioning, mapping_enabled,"
            f" created, modified, version, brake) VALUES (?, ?, ?, ?, ?, ?, 0, 0, ?, ?, 1, ?)"
            f" RETURNING {COLUMNS.replace('c.', '')}",
            new_id(),
            slug,
            organization.id,
            idp,
            name,
            json.dumps(dict(settings)),
            moment,
            moment,
            json.dumps(dict(brake)) if brake else None,
        )
        assert row is not None
        return ConnectionRecord._make(row)

    def edit(self, connection: ConnectionRecord, **values: Any) -> None:
        """Update columns, given by name, and raise the version."""
        for name in ("settings", "brake"):
            if values.get(name) is not None:
                values[name] = json.dumps(dict(values[name]))
        sets = "".join(f"{name} = ?, " for name in values)
        self._db.run(
            f"UPDATE connections SET {sets}version = version + 1, modified = ? WHERE id = ?",
            *values.values(),
            now(),
            connection.id,
        )

    def watch(self, connection: ConnectionRecord, until: int) -> None:
        """Store until when all requests of a connection are explained; its version stays, nothing is set up anew."""
        self._db.run("UPDATE connections SET watched_until = ? WHERE id = ?", until, connection.id)

    def close(self, connection: ConnectionRecord) -> None:
        """Delete the tokens and rules of a connection and switch it off, before it is removed."""
        for table in ("tokens", "mapping_rules"):
            self._db.run(f"DELETE FROM {table} WHERE connection_id = ?", connection.id)
        self.edit(connection, provisioning=0, mapping_enabled=0)

    def managed_keys(self, connection: ConnectionRecord, limit: int) -> list[int]:
        """Return the keys of up to `limit` users that the connection manages; deleted users come last."""
        for deleted in (0, 1):
            # Each order follows a partial index.
            order = "id" if not deleted else "user_name_key"
            rows = self._db.all(
                f"SELECT id FROM users WHERE organization_id = ? AND connection_id = ? AND deleted = {deleted}"
                f" ORDER BY {order} LIMIT ?",
                connection.organization_id,
                connection.id,
                limit,
            )
            if rows:
                return [row[0] for row in rows]
        return []

    def release(self, connection: ConnectionRecord, user_ids: Sequence[int]) -> int:
        """Take these users from the connection, so that none manages them; return how many are not deleted."""
        rows = self._db.among(
            user_ids,
            lambda marks: (
                "UPDATE users SET connection_id = NULL WHERE organization_id = ? AND connection_id = ?"
                f" AND id IN ({marks}) RETURNING deleted"
            ),
            connection.organization_id,
            connection.id,
        )
        PagePositions(self._db).forget(connection.organization_id)
        return sum(not deleted for (deleted,) in rows)

    def remove(self, connection: ConnectionRecord) -> None:
        """Delete a connection. Its users and groups stay, managed by none."""
        for sql in (
            "UPDATE users SET connection_id = NULL WHERE organization_id = ? AND connection_id = ?",
            "UPDATE groups SET connection_id = NULL WHERE organization_id = ? AND connection_id = ?",
        ):
            self._db.run(sql, connection.organization_id, connection.id)
        PagePositions(self._db).forget(connection.organization_id)
        self._db.run(
            "INSERT INTO tallies (organization_id, resource, connection, n)"
            " SELECT organization_id, resource, 0, n FROM tallies WHERE organization_id = ? AND connection = ?"
            " ON CONFLICT (organization_id, resource, connection) DO UPDATE SET n = tallies.n + excluded.n",
            connection.organization_id,
            connection.id,
        )
        self._db.run(
            "DELETE FROM tallies WHERE organization_id = ? AND connection = ?",
            connection.organization_id,
            connection.id,
        )
        self._db.run("DELETE FROM connections WHERE id = ?", connection.id)
