"""Every method of a repository that takes an organization or a connection keeps to it, whatever keys and ids it gets.

Most keys come from statements that asked for the organization before; these tests hold each statement by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import pytest

from gateway.store import Store, WriteConflict
from gateway.store.activity import ActivityFilter
from gateway.store.memberships import MAPPING, reshow_step
from gateway.store.organizations import RESERVE, RESERVE_UNMOVED, Reservation
from gateway.store.records import ConnectionRecord, GroupRecord, OrganizationRecord, UserRecord
from gateway.testing import Deployment
from gateway.testing.deployment import GROUP
from tests.support.tables import read_tables

TABLES = (
    "users", "emails", "groups", "grants", "waiting_members", "tallies", "long_changes", "events", "mapping_rules",
    "connections", "tokens",
)  # fmt: skip
ADDRESS = "ann@acme.test"


class Scope(NamedTuple):
    """On whose behalf a repository is asked."""

    organization: OrganizationRecord
    connection: ConnectionRecord

    @property
    def tenant(self) -> int:
        return self.organization.id

    @property
    def pair(self) -> tuple[int, int]:
        return self.organization.id, self.connection.id


class Content(NamedTuple):
    """What one organization holds: a user and a deleted one, a pushed group of that user, a manual group of it."""

    store: Store
    user: UserRecord
    deleted: UserRecord
    pushed: GroupRecord
    manual: GroupRecord


class World(NamedTuple):
    """`own` holds the content, `sibling` is a connection beside its own, `foreign` another organization that is empty.

    `mixed` has the organization of `foreign` and the connection of `own`.
    """

    deployment: Deployment
    content: Content
    own: Scope
    sibling: Scope
    foreign: Scope
    mixed: Scope


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    deployment = Deployment(tmp_path_factory.mktemp("apart") / "instance")
    store = deployment.gateway.store

    def scope(organization: OrganizationRecord, uid: str) -> Scope:
        found = store.connections.by_id(uid)
        assert found
        return Scope(store.organizations.by_key(organization.id), found[0])

    acme, other = deployment.organization("Acme"), deployment.organization("Other")
    scim = deployment.connection("generic", acme)
    emails = [{"value": ADDRESS, "type": "work", "primary": True}]
    shown = scim.user(ADDRESS, externalId="x-ann", emails=emails)
    gone = scim.user("gone@acme.test", externalId="x-gone")
    assert scim.call("DELETE", f"/Users/{gone['id']}").status == 204
    team = {"schemas": [GROUP], "displayName": "Team", "members": [{"value": shown["id"]}]}
    pushed_id = scim.call("POST", "/Groups", team).json["id"]
    deployment.gateway.activity_writer.flush()

    own = scope(acme, scim.uid)
    sibling = scope(acme, deployment.connection("generic", acme).uid)
    foreign = scope(other, deployment.connection("generic", other).uid)
    mixed = Scope(foreign.organization, own.connection._replace(organization_id=other.id))
    user, deleted = store.users.of(acme, shown["id"]), store.users.deleted(acme, gone["id"])
    pushed = store.groups.of(acme, pushed_id)
    manual = store.groups.add(acme.id, None, {"schemas": [GROUP], "displayName": "Crew"})
    assert user
    assert deleted
    assert pushed
    store.memberships.grant(manual.id, [user.id], MAPPING)
    store.waiting_members.add(pushed.id, ["awaited"])
    store.long_changes.begin(acme.id, own.connection, "apply")
    yield World(deployment, Content(store, user, deleted, pushed, manual), own, sibling, foreign, mixed)
    deployment.close()


Read = Callable[[Content, Scope], Any]
#: Each finds something for the owner, and nothing for another organization.
READS: dict[str, Read] = {
    "users.seen": lambda c, s: c.store.users.seen(s.connection, c.user.uid),
    "users.of": lambda c, s: c.store.users.of(s.organization, c.user.uid),
    "users.deleted": lambda c, s: c.store.users.deleted(s.organization, c.deleted.uid),
    "users.by_name": lambda c, s: c.store.users.by_name(s.organization, c.user.user_name),
    "users.search": lambda c, s: c.store.users.search(s.organization, "ann", 0, 10)[0],
    "users.by_keys": lambda c, s: c.store.users.by_keys(s.tenant, [c.user.id]),
    "users.holder": lambda c, s: c.store.users.holder(s.tenant, c.user.user_name),
    "users.sharing": lambda c, s: c.store.users.sharing(*s.pair, c.user._replace(id=0))[0],
    "portions.of_organization": lambda c, s: list(c.store.portions.of_organization(s.tenant, [])),
    "portions.of_connection": lambda c, s: list(c.store.portions.of_connection(s.connection, [])),
    "portions.find_newest": lambda c, s: c.store.portions.find_newest(s.connection, [], 10),
    "portions.page": lambda c, s: c.store.portions.page(s.tenant, [], 0, 10),
    "portions.by_keys": lambda c, s: c.store.portions.by_keys(s.tenant, [c.user.id], []),
    "groups.seen": lambda c, s: c.store.groups.seen(s.connection, c.pushed.uid),
    "groups.of": lambda c, s: c.store.groups.of(s.organization, c.pushed.uid),
    "groups.manual": lambda c, s: c.store.groups.manual(s.tenant, "Crew"),
    "groups.namesake": lambda c, s: c.store.groups.namesake(*s.pair, "Crew"),
    "groups.pushed_name": lambda c, s: c.store.groups.pushed_name(s.tenant, "Team"),
    "groups.page": lambda c, s: c.store.groups.page(s.organization, "", 0, 10),
    "memberships.user": lambda c, s: c.store.memberships.user(s.connection, c.user.uid),
    "memberships.users_named": lambda c, s: c.store.memberships.users_named(s.connection, c.user.user_name),
    "memberships.groups_of": lambda c, s: c.store.memberships.groups_of(*s.pair, c.user.id),
    "memberships.groups_of_many": lambda c, s: c.store.memberships.groups_of_many(*s.pair, [c.user.id]),
    "memberships.sources_of_many": lambda c, s: c.store.memberships.sources_of_many(s.tenant, [c.user.id]),
    "memberships.members_of": lambda c, s: list(c.store.memberships.members_of(*s.pair, c.manual)),
    "memberships.members_of_many": lambda c, s: c.store.memberships.members_of_many(*s.pair, [c.manual.id]),
    "memberships.reasons": lambda c, s: c.store.memberships.reasons(s.tenant, c.user.id),
    "memberships.reasons_of_many": lambda c, s: c.store.memberships.reasons_of_many(s.tenant, [c.user.id]),
    "memberships.resolve": lambda c, s: c.store.memberships.resolve(*s.pair, [c.user.uid]),
    "memberships.find_visible": lambda c, s: c.store.memberships.find_visible(
        *s.pair, c.pushed.id, [c.user.uid]
    ),
    "memberships.find_known": lambda c, s: c.store.memberships.find_known(
        s.tenant, c.pushed.id, [c.user.uid]
    ),
    "memberships.find_by_keys": lambda c, s: c.store.memberships.find_by_keys(
        s.tenant, c.pushed.id, [c.user.id]
    ),
    "memberships.uids": lambda c, s: c.store.memberships.uids(s.tenant, [c.user.id]),
    "waiting_members.exceed": lambda c, s: c.store.waiting_members.exceed(*s.pair, 0),
    "waiting_members.newest": lambda c, s: c.store.waiting_members.newest(*s.pair, 10, 10),
    "connections.page": lambda c, s: [
        each for each in c.store.connections.page(s.organization, 0, 10) if each.id == c.user.connection_id
    ],
    "connections.by_keys": lambda c, s: c.store.connections.by_keys(s.organization, [c.user.connection_id]),
    "connections.managed_keys": lambda c, s: c.store.connections.managed_keys(s.connection, 10),
    "long_changes.find": lambda c, s: c.store.long_changes.find(s.tenant, s.connection),
    "takeovers.managed_users": lambda c, s: c.store.takeovers.managed_users(s.connection, [c.user.id]),
    "takeovers.find_named by id": lambda c, s: c.store.takeovers.find_named(s.organization, [c.user.uid]),
    "takeovers.find_named": lambda c, s: c.store.takeovers.find_named(s.organization, [c.user.user_name]),
    "takeovers.count_holders": lambda c, s: c.store.takeovers.count_holders(s.tenant, [ADDRESS]),
    "events.page": lambda c, s: [
        event for event in c.store.events.page(s.tenant, 0, 100) if event.type == "user.created"
    ],
    "activity.page": lambda c, s: c.store.activity.page(s.tenant, None, 10, user=c.user.user_name),
    "activity.search": lambda c, s: c.store.activity.search(
        s.tenant, None, 10, ActivityFilter(user=c.user.user_name)
    )[0],
    "activity.last_call": lambda c, s: c.store.activity.last_call(s.tenant, s.connection.uid),
    "activity.find_deletion": lambda c, s: c.store.activity.find_deletion(
        s.tenant, c.deleted.user_name, c.deleted.uid
    ),
}
#: Those of what a connection manages, which another connection of the same organization does not find either.
MANAGED = {
    "users.seen", "users.sharing", "portions.of_connection", "portions.find_newest", "groups.seen", "memberships.user",
    "memberships.users_named", "memberships.members_of", "memberships.members_of_many", "memberships.resolve",
    "memberships.find_visible", "waiting_members.exceed", "waiting_members.newest", "connections.managed_keys",
    "long_changes.find", "takeovers.managed_users", "activity.last_call",
}  # fmt: skip


@pytest.mark.parametrize("name", READS)
def test_a_read_finds_nothing_of_another_tenant(world: World, name: str) -> None:
    read, content = READS[name], world.content
    assert read(content, world.own)
    assert not read(content, world.foreign)
    assert not read(content, world.mixed)
    if name in MANAGED:
        assert not read(content, world.sibling)


Write = Callable[[Content, Scope], Any]
#: Each changes what the owner has, and returns nothing where another one names it.
WRITES: dict[str, Write] = {
    "users.remove": lambda c, s: c.store.users.remove(s.tenant, c.user),
    "users.rewrite": lambda c, s: c.store.users.rewrite(
        *s.pair, c.user, c.user.document | {"emails": [{"value": "ann@other.test"}]}
    ),
    "groups.rewrite": lambda c, s: c.store.groups.rewrite(
        s.tenant, None, c.manual, {"schemas": [GROUP], "displayName": "Squad"}
    ),
    "groups.remove": lambda c, s: c.store.groups.remove(s.tenant, c.pushed),
    "memberships.reshow": lambda c, s: c.store.database.run_change([reshow_step(s.tenant, c.user.id)]) and 0,
    "memberships.reveal": lambda c, s: c.store.memberships.reveal(s.tenant, [c.user.id]),
    "memberships.release_users": lambda c, s: c.store.memberships.release_users(s.tenant, [c.user.id]),
    "memberships.release_pushes": lambda c, s: c.store.memberships.release_pushes(*s.pair, 10),
    "waiting_members.take": lambda c, s: c.store.waiting_members.take(*s.pair, "awaited"),
    "connections.release": lambda c, s: c.store.connections.release(s.connection, [c.user.id]),
    "long_changes.abandon": lambda c, s: c.store.long_changes.abandon(s.tenant, s.connection),
}
#: Those of what a connection manages, which another one of the same organization does not change either.
OF_A_CONNECTION = {
    "memberships.release_pushes", "waiting_members.take", "connections.release", "long_changes.abandon"
}  # fmt: skip


class Undone(Exception):
    """Ends a transaction without its changes."""


@contextmanager
def undone(store: Store) -> Iterator[None]:
    """A transaction of which nothing is stored."""
    with suppress(Undone), store.transaction():
        yield
        raise Undone


@pytest.mark.parametrize("name", WRITES)
def test_a_write_changes_nothing_of_another_tenant(world: World, name: str) -> None:
    before = read_tables(world.deployment, *TABLES)
    others = (world.foreign, world.mixed, *((world.sibling,) if name in OF_A_CONNECTION else ()))
    for scope in (*others, world.own):
        with undone(world.content.store):
            result = WRITES[name](world.content, scope)
            changed = read_tables(world.deployment, *TABLES) != before
            assert changed == (scope is world.own)
            assert not result or scope is world.own


def test_the_number_of_members_changes_for_the_tenant_of_the_group_alone(world: World) -> None:
    groups, group = world.content.store.groups, world.content.pushed
    with pytest.raises(WriteConflict):
        groups.add_members(world.foreign.tenant, group.id, 1)
    assert groups.of(world.own.organization, group.uid) == group


def test_a_namesake_of_another_tenant_is_no_clash(world: World) -> None:
    store, foreign = world.content.store, world.foreign
    document = {"schemas": [GROUP], "displayName": "Crew"}
    with undone(store):
        pushed = store.groups.add(*foreign.pair, document)
        assert store.groups.clashing(foreign.connection) == []
        store.groups.add(foreign.tenant, None, document)
        assert store.groups.clashing(foreign.connection) == [pushed]
        assert store.groups.clashing(world.own.connection) == []


@pytest.mark.parametrize(
    ("changed", "granted"),
    [
        ({}, True),
        ({"organization_id": 0}, False),
        ({"policy": -1}, False),
        ({"ceiling": 6}, False),
        ({"ceiling": None}, True),
        ({"ceiling": 0, "seats": 0}, True),
        ({"ceiling": 0, "seats": -1}, True),
    ],
)
def test_a_reservation_holds_for_its_policy_and_its_ceiling(
    world: World, changed: dict[str, int | None], granted: bool
) -> None:
    """Five seats are in use: two more fit under a ceiling of seven and not of six."""
    store, key = world.content.store, world.foreign.tenant
    policy = store.organizations.by_key(key).policy
    with undone(store):
        assert store.organizations.reserve(Reservation(key, policy, 5, 0)) is not None
        columns = "seats_used, event_seq, removals, moves, policy"
        (before,) = store.database.all(f"SELECT {columns} FROM organizations WHERE id = ?", key)
        others = store.database.all("SELECT * FROM organizations WHERE id <> ?", key)
        wanted = Reservation(key, policy, 2, 3, 7, 4, 5)._replace(**changed)
        number = store.organizations.reserve(wanted)
        (after,) = store.database.all(f"SELECT {columns} FROM organizations WHERE id = ?", key)
        added = (wanted.seats, 3, 4, 5, 0) if granted else (0, 0, 0, 0, 0)
        assert after == tuple(map(sum, zip(before, added, strict=True)))
        assert number == (after[1] if granted else None)
        assert store.database.all("SELECT * FROM organizations WHERE id <> ?", key) == others


def test_a_reservation_of_what_was_not_moved_holds_for_its_number_of_moves(world: World) -> None:
    store, key = world.content.store, world.foreign.tenant
    organization = store.organizations.by_key(key)
    reservation = Reservation(key, organization.policy, 1, 1)
    for statement, moves, granted in (
        (RESERVE_UNMOVED, organization.moves, True),
        (RESERVE_UNMOVED, organization.moves + 1, False),
        (RESERVE, organization.moves + 1, True),
    ):
        with undone(store):
            row = store.database.run_change([reservation.step(statement, moves)])
            assert (row is not None) == granted


def test_a_new_policy_number_is_the_tenants_alone(world: World) -> None:
    store = world.content.store
    before = store.organizations.by_key(world.own.tenant).policy
    with undone(store):
        later = store.organizations.touch_policy(world.foreign.tenant)
        assert later == world.foreign.organization.policy + 1
        assert store.organizations.by_key(world.own.tenant).policy == before


def test_a_search_counts_the_users_of_its_tenant_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search looks at so many users and says where to go on: others are none of them."""
    monkeypatch.setattr("gateway.store.users.LOOKED_AT", 1)
    users, user = world.content.store.users, world.content.user
    assert users.search(world.own.organization, "ann", 0, 10) == ([user.id], user.id)
    assert users.search(world.foreign.organization, "ann", 0, 10) == ([], None)


def rows_of_own(world: World) -> dict[str, list[str]]:
    """What the organization with the content has, by table."""
    database, key = world.content.store.database, world.own.tenant
    tables = dict.fromkeys(("users", "emails", "groups", "connections", "tallies"), "organization_id")
    tables |= {"admin_tokens": "organization_id", "activity": "organization_id", "organizations": "id"}
    return {
        table: sorted(map(repr, database.all(f"SELECT * FROM {table} WHERE {column} = ?", key)))
        for table, column in tables.items()
    } | read_tables(world.deployment, "grants", "waiting_members")


def test_an_organization_that_is_removed_takes_nothing_of_another(world: World) -> None:
    store, foreign = world.content.store, world.foreign.organization
    with undone(store):
        for organization in (world.own.organization, foreign):
            store.admin_tokens.add(organization, "one")
        before, tokens = rows_of_own(world), store.tokens.by_connection(world.own.connection)
        user, _ = store.users.add(*world.foreign.pair, world.content.user.document) or (None, None)
        assert user
        store.organizations.close(foreign)
        while store.organizations.remove_some(foreign, 10):
            pass
        assert store.users.of(foreign, user.uid) is None
        store.organizations.remove(foreign)
        assert store.organizations.by_id(foreign.uid) is None
        assert rows_of_own(world) == before
        assert store.tokens.by_connection(world.own.connection) == tokens


def test_a_connection_that_is_removed_releases_nobody_of_another(world: World) -> None:
    store = world.content.store
    before = rows_of_own(world)
    with undone(store):
        store.tokens.add(world.sibling.connection, "one", None)
        store.connections.close(world.foreign.connection)
        store.connections.remove(world.foreign.connection)
        assert rows_of_own(world) == before
    with undone(store):
        store.connections.close(world.sibling.connection)
        store.connections.remove(world.sibling.connection)
        changed = {table for table, rows in rows_of_own(world).items() if rows != before[table]}
        assert changed == {"connections"}
        assert store.tokens.by_connection(world.own.connection)


def test_the_newest_users_of_a_connection_are_its_own_among_those_of_another(world: World) -> None:
    store = world.content.store
    with undone(store):
        for scope, name in ((world.sibling, "a"), (world.own, "b"), (world.sibling, "c")):
            document = world.content.user.document | {"userName": name, "externalId": name, "emails": []}
            assert store.users.add(*scope.pair, document)
        newest = store.portions.find_newest
        assert [user.user_name for user in newest(world.sibling.connection, [], 5)] == ["a", "c"]
        assert [user.user_name for user in newest(world.own.connection, [], 1)] == ["b"]


def test_a_connection_sees_the_manual_groups_of_a_user_and_not_those_of_another_connection(
    world: World,
) -> None:
    memberships, user = world.content.store.memberships, world.content.user
    for scope, names in ((world.own, ["Team", "Crew"]), (world.sibling, ["Crew"])):
        found = memberships.groups_of_many(*scope.pair, [user.id])
        assert [group.display for group in found[user.id]] == names
