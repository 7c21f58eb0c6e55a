"""Map to groups: the value of an attribute puts users into application groups. What a change of the rules would do is
shown before it moves anybody, and exactly that is done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.contracts import Json
from gateway.declarations import Kept
from gateway.defaults import mapped_values
from gateway.provisioning.caller import IdpCaller, Trace
from gateway.provisioning.changes import Change, Changes
from gateway.provisioning.moves import make_group
from gateway.scim.documents import fold
from gateway.scim.errors import InvalidPath, InvalidValue, NotFound, PreconditionFailed
from gateway.scim.paths import parse_path
from gateway.store import Store
from gateway.store.memberships import MANUAL, MAPPING
from gateway.store.records import ConnectionRecord, GroupRecord

#: Long lists of a preview are cut to this many; its summary counts all.
SHOWN = 100
Place = tuple[str, str]


@dataclass(frozen=True)
class Plan:
    """A mapping as an admin wants it: rules as (value, group name), in their order."""

    enabled: bool
    attribute: str | None
    rules: tuple[tuple[str, str], ...]
    apply_to_existing: bool = False

    def as_json(self) -> Json:
        """As the admin sent it."""
        return {
            "enabled": self.enabled,
            "attribute": self.attribute,
            "rules": [{"value": value, "group": group} for value, group in self.rules],
            "apply_to_existing": self.apply_to_existing,
        }

    @property
    def etag(self) -> str:
        """Names this mapping as it is saved."""
        return _tag(self.as_json())


@dataclass
class Effect:
    """What saving a plan would do: moves as (user key, user id, userName, group name).

    A place is the id of a group or, of one that is still to be made, its name as names are compared.
    """

    replaced: Plan
    groups_to_create: list[str] = field(default_factory=list)
    joins: list[tuple[int, str, str, str]] = field(default_factory=list)
    leaves: list[tuple[int, str, str, str]] = field(default_factory=list)
    unmapped: dict[str, int] = field(default_factory=dict)
    #: For each user that would hold other grants, by its key: those to give and those to take, as (place, source).
    given: dict[int, set[Place]] = field(default_factory=dict)
    taken: dict[int, set[Place]] = field(default_factory=dict)

    def as_json(self) -> Json:
        """The preview: lists cut, the summary counts all."""
        moved = {move[0] for move in (*self.joins, *self.leaves)}
        unmapped = sorted(self.unmapped.items(), key=lambda pair: (-pair[1], pair[0]))
        return {
            "groups_to_create": self.groups_to_create[:SHOWN],
            "joins": [{"user": user, "group": group} for _, _, user, group in self.joins[:SHOWN]],
            "leaves": [{"user": user, "group": group} for _, _, user, group in self.leaves[:SHOWN]],
            "unmapped": [{"value": value, "users": users} for value, users in unmapped[:SHOWN]],
            "summary": {"users": len(moved), "joins": len(self.joins), "leaves": len(self.leaves)},
        }

    def etag(self, plan: Plan) -> str:
        """Names this effect of this plan: the same when looked at again, another when anything in it differs."""
        moves = [self.groups_to_create, self.joins, self.leaves, sorted(self.unmapped.items())]
        return _tag([plan.as_json(), self.replaced.as_json(), moves])


class MapToGroups:
    """Shows, saves and switches off the mapping of a connection."""

    def __init__(self, store: Store, changes: Changes) -> None:
        self._store, self._changes = store, changes

    def current(self, connection: ConnectionRecord) -> Plan:
        """The mapping as it is saved."""
        rules = tuple((value, name) for value, _, name in self._store.mappings.rules(connection))
        return Plan(bool(connection.mapping_enabled), connection.mapping_attribute, rules)

    def preview(self, caller: IdpCaller, plan: Plan) -> tuple[Effect, str]:
        """What saving this plan now would do, and the tag that a save must name."""
        self._check(caller, plan)
        effect = self._effect(caller, plan)
        return effect, effect.etag(plan)

    def save(self, caller: IdpCaller, plan: Plan, if_match: str, trace: Trace) -> None:
        """Save a plan that was previewed. Refused when the effect would now be another."""
        with self._changes.open(caller, trace) as change:
            # Whoever judges by the old rules from here on will notice and judge again.
            change.outdate()
            found = self._store.connections.by_key(caller.connection.id)
            if found is None:
                raise NotFound("This connection was removed meanwhile.")
            caller = replace(caller, connection=found[0])
            self._check(caller, plan)
            effect = self._effect(caller, plan)
            if effect.etag(plan) not in {tag.strip().removeprefix("W/") for tag in if_match.split(",")}:
                raise PreconditionFailed(
                    "Saving this would now do something else than the preview showed: users, groups or rules have"
                    " changed since. Look at a new preview and save with its ETag."
                )
            made = {
                fold(name): make_group(self._store, caller, name, change) for name in effect.groups_to_create
            }
            self._keep(caller, plan, made)
            self._move(caller, effect, made, change)

    # Checking -----------------------------------------------------------------------------------------------------

    def _check(self, caller: IdpCaller, plan: Plan) -> None:
        """Refuse a plan that cannot stand, naming the rule."""
        if plan.enabled and not plan.attribute:
            raise InvalidValue(
                "attribute is missing: name the SCIM attribute whose values are mapped to groups."
            )
        if plan.attribute and (plan.enabled or plan.attribute != caller.connection.mapping_attribute):
            check_attribute(caller.kept, plan.attribute)
        for value, name in plan.rules:
            if not value or not name.strip():
                raise InvalidValue("A rule needs a value of the identity provider and the name of a group.")
            manual = self._store.groups.manual(caller.organization.id, name)
            if manual is None and self._store.groups.pushed_name(caller.organization.id, name):
                raise InvalidValue(
                    f"The rule for {value!r} names the group {name!r}, which an identity provider pushes. Who is in it"
                    " is decided there; name a group of the application, or another one to be made."
                )

    # Looking ahead --------------------------------------------------------------------------------------------------

    def _effect(self, caller: IdpCaller, plan: Plan) -> Effect:
        effect = Effect(self.current(caller.connection))
        places, names = self._places(caller, plan, effect)
        if not plan.enabled:
            return effect
        by_value: dict[str, set[str]] = {}
        for value, name in plan.rules:
            by_value.setdefault(value, set()).add(places[fold(name)])
        for users in self._portions(caller, plan):
            for _, _, _, values in users:
                for value in dict.fromkeys(values):
                    if value not in by_value:
                        effect.unmapped[value] = effect.unmapped.get(value, 0) + 1
            if plan.apply_to_existing:
                self._look_at(caller, users, by_value, names, effect)
        return effect

    def _places(self, caller: IdpCaller, plan: Plan, effect: Effect) -> tuple[dict[str, str], dict[str, str]]:
        """Where each rule leads, by the name as it is compared; and how the places are called."""
        places, names = {}, {}
        for _, name in plan.rules:
            key = fold(name)
            if key in places:
                continue
            group = self._store.groups.manual(caller.organization.id, name)
            places[key] = group.uid if group else key
            names[places[key]] = group.name if group else name
            if group is None:
                effect.groups_to_create.append(name)
        effect.groups_to_create.sort()
        return places, names

    def _portions(self, caller: IdpCaller, plan: Plan) -> Iterator[list[tuple[int, str, str, list[str]]]]:
        """All users of the connection with their mapped values, some at a time."""
        portion = []
        for user in self._store.users.managed(caller.connection):
            values = mapped_values(plan.attribute, user.document)
            portion.append((user.id, user.uid, user.user_name, values))
            if len(portion) == 500:
                yield portion
                portion = []
        yield portion

    def _look_at(
        self, caller: IdpCaller, users: Sequence[tuple[int, str, str, list[str]]],
        by_value: Mapping[str, set[str]], names: dict[str, str], effect: Effect,
    ) -> None:  # fmt: skip
        """Who would join and leave: manual reasons end, those of the mapping are made anew, a push is left alone."""
        held_by = self._store.memberships.sources_of_many(caller.organization.id, [user[0] for user in users])
        for key, uid, user_name, values in users:
            grants = held_by.get(key, ())
            names.update((group, name) for group, name, _ in grants)
            held = {(group, source) for group, _, source in grants}
            wanted = {(place, MAPPING) for value in values for place in by_value.get(value, ())}
            target = {grant for grant in held if grant[1] not in (MANUAL, MAPPING)} | wanted
            if target == held:
                continue
            effect.given[key], effect.taken[key] = target - held, held - target
            before, after = {place for place, _ in held}, {place for place, _ in target}
            joined, left = (
                sorted(names[place] for place in moved) for moved in (after - before, before - after)
            )
            effect.joins += [(key, uid, user_name, name) for name in joined]
            effect.leaves += [(key, uid, user_name, name) for name in left]

    # Doing it -------------------------------------------------------------------------------------------------------

    def _keep(self, caller: IdpCaller, plan: Plan, made: Mapping[str, GroupRecord]) -> None:
        """Store the mapping itself."""
        connection = caller.connection
        rules = []
        for value, name in plan.rules:
            group = made.get(fold(name)) or self._store.groups.manual(caller.organization.id, name)
            assert group is not None
            rules.append((value, group.id))
        self._store.mappings.replace(connection, rules)
        if not plan.enabled:
            self._store.memberships.release(caller.organization.id, connection.id, MAPPING)
        self._store.connections.edit(
            connection, mapping_enabled=int(plan.enabled), mapping_attribute=plan.attribute
        )

    def _move(
        self, caller: IdpCaller, effect: Effect, made: Mapping[str, GroupRecord], change: Change
    ) -> None:
        """Group by group, so that each tells once who came and went."""
        memberships, organization_id = self._store.memberships, caller.organization.id
        touched: dict[str, GroupRecord] = {}
        added: dict[str, list[int]] = {}
        removed: dict[str, list[int]] = {}
        # First every reason that comes, then every reason that goes: nobody is out in between.
        for act, reasons, moved in (
            (memberships.grant, effect.given, added),
            (memberships.withdraw, effect.taken, removed),
        ):
            for (place, source), keys in sorted(_by_place(reasons).items()):
                group = touched[place] = self._at(caller, place, made)
                moved.setdefault(place, []).extend(act(group.id, keys, source))
        for place, group in touched.items():
            came, went = added.get(place, []), removed.get(place, [])
            if came or went:
                self._store.groups.recount(organization_id, group.id, len(came) - len(went))
                uids = memberships.uids
                change.tell_members(
                    group.uid, group.name, uids(organization_id, came), uids(organization_id, went)
                )

    def _at(self, caller: IdpCaller, place: str, made: Mapping[str, GroupRecord]) -> GroupRecord:
        group = made.get(place) or self._store.groups.of(caller.organization, place)
        assert group is not None
        return group


def _by_place(reasons: Mapping[int, set[Place]]) -> dict[Place, list[int]]:
    """The keys of the users for each (place, source)."""
    users: dict[Place, list[int]] = {}
    for key, places in reasons.items():
        for place in places:
            users.setdefault(place, []).append(key)
    return users


def check_attribute(kept: Kept, attribute: str) -> None:
    """Refuse an attribute by which nobody can be mapped."""
    try:
        path = parse_path(attribute, tuple(extension.id for extension in kept.user.extensions))
    except InvalidPath as refusal:
        raise InvalidValue(f"attribute cannot be read. {refusal.detail}") from None
    top = kept.user.find(path.urn, path.name, None)
    found = kept.user.find(path.urn, path.name, path.sub)
    # What is read-only is not in the document: nobody would ever be mapped by it.
    if (
        top is None
        or found is None
        or path.filter is not None
        or "readOnly" in (top.mutability, found.mutability)
        or found.type not in ("string", "reference")
    ):
        raise InvalidValue(
            f"{attribute!r} is not a text attribute that this connection keeps. Its /Schemas lists what it keeps."
        )


def _tag(value: Any) -> str:
    """A strong entity tag that names a value."""
    return f'"{hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]}"'
