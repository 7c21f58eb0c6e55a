"""What admins decide: pauses, holds of removals, and which people are protected."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from gateway.plugin.manager import PluginManager
from gateway.provisioning.caller import Caller, Callers
from gateway.provisioning.preconditions import check_version
from gateway.provisioning.safety.settings import REMOVALS, Pause, read_brake, read_pause
from gateway.provisioning.trace import Target, Trace
from gateway.provisioning.unit_of_work import UnitOfWork, UnitsOfWork, retry_on_conflict
from gateway.scim.errors import Conflict, InvalidValue, NotFound, Refusal
from gateway.scim.json_text import excerpt
from gateway.store import Store, WriteConflict
from gateway.store.brakes import ALLOWED, REJECTED, WAITING
from gateway.store.engine.failures import Outage
from gateway.store.ids_and_time import HOUR, in_words, now, rfc3339
from gateway.store.records import ConnectionRecord, HeldRemoval, HoldRecord, UserRecord

log = logging.getLogger("gateway")

#: Hours that a pause lasts unless it says until when, and at most.
PAUSE_HOURS, MAX_PAUSE_HOURS = 4, 168
#: Hours that all removals are allowed for unless the admin says how many, and at most.
ALLOW_HOURS, MAX_ALLOW_HOURS = 4, 24
#: Hours that removals are refused for after they were rejected.
REJECT_HOURS = 24
#: Held removals that are shown.
SHOWN = 100
#: Users of an organization that may be protected.
MAX_PROTECTED = 5
#: Seconds between two warnings of a hold on which nobody has decided.
_WARN_SECONDS = 86_400
#: Seconds between two looks at pauses and holds of all connections.
LOOK_SECONDS = 10.0
#: Holds and pauses that one round of the worker looks at.
_PER_ROUND = 20


class HoldView(NamedTuple):
    """The hold of a connection as admins see it: what is held, how many, and what an admin does at the IdP after it."""

    hold: HoldRecord | None
    removals: Sequence[HeldRemoval]
    total: int
    after: str


class Safety:
    """Runs the operations on pauses and holds."""

    def __init__(
        self, store: Store, plugins: PluginManager, units_of_work: UnitsOfWork, callers: Callers
    ) -> None:
        self._store, self._plugins = store, plugins
        self._units_of_work, self._callers = units_of_work, callers
        self._looked = -LOOK_SECONDS
        #: The key of the paused connection that was looked at last; the next round goes on after it.
        self._after = 0

    # Pauses ---------------------------------------------------------------------------------------------------------

    @retry_on_conflict
    def pause(
        self, caller: Caller, connection: ConnectionRecord, scope: str, until: int | None, reason: str, trace: Trace
    ) -> Pause:  # fmt: skip
        """Pause a connection, all of its changes or its removals, until a moment (microseconds).

        Raises InvalidValue for a moment that has passed or is too far away.
        """
        moment = now()
        until = moment + PAUSE_HOURS * HOUR if until is None else until
        if not moment < until <= moment + MAX_PAUSE_HOURS * HOUR:
            raise InvalidValue(
                f"until is {in_words(until)}; a pause ends in the future, at most {MAX_PAUSE_HOURS // 24} days from"
                " now."
            )
        with self._units_of_work.open(caller, trace) as change:
            pause = Pause(scope, moment, until, reason, trace.principal)
            return self._store_pause(change, connection, pause, trace)

    @retry_on_conflict
    def pause_undone(self, caller: Caller, connection: ConnectionRecord, reason: str, trace: Trace) -> Pause:
        """Pause the removals of a connection that are about to be undone; return the pause, or the one that it has.

        What an admin has allowed of removals ends: `Brakes.withdraw_permission`. Raises Conflict for a connection that
        was removed.
        """
        moment = now()
        with self._units_of_work.open(caller, trace) as change:
            found = self._store.connections.by_key(connection.id)
            if found is None:
                raise Conflict(f"The connection {connection.name!r} was removed meanwhile.")
            self._store.brakes.withdraw_permission(connection.id, moment)
            pause = read_pause(found[0].pause)
            if pause is not None and pause.covers(removal=True):
                return pause
            pause = Pause(REMOVALS, moment, moment + PAUSE_HOURS * HOUR, reason, trace.principal)
            return self._store_pause(change, connection, pause, trace)

    def _store_pause(
        self, change: UnitOfWork, connection: ConnectionRecord, pause: Pause, trace: Trace
    ) -> Pause:
        trace.changed = ["pause"]
        change.outdate()
        self._store.connections.edit(connection, pause=json.dumps(pause._asdict()))
        data = {"id": connection.uid, "name": connection.name, **pause.as_json()}
        _record(change, "connection.paused", connection, data)
        return pause

    @retry_on_conflict
    def resume(self, caller: Caller, connection: ConnectionRecord, trace: Trace) -> None:
        """End a pause. Raises Conflict where there is none."""
        with self._units_of_work.open(caller, trace) as change:
            found = self._store.connections.by_key(connection.id)
            if found is None or found[0].pause is None:
                raise Conflict(f"The connection {connection.name!r} is not paused.")
            trace.changed = ["pause"]
            self._end_pause(change, found[0])

    def _end_pause(self, change: UnitOfWork, connection: ConnectionRecord) -> None:
        change.outdate()
        self._store.connections.edit(connection, pause=None)
        _record(change, "connection.resumed", connection, {"id": connection.uid, "name": connection.name})

    def after_waiting(self, connection: ConnectionRecord) -> str:
        """Return what an admin does at the identity provider after a pause or a hold; empty for nothing known."""
        declaration = self._plugins.declared.of(connection.idp)
        return declaration.after_waiting if declaration else ""

    # Holds ----------------------------------------------------------------------------------------------------------

    def hold_of(self, connection: ConnectionRecord) -> HoldView:
        """Return what is held of a connection."""
        brakes = self._store.brakes
        hold = brakes.hold(connection.id, now())
        removals = brakes.page(connection.id, SHOWN) if hold else []
        count = brakes.count_held(connection.id) if hold else 0
        return HoldView(hold, removals, count, self.after_waiting(connection))

    def decide(
        self, caller: Caller, connection: ConnectionRecord, action: str, users: Sequence[str] | None,
        hours: int | None, trace: Trace,
    ) -> HoldView:  # fmt: skip
        """Decide on a hold: `allow_all` for some hours, `allow` those of `users`, or `reject` all for a day.

        Raises Conflict where nothing is held, InvalidValue where none of `users` is.
        """
        self._decide(caller, connection, action, users, hours, trace)
        return self.hold_of(connection)

    @retry_on_conflict
    def _decide(
        self, caller: Caller, connection: ConnectionRecord, action: str, users: Sequence[str] | None,
        hours: int | None, trace: Trace,
    ) -> None:  # fmt: skip
        brakes, moment = self._store.brakes, now()
        with self._units_of_work.open(caller, trace) as change:
            hold = brakes.hold(connection.id, moment)
            if hold is None:
                raise Conflict(
                    f"Nothing of the connection {connection.name!r} is held: there is nothing to decide."
                )
            trace.target, trace.changed = Target("Connection", connection.uid, connection.name), ["hold"]
            if action == "allow_all":
                until = moment + (ALLOW_HOURS if hours is None else hours) * HOUR
                brakes.decide(connection.id, ALLOWED, trace.principal, until)
                trace.decided = f"All removals are allowed until {in_words(until)}."
            elif action == "reject":
                until = moment + REJECT_HOURS * HOUR
                brakes.decide(connection.id, REJECTED, trace.principal, until)
                trace.decided = f"Removals are rejected until {in_words(until)}."
            else:
                self._allow(connection, hold, list(users or ()), trace)
            data = {"id": connection.uid, "name": connection.name, "action": action, "by": trace.principal}
            _record(change, "connection.hold_decided", connection, data)

    def _allow(
        self, connection: ConnectionRecord, hold: HoldRecord, users: Sequence[str], trace: Trace
    ) -> None:
        """Allow the held removals of these users or groups. Raises InvalidValue where one of them is not held."""
        allowed = self._store.brakes.allow(connection.id, users)
        if missing := [uid for uid in users if uid not in allowed]:
            raise InvalidValue(
                f"No removal of {excerpt(missing[0])} is held, so nothing was allowed: GET the hold to see who is."
            )
        if hold.state == REJECTED:
            # The others wait again, and are not refused.
            self._store.brakes.decide(connection.id, WAITING, trace.principal, None)
        trace.decided = f"Allowed: {len(allowed)} of the removals that are held."

    # By itself ------------------------------------------------------------------------------------------------------

    def run_due(self) -> list[int]:
        """End pauses whose time is over and holds of which nothing waits, and warn of those that wait for a day.

        Returns the organizations with new events.
        """
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return []
        self._looked = time.monotonic()
        changed, moment = [], now()
        paused = self._store.connections.paused(self._after, _PER_ROUND)
        self._after = paused[-1].id if len(paused) == _PER_ROUND else 0
        for connection in paused:
            if _is_over(connection, moment):
                changed += self._run(
                    connection.organization_id, connection.id, "end of a pause", self._end_if_over
                )
        for organization_id, connection_id, hold in self._store.brakes.unwarned(
            moment - _WARN_SECONDS * 1_000_000, _PER_ROUND
        ):
            warn = partial(self._warn, hold=hold, moment=moment)
            changed += self._run(organization_id, connection_id, "warning of held removals", warn)
        for organization_id, connection_id in self._store.brakes.outdated(_PER_ROUND):
            self._run(organization_id, connection_id, "end of a hold", self._end_if_nothing_waits)
        return changed

    def _end_if_over(self, change: UnitOfWork, connection: ConnectionRecord) -> bool:
        if not _is_over(connection, now()):
            return False
        self._end_pause(change, connection)
        return True

    def _end_if_nothing_waits(self, change: UnitOfWork, connection: ConnectionRecord) -> bool:
        """Forget held removals that an admin or another connection has made, and the hold once it has no others."""
        brakes = self._store.brakes
        brakes.drop_obsolete(connection.id)
        hold = brakes.hold(connection.id, now())
        if hold is not None and hold.state == WAITING and not brakes.count_held(connection.id):
            brakes.clear(connection.id)
        return False

    def _warn(self, change: UnitOfWork, connection: ConnectionRecord, hold: HoldRecord, moment: int) -> bool:
        if not self._store.brakes.note_warning(hold, moment):
            return False
        brake = read_brake(connection.brake)
        data = {"id": connection.uid, "name": connection.name, "counted": hold.counted, "limit": hold.most}
        data |= {"minutes": brake.minutes if brake else 0, "since": rfc3339(hold.since)}
        data |= {"held": self._store.brakes.count_held(connection.id)}
        _record(change, "connection.held", connection, data)
        return True

    def _run(
        self, organization_id: int, connection_id: int, what: str,
        act: Callable[[UnitOfWork, ConnectionRecord], bool],
    ) -> list[int]:  # fmt: skip
        """Have `act` decide under the lock of the organization, by what is stored then; return whom it changed."""
        found = self._store.connections.by_key(connection_id)
        if found is None:
            return []
        trace = Trace(f"{what} (gateway)", "", organization_id, found[0].uid)
        try:
            with self._units_of_work.open(
                self._callers.admin(found[1], found[0]), trace, line=False
            ) as change:
                again = self._store.connections.by_key(connection_id)
                acted = again is not None and act(change, again[0])
        except Outage:
            raise
        except (Refusal, WriteConflict) as error:  # somebody else changed it in this moment
            log.info("%s of %s waits: %s", what, found[0].uid, error)
            return []
        return [organization_id] if acted else []

    # Protection -----------------------------------------------------------------------------------------------------

    @retry_on_conflict
    def protect(
        self, caller: Caller, uid: str, protected: bool, trace: Trace, if_match: str | None = None
    ) -> UserRecord:
        """Protect a user from identity providers, or end that. Raises NotFound, and Conflict beyond `MAX_PROTECTED`."""
        with self._units_of_work.open(caller, trace):
            user = self._store.users.of(caller.organization, uid)
            if user is None:
                raise NotFound(f"There is no user with the id {excerpt(uid)} here.")
            trace.user, trace.target = user.user_name, Target("User", user.uid, user.user_name)
            check_version(user, if_match)
            if bool(user.protected) == protected:
                return user
            if protected and self._store.users.count_protected(caller.organization.id) >= MAX_PROTECTED:
                raise Conflict(
                    f"{MAX_PROTECTED} people of this organization are protected, and no more can be. End the protection"
                    " of one of them first."
                )
            trace.changed = ["protected"]
            stored = self._store.users.protect(caller.organization.id, user, protected)
            if stored is None:
                raise WriteConflict
            return stored


def _is_over(connection: ConnectionRecord, moment: int) -> bool:
    """Return whether a connection has a pause that ended by `moment`."""
    pause = read_pause(connection.pause)
    return pause is not None and pause.until <= moment


def _record(change: UnitOfWork, kind: str, connection: ConnectionRecord, data: Mapping[str, object]) -> None:
    change.record_event(kind, "Connection", connection.uid, json.dumps(data, ensure_ascii=False))
