"""Adoptions: users whom no connection manages and a connection wants to, and what an admin decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gateway.scim.json_text import fold
from gateway.store.engine.base import Database
from gateway.store.ids_and_time import new_id, now
from gateway.store.memberships import PUSH
from gateway.store.records import UserRecord
from gateway.store.users import COLUMNS

WAITING, APPROVED, REJECTED = STATES = "waiting", "approved", "rejected"


class AdoptionRecord(NamedTuple):
    """What is known of one connection and one user."""

    id: int
    uid: str
    connection_id: int
    user_id: int
    #: `userName`, `email` or `id`: by what the identity provider names the user.
    found_by: str
    #: Joined by commas.
    risk: str
    first: int
    last: int
    tries: int
    state: str
    decided_by: str | None
    decided: int | None


class ListedAdoption(NamedTuple):
    """One of them with its user."""

    adoption: AdoptionRecord
    user_uid: str
    user_name: str
    display: str
    active: int

    @property
    def id(self) -> int:
        """Return the key, after which a page continues."""
        return self.adoption.id


_FIELDS = "id, uid, connection_id, user_id, found_by, risk, first, last, tries, state, decided_by, decided"
_OF_ADOPTION = ", ".join(f"a.{name}" for name in _FIELDS.split(", "))
#: A user who was deleted or adopted since has no open question.
_OPEN = (
    "FROM adoptions a JOIN users u ON u.id = a.user_id"
    " WHERE a.connection_id = ? AND u.deleted = 0 AND u.connection_id IS NULL"
)


class Adoptions:
    """The adoptions of all organizations."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def find(self, connection_id: int, user_id: int) -> AdoptionRecord | None:
        """Return what is known of a connection and a user."""
        row = self._db.one(
            f"SELECT {_FIELDS} FROM adoptions WHERE connection_id = ? AND user_id = ?", connection_id, user_id
        )
        return AdoptionRecord._make(row) if row else None

    def find_many(self, connection_id: int, user_ids: Sequence[int]) -> dict[int, AdoptionRecord]:
        """Return what is known of a connection and these users, by their keys."""
        rows = self._db.among(
            user_ids,
            lambda marks: f"SELECT {_FIELDS} FROM adoptions WHERE connection_id = ? AND user_id IN ({marks})",
            connection_id,
        )
        return {row[3]: AdoptionRecord._make(row) for row in rows}

    def count_try(
        self, organization_id: int, connection_id: int, user_id: int, found_by: str, risk: str
    ) -> bool:
        """Count a write that waits; return whether it is the first of this connection and user."""
        moment = now()
        row = self._db.one(
            "INSERT INTO adoptions (uid, organization_id, connection_id, user_id, found_by, risk, first, last, tries,"
            f" state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, '{WAITING}') ON CONFLICT (connection_id, user_id) DO UPDATE"
            " SET tries = adoptions.tries + 1, last = excluded.last, risk = excluded.risk RETURNING tries",
            *(new_id(), organization_id, connection_id, user_id, found_by, risk, moment, moment),
        )
        assert row is not None
        return int(row[0]) == 1

    def approve(
        self, organization_id: int, connection_id: int, users: Sequence[tuple[int, str, str]], by: str | None
    ) -> None:
        """Approve users (key, found by, risk), whether or not one of their writes waits."""
        moment = now()
        self._db.run_many(
            "INSERT INTO adoptions (uid, organization_id, connection_id, user_id, found_by, risk, first, last, tries,"
            f" state, decided_by, decided) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, '{APPROVED}', ?, ?)"
            f" ON CONFLICT (connection_id, user_id) DO UPDATE SET state = '{APPROVED}', risk = excluded.risk,"
            " decided_by = excluded.decided_by, decided = excluded.decided",
            [
                (new_id(), organization_id, connection_id, key, found_by, risk, moment, moment, by, moment)
                for key, found_by, risk in users
            ],
        )

    def decide(self, adoption: AdoptionRecord, state: str, by: str | None) -> None:
        """Store the decision of an admin."""
        self._db.run(
            "UPDATE adoptions SET state = ?, decided_by = ?, decided = ? WHERE id = ?",
            *(state, by, now(), adoption.id),
        )

    def listed(self, connection_id: int, uid: str) -> ListedAdoption | None:
        """Return one of a connection by its id."""
        row = self._db.one(
            f"SELECT {_OF_ADOPTION}, u.uid, u.user_name, u.display, u.active {_OPEN} AND a.uid = ?",
            *(connection_id, uid),
        )
        return _listed(row) if row else None

    def page(self, connection_id: int, state: str | None, after: int, limit: int) -> list[ListedAdoption]:
        """Return those of a connection after a key, all or in one state, in the order of the first try."""
        which, values = (" AND a.state = ?", (state,)) if state else ("", ())
        rows = self._db.all(
            f"SELECT {_OF_ADOPTION}, u.uid, u.user_name, u.display, u.active {_OPEN} AND a.id > ?{which}"
            " ORDER BY a.id LIMIT ?",
            *(connection_id, after, *values, limit),
        )
        return [_listed(row) for row in rows]

    def users(self, organization_id: int, keys: Sequence[int]) -> dict[int, UserRecord]:
        """Return users of an organization by their keys."""
        rows = self._db.among(
            keys,
            lambda marks: f"SELECT {COLUMNS} FROM users WHERE +organization_id = ? AND id IN ({marks})",
            organization_id,
        )
        return {row[0]: UserRecord._make(row) for row in rows}

    def forget_user(self, user_id: int) -> None:
        """Delete what is known of a user, of all connections."""
        self._db.run("DELETE FROM adoptions WHERE user_id = ?", user_id)

    def count_unmanaged(self, organization_id: int) -> int:
        """Return how many users of an organization no connection manages."""
        row = self._db.one(
            "SELECT COUNT(*) FROM users WHERE organization_id = ? AND connection_id IS NULL AND deleted = 0",
            organization_id,
        )
        return int(row[0]) if row else 0

    def unmanaged(self, organization_id: int, after: int, limit: int) -> list[UserRecord]:
        """Return users whom no connection manages, after a key."""
        rows = self._db.all(
            f"SELECT {COLUMNS} FROM users WHERE organization_id = ? AND connection_id IS NULL AND deleted = 0"
            " AND id > ? ORDER BY id LIMIT ?",
            *(organization_id, after, limit),
        )
        return [UserRecord._make(row) for row in rows]

    def unmanaged_named(self, organization_id: int, names: Sequence[str]) -> list[UserRecord]:
        """Return those of the users whom no connection manages that have one of these userNames."""
        rows = self._db.among(
            sorted({fold(name) for name in names}),
            lambda marks: (
                f"SELECT {COLUMNS} FROM users WHERE organization_id = ? AND connection_id IS NULL AND deleted = 0"
                f" AND user_name_key IN ({marks})"
            ),
            organization_id,
        )
        return [UserRecord._make(row) for row in rows]

    def unmanaged_addressed(self, organization_id: int, addresses: Sequence[str]) -> list[UserRecord]:
        """Return those of the users whom no connection manages that have one of these e-mail addresses."""
        rows = self._db.among(
            sorted({fold(address) for address in addresses}),
            lambda marks: (
                f"SELECT {COLUMNS} FROM users WHERE organization_id = ? AND connection_id IS NULL AND deleted = 0"
                f" AND id IN (SELECT user_id FROM emails WHERE organization_id = ? AND value_key IN ({marks}))"
            ),
            *(organization_id, organization_id),
        )
        return list({row[0]: UserRecord._make(row) for row in rows}.values())

    def shared_addresses(self, organization_id: int, held: Mapping[int, Sequence[str]]) -> set[int]:
        """Return the keys of those users of whose folded addresses another one has any, as e-mail or as userName."""
        wanted = sorted({address for addresses in held.values() for address in addresses})
        holders: dict[str, set[int]] = {}
        for select in (
            "SELECT e.value_key, u.id FROM emails e JOIN users u ON u.id = e.user_id"
            " WHERE e.organization_id = ? AND u.deleted = 0 AND e.value_key IN ({})",
            "SELECT user_name_key, id FROM users WHERE organization_id = ? AND deleted = 0 AND user_name_key IN ({})",
        ):
            for address, key in self._db.among(wanted, select.format, organization_id):
                holders.setdefault(address, set()).add(key)
        return {
            key for key, addresses in held.items() if any(holders.get(a, set()) - {key} for a in addresses)
        }

    def push_memberships(self, organization_id: int, connection_id: int, user_id: int) -> None:
        """Turn every reason of a user to be in a group that a connection pushes into a push. No membership changes."""
        groups = self._db.all(
            "SELECT DISTINCT r.group_id FROM grants r JOIN groups g ON g.id = r.group_id"
            " WHERE r.user_id = ? AND g.organization_id = ? AND g.connection_id = ? AND r.source <> ?",
            *(user_id, organization_id, connection_id, PUSH),
        )
        for (group_id,) in groups:
            self._db.run("DELETE FROM grants WHERE group_id = ? AND user_id = ?", group_id, user_id)
            self._db.run(
                "INSERT INTO grants (group_id, user_id, source) VALUES (?, ?, ?)", group_id, user_id, PUSH
            )


def _listed(row: Sequence[object]) -> ListedAdoption:
    width = len(AdoptionRecord._fields)
    return ListedAdoption(AdoptionRecord._make(row[:width]), *row[width:])  # type: ignore[arg-type]
