"""Users of an organization. A connection reaches those that it manages and those that nobody manages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from json.encoder import encode_basestring
from typing import Any, NamedTuple

from gateway.scim.json_text import Json, dumps, fold, fold_json
from gateway.scim.versions import tag
from gateway.store.engine.base import Database
from gateway.store.engine.statements import Statement, Step
from gateway.store.ids_and_time import new_id, now, rfc3339
from gateway.store.records import ConnectionRecord, OrganizationRecord, UserRecord

#: Users that one search by a part of a name looks at.
LOOKED_AT = 20_000
COLUMNS = "id, uid, connection_id, user_name, external_id, active, doc, created, modified, version, protected"


# The rule of visibility, once: what a connection manages and what nobody manages.
def visible(table: str = "") -> str:
    """Return the condition of visibility; its parameters are the keys of organization and connection."""
    return f"{table}organization_id = ? AND ({table}connection_id = ? OR {table}connection_id IS NULL)"


VISIBLE = visible()

_SEEN = f"SELECT {COLUMNS} FROM users WHERE uid = ? AND deleted = 0 AND {VISIBLE}"
_OF = f"SELECT {COLUMNS} FROM users WHERE uid = ? AND deleted = 0 AND organization_id = ?"
# Users that a create would restore: by externalId, if one alone has it; by userName, where the create has no
# externalId, or where they have.
_DELETED = "FROM users WHERE connection_id = :connection AND deleted = 1 AND"
_BY_ID = f"{_DELETED} external_id = :external_id AND external_id IS NOT NULL"
_BY_NAME = f"{_DELETED} user_name_key = :user_name_key"
_NAMELESS = f"{_BY_NAME} AND external_id IS NULL"
# Users of a connection who share an externalId. RFC 7643, 3.1: the server does not enforce that it is unique.
_SHARING = (
    "FROM users others WHERE others.organization_id = :tenant AND others.external_id = :external_id"
    " AND others.connection_id = :connection"
    " AND others.deleted = 0 AND others.external_id IS NOT NULL"
)
#: How many of them are named.
_NAMED = 3
# A user of a connection is added where no deleted one is to be restored: by externalId, by name without an externalId.
_NOT_RESTORABLE = {
    None: "TRUE",
    False: f"NOT EXISTS (SELECT 1 {_BY_NAME})",
    True: f"(NOT EXISTS (SELECT 1 {_BY_ID}) OR EXISTS (SELECT 1 {_BY_ID} LIMIT 1 OFFSET 1))"
    f" AND NOT EXISTS (SELECT 1 {_NAMELESS})",
}
_COLUMNS = (
    "user_name", "user_name_key", "external_id", "active", "display", "display_key", "doc", "doc_key"
)  # fmt: skip
_UPDATE = Statement(
    "write_user",
    f"UPDATE users SET connection_id = :connection, {', '.join(f'{name} = :{name}' for name in _COLUMNS)},"
    " modified = :modified, deleted = 0, version = version + 1"
    " WHERE organization_id = :tenant AND id = :id AND version = :version AND :go",
    ("id",),
    required=True,
)


class NewUser(NamedTuple):
    """A user to be added: the row as it will be but for its key, and the statements that add it."""

    user: UserRecord
    steps: list[Step]


class UserRewrite(NamedTuple):
    """The rewrite of a stored user: the new row, and the steps that store it with its addresses.

    `renamed`: whether groups will show the user by another name.
    """

    user: UserRecord
    steps: list[Step]
    renamed: bool


class Users:
    """Stored users."""

    def __init__(self, database: Database) -> None:
        self._db = database
        dialect = database.dialect
        shared = f"EXISTS (SELECT 1 {_SHARING} AND others.uid <> :uid)"
        #: By whether the user has an externalId (None: no connection), and whether it may be one that others have.
        self._insertions = {
            (has_id, may_share): _insertion(
                dialect.comparable, _NOT_RESTORABLE[has_id], shared, has_id, may_share
            )
            for has_id in _NOT_RESTORABLE
            for may_share in (False, True)
        }
        self._add_addresses = Statement(
            "add_addresses",
            "INSERT INTO emails (organization_id, value_key, user_id)"
            f" SELECT :tenant, value, :insert_user.id FROM {dialect.each('come')} WHERE :go",
        )
        self._more_addresses = Statement(
            "more_addresses",
            "INSERT INTO emails (organization_id, value_key, user_id)"
            f" SELECT :tenant, value, :id FROM {dialect.each('come')} WHERE :go",
        )
        self._drop_addresses = Statement(
            "drop_addresses",
            f"DELETE FROM emails WHERE organization_id = :tenant AND {dialect.one_of('value_key', 'gone')}"
            " AND user_id = :id AND :go",
        )

    def seen(self, connection: ConnectionRecord, uid: str) -> UserRecord | None:
        """Find a user that is visible to this connection."""
        row = self._db.one(_SEEN, uid, connection.organization_id, connection.id)
        return UserRecord._make(row) if row else None

    def of(self, organization: OrganizationRecord, uid: str) -> UserRecord | None:
        """Find a user of the organization, of any connection."""
        row = self._db.one(_OF, uid, organization.id)
        return UserRecord._make(row) if row else None

    def deleted(self, organization: OrganizationRecord, uid: str) -> UserRecord | None:
        """Find a deleted user of the organization; `modified` is the time of its deletion."""
        row = self._db.one(
            f"SELECT {COLUMNS} FROM users WHERE uid = ? AND deleted = 1 AND organization_id = ?",
            uid,
            organization.id,
        )
        return UserRecord._make(row) if row else None

    def by_name(self, organization: OrganizationRecord, user_name: str) -> UserRecord | None:
        """Find the user with that userName, letter case aside, of any connection."""
        row = self._db.one(
            f"SELECT {COLUMNS} FROM users WHERE organization_id = ? AND user_name_key = ? AND deleted = 0",
            organization.id,
            fold(user_name),
        )
        return UserRecord._make(row) if row else None

    def search(
        self, organization: OrganizationRecord, q: str, after: int, limit: int
    ) -> tuple[list[int], int | None]:
        """Return keys of users whose userName or display name contains a text, and the key to continue after.

        That key is None at the end. No index serves the search, so a call reads at most `LOOKED_AT` users.
        """
        end = self._db.one(
            "SELECT id FROM users WHERE organization_id = ? AND deleted = 0 AND id > ? ORDER BY id LIMIT 1"
            f" OFFSET {LOOKED_AT - 1}",
            organization.id,
            after,
        )
        pattern = "%" + fold(q).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        rows = self._db.all(
            "SELECT id FROM users WHERE organization_id = ? AND deleted = 0 AND id > ? AND id <= ?"
            " AND (user_name_key LIKE ? ESCAPE '\\' OR display_key LIKE ? ESCAPE '\\') ORDER BY id LIMIT ?",
            organization.id,
            after,
            end[0] if end else (1 << 63) - 1,
            pattern,
            pattern,
            limit + 1,
        )
        keys = [row[0] for row in rows]
        if len(keys) > limit:
            return keys[:limit], keys[limit - 1]
        return keys, end[0] if end else None

    def by_keys(self, organization_id: int, keys: Sequence[int]) -> list[UserRecord]:
        """Users by the keys that grants refer to."""
        rows = self._db.among(
            keys,
            lambda marks: f"SELECT {COLUMNS} FROM users WHERE organization_id = ? AND id IN ({marks})",
            organization_id,
        )
        return [UserRecord._make(row) for row in rows]

    def add(
        self, organization_id: int, connection_id: int | None, document: Json
    ) -> tuple[UserRecord, bool] | None:
        """Insert a user; return it, and whether others of the connection have its externalId.

        Return None if there is a `restorable` user or the userName is taken: `holder` returns by which connection.
        """
        user, steps = self.addition(organization_id, connection_id, document, may_share=True)
        row = self._db.run_change(steps)
        return (user._replace(id=row[0]), bool(row[1])) if row else None

    def addition(
        self, organization_id: int, connection_id: int | None, document: Json, may_share: bool = False
    ) -> NewUser:
        """Return a new user without its key, and the steps that insert it and its addresses.

        The first step returns the key and whether others share the externalId; no row where there is a user to restore,
        or where the userName or, unless `may_share`, the externalId is taken.
        """
        uid, moment = new_id(), now()
        kept = _columns(document, uid, moment, moment, 1)
        has_id = None if connection_id is None else kept.external_id is not None
        values = {
            "uid": uid, "tenant": organization_id, "connection": connection_id, "moment": moment, **kept._asdict()
        }  # fmt: skip
        steps = [Step(self._insertions[has_id, may_share], values)]
        if come := sorted(addresses(document)):
            steps.append(Step(self._add_addresses, {"tenant": organization_id, "come": come}))
        return NewUser(kept.record(0, uid, connection_id, moment, moment, 1), steps)

    def rewriting(
        self, organization_id: int, connection_id: int | None, user: UserRecord, document: Json
    ) -> UserRewrite:
        """Return the rewrite of a user to a new document, managed by a connection or by none."""
        moment, version, former = now(), user.version + 1, user.document
        kept = _columns(document, user.uid, user.created, moment, version)
        before, after = addresses(former), addresses(document)
        row = {"tenant": organization_id, "id": user.id}
        values = {
            **row, "connection": connection_id, "modified": moment, "version": user.version, **kept._asdict()
        }  # fmt: skip
        steps = [Step(_UPDATE, values)]
        if gone := sorted(before - after):
            steps.append(Step(self._drop_addresses, {**row, "gone": gone}))
        if come := sorted(after - before):
            steps.append(Step(self._more_addresses, {**row, "come": come}))
        return UserRewrite(
            kept.record(user.id, user.uid, connection_id, user.created, moment, version, user.protected),
            steps,
            display_of(former) != kept.display,
        )

    def rewrite(
        self, organization_id: int, connection_id: int | None, user: UserRecord, document: Json
    ) -> UserRecord | None:
        """Store the new state of a user, or None when somebody else wrote it since."""
        return self.write(self.rewriting(organization_id, connection_id, user, document))

    def write(self, rewriting: UserRewrite) -> UserRecord | None:
        """Store a state of a user that is computed already."""
        return rewriting.user if self._db.run_change(rewriting.steps) else None

    def holder(self, organization_id: int, user_name: str, but: int = 0) -> tuple[int | None] | None:
        """Find the connection whose user has a userName, letter case aside.

        The result holds its key, or None for a user that no connection manages. `but` is the key of a user to ignore.
        """
        row = self._db.one(
            "SELECT connection_id FROM users"
            " WHERE organization_id = ? AND user_name_key = ? AND deleted = 0 AND id <> ?",
            organization_id,
            fold(user_name),
            but,
        )
        return (row[0],) if row else None

    def sharing(self, organization_id: int, connection_id: int, user: UserRecord) -> tuple[list[str], bool]:
        """Return some userNames of other users of a connection with a user's externalId, and whether there are more."""
        rows = self._db.all(
            f"SELECT others.user_name {_placed(_SHARING)} AND others.id <> ? ORDER BY others.id LIMIT {_NAMED + 1}",
            organization_id,
            user.external_id,
            connection_id,
            user.id,
        )
        return [name for (name,) in rows[:_NAMED]], len(rows) > _NAMED

    def restorable(
        self, connection: ConnectionRecord, user_name: str, external_id: str | None
    ) -> UserRecord | None:
        """Find the deleted user of this connection that a create means.

        It is the only one with the same externalId, or one with the same userName if one side has no externalId. In
        any other case no account is inherited.
        """
        name = fold(user_name)
        if external_id is None:
            return self._last(_BY_NAME, connection.id, name)
        same = self._db.all(f"SELECT {COLUMNS} {_placed(_BY_ID)} LIMIT 2", connection.id, external_id)
        return UserRecord._make(same[0]) if len(same) == 1 else self._last(_NAMELESS, connection.id, name)

    def _last(self, which: str, *parameters: Any) -> UserRecord | None:
        row = self._db.one(f"SELECT {COLUMNS} {_placed(which)} ORDER BY id DESC LIMIT 1", *parameters)
        return UserRecord._make(row) if row else None

    def remove(self, organization_id: int, user: UserRecord) -> bool:
        """Soft delete: the row stays to be restored, unprotected, its name and its memberships are free."""
        gone = self._db.run(
            "UPDATE users SET deleted = 1, active = 0, protected = 0, modified = ?, version = version + 1"
            " WHERE organization_id = ? AND id = ? AND version = ?",
            now(),
            organization_id,
            user.id,
            user.version,
        )
        return gone > 0

    def protect(self, organization_id: int, user: UserRecord, protected: bool) -> UserRecord | None:
        """Mark a user as protected or not; None when somebody else wrote it since."""
        done = self._db.run(
            "UPDATE users SET protected = ?, version = version + 1"
            " WHERE organization_id = ? AND id = ? AND version = ?",
            int(protected),
            organization_id,
            user.id,
            user.version,
        )
        return user._replace(protected=int(protected), version=user.version + 1) if done else None

    def count_protected(self, organization_id: int) -> int:
        """Return how many users of an organization are protected."""
        row = self._db.one(
            "SELECT COUNT(*) FROM users WHERE organization_id = ? AND protected = 1 AND deleted = 0",
            organization_id,
        )
        return int(row[0]) if row else 0


def _placed(sql: str) -> str:
    """Return a condition of a named statement, with `?` for each parameter, in their order."""
    return re.sub(r":\w+", "?", sql)


def _insertion(comparable: str, free: str, shared: str, has_id: bool | None, may_share: bool) -> Statement:
    """Return the statement that adds a user, where the condition `free` holds."""
    names = ", ".join(_COLUMNS)
    values = ", ".join(f":{name}" for name in _COLUMNS) + comparable
    alone = f" AND NOT {shared}" if has_id and not may_share else ""
    return Statement(
        "insert_user",
        f"INSERT INTO users (uid, organization_id, connection_id, {names}, created, modified, deleted, version)"
        f" SELECT :uid, :tenant, CAST(:connection AS BIGINT), {values}, :moment, :moment, 0, 1"
        f" WHERE :go AND {free}{alone} ON CONFLICT DO NOTHING",
        ("id", f"{shared} AS shared" if has_id and may_share else "FALSE AS shared"),
        required=True,
    )


def display_of(document: Json) -> str:
    """Return the name by which groups show a user."""
    name: str = document.get("displayName") or document["userName"]
    return name


class _Kept(NamedTuple):
    """The columns that repeat parts of a document for SQL, and the document as represented and as compared."""

    user_name: str
    user_name_key: str
    external_id: str | None
    active: int
    display: str
    display_key: str
    doc: str
    doc_key: str

    def record(
        self, key: int, uid: str, connection_id: int | None, created: int, modified: int, version: int,
        protected: int = 0,
    ) -> UserRecord:  # fmt: skip
        """Return the row of which these are columns."""
        name, external_id, active = self.user_name, self.external_id, self.active
        return UserRecord(
            key,
            uid,
            connection_id,
            name,
            external_id,
            active,
            self.doc,
            created,
            modified,
            version,
            protected,
        )


def _columns(document: Json, uid: str, created: int, modified: int, version: int) -> _Kept:
    name, display, text = document["userName"], display_of(document), dumps(document)
    # The version at the end: what depends on who looks is put in before it (`provisioning.rendering`).
    meta = (
        f'"resourceType":"User","created":"{rfc3339(created)}","lastModified":"{rfc3339(modified)}"'
        f',"version":{encode_basestring(tag(version))}'
    )
    shown = f'{{"id":"{uid}",{text[1:-1]},"meta":{{{meta}}}}}'
    external_id, active = document.get("externalId"), int(document["active"])
    return _Kept(name, fold(name), external_id, active, display, fold(display), shown, fold_json(text))


def addresses(document: Json) -> set[str]:
    """Return the e-mail addresses of a user as compared, for the index that finds a user by one."""
    return {fold(entry["value"]) for entry in document.get("emails", ()) if "value" in entry}
