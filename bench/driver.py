"""The load: raw keep-alive sockets in a closed loop. It shares the cores with the server, so it does next to nothing.

Requests are made before the clock runs. A piece of work may be several requests, sent one after the other.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.operations import Ask, Subject
from bench.processes import children

HOST = "127.0.0.1"
_PATIENCE = 120.0
#: Seconds after which an unused connection is opened anew; servers end those that are idle for half a minute or so.
_IDLE = 10.0


class RequestFailed(Exception):
    """The server gave an answer that is no success, or none; the text says which."""


@dataclass
class Round:
    """The result of one load: runs, seconds, and the milliseconds of each run in the order of ending."""

    count: int
    seconds: float
    times: list[float]
    #: The bodies in the order of ending, the last one of each piece of work.
    answers: list[bytes]


def encode(subject: Subject, ask: Ask) -> bytes:
    """Return the bytes of a request."""
    query = f"?{ask.query}" if ask.query else ""
    head = f"{ask.method} {subject.base}{ask.path}{query} HTTP/1.1\r\nHost: {HOST}\r\n"
    head += f"Authorization: Bearer {subject.token}\r\nAccept: application/scim+json\r\n"
    if ask.body:
        head += f"Content-Type: application/scim+json\r\nContent-Length: {len(ask.body)}\r\n"
    return f"{head}\r\n".encode() + ask.body


class _Channel:
    """One connection, and the answer that it is in the middle of."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=_PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.left: list[bytes] = []
        self.begun = 0.0
        self.owner, self.used = 0, time.monotonic()
        self._answer, self._end = b"", 0

    def ask(self, request: bytes) -> None:
        self._answer, self._end = b"", 0
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Receive a part of the answer; return whether it is complete."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise RequestFailed(f"The server closed the connection after {self._answer[:200]!r}.")
        self._answer = answer = self._answer + data if self._answer else data
        if not self._end:
            head = answer.find(b"\r\n\r\n")
            if head < 0:
                return False
            if answer[9:10] != b"2":
                raise RequestFailed(f"The server answered {answer[:600].decode(errors='replace')}")
            self._end = head + 4 + _length(answer[:head].lower())
        if self._end < 0:
            return answer.endswith(b"0\r\n\r\n")
        return len(answer) >= self._end

    def body(self) -> bytes:
        """Return the body of a complete answer."""
        body = self._answer.partition(b"\r\n\r\n")[2]
        return _unchunked(body) if self._end < 0 else body


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        number = int(size, 16)
        whole, body = whole + rest[:number], rest[number + 2 :] if number else b""
    return whole


def _length(head: bytes) -> int:
    """Return the length of the body in bytes; negative for a chunked one."""
    before, found, after = head.partition(b"content-length:")
    if found:
        return int(after.split(b"\r\n", 1)[0])
    return -(1 << 40) if b"chunked" in before else 0


class Channels:
    """Connections to one server, evenly distributed over its workers, which the kernel would choose at random."""

    def __init__(self, port: int, pid: int) -> None:
        self._port, self._pid = port, pid
        self._open: list[_Channel] = []

    def send(self, work: Sequence[Sequence[bytes]], concurrency: int, keep: bool = False) -> Round:
        """Send all requests over `concurrency` connections; with `keep` the result has the bodies of the answers."""
        self._close_idle(time.monotonic() - _IDLE)
        while len(self._open) < concurrency:
            self._open.append(self._connect())
        channels = {channel.socket.fileno(): channel for channel in self._open[:concurrency]}
        poll, times, rest, answers = select.epoll(), list[float](), iter(work), list[bytes]()
        clock = time.perf_counter
        for number in channels:
            poll.register(number, select.EPOLLIN)
        begun, busy = clock(), 0
        for channel in channels.values():
            busy += _next(channel, rest)
        while busy:
            ready = poll.poll(_PATIENCE)
            if not ready:
                raise RequestFailed(f"No answer came for {_PATIENCE:.0f} seconds.")
            for number, _ in ready:
                channel = channels[number]
                if not channel.receive():
                    continue
                if channel.left:
                    channel.ask(channel.left.pop())
                    continue
                times.append((clock() - channel.begun) * 1000)
                if keep:
                    answers.append(channel.body())
                if not _next(channel, rest):
                    busy -= 1
        ended = clock()
        poll.close()
        for channel in channels.values():
            channel.used = time.monotonic()
        return Round(len(times), ended - begun, times, answers)

    def close(self) -> None:
        """Close all connections."""
        self._close_idle(float("inf"))

    def _close_idle(self, before: float) -> None:
        """Close the connections that were last used before a moment of the monotonic clock."""
        for channel in self._open:
            if channel.used < before:
                channel.socket.close()
        self._open = [channel for channel in self._open if channel.used >= before]

    def _connect(self) -> _Channel:
        """Open a connection to the worker that has the fewest of ours; those to other workers are closed again."""
        workers = children(self._pid)
        if len(workers) < 2:
            return _Channel(self._port)
        owners = [channel.owner for channel in self._open]
        wanted = min(workers, key=owners.count)
        others: list[_Channel] = []
        try:
            for _ in range(200):
                channel = _Channel(self._port)
                channel.owner = _owner(channel, self._port, workers)
                if channel.owner == wanted:
                    return channel
                others.append(channel)
            raise RequestFailed("One of the workers takes no connections.")
        finally:
            for channel in others:
                channel.socket.close()


def _next(channel: _Channel, rest: Iterable[Sequence[bytes]]) -> bool:
    for piece in rest:
        channel.left = list(piece[:0:-1])
        channel.begun = time.perf_counter()
        channel.ask(piece[0])
        return True
    return False


def _owner(channel: _Channel, port: int, workers: Sequence[int]) -> int:
    """Return the worker that has accepted a connection, by /proc of Linux; waits until one has."""
    ends = f":{port:04X} 0100007F:{channel.socket.getsockname()[1]:04X} "
    for _ in range(500):
        line = next((line for line in Path("/proc/net/tcp").read_text().splitlines() if ends in line), None)
        name = f"socket:[{line.split()[9]}]" if line else ""
        for worker in workers:
            if name in map(_link_target, Path(f"/proc/{worker}/fd").iterdir()):
                return worker
        time.sleep(0.002)
    raise RequestFailed("A connection was taken by no worker.")


def _link_target(link: Path) -> str:
    with suppress(OSError):
        return str(link.readlink())
    return "closed meanwhile"
