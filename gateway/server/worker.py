"""A worker process: granian's event loop and the threads of the application, until a stop signal.

granian is used below its interfaces, by names that a new minor version may change; setup.cfg bounds its version. Its
event loop (Rust) reads requests and writes answers. It starts a request by a plain call in one of a few Python threads,
without asyncio, and reports later events by callbacks in these threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

from granian._granian import ASGIWorker, CallbackScheduler, WorkerSignal
from granian.server.common import WORKERS_METHODS
from granian.server.mp import WorkerProcess

from gateway.server.exchange import Exchanges

#: Signals that stop a server.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: Seconds that open requests have to end after a stop signal.
STOP_SECONDS = 30
#: Milliseconds that sent data may stay unacknowledged before the kernel closes the connection.
UNACKNOWLEDGED_MILLISECONDS = 30_000


class _DirectLoop:
    """Replaces asyncio's event loop: futures of granian call back at once, in the thread in which they complete."""

    def call_soon(self, callback: Callable[..., Any], *arguments: Any, context: Any = None) -> None:
        callback(*arguments)

    call_soon_threadsafe = call_soon


class _Scheduler(CallbackScheduler):
    def __init__(self, *arguments: Any) -> None:
        super().__init__()


@WorkerProcess.wrap_target  # type: ignore[untyped-decorator]
def serve_requests(
    worker_id: int,
    start_exchange: Exchanges,
    sock: Any,
    ipc: Any,
    _loop: Any,
    runtime_mode: Any,
    runtime_threads: int,
    runtime_blocking_threads: int,
    threads: int,
    threads_idle_timeout: int,
    connections: int,
    _task_impl: Any,
    http_mode: Any,
    http1_settings: Any,
    http2_settings: Any,
    websockets: bool,
    static_path: Any,
    _access_log: Any,
    ssl_context: Any,
    _scope_options: Any,
    metrics: Any,
) -> None:
    """Serve until a stop signal; call `start_exchange` with each request. The other arguments are granian's."""
    stop, stopped = install_stop_signal(start_exchange.stop), threading.Event()
    stop.add_cb(stopped.set)
    spec, holder = sock
    if holder is None:
        holder = spec.build()
        limit_unread_answers(holder.get_fd())
    make: Any = ASGIWorker  # its stub declares other arguments
    worker = make(
        worker_id,
        (None, holder),
        ipc,
        runtime_threads,
        runtime_blocking_threads,
        threads,
        threads_idle_timeout,
        connections,
        http_mode,
        http1_settings,
        http2_settings,
        websockets,
        static_path,
        *ssl_context,
        metrics,
    )
    loop = _DirectLoop()
    scheduler: Any = _Scheduler(loop, start_exchange, None, None, None)
    scheduler._schedule_fn = start_exchange
    getattr(worker, WORKERS_METHODS[runtime_mode][False])(scheduler, loop, stop)
    stopped.wait()


def limit_unread_answers(listener: int) -> None:
    """Have the kernel close connections whose client reads nothing of an answer (Linux; RFC 5482)."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        with socket.socket(fileno=os.dup(listener)) as listening:
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MILLISECONDS)


def end_with_parent(parent: int) -> None:
    """Have the kernel stop this process when its parent ends, so that a killed server leaves no worker (Linux)."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before the call
            os.kill(os.getpid(), signal.SIGTERM)


def restore_default_stop() -> None:
    """Let a stop signal end this process while its application is built: the parent's handlers would ignore it."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def install_stop_signal(on_stop: Callable[[], None] = lambda: None) -> WorkerSignal:
    """Return the signal that stops granian's worker in this process at the first stop signal; `on_stop` is called then.

    The kernel ends the process `STOP_SECONDS` later. It replaces granian's own handlers, for two reasons. Python calls
    a handler in the main thread alone, which may be about to wait and then sleeps on. And granian 2.8 queues two
    signals while open requests end; a third blocks with the interpreter lock held, so that no request ever ends.
    Several signals do arrive: the kernel reports a parent's death once for each of its threads, Ctrl-C reaches
    supervisor and workers, and the supervisor repeats the signal.
    """
    stop = WorkerSignal()
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)

    def read_signals() -> None:
        while os.read(read_end, 1)[0] not in STOP_SIGNALS:
            continue
        signal.alarm(STOP_SECONDS)
        on_stop()
        stop.set()

    threading.Thread(target=read_signals, daemon=True).start()
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: None)
    return stop
