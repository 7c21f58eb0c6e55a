"""Runs changes of very many users in portions, each a transaction of its own, and resumes the abandoned ones.

Between two portions other writers get as much time as a portion took. A process that is killed leaves a row that says
which portions are left; the worker of any process resumes it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from gateway.provisioning.caller import Caller, Callers
from gateway.provisioning.trace import Trace
from gateway.provisioning.unit_of_work import UnitOfWork, UnitsOfWork, retry_on_conflict
from gateway.scim.errors import NotFound
from gateway.store import Store
from gateway.store.ids_and_time import now
from gateway.store.long_changes import REMOVE, LongChange

log = logging.getLogger("gateway")

#: Users that are changed in one transaction.
USERS_PER_PORTION = 200
#: Bounds of the pause between two portions, in seconds: it is as long as the portion before took.
MIN_PAUSE, MAX_PAUSE = 0.002, 0.05
#: Seconds without a portion after which a change is abandoned; seconds between two searches of a process for one.
ABANDONED_AFTER, SEARCH_INTERVAL = 3.0, 2.0
#: Seconds that the worker spends on abandoned changes before it returns to its other jobs.
RESUME_SECONDS = 1.0

#: Runs one portion of a change in an open transaction; returns False when no user was left.
PortionOperation = Callable[[Caller, LongChange, UnitOfWork], bool]
#: The same for a kind whose plugins are asked before: it opens the transaction itself. None: finished before.
WholePortion = Callable[[Caller, LongChange, Trace], bool | None]


def pause_between_portions(began: float) -> None:
    """Sleep as long as the portion took that began at `began` (monotonic clock), so that other writers get in."""
    time.sleep(min(max(time.monotonic() - began, MIN_PAUSE), MAX_PAUSE))


class LongChangeRunner:
    """Runs the portions of long changes, by the operation that is registered for their kind."""

    def __init__(self, store: Store, units_of_work: UnitsOfWork, callers: Callers) -> None:
        self._store, self._units_of_work, self._callers = store, units_of_work, callers
        self._operations: dict[tuple[str, bool], PortionOperation] = {}
        self._whole_portions: dict[str, WholePortion] = {}
        self._searched = -SEARCH_INTERVAL
        #: Abandoned changes that this process found and has not finished.
        self._abandoned: list[LongChange] = []

    def register(self, kind: str, operation: PortionOperation, of_connection: bool = True) -> None:
        """Register the operation for the portions of one kind of change, of a connection or of an organization."""
        self._operations[kind, of_connection] = operation

    def register_whole(self, kind: str, operation: WholePortion) -> None:
        """Register the operation for portions of an organization's change that opens their transactions itself."""
        self._whole_portions[kind] = operation

    def finish(
        self, uid: str, trace: Trace, seconds: float | None = None, report: Callable[[], None] = lambda: None
    ) -> bool:
        """Run the portions that are left of a change; after `seconds` the rest is left to the worker.

        `report` is called after each portion.

        Return False if another process ran the last one, or another change has replaced this one. A refusal or an
        outage in a portion is raised; the portions before stay committed.
        """
        until = None if seconds is None else time.monotonic() + seconds
        more: bool | None = True
        while more and (until is None or time.monotonic() < until):
            more = self._run_portion(uid, trace)
            report()
        return more is not None

    def progress(self, uid: str) -> LongChange | None:
        """Return a change with its progress; None once it is finished."""
        return self._store.long_changes.by_id(uid)

    def resume(self) -> list[int]:
        """Run portions of abandoned changes for about `RESUME_SECONDS`; return the keys of their organizations."""
        if not self._abandoned:
            if time.monotonic() - self._searched < SEARCH_INTERVAL:
                return []
            self._searched = time.monotonic()
            self._abandoned = self._store.long_changes.find_abandoned(
                now() - int(ABANDONED_AFTER * 1_000_000)
            )
        if not self._abandoned:
            return []
        with self._store.database.only_one("long-changes") as mine:
            left, self._abandoned = self._abandoned if mine else [], []
            until = time.monotonic() + RESUME_SECONDS
            for long_change in left:
                trace = Trace("long change", long_change.request_id or "", long_change.organization_id)
                more: bool | None = True
                while more and time.monotonic() < until:
                    more = self._run_portion(long_change.uid, trace)
                if more:
                    self._abandoned.append(long_change)
            return [long_change.organization_id for long_change in left]

    def _run_portion(self, uid: str, trace: Trace) -> bool | None:
        """Run the next portion; return whether another may follow, None when the change was finished before."""
        began = time.monotonic()
        long_change = self._store.long_changes.by_id(uid)
        if long_change is None:
            return None
        caller, whole = self._read_caller(long_change), self._whole_portions.get(long_change.kind)
        more = (whole or self._commit_portion)(caller, long_change, trace)
        if more:
            pause_between_portions(began)
        return more

    @retry_on_conflict
    def _commit_portion(self, caller: Caller, long_change: LongChange, trace: Trace) -> bool | None:
        """Run a portion in a transaction of its own, which leaves no line in the activity; return as `_run_portion`."""
        operation = self._operations[long_change.kind, long_change.connection_id is not None]
        with self._units_of_work.open(caller, trace, line=False) as unit:
            # Read again under the lock: another process may have run the portion, or replaced the change.
            current = self._store.long_changes.by_id(long_change.uid)
            return None if current is None else operation(caller, current, unit)

    def _read_caller(self, long_change: LongChange) -> Caller:
        """Return the caller of a portion: the connection whose rules apply, or an admin for a removal."""
        if long_change.connection_id is None:
            return self._callers.admin(self._store.organizations.by_key(long_change.organization_id))
        found = self._store.connections.by_key(long_change.connection_id)
        if found is None:
            raise NotFound("This connection was removed meanwhile.")
        connection, organization = found
        return self._callers.admin(organization, None if long_change.kind == REMOVE else connection)
