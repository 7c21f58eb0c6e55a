"""The server of a demonstration: `gateway serve` in a child process, which ends with its parent."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from gateway.server import STOP_SECONDS, ServingError, end_with_parent

DEFAULT_PORT = 8000
START_SECONDS = 30
_URL_LINE = "Listening on "


@contextmanager
def run_server(environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """Run a server that logs to `log`, and yield its URL, with the default port or, if that is taken, a free one.

    Raises ServingError when it does not start.
    """
    url, process = None, None
    try:
        for port in (DEFAULT_PORT, 0):
            process = _start(port, environment, log)
            if url := _read_url(process):
                break
            _stop(process)
        if url is None:
            raise ServingError(f"The server did not start: {_last_line(log)}")
        yield url
    finally:
        if process:
            _stop(process)


def _start(port: int, environment: Mapping[str, str], log: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gateway.cli", "serve", "--port", str(port)]
    with log.open("w") as file:
        return subprocess.Popen(  # noqa: S603 - our own command
            command,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            # Ctrl-C reaches the demonstration alone, which then stops the server.
            start_new_session=True,
            preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509  (no thread runs yet)
        )


def _read_url(process: subprocess.Popen[str]) -> str | None:
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], START_SECONDS)[0]:
        return None
    line = process.stdout.readline()
    return line.removeprefix(_URL_LINE).strip() if line.startswith(_URL_LINE) else None


def _stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout:
        process.stdout.close()


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    return lines[-1].removeprefix("Error: ") if lines else f"it said nothing within {START_SECONDS} seconds."
