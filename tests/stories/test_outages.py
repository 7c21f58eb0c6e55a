"""A database that does not serve leaves a trace: two lines in the log, and one in the activity of each connection."""

from __future__ import annotations

import logging
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.provisioning import outages
from gateway.store.clock import now
from gateway.testing import Deployment, Scim, engines
from gateway.testing.deployment import USER

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
    """Takes the database away until the end: PostgreSQL is stopped, SQLite locked longer than anybody waits."""
    if engines.is_postgresql():
        return lambda: engines.stopped(deployment.gateway.config.database_url)

    @contextmanager
    def locked() -> Iterator[None]:
        database = deployment.gateway.store.database
        with closing(sqlite3.connect(deployment.gateway.config.instance / "gateway.sqlite3")) as other:
            other.execute("BEGIN IMMEDIATE")
            database.limit_waits(0.1)  # of this thread, instead of five seconds for each request
            yield
            database.limit_waits(None)

    return locked


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
    deployment.gateway.recorder.flush()
    caplog.clear()
    before = now()
    with away():
        for scim, times in ((okta, 4), (entra, 2)):
            assert {post(scim, bases[scim.uid], scim.token) for _ in range(times)} == {503}
        # Strangers are told apart from customers once somebody can be looked up.
        strange = {post(okta, f"/scim/v2/okta-nobody{n}", "wrong") for n in range(3)}
        assert strange == ({503} if engines.is_postgresql() else {401})
    assert back(caplog)

    first, last = log_of(caplog)
    assert first.startswith("the database does not serve: the database ")
    told = re.fullmatch(
        r"the database serves again after (\d+) s; (\d+) requests were refused: 6 of 2 connections, whose activity"
        r" counts them, and (\d+) others",
        last,
    )
    assert told, last
    strangers = 3 if engines.is_postgresql() else 0
    assert (int(told[2]), int(told[3])) == (6 + strangers, strangers)
    for organization, scim, times in ((acme, okta, 4), (other, entra, 2)):
        (line,) = deployment.activity(organization, outcome="failure")
        assert (line.connection_uid, line.status, line.times) == (scim.uid, 503, times)
        assert before < line.first_at < line.at < now()
        assert (line.operation, line.principal, line.user) == ("POST /Users", None, None)
        assert "run them again there" in line.detail
    assert quiet.uid not in {line.connection_uid for line in deployment.activity(other, outcome="failure")}
    (shown,) = deployment.admin("GET", f"/organizations/{acme.uid}/activity?outcome=failure").json["items"]
    assert (shown["count"], shown["status"]) == (4, 503)
    assert post(okta, bases[okta.uid], okta.token) == 201


def test_what_strangers_call_is_bounded(
    deployment: Deployment, away: Away, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "MOST_SLUGS", 5)
    okta = deployment.connection("okta", deployment.organization())
    base = okta.base
    deployment.gateway.recorder.flush()
    caplog.clear()
    recorder = deployment.gateway.recorder
    with away():
        assert post(okta, base, okta.token) == 503
        for number in range(20):
            post(okta, f"/scim/v2/{'x' * 300}{number}", "wrong")
            post(okta, f"/scim/v2/nobody-{number}", "wrong")
            assert len(recorder.outages.due(True) or {}) <= 5
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
    deployment.gateway.recorder.flush()
    path = f"/organizations/{acme.uid}/groups"
    with away():
        statuses = {deployment.admin("POST", path, {"name": f"Group {n}"}).status for n in range(2)}
    assert statuses == {503}
    assert back(caplog)
    assert "2 requests were refused: 0 of 0 connections" in log_of(caplog)[-1]


def test_requests_that_are_refused_while_the_rest_is_written_are_not_lost(deployment: Deployment) -> None:
    """The outage goes on until all of them are written."""
    okta = deployment.connection("okta", deployment.organization())
    recorder, outage = deployment.gateway.recorder, outages.Outage("the database is gone")
    trace = deployment.trace()
    trace.slug = okta.connection.slug
    recorder.outages.note(outage, trace)
    written = recorder.outages.due(True)
    recorder.outages.note(outage, trace)
    recorder.outages.served(written or {}, {trace.slug: okta.uid})
    assert [held.times for held in (recorder.outages.due(True) or {}).values()] == [1]
    (line,) = deployment.activity(okta.organization, outcome="failure")
    assert line.times == 1
    assert recorder.outages.due(True) is None


def test_a_process_that_ends_before_says_what_is_lost(
    deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    outage = outages.Outages()
    outage.note(outages.Outage("the database is gone"), deployment.trace())
    outage.give_up()
    outage.give_up()
    assert log_of(caplog)[-1].endswith("1 requests were refused, which no activity counts")
    assert len(log_of(caplog)) == 2
