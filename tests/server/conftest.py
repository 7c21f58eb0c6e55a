"""A server as `gateway serve` starts it, and raw connections to it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.testing import Deployment, Scim
from tests.support.server import Server


class Served:
    """A deployment that `gateway serve` serves, with one worker, so that nothing happens elsewhere."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.deployment, self._wires = Deployment(folder / "instance"), list[Wire]()
        environment = self.deployment.environment | settings
        self.server = Server(environment, folder / "server.log", "--workers", "1")
        self.process, self.port, self.log = self.server.process, self.server.port, self.server.log

    def close(self) -> None:
        """Stop the server, and fail where it logged a traceback."""
        for wire in self._wires:
            wire.close()
        self.server.stop(seconds=40)
        self.server.close()
        self.deployment.close()
        assert "Traceback" not in self.log.read_text(), self.log.read_text()

    def connect(self) -> Wire:
        """A new connection of a client."""
        self._wires.append(Wire(self.port))
        return self._wires[-1]


class Wire:
    """One connection, byte by byte."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._left = b""

    def send(self, method: str, path: str, token: str = "", body: Any = None, **headers: str) -> Wire:
        """Send a request; `body` is JSON, or bytes that are sent as they are."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if token:
            lines.append(f"Authorization: Bearer {token}")
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if body is not None and "Transfer_Encoding" not in headers and "Content_Length" not in headers:
            lines.append(f"Content-Length: {len(data)}")
        if body is not None:
            lines.append("Content-Type: application/json")
        self.socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        return self

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer that has a Content-Length."""
        while b"\r\n\r\n" not in self._left:
            self._more()
        head, _, self._left = self._left.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0))
        while len(self._left) < length:
            self._more()
        body, self._left = self._left[:length], self._left[length:]
        return int(first.split()[1]), headers, body

    def ended(self, seconds: float) -> bool:
        """Whether the server ends the connection within so many seconds."""
        self.socket.settimeout(seconds)
        with suppress(ConnectionResetError, TimeoutError):
            while True:
                if not self.socket.recv(65536):
                    return True
        return False

    def close(self) -> None:
        """Hang up."""
        self.socket.close()

    def _more(self) -> None:
        data = self.socket.recv(65536)
        assert data, f"the server ended the connection after {self._left!r}"
        self._left += data


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start a server with settings by their names in the environment; it ends with the test."""
    started: list[Served] = []

    def start(**settings: str) -> Served:
        started.append(Served(tmp_path, {f"GATEWAY_{name}": value for name, value in settings.items()}))
        return started[-1]

    yield start
    for served in started:
        served.close()


@pytest.fixture
def okta() -> Callable[[Served], Scim]:
    """An Okta connection of a server."""
    return lambda served: served.deployment.connection("okta")
