"""Tokens: created once, shown once, stored only as a keyed digest.

A token is a prefix for its kind, 32 random base-62 characters (190 bits) and six that check them for typing errors.
With that much entropy a fast keyed hash is enough, and looking it up by digest compares no secret in variable time.
"""

from __future__ import annotations

import hashlib
import secrets
import string
import zlib
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import NamedTuple

from gateway.store.engine.base import Database
from gateway.store.ids_and_time import DAY, new_id, now
from gateway.store.records import AdminTokenRecord, ConnectionRecord, OrganizationRecord, TokenRecord

_LETTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_BODY = 32
_CHECK = 6
_PREFIX_LENGTH = 8
_YEAR = 365 * DAY


def new_token(kind: str) -> str:
    """Generate a token `<kind>_<body><check>`."""
    body = "".join(secrets.choice(_LETTERS) for _ in range(_BODY))
    return f"{kind}_{body}{_check(body)}"


def is_well_formed(token: str) -> bool:
    """Return True if the checksum of a token is right; spares a database query for typing errors."""
    _, _, rest = token.rpartition("_")
    return len(rest) == _BODY + _CHECK and rest.isascii() and _check(rest[:_BODY]) == rest[_BODY:]


def _check(body: str) -> str:
    number, letters = zlib.crc32(body.encode()), ""
    for _ in range(_CHECK):
        number, rest = divmod(number, len(_LETTERS))
        letters += _LETTERS[rest]
    return letters


class Digests:
    """Digests under the current key, and under older ones that are still accepted."""

    def __init__(self, secret_key: str, old_keys: Sequence[str]) -> None:
        self._keys = [hashlib.blake2b(key.encode()).digest() for key in (secret_key, *old_keys)]

    def current(self, token: str) -> str:
        """Return the digest under the current key."""
        return self.all(token)[0]

    def all(self, token: str) -> list[str]:
        """Return the digests under the current key and under each older one."""
        # Keyed (RFC 7693, 2.9), so that a copied database reveals nothing.
        text = token.encode()
        return [hashlib.blake2b(text, key=key, digest_size=32).hexdigest() for key in self._keys]


class RefusedToken(NamedTuple):
    """A token that does not authenticate here: expired, revoked or of another connection; times in microseconds."""

    connection_id: int
    label: str
    prefix: str
    expires: int | None
    revoked: int | None


class Tokens:
    """The bearer tokens of connections; several may be live at once, so that a rotation has no gap."""

    def __init__(self, database: Database, secret_key: str, old_keys: Sequence[str] = ()) -> None:
        self._db, self._digests = database, Digests(secret_key, old_keys)

    def add(self, connection: ConnectionRecord, label: str, expires: int | None) -> tuple[TokenRecord, str]:
        """Insert a token; return it and its value, which cannot be read again. `expires` is in microseconds."""
        value = new_token("pgw")
        uid = new_id()
        self._db.run(
            "INSERT INTO tokens (uid, connection_id, label, prefix, digest, created, expires)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            uid,
            connection.id,
            label,
            value[:_PREFIX_LENGTH],
            self._digests.current(value),
            now(),
            expires,
        )
        found = [token for token in self.by_connection(connection) if token.uid == uid]
        return found[0], value

    def by_connection(self, connection: ConnectionRecord) -> list[TokenRecord]:
        """List all tokens of a connection."""
        rows = self._db.all(
            "SELECT id, uid, connection_id, label, prefix, created, expires, last_used FROM tokens"
            " WHERE connection_id = ? ORDER BY id",
            connection.id,
        )
        return [TokenRecord._make(row) for row in rows]

    def digests(self, token: str) -> list[str]:
        """Return the digests of a token: under the current key, then under older ones."""
        return self._digests.all(token)

    def renew(self, old: str, new: str) -> None:
        """Replace a digest under an older key."""
        self._db.run("UPDATE tokens SET digest = ? WHERE digest = ?", new, old)

    def remove(self, connection: ConnectionRecord, uid: str) -> TokenRecord | None:
        """Revoke a token, on every node at once; return None if there is none.

        Its digest is stored for a year, to explain refusals.
        """
        found = next((token for token in self.by_connection(connection) if token.uid == uid), None)
        moment = now()
        gone = self._db.one(
            "DELETE FROM tokens WHERE connection_id = ? AND uid = ? RETURNING digest, label, prefix",
            connection.id,
            uid,
        )
        if gone is None:
            return None
        self._db.run(
            "DELETE FROM revoked_tokens WHERE connection_id = ? AND revoked < ?",
            connection.id,
            moment - _YEAR,
        )
        self._db.run(
            "INSERT INTO revoked_tokens (digest, connection_id, label, prefix, revoked) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (digest) DO NOTHING",
            gone[0],
            connection.id,
            *gone[1:],
            moment,
        )
        return found

    def find_refused(self, digests: Sequence[str]) -> RefusedToken | None:
        """Find the live or revoked token of any connection with one of the digests, to explain a refusal."""
        marks = ", ".join("?" * len(digests))
        row = self._db.one(
            f"SELECT connection_id, label, prefix, expires, NULL FROM tokens WHERE digest IN ({marks}) UNION ALL"
            f" SELECT connection_id, label, prefix, NULL, revoked FROM revoked_tokens WHERE digest IN ({marks})",
            *digests,
            *digests,
        )
        return RefusedToken._make(row) if row else None

    def owner_of_prefix(self, organization_id: int, prefix: str) -> str | None:
        """Return the name of the connection of an organization that has a live token with these first characters."""
        row = self._db.one(
            "SELECT c.name FROM connections c JOIN tokens t ON t.connection_id = c.id"
            " WHERE c.organization_id = ? AND t.prefix = ? ORDER BY c.id LIMIT 1",
            organization_id,
            prefix,
        )
        return row[0] if row else None

    def record_use(self, moments: Iterable[tuple[int, str]]) -> None:
        """Store the last use of each token: pairs of microseconds and id."""
        # Sorted: nodes that update the same tokens at once would otherwise deadlock.
        rows = sorted(moments, key=itemgetter(1))
        self._db.run_many("UPDATE tokens SET last_used = ? WHERE uid = ?", rows)


class AdminTokens:
    """The tokens of the admin REST: of operators, for all organizations, or of one organization."""

    def __init__(self, database: Database, secret_key: str, old_keys: Sequence[str] = ()) -> None:
        self._db, self._digests = database, Digests(secret_key, old_keys)

    def add(
        self,
        organization: OrganizationRecord | None,
        name: str,
        scope: str = "full",
        expires: int | None = None,
    ) -> tuple[AdminTokenRecord, str]:
        """Insert a token; return it and its value, which cannot be read again. `expires` is in microseconds."""
        value, uid = new_token("pga"), new_id()
        self._db.run(
            "INSERT INTO admin_tokens (uid, name, organization_id, prefix, digest, created, expires, scope)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            uid,
            name,
            organization.id if organization else None,
            value[:_PREFIX_LENGTH],
            _stored_digest(self._digests.current(value), scope, expires),
            now(),
            expires,
            scope,
        )
        row = self._db.one(f"{_ADMIN} WHERE uid = ?", uid)
        assert row is not None
        return AdminTokenRecord._make(row), value

    def find(self, token: str) -> AdminTokenRecord | None:
        """Find a token by its value, also one that has expired."""
        if not is_well_formed(token):
            return None
        digests = self._digests.all(token)
        digests += [_LIMITED + digest for digest in digests]
        row = self._db.one(f"{_ADMIN} WHERE digest IN ({', '.join('?' * len(digests))})", *digests)
        return AdminTokenRecord._make(row) if row else None

    def record_use(self, token: AdminTokenRecord, value: str, moment: int) -> None:
        """Store the last use of a token, in microseconds, and its digest under the current key."""
        digest = _stored_digest(self._digests.current(value), token.scope, token.expires)
        self._db.run(
            "UPDATE admin_tokens SET last_used = ?, digest = ? WHERE id = ?", moment, digest, token.id
        )

    def all(self) -> list[AdminTokenRecord]:
        """List all admin tokens."""
        return [AdminTokenRecord._make(row) for row in self._db.all(f"{_ADMIN} ORDER BY id")]

    def page(self, organization: OrganizationRecord | None, after: int, limit: int) -> list[AdminTokenRecord]:
        """List tokens of an organization (None: all tokens) after a key, in order of creation."""
        where, parameters = _within(organization)
        rows = self._db.all(f"{_ADMIN} WHERE id > ?{where} ORDER BY id LIMIT ?", after, *parameters, limit)
        return [AdminTokenRecord._make(row) for row in rows]

    def by_id(self, organization: OrganizationRecord | None, uid: str) -> AdminTokenRecord | None:
        """Find a token of an organization (None: of any) by its public id."""
        where, parameters = _within(organization)
        row = self._db.one(f"{_ADMIN} WHERE uid = ?{where}", uid, *parameters)
        return AdminTokenRecord._make(row) if row else None

    def remove(self, token: AdminTokenRecord) -> bool:
        """Revoke a token, on every node at once; return False if it was revoked before."""
        return self._db.run("DELETE FROM admin_tokens WHERE id = ?", token.id) > 0


_ADMIN = "SELECT id, uid, organization_id, name, prefix, created, expires, last_used, scope FROM admin_tokens"
#: Prefix of the digest of a token that expires or has a narrower scope: the previous release knows neither
#: limit and finds tokens by the plain digest, so that a node of it refuses such a token instead of granting all.
_LIMITED = "limited "


def _stored_digest(digest: str, scope: str, expires: int | None) -> str:
    return digest if scope == "full" and expires is None else _LIMITED + digest


def _within(organization: OrganizationRecord | None) -> tuple[str, tuple[int, ...]]:
    return ("", ()) if organization is None else (" AND organization_id = ?", (organization.id,))
