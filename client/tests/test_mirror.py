"""The mirror: the copy is what the gateway has, whatever breaks off, repeats, or is newer than its number."""

from __future__ import annotations

import contextlib
import json
import os
import random
import sqlite3
import threading
from datetime import UTC, datetime

import pytest
from gateway_client import Event, Feed, FeedRewound, GatewayError, Mirror, UnexpectedAnswer

from gateway.testing import engines
from gateway.testing.deployment import ADMIN_TOKEN

ORGANIZATION = "org-1"
AT = datetime(2026, 11, 28, tzinfo=UTC)
COPY = ("gateway_users", "gateway_groups", "gateway_memberships")


@pytest.fixture
def database(tmp_path):
    """An empty database: a function that opens a connection to it, and the paramstyle."""
    if not engines.is_postgresql():
        yield lambda: sqlite3.connect(tmp_path / "application.sqlite3"), "qmark"
        return
    import psycopg

    schema = f"application_{os.getpid()}"
    with psycopg.connect(os.environ[engines.SERVER], autocommit=True) as operator:
        operator.execute(f"CREATE SCHEMA {schema}")
        yield (
            lambda: psycopg.connect(os.environ[engines.SERVER], options=f"-c search_path={schema}"),
            "format",
        )
        operator.execute(f"DROP SCHEMA {schema} CASCADE")


@pytest.fixture
def connection(database):
    opened = database[0]()
    yield opened
    opened.close()


@pytest.fixture
def mirror(connection, database):
    return Mirror(connection, paramstyle=database[1])


def rows(connection, table, columns="*"):
    cursor = connection.cursor()
    cursor.execute(f"SELECT {columns} FROM {table} ORDER BY 1, 2, 3")
    found = cursor.fetchall()
    connection.commit()
    return [tuple(row) for row in found]


def copy(connection):
    return [rows(connection, table) for table in COPY]


def positions(connection):
    return {row[0]: row[1] for row in rows(connection, "gateway_positions", "stream, position, 1 AS one")}


def event(seq, kind, uid="u1", data=None, organization=ORGANIZATION, epoch=7, **more):
    data = {"id": uid} | (data or {})
    resource = kind.partition(".")[0].title()
    return Event(organization, seq, epoch, kind, AT, resource, uid, None, data, **more)


def user(number, kind, uid, name, active=True):
    data = {"userName": name, "displayName": name.title(), "active": active}
    data["emails"] = [{"value": f"other.{name}"}, {"value": name, "primary": True}]
    return event(number, f"user.{kind}", uid, data)


def group(number, kind, uid, name="Sales", **data):
    return event(number, f"group.{kind}", uid, {"displayName": name} | data)


def members(number, uid, added=(), removed=()):
    return group(number, "members_changed", uid, added=list(added), removed=list(removed))


def entries_of(connection):
    """The copy as lines of a snapshot."""
    users, groups, memberships = copy(connection)
    found = [
        {"resource": "User", "data": {"id": row[1], "userName": row[2], "active": bool(row[5])}}
        for row in users
    ]
    for row in groups:
        joined = [{"value": each[2]} for each in memberships if each[1] == row[1]]
        found.append({"resource": "Group", "data": {"id": row[1], "displayName": row[2], "members": joined}})
    return found


# Each type of event -------------------------------------------------------------------------------------------------


def test_events_of_every_type_change_the_copy(mirror, connection):
    mirror.apply([user(1, "created", "u1", "ada@acme.test"), user(2, "created", "u2", "bob@acme.test")])
    mirror.apply([group(3, "created", "g1"), members(4, "g1", added=["u1", "u2"])])
    users, groups, memberships = copy(connection)
    assert [row[:6] for row in users] == [
        (ORGANIZATION, "u1", "ada@acme.test", "Ada@Acme.Test", "ada@acme.test", 1),
        (ORGANIZATION, "u2", "bob@acme.test", "Bob@Acme.Test", "bob@acme.test", 1),
    ]
    assert groups == [(ORGANIZATION, "g1", "Sales")]
    assert memberships == [(ORGANIZATION, "g1", "u1"), (ORGANIZATION, "g1", "u2")]

    mirror.apply(
        [user(5, "deactivated", "u1", "ada@acme.test", active=False), group(6, "updated", "g1", "Support")]
    )
    mirror.apply([members(7, "g1", removed=["u2"])])
    users, groups, memberships = copy(connection)
    assert [row[5] for row in users] == [0, 1]
    assert (groups, memberships) == ([(ORGANIZATION, "g1", "Support")], [(ORGANIZATION, "g1", "u1")])

    mirror.apply(
        [user(8, "reactivated", "u1", "ada@acme.test"), user(9, "deleted", "u2", "bob@acme.test", False)]
    )
    mirror.apply([user(10, "restored", "u2", "bob@acme.test"), user(11, "updated", "u2", "rob@acme.test")])
    assert [(row[1], row[2], row[5]) for row in rows(connection, "gateway_users")] == [
        ("u1", "ada@acme.test", 1),
        ("u2", "rob@acme.test", 1),
    ]
    mirror.apply([user(12, "deleted", "u1", "ada@acme.test", active=False), group(13, "deleted", "g1")])
    assert [row[1] for row in rows(connection, "gateway_users")] == ["u2"]
    assert copy(connection)[1:] == [[], []]
    assert positions(connection) == {ORGANIZATION: "7-13-org-1"}


def test_a_follower_holds_nothing_of_a_person_who_is_erased_meanwhile(deployment, served, database):
    """From the real feed: the one that follows, and one that begins with the first event afterwards."""
    scim = deployment.connection("generic")
    uid = scim.user("zq7mark@acme.test", externalId="zq7mark")["id"]
    scim.group("Sales", (uid, scim.user("other@acme.test")["id"]))
    told, found = [], threading.Event()

    def react(cursor, event):
        told.append((event.type, json.dumps(event.data)))
        if event.type in ("group.members_changed", "user.erased"):
            found.set()

    feed = Feed(served, ADMIN_TOKEN, scim.organization.uid, wait=5.0)
    thread = threading.Thread(target=_follow, args=(database, feed, react))
    thread.start()
    try:
        assert found.wait(10)
        found.clear()
        scim.call("DELETE", f"/Users/{uid}")
        erasure = {"reason": "Asked for by letter.", "confirm": "zq7mark@acme.test"}
        path = f"/organizations/{scim.organization.uid}/users/{uid}/erase"
        assert deployment.admin("POST", path, erasure).status == 200
        assert found.wait(10)
    finally:
        feed.stop()
        thread.join(10)
    with contextlib.closing(database[0]()) as connection:
        assert len(rows(connection, "gateway_users")) == 1
        assert "zq7mark" not in str(copy(connection))
    assert told[-1] == ("user.erased", json.dumps({"id": uid, "erased": True}))

    again = Feed(served, ADMIN_TOKEN, scim.organization.uid).read()
    assert [event.type for event in again] == [kind for kind, _ in told]
    assert "zq7mark" not in json.dumps([event.data for event in again])


def _follow(database, feed, react):
    with contextlib.closing(database[0]()) as connection:
        Mirror(connection, feed, database[1], react).follow()


def test_an_erased_user_leaves_the_copy_and_its_old_events_bring_nothing_back(mirror, connection):
    mirror.apply([user(1, "created", "u1", "ada@acme.test"), event(2, "user.erased", data={"erased": True})])
    assert rows(connection, "gateway_users") == []
    mirror.apply(
        [event(3, "user.created", data={"erased": True}), event(4, "user.updated", data={"erased": True})]
    )
    assert rows(connection, "gateway_users") == []


def test_an_organization_that_is_removed_takes_its_people_along(mirror, connection):
    created = event(1, "organization.created", "org-1", organization=None, number=1)
    removed = event(2, "organization.removed", "org-1", organization=None, number=5)
    numbered = {"number": 2}, {"number": 3}, {"number": 4}
    events = [
        event(1, "user.created", "u1", {"userName": "a@acme.test", "active": True}, **numbered[0]),
        event(1, "user.created", "u9", {"userName": "b@acme.test", "active": True}, "org-2", **numbered[1]),
        event(2, "group.created", "g1", {"displayName": "Sales"}, **numbered[2]),
    ]
    mirror.apply([created, *events, removed])
    assert [row[:2] for row in rows(connection, "gateway_users")] == [("org-2", "u9")]
    assert rows(connection, "gateway_groups") == []
    assert positions(connection) == {"*": "7-5"}


def test_unknown_types_change_nothing_and_move_the_position(mirror, connection):
    mirror.apply([user(1, "created", "u1", "ada@acme.test")])
    before = copy(connection)
    kinds = ("user.removal_held", "user.adoption_waiting", "connection.held", "role.created", "x")
    assert mirror.apply([event(number, kind, "u1") for number, kind in enumerate(kinds, 2)]) == 5
    assert mirror.apply([event(1, "webhook.failing", "w1", organization=None)]) == 1
    assert copy(connection) == before
    assert positions(connection) == {ORGANIZATION: "7-6-org-1", "deployment": "7-1-deployment"}


# Positions ----------------------------------------------------------------------------------------------------------


def test_doubles_and_events_that_came_before_are_passed_over(mirror, connection):
    events = [
        user(1, "created", "u1", "ada@acme.test"),
        user(2, "deleted", "u1", "ada@acme.test", active=False),
    ]
    assert [mirror.apply(events), mirror.apply(events), mirror.apply(events[:1])] == [2, 0, 0]
    assert rows(connection, "gateway_users") == []
    other = event(1, "user.created", "u1", {"userName": "a@acme.test", "active": True}, organization="org-2")
    assert mirror.apply([other]) == 1


def test_what_the_application_writes_is_stored_with_the_event_or_not_at_all(connection, database):
    mark = "?" if database[1] == "qmark" else "%s"
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE seen (id INTEGER)")
    connection.commit()

    def react(cursor, event):
        cursor.execute(f"INSERT INTO seen VALUES ({mark})", (event.id,))
        if event.id == 3:
            raise RuntimeError("the application fails")

    mirror = Mirror(connection, paramstyle=database[1], react=react)
    mirror.apply([user(1, "created", "u1", "ada@acme.test")])
    with pytest.raises(RuntimeError):
        mirror.apply([user(2, "created", "u2", "bob@acme.test"), user(3, "created", "u3", "eve@acme.test")])
    assert [row[1] for row in rows(connection, "gateway_users")] == ["u1"]
    assert [row[0] for row in rows(connection, "seen", "id, 1 AS a, 2 AS b")] == [1]
    assert positions(connection) == {ORGANIZATION: "7-1-org-1"}


def test_another_epoch_stops_the_copy(mirror, connection):
    mirror.apply([user(5, "created", "u1", "ada@acme.test")])
    other = event(1, "user.created", "u2", {"userName": "a@acme.test", "active": True}, epoch=8)
    with pytest.raises(FeedRewound, match="restored from a backup"):
        mirror.apply([other])
    assert positions(connection) == {ORGANIZATION: "7-5-org-1"}


def test_of_two_processes_that_apply_to_one_copy_one_is_refused(mirror, connection, database):
    mirror.apply([user(1, "created", "u1", "ada@acme.test")])

    def meanwhile(cursor, event):
        cursor.execute("UPDATE gateway_positions SET position = '7-9-org-1'")

    second = Mirror(connection, paramstyle=database[1], react=meanwhile)
    with pytest.raises(GatewayError, match="Another process"):
        second.apply([user(2, "created", "u2", "bob@acme.test")])
    assert [row[1] for row in rows(connection, "gateway_users")] == ["u1"]


def test_an_event_without_data_is_refused(mirror):
    with pytest.raises(ValueError, match="evt_org-1_7_1 came without its data"):
        mirror.apply([Event(ORGANIZATION, 1, 7, "user.created", AT, "User", "u1", None, None)])


def test_a_connection_that_commits_by_itself_and_an_unknown_paramstyle_are_refused(connection):
    with pytest.raises(ValueError, match="paramstyle"):
        Mirror(connection, paramstyle="named")
    by_statement = sqlite3.connect(":memory:", isolation_level=None)
    with pytest.raises(ValueError, match="autocommit"):
        Mirror(by_statement)
    by_statement.close()


# With a feed --------------------------------------------------------------------------------------------------------


def quick(url, token=ADMIN_TOKEN, organization=ORGANIZATION):
    return Feed(url, token, organization, wait=0, poll_seconds=0.01, retry_seconds=0.01)


def test_the_copy_is_what_the_gateway_has(deployment, served, connection, database):
    scim = deployment.connection("okta")
    users = [scim.user(f"user{number}@acme.test")["id"] for number in range(4)]
    pushed = scim.group("Sales", tuple(users[:3]))["id"]
    organization = scim.organization.uid
    mirror = Mirror(connection, quick(served, organization=organization), database[1])
    assert mirror.catch_up() > 5
    scim.patch(f"/Users/{users[0]}", {"op": "replace", "value": {"active": False}})
    scim.patch(f"/Groups/{pushed}", {"op": "remove", "path": f'members[value eq "{users[1]}"]'})
    assert scim.call("DELETE", f"/Users/{users[2]}").status == 204
    assert mirror.catch_up() == 3
    assert mirror.catch_up() == 0
    listed = deployment.listed(f"/organizations/{organization}/users")
    assert {(row[1], row[2], bool(row[5])) for row in rows(connection, "gateway_users")} == {
        (each["id"], each["user_name"], each["active"]) for each in listed
    }
    assert [row[1:] for row in rows(connection, "gateway_memberships")] == [(pushed, users[0])]


def test_a_rewound_feed_is_followed_from_a_snapshot(scripted, connection, database, mirror):
    mirror.apply([user(9, "created", "u1", "ada@acme.test"), group(10, "created", "g1")])
    scripted.answer({"message": "A backup was restored."}, 410)
    scripted.answer(
        b'{"epoch": 8, "after": 3}\n'
        b'{"resource": "User", "data": {"id": "u2", "userName": "bob@acme.test", "active": true}}\n'
        b'{"resource": "Group", "data": {"id": "g2", "displayName": "Sales", "members": [{"value": "u2"}]}}\n'
        b'{"next": 3}\n'
    )
    scripted.page(next=3, epoch=8)
    following = Mirror(connection, quick(scripted.url, "token"), database[1])
    assert following.catch_up() == 0
    assert [row[1] for row in rows(connection, "gateway_users")] == ["u2"]
    assert [row[1:] for row in rows(connection, "gateway_memberships")] == [("g2", "u2")]
    assert positions(connection) == {ORGANIZATION: "8-3-org-1"}


def test_a_snapshot_that_breaks_off_is_begun_again(scripted, database, mirror, connection):
    mirror.apply([user(9, "created", "u1", "ada@acme.test")])
    begin = b'{"epoch": 8, "after": 3}\n'
    scripted.answer({"message": "A backup was restored."}, 410)
    scripted.answer(begin)
    scripted.answer({"message": "A backup was restored."}, 410)
    scripted.answer(begin + b'{"next": 3}\n')
    scripted.answer({"message": "Not here."}, 400)
    following = Mirror(connection, quick(scripted.url, "token"), database[1])
    with pytest.raises(UnexpectedAnswer):
        following.follow()
    assert copy(connection) == [[], [], []]
    assert len(scripted.requests) == 5


@pytest.mark.parametrize("seed", range(20))
def test_a_snapshot_that_is_newer_than_its_number_converges(scripted, connection, database, seed):
    """Each line of the snapshot may be as of any moment between its number and its end."""
    chance = random.Random(seed)
    history = random_history(chance, 40)
    middle, end = sorted(chance.sample(range(1, 40), 2))
    states = []
    for upto in range(middle, end + 1):
        scratch = sqlite3.connect(":memory:")
        Mirror(scratch).apply(history[:upto])
        states.append({(each["resource"], each["data"]["id"]): each for each in entries_of(scratch)})
        scratch.close()
    lines = [{"epoch": 7, "after": middle}]
    for name in sorted({name for state in states for name in state}):
        line = chance.choice(states).get(name)
        lines += [line] if line else []
    scripted.answer("\n".join(map(json.dumps, [*lines, {"next": middle}])).encode() + b"\n")
    mirror = Mirror(connection, quick(scripted.url, "token"), database[1])
    mirror.rebuild()
    mirror.apply(history[middle:])

    whole = sqlite3.connect(":memory:")
    Mirror(whole).apply(history)
    assert [row[:3] for row in rows(connection, "gateway_users")] == [
        row[:3] for row in rows(whole, "gateway_users")
    ]
    assert copy(connection)[1:] == copy(whole)[1:]
    whole.close()


def random_history(chance, length):
    """Events as a gateway has them: of users and groups that are there, with names that move from one to another."""
    users, groups, joined, events = {}, set(), set(), []
    for number in range(1, length + 1):
        kind = chance.choice(
            ["create", "create", "delete", "rename", "group", "ungroup", "join", "join", "leave"]
        )
        name = f"{chance.choice('abcd')}@acme.test"
        uid, gid = f"u{chance.randrange(6)}", f"g{chance.randrange(3)}"
        if kind == "create" or uid not in users:
            events.append(user(number, "updated" if uid in users else "restored", uid, name))
            users[uid] = name
        elif kind == "delete":
            events.append(user(number, "deleted", uid, users.pop(uid), active=False))
            joined = {pair for pair in joined if pair[1] != uid}
        elif kind == "rename":
            users[uid] = name
            events.append(user(number, "updated", uid, name))
        elif kind == "group" or gid not in groups:
            events.append(group(number, "updated" if gid in groups else "created", gid, name))
            groups.add(gid)
        elif kind == "ungroup":
            groups.discard(gid)
            joined = {pair for pair in joined if pair[0] != gid}
            events.append(group(number, "deleted", gid))
        elif kind == "join":
            joined.add((gid, uid))
            events.append(members(number, gid, added=[uid]))
        else:
            joined.discard((gid, uid))
            events.append(members(number, gid, removed=[uid]))
    return events
