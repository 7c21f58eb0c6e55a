"""Adoption at run time: a write to a user whom nobody manages adopts it, waits for an admin, or is refused."""

from __future__ import annotations

import json

from gateway.plugin.manager import PluginManager
from gateway.provisioning.adoption.risks import (
    AUTOMATIC,
    INACTIVE,
    VERIFIED,
    addresses,
    describe,
    find_risks,
)
from gateway.provisioning.caller import Caller, IdpCaller
from gateway.provisioning.membership_sync import MembershipSync
from gateway.provisioning.trace import Trace
from gateway.provisioning.unit_of_work import UnitOfWork, UnitsOfWork
from gateway.scim.errors import Conflict, Forbidden, Refusal, Waiting
from gateway.scim.json_text import Json, fold
from gateway.store import Store, WriteConflict
from gateway.store.adoptions import APPROVED, REJECTED, AdoptionRecord
from gateway.store.ids_and_time import in_words
from gateway.store.records import UserRecord


class AdoptionControl:
    """Admits the writes of connections to users whom no connection manages."""

    def __init__(
        self,
        store: Store,
        plugins: PluginManager,
        units_of_work: UnitsOfWork,
        membership_sync: MembershipSync,
    ) -> None:
        self._store, self._plugins, self._units_of_work = store, plugins, units_of_work
        self._membership_sync = membership_sync

    def admit(self, caller: Caller, user: UserRecord, sent: Json, trace: Trace) -> None:
        """Return if this write may adopt or delete a user whom nobody manages.

        `sent` is the document that the user would get. Raises Forbidden for a protected user, Conflict where an admin
        rejected it, and Waiting once it is stored that the write waits. WriteConflict: decided anew.
        """
        if not isinstance(caller, IdpCaller):
            return
        if user.protected:
            raise Forbidden(
                f"{user.user_name} is protected in {caller.organization.name}: no identity provider may manage, change"
                f" or delete it. An admin of the application ends the protection first:"
                f" {caller.console_url(f'people/{user.uid}')}",
                page="person",
            )
        known = self._store.adoptions.find(caller.connection.id, user.id)
        admitted = self._is_admitted(caller, user, sent, known)
        if trace.steps is not None:
            state = known.state if known else "not asked yet"
            asked = f"Users whom nobody manages: {caller.connection.adoption}; this one: {state}."
            trace.explain("adoption", "gateway", asked if admitted else f"{asked} Nothing of it changes.")
        if admitted:
            return
        if known is not None and known.state == REJECTED:
            raise _rejection(caller, user, known)
        with self._units_of_work.open(caller, trace) as unit:
            unit.depends_on_policy = True
            current = self._store.users.of(caller.organization, user.uid)
            known = self._store.adoptions.find(caller.connection.id, user.id)
            if current is None or current.version != user.version or current.connection_id is not None:
                raise WriteConflict
            if (known and known.state == REJECTED) or self._is_admitted(caller, user, sent, known):
                raise WriteConflict
            unit.hold_back(self._count_try(caller, user, sent, unit))

    def check(self, caller: Caller, user: UserRecord, sent: Json) -> None:
        """Check inside the transaction that it may still adopt or delete the user. Raises WriteConflict."""
        if not isinstance(caller, IdpCaller):
            return
        known = self._store.adoptions.find(caller.connection.id, user.id)
        if not self._is_admitted(caller, user, sent, known):
            raise WriteConflict

    def complete(self, caller: Caller, user: UserRecord, unit: UnitOfWork) -> None:
        """Give a user that is adopted now the memberships that waited for it, and record the adoption.

        A connection that adopts at once records no event besides that of the change.
        """
        if not isinstance(caller, IdpCaller):
            return
        connection = caller.connection
        self._store.adoptions.push_memberships(caller.organization.id, connection.id, user.id)
        self._membership_sync.attach_waiting(caller, user, unit)
        self._store.adoptions.forget_user(user.id)
        if connection.adoption != AUTOMATIC:
            data = {"id": user.uid, "userName": user.user_name, "connection": connection.uid}
            unit.record_event("user.adopted", "User", user.uid, json.dumps(data, ensure_ascii=False))

    def taken_remedy(self, caller: Caller) -> str:
        """Return what to do about a userName that a user has whom nobody manages."""
        if isinstance(caller, IdpCaller) and caller.connection.adoption != AUTOMATIC:
            unless = (
                " unless its address is in a verified domain"
                if caller.connection.adoption == VERIFIED
                else ""
            )
            return (
                "Look the user up and update it to link it: the update waits until an admin of"
                f" {caller.organization.name} has confirmed it{unless}: {caller.console_url('adoption')}"
            )
        return "Look the user up and update it to link it."

    def _is_admitted(
        self, caller: IdpCaller, user: UserRecord, sent: Json, known: AdoptionRecord | None
    ) -> bool:
        if known is not None and known.state in (APPROVED, REJECTED):
            return known.state == APPROVED
        if caller.connection.adoption == AUTOMATIC:
            return True
        if caller.connection.adoption != VERIFIED:
            return False
        return not set(self._risks(caller, user, sent)) - {INACTIVE}

    def _risks(self, caller: IdpCaller, user: UserRecord, sent: Json) -> list[str]:
        organization_id, document = caller.organization.id, user.document
        shared = bool(self._store.adoptions.shared_addresses(organization_id, {user.id: addresses(document)}))
        domains = self._store.domains.verified(organization_id)
        return find_risks(user, document, sent, domains, shared)

    def _count_try(self, caller: IdpCaller, user: UserRecord, sent: Json, unit: UnitOfWork) -> Refusal:
        """Store that the write waits; the first one is an event. Returns what it is answered with."""
        connection, risks = caller.connection, self._risks(caller, user, sent)
        found_by = "userName" if fold(sent["userName"]) == fold(user.user_name) else "id"
        first = self._store.adoptions.count_try(
            caller.organization.id, connection.id, user.id, found_by, ",".join(risks)
        )
        if first:
            data = {
                "id": user.uid, "userName": user.user_name, "connection": connection.uid, "found_by": found_by,
                "risks": risks,
            }  # fmt: skip
            unit.record_event("user.adoption_waiting", "User", user.uid, json.dumps(data, ensure_ascii=False))
        declaration = self._plugins.declared.of(connection.idp)
        status, seconds = (
            (declaration.waiting_status, declaration.waiting_seconds) if declaration else (409, 900)
        )
        reason = f" It waits because {describe(risks)}." if risks and connection.adoption == VERIFIED else ""
        return Waiting(
            f"{user.user_name} has an account here already, which no identity provider manages. An admin of"
            f" {caller.organization.name} must confirm that the connection {connection.name!r} may manage it;"
            f" until then nothing of the account changes.{reason} It is confirmed here:"
            f" {caller.console_url('adoption')}",
            page="adoption",
            status=status,
            scim_type="uniqueness" if status == 409 else None,
            retry_after=seconds if status == 429 else None,
        )


def asks(caller: Caller) -> bool:
    """Return whether a caller moves no membership of users whom no connection manages."""
    return caller.connection is not None and caller.connection.adoption != AUTOMATIC


def _rejection(caller: IdpCaller, user: UserRecord, known: AdoptionRecord) -> Conflict:
    return Conflict(
        f"{user.user_name} stays an account that no identity provider manages: {known.decided_by or 'an admin'}"
        f" rejected on {in_words(known.decided or known.last)} that the connection {caller.connection.name!r} manages"
        f" it. An admin of {caller.organization.name} can decide otherwise: {caller.console_url('adoption')}",
        page="adoption",
    )
