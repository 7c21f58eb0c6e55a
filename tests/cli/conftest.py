"""The command in this process, and a server as `gateway serve` starts it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from tests.support.server import Server


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for one deployment, still empty."""
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GATEWAY_INSTANCE", str(tmp_path / "instance"))
    return tmp_path / "instance"


@pytest.fixture
def gateway(instance: Path) -> Callable[..., Result]:
    """`gateway("migrate")` runs the command."""
    return lambda *arguments: CliRunner().invoke(main, arguments)


@pytest.fixture
def serve(instance: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers of this instance, and ends them with the test."""
    started: list[Server] = []

    def start(*arguments: str) -> Server:
        assert CliRunner().invoke(main, ["migrate"]).exit_code == 0
        started.append(Server(os.environ, instance / "server.log", *arguments))
        return started[-1]

    yield start
    for server in started:
        server.close()
