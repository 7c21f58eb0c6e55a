"""The production server: granian's worker processes, and the supervisor that keeps them running.

`gunicorn -c python:gateway.gunicorn` serves the same application for those who prefer it; the README shows how, with
the two variables that `serve` sets here.

granian ends the whole server when a worker dies twice within seconds (its guard against crash loops). Two workers
killed for want of memory look just like that, so the supervisor starts it again, more slowly each time.

HTTP/1 only, and no websockets: identity providers speak neither HTTP/2 nor those to a SCIM server. A request line above
65,534 bytes is answered by granian itself, 414 without a body; that limit is built in, and no HTML comes of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import logging.config
import multiprocessing
import multiprocessing.util
import os
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

from granian import _signals
from granian.constants import HTTPModes, Interfaces
from granian.server.mp import MPServer

from gateway.app import create_app

log = logging.getLogger("gateway.serving")

#: Two threads a worker: a short request passes a long one, yet few writers queue for SQLite's one lock. With four,
#: creates gained 8 % on SQLite, deactivations lost as much, and the slowest reads took a third longer.
THREADS = 2
#: The signals that end a server.
STOPS = (signal.SIGTERM, signal.SIGINT)
#: Seconds that open requests have to end when the server stops.
GRACE = 30
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
    "loggers": {"_granian": {"level": "INFO"}},
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
    with reserved(host, port) as (address, port), _metrics_folder():
        # What workers read: each takes its share of the rate limit.
        os.environ["GATEWAY_WORKERS"] = str(workers)
        _supervise(address, port, workers)


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
    with socket.socket(family, socket.SOCK_STREAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(address)
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
        hear_of_stops()
        end_with_parent(self._supervisor)
        app = create_app()
        # granian has no hook for the end of a worker; this runs once its open requests were answered.
        multiprocessing.util.Finalize(None, app.extensions["gateway"].recorder.close, exitpriority=1)
        # What was untold when the server stopped is told before the first request comes.
        app.extensions["gateway"].recorder.start()
        if self._unsaid.acquire(block=False):
            threading.Thread(target=self._say_where, daemon=True).start()
        return app

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


def end_with_parent(parent: int) -> None:
    """Have the kernel stop this process when its parent is gone, so that a killed server leaves no worker behind."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
        if os.getppid() != parent:  # it was gone before the kernel knew
            os.kill(os.getpid(), signal.SIGTERM)


def hear_of_stops() -> None:
    """Have granian's worker in this process stop by the first signal, and the kernel end it `GRACE` seconds later.

    In place of granian's own handlers, for two reasons. Python calls a handler in the main thread alone, which may be
    about to wait and then sleeps on. And granian 2.8 has room for two signals while open requests end; a third waits
    for room without giving the interpreter back, so that no request ever ends. Several do come: the kernel tells of a
    parent's death once for each of its threads, Ctrl-C reaches supervisor and workers, and the supervisor insists.
    """
    # Until granian sets them, with the application made, a stop just ends the process; the handlers that were
    # inherited from the parent would swallow it.
    for number in STOPS:
        signal.signal(number, signal.SIG_DFL)

    def set_signals() -> Any:
        told = _signals.WorkerSignal()
        heard, signalled = os.pipe()
        os.set_blocking(signalled, False)

        def hear() -> None:
            while os.read(heard, 1)[0] not in STOPS:
                continue
            signal.alarm(GRACE)
            told.set()

        threading.Thread(target=hear, daemon=True).start()
        signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
        for number in STOPS:
            signal.signal(number, lambda *_: None)
        return told

    _signals.set_sync_signals = set_signals


def _supervise(address: str, port: int, workers: int) -> None:
    worker, stop = _Worker(address, port), threading.Event()
    pause = FIRST_PAUSE
    _on_stop(stop)
    while not stop.is_set():
        server, began = _server(address, port, workers), time.monotonic()
        # SystemExit is how granian tells that workers failed.
        with contextlib.suppress(SystemExit), _insisting(server):
            server.serve(target_loader=worker)
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
        respawn_failed_workers=True,
        workers_kill_timeout=GRACE,
        log_dictconfig=LOGGING,
    )
