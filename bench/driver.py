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


class Failed(Exception):
    """The server gave an answer that is no success, or none; the sentence tells which."""


@dataclass
class Round:
    """What one load came to: pieces of work, seconds, and the milliseconds of each, in the order of ending."""

    count: int
    seconds: float
    times: list[float]
    #: The bodies in the order of ending, the last one of each piece of work.
    answers: list[bytes]


def encoded(subject: Subject, ask: Ask) -> bytes:
    """A request as it is sent."""
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

    def answered(self) -> bool:
        """Take what has come; whether that was all."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise Failed(f"The server closed the connection after {self._answer[:200]!r}.")
        self._answer = answer = self._answer + data if self._answer else data
        if not self._end:
            head = answer.find(b"\r\n\r\n")
            if head < 0:
                return False
            if answer[9:10] != b"2":
                raise Failed(f"The server answered {answer[:600].decode(errors='replace')}")
            self._end = head + 4 + _length(answer[:head].lower())
        if self._end < 0:
            return answer.endswith(b"0\r\n\r\n")
        return len(answer) >= self._end

    def body(self) -> bytes:
        """That of the answer, which is here."""
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
    """Bytes of the body; far below nothing where it comes in chunks."""
    before, found, after = head.partition(b"content-length:")
    if found:
        return int(after.split(b"\r\n", 1)[0])
    return -(1 << 40) if b"chunked" in before else 0


class Channels:
    """Connections to one server, as many to each of its workers: left to itself the kernel throws dice for them."""

    def __init__(self, port: int, pid: int) -> None:
        self._port, self._pid = port, pid
        self._open: list[_Channel] = []

    def send(self, work: Sequence[Sequence[bytes]], concurrency: int, keep: bool = False) -> Round:
        """Do all of it, over so many connections at once; with `keep` the answers are handed back."""
        self._hang_up(time.monotonic() - _IDLE)
        while len(self._open) < concurrency:
            self._open.append(self._another())
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
                raise Failed(f"No answer came for {_PATIENCE:.0f} seconds.")
            for number, _ in ready:
                channel = channels[number]
                if not channel.answered():
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
        """Hang up."""
        self._hang_up(float("inf"))

    def _hang_up(self, before: float) -> None:
        """On those that were last used before that."""
        for channel in self._open:
            if channel.used < before:
                channel.socket.close()
        self._open = [channel for channel in self._open if channel.used >= before]

    def _another(self) -> _Channel:
        """A connection to the worker that has the fewest of ours. What was led to another one is put back."""
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
            raise Failed("One of the workers takes no connections.")
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
    """The worker that has the other end, as Linux tells it; waits until one took it."""
    ends = f":{port:04X} 0100007F:{channel.socket.getsockname()[1]:04X} "
    for _ in range(500):
        line = next((line for line in Path("/proc/net/tcp").read_text().splitlines() if ends in line), None)
        name = f"socket:[{line.split()[9]}]" if line else ""
        for worker in workers:
            if name in map(_opened, Path(f"/proc/{worker}/fd").iterdir()):
                return worker
        time.sleep(0.002)
    raise Failed("A connection was taken by no worker.")


def _opened(link: Path) -> str:
    with suppress(OSError):
        return str(link.readlink())
    return "closed meanwhile"
