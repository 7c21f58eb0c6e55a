"""`gateway backup` while many write, `gateway restore` of what is sound, and that a refusal leaves all as it was."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from gateway.scim.errors import Unavailable
from gateway.store.engine.backup import back_up
from gateway.store.engine.base import MIGRATIONS
from gateway.store.engine.sqlite import Use
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import PATCH, USER
from tests.support.console import setup_link, sign_in
from tests.support.timing import check_seconds

pytestmark = [pytest.mark.slow, pytest.mark.sqlite]
Gateway = Callable[..., Result]
WRITERS = 4


@pytest.fixture
def deployment(instance: Path) -> Iterator[Deployment]:
    """Opened by a test; a restore wants it closed."""
    deployment = Deployment(instance)
    yield deployment
    deployment.close()


@pytest.fixture
def scim(deployment: Deployment) -> Scim:
    return deployment.connection("generic", deployment.organization())


def database_of(instance: Path) -> Path:
    return instance / "gateway.sqlite3"


def state(folder: Path) -> dict[str, str]:
    """Every file but locks, logs and the shared memory, by the digest of its content."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.is_file() and path.suffix not in (".lock", ".log")
    }


def rows(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchall()


def names(path: Path) -> list[str]:
    return [name for (name,) in rows(path, "SELECT user_name FROM users ORDER BY id")]


def refused(result: Result, words: str) -> None:
    """In one sentence on stderr."""
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert words in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


def sound_backup(gateway: Gateway, deployment: Deployment, file: Path) -> Path:
    """A backup, and the deployment closed."""
    assert gateway("backup", str(file)).exit_code == 0
    deployment.close()
    return file


# Backup ---------------------------------------------------------------------------------------------------------


def test_a_backup_is_one_sound_file_that_nobody_else_may_read(
    gateway: Gateway, deployment: Deployment, scim: Scim, tmp_path: Path
) -> None:
    scim.user()
    file = tmp_path / "kept.sqlite3"
    made = gateway("backup", str(file))
    assert (made.exit_code, made.stderr) == (
        0,
        f"Database: {database_of(deployment.gateway.config.instance)}\n",
    )
    assert made.stdout.startswith(f"Wrote {file} (")
    assert str(deployment.gateway.config.instance / "secret_key") in made.stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["kept.sqlite3"]
    # What was in the log only is in it, and it needs no log of its own.
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro&immutable=1", uri=True)) as copy:
        assert copy.execute("SELECT user_name FROM users").fetchall() == [("user1@acme.test",)]
        assert copy.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert deployment.gateway.config.secret_key.encode() not in file.read_bytes()


def test_for_programs_it_says_what_it_holds(
    gateway: Gateway, deployment: Deployment, scim: Scim, tmp_path: Path
) -> None:
    scim.user()
    acme, other = scim.organization.uid, deployment.organization("Other").uid
    reported = json.loads(gateway("backup", "--json", str(tmp_path / "a")).stdout)
    assert reported == {
        "file": str(tmp_path / "a"),
        "bytes": (tmp_path / "a").stat().st_size,
        "migrations": [file.stem for file in sorted(MIGRATIONS.glob("0*.py"))],
        "pending": [],
        "last_events": {acme: 1, other: 0},
    }


def test_what_is_there_is_overwritten_only_when_told(
    gateway: Gateway, deployment: Deployment, scim: Scim, tmp_path: Path
) -> None:
    file = tmp_path / "kept"
    file.write_text("something else")
    refused(gateway("backup", str(file)), f"{file} exists already. --force overwrites it.")
    assert file.read_text() == "something else"
    scim.user()
    assert gateway("backup", "--force", str(file)).exit_code == 0
    assert names(file) == ["user1@acme.test"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_cannot_be_written_is_told_and_leaves_nothing(
    gateway: Gateway, deployment: Deployment, tmp_path: Path
) -> None:
    database = database_of(deployment.gateway.config.instance)
    before = database.read_bytes()
    refused(gateway("backup", str(tmp_path / "none" / "a")), "There is no folder")
    refused(gateway("backup", "--force", str(tmp_path)), "is a folder")
    for each in (database, database.with_name("gateway.sqlite3-wal"), database.parent / "." / database.name):
        refused(gateway("backup", "--force", str(each)), "is the database itself")
    assert database.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["instance"]


def test_without_a_database_there_is_nothing_to_back_up(gateway: Gateway, instance: Path) -> None:
    refused(gateway("backup", "a"), "There is no database at")
    assert not database_of(instance).exists()


def test_a_damaged_database_is_not_backed_up_as_if_it_were_sound(
    gateway: Gateway, deployment: Deployment, scim: Scim, tmp_path: Path
) -> None:
    scim.user()
    deployment.close()
    damage(database_of(deployment.gateway.config.instance))
    file = tmp_path / "kept"
    refused(gateway("backup", str(file)), "is damaged")
    assert [path.name for path in tmp_path.iterdir()] == ["instance"]


def test_a_backup_while_many_write_is_of_one_moment_and_hinders_nobody(
    instance: Path, deployment: Deployment, scim: Scim, tmp_path: Path, audit: Callable[[Deployment], None]
) -> None:
    """More than one look at the progress long, so that writers do come in between; the books of each copy balance."""
    database = deployment.gateway.store.database
    with database.transaction():
        database.run("CREATE TABLE ballast (data)")
        database.run_many("INSERT INTO ballast VALUES (zeroblob(4000000))", [()] * 10)
    over, created, slowest = threading.Event(), [0] * WRITERS, [0.0] * WRITERS
    failures: list[str] = []

    def write(number: int) -> None:
        while not over.is_set() and not failures:
            created[number] += 1
            uid, name = "", f"user{number}-{created[number]}@acme.test"
            for method, path, body in (
                ("POST", "/Users", {"schemas": [USER], "userName": name, "active": True}),
                (
                    "PATCH",
                    "/Users/",
                    {"schemas": [PATCH], "Operations": [{"op": "add", "value": {"title": "x"}}]},
                ),
            ):
                answer = scim.call(method, path + uid, body)
                slowest[number] = max(slowest[number], answer.seconds)
                if answer.status not in (200, 201):
                    failures.append(answer.text)
                    return
                uid = answer.json["id"]
        database.close()

    threads = [threading.Thread(target=write, args=[number]) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    copies: list[Path] = []
    steps: list[list[tuple[int, int]]] = []
    during: list[int] = []
    try:
        for number in range(3):
            before = sum(created)
            while sum(created) < before + 20 and not failures:
                time.sleep(0.01)

            def progress(done: int, pages: int) -> None:
                steps[-1].append((done, pages))
                during.append(sum(created))
                time.sleep(0.05)  # a slow disk

            copies.append(tmp_path / f"copy{number}")
            steps.append([])
            back_up(database_of(instance), copies[-1], False, progress)
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
    deployment.close()
    assert failures == []
    check_seconds(max(slowest), 1.5)
    for each in steps:
        # No page was copied twice on account of a writer.
        assert [done for done, _ in each] == sorted({done for done, _ in each})
        assert len(each) >= 5
        assert each[-1][0] == each[-1][1]
    assert during[-1] > during[0]
    everybody = names(database_of(instance))
    for number, copy in enumerate(copies):
        kept = Deployment(tmp_path / f"kept{number}", database_url=f"sqlite:///{copy}")
        audit(kept)
        kept.close()
        assert 20 <= len(names(copy)) < len(everybody)
        assert names(copy) == everybody[: len(names(copy))]


# Restore --------------------------------------------------------------------------------------------------------


def test_a_restored_gateway_is_as_it_was_and_goes_on(
    instance: Path, gateway: Gateway, deployment: Deployment, scim: Scim, tmp_path: Path, audit: Any
) -> None:
    user, acme = scim.user(), scim.organization
    assert gateway("backup", str(tmp_path / "kept")).exit_code == 0
    scim.user("late@acme.test")
    scim.patch(f"/Users/{user['id']}", {"op": "add", "path": "title", "value": "Late"})
    deployment.close()

    reported = gateway("restore", str(tmp_path / "kept"))

    assert (reported.exit_code, reported.stderr) == (0, "")
    assert "who follows a feed is refused with 410 and begins anew with a snapshot" in reported.stdout
    (old,) = instance.glob("gateway.sqlite3.*")
    assert f"kept as {old.name};" in reported.stdout
    # The old file is whole, with what was in its log, and nothing is left of that beside the new one.
    assert names(old) == ["user1@acme.test", "late@acme.test"]
    assert not list(instance.glob("*-wal")) + list(instance.glob("*-shm")) + list(instance.glob(".*"))
    assert rows(database_of(instance), "SELECT epoch FROM feed_state") > rows(
        old, "SELECT epoch FROM feed_state"
    )
    again = Deployment(instance)
    try:
        scim.deployment = again
        assert scim.call("GET", f"/Users/{user['id']}").json == user
        assert scim.call("GET", "/Users").json["totalResults"] == 1
        # The feed goes on without a gap from the number that the backup had: the numbers come again.
        scim.user("again@acme.test")
        assert [data["userName"] for _, data in again.events(acme)] == ["user1@acme.test", "again@acme.test"]
        audit(again)
    finally:
        again.close()


def test_restore_revokes_open_links_and_ends_sessions(
    gateway: Gateway, deployment: Deployment, instance: Path, tmp_path: Path
) -> None:
    organization = deployment.organization()
    browser = sign_in(deployment, organization)
    setup_link(deployment, organization)
    assert browser.get("").status_code == 200
    file = sound_backup(gateway, deployment, tmp_path / "kept")
    assert gateway("restore", str(file)).exit_code == 0
    database = database_of(instance)
    assert rows(database, "SELECT COUNT(*) FROM console_links WHERE used IS NULL AND revoked IS NULL") == [
        (0,)
    ]
    assert rows(database, "SELECT COUNT(*) FROM console_sessions WHERE ended IS NULL") == [(0,)]
    assert rows(file, "SELECT COUNT(*) FROM console_sessions WHERE ended IS NULL") == [(1,)]


def test_it_can_be_restored_where_nothing_is(
    gateway: Gateway, deployment: Deployment, scim: Scim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scim.user()
    file = sound_backup(gateway, deployment, tmp_path / "kept")
    fresh = tmp_path / "fresh"
    monkeypatch.setenv("GATEWAY_INSTANCE", str(fresh))
    reported = json.loads(gateway("restore", "--json", str(file)).stdout)
    assert (reported["database"], reported["kept"]) == (str(database_of(fresh)), None)
    assert reported["last_events"] == {scim.organization.uid: 1}
    assert names(database_of(fresh)) == ["user1@acme.test"]
    assert stat.S_IMODE(database_of(fresh).stat().st_mode) == 0o600


def test_a_key_that_is_missing_is_told_and_none_is_made(
    gateway: Gateway, deployment: Deployment, scim: Scim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = sound_backup(gateway, deployment, tmp_path / "kept")
    key = (deployment.gateway.config.instance / "secret_key").read_text()
    fresh = tmp_path / "fresh"
    monkeypatch.setenv("GATEWAY_INSTANCE", str(fresh))
    missing = f"which is missing: put it into {fresh / 'secret_key'} or GATEWAY_SECRET_KEY"
    assert missing in gateway("restore", str(file)).stdout
    assert not (fresh / "secret_key").exists()
    assert f"there is none at {fresh / 'secret_key'}" in gateway("backup", str(tmp_path / "again")).stdout
    (fresh / "secret_key").write_text(key)
    again = Deployment(fresh)
    try:
        assert Scim(again, scim.uid, scim.token).call("GET", "/Users").status == 200
    finally:
        again.close()
    named = f"here it is {fresh / 'secret_key'}."
    assert named in gateway("restore", str(file)).stdout


def test_a_log_of_a_database_that_is_gone_does_not_get_into_the_restored_one(
    instance: Path, gateway: Gateway, deployment: Deployment, scim: Scim, tmp_path: Path
) -> None:
    scim.user()
    file = tmp_path / "kept"
    assert gateway("backup", str(file)).exit_code == 0
    scim.user("late@acme.test")
    # As a killed server leaves it: a file and its log.
    wal = instance / "gateway.sqlite3-wal"
    left = (database_of(instance).read_bytes(), wal.read_bytes())
    deployment.close()
    for gone in (False, True):
        database_of(instance).write_bytes(left[0])
        wal.write_bytes(left[1])
        if gone:
            database_of(instance).unlink()
        reported = json.loads(gateway("restore", "--json", str(file)).stdout)
        assert names(database_of(instance)) == ["user1@acme.test"]
        assert not wal.exists()
        if not gone:
            assert names(Path(reported["kept"])) == ["user1@acme.test", "late@acme.test"]
        else:
            assert Path(reported["kept"] + "-wal").read_bytes() == left[1]


def damage(path: Path) -> None:
    """Pages of its middle are overwritten."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(size // 4096 // 3 * 4096)
        file.write(b"\xa5" * 4096 * 12)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def other_text(path: Path) -> None:
    path.write_text("This is no database, though it is long enough to look at. " * 100)


def statement(sql: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path)) as database, database:
            database.executescript(sql)

    return change


def other_database(path: Path) -> None:
    path.unlink()
    statement("CREATE TABLE users (id); INSERT INTO users VALUES (1)")(path)


ODD = [
    (damage, "is damaged"),
    (truncate, "is damaged"),
    (empty, "is not the database of a gateway"),
    (other_text, "is damaged, or no database: file is not a database"),
    (other_database, "is not the database of a gateway"),
    (statement("DROP TABLE events"), "is not the database of a gateway"),
    (
        statement("CREATE TRIGGER t AFTER INSERT ON users BEGIN DELETE FROM users; END"),
        "is not the database of a gateway",
    ),
    (
        statement("INSERT INTO schema_migration (name, applied) VALUES ('0002_later', '2036-01-01')"),
        "newer version of the gateway: this one does not know the migrations 0002_later.",
    ),
    (statement("PRAGMA foreign_keys = 0; DELETE FROM organizations"), "a reference leads nowhere"),
    (Path.unlink, "There is no file"),
]


@pytest.mark.parametrize(("change", "words"), ODD)
def test_what_is_not_sound_is_refused_and_all_is_as_it_was(
    instance: Path,
    gateway: Gateway,
    deployment: Deployment,
    scim: Scim,
    tmp_path: Path,
    change: Any,
    words: str,
) -> None:
    user = scim.user()
    file = sound_backup(gateway, deployment, tmp_path / "kept")
    change(file)
    before = state(instance), state(tmp_path) if file.exists() else None
    refused(gateway("restore", str(file)), words)
    assert (state(instance), state(tmp_path) if file.exists() else None) == before
    scim.deployment = again = Deployment(instance)
    assert scim.call("GET", f"/Users/{user['id']}").json == user
    again.close()


def test_a_damaged_database_is_replaced_and_kept_as_it_is(
    instance: Path, gateway: Gateway, deployment: Deployment, scim: Scim, tmp_path: Path
) -> None:
    scim.user()
    file = sound_backup(gateway, deployment, tmp_path / "kept")
    for spoil in (damage, other_text):
        spoil(database_of(instance))
        spoilt = database_of(instance).read_bytes()
        reported = json.loads(gateway("restore", "--json", str(file)).stdout)
        assert names(database_of(instance)) == ["user1@acme.test"]
        assert len(Path(reported["kept"]).read_bytes()) == len(spoilt)
    assert Path(reported["kept"]).read_bytes() == spoilt


def test_the_database_is_not_restored_from_itself(gateway: Gateway, deployment: Deployment) -> None:
    deployment.close()
    file = database_of(deployment.gateway.config.instance)
    refused(gateway("restore", str(file)), "is the database itself")


def test_an_older_backup_says_what_it_lacks(
    gateway: Gateway, deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = sound_backup(gateway, deployment, tmp_path / "kept")
    migrations = tmp_path / "migrations"
    migrations.mkdir()
    for name in (*(file.name for file in MIGRATIONS.glob("0*.py")), "9002_later.py"):
        (migrations / name).write_text("def up(migrator, db): pass")
    monkeypatch.setattr("gateway.store.engine.backup.MIGRATIONS", migrations)
    assert (
        "lacks the migrations 9002_later: run `gateway migrate` next" in gateway("restore", str(file)).stdout
    )


# While somebody has it open -------------------------------------------------------------------------------------


def test_a_server_that_runs_is_not_restored_under_whether_it_was_asked_anything_or_not(
    serve: Any, instance: Path, gateway: Gateway, tmp_path: Path
) -> None:
    server = serve("--workers", "2")
    file = tmp_path / "kept"
    assert gateway("backup", str(file)).exit_code == 0
    before = rows(database_of(instance), "SELECT COUNT(*) FROM admin_tokens")
    refused(gateway("restore", str(file)), "has the database open. Stop it first; nothing was changed.")
    for pid in server.workers():
        os.kill(pid, signal.SIGKILL)  # none of them is there, but the server is
    refused(gateway("restore", str(file)), "has the database open")
    assert rows(database_of(instance), "SELECT COUNT(*) FROM admin_tokens") == before
    assert server.stop() == 0
    assert gateway("restore", str(file)).exit_code == 0


def test_a_killed_server_leaves_nothing_that_hinders(
    serve: Any, gateway: Gateway, instance: Path, tmp_path: Path
) -> None:
    server = serve("--workers", "2")
    assert gateway("backup", str(tmp_path / "kept")).exit_code == 0
    server.stop(signal.SIGKILL)
    until = time.monotonic() + 30
    while gateway("restore", str(tmp_path / "kept")).exit_code and time.monotonic() < until:
        time.sleep(0.1)  # its workers hear of it a moment later
    assert list(instance.glob("gateway.sqlite3.*"))


def test_an_application_that_was_asked_something_counts_as_a_server(
    gateway: Gateway, deployment: Deployment, scim: Scim, tmp_path: Path
) -> None:
    file = tmp_path / "kept"
    scim.user()
    assert gateway("backup", str(file)).exit_code == 0
    refused(gateway("restore", str(file)), "has the database open")
    # What is restored meanwhile is not waited for: a warning names it.
    deployment.close()
    use = Use(database_of(deployment.gateway.config.instance), alone=True)
    with pytest.raises(Unavailable, match="being restored"):
        deployment.gateway.store.database.one("SELECT 1")
    refused(gateway("admin-token", "list"), "the database is being restored")
    refused(gateway("backup", str(tmp_path / "other")), "the database is being restored")
    use.end()
    assert scim.call("GET", "/Users").json["totalResults"] == 1


def test_another_program_that_has_it_open_is_noticed(
    instance: Path, gateway: Gateway, deployment: Deployment, tmp_path: Path
) -> None:
    """One that knows nothing of the lock, such as the shell of SQLite."""
    file = sound_backup(gateway, deployment, tmp_path / "kept")
    with closing(sqlite3.connect(database_of(instance))) as other:
        other.execute("SELECT COUNT(*) FROM users").fetchone()
        refused(gateway("restore", str(file)), "Another program has the database open.")
    assert not list(instance.glob("gateway.sqlite3.*"))
    assert gateway("restore", str(file)).exit_code == 0


#: A restore that is gone at the n-th of its steps.
ENDS = """
import os, sys
from pathlib import Path
from gateway.store.engine.backup import restore

file, database, last = sys.argv[1:]
calls = 0
def count(name):
    real = getattr(os, name)
    def counted(*arguments, **named):
        global calls
        calls += 1
        if calls == int(last):
            os._exit(9)
        return real(*arguments, **named)
    setattr(os, name, counted)
for name in ('link', 'unlink', 'replace', 'fsync', 'chown'):
    count(name)
restore(Path(file), Path(database), lambda done, pages: None)
"""


def test_killed_at_any_moment_it_leaves_the_old_database_or_the_new_one(
    instance: Path, gateway: Gateway, deployment: Deployment, scim: Scim, tmp_path: Path
) -> None:
    scim.user()
    file = tmp_path / "kept"
    assert gateway("backup", str(file)).exit_code == 0
    scim.user("late@acme.test")
    deployment.close()
    seen, pristine = set(), tmp_path / "pristine"
    shutil.copytree(instance, pristine)
    for where in range(1, 12):
        shutil.rmtree(instance)
        shutil.copytree(pristine, instance)
        done = subprocess.run(
            [sys.executable, "-c", ENDS, file, database_of(instance), str(where)], timeout=30
        )
        assert done.returncode in (0, 9)
        there = names(database_of(instance))
        assert there in (["user1@acme.test"], ["user1@acme.test", "late@acme.test"])
        assert there == ["user1@acme.test"] or done.returncode == 9
        seen.add((len(there), done.returncode))
    assert seen == {(2, 9), (1, 9), (1, 0)}


# PostgreSQL -----------------------------------------------------------------------------------------------------


def test_a_postgresql_is_restored_with_its_own_tools(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GATEWAY_DATABASE_URL", "postgresql://gateway:secret@acme.test/gateway")
    monkeypatch.setenv("GATEWAY_SECRET_KEY", "k" * 40)
    result = gateway("restore", str(tmp_path / "kept"))
    refused(result, "The database is a PostgreSQL, which has tools of its own: use pg_restore")
    assert "secret" not in result.stderr


def test_who_restored_by_other_tools_begins_another_epoch_and_ends_sessions(
    instance: Path, gateway: Gateway, deployment: Deployment, scim: Scim
) -> None:
    events = f"/organizations/{scim.organization.uid}/events"
    before = deployment.admin("GET", events).json["epoch"]
    setup_link(deployment, scim.organization)
    reported = json.loads(gateway("restored", "--json").stdout)
    assert reported["epoch"] > before
    assert (reported["links"], reported["sessions"]) == (1, 0)
    assert deployment.admin("GET", events).json["epoch"] == reported["epoch"]
    assert deployment.admin("GET", f"{events}?epoch={before}").status == 410
    said = gateway("restored")
    assert (said.exit_code, "The epoch of the feeds is" in said.stdout) == (0, True)
