"""What an undo does for each person, and why it leaves somebody as they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    "rules_decide": "The rules of Map to groups fill the group from the user's attributes: choose attributes as well.",
}


#: Notes one of `CHOICES` that stays as it is, with a key of `REASONS`.
_StayNote = Callable[[str, str], None]


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
    """What stays as it is of a user: one of `CHOICES`, and a key of `REASONS`."""

    uid: str
    name: str
    what: str
    reason: str


class Planner:
    """Plans the undo for people whom a connection did something to."""

    def __init__(
        self, store: Store, connection: ConnectionRecord, period: Period, what: frozenset[str]
    ) -> None:
        self._store, self._connection, self._period, self._what = store, connection, period, what
        self._groups: dict[str, StoredGroup | None] = {}

    def plan(self, acts: Mapping[str, PersonActs]) -> Iterator[tuple[PersonPlan | None, list[Stay]]]:
        """Yield the plan for each user, None where nothing is done, and what stays, in the order of `acts`."""
        wanted = [uid for uid, each in acts.items() if self._concerns(each)]
        for start in range(0, len(wanted), PEOPLE_PER_READ):
            yield from self._plan_portion(acts, wanted[start : start + PEOPLE_PER_READ])

    def _concerns(self, acts: PersonActs) -> bool:
        """Return whether a connection did to a user what is to be undone."""
        if acts.first_move in ("user.created", "user.restored"):
            return False  # was not here at the beginning
        return (
            (acts.first_move == "user.deactivated" and bool(self._what & {DEACTIVATED, DELETED}))
            or (acts.first_move in ("user.deleted", "user.reactivated") and DELETED in self._what)
            or (acts.first_move == "user.deleted" and acts.moved_again and DEACTIVATED in self._what)
            or (LEFT_GROUPS in self._what and (bool(acts.left) or acts.deleted))
            or (ATTRIBUTES in self._what and acts.first > 0)
        )

    def _plan_portion(
        self, acts: Mapping[str, PersonActs], uids: Sequence[str]
    ) -> Iterator[tuple[PersonPlan | None, list[Stay]]]:
        organization_id, undos = self._connection.organization_id, self._store.undos
        people = undos.people(organization_id, uids)
        self._read_groups({group for uid in uids for group in acts[uid].left})
        keys = [person.user.id for person in people.values()]
        removed = self._removed_grants(
            [person.user.id for uid, person in people.items() if person.deleted or acts[uid].deleted]
        )
        members = self._store.memberships.reasons_of_many(organization_id, keys) if keys else {}
        earlier: dict[str, str] = {}
        if ATTRIBUTES in self._what:
            earlier = undos.documents_before(
                organization_id, {uid: acts[uid].first for uid in uids if acts[uid].first}
            )
        active = self._active_before({uid: acts[uid] for uid in uids})
        plans: list[tuple[PersonPlan | None, list[Stay]]] = []
        for uid in uids:
            person, stays = people.get(uid), list[Stay]()
            if person is None or (person.deleted and person.user.connection_id is None):
                stays.append(Stay(uid, person.user.user_name if person else "", DELETED, "not_stored"))
                plans.append((None, stays))
                continue
            held = {group for group, _ in members.get(person.user.id, ())}
            was_active = active.get(uid, bool(person.user.document["active"]))
            plan = self._person(acts[uid], person, was_active, earlier.get(uid), held, removed, stays)
            plans.append((plan, stays))
        taken = undos.names_in_use(
            organization_id, sorted({fold(str(plan.document["userName"])) for plan, _ in plans if plan})
        )
        for plan, stays in plans:
            if plan and taken.get(fold(str(plan.document["userName"])), plan.user.uid) != plan.user.uid:
                stays.append(
                    Stay(
                        plan.user.uid,
                        plan.user.user_name,
                        DELETED if plan.deleted else ATTRIBUTES,
                        "name_taken",
                    )
                )
                plan = None
            yield plan, stays

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

    def _person(
        self, acts: PersonActs, person: StoredPerson, was_active: bool, earlier: str | None, held: set[int],
        removed: Mapping[int, Sequence[Join]], stays: list[Stay],
    ) -> PersonPlan | None:  # fmt: skip
        user, document = person.user, person.user.document

        def stay(what: str, reason: str) -> None:
            stays.append(Stay(user.uid, user.user_name, what, reason))

        change = self._account_change(acts, person, was_active, stay)
        if person.deleted and change is None:
            return None
        changes = [change] if change else []
        active = bool(user.active)
        if change == REACTIVATE:
            active = True
        elif change == RESTORE:
            active = was_active and (acts.first_move == "user.deleted" or DEACTIVATED in self._what)
        attributes: list[str] = []
        if ATTRIBUTES in self._what and acts.first:
            document, attributes = self._earlier_document(acts, document, earlier, stay)
            changes += [REWRITE] if attributes else []
        joins = []
        if change == RESTORE or (LEFT_GROUPS in self._what and acts.deleted):
            joins = self._joins_of_before(acts, removed.get(user.id, ()), held, stay)
        if LEFT_GROUPS in self._what:
            known = held | {join.group.id for join in joins}
            joins += self._joins(acts, known, bool(attributes), stay)
        if not changes and not joins:
            return None
        if changes and user.connection_id != self._connection.id:
            stay(CHOICE_OF[changes[0]], "managed_elsewhere")
            return None
        document = {**document, "active": active}
        return PersonPlan(user, person.deleted, document, tuple(changes), tuple(attributes), tuple(joins))

    def _account_change(
        self, acts: PersonActs, person: StoredPerson, was_active: bool, stay: _StayNote
    ) -> str | None:
        """Return what is done for the account of a user: `RESTORE`, `REACTIVATE`, or nothing."""
        was_here = acts.first_move in ("user.deactivated", "user.reactivated", "user.deleted")
        if person.deleted:
            if not was_here or acts.moved_since:
                stay(DELETED, "changed_since")
            elif DELETED in self._what:
                return RESTORE
            else:
                stay(DEACTIVATED, "deleted")
            return None
        if not (was_here and was_active and DEACTIVATED in self._what) or person.user.active:
            return None
        if acts.moved_since:
            stay(DEACTIVATED, "changed_since")
            return None
        return REACTIVATE

    def _earlier_document(
        self, acts: PersonActs, document: Json, earlier: str | None, stay: _StayNote
    ) -> tuple[Json, list[str]]:
        """Return the document that a user is brought back to, and the names of what differs in it."""
        if earlier is None:
            stay(ATTRIBUTES, "no_earlier_document")
            return document, []
        old = {
            name: value for name, value in json.loads(earlier).items() if name not in ("id", "meta", "groups")
        }
        names = differing({**document, "active": True}, {**old, "active": True})
        if not names:
            return document, []
        if acts.changed_since:
            stay(ATTRIBUTES, "changed_since")
            return document, []
        return old, names

    def _joins_of_before(
        self, acts: PersonActs, removed: Sequence[Join], held: set[int], stay: _StayNote
    ) -> list[Join]:
        """Return what a deletion took from a user that it has not got again."""
        joins = []
        for join in removed:
            if join.group.id in held or join.group.uid in acts.ended or acts.left.get(join.group.uid):
                continue
            if join.source != PUSH and join.group.connection_id is not None:
                stay(LEFT_GROUPS, "group_pushed")
            else:
                joins.append(join)
        return joins

    def _joins(self, acts: PersonActs, known: set[int], rewritten: bool, stay: _StayNote) -> Iterator[Join]:
        for uid, changed_since in acts.left.items():
            group = self._groups.get(uid)
            if group is None:
                stay(LEFT_GROUPS, "group_gone")
            elif group.id in known:
                continue
            elif changed_since:
                stay(LEFT_GROUPS, "changed_since")
            elif group.connection_id == self._connection.id:
                yield Join(group, PUSH)
            elif group.connection_id is not None:
                stay(LEFT_GROUPS, "group_pushed")
            elif not self._connection.mapping_enabled:
                yield Join(group, MANUAL)
            elif not rewritten:
                stay(LEFT_GROUPS, "rules_decide")
