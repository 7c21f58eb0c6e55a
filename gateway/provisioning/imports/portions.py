"""Writes the rows of one portion of an import within its transaction: people, memberships, seats and events."""

from __future__ import annotations

from gateway.plugin.results import SeatLimit
from gateway.provisioning.imports.row_plans import RowPlan
from gateway.provisioning.rendering import user_json
from gateway.provisioning.unit_of_work import UnitOfWork
from gateway.scim.errors import Refusal
from gateway.store import Store, WriteConflict
from gateway.store.memberships import MANUAL
from gateway.store.records import OrganizationRecord, UserRecord


class Portion:
    """What the rows of a portion write. The organization is as stored, and its row is locked."""

    def __init__(self, store: Store, organization: OrganizationRecord, unit: UnitOfWork) -> None:
        self._store, self._organization, self._unit = store, organization, unit
        #: Users that were written, in their order, with the types of their events.
        self._written: list[tuple[UserRecord, str]] = []
        #: Keys of the users who join a group, by its key.
        self._joining: dict[int, list[int]] = {}
        self._uids: dict[int, str] = {}

    def write(self, plan: RowPlan, limit: SeatLimit | Refusal | None) -> str | None:
        """Write what one row does; return the sentence that refuses it where no seat is left.

        `limit` is what plugins said of a seat for it, before the transaction. Raises WriteConflict.
        """
        if plan.document is None and not plan.groups:
            return None
        if plan.seat > 0:
            if isinstance(limit, Refusal):
                return limit.detail
            # Exact: nobody else takes a seat of the organization until the transaction ends.
            if limit and self._organization.seats_used + self._unit.seats + 1 > limit.ceiling:
                return limit.sentence
        user = plan.user
        if plan.document is not None:
            user = self._write_user(plan)
        if user is None:
            raise WriteConflict
        self._unit.seats += plan.seat
        self._uids[user.id] = user.uid
        for group in plan.groups:
            self._joining.setdefault(group, []).append(user.id)
        return None

    def _write_user(self, plan: RowPlan) -> UserRecord:
        users, key = self._store.users, self._organization.id
        assert plan.document is not None
        if plan.user is None:
            added = users.add(key, None, plan.document)
            if added is None:
                raise WriteConflict
            self._unit.count("User", None, 1)
            self._written.append((added[0], "user.created"))
            return added[0]
        state = users.rewriting(key, None, plan.user, plan.document)
        stored = users.write(state)
        if stored is None:
            raise WriteConflict
        if state.renamed:
            self._store.memberships.reshow(key, stored.id)
        kinds = {1: "user.reactivated", 0: "user.updated", -1: "user.deactivated"}
        self._written.append((stored, kinds[plan.seat]))
        return stored

    def record_events(self) -> None:
        """Write the memberships, then record the events of users, and of groups after them."""
        joined = {
            group: self._store.memberships.grant(group, keys, MANUAL) for group, keys in self._joining.items()
        }
        groups = self._store.memberships.groups_of_many(
            self._organization.id, None, [user.id for user, _ in self._written]
        )
        for user, kind in self._written:
            self._unit.record_event(kind, "User", user.uid, user_json(user, groups.get(user.id, ()), None))
        for key, keys in sorted(joined.items()):
            if keys:
                group = self._store.groups.add_members(self._organization.id, key, len(keys))
                self._unit.record_member_events(
                    group.uid, group.name, [self._uids[each] for each in keys], []
                )
