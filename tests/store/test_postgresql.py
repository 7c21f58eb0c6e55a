"""A server that is gone, shut or lost in the middle: refused in a sentence, nothing half done, served again after."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from gateway.scim.errors import Unavailable
from gateway.store import open_database
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import ADMIN_TOKEN, USER

pytestmark = pytest.mark.postgresql
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
        assert time.perf_counter() - begun < 3
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
