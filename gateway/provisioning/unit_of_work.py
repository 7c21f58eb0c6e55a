"""One change: a transaction that ends with its seats, its events and its line in the activity, or leaves nothing."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from typing import Concatenate, ParamSpec, Protocol, TypeVar, cast

from gateway.plugin.results import Decision, SeatLimit
from gateway.provisioning.caller import Caller, Callers, IdpCaller, Trace
from gateway.provisioning.rendering import user_json
from gateway.scim.errors import AuthenticationFailed, NotFound, OverCapacity
from gateway.scim.json_text import Json
from gateway.store import Store, WriteConflict
from gateway.store.events import Event
from gateway.store.organizations import Reservation, Reserved
from gateway.store.query.single_statement import new_state, new_user
from gateway.store.records import MemberRecord, UserRecord
from gateway.store.users import UserRewrite

Result = TypeVar("Result")
AnyCaller = TypeVar("AnyCaller", bound=Caller)
Arguments = ParamSpec("Arguments")
#: Attempts that an operation has, the first one included.
ATTEMPTS = 16
#: Seconds of the pause before the second attempt, at most, and before any later one; each time it doubles. The pause is
#: chosen at random up to that, so that two operations do not meet again.
PAUSE, LONGEST_PAUSE = 0.002, 0.1


class _Repeatable(Protocol):
    _units_of_work: UnitsOfWork


#: The object of which an operation is a method.
Owner = TypeVar("Owner", bound=_Repeatable)


def retry_on_conflict(
    operation: Callable[Concatenate[Owner, AnyCaller, Arguments], Result],
) -> Callable[Concatenate[Owner, AnyCaller, Arguments], Result]:
    """Run a method again while it raises WriteConflict, `ATTEMPTS` times at most, with exponential back-off.

    Its first argument is the caller, which is read again before each further attempt; another one is called `trace` and
    forgets what the failed attempt noted. Repeated attempts of a process are serialized, so that they do not conflict
    with each other again. The last WriteConflict is raised.
    """
    place = list(signature(operation).parameters).index("trace") - 2

    @wraps(operation)
    def run(self: Owner, caller: AnyCaller, *args: Arguments.args, **options: Arguments.kwargs) -> Result:
        trace = cast(Trace, args[place] if len(args) > place else options["trace"])
        noted = trace.noted()
        try:
            return operation(self, caller, *args, **options)
        except WriteConflict:
            pass
        units_of_work = self._units_of_work
        for attempt in range(1, ATTEMPTS):
            time.sleep(random.uniform(0, min(LONGEST_PAUSE, PAUSE * 2 ** (attempt - 1))))  # noqa: S311 - no secret
            serialized = units_of_work.retrying.acquire(timeout=1)
            try:
                trace.restore(noted)
                return operation(self, units_of_work.refresh(caller), *args, **options)
            except WriteConflict:
                continue
            finally:
                if serialized:
                    units_of_work.retrying.release()
        raise WriteConflict

    return cast(Callable[Concatenate[Owner, AnyCaller, Arguments], Result], run)


class UnitOfWork:
    """What a transaction collects until `finalize`: seats, events, and the activity's line."""

    def __init__(self, store: Store, caller: Caller, trace: Trace, limit: SeatLimit | None) -> None:
        self._store, self._caller, self._trace, self._limit = store, caller, trace, limit
        self._events: list[Event] = []
        self._policy = caller.organization.policy
        #: What was reserved when the transaction began: seats, and how many numbers of events.
        self._reserved_seats, self._reserved_events = 0, 0
        #: The last number that was reserved; 0 for none, None when the reservation failed.
        self._last: int | None = 0
        #: Seats that this change takes; negative when it frees some.
        self.seats = 0
        #: True if no membership of the organization changed since the caller was read (`moves` is unchanged).
        self.memberships_unchanged = False
        #: True if it followed an answer of plugins or rules, which must hold at its end though it records no event.
        self.depends_on_policy = False

    def outdate(self) -> None:
        """Count up the policy number, first in the transaction: changes that were decided by the old one conflict."""
        self._policy = self._store.organizations.touch_policy(self._caller.organization.id)

    def record_event(self, kind: str, resource: str, uid: str, data: str, first: bool = False) -> None:
        """Add an event; `data` is JSON. `first`: before all that were recorded until now."""
        event = Event(kind, resource, uid, self._caller.connection_uid, data)
        self._events.insert(0 if first else len(self._events), event)

    def record_member_events(
        self, group_uid: str, name: str, added: Sequence[str], removed: Sequence[str]
    ) -> None:
        """Add events that say who came into a group and who left it, in portions that a listener can hold."""
        for start in range(0, max(len(added), len(removed)), 1000):
            portion = {"added": added[start : start + 1000], "removed": removed[start : start + 1000]}
            data = json.dumps({"id": group_uid, "displayName": name, **portion}, ensure_ascii=False)
            self.record_event("group.members_changed", "Group", group_uid, data)

    def reservation(self, seats: int, events: int, removals: int = 0, moves: int = 0) -> Reservation:
        """Return what the change needs of the organization, under the policy and ceiling that it was decided by."""
        ceiling = self._limit.ceiling if self._limit else None
        return Reservation(
            self._caller.organization.id, self._policy, seats, events, ceiling, removals, moves
        )

    def begin_with(self, reservation: Reservation, reserved: Reserved | None) -> None:
        """Note the reservation that the transaction began with. `reserved`: None when it failed."""
        self.seats, self._reserved_seats = reservation.seats, reservation.seats
        self._reserved_events = reservation.events
        self._last = reserved.event if reserved else None
        self.memberships_unchanged = reserved is not None and reserved.move == self._caller.organization.moves

    @property
    def reservation_failed(self) -> bool:
        """True for a stale policy or a lack of seats: `finalize` raises the reason. No lock of a row is held."""
        return self._last is None

    def finalize(self, line: bool = True) -> None:
        """Reserve the seats and event numbers that are not yet reserved, then write events and (`line`) activity.

        Last in the transaction. Raises WriteConflict for a stale policy, OverCapacity for a lack of seats.
        """
        if self.reservation_failed:
            self._refuse()
        seats, events = self.seats - self._reserved_seats, len(self._events) - self._reserved_events
        if seats or events or (self.depends_on_policy and not self._reserved_events):
            moves = any(event.resource == "Group" for event in self._events)
            reserved = self._store.organizations.reserve(self.reservation(seats, events, moves=int(moves)))
            self._last = reserved.event if reserved else None
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
    """Opens the transactions of changes, and reads callers again for those that `retry_on_conflict` repeats."""

    def __init__(self, store: Store, callers: Callers) -> None:
        self._store, self._callers = store, callers
        #: Held by a repeated attempt. It is no lock of the database, and an attempt waits for it one second at most.
        self.retrying = threading.Lock()

    def refresh(self, caller: AnyCaller) -> AnyCaller:
        """Return the same caller with its organization and connection as they are stored now.

        Raises NotFound when the organization was removed, AuthenticationFailed (for an identity provider) or NotFound
        when the connection was.
        """
        if caller.connection is None:
            organization = self._store.organizations.by_key(caller.organization.id)
            return cast(AnyCaller, self._callers.admin(organization))
        found = self._store.connections.by_key(caller.connection.id)
        if isinstance(caller, IdpCaller):
            if found is None:
                raise AuthenticationFailed(
                    "This connection was removed in the application; its tokens are revoked."
                )
            return cast(AnyCaller, self._callers.connection(*found, caller.public_url))
        if found is None:
            raise NotFound("This connection was removed meanwhile.")
        return cast(AnyCaller, self._callers.admin(found[1], found[0]))

    @contextmanager
    def open(
        self, caller: Caller, trace: Trace, limit: SeatLimit | None = None, line: bool = True
    ) -> Iterator[UnitOfWork]:
        """Open the transaction of one change. Plugins were asked before; none runs in here.

        `line`: whether it leaves a line in the activity, as all do but the later portions of a long one.
        """
        unit = UnitOfWork(self._store, caller, trace, limit)
        with self._line_undone(trace), self._store.transaction(organization_id=caller.organization.id):
            yield unit
            unit.finalize(line)

    @contextmanager
    def of_one_user(
        self, caller: Caller, trace: Trace, seats: int, limit: SeatLimit | None = None, removals: int = 0
    ) -> Iterator[UnitOfWork]:
        """The same for a change that is known to take so many seats and to record one event.

        Both are reserved when it begins, which is one round trip less while others wait for the organization. What the
        change needs beyond them is reserved at its end.
        """
        unit = UnitOfWork(self._store, caller, trace, limit)
        reservation = unit.reservation(seats, 1, removals)
        with self._line_undone(trace), self._store.organizations.begin_reserved(reservation) as reserved:
            unit.begin_with(reservation, reserved)
            yield unit
            unit.finalize()

    def new_user(
        self, caller: Caller, trace: Trace, document: Json, limit: SeatLimit | None
    ) -> UserRecord | None:
        """Make the whole change of a user who is created and joins no group, in one statement of the engine.

        Returns None where the engine has no such statement, or where there is more to do (a refusal, a user to
        restore): nothing was written then.
        """
        if caller.connection is None or not self._store.database.dialect.turns:
            return None
        reservation = UnitOfWork(self._store, caller, trace, limit).reservation(int(document["active"]), 1)
        line = trace.line(trace.status)
        user = new_user(
            self._store.database, self._store.users, caller.connection, reservation, document, line
        )
        trace.written = user is not None
        return user

    def new_state(
        self, caller: Caller, trace: Trace, state: UserRewrite, groups: tuple[MemberRecord, ...], kind: str, seats: int,
        limit: SeatLimit | None = None,
    ) -> bool:  # fmt: skip
        """The same for a stored user who keeps names, manager, and the groups that the caller sees it in.

        Returns whether it was done. `kind` is the type of its event.
        """
        if caller.connection is None or not self._store.database.dialect.turns:
            return False
        reservation = UnitOfWork(self._store, caller, trace, limit).reservation(seats, 1)
        line = trace.line(trace.status)
        event = kind, user_json(state.user, groups, None)
        moves = caller.organization.moves
        trace.written = new_state(
            self._store.database, caller.connection, reservation, moves, state, event, line
        )
        return trace.written

    @contextmanager
    def _line_undone(self, trace: Trace) -> Iterator[None]:
        """Note that the activity's line is not stored when the transaction is rolled back."""
        try:
            yield
        except BaseException:
            trace.written = False
            raise
