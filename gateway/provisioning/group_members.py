"""Changes a group's members by delta, in one transaction or, where they are very many, in several."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from gateway.provisioning.adoption.control import asks
from gateway.provisioning.caller import Caller
from gateway.provisioning.long_changes import pause_between_portions
from gateway.provisioning.trace import LINE_COUNT, Trace
from gateway.provisioning.unit_of_work import UnitOfWork, UnitsOfWork, retry_on_conflict
from gateway.scim.errors import InvalidValue, Refusal
from gateway.scim.filter_ast import Filter
from gateway.scim.matching import element_matches
from gateway.scim.members import MemberChange
from gateway.scim.schemas import GROUP
from gateway.store import Store
from gateway.store.memberships import PUSH, Candidate
from gateway.store.records import GroupRecord

#: Members of one group that may wait for users who are not here yet.
MOST_WAITING = 50_000
#: The same of all groups of one connection.
MOST_WAITING_OF_CONNECTION = 200_000
#: Members that one transaction moves at most. More are moved in several, between which other writers proceed.
PORTION = 2_000

#: What the activity says of members whom a connection may not move before an admin has confirmed it.
_STAYING = (
    "Members whom no identity provider manages stay in the group: this connection asks an admin before it changes"
    " them. Confirm them on the page Adoption."
)
_WAITING = (
    "Members whom no identity provider manages join the group once the connection manages them: an admin confirms"
    " them on the page Adoption, and the identity provider updates them then."
)

#: Reads the group of a change again, in the transaction of a portion. Raises what refuses the change by now.
Read = Callable[[Caller], GroupRecord]


class _Plan(NamedTuple):
    """The users whom a membership change pushes into a group, and those whose push it takes back."""

    arriving: Sequence[Candidate]
    leaving: Sequence[Candidate]


class GroupMembers:
    """Applies membership changes."""

    def __init__(self, store: Store, units_of_work: UnitsOfWork) -> None:
        self._store, self._units_of_work = store, units_of_work

    # In one transaction -----------------------------------------------------------------------------------------

    def apply(
        self,
        caller: Caller,
        group: GroupRecord,
        changes: Sequence[MemberChange],
        unit: UnitOfWork,
        trace: Trace,
    ) -> GroupRecord:
        """Apply membership changes in order and record events of their sum; return the group as it is then."""
        moved: dict[str, tuple[int, int]] = {}
        trace.waiting = 0
        for step in changes:
            plan = self._plan(caller, group, step, trace)
            joined = [each for each in plan.arriving if each.joins]
            left = [each for each in plan.leaving if each.leaves]
            for by, candidates in ((1, joined), (-1, left)):
                for each in candidates:
                    moved[each.uid] = each.user_id, moved.get(each.uid, (0, 0))[1] + by
            steps = self._store.memberships.add_pushes(group.id, plan.arriving) if plan.arriving else []
            if plan.leaving:
                steps += self._store.memberships.remove_pushes(group.id, plan.leaving)
            if len(changes) == 1:
                unit.add_steps(steps)
            elif steps:  # the next change reads what this one wrote
                self._store.database.run_change(steps)
        # In the order of the users' creation, as in an answer.
        ordered = sorted(moved, key=lambda uid: moved[uid][0])
        added = [uid for uid in ordered if moved[uid][1] > 0]
        removed = [uid for uid in ordered if moved[uid][1] < 0]
        if changes:
            trace.members = len(added), len(removed)
        if not added and not removed:
            return group
        # As it is now: it may have been renamed since it was read.
        group = self._store.groups.add_members(caller.organization.id, group.id, len(added) - len(removed))
        unit.record_member_events(group.uid, group.name, added, removed)
        return group

    def count_losses(self, caller: Caller, group: GroupRecord, changes: Sequence[MemberChange]) -> int:
        """Return how many members the changes take from a group; 0 where they name too few to take half of them."""
        whole = any(change.kind not in ("add", "remove") for change in changes)
        named = sum(len(change.ids) for change in changes if change.kind == "remove")
        if not whole and 2 * named <= group.members:
            return 0
        memberships, gone = self._store.memberships, set[int]()
        for change in changes:
            if change.kind == "add":
                gone.difference_update(self._resolve(caller, change.ids).values())
            elif change.kind == "remove":
                known = memberships.find_known(caller.organization.id, group.id, change.ids)
                gone.update(each.user_id for each in known if each.leaves)
            elif change.kind == "remove_where" and change.filter is not None:
                gone.update(self._resolve(caller, self._select(caller, group, change.filter)).values())
            else:
                staying = self._resolve(caller, change.ids).values()
                gone = set(memberships.granted(group.id, PUSH)).difference(staying)
        return len(gone)

    def count_members(self, caller: Caller, group: GroupRecord, uids: Sequence[str]) -> int:
        """Return how many of these users are members of a group because of a push."""
        known = self._store.memberships.find_known(caller.organization.id, group.id, uids)
        return sum(each.is_pushed for each in known)

    # In portions -------------------------------------------------------------------------------------------------

    def select_for_portions(
        self, caller: Caller, group: GroupRecord | None, changes: Sequence[MemberChange], trace: Trace
    ) -> Sequence[MemberChange]:
        """Return the changes if they move more members than one transaction should, else none of them.

        Called before anything is stored: whether too many would wait is checked here. Raises InvalidValue. `group` is
        None for one that is not made yet.
        """
        whole = any(change.kind not in ("add", "remove") for change in changes)
        held = group.members if group and whole else 0
        if held + sum(len(change.ids) for change in changes) <= PORTION:
            return ()
        arriving = [uid for change in changes if change.kind in ("add", "replace") for uid in change.ids]
        here = self._resolve(caller, arriving)
        missing = dict.fromkeys(uid for uid in arriving if uid not in here)
        if missing:
            waiting = set(self._store.waiting_members.list_of(group.id)) if group else set()
            replaced = any(change.kind == "replace" for change in changes)
            of_group = len(missing) if replaced else len(waiting.union(missing))
            name = group.name if group else "that is made"
            self._check_waiting(caller, name, list(missing), of_group, of_group - len(waiting))
        trace.before_portions()
        return changes

    def apply_in_portions(
        self, caller: Caller, group: GroupRecord, changes: Sequence[MemberChange], read: Read, trace: Trace
    ) -> GroupRecord:
        """Apply membership changes in transactions of `PORTION` members at most, then write the activity's line.

        What breaks it off is raised, and says that the portions before stand.
        """
        joined, left, waiting = 0, 0, 0
        trace.in_part = True
        try:
            for step in self._portions(caller, group, changes):
                began = time.monotonic()
                group = self._apply_portion(self._units_of_work.refresh(caller), read, step, trace)
                came, went = trace.members or (0, 0)
                joined, left, waiting = joined + came, left + went, waiting + trace.waiting
                pause_between_portions(began)
            trace.members, trace.waiting = (joined, left), waiting
            with self._units_of_work.open(self._units_of_work.refresh(caller), trace):
                trace.in_part = False
                return group
        except Refusal as refusal:
            trace.members = joined, left
            describe_partial_change(refusal, group, joined + left)
            raise

    @retry_on_conflict
    def _apply_portion(self, caller: Caller, read: Read, step: MemberChange, trace: Trace) -> GroupRecord:
        """Apply one membership change in a transaction of its own, which leaves no line in the activity."""
        with self._units_of_work.open(caller, trace, line=False) as unit:
            return self.apply(caller, read(caller), [step], unit, trace)

    def exceeds_portion(self, group: GroupRecord) -> bool:
        """Return whether a group has more members than one transaction should move."""
        return group.members > PORTION

    def remove_portion(self, caller: Caller, read: Read, trace: Trace) -> tuple[GroupRecord, int, bool]:
        """Take `PORTION` members at most out of a group, whatever they are in it for.

        A transaction of its own that leaves no line in the activity. Returns the group then, how many left it, and
        whether there may be more.
        """
        began = time.monotonic()
        group, gone = self._expel_portion(self._units_of_work.refresh(caller), read, trace)
        trace.in_part = True
        pause_between_portions(began)
        return group, gone, gone == PORTION

    @retry_on_conflict
    def _expel_portion(self, caller: Caller, read: Read, trace: Trace) -> tuple[GroupRecord, int]:
        with self._units_of_work.open(caller, trace, line=False) as unit:
            group, organization_id = read(caller), caller.organization.id
            gone = self._store.memberships.expel(group.id, PORTION)
            group = self._store.groups.add_members(organization_id, group.id, -len(gone))
            uids = self._store.memberships.uids(organization_id, gone)
            unit.record_member_events(group.uid, group.name, (), uids)
            return group, len(gone)

    def _portions(
        self, caller: Caller, group: GroupRecord, changes: Sequence[MemberChange]
    ) -> Iterator[MemberChange]:
        """Yield the changes with at most `PORTION` ids each; of a replacement only the difference."""
        memberships, organization_id = self._store.memberships, caller.organization.id
        for change in changes:
            leaving: Sequence[str] = change.ids if change.kind == "remove" else ()
            arriving: Sequence[str] = change.ids if change.kind in ("add", "replace") else ()
            if change.kind == "remove_where":
                assert change.filter is not None
                leaving = self._select(caller, group, change.filter)
            elif change.kind in ("replace", "clear"):
                granted = set(memberships.uids(organization_id, memberships.granted(group.id, PUSH)))
                leaving = sorted(
                    (granted | set(self._store.waiting_members.list_of(group.id))).difference(arriving)
                )
                arriving = [uid for uid in arriving if uid not in granted]
            yield from _split("remove", leaving)
            yield from _split("add", arriving)

    # One change -------------------------------------------------------------------------------------------------

    def _plan(self, caller: Caller, group: GroupRecord, change: MemberChange, trace: Trace) -> _Plan:
        """Return what a membership change does to pushes. Ids that wait are stored and deleted here."""
        memberships, organization_id = self._store.memberships, caller.organization.id
        if change.kind == "add":
            return _Plan(self._find_arriving(caller, group, change.ids, trace), ())
        if change.kind == "remove":
            # Whichever connection manages a member by now: out of its own group a connection takes whom it put in.
            leaving = memberships.find_known(organization_id, group.id, change.ids)
            present = {each.uid for each in leaving if not each.is_awaited}
            self._store.waiting_members.forget(group.id, [uid for uid in change.ids if uid not in present])
            return _Plan((), _removable(caller, leaving, trace))
        if change.kind == "remove_where":
            assert change.filter is not None
            selected = self._select(caller, group, change.filter)
            leaving = memberships.find_visible(organization_id, caller.connection_id, group.id, selected)
            return _Plan((), _removable(caller, leaving, trace))
        self._store.waiting_members.forget(group.id, None)
        arriving = self._find_arriving(caller, group, change.ids, trace)
        staying = {each.user_id for each in arriving}
        gone = [key for key in memberships.granted(group.id, PUSH) if key not in staying]
        leaving = memberships.find_by_keys(organization_id, group.id, gone)
        if asks(caller) and memberships.has_unmanaged_besides(group.id, change.ids):
            trace.left_out.append(_STAYING)
        return _Plan(arriving, _movable(caller, leaving))

    def _resolve(self, caller: Caller, uids: Sequence[str]) -> dict[str, int]:
        return self._store.memberships.resolve(caller.organization.id, caller.connection_id, uids)

    def _find_arriving(
        self, caller: Caller, group: GroupRecord, uids: Sequence[str], trace: Trace
    ) -> list[Candidate]:
        """Return the users that are provisioned; for the others the group waits, so that one of them fails no other.

        So it does for users whom the connection may not adopt by itself.
        """
        visible = self._store.memberships.find_visible(
            caller.organization.id, caller.connection_id, group.id, uids
        )
        found = _movable(caller, visible)
        known = {each.uid for each in found}
        missing = [uid for uid in uids if uid not in known]
        if missing:
            self._store.waiting_members.add(group.id, missing)
            self._check_waiting(caller, group.name, missing, self._store.waiting_members.count(group.id))
            here = len(visible) - len(found)
            trace.waiting += len(missing) - here
            if here:
                trace.left_out.append(_WAITING)
            trace.ignored += [f'members[value eq "{uid[:80]}"]' for uid in missing[:LINE_COUNT]]
            if len(missing) > LINE_COUNT:
                trace.ignored.append(f"members: {len(missing) - LINE_COUNT} more that are not here")
        return found

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
        if self._store.waiting_members.exceed(
            caller.organization.id, caller.connection_id, max(MOST_WAITING_OF_CONNECTION - more, 0)
        ):
            raise InvalidValue(
                f"More than {MOST_WAITING_OF_CONNECTION} members of this connection's groups would wait for users"
                f" whom it does not know, {missing[0][:80]!r} of {name[:200]!r} among them. Provision the"
                " users first."
            )

    def _select(self, caller: Caller, group: GroupRecord, tree: Filter) -> list[str]:
        """Return the ids of members that a filter selects by more than their id."""
        attribute = next(attribute for attribute in GROUP.attributes if attribute.name == "members")
        members = self._store.memberships.members_of(caller.organization.id, caller.connection_id, group)
        return [
            member.uid
            for member in members
            if element_matches(
                tree, {"value": member.uid, "display": member.display, "type": "User"}, attribute
            )
        ]


def _movable(caller: Caller, candidates: list[Candidate]) -> list[Candidate]:
    """Return the users whose memberships a caller may move: not those about whom an admin has to be asked."""
    return [each for each in candidates if each.is_managed] if asks(caller) else candidates


def _removable(caller: Caller, leaving: list[Candidate], trace: Trace) -> list[Candidate]:
    """Return the members whom a caller may take out of a group; notes in `trace` that others stay."""
    found = _movable(caller, leaving)
    if any((each.is_pushed or each.is_granted) and not each.is_managed for each in leaving) and asks(caller):
        trace.left_out.append(_STAYING)
    return found


def _split(kind: Literal["add", "remove"], ids: Sequence[str]) -> Iterator[MemberChange]:
    """Split a change of members into changes of at most `PORTION` ids."""
    for start in range(0, len(ids), PORTION):
        yield MemberChange(kind, tuple(ids[start : start + PORTION]))


def describe_partial_change(refusal: Refusal, group: GroupRecord, moved: int) -> None:
    """Add to the refusal that broke off a change in portions what is stored, and how to go on."""
    cause = "" if refusal.status >= 500 else f" What broke it off: {refusal.detail}"
    refusal.detail = (
        f"The change of the group {group.name[:200]!r} broke off: {moved} of its members were moved, the others were"
        f" not. The group is there with the id {group.uid}: look it up by its name, and send what it shall be again."
        f"{cause}"
    )
