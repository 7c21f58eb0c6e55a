"""Queues of requests that would keep others waiting: each queue has one thread of a process for them.

A request that turns out to be expensive, or to wait for the lock of the database, raises `Queued` before it has changed
anything, and is run again by the thread of that queue. Clients (connections, admin tokens) alternate there, each with
one request at a time. Work that is done in steps (the pieces of a streamed answer) lets others in after each.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateway.scim.errors import Refusal, TooManyRequests
from gateway.store.engine.failures import BUSY_SECONDS, busy

#: Seconds that a request waits for those of its own client, and for those of others.
MAX_WAIT_SECONDS = 10.0
#: Seconds that a request waits for the lock of the database before it leaves its thread to others.
BLOCKED_SECONDS = 0.1
#: Seconds after which a client is asked to come again.
RETRY_AFTER_SECONDS = 5
#: Requests that one client may have waiting, and those that may be under way, most of them while they are read.
MAX_WAITING, MAX_STARTED = 8, 4
#: The same of all clients together.
MAX_WAITING_IN_ALL, MAX_STARTED_IN_ALL = 256, 32

DONE = object()


class Suspended(NamedTuple):
    """Work that waits for its client: `start(resume, end)` calls one of the two, once."""

    start: Callable[[Callable[[], None], Callable[[], None]], None]
    step: Callable[[], Any]


class Queued(BaseException):
    """Raised by a request that is to be run by a queue: `queue` is `expensive` or `blocked`, `key` names the client."""

    def __init__(self, queue: str, key: str) -> None:
        super().__init__(queue, key)
        self.queue, self.key = queue, key


@dataclass(eq=False)
class Job:
    """A request of a client.

    `step` does a part of it and returns the next step, a `Suspended`, or DONE; `refuse` responds where it could not
    start in time.
    """

    key: str
    step: Callable[[], Any]
    refuse: Callable[[Refusal], None]
    since: float = field(default_factory=time.monotonic)
    started: bool = False


class RequestQueue:
    """Requests of one process that are run one after the other. `refusal` refuses those that wait too long."""

    def __init__(self, max_wait: float, refusal: Callable[[], Refusal]) -> None:
        self._max_wait, self._refusal = max_wait, refusal
        self._lock = threading.Condition()
        #: What is to be done, by client, in the order in which they are run next.
        self._waiting: OrderedDict[str, deque[Job]] = OrderedDict()
        self._count = 0
        self._started: dict[str, int] = {}
        # For servers that give each request a thread of its own: one of those works at a time.
        self._one = threading.RLock()

    def start(self, name: str) -> None:
        """Start the threads that run requests, and refuse those that have waited for too long."""
        threading.Thread(target=self._work, name=f"gateway-{name}", daemon=True).start()
        threading.Thread(target=self._expire, name=f"gateway-{name}-waits", daemon=True).start()

    @contextmanager
    def run_alone(self) -> Iterator[None]:
        """Run in the calling thread, one at a time. Raises the refusal when that is not possible in time."""
        if not self._one.acquire(timeout=self._max_wait):
            raise self._refusal()
        try:
            yield
        finally:
            self._one.release()

    def submit(self, job: Job) -> None:
        """Run a job after those before it; refuse it where too many wait already."""
        with self._lock:
            queue = self._waiting.get(job.key, ())
            full = self._count >= MAX_WAITING_IN_ALL or len(queue) >= MAX_WAITING
            if not full:
                self._put(job)
        if full:
            job.refuse(self._refusal())

    def _put(self, job: Job) -> None:
        queue = self._waiting.setdefault(job.key, deque())
        if job.started:
            queue.appendleft(job)
        else:
            queue.append(job)
        self._count += 1
        self._lock.notify()

    def _next(self) -> Job:
        """Remove and return the first job of the client that is next; its other jobs wait for the next round."""
        with self._lock:
            while True:
                for key, queue in self._waiting.items():
                    if queue[0].started or self._may_start(key):
                        job = self._remove(key, queue, 0)
                        if self._waiting.get(key):
                            self._waiting.move_to_end(key)
                        return job
                self._lock.wait()

    def _may_start(self, key: str) -> bool:
        return self._started.get(key, 0) < MAX_STARTED and sum(self._started.values()) < MAX_STARTED_IN_ALL

    def _remove(self, key: str, queue: deque[Job], place: int) -> Job:
        job = queue[place]
        del queue[place]
        self._count -= 1
        if not queue:
            del self._waiting[key]
        return job

    def _work(self) -> None:
        while True:
            job = self._next()
            if not job.started:
                job.started = True
                with self._lock:
                    self._started[job.key] = self._started.get(job.key, 0) + 1
            self._continue(job, job.step())

    def _continue(self, job: Job, following: Any) -> None:
        if isinstance(following, Suspended):
            job.step = following.step
            following.start(lambda: self._resume(job), lambda: self._end(job))
        elif following is DONE:
            self._end(job)
        else:
            job.step = following
            self._resume(job)

    def _resume(self, job: Job) -> None:
        with self._lock:
            self._put(job)

    def _end(self, job: Job) -> None:
        with self._lock:
            self._started[job.key] -= 1
            if not self._started[job.key]:
                del self._started[job.key]
            self._lock.notify()

    def _expire(self) -> None:
        """Refuse those that have waited for too long."""
        while True:
            time.sleep(0.5)
            before = time.monotonic() - self._max_wait
            with self._lock:
                late = [
                    self._remove(key, queue, place)
                    for key, queue in list(self._waiting.items())
                    for place in reversed(range(len(queue)))
                    if not queue[place].started and queue[place].since < before
                ]
            for job in late:
                job.refuse(self._refusal())


def request_queues() -> dict[str, RequestQueue]:
    """Make the queues of a process: of expensive requests, and of those that wait for the lock of the database."""
    return {
        "expensive": RequestQueue(MAX_WAIT_SECONDS, too_many_requests),
        "blocked": RequestQueue(BUSY_SECONDS, busy),
    }


def too_many_requests() -> TooManyRequests:
    """Make the refusal of expensive requests that come faster than they can be answered."""
    return TooManyRequests(
        "Other expensive requests of this client are being answered. Nothing was changed; try again after"
        f" {RETRY_AFTER_SECONDS} seconds, one at a time.",
        retry_after=RETRY_AFTER_SECONDS,
    )
