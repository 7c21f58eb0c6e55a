"""Memberships are rows: one grant for each reason. A user with a grant is a member; no grant hides another.

Every change answers with what it changed in effect: who came in, who is out. A second reason for the same membership,
or one reason less of two, moves nobody.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from gateway.scim.json_text import fold
from gateway.store.engine.base import Database
from gateway.store.engine.statements import Statement, Step
from gateway.store.ids_and_time import now
from gateway.store.records import (
    ConnectionRecord,
    GroupRecord,
    ListedGroup,
    MemberRecord,
    UserRecord,
    cache_short,
)
from gateway.store.users import COLUMNS, VISIBLE, visible

MANUAL, PUSH, MAPPING = REASONS = "manual", "push", "mapping"
#: The longest JSON of a user's groups, in characters, of which the decoded records are cached.
FEW = 4000
#: With the plus sign SQLite does not take an index on the organization for better than the one on ids, which it does
#: for a long list of them: each statement would go through everybody.
_SEEN_BY_UID = visible("+")
#: Members that one statement reads of a large group.
MEMBERS_AT_ONCE = 1000

_GROUPS_OF_USER = (
    "SELECT DISTINCT g.uid, g.name, g.id FROM grants r JOIN groups g ON g.id = r.group_id WHERE r.user_id = ?"
    " AND g.organization_id = ? AND (g.connection_id = ? OR g.connection_id IS NULL) ORDER BY g.id"
)

#: A user, and those of its groups that are seen from the same place.
Seen = tuple[UserRecord, tuple[MemberRecord, ...]]
#: The groups of users by their keys.
Groups = dict[int, tuple[MemberRecord, ...]]


class Candidate(NamedTuple):
    """A user whose membership of a group is to be changed by a push, and what is stored of both."""

    uid: str
    user_id: int
    #: It is a member because of a push.
    is_pushed: bool
    #: It is a member for another reason.
    is_granted: bool
    #: The group waits for its id.
    is_awaited: bool
    #: A connection manages it.
    is_managed: bool

    @property
    def joins(self) -> bool:
        """True if a push makes it a member that it is not yet."""
        return not self.is_pushed and not self.is_granted

    @property
    def leaves(self) -> bool:
        """True if it is a member for no longer than it is pushed."""
        return self.is_pushed and not self.is_granted


#: What `Candidate` holds; its three parameters are the group.
_CANDIDATES = (
    "SELECT users.uid, users.id, EXISTS (SELECT 1 FROM grants r WHERE r.group_id = ? AND r.user_id = users.id"
    f" AND r.source = '{PUSH}'), EXISTS (SELECT 1 FROM grants r WHERE r.group_id = ? AND r.user_id = users.id"
    f" AND r.source <> '{PUSH}'), EXISTS (SELECT 1 FROM waiting_members w WHERE w.group_id = ?"
    " AND w.user_uid = users.uid), users.connection_id IS NOT NULL FROM users WHERE users.deleted = 0 AND "
)


_RESHOW = Statement(
    "reshow_groups",
    # `+`: SQLite would else look through all groups of the organization.
    "UPDATE groups SET modified = :modified, version = version + 1 WHERE +organization_id = :tenant"
    " AND id IN (SELECT group_id FROM grants WHERE user_id = :user) AND :go",
)


def reshow_step(organization_id: int, user_id: int) -> Step:
    """Return the statement that raises the version of a user's groups, which represent it differently."""
    return Step(_RESHOW, {"modified": now(), "tenant": organization_id, "user": user_id})


class Memberships:
    """Who is in which group, and why."""

    def __init__(self, database: Database) -> None:
        self._db = database
        groups = (
            f"SELECT DISTINCT g.id, g.uid, g.name FROM grants r JOIN groups g ON g.id = r.group_id"
            f" WHERE r.user_id = users.id AND {visible('g.')} ORDER BY g.id"
        )
        pairs = database.dialect.pairs(groups, "uid", "name")
        self._user = f"SELECT {COLUMNS}, {pairs} FROM users WHERE deleted = 0 AND {VISIBLE} AND "
        users = f"SELECT :group, CAST(value AS BIGINT), '{PUSH}' FROM {database.dialect.each('users')}"
        self._add = Statement(
            "add_pushes",
            f"INSERT INTO grants (group_id, user_id, source) {users} WHERE :go ON CONFLICT DO NOTHING",
        )
        self._remove = Statement(
            "remove_pushes",
            f"DELETE FROM grants WHERE group_id = :group AND source = '{PUSH}' AND user_id IN"
            f" (SELECT CAST(value AS BIGINT) FROM {database.dialect.each('users')}) AND :go",
        )
        # CROSS JOIN and `+`: SQLite would else look through all groups that are seen.
        self._groups = (
            f"SELECT g.id, g.uid, g.name, {database.dialect.numbers('r.user_id')} FROM grants r CROSS JOIN groups g"
            " WHERE g.id = r.group_id AND +g.organization_id = ? AND (+g.connection_id = ? OR +g.connection_id IS NULL)"
            " AND r.user_id {} GROUP BY g.id ORDER BY g.id"
        )

    # Reading ----------------------------------------------------------------------------------------------------

    def user(self, connection: ConnectionRecord, uid: str) -> Seen | None:
        """Find a user that is visible to this connection, with its visible groups, in one statement."""
        return next(iter(self._seen(connection, "uid = ?", uid)), None)

    def users_named(self, connection: ConnectionRecord, user_name: str) -> list[Seen]:
        """Find the visible user with a userName, letter case aside, with its groups: one, or none."""
        return self._seen(connection, "user_name_key = ?", fold(user_name))

    def users_known_as(self, connection: ConnectionRecord, external_id: str) -> list[Seen]:
        """Find at most two visible users with an externalId, and their groups; more may have it (RFC 7643, 3.1)."""
        return self._seen(connection, "external_id IS NOT NULL AND external_id = ? LIMIT 2", external_id)

    def _seen(self, connection: ConnectionRecord, which: str, value: str) -> list[Seen]:
        organization_id, connection_id = connection.organization_id, connection.id
        rows = self._db.all(
            self._user + which, organization_id, connection_id, organization_id, connection_id, value
        )
        return [(UserRecord._make(row[:-1]), _groups(row[-1]) if row[-1] else ()) for row in rows]

    def groups_of(
        self, organization_id: int, connection_id: int | None, user_id: int
    ) -> tuple[MemberRecord, ...]:
        """List the groups of a user that are visible to this connection."""
        rows = self._db.all(_GROUPS_OF_USER, user_id, organization_id, connection_id)
        return tuple([MemberRecord(uid, name) for uid, name, _ in rows])

    def groups_of_many(
        self, organization_id: int, connection_id: int | None, user_ids: Sequence[int]
    ) -> Groups:
        """Return the visible groups of a page of users, by their keys. Users in the same groups share one tuple."""
        if not user_ids:
            return {}
        first, last, tenant = min(user_ids), max(user_ids), (organization_id, connection_id)
        if last - first < 2 * len(user_ids):
            # They stand side by side in the index, as users do who were made together; a few others may be among them.
            return groups_by_user(self._db.all(self._groups.format("BETWEEN ? AND ?"), *tenant, first, last))
        rows = self._db.among(user_ids, lambda marks: self._groups.format(f"IN ({marks})"), *tenant)
        return groups_by_user(sorted(rows))

    def sources_of_many(
        self, organization_id: int, user_ids: Sequence[int]
    ) -> dict[int, list[tuple[str, str, str]]]:
        """For the admin: each user's groups with the reason, (group id, name, source)."""
        rows = self._db.among(
            user_ids,
            lambda marks: (
                "SELECT r.user_id, g.uid, g.name, r.source FROM grants r JOIN groups g ON g.id = r.group_id"
                f" WHERE g.organization_id = ? AND r.user_id IN ({marks}) ORDER BY r.user_id, g.id, r.source"
            ),
            organization_id,
        )
        found: dict[int, list[tuple[str, str, str]]] = {}
        for user_id, *group in rows:
            found.setdefault(user_id, []).append((group[0], group[1], group[2]))
        return found

    def members_of(
        self, organization_id: int, connection_id: int | None, group: GroupRecord
    ) -> Iterable[MemberRecord]:
        """List the members of a group that are visible to this connection, in order of creation."""
        for page in self.member_pages(organization_id, connection_id, group):
            yield from page

    def member_pages(
        self, organization_id: int, connection_id: int | None, group: GroupRecord | ListedGroup
    ) -> Iterator[list[MemberRecord]]:
        """Yield the visible members of a group in pages, each a statement of its own; nothing stays open between.

        A user who joins or leaves meanwhile may be included or not. A page may hold fewer rows: hidden members are
        counted too.
        """
        return self._member_pages(visible("u."), (organization_id, connection_id), group)

    def all_member_pages(self, organization_id: int, group: GroupRecord) -> Iterator[list[MemberRecord]]:
        """Yield all members of a group in pages, as `member_pages` does."""
        return self._member_pages("u.organization_id = ?", (organization_id,), group)

    def _member_pages(
        self, condition: str, tenant: tuple[int | None, ...], group: GroupRecord | ListedGroup
    ) -> Iterator[list[MemberRecord]]:
        after, more = 0, True
        while more:
            # One more than a page, so that the last page is known for it.
            rows = self._db.all(
                f"SELECT u.id, u.uid, u.display, u.deleted = 0 AND {condition} FROM users u WHERE u.id IN"
                " (SELECT DISTINCT user_id FROM grants WHERE group_id = ? AND user_id > ? ORDER BY user_id LIMIT ?)"
                " ORDER BY u.id",
                *tenant,
                group.id,
                after,
                MEMBERS_AT_ONCE + 1,
            )
            more = len(rows) > MEMBERS_AT_ONCE
            page = rows[:MEMBERS_AT_ONCE]
            yield [MemberRecord(uid, display) for _, uid, display, seen in page if seen]
            after = page[-1][0] if more else after

    def members_of_many(
        self, organization_id: int, connection_id: int | None, group_ids: Sequence[int]
    ) -> dict[int, list[MemberRecord]]:
        """Return the visible members of a page of groups, in one statement."""
        rows = self._db.among(
            group_ids,
            lambda marks: (
                "SELECT DISTINCT r.group_id, u.uid, u.display, r.user_id"
                " FROM grants r JOIN users u ON u.id = r.user_id"
                f" WHERE u.deleted = 0 AND {visible('u.')} AND r.group_id IN ({marks}) ORDER BY r.group_id, r.user_id"
            ),
            organization_id,
            connection_id,
        )
        found: dict[int, list[MemberRecord]] = {}
        for group_id, uid, display, _ in rows:
            found.setdefault(group_id, []).append(MemberRecord(uid, display))
        return found

    def reasons(self, organization_id: int, user_id: int) -> list[tuple[int, str]]:
        """Every grant of a user: (group key, source)."""
        rows = self._db.all(
            "SELECT r.group_id, r.source FROM grants r JOIN groups g ON g.id = r.group_id"
            " WHERE r.user_id = ? AND g.organization_id = ? ORDER BY r.group_id, r.source",
            user_id,
            organization_id,
        )
        return [(group_id, source) for group_id, source in rows]

    def reasons_of_many(
        self, organization_id: int, user_ids: Sequence[int]
    ) -> dict[int, set[tuple[int, str]]]:
        """Return the reasons of the memberships of many users, by their keys."""
        rows = self._db.among(
            user_ids,
            lambda marks: (
                "SELECT r.user_id, r.group_id, r.source FROM grants r JOIN groups g ON g.id = r.group_id"
                f" WHERE g.organization_id = ? AND r.user_id IN ({marks})"
            ),
            organization_id,
        )
        found: dict[int, set[tuple[int, str]]] = {}
        for user_id, group_id, source in rows:
            found.setdefault(user_id, set()).add((group_id, source))
        return found

    def resolve(self, organization_id: int, connection_id: int | None, uids: Sequence[str]) -> dict[str, int]:
        """Return the keys of those ids whose users are visible."""
        rows = self._db.among(
            uids,
            lambda marks: (
                f"SELECT uid, id FROM users WHERE deleted = 0 AND {_SEEN_BY_UID} AND uid IN ({marks})"
            ),
            organization_id,
            connection_id,
        )
        return dict(rows)

    def find_visible(
        self, organization_id: int, connection_id: int | None, group_id: int, uids: Sequence[str]
    ) -> list[Candidate]:
        """Return the users with these ids that a connection sees, with what they are in a group for."""
        where = visible("+users.")
        return self._candidates("users.uid", uids, f"{where} AND", group_id, organization_id, connection_id)

    def find_known(self, organization_id: int, group_id: int, uids: Sequence[str]) -> list[Candidate]:
        """Return the users with these ids, whichever connection manages them, with what they are in a group for."""
        return self._candidates(
            "users.uid", uids, "+users.organization_id = ? AND", group_id, organization_id
        )

    def find_by_keys(self, organization_id: int, group_id: int, user_ids: Sequence[int]) -> list[Candidate]:
        """Return users by their keys, with what they are in a group for."""
        return self._candidates(
            "users.id", user_ids, "+users.organization_id = ? AND", group_id, organization_id
        )

    def _candidates(
        self, column: str, values: Sequence[Any], where: str, group_id: int, *tenant: int | None
    ) -> list[Candidate]:
        rows = self._db.among(
            values, lambda marks: f"{_CANDIDATES}{where} {column} IN ({marks})", *(group_id,) * 3, *tenant
        )
        return [Candidate._make(row) for row in rows]

    def uids(self, organization_id: int, user_ids: Sequence[int]) -> list[str]:
        """Return the public ids of keys."""
        rows = self._db.among(
            user_ids,
            lambda marks: f"SELECT uid FROM users WHERE organization_id = ? AND id IN ({marks})",
            organization_id,
        )
        return [row[0] for row in rows]

    def keys(self, group_id: int) -> list[int]:
        """Return the keys of all members."""
        return [
            row[0] for row in self._db.all("SELECT DISTINCT user_id FROM grants WHERE group_id = ?", group_id)
        ]

    def page(self, group: GroupRecord, after: int, limit: int) -> list[tuple[int, tuple[str, ...]]]:
        """For the admin: members in the order of their making, (user key, sources), from behind a key on."""
        keys = [
            row[0]
            for row in self._db.all(
                "SELECT DISTINCT user_id FROM grants WHERE group_id = ? AND user_id > ? ORDER BY user_id LIMIT ?",
                group.id,
                after,
                limit,
            )
        ]
        rows = self._db.among(
            keys,
            lambda marks: (
                f"SELECT user_id, source FROM grants WHERE group_id = ? AND user_id IN ({marks})"
                " ORDER BY user_id, source"
            ),
            group.id,
        )
        sources: dict[int, list[str]] = {}
        for user_id, source in rows:
            sources.setdefault(user_id, []).append(source)
        return [(key, tuple(sources.get(key, ()))) for key in keys]

    def granted(self, group_id: int, source: str) -> list[int]:
        """Return the keys of the members that are in a group for that reason."""
        rows = self._db.all("SELECT user_id FROM grants WHERE group_id = ? AND source = ?", group_id, source)
        return [row[0] for row in rows]

    def has_unmanaged_besides(
        self, group_id: int, uids: Sequence[str], reasons: Sequence[str] = REASONS
    ) -> bool:
        """Return whether a group has members whom no connection manages, for one of these reasons, besides some."""
        besides = set(uids)
        rows = self._db.all(
            "SELECT DISTINCT u.uid FROM grants r JOIN users u ON u.id = r.user_id WHERE r.group_id = ?"
            f" AND r.source IN ({', '.join('?' * len(reasons))}) AND u.connection_id IS NULL LIMIT ?",
            *(group_id, *reasons, len(besides) + 1),
        )
        return any(uid not in besides for (uid,) in rows)

    # Writing ----------------------------------------------------------------------------------------------------

    def add_pushes(self, group_id: int, candidates: Sequence[Candidate]) -> list[Step]:
        """Return the statements that make users members by a push."""
        return self._push_steps(self._add, group_id, [each for each in candidates if not each.is_pushed])

    def remove_pushes(self, group_id: int, candidates: Sequence[Candidate]) -> list[Step]:
        """Return the statements that take the pushes of users back."""
        return self._push_steps(self._remove, group_id, [each for each in candidates if each.is_pushed])

    def _push_steps(self, statement: Statement, group_id: int, candidates: Sequence[Candidate]) -> list[Step]:
        keys = [str(each.user_id) for each in candidates]
        return [Step(statement, {"group": group_id, "users": keys})] if keys else []

    def grant(self, group_id: int, user_ids: Sequence[int], source: str) -> list[int]:
        """Give each user a reason to be in the group; the keys of the users who were not in it."""
        inside = set(self._inside(group_id, user_ids))
        self._db.run_many(
            "INSERT INTO grants (group_id, user_id, source) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            [(group_id, user_id, source) for user_id in user_ids],
        )
        return [user_id for user_id in dict.fromkeys(user_ids) if user_id not in inside]

    def withdraw(self, group_id: int, user_ids: Sequence[int], source: str) -> list[int]:
        """Take that reason from each user; the keys of the users who have no other."""
        gone = [
            row[0]
            for row in self._db.among(
                user_ids,
                lambda marks: (
                    f"DELETE FROM grants WHERE group_id = ? AND source = ? AND user_id IN ({marks})"
                    " RETURNING user_id"
                ),
                group_id,
                source,
            )
        ]
        inside = set(self._inside(group_id, gone))
        return [user_id for user_id in gone if user_id not in inside]

    def _inside(self, group_id: int, user_ids: Sequence[int]) -> list[int]:
        rows = self._db.among(
            user_ids,
            lambda marks: f"SELECT DISTINCT user_id FROM grants WHERE group_id = ? AND user_id IN ({marks})",
            group_id,
        )
        return [row[0] for row in rows]

    def expel(self, group_id: int, most: int) -> list[int]:
        """Take so many members at most out of a group, whatever they are in it for; their keys."""
        members = "(SELECT DISTINCT user_id FROM grants WHERE group_id = ? ORDER BY user_id LIMIT ?)"
        rows = self._db.all(
            f"DELETE FROM grants WHERE group_id = ? AND user_id IN {members} RETURNING user_id",
            group_id,
            group_id,
            most,
        )
        return sorted({row[0] for row in rows})

    def hand_over(self, group_id: int, managed_only: bool = False) -> None:
        """Whatever the reason for a membership of this group was, it is pushed from now on; nobody moves.

        `managed_only`: users whom no connection manages keep their reasons.
        """
        which = (
            " AND user_id IN (SELECT u.id FROM grants r JOIN users u ON u.id = r.user_id"
            " WHERE r.group_id = ? AND u.connection_id IS NOT NULL)"
            if managed_only
            else ""
        )
        group = (group_id, group_id) if managed_only else (group_id,)
        self._db.run(
            "INSERT INTO grants (group_id, user_id, source) SELECT DISTINCT group_id, user_id, ? FROM grants"
            f" WHERE group_id = ?{which} ON CONFLICT DO NOTHING",
            PUSH,
            *group,
        )
        self._db.run(f"DELETE FROM grants WHERE group_id = ?{which} AND source <> ?", *group, PUSH)

    def release_pushes(self, organization_id: int, connection_id: int, most: int) -> int:
        """Turn pushed grants of a connection into manual ones, up to a limit; return how many. Members stay."""
        gone = self._db.all(
            "SELECT group_id, user_id FROM grants WHERE source = ? AND group_id IN"
            " (SELECT id FROM groups WHERE organization_id = ? AND connection_id = ?) LIMIT ?",
            PUSH,
            organization_id,
            connection_id,
            most,
        )
        self._db.run_many(
            f"INSERT INTO grants (group_id, user_id, source) VALUES (?, ?, '{MANUAL}') ON CONFLICT DO NOTHING",
            gone,
        )
        self._db.run_many(
            f"DELETE FROM grants WHERE group_id = ? AND user_id = ? AND source = '{PUSH}'", gone
        )
        return len(gone)

    def release_users(self, organization_id: int, user_ids: Sequence[int]) -> None:
        """Turn grants of a mapping to these users into manual ones. No membership changes."""
        gone = self._db.among(
            user_ids,
            lambda marks: (
                f"DELETE FROM grants WHERE source = '{MAPPING}' AND user_id IN"
                f" (SELECT id FROM users WHERE organization_id = ? AND id IN ({marks})) RETURNING group_id, user_id"
            ),
            organization_id,
        )
        self._db.run_many(
            f"INSERT INTO grants (group_id, user_id, source) VALUES (?, ?, '{MANUAL}') ON CONFLICT DO NOTHING",
            gone,
        )

    def drop_user(self, organization_id: int, user_id: int) -> list[int]:
        """Remove a deleted user from all groups, raise their versions, and return their keys."""
        rows = self._db.all("DELETE FROM grants WHERE user_id = ? RETURNING group_id", user_id)
        groups, moment = sorted({row[0] for row in rows}), now()
        for group_id in groups:
            self._db.run(
                "UPDATE groups SET members = members - 1, modified = ?, version = version + 1"
                " WHERE organization_id = ? AND id = ?",
                moment,
                organization_id,
                group_id,
            )
        return groups

    def reshow(self, organization_id: int, user_id: int) -> None:
        """Raise the versions of the groups of a user whose display name or connection changed."""
        self._db.run_change([reshow_step(organization_id, user_id)])

    def reveal(self, organization_id: int, user_ids: Sequence[int]) -> None:
        """Users will be seen by all connections: the groups that they are in are shown otherwise."""
        rows = self._db.among(
            user_ids, lambda marks: f"SELECT DISTINCT group_id FROM grants WHERE user_id IN ({marks})"
        )
        self._db.run_many(
            "UPDATE groups SET modified = ?, version = version + 1 WHERE id = ? AND organization_id = ?",
            [(now(), group_id, organization_id) for group_id in sorted({row[0] for row in rows})],
        )


def groups_by_user(rows: Iterable[Sequence[Any]]) -> Groups:
    """Return the groups of users by key; each group comes with the keys of its users, joined by commas."""
    found: Groups = {}
    for _, uid, name, keys in rows:
        group, longer = MemberRecord(uid, name), dict[tuple[MemberRecord, ...], tuple[MemberRecord, ...]]()
        # A user who is in it for two reasons is listed twice.
        for key in set(map(int, keys.split(","))):
            before = found.get(key, ())
            if before not in longer:
                longer[before] = (*before, group)
            found[key] = longer[before]
    return found


@cache_short(FEW)
def _groups(pairs: str) -> tuple[MemberRecord, ...]:
    """Return the groups of one user from the JSON of `Dialect.pairs`."""
    return tuple([MemberRecord(uid, name) for uid, name in json.loads(pairs)])
