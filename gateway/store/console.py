"""The console: links that open it once, and its sessions. Of their secrets only keyed digests are stored."""

from __future__ import annotations

import json
from collections.abc import Sequence

from gateway.store.engine.base import Database
from gateway.store.ids_and_time import DAY, new_id, now
from gateway.store.records import ConsoleLinkRecord, ConsoleSessionRecord, OrganizationRecord
from gateway.store.tokens import Digests, is_well_formed, new_token

#: The kinds of links, and what their secrets begin with.
SETUP, CONSOLE = "setup", "console"
_PREFIXES = {SETUP: "pgs", CONSOLE: "pgc"}
_LINK_COLUMNS = (
    "id, uid, organization_id, kind, email, person, role, rights, return_url, created, created_by, expires, used,"
    " used_from, revoked"
)
_LINK = f"SELECT {_LINK_COLUMNS} FROM console_links"
_SESSION = (
    "SELECT s.id, s.uid, s.organization_id, s.link_id, s.admin_token_id, s.source, s.person, s.role, s.rights,"
    " s.return_url, s.created, s.seen, s.expires, s.ended, s.address, l.revoked, t.scope, t.expires"
    " FROM console_sessions s LEFT JOIN console_links l ON l.id = s.link_id"
    " LEFT JOIN admin_tokens t ON t.id = s.admin_token_id"
)
#: How long links and sessions stay to be shown after their end.
_LINKS_KEPT = {SETUP: 90 * DAY, CONSOLE: 2 * DAY}
_SESSIONS_KEPT = 7 * DAY


class ConsoleLinks:
    """Links of organizations that are redeemed for a session, once."""

    def __init__(self, database: Database, secret_key: str, old_keys: Sequence[str] = ()) -> None:
        self._db, self._digests = database, Digests(secret_key, old_keys)

    def add(
        self, organization: OrganizationRecord, kind: str, person: str, role: str, rights: Sequence[str], expires: int,
        created_by: str | None, email: str | None = None, return_url: str | None = None,
    ) -> tuple[ConsoleLinkRecord, str]:  # fmt: skip
        """Insert a link; return it and its secret, which cannot be read again. `expires` is in microseconds."""
        value, uid, moment = new_token(_PREFIXES[kind]), new_id(), now()
        self._db.run(
            "DELETE FROM console_links WHERE organization_id = ? AND kind = ? AND expires < ?",
            organization.id,
            kind,
            moment - _LINKS_KEPT[kind],
        )
        row = self._db.one(
            "INSERT INTO console_links (uid, organization_id, kind, digest, email, person, role, rights, return_url,"
            " created, created_by, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            f" RETURNING {_LINK_COLUMNS}",
            *(uid, organization.id, kind, self._digests.current(value), email, person, role),
            *(json.dumps(list(rights)), return_url, moment, created_by, expires),
        )
        assert row is not None
        return ConsoleLinkRecord._make(row), value

    def find(self, value: str) -> ConsoleLinkRecord | None:
        """Find a link by its secret, also one that was used, has expired or was revoked."""
        if not is_well_formed(value):
            return None
        digests = self._digests.all(value)
        row = self._db.one(f"{_LINK} WHERE digest IN ({', '.join('?' * len(digests))})", *digests)
        return ConsoleLinkRecord._make(row) if row else None

    def use(self, link: ConsoleLinkRecord, address: str) -> bool:
        """Use a link up; return False if it was used, revoked or has expired. Of two at once exactly one succeeds."""
        moment = now()
        return (
            self._db.run(
                "UPDATE console_links SET used = ?, used_from = ?"
                " WHERE id = ? AND used IS NULL AND revoked IS NULL AND expires > ?",
                *(moment, address, link.id, moment),
            )
            > 0
        )

    def by_id(self, organization: OrganizationRecord, kind: str, uid: str) -> ConsoleLinkRecord | None:
        """Find a link of an organization by its public id."""
        row = self._db.one(
            f"{_LINK} WHERE organization_id = ? AND kind = ? AND uid = ?", organization.id, kind, uid
        )
        return ConsoleLinkRecord._make(row) if row else None

    def page(
        self, organization: OrganizationRecord, kind: str, after: int, limit: int
    ) -> list[ConsoleLinkRecord]:
        """List links of an organization after a key, in order of creation."""
        rows = self._db.all(
            f"{_LINK} WHERE organization_id = ? AND kind = ? AND id > ? ORDER BY id LIMIT ?",
            *(organization.id, kind, after, limit),
        )
        return [ConsoleLinkRecord._make(row) for row in rows]

    def count_open(self, organization: OrganizationRecord, kind: str) -> int:
        """Return how many links of an organization can be redeemed."""
        row = self._db.one(
            "SELECT COUNT(*) FROM console_links WHERE organization_id = ? AND kind = ? AND used IS NULL"
            " AND revoked IS NULL AND expires > ?",
            *(organization.id, kind, now()),
        )
        return row[0] if row else 0

    def revoke(self, link: ConsoleLinkRecord) -> None:
        """Revoke a link; the sessions that it opened end."""
        self._db.run("UPDATE console_links SET revoked = ? WHERE id = ? AND revoked IS NULL", now(), link.id)

    def revoke_all(self, moment: int) -> int:
        """Revoke all links that are open, after a backup was restored; return how many."""
        return self._db.run(
            "UPDATE console_links SET revoked = ? WHERE used IS NULL AND revoked IS NULL AND expires > ?",
            moment,
            moment,
        )


class ConsoleSessions:
    """Sessions of people who are signed in to the console."""

    def __init__(self, database: Database, secret_key: str, old_keys: Sequence[str] = ()) -> None:
        self._db, self._digests = database, Digests(secret_key, old_keys)

    def add(
        self, organization_id: int | None, source: str, person: str, role: str, rights: Sequence[str], expires: int,
        address: str, link_id: int | None = None, admin_token_id: int | None = None, return_url: str | None = None,
    ) -> tuple[str, str]:  # fmt: skip
        """Insert a session; return its id and the secret of its cookie. `expires` is in microseconds."""
        value, uid, moment = new_token("pgb"), new_id(), now()
        self._db.run("DELETE FROM console_sessions WHERE expires < ?", moment - _SESSIONS_KEPT)
        self._db.run(
            "INSERT INTO console_sessions (uid, digest, organization_id, link_id, admin_token_id, source, person, role,"
            " rights, return_url, created, seen, expires, address) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(uid, self._digests.current(value), organization_id, link_id, admin_token_id, source, person),
            *(role, json.dumps(list(rights)), return_url, moment, moment, expires, address),
        )
        return uid, value

    def find(self, value: str) -> ConsoleSessionRecord | None:
        """Find a session by the secret of its cookie, also one that has ended."""
        if not is_well_formed(value):
            return None
        digests = self._digests.all(value)
        row = self._db.one(f"{_SESSION} WHERE s.digest IN ({', '.join('?' * len(digests))})", *digests)
        return ConsoleSessionRecord._make(row) if row else None

    def by_id(self, organization_id: int | None, uid: str) -> ConsoleSessionRecord | None:
        """Find a session of an organization (None: any session) by its public id."""
        where, parameters = (
            ("", ()) if organization_id is None else (" AND s.organization_id = ?", (organization_id,))
        )
        row = self._db.one(f"{_SESSION} WHERE s.uid = ?{where}", uid, *parameters)
        return ConsoleSessionRecord._make(row) if row else None

    def newest(self, organization_id: int | None, limit: int) -> list[ConsoleSessionRecord]:
        """List the newest sessions of an organization (None: all sessions)."""
        where, parameters = (
            ("", ()) if organization_id is None else (" WHERE s.organization_id = ?", (organization_id,))
        )
        rows = self._db.all(f"{_SESSION}{where} ORDER BY s.id DESC LIMIT ?", *parameters, limit)
        return [ConsoleSessionRecord._make(row) for row in rows]

    def record_use(self, session: ConsoleSessionRecord, moment: int) -> None:
        """Store when a session was used last."""
        self._db.run("UPDATE console_sessions SET seen = ? WHERE id = ?", moment, session.id)

    def end(self, session: ConsoleSessionRecord) -> None:
        """End a session; what it was to show once is deleted."""
        self._db.run(
            "UPDATE console_sessions SET ended = ?, sealed = NULL WHERE id = ? AND ended IS NULL",
            now(),
            session.id,
        )

    def end_all(self, moment: int) -> int:
        """End all sessions, after a backup was restored; return how many."""
        return self._db.run(
            "UPDATE console_sessions SET ended = ?, sealed = NULL WHERE ended IS NULL", moment
        )

    def read_sealed(self, session: ConsoleSessionRecord) -> str | None:
        """Return what the next page of a session shows once, encrypted."""
        row = self._db.one("SELECT sealed FROM console_sessions WHERE id = ?", session.id)
        return row[0] if row else None

    def write_sealed(self, session: ConsoleSessionRecord, sealed: str | None, before: str | None) -> bool:
        """Replace what the next page shows once; return False if it is no longer what was read `before`."""
        return (
            self._db.run(
                "UPDATE console_sessions SET sealed = ? WHERE id = ? AND COALESCE(sealed, '') = ?",
                *(sealed, session.id, before or ""),
            )
            > 0
        )
