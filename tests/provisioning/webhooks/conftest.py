"""An endpoint on 127.0.0.1 that answers as a test says, byte by byte if need be."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest


class Endpoint:
    """A server for one connection at a time, with one thread for each.

    `answers`: what is sent for each request, in order, the last one again. A list is sent piece by piece, with `pause`
    seconds between; None closes the connection instead.
    """

    def __init__(self, wrap: Callable[[socket.socket], socket.socket]) -> None:
        self.answers: list[bytes | Sequence[bytes] | None] = [answer(200, b"ok")]
        self.pause = 0.0
        #: Head and body of each request.
        self.requests: list[tuple[str, bytes]] = []
        self.connections = 0
        self._wrap, self._open = wrap, True
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._connected: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while self._open:
            try:
                plain, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            self._threads.append(threading.Thread(target=self._serve, args=(plain,)))
            self._threads[-1].start()

    def _serve(self, plain: socket.socket) -> None:
        with plain:
            try:
                connected = self._wrap(plain)
            except OSError:
                return
            self._connected.append(connected)
            with connected:
                while (request := _read(connected)) and self._open:
                    self.requests.append(request)
                    if not self._send(connected):
                        return

    def _send(self, connected: socket.socket) -> bool:
        now = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if now is None:
            return False
        try:
            for piece in [now] if isinstance(now, bytes) else now:
                if not self._open:
                    return False
                connected.sendall(piece)
                time.sleep(self.pause)
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._open = False
        for each in (self._listening, *self._connected):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._listening.close()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()


def answer(status: int, body: bytes = b"", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status} Word\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def _read(connected: socket.socket) -> tuple[str, bytes] | None:
    received = b""
    try:
        while b"\r\n\r\n" not in received:
            if not (piece := connected.recv(65536)):
                return None
            received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        while len(body) < length:
            if not (piece := connected.recv(65536)):
                return None
            body += piece
    except OSError:
        return None
    return head.decode(), body


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint(lambda plain: plain)
    yield made
    made.close()
