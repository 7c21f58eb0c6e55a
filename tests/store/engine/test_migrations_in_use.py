"""Migrations of tables that are in use: writers wait briefly, and what was stopped goes on from where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gateway.scim.errors import Unavailable
from gateway.store import open_database
from gateway.store.engine.base import Database
from gateway.store.engine.migrate import LOCK_SECONDS, Progress
from gateway.testing import Deployment
from gateway.testing.engines import is_postgresql
from tests.support.timing import check_seconds

pytestmark = pytest.mark.slow

#: Rows of the table in question.
ROWS = int(os.environ.get("GATEWAY_ROWS", "80000"))
#: Seconds that one write may take while a migration is under way. A node waits five, and then refuses.
LONGEST = 0.5

REWRITE = """
atomic = False

def change(database, after, last):
    database.run("UPDATE things SET n = n + 1 WHERE id > ? AND id <= ?", after, last)

def up(steps):
    steps.rewrite("things", change)
    steps.index("things_n", "things", "n")
"""
ADD = """
def up(migrator, db):
    db.execute_sql("ALTER TABLE things ADD COLUMN added INTEGER")
"""
#: A process that migrates and prints how far it is, a line each.
MIGRATE = """
import json, sys
from pathlib import Path
from gateway.store import open_database
url, folder = sys.argv[1:]
database = open_database(url, "NORMAL")
report = lambda progress: print(json.dumps([progress.migration, progress.done, progress.seconds]), flush=True)
print(json.dumps(database.migrate(report, Path(folder))), flush=True)
"""
#: A process that writes, one row after the other, until its input ends; then how often, and how long it took at most.
WRITE = """
import json, random, select, sys, time
from gateway.store import open_database
url, rows = sys.argv[1], int(sys.argv[2])
database, writes, longest = open_database(url, "NORMAL"), 0, 0.0
print("begun", flush=True)
while not select.select([sys.stdin], [], [], 0.002)[0]:
    began = time.monotonic()
    with database.transaction():
        database.run("UPDATE things SET touched = touched + 1 WHERE id = ?", random.randint(1, rows))
        database.run("INSERT INTO things (n, touched) VALUES (0, 1)")
    longest = max(longest, time.monotonic() - began)
    writes += 1
print(json.dumps([writes, longest]), flush=True)
"""


@pytest.fixture
def database(deployment: Deployment) -> Iterator[Database]:
    """One with a large table that no migration of ours knows."""
    database = deployment.gateway.store.database
    kind = "SERIAL" if is_postgresql() else "INTEGER"
    database.run(f"CREATE TABLE things (id {kind} PRIMARY KEY, n INTEGER NOT NULL, touched INTEGER NOT NULL)")
    numbers = "WITH RECURSIVE numbers (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < ?)"
    database.run(f"{numbers} INSERT INTO things (n, touched) SELECT 0, 0 FROM numbers", ROWS)
    yield database
    # The database may be given to another test.
    for table in ("things", "schema_migration_position"):
        database.run(f"DROP TABLE IF EXISTS {table}")
    database.run("DELETE FROM schema_migration WHERE name LIKE '9%'")


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes migrations into a folder of their own, numbered from 9001."""

    def write(*migrations: str) -> Path:
        (tmp_path / "migrations").mkdir()
        for number, text in enumerate(migrations, 9001):
            (tmp_path / "migrations" / f"{number}_test.py").write_text(text)
        return tmp_path / "migrations"

    return write


def process(code: str, *arguments: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


@contextmanager
def written(url: str) -> Iterator[list[float]]:
    """While a process of its own writes: how often it did, and the seconds of the longest write."""
    reported: list[float] = []
    with process(WRITE, url, ROWS) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == "begun\n"
        yield reported
        reported += json.loads(writer.communicate("over\n", timeout=60)[0])
        assert writer.returncode == 0


def count(database: Database, condition: str) -> int:
    (found,) = database.one(f"SELECT COUNT(*) FROM things WHERE {condition}") or (0,)
    return int(found)


def test_a_table_is_rewritten_while_others_write_and_goes_on_after_a_kill(
    deployment: Deployment, database: Database, folder: Any
) -> None:
    url, migrations = deployment.gateway.config.database_url, folder(REWRITE)
    with written(url) as reported:
        with process(MIGRATE, url, migrations) as killed:
            assert killed.stdout
            # Where it is once a third is done.
            reached = next(done for _, done, _ in map(json.loads, killed.stdout) if done > ROWS / 3)
            killed.kill()
        assert killed.returncode == -signal.SIGKILL
        with process(MIGRATE, url, migrations) as again:
            lines = again.communicate(timeout=120)[0].splitlines()
    assert again.returncode == 0
    told_of = [reached, *(done for _, done, _ in map(json.loads, lines[:-1]) if done)]
    assert reached < told_of[1]  # nothing was begun anew
    assert max(later - sooner for sooner, later in pairwise([ROWS // 3, *told_of])) <= ROWS / 5
    assert json.loads(lines[-1]) == ["9001_test"]
    # Once each, whatever was killed, and nothing that the other wrote is lost.
    assert count(database, f"id <= {ROWS} AND n <> 1") == 0
    writes, longest = reported
    assert database.one("SELECT SUM(touched) FROM things") == (2 * writes,)
    check_seconds(longest, LONGEST)
    assert database.migrate(folder=migrations) == []
    with pytest.raises(Exception, match="schema_migration_position"):
        database.one("SELECT 1 FROM schema_migration_position")


def test_ten_processes_rewrite_a_table_and_one_of_them_does_it(
    deployment: Deployment, database: Database, folder: Any
) -> None:
    """On PostgreSQL an index is built CONCURRENTLY, which waits for all who look at the database in a transaction."""
    url, migrations = deployment.gateway.config.database_url, folder(REWRITE)
    others = [process(MIGRATE, url, migrations) for _ in range(10)]
    try:
        said = [json.loads(other.communicate(timeout=60)[0].splitlines()[-1]) for other in others]
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert sorted(said) == [[]] * 9 + [["9001_test"]]
    assert count(database, "n <> 1") == 0
    assert "things_n" in [index.name for index in database.peewee.get_indexes("things")]


def test_a_change_of_a_table_in_use_holds_nobody_up_until_it_can_be_made(
    deployment: Deployment, database: Database, folder: Any
) -> None:
    """Somebody is in a long transaction. On PostgreSQL all who came later would wait behind the change."""
    config, migrations, heard = deployment.gateway.config, folder(ADD), list[Progress]()
    migrating = open_database(config.database_url, config.sqlite_synchronous)

    def migrate() -> None:
        migrating.migrate(heard.append, migrations)
        migrating.close()

    long = open_database(config.database_url, config.sqlite_synchronous)
    thread, waits = threading.Thread(target=migrate), list[float]()
    with long.transaction():
        assert long.one("SELECT MAX(touched) FROM things WHERE id < 10") == (0,)
        thread.start()
        end = time.monotonic() + 3
        while time.monotonic() < end:
            began = time.monotonic()
            database.one("SELECT touched FROM things WHERE id = 7")
            waits.append(time.monotonic() - began)
            time.sleep(0.01)
        assert [progress.seconds for progress in heard] == [None]
    long.close()
    thread.join(30)
    assert not thread.is_alive()
    check_seconds(max(waits), LOCK_SECONDS + 0.5)
    assert heard[-1].seconds is not None
    assert count(database, "added IS NULL") == ROWS


@pytest.mark.postgresql
def test_a_migration_goes_on_when_its_connection_is_lost_in_the_middle(
    database: Database, folder: Any, tmp_path: Path
) -> None:
    """Of the batch that was under way nothing is left, and it is done again."""
    losing = f"""
    lost = Path({str(tmp_path / "lost")!r})
    if after > {ROWS // 3} and not lost.exists():
        lost.touch()
        database.one("SELECT pg_terminate_backend(pg_backend_pid())")
"""
    text = REWRITE.replace("\ndef up", f"{losing}\ndef up")
    assert database.migrate(folder=folder(f"from pathlib import Path\n{text}")) == ["9001_test"]
    assert (tmp_path / "lost").exists()
    assert count(database, "n <> 1") == 0


def test_what_cannot_be_changed_for_very_long_is_given_up_in_a_sentence(
    deployment: Deployment, database: Database, folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.engine.migrate.GIVE_UP_SECONDS", 0.2)
    monkeypatch.setattr("gateway.store.engine.migrate.RETRY_SECONDS", 0.1)
    config, migrations = deployment.gateway.config, folder(ADD)
    other = open_database(config.database_url, config.sqlite_synchronous)
    with other.transaction():
        other.one("SELECT MAX(touched) FROM things WHERE id < 10")
        with pytest.raises(Unavailable, match="the database is busy"):
            database.migrate(folder=migrations)
    other.close()
    assert database.migrate(folder=migrations) == ["9001_test"]


@pytest.mark.postgresql
def test_an_index_whose_building_was_stopped_is_built_anew(database: Database, folder: Any) -> None:
    database.run("CREATE INDEX things_n ON things (n)")
    database.run("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'things_n'::regclass")
    assert database.migrate(folder=folder(REWRITE)) == ["9001_test"]
    assert database.one("SELECT indisvalid FROM pg_index WHERE indexrelid = 'things_n'::regclass") == (True,)
