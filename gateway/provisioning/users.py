"""Operations on users: create, replace, patch, delete, restore. Each is one transaction.

Plugins are asked before it, on frozen values; inside it no plugin runs. The organization's policy number stands for
what they were asked about: when it has moved, the operation conflicts and runs again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway.plugin.contracts import Change, SeatRequest, User
from gateway.plugin.manager import PluginManager
from gateway.plugin.results import Decision, SeatLimit
from gateway.provisioning.adoption.control import AdoptionControl
from gateway.provisioning.caller import Caller, IdpCaller
from gateway.provisioning.documents import check_size, differing, edited, manual_document
from gateway.provisioning.domains.policy import check_addresses
from gateway.provisioning.mapped_values import UnruledValues
from gateway.provisioning.membership_sync import MembershipSync
from gateway.provisioning.preconditions import check_version, refuse_to_replace
from gateway.provisioning.rendering import user_json
from gateway.provisioning.safety.removals import Removal, RemovalControl
from gateway.provisioning.trace import Target, Trace, note_entries
from gateway.provisioning.translation import read_document
from gateway.provisioning.unit_of_work import UnitOfWork, UnitsOfWork, retry_on_conflict
from gateway.scim import patch
from gateway.scim.documents import clean
from gateway.scim.errors import (
    Conflict,
    Mutability,
    NotFound,
    OverCapacity,
    Uniqueness,
)
from gateway.scim.json_text import Json, excerpt, fold
from gateway.scim.operations import read_operations
from gateway.scim.schemas import user_type
from gateway.store import Store, WriteConflict
from gateway.store.ids_and_time import rfc3339
from gateway.store.records import ActivityRecord, MemberRecord, UserRecord

#: What the activity calls the finding that other users of the connection have the externalId, too.
_SHARED = "external_id"


class Found(NamedTuple):
    """A stored user, and the groups that a connection saw it in; None where no connection looked."""

    user: UserRecord
    groups: tuple[MemberRecord, ...] | None


class Outcome(NamedTuple):
    """What became of a user, and the groups that the caller sees it in."""

    user: UserRecord
    groups: tuple[MemberRecord, ...]


@dataclass(frozen=True)
class Placement:
    """What the plugins said about a user as it is about to be stored."""

    groups: Mapping[str, frozenset[str]]
    seats: SeatLimit | None


class Users:
    """Runs the operations on users."""

    def __init__(
        self,
        store: Store,
        plugins: PluginManager,
        units_of_work: UnitsOfWork,
        membership_sync: MembershipSync,
        unruled: UnruledValues,
        removals: RemovalControl,
        adoption: AdoptionControl,
        document_limit: int,
    ) -> None:
        self._document_limit, self._unruled = document_limit, unruled
        self._removals, self._adoption = removals, adoption
        self._store, self._plugins = store, plugins
        self._units_of_work, self._membership_sync = units_of_work, membership_sync

    # Operations ---------------------------------------------------------------------------------------------------

    def create(self, caller: IdpCaller, body: Json, trace: Trace) -> Outcome:
        """Create a user, or restore the deleted one that this connection means. Takes a seat when active.

        `body` is in the dialect of the connection. Raises Uniqueness and OverCapacity.
        """
        return self._add(caller, read_document(self._plugins, caller, "User", body, trace), trace)

    def make(self, caller: Caller, values: Mapping[str, Any], trace: Trace) -> Outcome:
        """Create a manual user of an admin's `user_name`, `display_name`, `email` and `active`.

        Raises Uniqueness and OverCapacity.
        """
        return self._add(caller, clean(user_type(), manual_document(values)).document, trace)

    def _add(self, caller: Caller, document: Json, trace: Trace) -> Outcome:
        trace.user = document["userName"]
        document = {**document, "active": document.get("active", True)}
        check_size(document, None, self._document_limit)
        return self._create(caller, document, trace)

    def replace(
        self, caller: IdpCaller, uid: str, body: Json, trace: Trace, if_match: str | None = None,
        only_new: bool = False,
    ) -> Outcome:  # fmt: skip
        """Store a whole document. `active` moves only where it is said: a profile update never changes it.

        `only_new`: the client asks not to replace what exists. Raises NotFound, PreconditionFailed and Uniqueness.
        """
        document = read_document(self._plugins, caller, "User", body, trace)
        if only_new:
            refuse_to_replace(self._store.users.seen(caller.connection, uid) is not None)
        return self._replace(caller, uid, document, trace, if_match)

    @retry_on_conflict
    def _replace(
        self, caller: Caller, uid: str, document: Json, trace: Trace, if_match: str | None
    ) -> Outcome:
        found = self._found(caller, uid, trace, if_match)
        active = document.get("active", bool(found.user.active))
        keeps = _takes_back(caller, document.get("active") is True)
        return self._rewrite(caller, found, {**document, "active": active}, trace, keeps)

    def patch(
        self, caller: IdpCaller, uid: str, body: Json, trace: Trace, if_match: str | None = None
    ) -> Outcome:
        """Apply the operations of a PatchOp message in the dialect of the connection.

        Raises NotFound, PreconditionFailed, Uniqueness, OverCapacity and Mutability.
        """
        operations = read_operations(body, caller.kept.empty_patches)
        return self._patch(caller, uid, operations, trace, if_match)

    @retry_on_conflict
    def _patch(
        self, caller: IdpCaller, uid: str, operations: list[Json], trace: Trace, if_match: str | None
    ) -> Outcome:
        found = self._found(caller, uid, trace, if_match)
        current = found.user.document
        mapped = trace.record(
            self._plugins.map_patch(
                caller.words, "User", [dict(operation) for operation in operations], current
            )
        )
        if mapped is not operations:
            trace.translated = operations, mapped
        patched = patch.apply(caller.kept.user, current, mapped, resource_id=found.user.uid)
        trace.ignored = list(patched.ignored)
        note_entries(trace, patched.entries)
        if "active" not in patched.document:
            # RFC 7644, 3.5.2.2: what must have a value cannot be removed. A 200 would claim that it was.
            raise Mutability(
                "active cannot be removed, an account is active or not: set it to true or false."
            )
        keeps = _takes_back(caller, patched.document["active"] and _name_active(mapped))
        return self._rewrite(caller, found, patched.document, trace, keeps)

    @retry_on_conflict
    def set_active(
        self, caller: Caller, uid: str, active: bool, trace: Trace, if_match: str | None = None
    ) -> Outcome:
        """Deactivate or reactivate a user of any connection, as an admin."""
        found = self._found(caller, uid, trace, if_match)
        return self._rewrite(caller, found, {**found.user.document, "active": active}, trace)

    @retry_on_conflict
    def edit(
        self, caller: Caller, uid: str, values: Mapping[str, Any], trace: Trace, if_match: str | None = None
    ) -> Outcome:
        """Change a user as an admin: `active` of any user, `user_name`, `display_name` and `email` of a manual one."""
        found = self._found(caller, uid, trace, if_match)
        user = found.user
        if user.connection_id is not None and values.keys() - {"active"}:
            raise Conflict(
                f"The user {user.user_name!r} is managed by an identity provider: of it only `active` can be"
                " changed here. Change the rest there."
            )
        document = edited(user.document, values)
        document["active"] = values.get("active", bool(user.active))
        return self._rewrite(caller, found, document, trace)

    @retry_on_conflict
    def delete(self, caller: Caller, uid: str, trace: Trace, if_match: str | None = None) -> None:
        """Delete a user softly: its seat is free, its memberships end, and its id can be restored."""
        user, groups = self._found(caller, uid, trace, if_match)
        if user.connection_id is None:
            self._adoption.admit(caller, user, user.document, trace)
        self._removals.guard(caller, user, ("delete",), trace)
        with self._units_of_work.open(caller, trace, seats=-user.active) as unit:
            if user.connection_id is None:
                self._adoption.check(caller, user, user.document)
            self._removals.admit(caller, _removal(user, groups, "delete"), unit)
            if user.connection_id is None:
                self._store.adoptions.forget_user(user.id)
            if not self._store.users.remove(caller.organization.id, user):
                raise WriteConflict
            self._store.removed_grants.remember(caller.organization.id, user.id)
            self._store.memberships.drop_user(caller.organization.id, user.id)
            unit.removals = 1
            unit.count("User", user.connection_id, -1)
            self._store.page_positions.shift(caller.organization.id, user.connection_id, user.id, -1)
            # A client that follows the feed by `active` alone must not take the user for one that is there.
            gone = json.loads(user_json(user, (), None)) | {"active": False}
            unit.record_event("user.deleted", "User", user.uid, json.dumps(gone, ensure_ascii=False))

    # Their parts --------------------------------------------------------------------------------------------------

    @retry_on_conflict
    def _create(self, caller: Caller, document: Json, trace: Trace) -> Outcome:
        connection, user_name, active = caller.connection, document["userName"], document["active"]
        check_addresses(self._store, caller, document, None)
        judgement = self._judge(caller, User(None, user_name, active, document), active, trace, None)
        # The id is not known before the user is made: the store enters it.
        trace.target, trace.restored = Target("User", "", user_name), False
        # A request that is watched takes the longer way, which returns the numbers of its events.
        if connection and trace.steps is None and not any(judgement.groups.values()):
            made = self._units_of_work.create_user(caller, trace, document, judgement.seats)
            if made:
                return Outcome(made, ())
        try:
            return self._create_or_restore(caller, document, judgement, trace)
        except OverCapacity:
            trace.target = Target("User", "", user_name)
            raise

    def _create_or_restore(
        self, caller: Caller, document: Json, judgement: Placement, trace: Trace
    ) -> Outcome:
        """Create a user of whom more is to be found out or done: groups, a refusal, a deleted user to restore.

        Without a seat it is refused last: a user who is here already needs none.
        """
        connection, organization_id = caller.connection, caller.organization.id
        user_name, external_id = document["userName"], document.get("externalId")
        with self._units_of_work.open(caller, trace, judgement.seats, seats=int(document["active"])) as unit:
            added = self._store.users.add(organization_id, caller.connection_id, document)
            user, shared = added or (None, False)
            deleted = None
            if user is None:
                deleted = (
                    self._store.users.restorable(connection, user_name, external_id) if connection else None
                )
                self._check_free(caller, user_name, deleted.id if deleted else 0)
                if deleted:
                    user = self._store.users.rewrite(organization_id, caller.connection_id, deleted, document)
            if user is None:
                raise WriteConflict
            if trace.steps is not None:
                trace.explain("found", "gateway", _describe_creation(user, deleted))
            if shared or deleted:
                self._note_sharing(caller.organization.id, caller.connection_id, user, trace)
            if deleted:
                self._store.page_positions.shift(organization_id, caller.connection_id, user.id, 1)
            unit.count("User", caller.connection_id, 1)
            trace.target, trace.restored = Target("User", user.uid, user.user_name), deleted is not None
            moved = self._membership_sync.sync_user(
                caller, user, judgement.groups, unit, trace, new=not deleted
            )
            if deleted:
                moved = self._membership_sync.attach_waiting(caller, user, unit) or moved
            groups = self._groups(caller, user) if moved else ()
            unit.record_event(
                "user.restored" if deleted else "user.created",
                "User",
                user.uid,
                user_json(user, groups, None),
                # A client of the feed receives the event of a user before the events of its memberships.
                first=True,
            )
        return Outcome(user, groups)

    def _rewrite(
        self, caller: Caller, found: Found, document: Json, trace: Trace, takes_back: bool = False
    ) -> Outcome:
        """Bring a stored user to a new document, adopting it when nobody manages it.

        `takes_back`: a removal of the user that may be held is wanted no more.
        """
        (user, groups), active = found, document["active"]
        owner = caller.connection_id if user.connection_id is None else user.connection_id
        takes_seat, before = active and not user.active, user.document
        if owner != user.connection_id:
            self._adoption.admit(caller, user, document, trace)
        judgement = self._judge(
            caller, User(user.uid, document["userName"], active, document), takes_seat, trace, before
        )
        trace.changed = ()
        if trace.steps is not None and owner != user.connection_id:
            trace.explain("adoption", "gateway", "Nobody manages the user: this connection takes it over.")
        if owner == user.connection_id and before == document:
            return self._keep(caller, user, judgement, trace, takes_back)
        check_addresses(self._store, caller, document, before)
        check_size(document, before, self._document_limit)
        trace.changed = differing(before, document)
        deactivates = bool(user.active) and not active
        self._removals.guard(caller, user, _guarded(user, document), trace)
        seats, kind = int(active) - user.active, _kind(user, active)
        state = self._store.users.rewriting(caller.organization.id, owner, user, document)
        if (
            groups is not None
            and trace.steps is None
            and not takes_back
            and self._stays(caller, user, document)
            and self._units_of_work.rewrite_user(
                caller, trace, state, groups, kind, seats, judgement.seats,
                self._removals.step(caller) if deactivates else [],
            )
        ):  # fmt: skip
            return Outcome(state.user, groups)
        with self._units_of_work.open(caller, trace, judgement.seats, seats=seats) as unit:
            if owner != user.connection_id:
                self._adoption.check(caller, user, document)
            if deactivates:
                self._removals.admit(caller, _removal(user, groups, "deactivate"), unit)
            if user.user_name != document["userName"]:
                self._check_free(caller, document["userName"], user.id)
            stored = self._store.users.write(state)
            if stored is None:
                raise WriteConflict
            if (stored.external_id, owner) != (user.external_id, user.connection_id):
                self._note_sharing(caller.organization.id, owner, stored, trace)
            if state.renamed or owner != user.connection_id:
                self._store.memberships.reshow(caller.organization.id, user.id)
            if owner != user.connection_id:
                unit.count("User", None, -1)
                unit.count("User", owner, 1)
                self._store.page_positions.forget(caller.organization.id)
                self._adoption.complete(caller, stored, unit)
            self._membership_sync.sync_user(caller, stored, judgement.groups, unit, trace)
            # They may have changed since the caller was read.
            groups = self._groups(caller, stored)
            unit.record_event(kind, "User", stored.uid, user_json(stored, groups, None))
            self._withdraw_removal(caller, Outcome(stored, groups), takes_back, unit, trace)
        return Outcome(stored, groups)

    def _keep(
        self, caller: Caller, user: UserRecord, judgement: Placement, trace: Trace, takes_back: bool
    ) -> Outcome:
        """Nothing new was said of a user, who may have to move all the same: other groups are wanted by now."""
        with self._units_of_work.open(caller, trace, judgement.seats) as unit:
            # Nothing is written that would notice it: a user who was deleted meanwhile must not be moved.
            seen = self._store.users.of(caller.organization, user.uid)
            if seen is None or seen.version != user.version:
                raise WriteConflict
            self._membership_sync.sync_user(caller, user, judgement.groups, unit, trace)
            outcome = Outcome(user, self._groups(caller, user))
            self._withdraw_removal(caller, outcome, takes_back, unit, trace)
            return outcome

    def _withdraw_removal(
        self, caller: Caller, outcome: Outcome, takes_back: bool, unit: UnitOfWork, trace: Trace
    ) -> None:
        if takes_back:
            user, groups = outcome
            self._removals.withdraw(caller, "User", user.uid, user_json(user, groups, None), unit, trace)

    def _stays(self, caller: Caller, user: UserRecord, document: Json) -> bool:
        """Whether a user keeps its names, its manager and its groups, so that nothing has to be looked up for that."""
        return (
            caller.connection is not None
            and user.connection_id == caller.connection_id
            and (user.user_name, user.external_id) == (document["userName"], document.get("externalId"))
            and not self._membership_sync.decides(caller.connection)
        )

    def _judge(
        self, caller: Caller, user: User, takes_seat: bool, trace: Trace, before: Json | None
    ) -> Placement:
        groups: Mapping[str, frozenset[str]] = {}
        if isinstance(caller, IdpCaller):
            groups = trace.record(self._plugins.resolve_groups(caller.words, user))
            trace.left_out = self._unruled.describe_new_values(caller, user.document, before)
        seats = None
        if takes_seat:
            seats = trace.record(self._plugins.check_seats(caller.tenant, SeatRequest(user.user_name)))
        return Placement(groups, seats)

    def _found(self, caller: Caller, uid: str, trace: Trace, if_match: str | None) -> Found:
        found: Found | None
        if caller.connection:
            seen = self._store.memberships.user(caller.connection, uid)
            found = Found(*seen) if seen else None
        else:
            user = self._store.users.of(caller.organization, uid)
            found = Found(user, None) if user else None
        if found is None:
            raise self.absent(caller, uid, trace)
        trace.user = found.user.user_name
        trace.target = Target("User", found.user.uid, trace.user)
        if trace.steps is not None:
            trace.explain("found", "gateway", _describe_found(found.user))
        check_version(found.user, if_match)
        return found

    def read(self, caller: IdpCaller, uid: str, trace: Trace) -> Outcome:
        """Return a user as a connection sees it. Raises NotFound."""
        seen = self._store.memberships.user(caller.connection, uid)
        if seen is None:
            raise self.absent(caller, uid, trace)
        user, groups = seen
        if trace.steps is not None:
            trace.explain("found", "gateway", _describe_found(user))
        trace.user, trace.target = user.user_name, Target("User", user.uid, None)
        return Outcome(user, groups)

    def find(self, caller: Caller, uid: str, trace: Trace) -> UserRecord:
        """Return a user of an organization for an admin. Raises NotFound."""
        user = self._store.users.of(caller.organization, uid)
        if user is None:
            raise self.absent(caller, uid, trace)
        return user

    def absent(self, caller: Caller, uid: str, trace: Trace) -> NotFound:
        """Return the refusal for a user that is not there.

        When it was deleted and by whom is in the activity, and in the answer to an admin; an identity provider reads
        the same sentence for every unknown id.
        """
        sentence = f"There is no user with the id {excerpt(uid)} here."
        remedy = (
            " Look the user up by userName, and create it if it is not found." if caller.connection else ""
        )
        gone = self._store.users.deleted(caller.organization, uid)
        if gone is None or (caller.connection and gone.connection_id not in (None, caller.connection_id)):
            return NotFound(sentence + remedy)
        trace.user, trace.target = gone.user_name, Target("User", gone.uid, gone.user_name)
        line = self._store.activity.find_deletion(caller.organization.id, gone.user_name, gone.uid)
        if gone.user_name:
            explained = (
                f"{sentence} {gone.user_name} was deleted on {rfc3339(gone.modified)}{_by_line(line)}. A POST /Users of"
                " the connection that had it, with the same userName and externalId, restores it."
            )
        else:
            explained = f"{sentence} It was erased: nothing of the person is kept."
        if caller.connection is None:
            return NotFound(explained)
        trace.inside = explained
        return NotFound(sentence + remedy)

    def _check_free(self, caller: Caller, user_name: str, but: int) -> None:
        """Refuse a userName that somebody else has, in a sentence that says who and what to do."""
        held = self._store.users.holder(caller.organization.id, user_name, but)
        if held is not None:
            raise Uniqueness(f"userName {user_name!r} is taken {self._by_whom(caller, *held)}")

    def _note_sharing(
        self, organization_id: int, connection_id: int | None, user: UserRecord, trace: Trace
    ) -> None:
        """Have the activity name other users of a connection with the same externalId (RFC 7643, 3.1: not unique)."""
        if connection_id is None or user.external_id is None:
            return
        names, more = self._store.users.sharing(organization_id, connection_id, user)
        if names:
            holders = ", ".join([*names, "others"] if more else names)
            trace.decide([Decision("gateway", _SHARED, f"shared with {holders}")])

    def _by_whom(self, caller: Caller, holder: int | None) -> str:
        if holder is None:
            return f"by a user that no identity provider manages. {self._adoption.taken_remedy(caller)}"
        if holder == caller.connection_id:
            return "by another user of this connection. Look it up and update it, or use another value."
        found = self._store.connections.by_key(holder)
        name = f"{found[0].name!r} ({found[0].idp})" if found else "another one"
        return (
            f"by a user that the connection {name} of this organization manages. To hand the user over, an admin of the"
            " application lets this connection take it over there."
        )

    def _groups(self, caller: Caller, user: UserRecord) -> tuple[MemberRecord, ...]:
        return self._store.memberships.groups_of(caller.organization.id, user.connection_id, user.id)


def _describe_found(user: UserRecord) -> str:
    state = "active" if user.active else "inactive"
    managed = "managed by a connection" if user.connection_id is not None else "managed by nobody so far"
    return f"The id is that of the user {user.user_name!r}, {state}, {managed}, in version {user.version}."


def _describe_creation(user: UserRecord, deleted: UserRecord | None) -> str:
    if deleted is None:
        return f"No user has the userName {user.user_name!r}, and no deleted one is meant: it is created."
    by = (
        "externalId"
        if user.external_id is not None and user.external_id == deleted.external_id
        else "userName"
    )
    return f"The deleted user {deleted.user_name!r} is meant, found by {by}: it is restored with its id."


def _by_line(line: ActivityRecord | None) -> str:
    """By whom, as its line in the activity says; nothing once that line is forgotten."""
    if line is None:
        return ""
    prefix = json.loads(line.facts).get("prefix")
    token = f"{line.principal or ''} {prefix}…".strip() if prefix else line.principal or ""
    by = "an admin" if "/organizations/" in line.operation else "the identity provider"
    return f" by {by}{f' ({token})' if token else ''}, request {line.request_id}"


def _guarded(before: UserRecord, document: Json) -> list[Change]:
    """Return what a user may have to be kept from, of a change to this document."""
    changes: list[Change] = []
    if before.active and not document["active"]:
        changes.append("deactivate")
    if fold(before.user_name) != fold(document["userName"]):
        changes.append("rename")
    return changes


def _takes_back(caller: Caller, says_active: bool) -> bool:
    """Return whether a write that says that a user is active may end the wait of a held removal."""
    return says_active and caller.connection is not None and bool(caller.connection.holds_removals)


def _name_active(operations: Iterable[Json]) -> bool:
    """Return whether operations of a PATCH say what `active` is."""
    for operation in operations:
        path, value = operation.get("path"), operation.get("value")
        names = [path] if path is not None else value if isinstance(value, dict) else ()
        if any(str(name).rpartition(":")[2].lower() == "active" for name in names):
            return True
    return False


def _removal(user: UserRecord, groups: tuple[MemberRecord, ...] | None, action: str) -> Removal:
    return Removal("User", user.uid, user.user_name, action, 1, user_json(user, groups or (), None))


def _kind(before: UserRecord, active: bool) -> str:
    if bool(before.active) == active:
        return "user.updated"
    return "user.reactivated" if active else "user.deactivated"
