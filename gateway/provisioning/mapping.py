"""Map to groups: the value of an attribute puts users into application groups. Shown before it moves anybody.

`GroupMover` brings the memberships of one user to what plugins and rules want; `MapToGroups` shows what a change of
the rules would do, and does exactly that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.contracts import Json
from gateway.defaults import mapped_values
from gateway.host import PluginHost
from gateway.provisioning.caller import Caller, IdpCaller, Trace
from gateway.provisioning.changes import Change, Changes
from gateway.scim.documents import dumps, fold
from gateway.scim.errors import InvalidValue, PreconditionFailed
from gateway.scim.paths import parse_path
from gateway.scim.schemas import GROUP_URN
from gateway.store import Store
from gateway.store.memberships import MANUAL, MAPPING, PUSH
from gateway.store.records import ConnectionRecord, GroupRecord, UserRecord

#: Long lists of a preview are cut to this many; its summary counts all.
SHOWN = 100
Grant = tuple[int, str]


class GroupMover:
    """Moves users between groups, by delta, and tells who came and went."""

    def __init__(self, store: Store, host: PluginHost) -> None:
        self._store, self._host = store, host

    def settle_user(
        self, caller: Caller, user: UserRecord, wanted: Mapping[str, frozenset[str]], change: Change, trace: Trace,
        new: bool = False,
    ) -> bool:  # fmt: skip
        """Bring one user to the groups that are wanted, by source. True when the user moved.

        While Map to groups is on, memberships come from mapping and push alone: manual reasons end here.
        """
        connection = caller.connection
        if connection is None or (new and not any(wanted.values())):
            return False
        if not connection.mapping_enabled and not self._host.resolves_groups(connection.idp):
            return False
        organization_id = caller.organization.id
        held = set(self._store.memberships.reasons(organization_id, user.id))
        kept = {PUSH} if connection.mapping_enabled else {PUSH, MANUAL, MAPPING}
        target = {grant for grant in held if grant[1] in kept} | self._grants(organization_id, wanted, trace)
        self._regrant(organization_id, user, held, target, change)
        return {group for group, _ in held} != {group for group, _ in target}

    def attach_waiting(self, caller: Caller, user: UserRecord, change: Change) -> None:
        """A user came (back) whom groups were waiting for."""
        organization_id = caller.organization.id
        groups = self._store.memberships.arrivals(organization_id, user.uid)
        held = set(self._store.memberships.reasons(organization_id, user.id))
        self._regrant(organization_id, user, held, held | {(group, PUSH) for group in groups}, change)

    def _grants(self, organization_id: int, wanted: Mapping[str, frozenset[str]], trace: Trace) -> set[Grant]:
        grants: set[Grant] = set()
        for source, names in wanted.items():
            for name in names:
                group = self._store.groups.manual(organization_id, name)
                if group:
                    grants.add((group.id, source))
                else:
                    trace.ignored.append(f"group {name!r} of {source}: the organization has no such group")
        return grants

    def _regrant(
        self, organization_id: int, user: UserRecord, held: set[Grant], target: set[Grant], change: Change
    ) -> None:
        memberships = self._store.memberships
        for group_id, source in sorted(target - held):
            memberships.grant(group_id, [user.id], source)
        for group_id, source in sorted(held - target):
            memberships.withdraw(group_id, [user.id], source)
        before, after = {group for group, _ in held}, {group for group, _ in target}
        if before == after:
            return
        groups = {
            group.id: group for group in self._store.groups.by_keys(organization_id, sorted(before ^ after))
        }
        for group_id in sorted(before ^ after):
            joined = group_id in after
            self._store.groups.recount(organization_id, group_id, 1 if joined else -1)
            group = groups[group_id]
            change.tell_members(
                group.uid, group.name, [user.uid] if joined else [], [] if joined else [user.uid]
            )


@dataclass(frozen=True)
class Plan:
    """A mapping as an admin wants it: rules as (value, group name), in their order."""

    enabled: bool
    attribute: str | None
    rules: tuple[tuple[str, str], ...]
    apply_to_existing: bool

    def as_json(self) -> Json:
        """As the admin sent it."""
        return {
            "enabled": self.enabled,
            "attribute": self.attribute,
            "rules": [{"value": value, "group": group} for value, group in self.rules],
            "apply_to_existing": self.apply_to_existing,
        }


@dataclass
class Effect:
    """What saving a plan would do: moves as (user key, user id, userName, group name)."""

    groups_to_create: list[str] = field(default_factory=list)
    joins: list[tuple[int, str, str, str]] = field(default_factory=list)
    leaves: list[tuple[int, str, str, str]] = field(default_factory=list)
    unmapped: dict[str, int] = field(default_factory=dict)
    #: The grants that each user would hold where they differ from what it holds: key -> {(group name, source)}.
    targets: dict[int, set[tuple[str, str]]] = field(default_factory=dict)

    def as_json(self) -> Json:
        """The preview: lists cut, the summary counts all."""
        moved = {move[0] for move in (*self.joins, *self.leaves)}
        return {
            "groups_to_create": self.groups_to_create[:SHOWN],
            "joins": [{"user": user, "group": group} for _, _, user, group in self.joins[:SHOWN]],
            "leaves": [{"user": user, "group": group} for _, _, user, group in self.leaves[:SHOWN]],
            "unmapped": [
                {"value": value, "users": users}
                for value, users in sorted(self.unmapped.items(), key=lambda pair: (-pair[1], pair[0]))[
                    :SHOWN
                ]
            ],
            "summary": {"users": len(moved), "joins": len(self.joins), "leaves": len(self.leaves)},
        }

    def etag(self, plan: Plan) -> str:
        """Names this effect of this plan: the same when looked at again, another when anything in it differs."""
        digest = hashlib.sha256(json.dumps(plan.as_json(), sort_keys=True).encode())
        for part in (self.groups_to_create, self.joins, self.leaves, sorted(self.unmapped.items())):
            for item in part:
                digest.update(repr(item).encode())
            digest.update(b"|")
        return f'"{digest.hexdigest()[:32]}"'


class MapToGroups:
    """Shows, saves and switches off the mapping of a connection."""

    def __init__(self, store: Store, changes: Changes) -> None:
        self._store, self._changes = store, changes

    def current(self, connection: ConnectionRecord) -> Plan:
        """The mapping as it is saved."""
        rules = tuple((value, name) for value, _, name in self._store.mappings.rules(connection))
        return Plan(bool(connection.mapping_enabled), connection.mapping_attribute, rules, False)

    def preview(self, caller: IdpCaller, plan: Plan) -> tuple[Effect, str]:
        """What saving this plan now would do, and the tag that a save must name."""
        effect = self._effect(caller, self._checked(caller, plan))
        return effect, effect.etag(plan)

    def save(self, caller: IdpCaller, plan: Plan, if_match: str, trace: Trace) -> None:
        """Save a plan that was previewed. Refused when the effect would now be another."""
        connection = caller.connection
        plan = self._checked(caller, plan)
        with self._changes.open(caller, trace) as change:
            # Whoever judges by the old rules from here on will notice and judge again.
            self._store.organizations.touch_policy(caller.organization.id)
            effect = self._effect(caller, plan)
            if effect.etag(plan) not in {tag.strip().removeprefix("W/") for tag in if_match.split(",")}:
                raise PreconditionFailed(
                    "Saving this would now do something else than the preview showed: users, groups or rules have"
                    " changed since. Look at a new preview and save with its ETag."
                )
            groups = self._make_groups(caller, effect.groups_to_create, change)
            if plan.enabled:
                by_name = {fold(name): self._group(caller, name, groups).id for _, name in plan.rules}
                self._store.mappings.replace(
                    connection, [(value, by_name[fold(name)]) for value, name in plan.rules]
                )
                self._move(caller, effect, change)
            else:
                self._store.memberships.release(caller.organization.id, connection.id, MAPPING)
            self._store.connections.edit(
                connection, mapping_enabled=int(plan.enabled), mapping_attribute=plan.attribute
            )

    # Checking -----------------------------------------------------------------------------------------------------

    def _checked(self, caller: IdpCaller, plan: Plan) -> Plan:
        """The plan, or a refusal that names the rule that cannot stand."""
        if not plan.enabled:
            return plan
        if not plan.attribute:
            raise InvalidValue(
                "attribute is missing: name the SCIM attribute whose values are mapped to groups."
            )
        self._check_attribute(caller, plan.attribute)
        for value, name in plan.rules:
            if not value or not name.strip():
                raise InvalidValue("A rule needs a value of the identity provider and the name of a group.")
            manual = self._store.groups.manual(caller.organization.id, name)
            if manual is None and self._store.groups.pushed_name(caller.organization.id, name):
                raise InvalidValue(
                    f"The rule for {value!r} names the group {name!r}, which an identity provider pushes. Who is in it"
                    " is decided there; name a group of the application, or another one to be made."
                )
        return plan

    @staticmethod
    def _check_attribute(caller: IdpCaller, attribute: str) -> None:
        path = parse_path(attribute, tuple(extension.id for extension in caller.kept.user.extensions))
        found = caller.kept.user.find(path.urn, path.name, path.sub)
        if path.filter is not None or found is None or found.type not in ("string", "reference"):
            raise InvalidValue(
                f"{attribute!r} is not a text attribute that this connection keeps. Its /Schemas lists what it keeps."
            )

    # Looking ahead --------------------------------------------------------------------------------------------------

    def _effect(self, caller: IdpCaller, plan: Plan) -> Effect:
        effect = Effect()
        if not plan.enabled:
            return effect
        organization_id = caller.organization.id
        names = {fold(name): name for _, name in reversed(plan.rules)}
        effect.groups_to_create = sorted(
            name for name in names.values() if self._store.groups.manual(organization_id, name) is None
        )
        by_value: dict[str, set[str]] = {}
        for value, name in plan.rules:
            by_value.setdefault(value, set()).add(fold(name))
        for users in self._portions(caller, plan):
            self._look_at(caller, users, plan, by_value, names, effect)
        return effect

    def _portions(self, caller: IdpCaller, plan: Plan) -> Iterable[list[tuple[int, str, str, list[str]]]]:
        """All users of the connection with their mapped values, some at a time."""
        portion = []
        for key, uid, user_name, doc in self._store.users.values_at(caller.connection, "$"):
            portion.append((key, uid, user_name, mapped_values(plan.attribute, json.loads(doc))))
            if len(portion) == 500:
                yield portion
                portion = []
        yield portion

    def _look_at(
        self, caller: Caller, users: Sequence[tuple[int, str, str, list[str]]], plan: Plan,
        by_value: Mapping[str, set[str]], names: Mapping[str, str], effect: Effect,
    ) -> None:  # fmt: skip
        held_by = self._store.memberships.sources_of_many(caller.organization.id, [user[0] for user in users])
        for key, uid, user_name, values in users:
            for value in values:
                if value not in by_value:
                    effect.unmapped[value] = effect.unmapped.get(value, 0) + 1
            if not plan.apply_to_existing:
                continue
            held = {(fold(name), source): name for _, name, source in held_by.get(key, ())}
            wanted = {group for value in values for group in by_value.get(value, ())}
            target = {grant for grant in held if grant[1] not in (MANUAL, MAPPING)} | {
                (g, MAPPING) for g in wanted
            }
            if target == set(held):
                continue
            effect.targets[key] = target
            shown = {group: name for (group, _), name in held.items()} | dict(names)
            before, after = {group for group, _ in held}, {group for group, _ in target}
            effect.joins += [(key, uid, user_name, shown[group]) for group in sorted(after - before)]
            effect.leaves += [(key, uid, user_name, shown[group]) for group in sorted(before - after)]

    # Doing it -------------------------------------------------------------------------------------------------------

    def _make_groups(self, caller: Caller, names: Sequence[str], change: Change) -> dict[str, GroupRecord]:
        return {fold(name): make_group(self._store, caller, name, change) for name in names}

    def _group(self, caller: Caller, name: str, made: Mapping[str, GroupRecord]) -> GroupRecord:
        group = made.get(fold(name)) or self._store.groups.manual(caller.organization.id, name)
        assert group is not None
        return group

    def _move(self, caller: Caller, effect: Effect, change: Change) -> None:
        """Group by group, so that each tells once who came and went."""
        memberships, organization_id = self._store.memberships, caller.organization.id
        held_by = memberships.sources_of_many(organization_id, sorted(effect.targets))
        grant: dict[tuple[str, str], list[int]] = {}
        withdraw: dict[tuple[str, str], list[int]] = {}
        for key, target in effect.targets.items():
            held = {(fold(name), source) for _, name, source in held_by.get(key, ())}
            for pair in target - held:
                grant.setdefault(pair, []).append(key)
            for pair in held - target:
                withdraw.setdefault(pair, []).append(key)
        # First every reason that comes, then every reason that goes: nobody is out in between.
        moved: dict[int, tuple[list[int], list[int]]] = {}
        for (name, source), keys in sorted(grant.items()):
            group = self._group(caller, name, {})
            moved.setdefault(group.id, ([], []))[0].extend(memberships.grant(group.id, keys, source))
        for (name, source), keys in sorted(withdraw.items()):
            group = self._group(caller, name, {})
            moved.setdefault(group.id, ([], []))[1].extend(memberships.withdraw(group.id, keys, source))
        for group in self._store.groups.by_keys(organization_id, sorted(moved)):
            added, removed = moved[group.id]
            if added or removed:
                self._store.groups.recount(organization_id, group.id, len(added) - len(removed))
                uids = memberships.uids
                change.tell_members(
                    group.uid, group.name, uids(organization_id, added), uids(organization_id, removed)
                )


def make_group(store: Store, caller: Caller, name: str, change: Change) -> GroupRecord:
    """A group made by hand, or on the way by a rule."""
    document: dict[str, Any] = {"schemas": [GROUP_URN], "displayName": name}
    group = store.groups.add(caller.organization.id, None, name, None, dumps(document))
    store.organizations.count(caller.organization.id, "Group", None, 1)
    change.tell(
        "group.created", "Group", group.uid, json.dumps({"id": group.uid, **document}, ensure_ascii=False)
    )
    return group
