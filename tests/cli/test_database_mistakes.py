"""What is wrong with the database is told by commands in one sentence."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest

from gateway.testing import engines

SECRET = "hidden-password"


@pytest.fixture(scope="module")
def server():
    with engines.server() as url:
        yield url


def told(gateway, monkeypatch, url, command):
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
        sentence = told(gateway, monkeypatch, f"postgresql://acme:{SECRET}@127.0.0.1:{port}/acme", command)
    assert f"127.0.0.1, port {port}, refuses the connection" in sentence


@COMMANDS
def test_a_host_that_is_unknown(gateway, monkeypatch, command):
    sentence = told(gateway, monkeypatch, f"postgresql://acme:{SECRET}@db.invalid/acme", command)
    assert "db.invalid, port 5432, is a host whose name cannot be resolved" in sentence


@COMMANDS
def test_a_user_and_a_database_that_are_unknown(gateway, monkeypatch, server, command):
    query = urlsplit(server).query
    at = urlsplit(server)
    where = f"{at.hostname or ''}{f':{at.port}' if at.port else ''}"
    user = f"postgresql://nobody:{SECRET}@{where}/postgres?{query}"
    assert "has no user 'nobody'" in told(gateway, monkeypatch, user, command)
    database = f"postgresql://{at.username}:{SECRET}@{where}/missing?{query}"
    assert "has no database 'missing'" in told(gateway, monkeypatch, database, command)


@COMMANDS
def test_a_file_that_is_no_database(gateway, monkeypatch, tmp_path, command):
    file = tmp_path / "acme.sqlite3"
    file.write_text("no database, but a text that is long enough to be looked at. " * 100)
    sentence = told(gateway, monkeypatch, f"sqlite:///{file}", command)
    assert sentence == f"Error: {file} is no SQLite database; correct GATEWAY_DATABASE_URL.\n"


def test_a_disabled_plugin_that_is_unknown(gateway, monkeypatch):
    monkeypatch.setenv("GATEWAY_PLUGINS_DISABLED", "oktaa")
    result = gateway("migrate")
    assert result.exit_code == 1
    assert (
        result.stderr
        == "Error: plugins_disabled names 'oktaa', and no plugin is called so. Is 'okta' meant?\n"
    )
