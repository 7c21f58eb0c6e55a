"""A database that does not serve leaves a trace: two lines in the log, and one in the activity of each connection."""

from __future__ import annotations

import logging
import re
import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.provisioning import outages
from gateway.scim.errors import Unavailable
from gateway.store.ids_and_time import now
from gateway.testing import Deployment, Scim, engines
from gateway.testing.deployment import USER

pytestmark = pytest.mark.slow

Away = Callable[[], Any]
PERSON = {"schemas": [USER], "userName": "late@acme.test"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL of its own: when it is stopped, no other test is hit."""
    with engines.server() as url:
        yield url


@pytest.fixture
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    """A deployment whose database can be taken away."""
    settings = {}
    if engines.is_postgresql():
        settings = {"database_url": request.getfixturevalue("server"), "secret_key": "k" * 40}
    deployment = Deployment(tmp_path / "instance", **settings)
    yield deployment
    deployment.close()


@pytest.fixture
def away(deployment: Deployment) -> Away:
    """Takes the database away until the end: PostgreSQL is stopped; the disk takes nothing more of SQLite's log."""
    if engines.is_postgresql():
        return lambda: engines.stop_server(deployment.gateway.config.database_url)

    return lambda: no_disk(deployment)


@contextmanager
def no_disk(deployment: Deployment) -> Iterator[None]:
    """No file of this process grows beyond what SQLite's log has now: every change is an error of the disk."""
    log = deployment.gateway.config.instance / "gateway.sqlite3-wal"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def locked(deployment: Deployment) -> Iterator[None]:
    """Another process holds SQLite's write lock until the end."""
    database = deployment.gateway.store.database
    with closing(sqlite3.connect(deployment.gateway.config.instance / "gateway.sqlite3")) as other:
        other.execute("BEGIN IMMEDIATE")
        database.limit_waits(0.1)  # of this thread, instead of five seconds for each request
        yield
        database.limit_waits(None)


def post(scim: Scim, base: str, token: str) -> int:
    """The status of a create. The base URL is given, for the database may be away."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/scim+json"}
    return scim.deployment.call("POST", f"{base}/Users", PERSON, headers).status


def log_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "gateway" and record.levelno >= logging.WARNING
    ]


def back(caplog: pytest.LogCaptureFixture) -> bool:
    """Whether the worker finds out soon that the database serves again."""
    until = time.monotonic() + 15
    while not any("serves again" in line for line in log_of(caplog)) and time.monotonic() < until:
        time.sleep(0.05)
    return any("serves again" in line for line in log_of(caplog))


def test_an_outage_is_one_line_of_each_connection_and_two_of_the_log(
    deployment: Deployment, away: Away, caplog: pytest.LogCaptureFixture
) -> None:
    acme, other = deployment.organization(), deployment.organization("Other")
    okta, entra = deployment.connection("okta", acme), deployment.connection("entra", other)
    quiet = deployment.connection("okta", other)
    bases = {scim.uid: scim.base for scim in (okta, entra)}
    deployment.gateway.activity_writer.flush()
    caplog.clear()
    before = now()
    with away():
        for scim, times in ((okta, 4), (entra, 2)):
            assert {post(scim, bases[scim.uid], scim.token) for _ in range(times)} == {503}
        # Strangers are distinguished from customers once somebody can be looked up.
        strange = {post(okta, f"/scim/v2/okta-nobody{n}", "wrong") for n in range(3)}
        assert strange == ({503} if engines.is_postgresql() else {401})
    assert back(caplog)

    first, last = log_of(caplog)
    what = (
        "the database "
        if engines.is_postgresql()
        else "the disk does not answer; requests are refused with 503"
    )
    assert first.startswith(f"the database does not serve: {what}")
    reported = re.fullmatch(
        r"the database serves again after (\d+) s; (\d+) requests were refused: 6 of 2 connections, whose activity"
        r" counts them, and (\d+) others",
        last,
    )
    assert reported, last
    strangers = 3 if engines.is_postgresql() else 0
    assert (int(reported[2]), int(reported[3])) == (6 + strangers, strangers)
    for organization, scim, times in ((acme, okta, 4), (other, entra, 2)):
        (line,) = deployment.activity(organization, outcome="failure")
        assert (line.connection_uid, line.status, line.times) == (scim.uid, 503, times)
        assert before < line.first_at < line.at < now()
        assert (line.operation, line.principal, line.user) == ("POST /Users", None, None)
        assert "run them again there" in line.detail
        assert sum(day.refused for day in deployment.gateway.history.calls_by_day(organization)) == times
    assert quiet.uid not in {line.connection_uid for line in deployment.activity(other, outcome="failure")}
    (shown,) = deployment.admin("GET", f"/organizations/{acme.uid}/activity?outcome=failure").json["items"]
    assert (shown["count"], shown["status"]) == (4, 503)
    assert post(okta, bases[okta.uid], okta.token) == 201


def test_what_strangers_call_is_bounded(
    deployment: Deployment, away: Away, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "MAX_SLUGS", 5)
    okta = deployment.connection("okta", deployment.organization())
    base = okta.base
    deployment.gateway.activity_writer.flush()
    caplog.clear()
    with away():
        assert post(okta, base, okta.token) == 503
        for number in range(20):
            post(okta, f"/scim/v2/{'x' * 300}{number}", "wrong")
            post(okta, f"/scim/v2/nobody-{number}", "wrong")
            assert len(deployment.gateway.outages.pending(True) or {}) <= 5
    assert back(caplog)
    (line,) = deployment.activity(okta.organization, outcome="failure")
    assert line.times == 1
    others = 40 if engines.is_postgresql() else 0
    assert f"{1 + others} requests were refused: 1 of 1 connections" in log_of(caplog)[-1]


@pytest.mark.postgresql
def test_health_checks_begin_an_outage_and_are_no_refused_requests(
    deployment: Deployment, away: Away, caplog: pytest.LogCaptureFixture
) -> None:
    with away():
        assert [deployment.call("GET", "/ready", None, {}).status for _ in range(3)] == [503] * 3
    assert back(caplog)
    assert "; 0 requests were refused" in log_of(caplog)[-1]


def test_what_admins_send_meanwhile_is_counted_in_the_log(
    deployment: Deployment, away: Away, caplog: pytest.LogCaptureFixture
) -> None:
    acme = deployment.organization()
    deployment.gateway.activity_writer.flush()
    path = f"/organizations/{acme.uid}/groups"
    with away():
        statuses = {deployment.admin("POST", path, {"name": f"Group {n}"}).status for n in range(2)}
    assert statuses == {503}
    assert back(caplog)
    assert "2 requests were refused: 0 of 0 connections" in log_of(caplog)[-1]


@pytest.mark.sqlite
def test_a_lock_is_no_outage_and_each_request_it_refused_has_a_line_of_its_own(
    deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever holds the lock is served; PostgreSQL reports a lock of an organization likewise."""
    okta = deployment.connection("okta", deployment.organization())
    user, base = okta.user("here@acme.test"), okta.base
    deployment.gateway.activity_writer.flush()
    caplog.clear()
    with locked(deployment):
        assert post(okta, base, okta.token) == 503
        assert okta.call("DELETE", f"/Users/{user['id']}").status == 503
    removal, create = deployment.activity(okta.organization, outcome="failure")
    reported = (
        "The gateway cannot serve this now: the database is busy. Nothing was changed; try again later."
    )
    for line in (create, removal):
        assert (line.status, line.times, line.detail, line.principal) == (503, 1, reported, "test")
        assert line.request_id
        assert line.connection_uid == okta.uid
    assert (create.operation, create.user) == ("POST /Users", "late@acme.test")
    assert (removal.operation, removal.target_uid) == ("DELETE /Users/{id}", user["id"])
    assert not [line for line in log_of(caplog) if "does not serve" in line]


@pytest.mark.sqlite
@pytest.mark.parametrize("shut", [locked, no_disk])
def test_what_is_stored_is_shown_while_nothing_can_be_written(
    deployment: Deployment, shut: Callable[[Deployment], AbstractContextManager[None]]
) -> None:
    acme = deployment.organization()
    okta = deployment.connection("okta", acme)
    okta.user()
    writer = deployment.gateway.activity_writer
    writer.flush()
    path = f"/organizations/{acme.uid}/activity"
    seen = deployment.admin("GET", path).json["items"]
    with shut(deployment):
        assert okta.call("GET", "/Users?count=1").status == 200  # whose line is gathered
        for shown in (path, "/activity"):
            answer = deployment.admin("GET", shown)
            assert (answer.status, len(answer.json["items"])) == (200, len(seen))
        assert deployment.admin("POST", f"/connections/{okta.uid}/test").status == 200
    newest, *others = deployment.admin("GET", path).json["items"]
    assert newest["operation"] == "GET /Users"
    assert others == seen


@pytest.mark.sqlite
def test_counts_of_strangers_that_could_not_be_written_are_added(deployment: Deployment) -> None:
    """Those that come while the earlier ones are being written are counted with them."""
    okta = deployment.connection("okta", deployment.organization())
    writer = deployment.gateway.activity_writer
    writer.flush()

    def flush_in_vain() -> None:
        with pytest.raises(Unavailable, match="busy"):
            writer._flush(True, 1.0)

    for _ in range(2):
        okta.call("GET", "/Users", token="wrong")
    with (
        locked(deployment),
        writer._flushing,
        ThreadPoolExecutor() as pool,
    ):  # the worker does not come between
        flushed = pool.submit(flush_in_vain)
        until = time.monotonic() + 10
        while writer._refusals:
            assert time.monotonic() < until, "nothing was taken to be written"
            time.sleep(0.001)
        okta.call("GET", "/Users", token="wrong")
        flushed.result(10)
    (line,) = deployment.activity(okta.organization, outcome="failure")
    assert line.times == 3


def test_what_is_left_to_write_begins_after_what_was_written(deployment: Deployment) -> None:
    okta = deployment.connection("okta", deployment.organization())
    outage, seen, trace = outages.Outage("the database is gone"), outages.Outages(), deployment.trace()
    trace.slug = okta.connection.slug
    seen.record(outage, trace)
    time.sleep(0.002)
    seen.record(outage, trace)
    written = seen.pending(True) or {}
    time.sleep(0.002)
    seen.record(outage, trace)
    time.sleep(0.002)
    seen.record(outage, trace)
    seen.confirm(written, {trace.slug: okta.uid})
    (left,) = (seen.pending(True) or {}).values()
    assert left.times == 2
    assert written[trace.slug].last < left.first < left.last


@pytest.mark.sqlite
def test_a_bulk_request_says_that_the_outage_counts_what_the_database_did_not_serve(
    deployment: Deployment, away: Away
) -> None:
    """A PostgreSQL that is away lets no bulk request past its token."""
    okta = deployment.connection("okta", deployment.organization())
    message = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
        "Operations": [{"method": "POST", "path": "/Users", "bulkId": "1", "data": PERSON}],
    }
    with away():
        assert okta.call("POST", "/Bulk", message).status == 200
    (line,) = [line for line in deployment.activity(okta.organization) if line.operation == "POST /Bulk"]
    assert "why, but for 1 for want of the database: the line of that outage counts those." in line.detail
    (counted,) = deployment.activity(okta.organization, outcome="failure")
    assert (counted.status, counted.times, counted.user) == (503, 1, None)


def test_requests_that_are_refused_while_the_rest_is_written_are_not_lost(deployment: Deployment) -> None:
    """The outage goes on until all of them are written."""
    okta = deployment.connection("okta", deployment.organization())
    database_outages, outage = deployment.gateway.outages, outages.Outage("the database is gone")
    trace = deployment.trace()
    trace.slug = okta.connection.slug
    database_outages.record(outage, trace)
    written = database_outages.pending(True)
    database_outages.record(outage, trace)
    database_outages.confirm(written or {}, {trace.slug: okta.uid})
    assert [held.times for held in (database_outages.pending(True) or {}).values()] == [1]
    (line,) = deployment.activity(okta.organization, outcome="failure")
    assert line.times == 1
    assert database_outages.pending(True) is None


def test_a_process_that_ends_before_says_what_is_lost(
    deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    outage = outages.Outages()
    outage.record(outages.Outage("the database is gone"), deployment.trace())
    outage.log_lost()
    outage.log_lost()
    assert log_of(caplog)[-1].endswith("1 requests were refused, which no activity counts")
    assert len(log_of(caplog)) == 2
