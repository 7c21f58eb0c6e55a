"""What runs in a worker process: granian's event loop and the threads of the application, until a signal to stop.

granian is used below its interfaces, by names that a new minor version may change; setup.cfg holds it. Its event loop
(Rust) reads requests and writes answers. A request is begun in one of a few Python threads by a plain call, without
asyncio; what the event loop has to say later, it says by calling back in one of these threads.
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

#: The signals that end a server.
STOPS = (signal.SIGTERM, signal.SIGINT)
#: Seconds that open requests have to end when the server stops.
GRACE = 30
#: Milliseconds that a client may leave what it was sent unread, before the kernel closes its connection.
UNREAD_MILLISECONDS = 30_000


class _CallingBack:
    """In place of an event loop of asyncio: granian's futures call back at once, in the thread that they end in."""

    def call_soon(self, callback: Callable[..., Any], *arguments: Any, context: Any = None) -> None:
        callback(*arguments)

    call_soon_threadsafe = call_soon


class _Scheduler(CallbackScheduler):
    def __init__(self, *arguments: Any) -> None:
        super().__init__()


@WorkerProcess.wrap_target
def serve_requests(
    worker_id: int,
    begin: Callable[[Any], None],
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
    """Serve until a signal. `begin` is called with each request; the other arguments are granian's."""
    stop, stopped = stop_signal(), threading.Event()
    stop.add_cb(stopped.set)
    spec, holder = sock
    if holder is None:
        holder = spec.build()
        limit_unread_answers(holder.get_fd())
    make: Any = ASGIWorker  # its stub tells of other arguments
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
    loop = _CallingBack()
    scheduler: Any = _Scheduler(loop, begin, None, None, None)
    scheduler._schedule_fn = begin
    getattr(worker, WORKERS_METHODS[runtime_mode][False])(scheduler, loop, stop)
    stopped.wait()


def limit_unread_answers(listener: int) -> None:
    """Have the kernel close connections whose client takes nothing of what it was sent (Linux; RFC 5482)."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        with socket.socket(fileno=os.dup(listener)) as listening:
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MILLISECONDS)


def end_with_parent(parent: int) -> None:
    """Have the kernel stop this process when its parent is gone, so that a killed server leaves no worker behind."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
        if os.getppid() != parent:  # it was gone before the kernel knew
            os.kill(os.getpid(), signal.SIGTERM)


def end_at_once_by_signals() -> None:
    """Let a stop end this process while its application is made; the handlers of the parent would swallow it."""
    for number in STOPS:
        signal.signal(number, signal.SIG_DFL)


def stop_signal() -> WorkerSignal:
    """Have granian's worker in this process stop by the first signal, and the kernel end it `GRACE` seconds later.

    In place of granian's own handlers, for two reasons. Python calls a handler in the main thread alone, which may be
    about to wait and then sleeps on. And granian 2.8 has room for two signals while open requests end; a third waits
    for room without giving the interpreter back, so that no request ever ends. Several do come: the kernel tells of a
    parent's death once for each of its threads, Ctrl-C reaches supervisor and workers, and the supervisor insists.
    """
    told = WorkerSignal()
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
