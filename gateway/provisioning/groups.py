"""Operations on groups: pushed by a connection or made by hand; members are added and removed by delta."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence

from gateway.plugin.kit import get
from gateway.plugin.manager import PluginManager
from gateway.provisioning.adoption.control import asks
from gateway.provisioning.caller import Caller, IdpCaller
from gateway.provisioning.documents import check_size, differing
from gateway.provisioning.group_members import GroupMembers, Read, describe_partial_change
from gateway.provisioning.membership_sync import make_group
from gateway.provisioning.preconditions import check_version, refuse_to_replace
from gateway.provisioning.rendering import etag, group_json
from gateway.provisioning.safety.removals import RemovalControl
from gateway.provisioning.trace import Target, Trace, note_entries
from gateway.provisioning.translation import read_document
from gateway.provisioning.unit_of_work import UnitOfWork, UnitsOfWork, retry_on_conflict
from gateway.scim import patch
from gateway.scim.errors import Conflict, NotFound, Refusal, Uniqueness
from gateway.scim.escaping import check_line
from gateway.scim.json_text import Json, excerpt, fold
from gateway.scim.members import MemberChange, split_members
from gateway.scim.operations import read_operations
from gateway.store import Store, WriteConflict
from gateway.store.memberships import MANUAL, MAPPING, MEMBERS_AT_ONCE
from gateway.store.records import GroupRecord, MemberRecord, UserRecord

#: A group as it is stored by now, and what is left to be done to its members in portions.
Rewritten = tuple[GroupRecord, Sequence[MemberChange]]


class Groups:
    """Runs the operations on groups."""

    def __init__(
        self,
        store: Store,
        plugins: PluginManager,
        units_of_work: UnitsOfWork,
        removals: RemovalControl,
        document_limit: int,
    ) -> None:
        self._document_limit, self._removals = document_limit, removals
        self._store, self._plugins, self._units_of_work = store, plugins, units_of_work
        self._members = GroupMembers(store, units_of_work)

    # Operations of identity providers ---------------------------------------------------------------------------

    def create(self, caller: IdpCaller, body: Json, trace: Trace) -> GroupRecord:
        """Push a new group, with its members. `body` is in the dialect of the connection. Raises Uniqueness."""
        members, document = _without_members(read_document(self._plugins, caller, "Group", body, trace))
        check_size(document, None, self._document_limit)

        changes = [MemberChange("add", members)] if members else []
        later = self._members.select_for_portions(caller, None, changes, trace)
        group = self._create(caller, document, [] if later else changes, bool(later), trace)
        return self._move(caller, group, later, trace)

    @retry_on_conflict
    def _create(
        self, caller: Caller, document: Json, changes: Sequence[MemberChange], goes_on: bool, trace: Trace
    ) -> GroupRecord:
        """Store a new group. `goes_on`: its members follow in portions, and the last one writes the activity's line."""
        with self._units_of_work.open(caller, trace, line=not goes_on) as unit:
            self._check_name(caller, caller.connection_id, document["displayName"])
            group = self._store.groups.add(caller.organization.id, caller.connection_id, document)
            unit.count("Group", caller.connection_id, 1)
            trace.target = Target("Group", group.uid, group.name)
            unit.record_event("group.created", "Group", group.uid, group_json(group, None, None))
            return self._members.apply(caller, group, changes, unit, trace)

    def replace(
        self, caller: IdpCaller, uid: str, body: Json, trace: Trace, if_match: str | None = None,
        only_new: bool = False,
    ) -> GroupRecord:  # fmt: skip
        """Store a whole group: its members are those of the document, no others.

        `only_new`: the client asks not to replace what exists. Raises NotFound, PreconditionFailed and Uniqueness.
        """
        document = read_document(self._plugins, caller, "Group", body, trace)
        if only_new:
            refuse_to_replace(self._store.groups.seen(caller.connection, uid) is not None)
        return self._move(caller, *self._replace(caller, uid, document, trace, if_match), trace)

    @retry_on_conflict
    def _replace(
        self, caller: Caller, uid: str, document: Json, trace: Trace, if_match: str | None
    ) -> Rewritten:
        members, document = _without_members(document)
        group = self._found(caller, uid, if_match)
        return self._rewrite(caller, group, document, [MemberChange("replace", members)], trace)

    def patch(
        self, caller: IdpCaller, uid: str, body: Json, trace: Trace, if_match: str | None = None
    ) -> GroupRecord:
        """Apply the operations of a PatchOp message; what they do to members costs what they name.

        Raises NotFound, PreconditionFailed and Uniqueness.
        """
        operations = read_operations(body, caller.kept.empty_patches)
        return self._move(caller, *self._patch(caller, uid, operations, trace, if_match), trace)

    @retry_on_conflict
    def _patch(
        self, caller: IdpCaller, uid: str, operations: list[Json], trace: Trace, if_match: str | None
    ) -> Rewritten:
        group = self._found(caller, uid, if_match)
        current = json.loads(group.doc)
        mapped = trace.record(
            self._plugins.map_patch(
                caller.words, "Group", [dict(operation) for operation in operations], current
            )
        )
        if mapped is not operations:
            trace.translated = operations, mapped
        changes, rest = split_members(mapped)
        patched = patch.apply(caller.kept.group, current, rest, resource_id=group.uid)
        trace.ignored = list(patched.ignored)
        note_entries(trace, ["members"] if any(change.by_value for change in changes) else ())
        return self._rewrite(caller, group, patched.document, changes, trace)

    def read(self, caller: IdpCaller, uid: str, trace: Trace) -> GroupRecord:
        """Return a group as a connection sees it, without its members. Raises NotFound."""
        group = self._store.groups.seen(caller.connection, uid)
        if group is None:
            raise absent_group(caller, uid)
        trace.target = Target("Group", group.uid, group.name)
        return group

    def member_pages(self, caller: IdpCaller, group: GroupRecord) -> Iterable[Sequence[MemberRecord]]:
        """Return the members of a group that a connection sees, a page at a time, read when it is asked for."""
        return self._store.memberships.member_pages(caller.organization.id, caller.connection.id, group)

    def delete(self, caller: Caller, uid: str, trace: Trace, if_match: str | None = None) -> None:
        """Remove a group with its memberships. Raises NotFound, PreconditionFailed, Conflict."""
        self._remove(caller, uid, self._found, trace, if_match)

    def _remove(
        self, caller: Caller, uid: str, find: Callable[[Caller, str, str | None], GroupRecord], trace: Trace,
        if_match: str | None,
    ) -> None:  # fmt: skip
        """Remove the group that `find` returns, in portions if it has many members; raises what `find` raises."""
        left = 0

        def read(caller: Caller) -> GroupRecord:
            group = find(caller, uid, if_match)
            self._check_unmapped(group)
            if asks(caller):
                self._check_unmanaged_members(group)
            return group

        group = read(caller)
        more = self._members.exceeds_portion(group)
        self._removals.guard_group(caller)
        if more:
            trace.before_portions()
            self._admit_removal(caller, read, trace)
        try:
            while more:
                group, gone, more = self._members.remove_portion(caller, read, trace)
                left, if_match = left + gone, if_match and etag(group)
            self._remove_row(caller, read, trace, admitted=bool(left))
        except Refusal as refusal:
            if left:
                trace.members = 0, left
                describe_partial_change(refusal, group, left)
            raise
        trace.in_part = False

    def _check_unmanaged_members(self, group: GroupRecord) -> None:
        """Refuse to remove a group with which people would lose what an admin of the application gave them."""
        if group.connection_id is None and group.members:
            raise Conflict(
                f"The group {group.name!r} was made in the application, and this connection asks an admin before it"
                " changes what nobody manages: the group and its members stay. Delete it in the application."
            )
        if self._store.memberships.has_unmanaged_besides(group.id, (), (MANUAL, MAPPING)):
            raise Conflict(
                f"The group {group.name!r} was made in the application, and has members from then whom no identity"
                " provider manages: this connection asks an admin before it changes them, so the group stays. Confirm"
                " them on the page Adoption of the console, update them, and delete the group then.",
                page="adoption",
            )

    @retry_on_conflict
    def _admit_removal(self, caller: Caller, read: Read, trace: Trace) -> None:
        """Count the members of a group that is about to be removed in portions."""
        with self._units_of_work.open(caller, trace, line=False) as unit:
            group = read(caller)
            self._removals.admit_group(caller, group, group.members, "delete", unit)

    @retry_on_conflict
    def _remove_row(self, caller: Caller, read: Read, trace: Trace, admitted: bool) -> None:
        """Remove a group that has few members left. `admitted`: they were counted as removals before."""
        with self._units_of_work.open(caller, trace) as unit:
            # Read in here: until then a connection may link it.
            group = read(caller)
            if not admitted:
                self._removals.admit_group(caller, group, group.members, "delete", unit)
            if not self._store.groups.remove(caller.organization.id, group):
                raise WriteConflict
            unit.count("Group", group.connection_id, -1)
            trace.target = Target("Group", group.uid, group.name)
            unit.record_event("group.deleted", "Group", group.uid, group_json(group, None, None))

    # Operations of admins ---------------------------------------------------------------------------------------

    @retry_on_conflict
    def make(self, caller: Caller, name: str, trace: Trace) -> GroupRecord:
        """Create a manual group."""
        with self._units_of_work.open(caller, trace) as change:
            self._check_name(caller, None, name)
            self._check_not_pushed(caller, name)
            group = make_group(self._store, caller, name, change)
            trace.target = Target("Group", group.uid, group.name)
            return group

    def rename(
        self, caller: Caller, uid: str, name: str, trace: Trace, if_match: str | None = None
    ) -> GroupRecord:
        """Rename a group made by hand. Raises NotFound, Conflict, Uniqueness, PreconditionFailed."""
        return self._rename(caller, uid, name, trace, if_match)[0]

    @retry_on_conflict
    def _rename(self, caller: Caller, uid: str, name: str, trace: Trace, if_match: str | None) -> Rewritten:
        group = self._by_hand(caller, uid, if_match)
        document = {**json.loads(group.doc), "displayName": name}
        return self._rewrite(caller, group, document, [], trace)

    def unmake(self, caller: Caller, uid: str, trace: Trace, if_match: str | None = None) -> None:
        """Remove a group made by hand. Raises NotFound, Conflict, PreconditionFailed."""
        self._remove(caller, uid, self._by_hand, trace, if_match)

    @retry_on_conflict
    def set_member(self, caller: Caller, group_uid: str, user_uid: str, inside: bool, trace: Trace) -> None:
        """Put a user into a group by hand (`inside`), or take it out. Raises NotFound, Conflict."""
        memberships = self._store.memberships
        with self._units_of_work.open(caller, trace) as change:
            # Read in here: until then the group may be linked, the user deleted or adopted.
            group, user = self._by_hand(caller, group_uid, None), self._member(caller, user_uid, trace)
            self._check_not_mapped(user)
            # Where a mapping was switched off this is so already, or about to be.
            memberships.release_users(caller.organization.id, [user.id])
            trace.target, trace.members = Target("Group", group.uid, group.name), (0, 0)
            act = memberships.grant if inside else memberships.withdraw
            if act(group.id, [user.id], MANUAL):
                self._store.groups.add_members(caller.organization.id, group.id, 1 if inside else -1)
                trace.members = (1, 0) if inside else (0, 1)
                change.record_member_events(
                    group.uid, group.name, [user.uid] if inside else [], [] if inside else [user.uid]
                )

    # Their parts ------------------------------------------------------------------------------------------------

    def _rewrite(
        self,
        caller: Caller,
        group: GroupRecord,
        document: Json,
        changes: Sequence[MemberChange],
        trace: Trace,
    ) -> Rewritten:
        """Bring a stored group to a new document and new members; the first write of a connection links it.

        Very many members are left to the caller, who moves them in portions.
        """
        owner = caller.connection_id if group.connection_id is None else group.connection_id
        name = document["displayName"]
        before = json.loads(group.doc)
        if document != before:
            check_size(document, before, self._document_limit)
        trace.target, trace.changed = Target("Group", group.uid, group.name), ()
        later = self._members.select_for_portions(caller, group, changes, trace)
        with self._units_of_work.open(caller, trace, line=not later) as change:
            if self._removals.counts_group(caller, group):
                losses = self._members.count_losses(caller, group, changes)
                self._removals.admit_group(caller, group, losses, "leave", change)
            if owner != group.connection_id:
                self._link(caller, group)
            if name != group.name or owner != group.connection_id:
                self._check_name(caller, owner, name, group.id)
            if owner is None and fold(name) != fold(group.name):
                self._check_not_pushed(caller, name)
            if owner != group.connection_id or document != before:
                stored = self._store.groups.rewrite(caller.organization.id, owner, group, document)
                if stored is None:
                    raise WriteConflict
                trace.changed = differing(before, document)
                group = stored
                change.record_event("group.updated", "Group", group.uid, group_json(group, None, None))
            self._withdraw_removal(caller, group, changes, change, trace)
            return self._members.apply(caller, group, [] if later else changes, change, trace), later

    def _withdraw_removal(
        self,
        caller: Caller,
        group: GroupRecord,
        changes: Sequence[MemberChange],
        unit: UnitOfWork,
        trace: Trace,
    ) -> None:
        """End the wait of a held removal of a group, or of many of its members, that these changes take back.

        They do where they say who all its members are, or add as many of those that it has as would have left it.
        """
        if caller.connection is None or not caller.connection.holds_removals:
            return
        whole = any(change.kind == "replace" for change in changes)
        added = {uid for change in changes if change.kind == "add" for uid in change.ids}
        if whole or added:
            people = None if whole else self._members.count_members(caller, group, sorted(added))
            data = group_json(group, None, None)
            self._removals.withdraw(caller, "Group", group.uid, data, unit, trace, people)

    def _move(
        self, caller: Caller, group: GroupRecord, later: Sequence[MemberChange], trace: Trace
    ) -> GroupRecord:
        """Apply the membership changes that a change of a group left for portions, if it left any."""
        if not later:
            return group
        return self._members.apply_in_portions(
            caller, group, later, lambda caller: self._found(caller, group.uid, None), trace
        )

    def _link(self, caller: Caller, group: GroupRecord) -> None:
        """Turn a manual group into one that this connection pushes; its members are decided there from now on."""
        self._check_unmapped(group)
        # Those given by hand, and those that an earlier mapping left: nobody else could take them back.
        self._store.memberships.hand_over(group.id, asks(caller))
        self._store.organizations.count(caller.organization.id, "Group", None, -1)
        self._store.organizations.count(caller.organization.id, "Group", caller.connection_id, 1)

    def _found(self, caller: Caller, uid: str, if_match: str | None) -> GroupRecord:
        store = self._store.groups
        group = (
            store.seen(caller.connection, uid) if caller.connection else store.of(caller.organization, uid)
        )
        if group is None:
            raise absent_group(caller, uid)
        check_version(group, if_match)
        return group

    def _by_hand(self, caller: Caller, uid: str, if_match: str | None) -> GroupRecord:
        group = self._found(caller, uid, if_match)
        if group.connection_id is not None:
            found = self._store.connections.by_key(group.connection_id)
            name = found[0].name if found else "a connection"
            raise Conflict(
                f"The group {group.name!r} is pushed by the connection {name!r}; change it at the identity provider."
            )
        return group

    def _member(self, caller: Caller, uid: str, trace: Trace) -> UserRecord:
        user = self._store.users.of(caller.organization, uid)
        if user is None:
            raise NotFound(f"There is no user with the id {excerpt(uid)} here.")
        trace.user = user.user_name
        return user

    def _check_not_mapped(self, user: UserRecord) -> None:
        found = self._store.connections.by_key(user.connection_id) if user.connection_id else None
        if found and found[0].mapping_enabled:
            raise Conflict(
                f"Map to groups is on for the connection {found[0].name!r}, so the groups of {user.user_name!r} come"
                " from the identity provider. Change the attribute there, or the rules of the mapping."
            )

    def _check_unmapped(self, group: GroupRecord) -> None:
        name = self._store.mapping_rules.connection_using(group.id)
        if name is not None:
            raise Conflict(
                f"The group {group.name!r} is filled by Map to groups of the connection {name!r}. Take it out of the"
                " rules there first."
            )

    def _check_not_pushed(self, caller: Caller, name: str) -> None:
        # A connection would see two groups of one name: its own, and this one that nobody pushes.
        if self._store.groups.pushed_name(caller.organization.id, name):
            raise Uniqueness(
                f"The name {name!r} is taken by a group that an identity provider pushes. Choose another name, or"
                " rename that group at the identity provider."
            )

    def _check_name(self, caller: Caller, connection_id: int | None, name: str, but: int = 0) -> None:
        check_line(name, "displayName")
        namesake = self._store.groups.namesake(caller.organization.id, connection_id, name, but)
        if namesake is None:
            return
        holder = "made in the application" if namesake.connection_id is None else "pushed by this connection"
        raise Uniqueness(
            f"displayName {name!r} is taken by a group {holder}. Look it up and update it, or choose another name."
        )


def is_large(group: GroupRecord) -> bool:
    """Return whether a group has more members than one page of them."""
    return group.members > MEMBERS_AT_ONCE


def is_large_document(body: Json) -> bool:
    """Return whether a group that was sent names more members than one page of them holds."""
    members = get(body, "members")
    return isinstance(members, list) and len(members) > MEMBERS_AT_ONCE


def absent_group(caller: Caller, uid: str) -> NotFound:
    """Return the refusal for an unknown group."""
    remedy = (
        " Look the group up by displayName, and create it if it is not found." if caller.connection else ""
    )
    return NotFound(f"There is no group with the id {excerpt(uid)} here.{remedy}")


def _without_members(document: Json) -> tuple[tuple[str, ...], Json]:
    """Return the ids of the members, and the document as it is stored."""
    members = tuple(dict.fromkeys(entry["value"] for entry in document.get("members", ())))
    return members, {key: value for key, value in document.items() if key != "members"}
