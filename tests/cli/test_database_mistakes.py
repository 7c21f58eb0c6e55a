"""Commands report in one sentence what is wrong with the database."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway.testing import engines

pytestmark = pytest.mark.slow

SECRET = "hidden-password"


@pytest.fixture(scope="module")
def server():
    with engines.server() as url:
        yield url


@pytest.fixture(scope="module")
def guarded():
    """Makes URLs of a server that asks everybody but its superuser for a password."""
    import psycopg

    with engines.server() as url:
        with psycopg.connect(url, autocommit=True) as operator:
            for statement in (
                f"CREATE ROLE acme LOGIN PASSWORD '{SECRET}'",
                f"CREATE ROLE guest LOGIN PASSWORD '{SECRET}'",
                f"CREATE ROLE group1 PASSWORD '{SECRET}'",
                f"CREATE ROLE few LOGIN PASSWORD '{SECRET}' CONNECTION LIMIT 0",
                "CREATE DATABASE acme OWNER acme TEMPLATE template0 ENCODING 'UTF8'",
                "CREATE DATABASE latin OWNER acme TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
                "CREATE DATABASE ascii OWNER acme TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'",
                "CREATE DATABASE private OWNER acme",
                "REVOKE CONNECT ON DATABASE private FROM PUBLIC",
                "CREATE DATABASE readers OWNER acme",
                "ALTER DATABASE readers SET default_transaction_read_only = on",
                "CREATE DATABASE closed ALLOW_CONNECTIONS false",
            ):
                operator.execute(statement)
            (folder,) = operator.execute("SHOW data_directory").fetchone()
            rules = "local all postgres trust\nlocal rejected all reject\nlocal all all scram-sha-256\n"
            (Path(folder) / "pg_hba.conf").write_text(rules)
            operator.execute("SELECT pg_reload_conf()")
        at = urlsplit(url)

        def made(user="acme", database="acme", password=SECRET, options=""):
            where = f"{at.hostname or ''}{f':{at.port}' if at.port else ''}"
            return f"postgresql://{user}{password and ':'}{password}@{where}/{database}?{at.query}{options}"

        yield made


def refusal(gateway, monkeypatch, url, command):
    monkeypatch.setenv("GATEWAY_DATABASE_URL", url)
    monkeypatch.setenv("GATEWAY_SECRET_KEY", "k" * 40)
    result = gateway(*command.split())
    assert result.exit_code == 1
    assert SECRET not in result.output
    assert "try again" not in result.output
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


COMMANDS = pytest.mark.parametrize("command", ["migrate", "serve", "admin-token list"])


@COMMANDS
def test_a_port_where_nothing_listens(gateway, monkeypatch, command):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        sentence = refusal(gateway, monkeypatch, f"postgresql://acme:{SECRET}@127.0.0.1:{port}/acme", command)
    assert f"127.0.0.1, port {port}, refuses the connection" in sentence


@COMMANDS
def test_a_host_that_is_unknown(gateway, monkeypatch, command):
    sentence = refusal(gateway, monkeypatch, f"postgresql://acme:{SECRET}@db.invalid/acme", command)
    assert "db.invalid, port 5432, is a host whose name cannot be resolved" in sentence


@COMMANDS
def test_a_user_and_a_database_that_are_unknown(gateway, monkeypatch, server, command):
    query = urlsplit(server).query
    at = urlsplit(server)
    where = f"{at.hostname or ''}{f':{at.port}' if at.port else ''}"
    user = f"postgresql://nobody:{SECRET}@{where}/postgres?{query}"
    assert "has no user 'nobody'" in refusal(gateway, monkeypatch, user, command)
    database = f"postgresql://{at.username}:{SECRET}@{where}/missing?{query}"
    assert "has no database 'missing'" in refusal(gateway, monkeypatch, database, command)


MISTAKES = [
    ({"password": f"{SECRET}x"}, "refuses the password of the user 'acme'"),
    ({"password": ""}, "asks for a password of the user 'acme', and the URL has none"),
    ({"user": "group1"}, "does not let the user 'group1' log in"),
    ({"database": "rejected"}, "does not let the user 'acme' reach the database 'rejected' from here"),
    ({"user": "guest", "database": "private"}, "does not let the user 'guest' use the database 'private'"),
    ({"database": "closed"}, "does not open the database 'closed' to anybody"),
    ({"database": "latin"}, "has the encoding LATIN1, which cannot hold every name. Make one in UTF-8"),
    ({"database": "ascii"}, "has the encoding SQL_ASCII, which cannot hold every name. Make one in UTF-8"),
    ({"user": "few"}, 'too many connections for role "few"'),
    ({"options": "&options=-c%20nonsense%3D1"}, 'unrecognized configuration parameter "nonsense"'),
    ({"options": "&connect_timeout=soon"}, "has a connect_timeout that is no number of seconds"),
]


@COMMANDS
@pytest.mark.parametrize(("parts", "words"), MISTAKES)
def test_what_a_server_refuses(gateway, monkeypatch, guarded, command, parts, words):
    assert words in refusal(gateway, monkeypatch, guarded(**parts), command)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"user": "guest"}, "The user 'guest' lacks a right in the database 'acme' of the PostgreSQL at"),
        ({"database": "readers"}, "cannot be used: the database is read-only"),
    ],
)
def test_what_a_migration_may_not_do(gateway, monkeypatch, guarded, parts, words):
    assert words in refusal(gateway, monkeypatch, guarded(**parts), "migrate")


def test_tables_of_another_user(gateway, monkeypatch, guarded):
    monkeypatch.setenv("GATEWAY_DATABASE_URL", guarded())
    monkeypatch.setenv("GATEWAY_SECRET_KEY", "k" * 40)
    assert gateway("migrate").exit_code == 0
    for command in ("serve", "admin-token list", "migrate"):
        sentence = refusal(gateway, monkeypatch, guarded(user="guest"), command)
        assert "permission denied for table schema_migration. Make it the owner" in sentence


@COMMANDS
def test_each_server_of_a_list(gateway, monkeypatch, command):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        url = f"postgresql://acme:{SECRET}@db.invalid,127.0.0.1:{port}/acme?target_session_attrs=read-write"
        sentence = refusal(gateway, monkeypatch, url, command)
    assert sentence == (
        "Error: The PostgreSQL at db.invalid, port 5432, is a host whose name cannot be resolved; the PostgreSQL at"
        f" 127.0.0.1, port {port}, refuses the connection: nothing listens there. Correct GATEWAY_DATABASE_URL or the"
        " server.\n"
    )


@COMMANDS
@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("/acme?host=/nowhere", "The PostgreSQL at /nowhere, port 5432, has no socket there"),
        (
            "127.0.0.1/acme?sslmode=nonsense",
            'cannot be connected to: connection is bad: invalid sslmode value: "non',
        ),
        ("127.0.0.1:99999/acme", 'cannot be connected to: connection is bad: invalid port number: "99999"'),
    ],
)
def test_what_the_driver_refuses(gateway, monkeypatch, command, rest, words):
    assert words in refusal(gateway, monkeypatch, f"postgresql://acme:{SECRET}@{rest}", command)


@COMMANDS
def test_a_port_of_another_program(gateway, monkeypatch, command):
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer():
            while True:
                try:
                    client, _ = other.accept()
                except OSError:
                    return
                with client:
                    client.recv(100)
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        url = f"postgresql://acme:{SECRET}@127.0.0.1:{other.getsockname()[1]}/acme"
        assert "is no PostgreSQL: another program listens there" in refusal(
            gateway, monkeypatch, url, command
        )
        other.shutdown(socket.SHUT_RDWR)


# Files ------------------------------------------------------------------------------------------------------------


def of_files(gateway, command, words):
    """The command fails with one sentence that holds these words."""
    result = gateway(*command.split())
    sentences = [line for line in result.stderr.splitlines() if not line.startswith("Database: ")]
    assert (result.exit_code, len(sentences)) == (1, 1), result.output
    assert re.search(words, sentences[0]), result.stderr
    assert "try again" not in result.stderr


@COMMANDS
def test_an_instance_folder_that_cannot_be(gateway, monkeypatch, tmp_path, command):
    (tmp_path / "file").write_text("")
    for instance in (tmp_path / "file", tmp_path / "file" / "instance"):
        monkeypatch.setenv("GATEWAY_INSTANCE", str(instance))
        of_files(
            gateway, command, r"config.toml cannot be used: Not a directory. Set GATEWAY_INSTANCE to a folder"
        )


@COMMANDS
@pytest.mark.parametrize("name", ["config.toml", "secret_key", "gateway.sqlite3"])
def test_a_folder_in_the_place_of_a_file(gateway, instance, command, name):
    (instance / name).mkdir(parents=True)
    of_files(gateway, command, rf"{name} cannot be (used|written): Is a directory. (Set|Correct) GATEWAY_")


@COMMANDS
def test_a_secret_key_that_is_none(gateway, instance, command):
    instance.mkdir()
    (instance / "secret_key").write_bytes(b"\xff\xfe\n")
    of_files(gateway, command, "secret_key holds no secret key of 32 characters or more. Put back the one")


@COMMANDS
def test_a_database_below_a_file_and_one_without_a_name(gateway, monkeypatch, tmp_path, command):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GATEWAY_DATABASE_URL", f"sqlite:///{tmp_path}/file/acme.sqlite3")
    made = "acme.sqlite3 cannot be written: Not a directory at .*/file. Correct GATEWAY_DATABASE_URL"
    of_files(
        gateway, command, made if command == "migrate" else "There is no database at .*acme.sqlite3. Run"
    )
    monkeypatch.setenv("GATEWAY_DATABASE_URL", "sqlite:///")
    of_files(gateway, command, "GATEWAY_DATABASE_URL names no file")


@contextmanager
def mounted(folder, options):
    """A file system of its own, where this user and kernel may have one."""
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root mounts file systems")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@COMMANDS
def test_a_file_system_that_is_read_only(gateway, instance, monkeypatch, command):
    with mounted(instance, "ro"):
        none = "There is no database at .*gateway.sqlite3. Run `gateway migrate` first"
        made = command == "migrate"
        of_files(
            gateway,
            command,
            "secret_key cannot be used: Read-only file system. Set GATEWAY_INSTANCE" if made else none,
        )
        monkeypatch.setenv("GATEWAY_SECRET_KEY", "k" * 40)
        of_files(
            gateway, command, "gateway.sqlite3 cannot be written: Read-only file system" if made else none
        )


def test_a_file_that_became_read_only(gateway, instance):
    with mounted(instance, "size=8m"):
        assert gateway("migrate").exit_code == 0
        subprocess.run(["mount", "-o", "remount,ro", instance], check=True)
        for command in ("migrate", "serve", "admin-token list", "admin-token create --name acme"):
            of_files(gateway, command, "gateway.sqlite3 cannot be written: Read-only file system")


def test_a_disk_that_is_full(gateway, instance):
    with mounted(instance, "size=64k"):
        of_files(gateway, "migrate", "gateway.sqlite3 cannot be used: the disk is full")


def test_the_demonstration_names_its_own_database_and_asks_no_other(gateway, monkeypatch, instance):
    with socket.create_server(("127.0.0.1", 0)) as production, mounted(instance, "size=64k"):
        production.settimeout(0)
        port = production.getsockname()[1]
        monkeypatch.setenv(
            "GATEWAY_DATABASE_URL", f"postgresql://acme:{SECRET}@127.0.0.1:{port}/acme?connect_timeout=2"
        )
        of_files(gateway, "demo --once", f"{instance}/gateway.sqlite3 cannot be used: the disk is full")
        with pytest.raises(BlockingIOError):
            production.accept()


@COMMANDS
def test_a_file_that_is_no_database(gateway, monkeypatch, tmp_path, command):
    file = tmp_path / "acme.sqlite3"
    file.write_text("no database, but a text that is long enough to be looked at. " * 100)
    sentence = refusal(gateway, monkeypatch, f"sqlite:///{file}", command)
    assert sentence == f"Error: {file} is no SQLite database; correct GATEWAY_DATABASE_URL.\n"


def test_a_disabled_plugin_that_is_unknown(gateway, monkeypatch):
    monkeypatch.setenv("GATEWAY_PLUGINS_DISABLED", "oktaa")
    result = gateway("migrate")
    assert result.exit_code == 1
    assert (
        result.stderr
        == "Error: plugins_disabled names 'oktaa', and no plugin is called so. Is 'okta' meant?\n"
    )
