"""One change: a transaction that ends with its seats, its events and its line in the activity, or leaves nothing."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

from gateway.plugin.results import Decision, SeatLimit
from gateway.provisioning.caller import Caller, Trace
from gateway.provisioning.rendering import user_json
from gateway.scim.errors import OverCapacity
from gateway.scim.json_text import Json
from gateway.store import Store, WriteConflict
from gateway.store.organizations import Reservation, Reserved
from gateway.store.query.single_statement import new_state, new_user
from gateway.store.records import MemberRecord, UserRecord
from gateway.store.users import UserRewrite

Result = TypeVar("Result")
AnyCaller = TypeVar("AnyCaller", bound=Caller)
#: How often a story is told anew when what it was judged by has changed under it.
ATTEMPTS = 16
#: Seconds of the pause before that, at most: it doubles up to the longest, and chance keeps two from meeting again.
PAUSE, LONGEST_PAUSE = 0.002, 0.1


class Refresh(Protocol):
    """Reads a caller anew: the same one, as it is stored now."""

    def __call__(self, caller: AnyCaller) -> AnyCaller: ...


class UnitOfWork:
    """What a transaction collects until it is settled."""

    def __init__(self, store: Store, caller: Caller, trace: Trace, limit: SeatLimit | None) -> None:
        self._store, self._caller, self._trace, self._limit = store, caller, trace, limit
        self._events: list[tuple[str, str, str, str | None, str]] = []
        self._policy = caller.organization.policy
        #: What was taken when the transaction began: seats, and how many numbers of events.
        self._taken, self._reserved = 0, 0
        #: The last number that was reserved; 0 for none, None when the organization refused.
        self._last: int | None = 0
        #: Seats that this change takes; negative when it frees some.
        self.seats = 0
        #: Whether the groups that a user was seen in, when the caller had come in, are those it is in now.
        self.still = False
        #: Whether it did anything by an answer of plugins or by rules, which must still hold though nothing is told.
        self.judged = False

    def outdate(self) -> None:
        """First in the transaction: whoever judged by what is about to change will notice, and judge again."""
        self._policy = self._store.organizations.touch_policy(self._caller.organization.id)

    def record_event(self, kind: str, resource: str, uid: str, data: str, first: bool = False) -> None:
        """An event; `data` is JSON. `first`: before all that was told until now."""
        event = (kind, resource, uid, self._caller.connection_uid, data)
        self._events.insert(0 if first else len(self._events), event)

    def record_member_events(
        self, group_uid: str, name: str, added: Sequence[str], removed: Sequence[str]
    ) -> None:
        """Who came into a group and who left it, in portions that a follower can hold."""
        for start in range(0, max(len(added), len(removed)), 1000):
            portion = {"added": added[start : start + 1000], "removed": removed[start : start + 1000]}
            data = json.dumps({"id": group_uid, "displayName": name, **portion}, ensure_ascii=False)
            self.record_event("group.members_changed", "Group", group_uid, data)

    def due(self, seats: int, events: int, removals: int = 0, moves: int = 0) -> Reservation:
        """What the organization is asked for."""
        ceiling = self._limit.ceiling if self._limit else None
        return Reservation(
            self._caller.organization.id, self._policy, seats, events, ceiling, removals, moves
        )

    def taken(self, due: Reservation, settled: Reserved | None) -> None:
        """The transaction began with this. None: the organization refused."""
        self.seats, self._taken, self._reserved = due.seats, due.seats, due.events
        self._last = settled.event if settled else None
        self.still = settled is not None and settled.move == self._caller.organization.moves

    @property
    def refused(self) -> bool:
        """Whether what was asked for at the beginning is not there: `settle` will say why, and nothing is locked."""
        return self._last is None

    def settle(self, line: bool = True) -> None:
        """Last in the transaction: seats and event numbers in one statement, then events and (`line`) activity."""
        if self.refused:
            self._refuse()
        seats, events = self.seats - self._taken, len(self._events) - self._reserved
        if seats or events or (self.judged and not self._reserved):
            moves = any(resource == "Group" for _, resource, *_ in self._events)
            settled = self._store.organizations.settle(self.due(seats, events, moves=int(moves)))
            self._last = settled.event if settled else None
        if self._last is None:
            self._refuse()
        else:
            self._store.events.add(self._caller.organization.id, self._last, self._events)
        if line:
            self._store.activity.add([(0, self._trace.line(self._trace.status))])
        self._trace.written = True

    def _refuse(self) -> None:
        now = self._store.organizations.by_key(self._caller.organization.id)
        if now.policy != self._caller.organization.policy or self._limit is None:
            raise WriteConflict
        self._trace.decisions.append(Decision(self._limit.plugin, "check_seats", "denied"))
        raise OverCapacity(self._limit.sentence)


class UnitsOfWork:
    """Opens changes, and tells a story again when it went stale."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = threading.Lock()

    @contextmanager
    def open(
        self, caller: Caller, trace: Trace, limit: SeatLimit | None = None, line: bool = True
    ) -> Iterator[UnitOfWork]:
        """The transaction of one change. Plugins were asked before; none runs in here. `line`: whether it leaves a line
        in the activity, as all do but the later portions of a long one."""
        change = UnitOfWork(self._store, caller, trace, limit)
        with self._written(trace), self._store.transaction(organization_id=caller.organization.id):
            yield change
            change.settle(line)

    @contextmanager
    def of_one_user(
        self, caller: Caller, trace: Trace, seats: int, limit: SeatLimit | None = None, removals: int = 0
    ) -> Iterator[UnitOfWork]:
        """The same for a change that is known to take so many seats and to tell one event: both are taken when it
        begins, which is one turn less to the database while others wait for the organization. A change that comes out
        otherwise settles the rest at its end."""
        change = UnitOfWork(self._store, caller, trace, limit)
        due = change.due(seats, 1, removals)
        with self._written(trace), self._store.organizations.settled(due) as settled:
            change.taken(due, settled)
            yield change
            change.settle()

    def new_user(
        self, caller: Caller, trace: Trace, document: Json, limit: SeatLimit | None
    ) -> UserRecord | None:
        """The whole change of a user who is made and moves nowhere, where the engine does it at once.

        None where it does not, or where there is more to it (a refusal, somebody to restore): nothing was written then.
        """
        if caller.connection is None or not self._store.database.dialect.turns:
            return None
        due = UnitOfWork(self._store, caller, trace, limit).due(int(document["active"]), 1)
        line = trace.line(trace.status)
        user = new_user(self._store.database, self._store.users, caller.connection, due, document, line)
        trace.written = user is not None
        return user

    def new_state(
        self, caller: Caller, trace: Trace, state: UserRewrite, groups: tuple[MemberRecord, ...], kind: str, seats: int,
        limit: SeatLimit | None = None,
    ) -> bool:  # fmt: skip
        """The same for a stored user who keeps names, manager, and the groups that the caller sees it in: whether it
        was done. `kind` is the type of its event."""
        if caller.connection is None or not self._store.database.dialect.turns:
            return False
        due, line = UnitOfWork(self._store, caller, trace, limit).due(seats, 1), trace.line(trace.status)
        event = kind, user_json(state.user, groups, None)
        moves = caller.organization.moves
        trace.written = new_state(self._store.database, caller.connection, due, moves, state, event, line)
        return trace.written

    @contextmanager
    def _written(self, trace: Trace) -> Iterator[None]:
        """Whether the line in the activity was written with the change, or not at all."""
        try:
            yield
        except BaseException:
            trace.written = False
            raise

    def retry_on_conflict(
        self,
        caller: AnyCaller,
        refresh: Refresh,
        operation: Callable[[AnyCaller], Result],
        trace: Trace | None = None,
    ) -> Result:
        """Tell a story until nothing it was judged by changes under it.

        `trace` forgets before each new attempt what the one before has noted.
        """
        noted = trace.noted() if trace else None
        for attempt in range(ATTEMPTS):
            # Those who tell again do so by turns: they shall not make each other lose once more. The turn is no lock
            # of the database, and nobody waits for it long.
            turn = attempt > 0 and self._turn.acquire(timeout=1)
            try:
                if attempt and trace and noted:
                    trace.restore(noted)
                return operation(refresh(caller) if attempt else caller)
            except WriteConflict:
                pause = min(LONGEST_PAUSE, PAUSE * 2**attempt)
            finally:
                if turn:
                    self._turn.release()
            time.sleep(random.uniform(0, pause))  # noqa: S311 - nothing secret in it
        raise WriteConflict
