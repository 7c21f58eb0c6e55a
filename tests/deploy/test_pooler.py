"""Behind pgbouncer in transaction mode, as deploy/pgbouncer.ini has it."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway.scim.errors import Unavailable
from gateway.store import open_database
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import USER

pytestmark = [pytest.mark.slow, pytest.mark.postgresql]
THREADS, TURNS = 32, 12
KEY = "a-key-for-tests-only" * 2


def pooler(machines: Any, folder: Path, stack: ExitStack, server: Any) -> Any:
    made = machines.Pooler(folder, f"pgbouncer-{server.data.name}", server)
    made.start()
    stack.callback(made.end, signal.SIGKILL)
    return made


def url(*ports: int, name: str = "gateway") -> str:
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    return f"postgresql://postgres@{hosts}/{name}?target_session_attrs=read-write"


def test_many_threads_share_sessions_and_nothing_fails(
    machines: Any, running: tuple[Path, ExitStack]
) -> None:
    folder, stack = running
    server = machines.Postgres(folder / "primary")
    stack.callback(server.stop)
    pooled = pooler(machines, folder, stack, server)
    deployment = Deployment(folder / "instance", database_url=url(pooled.port), secret_key=KEY)
    scims = [deployment.connection("generic") for _ in range(4)]
    failed: list[str] = []

    def work(number: int, scim: Scim) -> None:
        for turn in range(TURNS):
            name = f"w{number}-{turn}@acme.test"
            answer = scim.call("POST", "/Users", {"schemas": [USER], "userName": name, "active": True})
            seen = scim.call("GET", f'/Users?filter=userName+eq+"{name}"')
            if (answer.status, seen.status) != (201, 200) or seen.json["totalResults"] != 1:
                failed.append(f"{answer.status} {answer.text} {seen.text}")
                continue
            path = f"/Users/{answer.json['id']}"
            changed = scim.patch(path, {"op": "replace", "value": {"active": False}})
            if changed.status != 200 or scim.call("GET", path).json["active"] is not False:
                failed.append(f"{changed.status} {changed.text}")
        deployment.gateway.store.database.close()

    threads = [threading.Thread(target=work, args=[n, scims[n % 4]]) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    try:
        assert failed == []
        (stored,) = deployment.gateway.store.database.one("SELECT COUNT(*) FROM users") or ()
        assert stored == THREADS * TURNS
        # Sessions of PostgreSQL were shared: fewer than threads had connections.
        assert deployment.gateway.store.database.one("SELECT COUNT(*) FROM pg_prepared_statements") == (0,)
    finally:
        deployment.close()


def test_statements_are_prepared_where_a_session_is_ours(
    machines: Any, running: tuple[Path, ExitStack]
) -> None:
    folder, stack = running
    server = machines.Postgres(folder / "primary")
    stack.callback(server.stop)
    pooled = pooler(machines, folder, stack, server)
    for address, prepares in (
        (url(server.port, name="postgres"), True),
        (url(pooled.port), False),
    ):
        deployment = Deployment(folder / f"instance-{prepares}", database_url=address, secret_key=KEY)
        connection = deployment.gateway.store.database.peewee.connection()
        assert (connection.prepare_threshold is not None) is prepares
        deployment.close()


def test_a_pooler_that_repeats_what_its_server_was_is_not_believed(
    machines: Any, running: tuple[Path, ExitStack]
) -> None:
    folder, stack = running
    primary = machines.Postgres(folder / "primary")
    stack.callback(primary.stop)
    standby = machines.Postgres(folder / "standby", primary)
    stack.callback(standby.stop)
    primary.wait_for_standby()
    poolers = [pooler(machines, folder, stack, server) for server in (primary, standby)]
    deployment = Deployment(
        folder / "instance", database_url=url(*(each.port for each in poolers)), secret_key=KEY
    )
    scim = deployment.connection("generic")
    kept = scim.user()["id"]
    # Each pooler has looked at its server once, and remembers.
    psycopg.connect(f"postgresql://postgres@127.0.0.1:{poolers[1].port}/gateway").close()

    primary.kill()
    with pytest.raises(Unavailable, match=r"read-only|does not answer"):
        deployment.gateway.store.database.run("UPDATE organizations SET name = 'Lost'")
    standby.promote()
    assert scim.call("GET", f"/Users/{kept}").status == 200
    assert scim.user("later@acme.test")
    deployment.close()


def test_a_statement_has_an_end_in_a_transaction_and_no_session_is_left_with_it(
    machines: Any, running: tuple[Path, ExitStack], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session is another one's next: what is set for it would be set for others, pg_dump and CREATE INDEX too."""
    monkeypatch.setattr("gateway.store.engine.postgresql._LONGEST", 1)
    folder, stack = running
    server = machines.Postgres(folder / "primary")
    stack.callback(server.stop)
    pooled = pooler(machines, folder, stack, server)
    database = open_database(url(pooled.port), "")
    try:
        with database.transaction():
            assert database.one("SHOW statement_timeout") == ("1s",)
            with pytest.raises(Unavailable, match="takes too long"):
                database.one("SELECT pg_sleep(20)")
        assert database.one("SHOW statement_timeout") == ("0",)
        database.close()
        server.ask("ALTER ROLE postgres SET statement_timeout = '2s'")
        pooled.end(signal.SIGKILL)
        pooled.start()
        with database.transaction():
            assert database.one("SHOW statement_timeout") == ("2s",)
        with pytest.raises(Unavailable, match="takes too long"):
            database.one("SELECT pg_sleep(20)")
    finally:
        database.close()
