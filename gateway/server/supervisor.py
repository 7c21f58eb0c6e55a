"""The supervisor: starts granian's worker processes, restarts and stops them.

`gunicorn -c python:gateway.gunicorn` serves the same application; the README shows how, with the two variables that
`serve` sets here.

granian ends the whole server when a worker dies twice within seconds (its guard against crash loops). Two workers
killed for lack of memory look the same, so the supervisor restarts the server, with a pause that grows each time.

HTTP/1 only, no websockets: identity providers use neither HTTP/2 nor websockets with a SCIM server. A request line
above 65,534 bytes is answered by granian itself, 414 without a body; that limit is built in.
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
from gateway.server.worker import (
    STOP_SECONDS,
    STOP_SIGNALS,
    end_with_parent,
    restore_default_stop,
    serve_requests,
)

log = logging.getLogger("gateway.server")

#: Threads of a worker: with two a short request passes a long one, and few writers wait for SQLite's one lock. With
#: four, creates gained 8 % on SQLite, deactivations lost as much, and the slowest reads took a third longer.
THREADS = 2
#: Database connections of a worker, at most: its threads, those of the two queues, its background thread, the lock of
#: long changes, and the threads that deliver to webhooks and serve requests that wait for events.
DATABASE_CONNECTIONS = THREADS + 6
#: Client connections of a worker, at most, and those that wait for one to end; an idle one costs some kilobytes.
CONNECTIONS, BACKLOG = 20_000, 4096
#: Milliseconds that a client has for the headers of a request, idle time between two requests included.
HEADER_MILLISECONDS = 30_000
#: Bounds of the pause before a restart, in seconds: it doubles each time, and is the shortest again after
#: `STABLE_SECONDS` of service.
MIN_RESTART_PAUSE, MAX_RESTART_PAUSE, STABLE_SECONDS = 0.2, 30.0, 60.0


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
    # A client that disconnects in the middle of its answer is usual.
    "loggers": {"_granian": {"level": "INFO"}, "_granian.asgi": {"level": "WARNING"}},
}


class ServingError(Exception):
    """The server cannot be started; its text is a sentence that says why."""


def default_workers() -> int:
    """Return the number of cores that this process may use, between two and eight.

    With two, one serves while the other is restarted; containers often see the cores of the whole machine.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    return max(2, min(8, cores))


def serve(host: str, port: int, workers: int) -> None:
    """Serve until SIGTERM or SIGINT; port 0 takes a free one. The first worker that is ready prints the URL.

    Raises ServingError when the port cannot be opened or no worker can build the application.
    """
    logging.config.dictConfig(LOGGING)
    _raise_open_files()
    with reserve_port(host, port) as (address, bound), _metrics_folder():
        # Workers read it: each takes its share of the rate limit.
        os.environ["GATEWAY_WORKERS"] = str(workers)
        _supervise(address, bound, workers)


def _raise_open_files() -> None:
    """Raise the limit of open files to what workers need or the system allows: each client connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + 1024
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if most > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@contextmanager
def reserve_port(host: str, port: int) -> Iterator[tuple[str, int]]:
    """Hold a port, and yield its numeric address and number. Raises ServingError for one that is taken.

    Workers listen side by side on one port (SO_REUSEPORT), which would also let a second gateway listen there
    unnoticed. So the port is bound without that option first, by a socket that never listens, and then shared with our
    workers.
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
                # With SO_REUSEADDR a port is taken only once a socket listens: until a worker does, after seconds, a
                # second server could bind it as well. An abstract socket name is taken at once.
                claim.bind("\0gateway serves {} {}".format(*holder.getsockname()[:2]))
        except OSError as error:
            raise ServingError(_port_refusal(error, host, port)) from None
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield holder.getsockname()[:2]


def _port_refusal(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is taken by another program. Choose another one with --port; 0 takes a free one."
    if error.errno == errno.EACCES:
        return (
            f"Port {port} may be opened by the administrator of this machine only. Choose one from 1024 on."
        )
    return f"The server cannot listen at {host}: {os.strerror(error.errno or 0)}."


@contextmanager
def _metrics_folder() -> Iterator[None]:
    """Provide the folder in which workers add up their metrics, emptied of the files of earlier processes."""
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
    """Builds the application inside each worker process."""

    def __init__(self, address: str, port: int) -> None:
        self._address, self._port = address, port
        self._supervisor = os.getpid()
        self._unannounced = multiprocessing.Semaphore(1)

    def __call__(self, target: str) -> Any:
        restore_default_stop()
        end_with_parent(self._supervisor)
        app = create_app()
        # granian has no hook for the end of a worker; this runs after its open requests were answered.
        multiprocessing.util.Finalize(None, app.extensions["gateway"].close, exitpriority=1)
        # Events that were not delivered when the server stopped are delivered before the first request.
        app.extensions["gateway"].start()
        if self._unannounced.acquire(block=False):
            threading.Thread(target=self._announce_url, daemon=True).start()
        return Exchanges(app)

    def _announce_url(self) -> None:
        """Print the URL once for all workers, as soon as the port accepts a connection.

        granian listens only after `__call__` has returned.
        """
        while True:
            try:
                socket.create_connection((self._address, self._port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.01)
        host = f"[{self._address}]" if ":" in self._address else self._address
        sys.stdout.write(f"Listening on http://{host}:{self._port}\n")
        sys.stdout.flush()

    def was_announced(self) -> bool:
        """Return whether any worker was ever ready."""
        unannounced = self._unannounced.acquire(block=False)
        if unannounced:
            self._unannounced.release()
        return not unannounced


def _supervise(address: str, port: int, workers: int) -> None:
    worker, stop = _Worker(address, port), threading.Event()
    pause = MIN_RESTART_PAUSE
    _install_stop_handlers(stop)
    while not stop.is_set():
        server, began = _build_server(address, port, workers), time.monotonic()
        # granian raises SystemExit when workers failed.
        with contextlib.suppress(SystemExit), _repeat_stop(server):
            server.serve(serve_requests, worker)
        _install_stop_handlers(stop)  # granian had installed its own
        if server.interrupt_signal:
            return
        if not worker.was_announced():
            raise ServingError("The application cannot be made in a worker process; the log above says why.")
        pause = MIN_RESTART_PAUSE if time.monotonic() - began > STABLE_SECONDS else pause
        log.error("the workers ended; they are started again in %.1f seconds", pause)
        stop.wait(pause)
        pause = min(2 * pause, MAX_RESTART_PAUSE)


def _install_stop_handlers(stop: threading.Event) -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: stop.set())


@contextmanager
def _repeat_stop(server: MPServer) -> Iterator[None]:
    """Repeat the stop signal to the workers, once a second, from the first stop until they have ended.

    A worker that was just forked still has its parent's handlers, and would lose a single signal.
    """
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(1):
            for worker in server.wrks if server.interrupt_signal else ():
                worker.terminate()

    threading.Thread(target=repeat, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _build_server(address: str, port: int, workers: int) -> MPServer:
    return MPServer(
        target="gateway.app:create_app",
        address=address,
        port=port,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        websockets=False,
        workers=workers,
        blocking_threads=THREADS,
        # The database connection of a thread ends with it. granian allows ten minutes at most.
        blocking_threads_idle_timeout=600,
        backlog=BACKLOG,
        backpressure=CONNECTIONS,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_MILLISECONDS),
        respawn_failed_workers=True,
        workers_kill_timeout=STOP_SECONDS,
        log_dictconfig=LOGGING,
    )
