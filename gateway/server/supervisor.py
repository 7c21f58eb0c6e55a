"""The supervisor: it starts granian's worker processes, keeps them running, and stops them.

`gunicorn -c python:gateway.gunicorn` serves the same application for those who prefer it; the README shows how, with
the two variables that `serve` sets here.

granian ends the whole server when a worker dies twice within seconds (its guard against crash loops). Two workers
killed for want of memory look just like that, so the supervisor starts it again, more slowly each time.

HTTP/1 only, and no websockets: identity providers speak neither HTTP/2 nor those to a SCIM server. A request line above
65,534 bytes is answered by granian itself, 414 without a body; that limit is built in, and no HTML comes of it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import logging.config
import multiprocessing
import multiprocessing.util
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.mp import MPServer

from gateway.app import create_app
from gateway.server.exchange import Exchanges
from gateway.server.worker import GRACE, STOPS, end_at_once_by_signals, end_with_parent, serve_requests

log = logging.getLogger("gateway.server")

#: Two threads a worker: a short request passes a long one, yet few writers queue for SQLite's one lock. With four,
#: creates gained 8 % on SQLite, deactivations lost as much, and the slowest reads took a third longer.
THREADS = 2
#: Connections to the database that a worker may have: its threads, those of the two queues, its background thread,
#: and the lock of the process that delivers events.
SESSIONS = THREADS + 4
#: Connections of clients that a worker holds, and those that wait until one is free: an idle one costs some kilobytes.
CONNECTIONS, BACKLOG = 20_000, 4096
#: Milliseconds that a client has for the headers of a request, idle time between two requests included.
HEADER_MILLISECONDS = 30_000
#: Seconds until the server is started again: doubled each time, and small again once it ran for `STEADY`.
FIRST_PAUSE, LONGEST_PAUSE, STEADY = 0.2, 30.0, 60.0


# Request headers never reach a log: nothing here writes them, and granian's access log is off.
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "gateway.logs.LineFormatter",
            "format": "%(asctime)s %(levelname)s %(name)s [%(process)d] %(message)s",
            "datefmt": "%Y-%m-%dT%H:%M:%S%z",
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"level": "INFO", "handlers": ["stderr"]},
    # A client that hangs up in the middle of its answer is no news.
    "loggers": {"_granian": {"level": "INFO"}, "_granian.asgi": {"level": "WARNING"}},
}


class ServingError(Exception):
    """The server cannot be started; the sentence says why."""


def default_workers() -> int:
    """One for each core this process may use: at least two, so that one serves while another is started again; at
    most eight, because containers often see the cores of the whole machine.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    return max(2, min(8, cores))


def serve(host: str, port: int, workers: int) -> None:
    """Serve until SIGTERM or SIGINT. Port 0 takes a free one. The first worker that is ready says where."""
    logging.config.dictConfig(LOGGING)
    _raise_open_files()
    with reserved(host, port) as (address, bound), _metrics_folder():
        # What workers read: each takes its share of the rate limit.
        os.environ["GATEWAY_WORKERS"] = str(workers)
        _supervise(address, bound, workers)


def _raise_open_files() -> None:
    """Let workers have as many open files as the system allows: each connection of a client is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + 1024
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if most > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@contextmanager
def reserved(host: str, port: int) -> Iterator[tuple[str, int]]:
    """Hold a port: the numeric address and the port. Refuses one that is taken.

    Workers listen side by side on one port (SO_REUSEPORT), which would also let a second gateway join in unnoticed. So
    the port is bound without that option first, by a socket that never listens, and opened to our workers afterwards.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError):
        raise ServingError(f"There is no address {host!r} to listen at.") from None
    with socket.socket(family, socket.SOCK_STREAM) as holder, socket.socket(socket.AF_UNIX) as claim:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(address)
            if sys.platform == "linux":
                # With SO_REUSEADDR a port is taken only once somebody listens: until a worker does, after seconds, a
                # second server could bind it as well. A name without a file is taken by one at once.
                claim.bind("\0gateway serves {} {}".format(*holder.getsockname()[:2]))
        except OSError as error:
            raise ServingError(_no_port(error, host, port)) from None
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield holder.getsockname()[:2]


def _no_port(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is taken by another program. Choose another one with --port; 0 takes a free one."
    if error.errno == errno.EACCES:
        return (
            f"Port {port} may be opened by the administrator of this machine only. Choose one from 1024 on."
        )
    return f"The server cannot listen at {host}: {os.strerror(error.errno or 0)}."


@contextmanager
def _metrics_folder() -> Iterator[None]:
    """Where the workers add up their metrics. Empty at the start: numbers of dead processes would stay for ever."""
    given = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    folder = Path(given or tempfile.mkdtemp(prefix="gateway-metrics-"))
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*.db"):
        left.unlink()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    try:
        yield
    finally:
        if not given:
            del os.environ["PROMETHEUS_MULTIPROC_DIR"]
            shutil.rmtree(folder, ignore_errors=True)


class _Worker:
    """Makes the application, inside each worker process."""

    def __init__(self, address: str, port: int) -> None:
        self._address, self._port = address, port
        self._supervisor = os.getpid()
        self._unsaid = multiprocessing.Semaphore(1)

    def __call__(self, target: str) -> Any:
        end_at_once_by_signals()
        end_with_parent(self._supervisor)
        app = create_app()
        # granian has no hook for the end of a worker; this runs once its open requests were answered.
        multiprocessing.util.Finalize(None, app.extensions["gateway"].close, exitpriority=1)
        # What was untold when the server stopped is told before the first request comes.
        app.extensions["gateway"].worker.start()
        if self._unsaid.acquire(block=False):
            threading.Thread(target=self._say_where, daemon=True).start()
        return Exchanges(app)

    def _say_where(self) -> None:
        """Once for all workers, as soon as a connection is taken: granian listens only after this call returned."""
        while True:
            try:
                socket.create_connection((self._address, self._port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.01)
        host = f"[{self._address}]" if ":" in self._address else self._address
        sys.stdout.write(f"Listening on http://{host}:{self._port}\n")
        sys.stdout.flush()

    def was_ready(self) -> bool:
        """Whether any worker ever was."""
        unsaid = self._unsaid.acquire(block=False)
        if unsaid:
            self._unsaid.release()
        return not unsaid


def _supervise(address: str, port: int, workers: int) -> None:
    worker, stop = _Worker(address, port), threading.Event()
    pause = FIRST_PAUSE
    _on_stop(stop)
    while not stop.is_set():
        server, began = _server(address, port, workers), time.monotonic()
        # SystemExit is how granian tells that workers failed.
        with contextlib.suppress(SystemExit), _insisting(server):
            server.serve(serve_requests, worker)
        _on_stop(stop)  # granian had put its own handlers in place
        if server.interrupt_signal:
            return
        if not worker.was_ready():
            raise ServingError("The application cannot be made in a worker process; the log above says why.")
        pause = FIRST_PAUSE if time.monotonic() - began > STEADY else pause
        log.error("the workers ended; they are started again in %.1f seconds", pause)
        stop.wait(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _on_stop(stop: threading.Event) -> None:
    for number in STOPS:
        signal.signal(number, lambda *_: stop.set())


@contextmanager
def _insisting(server: MPServer) -> Iterator[None]:
    """While it serves: workers are told to stop again and again once they were told.

    One that was started a moment before takes the first time for a signal to its parent, whose handlers it still has.
    """
    over = threading.Event()

    def insist() -> None:
        while not over.wait(1):
            for worker in server.wrks if server.interrupt_signal else ():
                worker.terminate()

    threading.Thread(target=insist, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _server(address: str, port: int, workers: int) -> MPServer:
    return MPServer(
        target="gateway.app:create_app",
        address=address,
        port=port,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        websockets=False,
        workers=workers,
        blocking_threads=THREADS,
        # A thread has a connection to the database, which ends with it. More than ten minutes is not possible.
        blocking_threads_idle_timeout=600,
        backlog=BACKLOG,
        backpressure=CONNECTIONS,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_MILLISECONDS),
        respawn_failed_workers=True,
        workers_kill_timeout=GRACE,
        log_dictconfig=LOGGING,
    )
