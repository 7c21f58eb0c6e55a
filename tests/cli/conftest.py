"""The command in this process, and a server as `gateway serve` starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main

COMMAND = [sys.executable, "-m", "gateway.cli"]


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


class Server:
    """`gateway serve` in a process of its own, listening."""

    def __init__(self, instance: Path, *arguments: str) -> None:
        environment = {**os.environ, "GATEWAY_INSTANCE": str(instance)}
        assert CliRunner().invoke(main, ["migrate"]).exit_code == 0
        self.log = instance / "server.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "serve", "--port", "0", *arguments],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("Listening on http://127.0.0.1:"), self.log.read_text()
        self.url = line.removeprefix("Listening on ").strip()
        self.port = int(self.url.rpartition(":")[2])

    def workers(self) -> list[int]:
        """Their process ids, in the order of starting."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit status after a signal."""
        self.process.send_signal(number)
        return self.process.wait(timeout=10)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def serve(instance: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers of this instance, and ends them with the test."""
    started: list[Server] = []

    def start(*arguments: str) -> Server:
        started.append(Server(instance, *arguments))
        return started[-1]

    yield start
    for server in started:
        server.close()
