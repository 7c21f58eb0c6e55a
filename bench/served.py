"""Over HTTP: gateway and limit at every size side by side, each behind the same server, loaded one after the other.

All of them run all the time and only one is loaded at a time. A round measures everything once, so the values that are
compared (the limit, another size, another operation) were measured moments apart, and a ratio is of one round.
"""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.driver import HOST, Channels, RequestFailed, Round, encode
from bench.machines import free_port
from bench.operations import ALL_PAGES, OPERATIONS, PAGE, Subject, list_page
from bench.processes import children, cpu_seconds, memory
from bench.raw import connect
from bench.stock import NEVER_HELD, fill_gateway, fill_limit
from gateway.server import STOP_SECONDS, end_with_parent
from gateway.testing import Deployment, engines

START_SECONDS = 60
#: Pages at either end of a list whose times are compared.
ENDS = 100
_BUFFER = bytearray(1 << 20)


@dataclass(frozen=True)
class Plan:
    """The sizes, engines, operations and rounds to measure."""

    users: tuple[int, ...]
    engines: tuple[str, ...]
    concurrency: tuple[int, ...]
    operations: tuple[str, ...]
    rounds: int
    seconds: float
    workers: int
    synchronous: str
    limit: bool = True
    #: True if no database file is in memory when a measurement begins, false if all of them are.
    cold: bool = False


@dataclass
class Lane:
    """A running server with its users."""

    engine: str
    target: str
    subject: Subject
    channels: Channels
    pid: int
    database: int = 0
    #: Its database files: a folder, and a pattern.
    stored: tuple[Path, str] | None = None
    #: Number of runs that fill the seconds of a round, by operation and concurrency.
    counts: dict[tuple[str, int], int] = field(default_factory=dict)


Row = dict[str, Any]
ShowProgress = Callable[[str, int, int], None]


def measure(plan: Plan, show_progress: ShowProgress) -> list[Row]:
    """Measure everything in all rounds; return the rows. `show_progress` gets a text, steps done and their total."""
    rows: list[Row] = []
    for engine in plan.engines:
        with ExitStack() as running:
            up = list(lanes(running, plan, engine, show_progress))
            rows += rounds(plan, up, show_progress)
            for lane in up:
                if ALL_PAGES in plan.operations and lane.target == "gateway":
                    show_progress(f"{engine}: all pages of {lane.subject.users:,} users", 0, 1)
                    _set_page_cache(lane, plan.cold)
                    rows += _measure_all_pages(lane)
            rows += [row for lane in up for row in _memory(lane)]
            for lane in up:
                lane.channels.close()
    return rows


def rounds(plan: Plan, up: Sequence[Lane], show_progress: ShowProgress, forgiving: bool = False) -> list[Row]:
    """Measure all operations in all rounds. With `forgiving`, a server is skipped for an operation that failed once."""
    steps = [
        (name, concurrency, lane)
        for name in plan.operations
        if name != ALL_PAGES
        for concurrency in plan.concurrency
        for lane in up
        if lane.target != "limit" or OPERATIONS[name].of_limit
    ]
    rows, total, failed = list[Row](), plan.rounds * len(steps), set[tuple[str, str]]()
    for done, (number, (name, concurrency, lane)) in enumerate(itertools.product(range(plan.rounds), steps)):
        of = f"{lane.engine}: {name}, {concurrency} at once, {lane.target} of {lane.subject.users:,}"
        show_progress(of, done, total)
        if (name, lane.target) in failed:
            continue
        try:
            rows.append(_round(plan, lane, name, concurrency, number))
        except (RequestFailed, OSError) as trouble:
            if not forgiving:
                raise
            failed.add((name, lane.target))
            print(f"\n{of}: {trouble}", file=sys.stderr)
            lane.channels.close()
    return rows


def _round(plan: Plan, lane: Lane, name: str, concurrency: int, number: int) -> Row:
    key = (name, concurrency)
    if key not in lane.counts:
        # Once for nothing, so that every worker has seen the operation, then to learn how many fill a round.
        _send(lane, name, 4 * concurrency, concurrency)
        trial = _send(lane, name, 10 * concurrency, concurrency)
        lane.counts[key] = max(4 * concurrency, int(trial.count / trial.seconds * plan.seconds))
    count = lane.counts[key]
    _set_page_cache(lane, plan.cold)
    # What the gateway writes down later then falls due as often within the round as after it.
    _send(lane, name, max(concurrency, count // 5), concurrency)
    work = _work(lane, name, count)
    before = cpu_seconds(lane.pid), lane.database and cpu_seconds(lane.database), time.process_time()
    found = lane.channels.send(work, concurrency)
    after = cpu_seconds(lane.pid), lane.database and cpu_seconds(lane.database), time.process_time()
    times = sorted(found.times)
    cpu, database, own = (end - begin for begin, end in zip(before, after, strict=True))
    return _row(lane, name) | {
        "concurrency": concurrency,
        "round": number,
        "per_second": found.count / found.seconds,
        "p50_ms": times[len(times) // 2],
        "p99_ms": times[int(len(times) * 0.99)],
        "cpu_ms": cpu / found.count * 1000,
        "database_cpu_ms": database / found.count * 1000,
        "driver_share": own / found.seconds,
    }


def _set_page_cache(lane: Lane, cold: bool) -> None:
    """Have the system hold the files of a lane in memory, or none of them.

    Left to itself it may hold some: a virtual machine can have to give memory back that is only used for files.
    """
    if not lane.stored:
        return
    folder, pattern = lane.stored
    for path in folder.glob(pattern):
        with suppress(FileNotFoundError), path.open("rb", buffering=0) as file:
            if cold:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                continue
            while file.readinto(_BUFFER):
                continue


def _row(lane: Lane, operation: str) -> Row:
    return {"engine": lane.engine, "target": lane.target, "users": lane.subject.users, "operation": operation}


def _work(lane: Lane, name: str, count: int) -> list[list[bytes]]:
    subject = lane.subject
    return [[encode(subject, ask) for ask in subject.next(name)] for _ in range(count)]


def _send(lane: Lane, name: str, count: int, concurrency: int) -> Round:
    return lane.channels.send(_work(lane, name, count), concurrency)


def _measure_all_pages(lane: Lane) -> Iterator[Row]:
    """Read every page of a list in order, then the first ones again; yield the medians of both ends."""
    starts = range(1, lane.subject.users - PAGE + 1, PAGE)
    asks = [[encode(lane.subject, list_page(start))] for start in starts]
    ends = min(ENDS, len(asks) // 3)
    times = lane.channels.send(asks, 1).times
    again = lane.channels.send(asks[: ends + 1], 1).times
    # The very first page has no bookmark to start from; all others have one.
    first = sorted(times[1 : ends + 1] + again[1:])
    last = sorted(times[-ends:])
    for name, found in (("first of all pages", first), ("last of all pages", last)):
        median = found[len(found) // 2]
        yield _row(lane, name) | {"concurrency": 1, "round": 0, "p50_ms": median, "pages": len(asks)}


def _memory(lane: Lane) -> Iterator[Row]:
    held = [memory(worker) for worker in children(lane.pid)]
    yield _row(lane, "memory") | {
        "pss_mb": sum(pss for pss, _ in held) / len(held),
        "own_mb": sum(own for _, own in held) / len(held),
    }


def lanes(running: ExitStack, plan: Plan, engine: str, show_progress: ShowProgress) -> Iterator[Lane]:
    """Fill databases and start their servers, which end with `running`; yield one lane each."""
    folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-")))
    server = (
        _Server(running.enter_context(engines.server()), plan.synchronous) if engine != "sqlite" else None
    )
    for users in plan.users:
        for target in ("gateway", "limit") if plan.limit else ("gateway",):
            show_progress(f"{engine}: filling the {target} with {users:,} users", 0, 1)
            name, port, environment = f"{target}_{users}", free_port(), dict(os.environ)
            if server:
                url, stored = server.create_database(name)
            else:
                url, stored = f"sqlite:///{folder / name}.sqlite3", (folder, f"{name}.sqlite3*")
            if target == "gateway":
                settings = {
                    "database_url": url,
                    "sqlite_synchronous": plan.synchronous,
                    "secret_key": "bench" * 8,
                    "brake": NEVER_HELD,
                }
                with closing(Deployment(folder / name, **settings)) as deployment:
                    subject, _ = fill_gateway(deployment, users)
                    environment = deployment.environment
                command = ["gateway.cli", "serve", "--port", str(port), "--workers", str(plan.workers)]
            else:
                subject = fill_limit(url, plan.synchronous, users)
                command = ["bench.limit", url, plan.synchronous, str(port), str(plan.workers)]
            process = running.enter_context(
                run_server([sys.executable, "-m", *command], port, environment, folder / f"{name}.log")
            )
            database = server.pid if server else 0
            yield Lane(engine, target, subject, Channels(port, process), process, database, stored)
    if server:
        server.make_durable()
    os.sync()  # or the first commits would wait for what the filling left to be written


class _Server:
    """A PostgreSQL server for gateway and limit, without durability while databases are filled."""

    def __init__(self, url: str, synchronous: str) -> None:
        self._url, self._synchronous = url, synchronous
        with connect(url) as connection:
            self._folder = Path(connection.execute("SHOW data_directory").fetchone()[0])
        self.pid = int((self._folder / "postmaster.pid").read_text().split()[0])

    def create_database(self, name: str) -> tuple[str, tuple[Path, str]]:
        """Create a database; return its URL and its files (folder, pattern)."""
        with connect(self._url) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
            key = connection.execute("SELECT oid FROM pg_database WHERE datname = %s", [name]).fetchone()[0]
        return urlsplit(self._url)._replace(path=f"/{name}").geturl(), (self._folder, f"base/{key}/*")

    def make_durable(self) -> None:
        """Switch durability on: commits are on disk when acknowledged; with NORMAL some moments later, as in SQLite."""
        committed = "on" if self._synchronous == "FULL" else "off"
        with connect(self._url) as connection:
            for setting in ("fsync = on", "full_page_writes = on", f"synchronous_commit = {committed}"):
                connection.execute(f"ALTER SYSTEM SET {setting}")
            connection.execute("CHECKPOINT")
            connection.execute("SELECT pg_reload_conf()")


@contextmanager
def run_server(command: list[str], port: int, environment: dict[str, str], log: Path) -> Iterator[int]:
    """Run a server in processes of its own; yield the process id of its supervisor."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=file,
            env=environment,
            preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509  (one system call)
            start_new_session=True,
        )
    try:
        end = time.monotonic() + START_SECONDS
        while True:
            with suppress(OSError):
                socket.create_connection((HOST, port), timeout=1).close()
                break
            if process.poll() is not None or time.monotonic() > end:
                raise RequestFailed(f"The server did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
