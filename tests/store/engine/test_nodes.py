"""What holds of every engine when several nodes are on one database. A node here is an application of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.scim.errors import Unavailable
from gateway.store import Store, WriteConflict, open_database
from gateway.store.engine.base import MIGRATIONS
from gateway.store.engine.statements import Steps
from gateway.store.records import UserRecord
from gateway.testing import Deployment, Scim
from gateway.testing.engines import is_postgresql

pytestmark = pytest.mark.slow

#: How long something is watched that must not happen.
A_WHILE = 0.3


@pytest.fixture
def other(deployment: Deployment, tmp_path: Path) -> Iterator[Deployment]:
    """A second node on the database of the first."""
    config = deployment.gateway.config
    node = Deployment(tmp_path / "other", database_url=config.database_url, secret_key=config.secret_key)
    yield node
    node.close()


@pytest.fixture
def nodes(deployment: Deployment, other: Deployment) -> list[Deployment]:
    """Both."""
    return [deployment, other]


@pytest.fixture
def at_once(nodes: list[Deployment]) -> Iterator[Callable[..., list[Future[Any]]]]:
    """Starts jobs at one moment, each in a thread of its own."""
    pools = []

    def start(*jobs: Callable[[], Any]) -> list[Future[Any]]:
        barrier = threading.Barrier(len(jobs))

        def work(job: Callable[[], Any]) -> Any:
            try:
                barrier.wait(30)
                return job()
            finally:
                for node in nodes:
                    node.gateway.store.database.close()

        pools.append(ThreadPoolExecutor(len(jobs)))
        return [pools[-1].submit(work, job) for job in jobs]

    yield start
    for pool in pools:
        pool.shutdown()


def seen_by(node: Deployment, scim: Scim) -> Scim:
    """The same connection, asked through another node."""
    return Scim(node, scim.uid, scim.token)


def limit(node: Deployment, scim: Scim, seats: int) -> None:
    """Set the seat limit as an admin does."""
    answer = node.admin("PATCH", f"/organizations/{scim.organization.uid}", {"seats": {"limit": seats}})
    assert answer.status == 200, answer.text


def before_it_writes(node: Deployment, act: Callable[[], Any]) -> list[Any]:
    """Act once, when this thread is about to write by this node; what came of it is in the list then."""
    database, mine, done, begun = (
        node.gateway.store.database,
        threading.get_ident(),
        list[Any](),
        list[bool](),
    )
    begin, run_change = database.transaction, database.run_change

    def once() -> None:
        if threading.get_ident() == mine and not begun:
            begun.append(True)
            done.append(act())

    @contextmanager
    def transaction(*arguments: Any, **named: Any) -> Iterator[Any]:
        once()
        with begin(*arguments, **named) as row:
            yield row

    def by_itself(*arguments: Any) -> Any:
        once()
        return run_change(*arguments)

    database.run_change = by_itself  # type: ignore[method-assign]
    database.transaction = transaction  # type: ignore[method-assign]
    return done


# Seats and the policy number -------------------------------------------------------------------------------------


def test_nodes_share_the_seats_exactly(nodes: list[Deployment], at_once: Any) -> None:
    acme = nodes[0].organization(seats=5)
    scim = nodes[0].connection("generic", acme)

    def create(number: int) -> Callable[[], int]:
        user = {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "userName": f"user{number}@acme.test",
        }
        return lambda: seen_by(nodes[number % 2], scim).call("POST", "/Users", user).status

    statuses = Counter(job.result(60) for job in at_once(*map(create, range(24))))
    assert statuses == {201: 5, 403: 19}
    assert [node.used(acme) for node in nodes] == [5, 5]
    numbers = [record.seq for record in nodes[1].gateway.store.events.page(acme.id, 0, 100)]
    assert numbers == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("before", "meanwhile", "status"), [(2, 1, 403), (1, 2, 201)])
def test_what_one_node_judged_by_is_noticed_when_another_changes_it(
    nodes: list[Deployment], at_once: Any, before: int, meanwhile: int, status: int
) -> None:
    """The limit moves after the first node has asked its plugins, and before it begins its transaction."""
    scim = nodes[0].connection("generic", nodes[0].organization(seats=before))
    scim.user("there@acme.test")
    done = before_it_writes(nodes[0], lambda: at_once(lambda: limit(nodes[1], scim, meanwhile))[0].result(30))
    user = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "user1@acme.test"}
    answer = scim.call("POST", "/Users", user)
    assert done
    assert answer.status == status, answer.text
    assert nodes[1].used(scim.organization) == (2 if status == 201 else 1)


def test_a_create_that_waited_for_a_deletion_restores_whom_it_means(
    nodes: list[Deployment], at_once: Any
) -> None:
    """Between the two moments it looked at a user who was still there."""
    scim = nodes[0].connection("generic")
    there, memberships = scim.user("there@acme.test")["id"], nodes[1].gateway.store.memberships
    deleting, go_on, drop = threading.Event(), threading.Event(), memberships.drop_user

    def slow(*arguments: Any) -> Any:
        deleting.set()
        assert go_on.wait(30)
        return drop(*arguments)

    memberships.drop_user = slow  # type: ignore[method-assign]
    (deleted,) = at_once(lambda: seen_by(nodes[1], scim).call("DELETE", f"/Users/{there}").status)
    assert deleting.wait(30)
    user = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "there@acme.test"}
    (created,) = at_once(lambda: scim.call("POST", "/Users", user))
    time.sleep(0.3)
    assert not created.done()
    go_on.set()
    assert (deleted.result(30), created.result(30).status) == (204, 201)
    assert created.result(30).json["id"] == there


# Groups and the number of moves ----------------------------------------------------------------------------------


JOINS = {"op": "add", "path": "members", "value": [{"value": "{user}"}]}
LEAVES = {"op": "remove", "path": 'members[value eq "{user}"]'}


@pytest.mark.parametrize(
    ("case", "method", "path", "operation", "groups"),
    [
        ("joins", "PATCH", "/Groups/{free}", JOINS, {"Sales", "Free"}),
        ("leaves", "PATCH", "/Groups/{sales}", LEAVES, set()),
        (
            "renamed",
            "PATCH",
            "/Groups/{sales}",
            {"op": "replace", "value": {"displayName": "EMEA"}},
            {"EMEA"},
        ),
        ("removed", "DELETE", "/Groups/{sales}", None, set()),
        (
            "changed",
            "PATCH",
            "/Users/{user}",
            {"op": "replace", "value": {"userName": "boss@acme.test"}},
            {"Sales"},
        ),
        ("another joins", "PATCH", "/Groups/{free}", JOINS | {"value": [{"value": "{other}"}]}, {"Sales"}),
    ],
)
@pytest.mark.parametrize("waits", [False, True], ids=["before it writes", "while it waits"])
def test_what_a_change_of_a_user_tells_of_its_groups_is_so_by_then(
    nodes: list[Deployment], at_once: Any, case: str, method: str, path: str,
    operation: dict[str, Any] | None, groups: set[str], waits: bool,
) -> None:  # fmt: skip
    """Another node moves the user after this one has read it, and is done, or holds the organization yet."""
    scim = nodes[0].connection("generic")
    ids = {"user": scim.user()["id"], "other": scim.user("other@acme.test")["id"]}
    ids |= {"sales": scim.group("Sales", (ids["user"],))["id"], "free": scim.group("Free")["id"]}
    filled = json.loads(re.sub(r"{(\w+)}", lambda name: ids[name[1]], json.dumps(operation)))
    settled, go_on = threading.Event(), threading.Event()
    database = nodes[1].gateway.store.database
    run_change = database.run_change

    def slow(steps: Steps) -> Any:
        """In the transaction, which has the organization from its beginning on."""
        settled.set()
        assert go_on.wait(30)
        return run_change(steps)

    def move() -> int:
        other, target = seen_by(nodes[1], scim), path.format(**ids)
        return (other.patch(target, filled) if filled else other.call(method, target)).status

    def meanwhile() -> Any:
        (moving,) = at_once(move)
        if not waits:
            return moving.result(30)
        assert settled.wait(30)
        threading.Timer(0.2, go_on.set).start()
        return moving

    if waits:
        database.run_change = slow  # type: ignore[method-assign]
    done = before_it_writes(nodes[0], meanwhile)
    answer = scim.patch(f"/Users/{ids['user']}", {"op": "replace", "value": {"displayName": "Renamed"}})
    assert (done[0].result(30) if waits else done[0]) in (200, 204)
    assert answer.status == 200, answer.text
    reported = [data for kind, data in nodes[0].events(scim.organization) if kind == "user.updated"][-1]
    read = scim.call("GET", f"/Users/{ids['user']}").json
    for shown in (answer.json, reported, read):
        assert {group["display"] for group in shown.get("groups", ())} == groups
        assert shown["displayName"] == "Renamed"
        assert shown["userName"] == ("boss@acme.test" if case == "changed" else "user1@acme.test")


# Migrations ------------------------------------------------------------------------------------------------------


#: Ten processes that begin at one moment.
TEN = """
import os, sys
from gateway.app import build
from gateway.cli import main
from gateway.config import load
build(load())  # what takes long is imported once, and connects to nothing
gate, opens = os.pipe()
children = []
for _ in range(10):
    child = os.fork()
    if not child:
        os.close(opens)
        os.read(gate, 1)
        main(["migrate"])
    children.append(child)
os.close(opens)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def test_ten_processes_migrate_an_empty_database_and_one_of_them_does_it(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "instance")
    environment, url = deployment.environment, deployment.gateway.config.database_url
    place = deployment.gateway.store.database.place
    deployment.close()
    empty(url)

    done = subprocess.run(
        [sys.executable, "-c", TEN], env=environment, capture_output=True, text=True, timeout=120
    )
    # Each names the database that it used, and says nothing else there.
    assert (done.returncode, done.stderr.splitlines()) == (0, [f"Database: {place}"] * 10), done
    said = Counter(line.split(" ")[0] for line in done.stdout.splitlines())
    assert said == {"Applied": len(list(MIGRATIONS.glob("0*.py"))), "Nothing": 9}, done.stdout

    again = Deployment(tmp_path / "instance")
    try:
        assert again.gateway.store.database.pending_migrations() == []
        assert again.connection("generic").user()["userName"] == "user1@acme.test"
    finally:
        again.close()


def empty(url: str) -> None:
    """A database as it is before the first migration."""
    if url.startswith("sqlite:///"):
        for file in Path(url.removeprefix("sqlite:///")).parent.glob("gateway.sqlite3*"):
            file.unlink()
        return
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")


# Locks -----------------------------------------------------------------------------------------------------------


def test_a_task_is_done_on_one_node_at_a_time(nodes: list[Deployment]) -> None:
    one, other = (node.gateway.store.database for node in nodes)

    def free(task: str) -> bool:
        with other.only_one(task) as mine:
            return mine

    with one.only_one("test") as mine:
        assert mine
        assert not free("test")
        assert free("another")
        with one.only_one("test") as again:
            assert not again
    assert free("test")
    with pytest.raises(ZeroDivisionError), one.only_one("test"):
        raise ZeroDivisionError
    assert free("test")


def test_nodes_that_note_the_same_tokens_do_not_wait_for_each_other_in_a_circle(
    nodes: list[Deployment], at_once: Callable[..., list[Future[Any]]]
) -> None:
    """Each in the order in which it saw them used; a deadlock would be `WriteConflict`."""
    scim = nodes[0].connection("generic")
    one, other = (node.gateway.store for node in nodes)
    tokens = [one.tokens.add(scim.connection, f"token {number}", None)[0].uid for number in range(100)]

    def note(store: Store, moment: int, uids: list[str]) -> None:
        with store.transaction():
            store.tokens.record_use([(moment, uid) for uid in uids])

    for moment in range(1, 6):
        for done in at_once(
            lambda moment=moment: note(one, moment, tokens),
            lambda moment=moment: note(other, moment, tokens[::-1]),
        ):
            done.result(30)
        seen = {
            token.last_used for token in one.tokens.by_connection(scim.connection) if token.uid in set(tokens)
        }
        assert seen == {moment}


@pytest.fixture
def inside(deployment: Deployment) -> Iterator[Callable[..., threading.Event]]:
    """Opens a transaction on another node, in a thread; the event that it has begun. It ends at once."""
    config, threads = deployment.gateway.config, []
    database = open_database(config.database_url, config.sqlite_synchronous)

    def begin(organization_id: int) -> threading.Event:
        begun = threading.Event()

        def work() -> None:
            try:
                with database.transaction(organization_id=organization_id):
                    begun.set()
            finally:
                database.close()

        threads.append(threading.Thread(target=work))
        threads[-1].start()
        return begun

    yield begin
    for thread in threads:
        thread.join(30)


def test_changes_of_one_organization_follow_each_other_on_all_nodes(
    deployment: Deployment, inside: Any
) -> None:
    acme, zenith = (deployment.organization(name) for name in ("Acme", "Zenith"))
    with deployment.gateway.store.transaction(organization_id=acme.id):
        same, another = inside(acme.id), inside(zenith.id)
        # SQLite has one writer at a time, whatever it writes.
        assert another.wait(5 if is_postgresql() else A_WHILE) == is_postgresql()
        assert not same.wait(A_WHILE)
    assert same.wait(10)
    assert another.wait(10)


def test_a_transaction_joins_an_organization_while_it_runs(deployment: Deployment, inside: Any) -> None:
    """One that named none at its beginning waits, and is waited for, from there on."""
    acme, store = deployment.organization(), deployment.gateway.store
    with store.transaction():
        with store.transaction(organization_id=acme.id):
            pass
        same = inside(acme.id)
        assert not same.wait(A_WHILE)
    assert same.wait(10)


def test_who_waits_for_an_organization_has_so_much_patience(deployment: Deployment, at_once: Any) -> None:
    acme, config = deployment.organization(), deployment.gateway.config
    database = open_database(config.database_url, config.sqlite_synchronous)

    def wait() -> None:
        try:
            with database.transaction(0.2, organization_id=acme.id):
                raise AssertionError("two are inside")
        finally:
            database.close()

    with deployment.gateway.store.transaction(organization_id=acme.id), pytest.raises(Unavailable):
        at_once(wait)[0].result(30)


# Values that are taken -------------------------------------------------------------------------------------------


def test_of_two_who_take_one_name_on_two_nodes_one_gets_it(nodes: list[Deployment], at_once: Any) -> None:
    acme = nodes[0].organization()
    scims = [nodes[0].connection("generic", acme) for _ in nodes]
    users = [scim.user(f"user{number}@acme.test")["id"] for number, scim in enumerate(scims)]

    def rename(number: int, name: str) -> Callable[[], int]:
        operation = {"op": "replace", "value": {"userName": name}}
        scim = seen_by(nodes[number], scims[number])
        return lambda: scim.patch(f"/Users/{users[number]}", operation).status

    for turn in range(10):
        name = f"{'wanted' if turn % 2 else 'WANTED'}{turn}@acme.test"
        assert sorted(job.result(30) for job in at_once(rename(0, name), rename(1, name))) == [200, 409]
    taken = [
        scim.call("GET", f"/Users/{user}").json["userName"] for scim, user in zip(scims, users, strict=True)
    ]
    assert "wanted9@acme.test" in taken
    assert len(set(taken)) == 2


@pytest.mark.postgresql
def test_a_value_that_another_transaction_took_makes_this_one_begin_anew(
    deployment: Deployment, at_once: Any
) -> None:
    """The operation finds the value taken then, and says by whom."""
    scim, store = deployment.connection("generic"), deployment.gateway.store
    config, acme, connection = deployment.gateway.config, scim.organization, scim.connection
    second = Store(open_database(config.database_url, ""), config.secret_key)
    first_user, second_user = (user_of(scim, f"user{number}@acme.test") for number in (1, 2))
    document = {"userName": "wanted@acme.test", "active": True}
    began = threading.Event()

    def take() -> None:
        try:
            with second.transaction():
                began.set()
                second.users.rewrite(acme.id, connection.id, second_user, document)
        finally:
            second.database.close()

    with store.transaction():
        assert store.users.rewrite(acme.id, connection.id, first_user, document)
        (taking,) = at_once(take)
        assert began.wait(10)
        with pytest.raises(TimeoutError):
            taking.result(A_WHILE)
    with pytest.raises(WriteConflict):
        taking.result(30)
    assert scim.call("GET", f"/Users/{second_user.uid}").json["userName"] == "user2@acme.test"


@pytest.mark.sqlite
def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    # An address of its own, for a deployment may begin with a copy of an empty database.
    deployment = Deployment(tmp_path / "instance", database_url=f"sqlite:///{tmp_path / 'new.sqlite3'}")
    deployment.connection("generic").user()
    modes = [file.stat().st_mode & 0o777 for file in tmp_path.glob("*.sqlite3*")]
    deployment.close()
    assert modes == [0o600] * 3  # with what is written ahead, and its index


def user_of(scim: Scim, name: str) -> UserRecord:
    """A new user, as it is stored."""
    found = scim.deployment.gateway.store.users.of(scim.organization, scim.user(name)["id"])
    assert found
    return found
