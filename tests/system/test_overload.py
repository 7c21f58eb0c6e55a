"""More than can be done, or a database that cannot: refused soon in a sentence, nothing half done, nobody else hit."""

from __future__ import annotations

import gc
import http.client
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.demo.server import run_server
from gateway.scim.errors import TooManyRequests, Unavailable
from gateway.store import open_database
from gateway.testing import Deployment, Scim, engines
from gateway.testing.deployment import GROUP, PATCH, USER
from gateway.web.scim.rate_limit import BURST, RateLimit
from tests.support.tables import read_tables
from tests.support.timing import check_seconds

pytestmark = pytest.mark.slow

ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
#: Seconds within which a database that cannot serve is reported.
SOON = 6.0


def check_retry_after(answer: Any, headers: Any, status: int, says: str) -> None:
    """A SCIM error with whole seconds."""
    assert answer.status == status, answer.text
    assert (answer.json["schemas"], answer.json["status"]) == ([ERROR], str(status))
    assert says in answer.json["detail"]
    assert headers["Content-Type"].startswith("application/scim+json")
    assert 1 <= int(headers["Retry-After"]) <= 60
    check_seconds(answer.seconds, SOON)


# The limit of requests ------------------------------------------------------------------------------------------

RATE, WORKERS, FLOODERS = 5, 2, 6


class Client(threading.Thread):
    """Creates users over one connection that stays open, until the test stops it; what it was answered."""

    def __init__(self, url: str, scim: Scim, name: str, pause: float, size: int = 10) -> None:
        super().__init__(name=name)
        self._address, self._base, self._token = urlsplit(url).netloc, scim.base, scim.token
        self._pause, self._size = pause, size
        self.over = threading.Event()
        self.answers: list[tuple[int, str | None, float]] = []
        self.broken: list[Exception] = []

    def run(self) -> None:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/scim+json"}
        with closing(http.client.HTTPConnection(self._address, timeout=20)) as connection:
            while not self.over.is_set():
                user = {
                    "schemas": [USER],
                    "userName": f"{self.name}-{len(self.answers)}@acme.test",
                    "active": True,
                }
                # Blanks make a large body of a small user.
                body = json.dumps(user) + " " * self._size
                begun = time.perf_counter()
                try:
                    connection.request("POST", f"{self._base}/Users", body, headers)
                    answer = connection.getresponse()
                    answer.read()
                except (OSError, http.client.HTTPException) as error:
                    self.broken.append(error)
                    connection.close()
                    continue
                self.answers.append(
                    (answer.status, answer.headers["Retry-After"], time.perf_counter() - begun)
                )
                time.sleep(self._pause)

    def statuses(self) -> Counter[int]:
        return Counter(status for status, _, _ in self.answers)


def test_one_connection_in_a_storm_starves_no_other(
    tmp_path: Path, audit: Callable[[Deployment], None]
) -> None:
    """A real server with several workers. All are refused over connections that stay open, large bodies or small."""
    deployment = Deployment(tmp_path / "instance")
    wild = deployment.connection("generic", deployment.organization())
    calm = deployment.connection("generic", deployment.organization("Other"))
    limits = {"GATEWAY_RATE_LIMIT": str(RATE), "GATEWAY_WORKERS": str(WORKERS)}
    with run_server(deployment.environment | limits, tmp_path / "log") as url:
        flood = [Client(url, wild, f"wild{number}", 0, 10 ** (1 + number)) for number in range(FLOODERS)]
        other = Client(url, calm, "calm", 2 / RATE)
        begun = time.monotonic()
        for client in (*flood, other):
            client.start()
        time.sleep(4)
        for client in (*flood, other):
            client.over.set()
            client.join(20)
        took = time.monotonic() - begun
    storm = sum((client.statuses() for client in flood), Counter[int]())
    assert [client.broken for client in (*flood, other)] == [[]] * (FLOODERS + 1)
    assert set(other.statuses()) == {201}
    assert max(seconds for _, _, seconds in other.answers) < 1.5
    assert set(storm) == {201, 429}
    # Each worker lets a burst in, and then its share of the limit.
    assert RATE * BURST <= storm[201] <= WORKERS * RATE * BURST + RATE * took + WORKERS
    waits = {wait for client in flood for status, wait, _ in client.answers if status == 429}
    assert waits == {"1"}
    # Every one of them is in the activity, though none was written by itself.
    reported = deployment.activity(wild.organization, outcome="failure")
    assert Counter(line.status for line in reported) == {429: storm[429]}
    assert deployment.used(wild.organization) == storm[201]
    audit(deployment)
    deployment.close()


def test_a_request_too_many_does_nothing_bulk_neither(
    tmp_path: Path, audit: Callable[[Deployment], None]
) -> None:
    deployment = Deployment(tmp_path / "instance", rate_limit=1)
    scim = deployment.connection("generic")
    user = scim.user()
    for _ in range(BURST - 1):
        assert scim.call("GET", "/Users?count=0").status == 200
    one = {
        "method": "POST",
        "path": "/Users",
        "bulkId": "1",
        "data": {"schemas": [USER], "userName": "n@acme.test"},
    }
    bulk = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": [one]}
    for method, path, body in (
        ("POST", "/Bulk", bulk),
        ("PUT", f"/Users/{user['id']}", {**user, "title": "New"}),
        ("DELETE", f"/Users/{user['id']}", None),
        ("GET", "/Users", None),
    ):
        check_retry_after(
            scim.call(method, path, body),
            deployment.last_headers,
            429,
            "Nothing was changed; try again after 1 second.",
        )
    time.sleep(1.1)
    assert scim.call("GET", f"/Users/{user['id']}").json == user
    audit(deployment)
    deployment.close()


def test_threads_that_come_at_once_share_one_bucket(together: Any, deployment: Deployment) -> None:
    limits, admitted = RateLimit(7, 1, lambda: 100.0), Counter[int]()

    def come(number: int) -> None:
        for _ in range(100):
            with suppress(TooManyRequests):
                limits.admit("acme")
                admitted[number] += 1

    together(deployment, [lambda number=number: come(number) for number in range(8)])
    assert admitted.total() == 7 * BURST


# SQLite's one lock ----------------------------------------------------------------------------------------------


@pytest.mark.sqlite
def test_garbage_collected_under_the_write_lock_stalls_nobody(deployment: Deployment, together: Any) -> None:
    """Cursors of all threads end as garbage that whoever has the write lock collects. Without the queue of writers
    before that lock, all would stand still until the busy timeout: the collector waits for a connection whose owner
    waits in it for the lock."""
    database, refused = deployment.gateway.store.database, []
    slowest = [0.0] * 8

    def write(thread: int) -> None:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            begun = time.perf_counter()
            try:
                with database.transaction():
                    gc.collect()
                    # In a circle, and with a row left that nobody reads.
                    left: list[Any] = [database.peewee.execute_sql("VALUES (1), (2)")]
                    left.append(left)
            except Unavailable as refusal:
                refused.append(refusal.detail)
            slowest[thread] = max(slowest[thread], time.perf_counter() - begun)

    together(deployment, [lambda thread=thread: write(thread) for thread in range(8)])
    assert refused == []
    check_seconds(max(slowest), 2.5)


# A PostgreSQL that cannot ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL of its own: what is done to it hits no other test."""
    with engines.server() as url:
        yield url


@contextmanager
def on(server: str, folder: Path) -> Iterator[Scim]:
    """A connection of a deployment on that server."""
    deployment = Deployment(folder / "instance", database_url=server, secret_key="a-key-for-tests-only" * 2)
    scim = deployment.connection("generic")
    assert scim.user()
    yield scim
    deployment.close()


@pytest.mark.postgresql
def test_a_server_without_a_connection_left_is_told_soon_and_serves_again(
    server: str, tmp_path: Path
) -> None:
    """Whoever is connected already goes on; who is not hears 503."""
    with on(server, tmp_path) as scim, ExitStack() as taken:
        assert "too many clients" in take_all(server, taken)
        base, asked = scim.base, []

        def stranger() -> None:
            for method, body in (("GET", None), ("POST", {"schemas": [USER], "userName": "n@acme.test"})):
                asked.append(
                    scim.deployment.call(method, f"{base}/Users", body, {"Authorization": scim.token})
                )
                check_retry_after(
                    asked[-1],
                    scim.deployment.last_headers,
                    503,
                    "the database has no connection left. Nothing was changed",
                )
            assert scim.deployment.app.test_client().get("/ready").status_code == 503

        thread = Caught(stranger)
        thread.start()
        thread.join(30)
        assert thread.failure is None
        assert len(asked) == 2
        assert scim.user("connected@acme.test")
        taken.close()
        assert scim.call("GET", "/Users?count=0").json["totalResults"] == 2


def take_all(server: str, taken: ExitStack) -> str:
    """Take every connection that a server gives; what it says to the next one."""
    import psycopg

    try:
        while True:
            taken.enter_context(psycopg.connect(server))
    except psycopg.OperationalError as refused:
        return str(refused)


class Caught(threading.Thread):
    """A thread whose failure is kept."""

    failure: BaseException | None = None

    def __init__(self, job: Callable[[], None]) -> None:
        super().__init__()
        self._job = job

    def run(self) -> None:
        try:
            self._job()
        except BaseException as failure:  # noqa: BLE001 - raised by the test
            self.failure = failure


@pytest.mark.postgresql
@pytest.mark.parametrize(
    ("setting", "whom"), [("ALTER ROLE frugal CONNECTION LIMIT 0", "role"), ("", "all but superusers")]
)
def test_an_account_without_a_connection_left_is_told_the_same(server: str, setting: str, whom: str) -> None:
    """Its own limit, or all that is left is kept for superusers."""
    import psycopg

    with psycopg.connect(server, autocommit=True) as operator, ExitStack() as taken:
        operator.execute("CREATE ROLE frugal LOGIN")
        try:
            url = urlsplit(server)
            there = {part.partition("=")[0] for part in url.query.split("&")}
            assert "user" not in there
            if setting:
                operator.execute(setting)
            frugal = url._replace(netloc=f"frugal@{url.netloc.rpartition('@')[2]}").geturl()
            if not setting:
                take_all(frugal, taken)
            database = open_database(frugal, "")
            with pytest.raises(Unavailable, match="the database has no connection left"):
                database.one("SELECT 1")
        finally:
            taken.close()
            operator.execute("DROP ROLE frugal")


@pytest.mark.postgresql
def test_a_commit_that_waits_for_a_standby_is_never_cut_short(server: str, tmp_path: Path) -> None:
    """A statement that takes too long is; a COMMIT that ended sooner would acknowledge what one disk has."""
    import psycopg

    with psycopg.connect(server, autocommit=True) as operator:
        url = f"{server}{'&' if '?' in server else '?'}options=-c%20statement_timeout%3D500"
        database = open_database(url, "")
        database.run("CREATE TABLE waits (id INTEGER)")
        operator.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        operator.execute("SELECT pg_reload_conf()")

        def write() -> None:
            with database.transaction():
                database.run("SET LOCAL synchronous_commit = on")
                database.run("INSERT INTO waits VALUES (1)")
            database.close()

        thread = Caught(write)
        try:
            time.sleep(0.3)
            thread.start()
            thread.join(2)
            assert thread.is_alive()
        finally:
            operator.execute("ALTER SYSTEM RESET synchronous_standby_names")
            operator.execute("SELECT pg_reload_conf()")
        thread.join(10)
        assert (thread.is_alive(), thread.failure) == (False, None)
        operator.execute("DROP TABLE waits")
        database.close()


@pytest.mark.postgresql
def test_a_server_that_says_nothing_is_given_up_soon(server: str, tmp_path: Path) -> None:
    """It takes the connection and never answers, as a machine that hangs does."""
    import psycopg

    with psycopg.connect(server) as connection:
        (folder,) = connection.execute("SHOW data_directory").fetchone()
    pid = int((Path(folder) / "postmaster.pid").read_text().split()[0])
    with on(server, tmp_path) as scim:
        database, base = scim.deployment.gateway.store.database, scim.base
        for method, body in (("GET", None), ("POST", {"schemas": [USER], "userName": "n@acme.test"})):
            os.kill(pid, signal.SIGSTOP)
            try:
                database.close()
                answer = scim.deployment.call(method, f"{base}/Users", body, {"Authorization": scim.token})
                check_retry_after(answer, scim.deployment.last_headers, 503, "does not answer")
            finally:
                os.kill(pid, signal.SIGCONT)
        assert scim.user("later@acme.test")


# In the last moment ---------------------------------------------------------------------------------------------


def writes(user: dict[str, Any], group: str) -> list[tuple[str, str, Any]]:
    """Every kind of write."""
    inside = [{"op": "add", "path": "members", "value": [{"value": user["id"]}]}]
    leaving = [{"op": "replace", "value": {"active": False}}]
    return [
        ("POST", "/Users", {"schemas": [USER], "userName": "n@acme.test", "emails": [{"value": "n@acme.test"}]}),
        ("PUT", f"/Users/{user['id']}", {**user, "title": "Changed"}),
        ("PATCH", f"/Users/{user['id']}", {"schemas": [PATCH], "Operations": leaving}),
        ("POST", "/Groups", {"schemas": [GROUP], "displayName": "New", "members": [{"value": user["id"]}]}),
        ("PATCH", f"/Groups/{group}", {"schemas": [PATCH], "Operations": inside}),
        ("PUT", f"/Groups/{group}", {"schemas": [GROUP], "displayName": "Changed"}),
        ("DELETE", f"/Groups/{group}", None),
        ("DELETE", f"/Users/{user['id']}", None),
    ]  # fmt: skip


def stored(deployment: Deployment) -> dict[str, list[str]]:
    """Everything that a write could have touched."""
    tables = read_tables(
        deployment, "organizations", "users", "emails", "groups", "grants", "waiting_members", "events", "tallies",
        "activity",
    )  # fmt: skip
    # The worker counts refusals of an outage a second after the last of them: on a slow machine in mid-test.
    tables["activity"] = [line for line in tables["activity"] if "could not serve these requests" not in line]
    return tables


@pytest.mark.postgresql
@pytest.mark.parametrize(
    "error",
    [
        "ERRCODE = '40001'",
        "ERRCODE = '40P01'",
        "ERRCODE = 'XX000', MESSAGE = 'new multixact has more than one updating member: 0 2[8 (…), 9 (…)]'",
    ],
)
def test_a_change_that_another_one_was_in_the_way_of_is_told_again(
    deployment: Deployment, scim: Scim, audit: Callable[[Deployment], None], error: str
) -> None:
    user, group = scim.user(), scim.group()["id"]
    database = deployment.gateway.store.database
    database.run("CREATE SEQUENCE failures")
    database.run(
        "CREATE FUNCTION fail_twice() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        f" IF nextval('failures') > 2 THEN RETURN NEW; END IF; RAISE EXCEPTION USING {error}; END$$"
    )
    database.run(
        "CREATE TRIGGER failing BEFORE UPDATE ON organizations FOR EACH ROW EXECUTE FUNCTION fail_twice()"
    )
    for method, path, body in writes(user, group):
        database.run("ALTER SEQUENCE failures RESTART")
        assert scim.call(method, path, body).status in (200, 201, 204), f"{method} {path}"
    database.run("DROP TRIGGER failing ON organizations")
    database.run("DROP FUNCTION fail_twice")
    database.run("DROP SEQUENCE failures")
    audit(deployment)


@pytest.mark.postgresql
@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("53100", "the disk is full"),
        ("53200", "the database lacks memory or disk"),
        ("57014", "the database takes too long"),
        ("57P01", "the database is being restarted"),
        ("58030", "the disk does not answer"),
    ],
)
def test_what_fails_at_the_last_statement_or_at_the_commit_leaves_nothing(
    deployment: Deployment, scim: Scim, audit: Callable[[Deployment], None], code: str, says: str
) -> None:
    user, group = scim.user(), scim.group()["id"]
    database = deployment.gateway.store.database
    deployment.gateway.activity_writer.flush()
    database.run(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
        f" 'BEGIN RAISE EXCEPTION USING ERRCODE = ''{code}''; END'"
    )
    for moment in ("TRIGGER", "CONSTRAINT TRIGGER"):
        late = "DEFERRABLE INITIALLY DEFERRED" if "CONSTRAINT" in moment else ""
        before = stored(deployment)
        database.run(
            f"CREATE {moment} failing AFTER INSERT ON activity {late} FOR EACH ROW EXECUTE FUNCTION fail()"
        )
        for method, path, body in writes(user, group):
            check_retry_after(scim.call(method, path, body), deployment.last_headers, 503, says)
            assert "Nothing was changed" in scim.call(method, path, body).json["detail"]
        database.run("DROP TRIGGER failing ON activity")
        assert stored(deployment) == before
    database.run("DROP FUNCTION fail")
    for method, path, body in writes(user, group):
        assert scim.call(method, path, body).status in (200, 201, 204), f"{method} {path}"
    audit(deployment)
