"""The stories of groups: pushed by a connection or made by hand, filled and emptied by delta, removed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from gateway.contracts import Json
from gateway.host import PluginHost
from gateway.provisioning.caller import LINE_COUNT, Caller, IdpCaller, Target, Trace, note_entries
from gateway.provisioning.changes import Change, Changes, Refresh, Who
from gateway.provisioning.long_changes import rest
from gateway.provisioning.moves import make_group
from gateway.provisioning.representation import etag, group_json
from gateway.provisioning.users import check_size, check_version, differing
from gateway.scim import patch
from gateway.scim.documents import fold, shown
from gateway.scim.errors import Conflict, InvalidValue, NotFound, Refusal, Uniqueness
from gateway.scim.filters import Filter, element_matches
from gateway.scim.lines import check_line
from gateway.scim.members import MemberChange
from gateway.scim.schemas import GROUP
from gateway.store import Stale, Store
from gateway.store.memberships import MANUAL, PUSH
from gateway.store.records import GroupRecord, UserRecord

#: Members of one group that may wait for users who are not here yet.
MOST_WAITING = 50_000
#: The same of all groups of one connection.
MOST_WAITING_OF_CONNECTION = 200_000
#: Members whom one transaction moves at most. More are moved in several, between which other writers have their turn.
PORTION = 2_000

#: A group as it is stored by now, and what is left to be done to its members in portions.
Rewritten = tuple[GroupRecord, Sequence[MemberChange]]


class Groups:
    """Tells the stories of groups."""

    def __init__(
        self, store: Store, host: PluginHost, changes: Changes, refresh: Refresh, document_limit: int
    ) -> None:
        self._document_limit = document_limit
        self._store, self._host, self._changes, self._refresh = store, host, changes, refresh

    # An identity provider's stories -----------------------------------------------------------------------------

    def create(self, caller: Caller, document: Json, trace: Trace) -> GroupRecord:
        """Push a new group, with its members."""
        members, document = _without_members(document)
        name = document["displayName"]
        check_size(document, None, self._document_limit)

        changes = [MemberChange("add", members)] if members else []
        later = self._later(caller, None, changes, trace)

        def story(caller: Caller) -> GroupRecord:
            with self._changes.open(caller, trace, line=not later) as change:
                self._check_name(caller, caller.connection_id, name)
                group = self._store.groups.add(caller.organization.id, caller.connection_id, document)
                self._store.organizations.count(caller.organization.id, "Group", caller.connection_id, 1)
                trace.target = Target("Group", group.uid, group.name)
                change.tell("group.created", "Group", group.uid, group_json(group, None, None))
                return self._fill(caller, group, [] if later else changes, change, trace)

        group = self._changes.retried(caller, self._refresh, story, trace)
        return self._move_in_portions(caller, group, later, trace) if later else group

    def replace(
        self, caller: Caller, uid: str, document: Json, trace: Trace, if_match: str | None = None
    ) -> GroupRecord:
        """Store a whole group: its members are those of the document, no others."""
        members, document = _without_members(document)

        def story(caller: Caller) -> Rewritten:
            group = self._found(caller, uid, if_match)
            return self._rewrite(caller, group, document, [MemberChange("replace", members)], trace)

        return self._moved(caller, story, trace)

    def patch(
        self, caller: IdpCaller, uid: str, operations: list[Json], trace: Trace, if_match: str | None = None
    ) -> GroupRecord:
        """Apply operations; what they do to members costs what they name, however large the group is."""

        def story(caller: IdpCaller) -> Rewritten:
            group = self._found(caller, uid, if_match)
            current = json.loads(group.doc)
            mapped = self._host.map_patch(
                caller.words,
                "Group",
                [dict(operation) for operation in operations],
                current,
                trace.decisions,
            )
            changes, rest = patch.split_members(mapped)
            patched = patch.apply(caller.kept.group, current, rest, resource_id=group.uid)
            trace.ignored = list(patched.ignored)
            note_entries(trace, ["members"] if any(change.by_value for change in changes) else ())
            return self._rewrite(caller, group, patched.document, changes, trace)

        return self._moved(caller, story, trace)

    def delete(self, caller: Caller, uid: str, trace: Trace, if_match: str | None = None) -> None:
        """Remove a group; its memberships end with it."""
        self._remove(caller, uid, self._found, trace, if_match)

    def _remove(
        self, caller: Caller, uid: str, find: Callable[[Caller, str, str | None], GroupRecord], trace: Trace,
        if_match: str | None,
    ) -> None:  # fmt: skip
        """Remove the group that `find` finds, or refuse as it does."""
        if_match = self._empty(caller, uid, find, trace, if_match)

        def story(caller: Caller) -> None:
            with self._changes.open(caller, trace) as change:
                # Read in here: until then a connection may link it.
                group = find(caller, uid, if_match)
                self._check_unmapped(group)
                if not self._store.groups.remove(caller.organization.id, group):
                    raise Stale
                trace.in_part = False
                self._store.organizations.count(caller.organization.id, "Group", group.connection_id, -1)
                trace.target = Target("Group", group.uid, group.name)
                change.tell("group.deleted", "Group", group.uid, group_json(group, None, None))

        self._changes.retried(caller, self._refresh, story, trace)

    # An admin's stories -----------------------------------------------------------------------------------------

    def make(self, caller: Caller, name: str, trace: Trace) -> GroupRecord:
        """A group made by hand."""

        def story(caller: Caller) -> GroupRecord:
            with self._changes.open(caller, trace) as change:
                self._check_name(caller, None, name)
                self._check_not_pushed(caller, name)
                group = make_group(self._store, caller, name, change)
                trace.target = Target("Group", group.uid, group.name)
                return group

        return self._changes.retried(caller, self._refresh, story, trace)

    def rename(
        self, caller: Caller, uid: str, name: str, trace: Trace, if_match: str | None = None
    ) -> GroupRecord:
        """Rename a group made by hand."""

        def story(caller: Caller) -> Rewritten:
            group = self._by_hand(caller, uid, if_match)
            document = {**json.loads(group.doc), "displayName": name}
            return self._rewrite(caller, group, document, [], trace)

        return self._moved(caller, story, trace)

    def unmake(self, caller: Caller, uid: str, trace: Trace, if_match: str | None = None) -> None:
        """Remove a group made by hand."""
        self._remove(caller, uid, self._by_hand, trace, if_match)

    def set_member(self, caller: Caller, group_uid: str, user_uid: str, inside: bool, trace: Trace) -> None:
        """Put a user into a group by hand, or take it out."""

        def story(caller: Caller) -> None:
            memberships = self._store.memberships
            with self._changes.open(caller, trace) as change:
                # Read in here: until then the group may be linked, the user deleted or adopted.
                group, user = self._by_hand(caller, group_uid, None), self._member(caller, user_uid, trace)
                self._check_not_mapped(user)
                # Where a mapping was switched off this is so already, or about to be.
                memberships.release_users(caller.organization.id, [user.id])
                trace.target, trace.members = Target("Group", group.uid, group.name), (0, 0)
                act = memberships.grant if inside else memberships.withdraw
                if act(group.id, [user.id], MANUAL):
                    self._store.groups.recount(caller.organization.id, group.id, 1 if inside else -1)
                    trace.members = (1, 0) if inside else (0, 1)
                    change.tell_members(
                        group.uid, group.name, [user.uid] if inside else [], [] if inside else [user.uid]
                    )

        self._changes.retried(caller, self._refresh, story, trace)

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
        check_size(document, json.loads(group.doc), self._document_limit)
        trace.target, trace.changed = Target("Group", group.uid, group.name), ()
        later = self._later(caller, group, changes, trace)
        with self._changes.open(caller, trace, line=not later) as change:
            if owner != group.connection_id:
                self._link(caller, group)
            if name != group.name or owner != group.connection_id:
                self._check_name(caller, owner, name, group.id)
            if owner is None and fold(name) != fold(group.name):
                self._check_not_pushed(caller, name)
            if owner != group.connection_id or json.loads(group.doc) != document:
                stored = self._store.groups.rewrite(caller.organization.id, owner, group, document)
                if stored is None:
                    raise Stale
                trace.changed = differing(json.loads(group.doc), document)
                group = stored
                change.tell("group.updated", "Group", group.uid, group_json(group, None, None))
            return self._fill(caller, group, [] if later else changes, change, trace), later

    def _moved(self, caller: Who, story: Callable[[Who], Rewritten], trace: Trace) -> GroupRecord:
        """Run a change of a group, then move the members that it left."""
        group, later = self._changes.retried(caller, self._refresh, story, trace)
        return self._move_in_portions(caller, group, later, trace) if later else group

    def _later(
        self, caller: Caller, group: GroupRecord | None, changes: Sequence[MemberChange], trace: Trace
    ) -> Sequence[MemberChange]:
        """The changes, if they move more members than one transaction should; else none of them.

        Whether too many would wait is asked here, before anything is stored.
        """
        whole = any(change.kind not in ("add", "remove") for change in changes)
        held = group.members if group and whole else 0
        if held + sum(len(change.ids) for change in changes) <= PORTION:
            return ()
        arriving = [uid for change in changes if change.kind in ("add", "replace") for uid in change.ids]
        here = self._resolve(caller, arriving)
        missing = dict.fromkeys(uid for uid in arriving if uid not in here)
        if missing:
            waiting = set(self._store.memberships.waiting(group.id)) if group else set()
            replaced = any(change.kind == "replace" for change in changes)
            of_group = len(missing) if replaced else len(waiting.union(missing))
            name = group.name if group else "that is made"
            self._check_waiting(caller, name, list(missing), of_group, of_group - len(waiting))
        trace.before_portions()
        return changes

    def _move_in_portions(
        self, caller: Caller, group: GroupRecord, changes: Sequence[MemberChange], trace: Trace
    ) -> GroupRecord:
        """Apply membership changes in transactions of `PORTION` members at most, then write the activity's line.

        What breaks it off is raised, and says that the portions before stand.
        """
        joined, left, waiting, uid = 0, 0, 0, group.uid
        trace.in_part = True
        try:
            for step in self._portions(caller, group, changes):
                began = time.monotonic()

                def story(caller: Caller, step: MemberChange = step) -> GroupRecord:
                    with self._changes.open(caller, trace, line=False) as change:
                        return self._fill(caller, self._found(caller, uid, None), [step], change, trace)

                group = self._changes.retried(self._refresh(caller), self._refresh, story, trace)
                came, went = trace.members or (0, 0)
                joined, left, waiting = joined + came, left + went, waiting + trace.waiting
                rest(began)
            trace.members, trace.waiting = (joined, left), waiting
            with self._changes.open(self._refresh(caller), trace):
                trace.in_part = False
                return group
        except Refusal as refusal:
            trace.members = joined, left
            _say_what_stands(refusal, group, joined + left)
            raise

    def _portions(
        self, caller: Caller, group: GroupRecord, changes: Sequence[MemberChange]
    ) -> Iterator[MemberChange]:
        """The same changes, each of `PORTION` ids at most; of a replacement only what differs from what is stored."""
        memberships, organization_id = self._store.memberships, caller.organization.id
        for change in changes:
            leaving: Sequence[str] = change.ids if change.kind == "remove" else ()
            arriving: Sequence[str] = change.ids if change.kind in ("add", "replace") else ()
            if change.kind == "remove_where":
                assert change.filter is not None
                leaving = memberships.uids(organization_id, self._selected(caller, group, change.filter))
            elif change.kind in ("replace", "clear"):
                granted = set(memberships.uids(organization_id, memberships.granted(group.id, PUSH)))
                leaving = sorted((granted | set(memberships.waiting(group.id))).difference(arriving))
                arriving = [uid for uid in arriving if uid not in granted]
            yield from _split("remove", leaving)
            yield from _split("add", arriving)

    def _empty(
        self, caller: Caller, uid: str, find: Callable[[Caller, str, str | None], GroupRecord], trace: Trace,
        if_match: str | None,
    ) -> str | None:  # fmt: skip
        """Take members out of a large group that is about to be removed, in portions; the version to be removed."""
        group = find(caller, uid, if_match)
        if group.members <= PORTION:
            return if_match
        self._check_unmapped(group)
        trace.before_portions()
        left, more = 0, True

        def story(caller: Caller) -> tuple[GroupRecord, int]:
            with self._changes.open(caller, trace, line=False) as change:
                group, organization_id = find(caller, uid, if_match), caller.organization.id
                self._check_unmapped(group)
                gone = self._store.memberships.expel(group.id, PORTION)
                self._store.groups.recount(organization_id, group.id, -len(gone))
                uids = self._store.memberships.uids(organization_id, gone)
                change.tell_members(group.uid, group.name, (), uids)
                return find(caller, uid, None), len(gone)

        while more:
            began = time.monotonic()
            try:
                group, gone = self._changes.retried(self._refresh(caller), self._refresh, story, trace)
            except Refusal as refusal:
                if left:
                    trace.members = 0, left
                    _say_what_stands(refusal, group, left)
                raise
            trace.in_part = True
            left, more = left + gone, gone == PORTION
            if_match = if_match and etag(group)
            rest(began)
        return if_match

    def _link(self, caller: Caller, group: GroupRecord) -> None:
        """A group made by hand becomes one that this connection pushes: who is in it is decided there from now on."""
        self._check_unmapped(group)
        # Those given by hand, and those that an earlier mapping left: nobody else could take them back.
        self._store.memberships.hand_over(group.id)
        self._store.organizations.count(caller.organization.id, "Group", None, -1)
        self._store.organizations.count(caller.organization.id, "Group", caller.connection_id, 1)

    def _fill(
        self,
        caller: Caller,
        group: GroupRecord,
        changes: Sequence[MemberChange],
        change: Change,
        trace: Trace,
    ) -> GroupRecord:
        """Apply membership changes in order, and tell their sum."""
        balance: dict[int, int] = {}
        trace.waiting = 0
        for step in changes:
            joined, left = self._step(caller, group, step, trace)
            for user_id in joined:
                balance[user_id] = balance.get(user_id, 0) + 1
            for user_id in left:
                balance[user_id] = balance.get(user_id, 0) - 1
        added = [user_id for user_id, sum_ in balance.items() if sum_ > 0]
        removed = [user_id for user_id, sum_ in balance.items() if sum_ < 0]
        if changes:
            trace.members = len(added), len(removed)
        if not added and not removed:
            return group
        organization_id = caller.organization.id
        self._store.groups.recount(organization_id, group.id, len(added) - len(removed))
        # As it is now: it may have been renamed since it was read.
        group = self._store.groups.by_keys(organization_id, [group.id])[0]
        uids = self._store.memberships.uids
        change.tell_members(
            group.uid, group.name, uids(organization_id, added), uids(organization_id, removed)
        )
        return group

    def _step(
        self, caller: Caller, group: GroupRecord, step: MemberChange, trace: Trace
    ) -> tuple[Iterable[int], Iterable[int]]:
        """One membership change: the keys of those who came in, and of those who are out."""
        memberships = self._store.memberships
        if step.kind == "add":
            return memberships.grant(group.id, self._arrive(caller, group, step.ids, trace), PUSH), ()
        if step.kind == "remove":
            memberships.forget_waiting(group.id, step.ids)
            # Whoever manages a member by now: in a group of its own a connection takes out whom it put in.
            return (), memberships.withdraw(
                group.id, memberships.known(caller.organization.id, step.ids), PUSH
            )
        if step.kind == "remove_where":
            assert step.filter is not None
            return (), memberships.withdraw(group.id, self._selected(caller, group, step.filter), PUSH)
        memberships.forget_waiting(group.id, None)
        wanted = self._arrive(caller, group, step.ids, trace)
        there = set(wanted)
        gone = [key for key in memberships.granted(group.id, PUSH) if key not in there]
        return memberships.grant(group.id, wanted, PUSH), memberships.withdraw(group.id, gone, PUSH)

    def _resolve(self, caller: Caller, uids: Sequence[str]) -> dict[str, int]:
        return self._store.memberships.resolve(caller.organization.id, caller.connection_id, uids)

    def _arrive(self, caller: Caller, group: GroupRecord, uids: Sequence[str], trace: Trace) -> list[int]:
        """The keys of members that are here. One unknown id must not fail the rest: the group waits for it."""
        here = self._resolve(caller, uids)
        missing = [uid for uid in uids if uid not in here]
        if missing:
            self._store.memberships.wait_for(group.id, missing)
            self._check_waiting(caller, group.name, missing, self._store.memberships.count_waiting(group.id))
            trace.waiting += len(missing)
            trace.ignored += [f'members[value eq "{uid[:80]}"]' for uid in missing[:LINE_COUNT]]
            if len(missing) > LINE_COUNT:
                trace.ignored.append(f"members: {len(missing) - LINE_COUNT} more that are not here")
        return list(here.values())

    def _check_waiting(
        self, caller: Caller, name: str, missing: Sequence[str], of_group: int, more: int = 0
    ) -> None:
        """Refuse members who are not here where too many of a group, or of all of a connection, would wait.

        `more`: how many would wait beyond those that are stored.
        """
        if of_group > MOST_WAITING:
            raise InvalidValue(
                f"More than {MOST_WAITING} members of the group {name[:200]!r} would wait for users whom this"
                f" connection does not know, {missing[0][:80]!r} among them. Provision the users first."
            )
        if self._store.memberships.waits_for_more(
            caller.organization.id, caller.connection_id, max(MOST_WAITING_OF_CONNECTION - more, 0)
        ):
            raise InvalidValue(
                f"More than {MOST_WAITING_OF_CONNECTION} members of this connection's groups would wait for users"
                f" whom it does not know, {missing[0][:80]!r} of {name[:200]!r} among them. Provision the"
                " users first."
            )

    def _selected(self, caller: Caller, group: GroupRecord, tree: Filter) -> list[int]:
        """Members that a filter picks by more than their id."""
        attribute = next(attribute for attribute in GROUP.attributes if attribute.name == "members")
        members = self._store.memberships.members_of(caller.organization.id, caller.connection_id, group)
        picked = [
            member.uid
            for member in members
            if element_matches(
                tree, {"value": member.uid, "display": member.display, "type": "User"}, attribute
            )
        ]
        return list(self._resolve(caller, picked).values())

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
            raise NotFound(f"There is no user with the id {shown(uid)} here.")
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
        name = self._store.mappings.connection_using(group.id)
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


def absent_group(caller: Caller, uid: str) -> NotFound:
    """The refusal for a group that is not there."""
    remedy = (
        " Look the group up by displayName, and create it if it is not found." if caller.connection else ""
    )
    return NotFound(f"There is no group with the id {shown(uid)} here.{remedy}")


def _without_members(document: Json) -> tuple[tuple[str, ...], Json]:
    """The ids of the members, and the document as it is stored."""
    members = tuple(dict.fromkeys(entry["value"] for entry in document.get("members", ())))
    return members, {key: value for key, value in document.items() if key != "members"}


def _split(kind: Literal["add", "remove"], ids: Sequence[str]) -> Iterator[MemberChange]:
    """A change of members in changes of `PORTION` ids at most."""
    for start in range(0, len(ids), PORTION):
        yield MemberChange(kind, tuple(ids[start : start + PORTION]))


def _say_what_stands(refusal: Refusal, group: GroupRecord, moved: int) -> None:
    """Say in the refusal that broke off a change in portions what is stored, and how to go on."""
    cause = "" if refusal.status >= 500 else f" What broke it off: {refusal.detail}"
    refusal.detail = (
        f"The change of the group {group.name[:200]!r} broke off: {moved} of its members were moved, the others were"
        f" not. The group is there with the id {group.uid}: look it up by its name, and send what it shall be again."
        f"{cause}"
    )
