"""A server that is gone, shut or lost in the middle: refused in a sentence, nothing half done, served again after."""

from __future__ import annotations

import socket
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from gateway.scim.errors import Unavailable
from gateway.store import open_database
from gateway.store.engine.base import Database
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import ADMIN_TOKEN, USER
from tests.support.timing import check_seconds

pytestmark = [pytest.mark.slow, pytest.mark.postgresql]
BODY = {"schemas": [USER], "userName": "late@acme.test", "active": True}


@contextmanager
def beside(deployment: Deployment) -> Iterator[Any]:
    """Another connection to the same database."""
    with psycopg.connect(deployment.gateway.config.database_url, autocommit=True) as connection:
        yield connection


def cut(deployment: Deployment) -> None:
    """Every connection of the gateway is ended by the server, as a restart would."""
    with beside(deployment) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def users(scim: Scim) -> list[str]:
    return sorted(user["userName"] for user in scim.call("GET", "/Users").json["Resources"])


def test_a_connection_that_was_ended_between_two_requests_is_not_noticed(
    deployment: Deployment, scim: Scim
) -> None:
    user = scim.user()["id"]
    cut(deployment)
    assert scim.call("GET", f"/Users/{user}").status == 200
    cut(deployment)
    assert scim.call("POST", "/Users", BODY).status == 201


def test_a_write_after_the_connection_was_ended_begins_on_another_one(
    deployment: Deployment, scim: Scim
) -> None:
    database = deployment.gateway.store.database
    organization = scim.organization.id  # connected, and asked nothing more until it begins
    cut(deployment)
    with database.transaction(organization_id=organization):
        database.run("UPDATE organizations SET name = 'Later'")
    assert scim.organization.name == "Later"


def test_what_is_lost_in_the_middle_is_refused_and_leaves_nothing(deployment: Deployment, scim: Scim) -> None:
    database = deployment.gateway.store.database

    def change() -> None:
        with database.transaction(organization_id=scim.organization.id):
            database.run("UPDATE organizations SET name = 'Lost'")
            cut(deployment)
            database.run("UPDATE organizations SET plan = 'lost'")

    with pytest.raises(Unavailable, match="Nothing was changed"):
        change()
    assert (scim.organization.name, scim.organization.plan) == ("Acme", "enterprise")


def test_who_does_not_know_whether_it_was_stored_says_so(deployment: Deployment, scim: Scim) -> None:
    """The server is lost while it commits: the refusal must not claim that nothing was changed."""
    with beside(deployment) as other:
        other.execute(
            "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'"
        )
        other.execute(
            "CREATE CONSTRAINT TRIGGER lost AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION lose()"
        )
        answer = scim.call("POST", "/Users", BODY)
        other.execute("DROP FUNCTION lose CASCADE")
    assert (answer.status, deployment.last_headers["Retry-After"]) == (503, "10")
    assert "may have been stored or not" in answer.json["detail"]
    assert "Nothing was changed" not in answer.json["detail"]
    assert scim.call("POST", "/Users", BODY).status == 201


def test_a_server_that_only_reads_is_read_and_refuses_writes(deployment: Deployment, scim: Scim) -> None:
    scim.user()
    name = deployment.gateway.store.database.one("SELECT current_database()")
    assert name
    try:
        with beside(deployment) as other:
            other.execute(f'ALTER DATABASE "{name[0]}" SET default_transaction_read_only = on')
        cut(deployment)
        assert users(scim) == ["user1@acme.test"]
        answer = scim.call("POST", "/Users", BODY)
        assert (answer.status, deployment.last_headers["Retry-After"]) == (503, "10")
        assert "read-only" in answer.json["detail"]
    finally:
        with beside(deployment) as other:
            other.execute("SET default_transaction_read_only = off")
            other.execute(f'ALTER DATABASE "{name[0]}" RESET default_transaction_read_only')
        cut(deployment)
    assert scim.call("POST", "/Users", BODY).status == 201


def test_a_writer_waits_for_its_own_organization_only_and_not_for_ever(
    deployment: Deployment, scim: Scim
) -> None:
    elsewhere = deployment.connection("generic")
    database = deployment.gateway.store.database
    other = open_database(deployment.gateway.config.database_url, "")
    with other.transaction(organization_id=scim.organization.id):
        begun = time.perf_counter()
        assert elsewhere.call("POST", "/Users", BODY).status == 201
        with (
            pytest.raises(Unavailable, match="busy"),
            database.transaction(0.2, organization_id=scim.organization.id),
        ):
            pytest.fail("two writers of one organization at once")
        check_seconds(time.perf_counter() - begun, 3)
        assert users(scim) == []
    other.close()
    assert scim.call("POST", "/Users", BODY).status == 201


def test_a_server_that_is_not_there_is_told_by_every_door(tmp_path: Any) -> None:
    url = "postgresql://nobody:secret@127.0.0.1:9/gateway?connect_timeout=2"
    deployment = Deployment.__new__(Deployment)
    with pytest.raises(Unavailable, match="does not answer"):
        deployment.__init__(tmp_path / "instance", database_url=url, secret_key="k" * 40)  # type: ignore[misc]
    for path, status in (
        ("/scim/v2/x/Users", 503),
        ("/ready", 503),
        ("/live", 200),
        ("/admin/v1/organizations", 503),
    ):
        answer = deployment.call("GET", path, None, {"Authorization": f"Bearer {ADMIN_TOKEN}"})
        assert answer.status == status, (path, answer.text)
        assert "secret" not in answer.text
        if status == 503:
            assert deployment.last_headers["Retry-After"] == "10", path
    assert "secret" not in repr(deployment.gateway.config)


def test_threads_wait_for_a_silent_server_at_the_same_time() -> None:
    """One after the other each request would take as long as all that are before it."""
    took = list[float]()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        database = open_database(f"postgresql://nobody@127.0.0.1:{port}/gateway?connect_timeout=2", "")

        def ask() -> None:
            began = time.monotonic()
            with pytest.raises(Unavailable, match="does not answer"):
                database.one("SELECT 1")
            took.append(time.monotonic() - began)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert len(took) == 3
    assert max(took) < 3.5


# Statements without an end -------------------------------------------------------------------------------------------


@contextmanager
def limited(deployment: Deployment, options: str = "") -> Iterator[Database]:
    """A node of its own on the same database."""
    url = deployment.gateway.config.database_url
    further = f"{'&' if '?' in url else '?'}options={quote(options)}" if options else ""
    database = open_database(url + further, "")
    yield database
    database.close()


def test_a_statement_that_takes_for_ever_is_ended_in_a_sentence(
    deployment: Deployment, scim: Scim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.engine.postgresql._LONGEST", 1)
    with limited(deployment) as database:
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"takes too long\. Nothing was changed"):
            database.one("SELECT pg_sleep(20)")
        took = time.monotonic() - began
        assert took > 0.9
        check_seconds(took, 5)

        def change() -> None:
            with database.transaction(organization_id=scim.organization.id):
                database.run("UPDATE organizations SET name = 'Late'")
                database.one("SELECT pg_sleep(20)")

        with pytest.raises(Unavailable, match="takes too long"):
            change()
        # The session goes on, and so does who waits for the organization.
        assert database.one("SELECT 1") == (1,)
    assert scim.organization.name == "Acme"


@pytest.mark.parametrize(
    ("options", "settings", "found"),
    [
        ("", "", "30s"),
        ("-c statement_timeout=7s", "", "7s"),
        ("-c statement_timeout=0", "", "0"),  # whoever says so wants it
        ("-c work_mem=8MB", "", "30s"),
        ("", "8s", "8s"),
    ],
)
def test_the_end_is_ours_unless_the_server_or_the_url_has_one(
    deployment: Deployment, options: str, settings: str, found: str
) -> None:
    name = deployment.gateway.store.database.one("SELECT current_database()")
    assert name
    with beside(deployment) as other:
        if settings:
            other.execute(f"ALTER DATABASE \"{name[0]}\" SET statement_timeout = '{settings}'")
        try:
            with limited(deployment, options) as database:
                assert database.one("SHOW statement_timeout") == (found,)
                # Work on the tables takes as long as it takes, and only that.
                with database.altering():
                    assert database.one("SHOW statement_timeout") == ("0",)
                assert database.one("SHOW statement_timeout") == (found,)
        finally:
            other.execute(f'ALTER DATABASE "{name[0]}" RESET statement_timeout')


def test_who_waits_to_migrate_is_not_ended(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.store.engine.postgresql._LONGEST", 1)
    with beside(deployment) as other, other.transaction(), limited(deployment) as database:
        other.execute(f"SELECT pg_advisory_xact_lock({zlib.crc32(b'provisioning-gateway migrate')})")
        waiting = threading.Thread(target=lambda: done.append(database.migrate()))
        done = list[list[str]]()
        waiting.start()
        waiting.join(1.6)
        assert waiting.is_alive()
        # And nothing waits for whoever waits: an index that is built CONCURRENTLY would.
        for _ in range(20):
            assert snapshots(other) == []
            time.sleep(0.01)
    waiting.join(10)
    assert done == [[]]


def test_who_holds_a_task_keeps_no_snapshot(deployment: Deployment) -> None:
    with deployment.gateway.store.database.only_one("long-changes") as mine, beside(deployment) as other:
        assert mine
        assert snapshots(other) == []


def snapshots(other: Any) -> list[Any]:
    """Other sessions that keep old rows from being cleared away, though no statement of theirs is under way."""
    return other.execute(
        "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND state LIKE 'idle%' AND backend_xmin IS NOT NULL"
    ).fetchall()
