"""Undo: a preview of who would be brought back, and its execution in portions by the preview that was looked at."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from gateway.plugin.contracts import SeatRequest, User
from gateway.plugin.manager import PluginManager
from gateway.plugin.results import SeatLimit
from gateway.provisioning.caller import Caller, Callers, IdpCaller
from gateway.provisioning.long_changes import pause_between_portions
from gateway.provisioning.membership_sync import MembershipSync
from gateway.provisioning.previews import PreviewDigest, check_preview
from gateway.provisioning.rendering import user_json
from gateway.provisioning.safety.operations import Safety
from gateway.provisioning.safety.settings import Pause
from gateway.provisioning.trace import Target, Trace
from gateway.provisioning.undo.acts import Period, read_acts
from gateway.provisioning.undo.plans import (
    CHOICE_OF,
    CHOICES,
    LEFT_GROUPS,
    REACTIVATE,
    REASONS,
    RESTORE,
    REWRITE,
    PersonPlan,
    Planner,
    Stay,
)
from gateway.provisioning.unit_of_work import UnitOfWork, UnitsOfWork, retry_on_conflict
from gateway.scim.errors import Conflict, InvalidValue, OverCapacity, Refusal
from gateway.scim.json_text import Json
from gateway.store import Store, WriteConflict
from gateway.store.ids_and_time import DAY, in_words, now, rfc3339
from gateway.store.memberships import PUSH
from gateway.store.records import UserRecord
from gateway.store.undos import StoredPerson

#: Entries of each list of a result, at most; the summary counts all.
LIST_LENGTH = 100
#: People that move in one transaction.
_PEOPLE_PER_PORTION = 100
#: People that are brought back by one request unless it says how many, and at most: a proxy waits a minute or less.
USUAL_PEOPLE, MOST_PEOPLE = 2_000, 10_000

_DONE = {REACTIVATE: "reactivated", RESTORE: "restored", REWRITE: "attributes as before"}


class UndoRequest(NamedTuple):
    """What to undo: the period in microseconds (`end` None: until now), some of `CHOICES`, and for how many people."""

    start: int
    end: int | None
    what: frozenset[str]
    limit: int = USUAL_PEOPLE


@dataclass
class UndoResult:
    """The people who come back (or came), and what stays, with the reason; the lists are cut to `LIST_LENGTH`."""

    period: Period
    seats_free: int | None
    #: What plugins say of a lack of seats; None without a limit.
    limit: SeatLimit | None = None
    plans: list[PersonPlan] = field(default_factory=list)
    people: list[Json] = field(default_factory=list)
    stays: list[Json] = field(default_factory=list)
    #: Users whom the connection made in the period: they stay, too, and are listed after the others.
    created: list[Json] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    stayed: int = 0
    came: int = 0
    seats: int = 0
    #: True if people were left out because of the limit of the request.
    more: bool = False
    pause: Pause | None = None
    digest: PreviewDigest = field(default_factory=PreviewDigest)

    def add(self, plan: PersonPlan) -> None:
        """Add a person who comes back."""
        groups = [join.group.name for join in plan.joins]
        self.digest.add(
            plan.user.uid, plan.changes, plan.attributes, [join.group.uid for join in plan.joins], plan.seat
        )
        for change in plan.changes:
            self.counts[change] = self.counts.get(change, 0) + 1
        self.counts["people"] = self.counts.get("people", 0) + 1
        self.counts["memberships"] = self.counts.get("memberships", 0) + len(groups)
        self.seats += plan.seat
        if len(self.people) < LIST_LENGTH:
            self.people.append(
                {
                    "id": plan.user.uid,
                    "user_name": plan.user.user_name,
                    "changes": list(plan.changes),
                    "attributes": list(plan.attributes),
                    "groups": groups,
                }
            )

    def add_stays(self, stays: Sequence[Stay]) -> None:
        """Add what stays of a person."""
        for stay in stays:
            self.stayed += 1
            self.digest.add(*stay)
            if len(self.stays) < LIST_LENGTH:
                self.stays.append(_stay_json(stay))

    def add_created(self, stays: Iterable[Stay]) -> None:
        """Add users whom the connection made. The entity tag is without them: more may come before it is used."""
        for stay in stays:
            self.came += 1
            if len(self.created) < LIST_LENGTH:
                self.created.append(_stay_json(stay))

    @property
    def etag(self) -> str:
        """The strong entity tag of exactly this result."""
        return self.digest.tag()

    def as_json(self, preview: bool) -> Json:
        """Return the body of the admin API."""
        return {
            "preview": preview,
            "from": rfc3339(self.period.start),
            "to": rfc3339(self.period.end),
            "people": self.people,
            "stays": (self.stays + self.created)[:LIST_LENGTH],
            "summary": {
                "people": self.counts.get("people", 0),
                "reactivated": self.counts.get(REACTIVATE, 0),
                "restored": self.counts.get(RESTORE, 0),
                "attributes": self.counts.get(REWRITE, 0),
                "memberships": self.counts.get("memberships", 0),
                "stays": self.stayed + self.came,
                "created": self.came,
                "seats_needed": self.seats,
                "seats_free": self.seats_free,
                "more": self.more,
            },
            "paused_until": rfc3339(self.pause.until) if self.pause else None,
        }


class Undo:
    """Runs the operations of an undo."""

    def __init__(
        self, store: Store, plugins: PluginManager, units_of_work: UnitsOfWork, callers: Callers,
        membership_sync: MembershipSync, safety: Safety, event_days: int,
    ) -> None:  # fmt: skip
        """`event_days`: how long events are kept, 0 for ever."""
        self._store, self._plugins, self._units_of_work = store, plugins, units_of_work
        self._callers, self._membership_sync, self._safety = callers, membership_sync, safety
        self._event_days = event_days

    def preview(self, caller: IdpCaller, request: UndoRequest) -> UndoResult:
        """Return the effect that `run` would have now; its `etag` is what `run` requires.

        `caller` is the connection of which something is undone. Raises InvalidValue.
        """
        moment = now()
        period = Period(request.start, moment if request.end is None else request.end)
        if not period.start < period.end or period.end > moment:
            raise InvalidValue("`from` lies before `to`, and neither lies in the future.")
        if not request.what:
            raise InvalidValue(f"`what` names what to undo: some of {', '.join(CHOICES)}.")
        organization = self._store.organizations.by_key(caller.organization.id)
        limit = self._plugins.check_seats(caller.tenant, SeatRequest("")).result()
        free = max(0, limit.ceiling - organization.seats_used) if limit else None
        result = UndoResult(period, free, limit)
        # `to` is left out of the digest where it is the moment of the request.
        result.digest.add(
            caller.connection.uid, request.start, request.end, sorted(request.what), request.limit
        )
        kept_since = moment - self._event_days * DAY if self._event_days else None
        acts = read_acts(self._store, caller.connection, period, LEFT_GROUPS in request.what, kept_since)
        planner = Planner(self._store, caller.connection, period, request.what)
        for plan, stays in planner.plan(acts):
            if plan and len(result.plans) == request.limit:
                result.more = True
                break
            result.add_stays(stays)
            if plan:
                result.plans.append(plan)
                result.add(plan)
        result.add_created(planner.created(acts))
        return result

    def run(
        self, admin: Caller, caller: IdpCaller, request: UndoRequest, if_match: str, trace: Trace
    ) -> UndoResult:
        """Bring the people of a preview back, in portions, by an admin; removals of the connection are paused first.

        `if_match` holds the entity tag of the preview. Raises PreconditionFailed when the effect is no longer the one
        of the preview, and OverCapacity when there are not seats for all; a refusal in a later portion names the number
        of people who came back before.
        """
        preview = self.preview(caller, request)
        check_preview(
            preview.etag,
            if_match,
            "The undo would now do something else than the preview showed: people have changed since. Look at a new"
            " preview and send its ETag.",
        )
        free = preview.seats_free
        if preview.limit and free is not None and preview.seats > free:
            raise OverCapacity(
                f"The undo needs {preview.seats:,} seats, and {free:,} {'is' if free == 1 else 'are'} free: nobody was"
                " changed. Free seats or have some added, or bring fewer people back."
            )
        done = replace(preview, plans=[], people=[], counts={}, seats=0, pause=None, digest=PreviewDigest())
        if not preview.plans:
            return done
        reason = (
            f"what it did since {in_words(request.start)} is undone; mend the assignment at the identity provider"
            " before the pause ends, or it removes them again"
        )
        # Removals wait meanwhile, or the connection would repeat at once what is undone.
        done.pause = self._safety.pause_undone(admin, caller.connection, reason, replace(trace, changed=()))
        for start in range(0, len(preview.plans), _PEOPLE_PER_PORTION):
            began = time.monotonic()
            portion = preview.plans[start : start + _PEOPLE_PER_PORTION]
            try:
                written, stays = self._bring_back(self._units_of_work.refresh(admin), caller, portion, trace)
            except Refusal as refusal:
                trace.written = False  # True since the portion before
                if before := done.counts.get("people", 0):
                    refusal.detail += (
                        f" Before that {before:,} people were brought back; a new preview shows who is left."
                    )
                raise
            for plan in written:
                done.add(plan)
            done.add_stays(stays)
            pause_between_portions(began)
        return done

    # Writing --------------------------------------------------------------------------------------------------------

    @retry_on_conflict
    def _bring_back(
        self, admin: Caller, caller: IdpCaller, plans: Sequence[PersonPlan], trace: Trace
    ) -> tuple[list[PersonPlan], list[Stay]]:
        """Bring the people of one portion back in one transaction; return who came, and what was changed meanwhile."""
        caller = self._reload(caller)
        limit = self._seat_limit(admin, plans)
        wanted = self._wanted_groups(caller, plans)
        written: list[tuple[UserRecord, str]] = []
        stays: list[Stay] = []
        with self._units_of_work.open(admin, trace, limit) as unit:
            people = self._store.undos.people(admin.organization.id, [plan.user.uid for plan in plans])
            groups = {join.group.id for plan in plans for join in plan.joins}
            found = self._store.undos.groups(admin.organization.id, "id", sorted(groups))
            pushed = {group.id: group.connection_id is not None for group in found}
            came = []
            for planned in plans:
                if obstacle := self._obstacle(admin, planned, people.get(planned.user.uid)):
                    what = CHOICE_OF[planned.changes[0]] if planned.changes else LEFT_GROUPS
                    stays.append(Stay(planned.user.uid, planned.user.user_name, what, obstacle))
                    continue
                plan, lost = _without_lost_groups(planned, pushed)
                stays += lost
                if plan.changes:
                    written.append((self._write_person(caller, plan, unit), _kind(plan)))
                if plan.changes or plan.joins:
                    came.append(plan)
            self._join(admin, came, unit)
            for user, kind in written:
                if kind == "user.restored":
                    self._membership_sync.attach_waiting(caller, user, unit)
                if user.uid in wanted:
                    self._membership_sync.sync_user(caller, user, wanted[user.uid], unit, trace)
            self._record_events(admin, caller, written, unit)
            self._write_activity(came, trace)
        return came, stays

    def _reload(self, caller: IdpCaller) -> IdpCaller:
        found = self._store.connections.by_key(caller.connection.id)
        if found is None:
            raise Conflict(f"The connection {caller.connection.name!r} was removed meanwhile.")
        return self._callers.connection(*found, caller.public_url)

    def _seat_limit(self, admin: Caller, plans: Sequence[PersonPlan]) -> SeatLimit | None:
        """Return the lowest ceiling that plugins set for those who take a seat. Raises what one of them refuses."""
        limits = [
            self._plugins.check_seats(admin.tenant, SeatRequest(plan.user.user_name)).result()
            for plan in plans
            if plan.seat
        ]
        return min(filter(None, limits), key=lambda limit: limit.ceiling, default=None)

    def _wanted_groups(
        self, caller: IdpCaller, plans: Sequence[PersonPlan]
    ) -> dict[str, Mapping[str, frozenset[str]]]:
        """Return, by the ids of users, the groups that rules and plugins want users in, where they decide on that."""
        if not self._membership_sync.decides(caller.connection):
            return {}
        return {
            plan.user.uid: self._plugins.resolve_groups(
                caller.words,
                User(plan.user.uid, plan.document["userName"], plan.document["active"], plan.document),
            ).result()
            for plan in plans
            if plan.changes
        }

    def _obstacle(self, admin: Caller, plan: PersonPlan, person: StoredPerson | None) -> str | None:
        """Return why a user stays as it is after all: a key of `REASONS`."""
        if person is None or (person.user.version, person.deleted) != (plan.user.version, plan.deleted):
            return "changed_since"
        name = plan.document["userName"]
        if plan.changes and self._store.users.holder(admin.organization.id, name, plan.user.id) is not None:
            return "name_taken"
        return None

    def _write_person(self, caller: IdpCaller, plan: PersonPlan, unit: UnitOfWork) -> UserRecord:
        organization_id, connection_id = caller.organization.id, caller.connection.id
        state = self._store.users.rewriting(organization_id, connection_id, plan.user, plan.document)
        stored = self._store.users.write(state)
        if stored is None:
            raise WriteConflict
        unit.seats += plan.seat
        if plan.deleted:
            unit.count("User", connection_id, 1)
            self._store.page_positions.shift(organization_id, connection_id, stored.id, 1)
        elif state.renamed:
            self._store.memberships.reshow(organization_id, stored.id)
        return stored

    def _join(self, admin: Caller, plans: Sequence[PersonPlan], unit: UnitOfWork) -> None:
        """Write the memberships, group by group, and record who joined."""
        organization_id = admin.organization.id
        keys: dict[tuple[int, str], list[int]] = {}
        uids = {plan.user.id: plan.user.uid for plan in plans}
        for plan in plans:
            for join in plan.joins:
                keys.setdefault((join.group.id, join.source), []).append(plan.user.id)
        joined: dict[int, list[int]] = {}
        for (group_id, source), users in sorted(keys.items()):
            joined.setdefault(group_id, []).extend(self._store.memberships.grant(group_id, users, source))
        for group_id, users in sorted(joined.items()):
            if users:
                group = self._store.groups.add_members(organization_id, group_id, len(users))
                unit.record_member_events(group.uid, group.name, [uids[user] for user in users], [])
        unit.depends_on_policy = True

    def _record_events(
        self, admin: Caller, caller: IdpCaller, written: Sequence[tuple[UserRecord, str]], unit: UnitOfWork
    ) -> None:
        """Record the events of users, before those of their memberships."""
        groups = self._store.memberships.groups_of_many(
            admin.organization.id, caller.connection.id, [user.id for user, _ in written]
        )
        for user, kind in reversed(written):
            data = user_json(user, groups.get(user.id, ()), None)
            unit.record_event(kind, "User", user.uid, data, first=True)

    def _write_activity(self, plans: Sequence[PersonPlan], trace: Trace) -> None:
        """Write a line for each person, so that a search for the person finds when and by whom it was brought back."""
        lines = [
            replace(
                trace,
                user=plan.user.user_name,
                target=Target("User", plan.user.uid, None),
                changed=plan.attributes,
                restored=plan.deleted,
            ).line(trace.status, f"Undone: {_describe(plan)}.")
            for plan in plans
        ]
        self._store.activity.add([(0, line) for line in lines])


def _without_lost_groups(plan: PersonPlan, pushed: Mapping[int, bool]) -> tuple[PersonPlan, list[Stay]]:
    """Return a plan without the groups that were removed, linked by a connection or left by one since, and these.

    `pushed`: whether a connection pushes a group, by the keys of groups that are there.
    """
    kept, stays = [], []
    for join in plan.joins:
        by_push = pushed.get(join.group.id)
        if by_push is (join.source == PUSH):
            kept.append(join)
            continue
        reason = "group_gone" if by_push is None else "group_pushed" if by_push else "changed_since"
        stays.append(Stay(plan.user.uid, plan.user.user_name, LEFT_GROUPS, reason))
    return plan._replace(joins=tuple(kept)), stays


def _stay_json(stay: Stay) -> Json:
    return {
        "id": stay.uid,
        "user_name": stay.name,
        "what": stay.what,
        "reason": stay.reason,
        "message": REASONS[stay.reason],
    }


def _kind(plan: PersonPlan) -> str:
    if plan.deleted:
        return "user.restored"
    return "user.reactivated" if plan.seat else "user.updated"


def _describe(plan: PersonPlan) -> str:
    parts = [_DONE[change] for change in plan.changes]
    if plan.joins:
        count = len(plan.joins)
        parts.append(f"in {count} groups again" if count > 1 else f"in {plan.joins[0].group.name!r} again")
    return ", ".join(parts)
