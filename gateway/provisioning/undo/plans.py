"""What an undo does for each person, and why it leaves somebody as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from gateway.provisioning.documents import differing
from gateway.provisioning.undo.acts import Period, PersonActs
from gateway.scim.json_text import Json, fold
from gateway.store import Store
from gateway.store.memberships import MANUAL, PUSH
from gateway.store.records import ConnectionRecord, UserRecord
from gateway.store.undos import StoredGroup, StoredPerson

#: What can be undone.
CHOICES = DEACTIVATED, DELETED, LEFT_GROUPS, ATTRIBUTES = (
    "deactivated",
    "deleted",
    "left_groups",
    "attributes",
)
#: What is done for a person.
REACTIVATE, RESTORE, REWRITE = "reactivate", "restore", "attributes"
#: What an undo never takes back: a user that the connection made, or brought back after a deletion.
CREATED = "created"
#: Which of `CHOICES` asks for it.
CHOICE_OF = {REACTIVATE: DEACTIVATED, RESTORE: DELETED, REWRITE: ATTRIBUTES}
#: People that one statement reads.
PEOPLE_PER_READ = 200

REASONS = {
    "not_stored": "Nothing of the user is stored any more: it was erased, or deleted too long ago.",
    "managed_elsewhere": "The connection does not manage the user any more.",
    "changed_since": "It was changed after that by somebody else, or after the end of the period.",
    "deleted": "The user was deleted, too: choose deleted as well.",
    "name_taken": "Another user has its userName by now. Rename or delete that one first.",
    "no_earlier_document": "The events that hold its earlier attributes are no longer stored.",
    "group_gone": "The group was deleted. Have the identity provider push it again.",
    "group_pushed": "An identity provider pushes the group by now, and decides who is in it.",
    "created": "It was not here at the beginning of the period. An undo takes nobody away: remove it yourself, if it"
    " shall not be here.",
    "not_here_before": "It was not here at the beginning of the period. To have it back choose a later beginning, after"
    " the connection made it.",
    "rules_decide": "The rules of Map to groups fill the group from the user's attributes: choose attributes as well.",
}


#: Types of events after which somebody is here who was not here before.
_ARRIVALS = frozenset({"user.created", "user.restored"})


class Join(NamedTuple):
    """A membership to give back, and the reason under which it is stored."""

    group: StoredGroup
    source: str


class PersonPlan(NamedTuple):
    """What is done for a user: its new document, what that changes, and the memberships it gets back."""

    user: UserRecord
    deleted: bool
    document: Json
    changes: tuple[str, ...]
    attributes: tuple[str, ...]
    joins: tuple[Join, ...]

    @property
    def seat(self) -> int:
        """How many seats it takes."""
        return int(bool(self.document["active"]) and (self.deleted or not self.user.active))


class Stay(NamedTuple):
    """What stays as it is of a user: one of `CHOICES` or `CREATED`, and a key of `REASONS`."""

    uid: str
    name: str
    what: str
    reason: str


class Planned(NamedTuple):
    """What is done for a user, None where nothing is, and what stays."""

    plan: PersonPlan | None
    stays: list[Stay]


class _Stored(NamedTuple):
    """What is stored of the people of one portion; by the ids of users, or by their keys where it says so."""

    people: Mapping[str, StoredPerson]
    #: Groups that they are in, by the keys of users.
    held: Mapping[int, set[int]]
    #: Memberships that deleted users lost in the period, by the keys of users.
    removed: Mapping[int, Sequence[Join]]
    #: Documents from before the period, as JSON.
    earlier: Mapping[str, str]
    #: Whether they were active at first, where the document does not say it.
    active: Mapping[str, bool]


class Planner:
    """Plans the undo for people whom a connection did something to."""

    def __init__(
        self, store: Store, connection: ConnectionRecord, period: Period, what: frozenset[str]
    ) -> None:
        self._store, self._connection, self._period, self._what = store, connection, period, what
        self._groups: dict[str, StoredGroup | None] = {}

    def plan(self, acts: Mapping[str, PersonActs]) -> Iterator[Planned]:
        """Yield what is done and what stays for each user, in the order of `acts`."""
        wanted = [uid for uid, each in acts.items() if self._concerns(each)]
        for start in range(0, len(wanted), PEOPLE_PER_READ):
            portion = {uid: acts[uid] for uid in wanted[start : start + PEOPLE_PER_READ]}
            stored = self._read(portion)
            planned = [self._plan_person(uid, each, stored) for uid, each in portion.items()]
            yield from self._without_taken_names(planned)

    def created(self, acts: Mapping[str, PersonActs]) -> Iterator[Stay]:
        """Yield users whom the connection made or restored in the period: they stay, however they are by now."""
        made = [uid for uid, each in acts.items() if each.first_move in _ARRIVALS]
        for start in range(0, len(made), PEOPLE_PER_READ):
            uids = made[start : start + PEOPLE_PER_READ]
            people = self._store.undos.people(self._connection.organization_id, uids)
            for uid in uids:
                person, each = people.get(uid), acts[uid]
                if person is None or (person.deleted and person.user.connection_id is None):
                    continue  # erased
                gone = person.deleted or not person.user.active
                if gone and each.moved_again and not each.moved_since:
                    yield Stay(uid, person.user.user_name, CREATED, "not_here_before")
                elif not person.deleted:
                    yield Stay(uid, person.user.user_name, CREATED, "created")

    def _concerns(self, acts: PersonActs) -> bool:
        """Return whether a connection did to a user what is to be undone."""
        if acts.first_move in _ARRIVALS:
            return False  # was not here at the beginning
        return (
            (acts.first_move == "user.deactivated" and bool(self._what & {DEACTIVATED, DELETED}))
            or (acts.first_move in ("user.deleted", "user.reactivated") and DELETED in self._what)
            or (acts.first_move == "user.deleted" and acts.moved_again and DEACTIVATED in self._what)
            or (LEFT_GROUPS in self._what and (bool(acts.left) or acts.deleted))
            or (ATTRIBUTES in self._what and acts.first > 0)
        )

    # Reading --------------------------------------------------------------------------------------------------------

    def _read(self, acts: Mapping[str, PersonActs]) -> _Stored:
        organization_id, undos = self._connection.organization_id, self._store.undos
        people = undos.people(organization_id, list(acts))
        self._read_groups({group for each in acts.values() for group in each.left})
        keys = [person.user.id for person in people.values()]
        removed = self._removed_grants(
            [person.user.id for uid, person in people.items() if person.deleted or acts[uid].deleted]
        )
        members = self._store.memberships.reasons_of_many(organization_id, keys) if keys else {}
        held = {key: {group for group, _ in reasons} for key, reasons in members.items()}
        earlier: dict[str, str] = {}
        if ATTRIBUTES in self._what:
            earlier = undos.documents_before(
                organization_id, {uid: each.first for uid, each in acts.items() if each.first}
            )
        return _Stored(people, held, removed, earlier, self._active_before(acts))

    def _active_before(self, acts: Mapping[str, PersonActs]) -> dict[str, bool]:
        """Return whether users were active at first, where what is stored does not say it.

        A deletion leaves the document as it was, but for users who came back since.
        """
        found = self._store.undos.documents_before(
            self._connection.organization_id,
            {
                uid: each.moved_at
                for uid, each in acts.items()
                if each.first_move == "user.deleted" and each.moved_again
            },
        )
        return {
            uid: each.first_move == "user.deactivated"
            for uid, each in acts.items()
            if each.first_move not in (None, "user.deleted")
        } | {uid: bool(json.loads(document)["active"]) for uid, document in found.items()}

    def _read_groups(self, uids: set[str]) -> None:
        missing = sorted(uids - self._groups.keys())
        found = self._store.undos.groups(self._connection.organization_id, "uid", missing)
        self._groups.update(dict.fromkeys(missing), **{group.uid: group for group in found})

    def _removed_grants(self, keys: Sequence[int]) -> dict[int, list[Join]]:
        """Return the memberships that deleted users lost in the period, of groups that are still here."""
        organization_id, start, end = self._connection.organization_id, *self._period
        rows = [
            row
            for row in self._store.removed_grants.of_users(organization_id, keys)
            if start <= row[3] <= end
        ]
        found = self._store.undos.groups(organization_id, "id", sorted({row[1] for row in rows}))
        groups = {group.id: group for group in found}
        joins: dict[int, list[Join]] = {}
        for user_id, group_id, source, _ in rows:
            # While Map to groups is on, rules and plugins decide on what was not pushed.
            group = groups.get(group_id)
            if group is None or (group.connection_id is None and self._connection.mapping_enabled):
                continue
            if source == PUSH and group.connection_id is None:
                source = MANUAL  # As its other members since the connection that pushed it was removed.
            joins.setdefault(user_id, []).append(Join(group, source))
        return joins

    # Planning -------------------------------------------------------------------------------------------------------

    def _plan_person(self, uid: str, acts: PersonActs, stored: _Stored) -> Planned:
        person = stored.people.get(uid)
        if person is None or (person.deleted and person.user.connection_id is None):
            name = person.user.user_name if person else ""
            return Planned(None, [Stay(uid, name, DELETED, "not_stored")])
        user, document = person.user, person.user.document
        was_active = stored.active.get(uid, bool(document["active"]))
        change, stays = self._account_change(acts, person, was_active)
        if person.deleted and change is None:
            return Planned(None, stays)
        changes = [change] if change else []
        attributes: list[str] = []
        if ATTRIBUTES in self._what and acts.first:
            document, attributes, kept = _earlier_document(acts, user, stored.earlier.get(uid))
            changes += [REWRITE] if attributes else []
            stays += kept
        joins, kept = self._joins(acts, user, change == RESTORE, bool(attributes), stored)
        stays += kept
        if not changes and not joins:
            return Planned(None, stays)
        if changes and user.connection_id != self._connection.id:
            return Planned(None, [*stays, _stay(user, CHOICE_OF[changes[0]], "managed_elsewhere")])
        document = {**document, "active": self._active_after(acts, user, change, was_active)}
        plan = PersonPlan(user, person.deleted, document, tuple(changes), tuple(attributes), tuple(joins))
        return Planned(plan, stays)

    def _account_change(
        self, acts: PersonActs, person: StoredPerson, was_active: bool
    ) -> tuple[str | None, list[Stay]]:
        """Return what is done for the account of a user: `RESTORE`, `REACTIVATE`, or nothing; and what stays."""
        user = person.user
        was_here = acts.first_move in ("user.deactivated", "user.reactivated", "user.deleted")
        if person.deleted:
            if not was_here or acts.moved_since:
                return None, [_stay(user, DELETED, "changed_since")]
            if DELETED not in self._what:
                return None, [_stay(user, DEACTIVATED, "deleted")]
            return RESTORE, []
        if not (was_here and was_active and DEACTIVATED in self._what) or user.active:
            return None, []
        if acts.moved_since:
            return None, [_stay(user, DEACTIVATED, "changed_since")]
        return REACTIVATE, []

    def _active_after(self, acts: PersonActs, user: UserRecord, change: str | None, was_active: bool) -> bool:
        if change == RESTORE:
            return was_active and (acts.first_move == "user.deleted" or DEACTIVATED in self._what)
        return change == REACTIVATE or bool(user.active)

    def _joins(
        self, acts: PersonActs, user: UserRecord, restored: bool, rewritten: bool, stored: _Stored
    ) -> tuple[list[Join], list[Stay]]:
        """Return the memberships that a user gets back, and those that stay ended."""
        joins, stays, held = list[Join](), list[Stay](), stored.held.get(user.id, set())
        if restored or (LEFT_GROUPS in self._what and acts.deleted):
            joins, stays = _joins_after_deletion(acts, user, stored.removed.get(user.id, ()), held)
        if LEFT_GROUPS in self._what:
            known = held | {join.group.id for join in joins}
            rejoined, kept = self._joins_of_left(acts, user, known, rewritten)
            joins, stays = joins + rejoined, stays + kept
        return joins, stays

    def _joins_of_left(
        self, acts: PersonActs, user: UserRecord, known: set[int], rewritten: bool
    ) -> tuple[list[Join], list[Stay]]:
        joins, stays = [], []
        for uid, changed_since in acts.left.items():
            group = self._groups.get(uid)
            if group is None:
                stays.append(_stay(user, LEFT_GROUPS, "group_gone"))
            elif group.id in known:
                continue
            elif changed_since:
                stays.append(_stay(user, LEFT_GROUPS, "changed_since"))
            elif group.connection_id == self._connection.id:
                joins.append(Join(group, PUSH))
            elif group.connection_id is not None:
                stays.append(_stay(user, LEFT_GROUPS, "group_pushed"))
            elif not self._connection.mapping_enabled:
                joins.append(Join(group, MANUAL))
            elif not rewritten:
                stays.append(_stay(user, LEFT_GROUPS, "rules_decide"))
        return joins, stays

    def _without_taken_names(self, planned: Sequence[Planned]) -> Iterator[Planned]:
        """Yield what was planned, but nothing for users whose userName another one has by now."""
        names = {_folded_name(plan) for plan, _ in planned if plan}
        holders = self._store.undos.names_in_use(self._connection.organization_id, sorted(names))
        for plan, stays in planned:
            if plan and holders.get(_folded_name(plan), plan.user.uid) != plan.user.uid:
                what = DELETED if plan.deleted else ATTRIBUTES
                yield Planned(None, [*stays, _stay(plan.user, what, "name_taken")])
            else:
                yield Planned(plan, stays)


def _stay(user: UserRecord, what: str, reason: str) -> Stay:
    return Stay(user.uid, user.user_name, what, reason)


def _folded_name(plan: PersonPlan) -> str:
    return fold(str(plan.document["userName"]))


def _earlier_document(
    acts: PersonActs, user: UserRecord, earlier: str | None
) -> tuple[Json, list[str], list[Stay]]:
    """Return the document that a user is brought back to, the names of what differs in it, and what stays."""
    document = user.document
    if earlier is None:
        return document, [], [_stay(user, ATTRIBUTES, "no_earlier_document")]
    old = {name: value for name, value in json.loads(earlier).items() if name not in ("id", "meta", "groups")}
    names = differing({**document, "active": True}, {**old, "active": True})
    if not names:
        return document, [], []
    if acts.changed_since:
        return document, [], [_stay(user, ATTRIBUTES, "changed_since")]
    return old, names, []


def _joins_after_deletion(
    acts: PersonActs, user: UserRecord, removed: Sequence[Join], held: set[int]
) -> tuple[list[Join], list[Stay]]:
    """Return what a deletion took from a user that it has not got again, and what of that stays ended."""
    joins, stays = [], []
    for join in removed:
        if join.group.id in held or join.group.uid in acts.ended or acts.left.get(join.group.uid):
            continue
        if join.source != PUSH and join.group.connection_id is not None:
            stays.append(_stay(user, LEFT_GROUPS, "group_pushed"))
        else:
            joins.append(join)
    return joins, stays
