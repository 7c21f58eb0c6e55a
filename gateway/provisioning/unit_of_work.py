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
from typing import Concatenate, NoReturn, ParamSpec, Protocol, TypeVar, cast

from gateway.plugin.results import Decision, SeatLimit
from gateway.provisioning.caller import Caller, Callers, IdpCaller
from gateway.provisioning.rendering import user_json
from gateway.provisioning.safety.pauses import refuse_paused
from gateway.provisioning.trace import Target, Trace
from gateway.scim.errors import AuthenticationFailed, NotFound, OverCapacity, Refusal
from gateway.scim.json_text import Json
from gateway.store import Store, WriteConflict
from gateway.store.activity import activity_step
from gateway.store.engine.base import Row
from gateway.store.engine.statements import RowUpdate, Step, Steps
from gateway.store.events import Event, event_steps
from gateway.store.ids_and_time import now
from gateway.store.memberships import reshow_step
from gateway.store.organizations import RESERVE, RESERVE_FOR_NEW, RESERVE_UNMOVED, Reservation, tally_steps
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
#: A change with more events writes them by themselves, many in a statement.
EVENTS_IN_ONE_CHANGE = 9


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
                trace.explain(
                    "conflict", "gateway", "Another change came first: all of this is decided again."
                )
                return operation(self, units_of_work.refresh(caller), *args, **options)
            except WriteConflict:
                continue
            finally:
                if serialized:
                    units_of_work.retrying.release()
        raise WriteConflict

    return cast(Callable[Concatenate[Owner, AnyCaller, Arguments], Result], run)


class _HeldBack(Exception):
    """Ends the body of a unit of work that stores a refusal instead of the change."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


class UnitOfWork:
    """What a transaction collects until `finalize`: seats, tallies, events, and the activity's line."""

    def __init__(
        self, store: Store, caller: Caller, trace: Trace, limit: SeatLimit | None = None, seats: int = 0
    ) -> None:
        self._store, self._caller, self._trace, self._limit = store, caller, trace, limit
        self._events: list[Event] = []
        self._counts: dict[tuple[str, int | None], int] = {}
        self._added_steps: list[Step] = []
        self._policy = caller.organization.policy
        #: Seats that this change takes; negative when it frees some.
        self.seats = seats
        #: How many users it deletes.
        self.removals = 0
        #: What is stored instead of the change.
        self._refusal: Refusal | None = None
        #: True if it followed an answer of plugins or rules, which must hold at its end though it records no event.
        self.depends_on_policy = False

    def outdate(self) -> None:
        """Count up the policy number, first in the transaction: changes that were decided by the old one conflict."""
        self._policy = self._store.organizations.touch_policy(self._caller.organization.id)

    def hold_back(self, refusal: Refusal) -> NoReturn:
        """End the transaction without the change: what was written and recorded until now is committed, then raised.

        Called before the change has written anything. The line in the activity is that of the refusal.
        """
        self.seats = self.removals = 0
        self._counts.clear()
        # A success does not mention it, and another refusal replaces it.
        self._trace.page = refusal.page
        self._refusal = refusal
        raise _HeldBack(refusal)

    def count(self, resource: str, connection_id: int | None, by: int) -> None:
        """Note that a connection (None: nobody) manages so many more users or groups."""
        key = resource, connection_id
        self._counts[key] = self._counts.get(key, 0) + by

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

    def add_steps(self, steps: Steps) -> None:
        """Have `finalize` run these statements with its own. Nothing in the transaction may read what they write."""
        self._added_steps += steps

    def finalize(self, line: bool = True) -> None:
        """Reserve seats and event numbers, then write tallies, events and (`line`) activity, last in the transaction.

        Raises WriteConflict for a stale policy, OverCapacity for a lack of seats.
        """
        few = len(self._events) <= EVENTS_IN_ONE_CHANGE
        steps = self._steps(RESERVE, self._added_steps, now(), line, self._events if few else ())
        row = self._store.database.run_change(steps) if steps else ()
        if row is None:
            self._refuse()
        elif not few:
            self._store.events.add(self._caller.organization.id, row[0], self._events)
        if row and self._trace.steps is not None and self._events:
            self._explain_events(row[0])
        self._trace.written = True

    def _explain_events(self, last: int) -> None:
        first = last - len(self._events) + 1
        for seq, event in enumerate(self._events[:EVENTS_IN_ONE_CHANGE], first):
            self._trace.explain("events", "gateway", f"Recorded as event {seq}: {event.type}.")
        if len(self._events) > EVENTS_IN_ONE_CHANGE:
            self._trace.explain(
                "events", "gateway", f"{len(self._events)} events in all, the last one is {last}."
            )

    def commit(self, reserve: RowUpdate, steps: Steps, moment: int) -> Row | None:
        """Run a change as a transaction by itself: the reservation, then `steps`, then what was collected.

        Returns the row of the last required statement; None when one returned no row: nothing was written.
        """
        row = self._store.database.run_change(self._steps(reserve, steps, moment, True, self._events))
        self._trace.written = row is not None
        return row

    def _steps(
        self, reserve: RowUpdate, steps: Steps, moment: int, line: bool, events: Sequence[Event]
    ) -> list[Step]:
        organization, numbers = self._caller.organization, len(self._events)
        change: list[Step] = []
        if numbers or self.seats or self.depends_on_policy:
            moves = int(any(event.resource == "Group" for event in self._events))
            ceiling = self._limit.ceiling if self._limit else None
            reservation = Reservation(
                organization.id, self._policy, self.seats, numbers, ceiling, self.removals, moves
            )
            change.append(reservation.step(reserve, organization.moves))
        change += steps
        change += tally_steps(organization.id, self._counts)
        change += event_steps(organization.id, events, moment)
        if line:
            refused, trace = self._refusal, self._trace
            change.append(
                activity_step(
                    moment,
                    trace.line(refused.status, refused.detail) if refused else trace.line(trace.status),
                )
            )
        return change

    def _refuse(self) -> None:
        stored = self._store.organizations.by_key(self._caller.organization.id)
        if stored.policy != self._caller.organization.policy or self._limit is None:
            raise WriteConflict
        self._trace.decide([Decision(self._limit.plugin, "check_seats", "denied")])
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
            again = self._callers.connection(*found, caller.public_url)
            refuse_paused(again)
            return cast(AnyCaller, again)
        if found is None:
            raise NotFound("This connection was removed meanwhile.")
        return cast(AnyCaller, self._callers.admin(found[1], found[0]))

    @contextmanager
    def open(
        self, caller: Caller, trace: Trace, limit: SeatLimit | None = None, line: bool = True, seats: int = 0
    ) -> Iterator[UnitOfWork]:
        """Open the transaction of one change. Plugins were asked before; none runs in here.

        `line`: whether it leaves a line in the activity, as all do but the later portions of a long one. Raises what
        `UnitOfWork.hold_back` was called with, once that is committed.
        """
        unit, held_back = UnitOfWork(self._store, caller, trace, limit, seats), None
        with self._line_undone(trace), self._store.transaction(organization_id=caller.organization.id):
            try:
                yield unit
            except _HeldBack as held:
                held_back = held.refusal
            unit.finalize(line or held_back is not None)
        if held_back is not None:
            trace.refusal_written = True
            raise held_back

    def create_user(
        self, caller: Caller, trace: Trace, document: Json, limit: SeatLimit | None
    ) -> UserRecord | None:
        """Create a user of a connection who joins no group, in one change of few statements.

        Returns None where there is more to do (a refusal, a user to restore, an externalId that others have): nothing
        was written then.
        """
        connection, tenant = caller.connection_id, caller.organization.id
        user, steps = self._store.users.addition(tenant, connection, document)
        trace.target = Target("User", user.uid, user.user_name)
        unit = UnitOfWork(self._store, caller, trace, limit, int(document["active"]))
        unit.count("User", connection, 1)
        unit.record_event("user.created", "User", user.uid, user.doc)
        row = unit.commit(RESERVE_FOR_NEW, steps, user.created)
        if row is None:
            trace.target = Target("User", "", user.user_name)
            return None
        return user._replace(id=row[0])

    def rewrite_user(
        self, caller: Caller, trace: Trace, state: UserRewrite, groups: tuple[MemberRecord, ...], kind: str, seats: int,
        limit: SeatLimit | None = None, first: Steps = (),
    ) -> bool:  # fmt: skip
        """Store a user who keeps userName, externalId, manager, and the groups that the caller sees it in.

        `kind` is the type of its event, `first` what is run before it. Returns False where there is more to do, or
        where the organization has made moves since the caller was read, so that the user may have other groups:
        nothing was written then.
        """
        user, steps = state.user, state.steps
        if state.renamed:
            steps = [*steps, reshow_step(caller.organization.id, user.id)]
        if first:
            steps = [*first, *steps]
        unit = UnitOfWork(self._store, caller, trace, limit, seats)
        unit.record_event(kind, "User", user.uid, user_json(user, groups, None))
        return unit.commit(RESERVE_UNMOVED, steps, user.modified) is not None

    @contextmanager
    def _line_undone(self, trace: Trace) -> Iterator[None]:
        """Note that the activity's line is not stored when the transaction is rolled back."""
        try:
            yield
        except BaseException:
            trace.written = False
            raise
