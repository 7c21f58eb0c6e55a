"""Makes changes of very many users in portions, each a transaction of its own, and goes on with those that were left.

Between two portions other writers, of this organization and of others, of this process and of others, have as long as a
portion took. A killed process leaves a row that says what is left; the worker of any process goes on with it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import cast

from gateway.provisioning.caller import Caller, Callers, Trace
from gateway.provisioning.unit_of_work import AnyCaller, UnitOfWork, UnitsOfWork
from gateway.scim.errors import NotFound
from gateway.store import Store
from gateway.store.ids_and_time import now
from gateway.store.long_changes import REMOVE, LongChange

log = logging.getLogger("gateway")

#: Users that are changed in one transaction.
AT_ONCE = 200
#: Seconds between two portions: as long as the one before took, within these.
SHORTEST_REST, LONGEST_REST = 0.002, 0.05
#: Seconds after which a change with which nobody goes on was left, and how often a process looks for one.
LEFT_SECONDS, LOOK_SECONDS = 3.0, 2.0
#: Seconds that a worker goes on with such changes before it does what else it has to do.
TURN_SECONDS = 1.0

#: Makes one portion of a change in an open transaction. False when there was nothing left to do.
Step = Callable[[Caller, LongChange, UnitOfWork], bool]


def rest(began: float) -> None:
    """Let others in after a portion that began at a moment of the monotonic clock."""
    time.sleep(min(max(time.monotonic() - began, SHORTEST_REST), LONGEST_REST))


class LongChangeRunner:
    """Carries long changes through to their end."""

    def __init__(self, store: Store, changes: UnitsOfWork, callers: Callers) -> None:
        self._store, self._units_of_work, self._callers = store, changes, callers
        self._steps: dict[tuple[str, bool], Step] = {}
        self._looked = -LOOK_SECONDS
        #: What this process goes on with at its next turn.
        self._left: list[LongChange] = []

    def add(self, kind: str, step: Step, of_connection: bool = True) -> None:
        """Say how a portion of a kind of change is made."""
        self._steps[kind, of_connection] = step

    def finish(self, uid: str, trace: Trace) -> bool:
        """Make all portions that are left of a change. What breaks it off is raised; the portions before stand.

        True when the last portion was made here; else another process made it, or something else is wanted by now.
        """
        more: bool | None = True
        while more:
            more = self._portion(uid, trace)
        return more is False

    def progress(self, uid: str) -> LongChange | None:
        """How far a change is; None once it is over."""
        return self._store.long_changes.by_id(uid)

    def go_on(self) -> list[int]:
        """Go on for a while with what other processes, or requests that failed, left. Keys of the organizations."""
        if not self._left:
            if time.monotonic() - self._looked < LOOK_SECONDS:
                return []
            self._looked = time.monotonic()
            self._left = self._store.long_changes.untouched(now() - int(LEFT_SECONDS * 1_000_000))
        if not self._left:
            return []
        with self._store.database.only_one("long-changes") as mine:
            left, self._left = self._left if mine else [], []
            until = time.monotonic() + TURN_SECONDS
            for change in left:
                trace = Trace("long change", change.request_id or "", change.organization_id)
                more: bool | None = True
                while more and time.monotonic() < until:
                    more = self._portion(change.uid, trace)
                if more:
                    self._left.append(change)
            return [change.organization_id for change in left]

    def _portion(self, uid: str, trace: Trace) -> bool | None:
        """Whether there may be more; None when the change is over already."""
        began = time.monotonic()
        change = self._store.long_changes.by_id(uid)
        if change is None:
            return None
        step = self._steps[change.kind, change.connection_id is not None]

        def refreshed(caller: AnyCaller) -> AnyCaller:
            return cast(AnyCaller, self._caller(change))

        def portion(caller: Caller) -> bool | None:
            with self._units_of_work.open(caller, trace, line=False) as opened:
                # Read again in here: another process may have gone on, or something else be wanted by now.
                current = self._store.long_changes.by_id(uid)
                return None if current is None else step(caller, current, opened)

        more = self._units_of_work.retry_on_conflict(self._caller(change), refreshed, portion)
        if more:
            rest(began)
        return more

    def _caller(self, change: LongChange) -> Caller:
        """Who makes it: the connection whose rules are followed, or for a removal the admin."""
        if change.connection_id is None:
            return self._callers.admin(self._store.organizations.by_key(change.organization_id))
        found = self._store.connections.by_key(change.connection_id)
        if found is None:
            raise NotFound("This connection was removed meanwhile.")
        connection, organization = found
        admin = self._callers.admin(organization)
        return admin if change.kind == REMOVE else Caller(organization, admin.tenant, connection)
