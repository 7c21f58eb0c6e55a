"""The background thread of one process: writes buffered activity, delivers events, resumes long changes."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from gateway.provisioning.outages import Outages
from gateway.scim.errors import Refusal
from gateway.store import Store
from gateway.store.engine.failures import Outage

log = logging.getLogger("gateway")

#: Seconds between two rounds that nobody asked for with `wake`.
ROUND_SECONDS = 1.0
#: Seconds between two rounds however often `wake` is called: what is written together costs less.
PAUSE_SECONDS = 0.5


class Worker:
    """One thread that runs tasks one after the other, in rounds, until it is stopped.

    `start` is called by the server, after it has forked, and by whatever leaves work for a task: threads do not
    survive a fork.
    """

    def __init__(self, store: Store, outages: Outages) -> None:
        self._store, self._outages = store, outages
        #: Called in each round, in this order. A task that raises ends its round; the next round runs all of them.
        self.tasks: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = 0

    def start(self) -> None:
        """Start the thread unless it runs in this process or was stopped."""
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid == os.getpid() or self._stopping.is_set():
                return
            self._thread = threading.Thread(target=self._run, name="gateway-worker", daemon=True)
            self._pid = os.getpid()
            self._thread.start()

    def wake(self) -> None:
        """Begin the next round as soon as the pause after the last one is over."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread and wait up to five seconds for the round that it is in; it is not started again."""
        self._stopping.set()
        self._wake.set()
        if self._thread and self._pid == os.getpid():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopping.wait(PAUSE_SECONDS):
            self._wake.wait(ROUND_SECONDS - PAUSE_SECONDS)
            self._wake.clear()
            try:
                for task in self.tasks:
                    task()
            except Outage as outage:
                self._outages.record(outage)
            except Refusal as error:
                log.warning("activity and listeners wait: %s", error.detail)
            except Exception:  # what fails now must not end the thread: there is no second one
                log.exception("activity and listeners could not be served")
        self._store.database.close()
