"""Map to groups: the value of an attribute puts users into application groups. What a change of the rules would do is
shown before it moves anybody, and exactly that is done.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from gateway.plugin.contracts import Json
from gateway.plugin.declarations import KeptAttributes
from gateway.provisioning.caller import Caller, IdpCaller, Trace
from gateway.provisioning.long_changes import AT_ONCE, LongChangeRunner, rest
from gateway.provisioning.membership_sync import make_group
from gateway.provisioning.unit_of_work import Refresh, UnitOfWork, UnitsOfWork
from gateway.scim.documents import fold
from gateway.scim.errors import Conflict, InvalidPath, InvalidValue, NotFound, PreconditionFailed, Refusal
from gateway.scim.paths import parse_path
from gateway.store import Store, WriteConflict
from gateway.store.long_changes import APPLY, RELEASE, REMOVE, LongChange
from gateway.store.memberships import MANUAL, MAPPING
from gateway.store.portions import OutlinedUser
from gateway.store.records import ConnectionRecord, GroupRecord

#: Long lists of a preview are cut to this many; its summary counts all.
SHOWN = 100
#: Different values without a rule of which the users are counted, and characters of all of them, at most.
_COUNTED, _COUNTED_LENGTH = 50_000, 4 << 20


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

    def same_as(self, saved: Plan) -> bool:
        """Whether it is what was saved: rules in any order, names of groups letter case aside."""
        mine, theirs = ({(value, fold(name)) for value, name in plan.rules} for plan in (self, saved))
        return (self.enabled, self.attribute, mine) == (saved.enabled, saved.attribute, theirs)

    @property
    def etag(self) -> str:
        """Names this mapping as it is saved."""
        return _tag(self.as_json())


class MappedPath(NamedTuple):
    """Where the mapped values stand in a document: the way to the attribute, and the sub-attribute of its entries."""

    way: tuple[str, ...]
    sub: str | None

    @classmethod
    def of(cls, kept: KeptAttributes, attribute: str) -> MappedPath:
        """The place of an attribute that `check_attribute` let pass, by the names that documents have."""
        path = parse_path(attribute, tuple(extension.id for extension in kept.user.extensions))
        head = kept.user.head(path.urn, path.name)
        if head is None:
            return cls((path.name,) if path.urn is None else (path.urn, path.name), path.sub)
        extension, found = head
        way = (found.name,) if extension is None else (extension, found.name)
        sub = found.table.get(path.sub.lower()) if path.sub else None
        return cls(way, sub.name if sub else path.sub)

    def values(self, part: str | None) -> list[str]:
        """The texts in the part of a document at `way`, each once."""
        return [] if part is None else self._texts(json.loads(part))

    def values_in(self, document: Mapping[str, Any]) -> list[str]:
        """The texts in a whole document, each once."""
        value: Any = document
        for name in self.way:
            value = value.get(name) if isinstance(value, Mapping) else None
        return self._texts(value)

    def _texts(self, value: Any) -> list[str]:
        if self.sub is not None:
            entries = value if isinstance(value, list) else [value]
            value = [entry.get(self.sub) for entry in entries if isinstance(entry, dict)]
        texts = (item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str))
        return list(dict.fromkeys(texts))


class _Moves:
    """Who joins or leaves: the first are kept to be shown, all are counted, and the digest names exactly these."""

    def __init__(self) -> None:
        self.shown: list[Json] = []
        self.number = 0
        self.digest = hashlib.sha256()

    def add(self, user: OutlinedUser, group: str) -> None:
        self.number += 1
        self.digest.update(json.dumps([user.id, user.uid, user.user_name, group]).encode())
        if len(self.shown) < SHOWN:
            self.shown.append({"user": user.user_name, "group": group})


@dataclass
class Effect:
    """What saving a plan would do. Its size does not grow with the number of users."""

    replaced: Plan
    groups_to_create: list[str] = field(default_factory=list)
    joins: _Moves = field(default_factory=_Moves)
    leaves: _Moves = field(default_factory=_Moves)
    #: How many users would move.
    users: int = 0
    unmapped: dict[str, int] = field(default_factory=dict)
    #: Names all values without a rule with their numbers, in whatever order they were met.
    unmapped_digest: int = 0
    _counted: int = 0

    def count(self, value: str) -> None:
        """A user has a value that no rule covers."""
        number = int.from_bytes(hashlib.sha256(value.encode()).digest()[:16], "big")
        self.unmapped_digest = (self.unmapped_digest + number) % (1 << 128)
        if value in self.unmapped:
            self.unmapped[value] += 1
        elif len(self.unmapped) < _COUNTED and self._counted < _COUNTED_LENGTH:
            self._counted += len(value)
            self.unmapped[value] = 1

    def as_json(self) -> Json:
        """The preview: lists cut, the summary counts all."""
        unmapped = sorted(self.unmapped.items(), key=lambda pair: (-pair[1], pair[0]))
        return {
            "groups_to_create": self.groups_to_create[:SHOWN],
            "joins": self.joins.shown,
            "leaves": self.leaves.shown,
            "unmapped": [{"value": value, "users": users} for value, users in unmapped[:SHOWN]],
            "summary": {"users": self.users, "joins": self.joins.number, "leaves": self.leaves.number},
        }

    def etag(self, plan: Plan) -> str:
        """Names this effect of this plan: the same when looked at again, another when anything in it differs."""
        moves = [self.joins.digest.hexdigest(), self.leaves.digest.hexdigest(), self.unmapped_digest]
        return _tag([plan.as_json(), self.replaced.as_json(), self.groups_to_create, moves])


class MapToGroups:
    """Shows, saves and switches off the mapping of a connection."""

    def __init__(
        self, store: Store, changes: UnitsOfWork, long_changes: LongChangeRunner, refresh: Refresh
    ) -> None:
        self._store, self._units_of_work, self._long_changes, self._refresh = (
            store,
            changes,
            long_changes,
            refresh,
        )
        long_changes.add(APPLY, self._apply)
        long_changes.add(RELEASE, self._release)

    def current(self, connection: ConnectionRecord) -> Plan:
        """The mapping as it is saved."""
        rules = tuple((value, name) for value, _, name in self._store.mapping_rules.rules(connection))
        return Plan(bool(connection.mapping_enabled), connection.mapping_attribute, rules)

    def applying(self, connection: ConnectionRecord) -> Json | None:
        """How far users were brought to what was saved last; None when all are there."""
        run = self._store.long_changes.of(connection.organization_id, connection)
        return {"done": run.done, "users": max(run.users, run.done)} if run and run.kind != REMOVE else None

    def preview(self, caller: IdpCaller, plan: Plan) -> tuple[Effect, str]:
        """What saving this plan now would do, and the tag that a save must name."""
        self._check(caller, plan)
        effect = self._effect(caller, plan)
        return effect, effect.etag(plan)

    def save(self, caller: IdpCaller, plan: Plan, if_match: str, trace: Trace) -> None:
        """Save a plan that was previewed, and bring the users to it in portions.

        Raises PreconditionFailed when the effect would now be another, Conflict when other rules were saved before all
        users were brought to these. What breaks it off later is told with how far it is; the rest follows by itself.
        """
        run = self._units_of_work.retry_on_conflict(
            caller, self._refresh, lambda caller: self._begin(caller, plan, if_match, trace), trace
        )
        if run is None:
            return
        try:
            if self._long_changes.finish(run, trace):
                return
        except Refusal as refusal:
            left = self._long_changes.progress(run)
            if left:
                refusal.detail += (
                    f" The mapping itself is saved, and {left.done} of {left.users} users were brought to it. The"
                    " gateway goes on with the others by itself; read the mapping to see how far it is."
                )
            raise
        found = self._store.connections.by_key(caller.connection.id)
        if found is None or not plan.same_as(self.current(found[0])):
            trace.written = False
            raise Conflict(
                "This mapping was saved, and another one was saved, or the connection removed, before all users were"
                " brought to it. Read the mapping that holds now."
            )

    def _begin(self, caller: IdpCaller, plan: Plan, if_match: str, trace: Trace) -> str | None:
        """Save the plan itself. The id of the change of its users, None when nobody is to be changed."""
        # Outside of the transaction, for it looks at everybody. What it was judged by is compared inside; whoever is
        # written meanwhile is judged by the new rules, at once or by a portion.
        self._check(caller, plan)
        effect = self._effect(caller, plan)
        if effect.etag(plan) not in {tag.strip().removeprefix("W/") for tag in if_match.split(",")}:
            raise PreconditionFailed(
                "Saving this would now do something else than the preview showed: users, groups or rules have"
                " changed since. Look at a new preview and save with its ETag."
            )
        with self._units_of_work.open(caller, trace) as change:
            found = self._store.connections.by_key(caller.connection.id)
            if found is None:
                raise NotFound("This connection was removed meanwhile.")
            self._check(caller, plan)
            again = Effect(effect.replaced)
            self._places(caller, plan, again)
            if (
                found[1].policy != caller.organization.policy
                or again.groups_to_create != effect.groups_to_create
            ):
                raise WriteConflict
            # Whoever judges by the old rules from here on will notice and judge again.
            change.outdate()
            made = {
                fold(name): make_group(self._store, caller, name, change) for name in effect.groups_to_create
            }
            self._keep(caller, plan, made)
            return self._note(caller, found[0], plan, trace)

    def _note(self, caller: IdpCaller, connection: ConnectionRecord, plan: Plan, trace: Trace) -> str | None:
        """Note that users are to be brought to a plan; what was left of a former one is void."""
        long_changes, organization_id = self._store.long_changes, caller.organization.id
        left = long_changes.of(organization_id, connection)
        if left is not None and left.kind == REMOVE:
            raise Conflict("This connection is being removed.")
        begin = partial(
            long_changes.begin,
            organization_id,
            connection,
            principal=trace.principal,
            request_id=trace.request_id,
        )
        if plan.enabled and plan.apply_to_existing and plan.attribute:
            return begin(APPLY, json.dumps(MappedPath.of(caller.kept, plan.attribute)))
        if not plan.enabled and (connection.mapping_enabled or left is not None):
            return begin(RELEASE)
        long_changes.abandon(organization_id, connection)
        return None

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
        if not plan.enabled or not plan.attribute:
            return effect
        by_value: dict[str, set[str]] = {}
        for value, name in plan.rules:
            by_value.setdefault(value, set()).add(places[fold(name)])
        path = MappedPath.of(caller.kept, plan.attribute)
        began = time.monotonic()
        for users in self._store.portions.of_connection(caller.connection, [path.way], rows=AT_ONCE):
            valued = [(user, path.values(user.parts[0])) for user in users]
            for _, values in valued:
                for value in values:
                    if value not in by_value:
                        effect.count(value)
            if plan.apply_to_existing:
                self._look_at(caller, valued, by_value, names, effect)
            rest(began)
            began = time.monotonic()
        return effect

    def _places(self, caller: IdpCaller, plan: Plan, effect: Effect) -> tuple[dict[str, str], dict[str, str]]:
        """Where each rule leads, by the name as it is compared; and how the places are called.

        A place is the id of a group or, of one that is still to be made, its name as names are compared.
        """
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

    def _look_at(
        self, caller: IdpCaller, valued: Sequence[tuple[OutlinedUser, list[str]]],
        by_value: Mapping[str, set[str]], names: dict[str, str], effect: Effect,
    ) -> None:  # fmt: skip
        """Who would join and leave: manual reasons end, those of the mapping are made anew, a push is left alone."""
        held_by = self._store.memberships.sources_of_many(
            caller.organization.id, [user.id for user, _ in valued]
        )
        for user, values in valued:
            grants = held_by.get(user.id, ())
            names.update((group, name) for group, name, _ in grants)
            before = {group for group, _, _ in grants}
            after = {group for group, _, source in grants if source not in (MANUAL, MAPPING)}
            after.update(place for value in values for place in by_value.get(value, ()))
            if before == after:
                continue
            effect.users += 1
            for moves, moved in ((effect.joins, after - before), (effect.leaves, before - after)):
                for name in sorted(names[place] for place in moved):
                    moves.add(user, name)

    # Doing it -------------------------------------------------------------------------------------------------------

    def _keep(self, caller: IdpCaller, plan: Plan, made: Mapping[str, GroupRecord]) -> None:
        """Store the mapping itself."""
        connection = caller.connection
        rules = []
        for value, name in plan.rules:
            group = made.get(fold(name)) or self._store.groups.manual(caller.organization.id, name)
            assert group is not None
            rules.append((value, group.id))
        self._store.mapping_rules.replace(connection, rules)
        self._store.connections.edit(
            connection, mapping_enabled=int(plan.enabled), mapping_attribute=plan.attribute
        )

    def _apply(self, caller: Caller, run: LongChange, change: UnitOfWork) -> bool:
        """Bring the next users to the rules as they are saved; what is right already is not touched."""
        way, sub = json.loads(run.path)
        path = MappedPath(tuple(way), sub)
        users = self._next(caller, run, [path.way])
        if not users:
            self._store.long_changes.end(run)
            return False
        assert caller.connection is not None
        wanted: dict[str, set[tuple[int, str]]] = {}
        for value, group_id, _ in self._store.mapping_rules.rules(caller.connection):
            wanted.setdefault(value, set()).add((group_id, MAPPING))
        held_by = self._store.memberships.reasons_of_many(run.organization_id, [user.id for user in users])
        given: dict[tuple[int, str], list[int]] = {}
        taken: dict[tuple[int, str], list[int]] = {}
        for user in users:
            held = held_by.get(user.id, set())
            target = {grant for grant in held if grant[1] not in (MANUAL, MAPPING)}
            target.update(grant for value in path.values(user.parts[0]) for grant in wanted.get(value, ()))
            for grants, changed in ((given, target - held), (taken, held - target)):
                for grant in changed:
                    grants.setdefault(grant, []).append(user.id)
        self._move(run.organization_id, users, given, taken, change)
        self._store.long_changes.advance(run, users[-1].id, len(users))
        return True

    def _release(self, caller: Caller, run: LongChange, change: UnitOfWork) -> bool:
        """What the mapping granted to the next users becomes manual."""
        users = self._next(caller, run, [])
        if not users:
            self._store.long_changes.end(run)
            return False
        self._store.memberships.release_users(run.organization_id, [user.id for user in users])
        self._store.long_changes.advance(run, users[-1].id, len(users))
        return True

    def _next(self, caller: Caller, run: LongChange, paths: Sequence[tuple[str, ...]]) -> list[OutlinedUser]:
        """The next users who are left."""
        assert caller.connection is not None
        portions: Iterator[list[OutlinedUser]] = self._store.portions.of_connection(
            caller.connection, paths, run.after, AT_ONCE
        )
        return [user for user in next(portions, []) if user.id <= run.until]

    def _move(
        self, organization_id: int, users: Sequence[OutlinedUser], given: Mapping[tuple[int, str], list[int]],
        taken: Mapping[tuple[int, str], list[int]], change: UnitOfWork,
    ) -> None:  # fmt: skip
        """Group by group, so that each tells once who came and went."""
        memberships = self._store.memberships
        added: dict[int, list[int]] = {}
        removed: dict[int, list[int]] = {}
        # First every reason that comes, then every reason that goes: nobody is out in between.
        for act, grants, moved in (
            (memberships.grant, given, added),
            (memberships.withdraw, taken, removed),
        ):
            for (group_id, source), keys in sorted(grants.items()):
                moved.setdefault(group_id, []).extend(act(group_id, keys, source))
        uids = {user.id: user.uid for user in users}
        for group in self._store.groups.by_keys(organization_id, sorted(added.keys() | removed.keys())):
            came, went = added.get(group.id, []), removed.get(group.id, [])
            if came or went:
                self._store.groups.recount(organization_id, group.id, len(came) - len(went))
                change.record_member_events(
                    group.uid, group.name, [uids[key] for key in came], [uids[key] for key in went]
                )


def check_attribute(kept: KeptAttributes, attribute: str) -> None:
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
