"""Counts what identity providers remove, and holds what is beyond the limit of their connection.

A removal is a deactivation, a deletion, or a request that takes most members of a large group. It is counted in its own
transaction, under the lock of its organization, so no more than the limit happen however many requests arrive together.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from gateway.plugin.contracts import Change, User
from gateway.plugin.manager import PluginManager
from gateway.plugin.results import Decision
from gateway.provisioning.caller import Caller, IdpCaller
from gateway.provisioning.rendering import group_json
from gateway.provisioning.safety.pauses import refuse_paused
from gateway.provisioning.safety.settings import Brake
from gateway.provisioning.trace import Trace
from gateway.provisioning.unit_of_work import UnitOfWork
from gateway.scim.errors import Forbidden, Waiting
from gateway.store import Store
from gateway.store.brakes import ALLOWED, REJECTED, WAITING
from gateway.store.engine.statements import Step
from gateway.store.ids_and_time import MINUTE, in_words, now
from gateway.store.records import GroupRecord, HeldRemoval, HoldRecord, UserRecord

#: Members of a group from which on a request that takes more than half of them counts as removals.
LARGE_GROUP = 20


class Removal(NamedTuple):
    """What a change takes away. `people`: for how many it counts; `data`: the JSON of the resource as it stays."""

    resource: str
    uid: str
    name: str
    #: deactivate, delete, leave.
    action: str
    people: int
    data: str


class RemovalControl:
    """Admits removals of identity providers, or holds them."""

    def __init__(self, store: Store, plugins: PluginManager) -> None:
        self._store, self._plugins = store, plugins

    def guard(self, caller: Caller, user: UserRecord, changes: Sequence[Change], trace: Trace) -> None:
        """Refuse what an identity provider may not do to a user, before the transaction.

        Raises Forbidden for a protected user or what a plugin denies, Waiting while removals are paused.
        """
        if not isinstance(caller, IdpCaller) or not changes:
            return
        if user.protected:
            raise Forbidden(
                f"{user.user_name} is protected in the application: no identity provider may {changes[0]} this user. An"
                f" admin of the application can end the protection at {caller.console_url(f'people/{user.uid}')}.",
                page="person",
            )
        if any(change != "rename" for change in changes):
            refuse_paused(caller, removal=True)
        for change in changes:
            shown = User(user.uid, user.user_name, bool(user.active), user.document)
            denial = trace.record(self._plugins.guard_change(caller.tenant, shown, change))
            if denial is not None:
                raise Forbidden(denial)

    def counts_group(self, caller: Caller, group: GroupRecord) -> bool:
        """Return whether members that a caller takes from a group may count as removals."""
        return isinstance(caller, IdpCaller) and group.members >= LARGE_GROUP and _is_limited(caller)

    def guard_group(self, caller: Caller) -> None:
        """Refuse to delete a group while removals are paused. Raises Waiting."""
        if isinstance(caller, IdpCaller):
            refuse_paused(caller, removal=True)

    def admit_group(
        self, caller: Caller, group: GroupRecord, losses: int, action: str, unit: UnitOfWork
    ) -> None:
        """Count the members that a large group loses, first in the transaction; few of them count for nothing.

        Raises what `admit` raises, and Waiting while removals are paused.
        """
        if not self.counts_group(caller, group) or (action == "leave" and 2 * losses <= group.members):
            return
        self.guard_group(caller)
        data = group_json(group, None, None)
        self.admit(caller, Removal("Group", group.uid, group.name, action, losses, data), unit)

    def step(self, caller: Caller, people: int = 1) -> list[Step]:
        """Return the statement that counts removals with the change, where the connection has a brake.

        It returns no row where `admit` has to decide.
        """
        if not isinstance(caller, IdpCaller) or caller.brake is None:
            return []
        return [self._store.brakes.step(caller.connection.id, now() // MINUTE, people)]

    def admit(self, caller: Caller, removal: Removal, unit: UnitOfWork) -> None:
        """Count a removal, first in its transaction. Raises Waiting, which stores it as held, and Forbidden."""
        if not isinstance(caller, IdpCaller) or caller.brake is None:
            return
        if self._store.database.run_change(self.step(caller, removal.people)) is not None:
            return
        brakes, key, moment = self._store.brakes, caller.connection.id, now()
        brakes.end_decision(key, moment)
        hold = brakes.hold(key, moment)
        if hold is None:
            hold = self._count(caller, caller.brake, removal, unit, moment)
            if hold is None:
                return
        if hold.state == REJECTED:
            raise Forbidden(_rejection(caller, hold), page="safety")
        held = brakes.held(key, removal.resource, removal.uid)
        if hold.state == ALLOWED or (held and held.allowed):
            brakes.drop(key, removal.resource, removal.uid)
            if hold.state == WAITING and not brakes.count_held(key):
                brakes.clear(key)
            return
        self._hold(caller, removal, unit, hold, held, moment)

    def withdraw(
        self, caller: Caller, resource: str, uid: str, data: str, unit: UnitOfWork, trace: Trace,
        people: int | None = None,
    ) -> None:  # fmt: skip
        """Forget the held removal of a user or group that its identity provider takes back, within its change.

        With the last one a hold ends on which nobody has decided. `data` is the JSON of the resource as it stays;
        `people`: of how many members of a group it is taken back, None for all.
        """
        if caller.connection is None or not caller.connection.holds_removals:
            return
        brakes, connection = self._store.brakes, caller.connection
        held = brakes.held(connection.id, resource, uid)
        if held is None:
            return
        if people is not None and held.action == "leave" and people < held.people:
            brakes.lower(connection.id, resource, uid, people)
            return
        brakes.drop(connection.id, resource, uid)
        unit.record_event(f"{resource.lower()}.removal_withdrawn", resource, uid, data)
        trace.decide([Decision("gateway", "held_removal", "taken back by the identity provider")])
        hold = brakes.hold(connection.id, now())
        if hold is None or hold.state != WAITING or brakes.count_held(connection.id):
            return
        brakes.end_hold(connection.id)
        told = {"id": connection.uid, "name": connection.name, "action": "withdrawn", "by": None}
        text = json.dumps(told, ensure_ascii=False)
        unit.record_event("connection.hold_decided", "Connection", connection.uid, text)

    def _count(
        self, caller: IdpCaller, brake: Brake, removal: Removal, unit: UnitOfWork, moment: int
    ) -> HoldRecord | None:
        """Count a removal; where it is beyond the limit begin a hold and return it."""
        brakes, connection = self._store.brakes, caller.connection
        people = self._store.organizations.tally_of_connection(caller.organization.id, "User", connection.id)
        limit = brake.limit(people)
        before = brakes.count(connection.id, moment // MINUTE, removal.people, brake.minutes, limit)
        if before is None:
            return None
        brakes.open_hold(connection.id, moment, before, limit)
        brakes.close(connection.id)
        data = {"id": connection.uid, "name": connection.name, "counted": before, "limit": limit}
        data |= {"minutes": brake.minutes}
        unit.record_event(
            "connection.held", "Connection", connection.uid, json.dumps(data, ensure_ascii=False)
        )
        return HoldRecord(connection.id, moment, before, limit, WAITING, None, None, moment)

    def _hold(
        self, caller: IdpCaller, removal: Removal, unit: UnitOfWork, hold: HoldRecord, held: HeldRemoval | None,
        moment: int,
    ) -> NoReturn:  # fmt: skip
        """Store a removal as held instead of making it."""
        kept = HeldRemoval(*removal[:5], held.first if held else moment, moment, 1, 0)
        self._store.brakes.keep(caller.connection.id, kept)
        if held is None:
            kind = f"{removal.resource.lower()}.removal_held"
            unit.record_event(kind, removal.resource, removal.uid, removal.data)
        sentence = _sentence(caller, removal, hold)
        unit.hold_back(Waiting(sentence, page="safety", retry_after=caller.waiting_seconds))


def _is_limited(caller: IdpCaller) -> bool:
    return caller.brake is not None or (caller.pause is not None and caller.pause.covers(removal=True))


def _sentence(caller: IdpCaller, removal: Removal, hold: HoldRecord) -> str:
    stays = {
        "deactivate": f"{removal.name} stays active",
        "delete": f"{removal.name} is not deleted",
        "leave": f"the group {removal.name} keeps its members",
    }
    return (
        f"The safety limit of the connection {caller.connection.name!r} was reached: {hold.counted} removals were made,"
        f" and {hold.most} are allowed in {caller.brake.minutes if caller.brake else 0} minutes. Since then"
        f" {stays[removal.action]} until an admin of the application allows it at {caller.console_url('safety')}."
    )


def _rejection(caller: IdpCaller, hold: HoldRecord) -> str:
    by = hold.decided_by or "An admin of the application"
    return (
        f"{by} rejected the removals of the connection {caller.connection.name!r}; they are refused until"
        f" {in_words(hold.until or 0)}. Assign the people again in the identity provider, or have an admin allow the"
        f" removals at {caller.console_url('safety')}."
    )
