"""A server as `gateway serve` starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

ANNOUNCED = "Listening on "


class Server:
    """`gateway serve` in a process group of its own, at a port that the system chose; it listens once this is made."""

    def __init__(self, environment: Mapping[str, str], log: Path, *arguments: str) -> None:
        """Start it. `environment` is the whole of its environment; what it logs is appended to `log`."""
        self.log = log
        with log.open("a") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", "serve", "--port", "0", *arguments],
                env=dict(environment), stdout=subprocess.PIPE, stderr=file, text=True, start_new_session=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith(f"{ANNOUNCED}http://127.0.0.1:"), line + log.read_text()
        self.url = line.removeprefix(ANNOUNCED).strip()
        self.port = int(self.url.rpartition(":")[2])

    def workers(self) -> list[int]:
        """Return the process ids of the workers, in the order of starting."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def stop(self, number: int = signal.SIGTERM, seconds: float = 10) -> int:
        """Send a signal, and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=seconds)

    def kill(self) -> None:
        """End the server and its workers at once, without a warning."""
        workers = self.workers()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        assert self.process.wait(10) == -signal.SIGKILL
        self.close()
        until = time.monotonic() + 5
        while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < until:
            time.sleep(0.01)

    def close(self) -> None:
        """End it, whatever its state."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
