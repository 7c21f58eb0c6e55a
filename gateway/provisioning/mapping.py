"""Map to groups: values of one attribute of users decide their memberships in application groups.

A change of the rules is previewed before it changes a membership, and a save names the preview it was approved by.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import NamedTuple

from gateway.provisioning.caller import Caller, IdpCaller
from gateway.provisioning.long_changes import USERS_PER_PORTION, LongChangeRunner, pause_between_portions
from gateway.provisioning.mapped_values import MappedPath, RuleValues, UnusableAttribute, check_attribute
from gateway.provisioning.mapping_preview import MappingDefinition, MappingPreview, UnusableRule, ValueCounts
from gateway.provisioning.membership_sync import make_group
from gateway.provisioning.previews import check_preview
from gateway.provisioning.trace import Trace
from gateway.provisioning.unit_of_work import UnitOfWork, UnitsOfWork, retry_on_conflict
from gateway.scim.errors import Conflict, NotFound, Refusal
from gateway.scim.json_text import Json, fold
from gateway.store import Store, WriteConflict
from gateway.store.long_changes import APPLY, RELEASE, REMOVE, LongChange
from gateway.store.memberships import MANUAL, MAPPING
from gateway.store.records import ConnectionRecord, GroupRecord, OrganizationRecord, OutlinedUser

#: Groups that are looked through for names like one that no group has, and names that are looked up, at most.
_LIKE_GROUPS, _LIKE_NAMES = 1000, 20
#: Portions of that many groups that are read for those that are not pushed.
_PORTIONS_OF_GROUPS = 10


class SeenValue(NamedTuple):
    """A value that users have now; `users` is their number."""

    value: str
    users: int
    covered: bool
    #: The value of a rule that differs from it by letter case or Unicode normalization alone.
    near: str | None


class SeenValues(NamedTuple):
    """The values of an attribute, those of most users first."""

    values: list[SeenValue]
    #: False where there are more values than a table of them holds.
    complete: bool
    #: Users of the connection, and those of them with a value.
    users: int
    valued: int


class MapToGroups:
    """Use cases of Map to groups: read, preview and save the mapping of a connection."""

    def __init__(self, store: Store, units_of_work: UnitsOfWork, long_changes: LongChangeRunner) -> None:
        self._store, self._units_of_work, self._long_changes = store, units_of_work, long_changes
        long_changes.register(APPLY, self._apply_portion)
        long_changes.register(RELEASE, self._release_portion)

    def saved_definition(self, connection: ConnectionRecord) -> MappingDefinition:
        """Return the mapping that is saved."""
        rules = tuple((value, name) for value, _, name in self._store.mapping_rules.rules(connection))
        return MappingDefinition(bool(connection.mapping_enabled), connection.mapping_attribute, rules)

    def progress(self, connection: ConnectionRecord) -> Json | None:
        """Return how many users follow the definition that was saved last; None when all do."""
        long_change = self._store.long_changes.find(connection.organization_id, connection)
        if long_change is None or long_change.kind == REMOVE:
            return None
        return {"done": long_change.done, "users": max(long_change.users, long_change.done)}

    def count_values(self, caller: IdpCaller, attribute: str, ruled: Iterable[str]) -> SeenValues:
        """Return the values that users of the connection have now; `ruled` are the values of rules.

        Raises UnusableAttribute for an attribute whose values cannot be mapped.
        """
        check_attribute(caller.kept, attribute)
        path, counts, total, valued = MappedPath.parse(caller.kept, attribute), ValueCounts(), 0, 0
        began = time.monotonic()
        for users in self._store.portions.of_connection(
            caller.connection, [path.names], rows=USERS_PER_PORTION
        ):
            total += len(users)
            for user in users:
                values = path.values_in_part(user.parts[0])
                valued += bool(values)
                for value in values:
                    counts.add(value)
            pause_between_portions(began)
            began = time.monotonic()
        exact = frozenset(ruled)
        rules = RuleValues(exact, {fold(value): value for value in sorted(exact)})
        numbers = counts.most_frequent()
        near, _ = rules.find_unruled(value for value, _ in numbers)
        values_seen = [SeenValue(value, number, value in exact, near.get(value)) for value, number in numbers]
        return SeenValues(values_seen, counts.complete, total, valued)

    def manual_groups(self, organization: OrganizationRecord, prefix: str, limit: int) -> list[str]:
        """Return the names of groups that can be the target of a rule, of those that begin with `prefix`."""
        names: list[str] = []
        after = 0
        for _ in range(_PORTIONS_OF_GROUPS):
            groups = self._store.groups.page(organization, prefix, after, _LIKE_GROUPS)
            names += [group.name for group in groups if group.connection_id is None]
            if len(groups) < _LIKE_GROUPS or len(names) >= limit:
                break
            after = groups[-1].id
        return sorted(names[:limit], key=fold)

    def missing_groups(
        self, organization: OrganizationRecord, names: Iterable[str]
    ) -> dict[str, tuple[str, ...]]:
        """Return by folded name what would have to be made for rules, each with the names of groups that are like it.

        A name that only a pushed group has is left out: a rule for it is refused.
        """
        groups = self._store.groups
        missing = {
            key: name
            for key, name in {fold(name): name for name in names}.items()
            if groups.manual(organization.id, name) is None
            and groups.pushed_name(organization.id, name) is None
        }
        if not missing:
            return {}
        others = {fold(name): name for name in self.manual_groups(organization, "", _LIKE_GROUPS)}
        return {
            key: tuple(others[like] for like in get_close_matches(key, others))
            if number < _LIKE_NAMES
            else ()
            for number, key in enumerate(missing)
        }

    def preview(self, caller: IdpCaller, definition: MappingDefinition) -> tuple[MappingPreview, str]:
        """Return the effect of saving this definition now, and the entity tag that a save must name.

        Raises InvalidValue for a definition that cannot be saved.
        """
        self._check_definition(caller, definition)
        preview = self._preview(caller, definition)
        return preview, preview.etag(definition)

    def save(
        self, caller: IdpCaller, definition: MappingDefinition, if_match: str, trace: Trace,
        seconds: float | None = None,
    ) -> None:  # fmt: skip
        """Save a definition that was previewed, and apply it to the users in portions.

        `if_match` holds the entity tag of the preview. With `seconds`, users who are not reached within them are left
        to the worker. Raises InvalidValue for a definition that cannot be saved,
        PreconditionFailed when its effect is no longer the one of the preview, Conflict when another definition was
        saved before this one was applied to all users. A refusal in a later portion is raised with the number of users
        done; the worker applies the definition to the others.
        """
        long_change = self._save_definition(caller, definition, if_match, trace)
        if long_change is None:
            return
        try:
            if self._long_changes.finish(long_change, trace, seconds):
                return
        except Refusal as refusal:
            left = self._long_changes.progress(long_change)
            if left:
                refusal.detail += (
                    f" The mapping itself is saved, and {left.done} of {left.users} users were brought to it. The"
                    " gateway goes on with the others by itself; read the mapping to see how far it is."
                )
            raise
        found = self._store.connections.by_key(caller.connection.id)
        if found is None or not definition.is_same_as(self.saved_definition(found[0])):
            trace.written = False
            raise Conflict(
                "This mapping was saved, and another one was saved, or the connection removed, before all users were"
                " brought to it. Read the mapping that holds now."
            )

    @retry_on_conflict
    def _save_definition(
        self, caller: IdpCaller, definition: MappingDefinition, if_match: str, trace: Trace
    ) -> str | None:
        """Save the definition itself; return the id of the long change, None when no user is affected."""
        # The preview reads every user, so it runs outside of the transaction, which compares the policy number. A user
        # who is written in between follows the new rules at once or by a portion.
        self._check_definition(caller, definition)
        preview = self._preview(caller, definition)
        check_preview(
            preview.etag(definition),
            if_match,
            "Saving this would now do something else than the preview showed: users, groups or rules have"
            " changed since. Look at a new preview and save with its ETag.",
        )
        with self._units_of_work.open(caller, trace) as unit:
            found = self._store.connections.by_key(caller.connection.id)
            if found is None:
                raise NotFound("This connection was removed meanwhile.")
            self._check_definition(caller, definition)
            again = MappingPreview(preview.replaced)
            self._target_groups(caller, definition, again)
            if (
                found[1].policy != caller.organization.policy
                or again.groups_to_create != preview.groups_to_create
            ):
                raise WriteConflict
            # A change that was decided by the old rules conflicts from here on, and is retried.
            unit.outdate()
            made = {
                fold(name): make_group(self._store, caller, name, unit) for name in preview.groups_to_create
            }
            self._store_definition(caller, definition, made)
            return self._schedule_long_change(caller, found[0], definition, trace)

    def _schedule_long_change(
        self, caller: IdpCaller, connection: ConnectionRecord, definition: MappingDefinition, trace: Trace
    ) -> str | None:
        """Insert the long change that applies a definition in place of an earlier one; return its id."""
        long_changes, organization_id = self._store.long_changes, caller.organization.id
        left = long_changes.find(organization_id, connection)
        if left is not None and left.kind == REMOVE:
            raise Conflict("This connection is being removed.")
        begin = partial(
            long_changes.begin,
            organization_id,
            connection,
            principal=trace.principal,
            request_id=trace.request_id,
        )
        if definition.enabled and definition.apply_to_existing and definition.attribute:
            return begin(APPLY, json.dumps(MappedPath.parse(caller.kept, definition.attribute)))
        if not definition.enabled and (connection.mapping_enabled or left is not None):
            return begin(RELEASE)
        long_changes.abandon(organization_id, connection)
        return None

    # Checking -----------------------------------------------------------------------------------------------------

    def _check_definition(self, caller: IdpCaller, definition: MappingDefinition) -> None:
        """Raise InvalidValue for a definition that cannot be saved; the sentence names the rule."""
        if definition.enabled and not definition.attribute:
            raise UnusableAttribute(
                "attribute is missing: name the SCIM attribute whose values are mapped to groups."
            )
        if definition.attribute and (
            definition.enabled or definition.attribute != caller.connection.mapping_attribute
        ):
            check_attribute(caller.kept, definition.attribute)
        for place, (value, name) in enumerate(definition.rules):
            if not value or not name.strip():
                raise UnusableRule(
                    place, "A rule needs a value of the identity provider and the name of a group."
                )
            manual = self._store.groups.manual(caller.organization.id, name)
            if manual is None and self._store.groups.pushed_name(caller.organization.id, name):
                raise UnusableRule(
                    place,
                    f"The rule for {value!r} names the group {name!r}, which an identity provider pushes. Who is in it"
                    " is decided there; name a group of the application, or another one to be made.",
                )

    # Preview --------------------------------------------------------------------------------------------------------

    def _preview(self, caller: IdpCaller, definition: MappingDefinition) -> MappingPreview:
        preview = MappingPreview(self.saved_definition(caller.connection))
        targets, names = self._target_groups(caller, definition, preview)
        if not definition.enabled or not definition.attribute:
            return preview
        by_value: dict[str, set[str]] = {}
        for value, name in definition.rules:
            by_value.setdefault(value, set()).add(targets[fold(name)])
        path = MappedPath.parse(caller.kept, definition.attribute)
        began = time.monotonic()
        for users in self._store.portions.of_connection(
            caller.connection, [path.names], rows=USERS_PER_PORTION
        ):
            valued = [(user, path.values_in_part(user.parts[0])) for user in users]
            for _, values in valued:
                for value in values:
                    if value not in by_value:
                        preview.count_unmapped(value)
            if definition.apply_to_existing:
                self._preview_memberships(caller, valued, by_value, names, preview)
            pause_between_portions(began)
            began = time.monotonic()
        return preview

    def _target_groups(
        self, caller: IdpCaller, definition: MappingDefinition, preview: MappingPreview
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Return the target of each rule by its folded group name, and the display name of each target.

        A target is the id of a group or, if the group is still to be created, its folded name.
        """
        targets, names = {}, {}
        for _, name in definition.rules:
            key = fold(name)
            if key in targets:
                continue
            group = self._store.groups.manual(caller.organization.id, name)
            targets[key] = group.uid if group else key
            names[targets[key]] = group.name if group else name
            if group is None:
                preview.groups_to_create.append(name)
        preview.groups_to_create.sort()
        return targets, names

    def _preview_memberships(
        self, caller: IdpCaller, valued: Sequence[tuple[OutlinedUser, list[str]]],
        by_value: Mapping[str, set[str]], names: dict[str, str], preview: MappingPreview,
    ) -> None:  # fmt: skip
        """Add the memberships that would begin and end: manual and mapped grants are replaced, pushed ones stay."""
        held_by = self._store.memberships.sources_of_many(
            caller.organization.id, [user.id for user, _ in valued]
        )
        for user, values in valued:
            grants = held_by.get(user.id, ())
            names.update((group, name) for group, name, _ in grants)
            before = {group for group, _, _ in grants}
            after = {group for group, _, source in grants if source not in (MANUAL, MAPPING)}
            after.update(target for value in values for target in by_value.get(value, ()))
            if before == after:
                continue
            preview.users += 1
            for changes, changed in ((preview.joins, after - before), (preview.leaves, before - after)):
                for name in sorted(names[target] for target in changed):
                    changes.add(user, name)

    # Writing --------------------------------------------------------------------------------------------------------

    def _store_definition(
        self, caller: IdpCaller, definition: MappingDefinition, made: Mapping[str, GroupRecord]
    ) -> None:
        """Write attribute, switch and rules; `made` are the new groups by folded name."""
        connection = caller.connection
        rules = []
        for value, name in definition.rules:
            group = made.get(fold(name)) or self._store.groups.manual(caller.organization.id, name)
            assert group is not None
            rules.append((value, group.id))
        self._store.mapping_rules.replace(connection, rules)
        self._store.connections.edit(
            connection, mapping_enabled=int(definition.enabled), mapping_attribute=definition.attribute
        )

    def _apply_portion(self, caller: Caller, long_change: LongChange, unit: UnitOfWork) -> bool:
        """Apply the saved rules to the next users; grants that are right already are not written."""
        names, sub = json.loads(long_change.path)
        path = MappedPath(tuple(names), sub)
        users = self._next_users(caller, long_change, [path.names])
        if not users:
            self._store.long_changes.end(long_change)
            return False
        assert caller.connection is not None
        wanted: dict[str, set[tuple[int, str]]] = {}
        for value, group_id, _ in self._store.mapping_rules.rules(caller.connection):
            wanted.setdefault(value, set()).add((group_id, MAPPING))
        held_by = self._store.memberships.reasons_of_many(
            long_change.organization_id, [user.id for user in users]
        )
        given: dict[tuple[int, str], list[int]] = {}
        withdrawn: dict[tuple[int, str], list[int]] = {}
        for user in users:
            held = held_by.get(user.id, set())
            target = {grant for grant in held if grant[1] not in (MANUAL, MAPPING)}
            target.update(
                grant for value in path.values_in_part(user.parts[0]) for grant in wanted.get(value, ())
            )
            for grants, changed in ((given, target - held), (withdrawn, held - target)):
                for grant in changed:
                    grants.setdefault(grant, []).append(user.id)
        self._change_memberships(long_change.organization_id, users, given, withdrawn, unit)
        self._store.long_changes.advance(long_change, users[-1].id, len(users))
        return True

    def _release_portion(self, caller: Caller, long_change: LongChange, unit: UnitOfWork) -> bool:
        """Turn the grants of the mapping into manual ones for the next users."""
        users = self._next_users(caller, long_change, [])
        if not users:
            self._store.long_changes.end(long_change)
            return False
        self._store.memberships.release_users(long_change.organization_id, [user.id for user in users])
        self._store.long_changes.advance(long_change, users[-1].id, len(users))
        return True

    def _next_users(
        self, caller: Caller, long_change: LongChange, paths: Sequence[tuple[str, ...]]
    ) -> list[OutlinedUser]:
        """Return the users of the next portion."""
        assert caller.connection is not None
        portions: Iterator[list[OutlinedUser]] = self._store.portions.of_connection(
            caller.connection, paths, long_change.after, USERS_PER_PORTION
        )
        return [user for user in next(portions, []) if user.id <= long_change.until]

    def _change_memberships(
        self, organization_id: int, users: Sequence[OutlinedUser], given: Mapping[tuple[int, str], list[int]],
        withdrawn: Mapping[tuple[int, str], list[int]], unit: UnitOfWork,
    ) -> None:  # fmt: skip
        """Write the grants of a portion, and record the events of each group once."""
        memberships = self._store.memberships
        added: dict[int, list[int]] = {}
        removed: dict[int, list[int]] = {}
        # Grants are added before others are withdrawn, so that a user who keeps a membership never loses it in between.
        for write, grants, changed in (
            (memberships.grant, given, added),
            (memberships.withdraw, withdrawn, removed),
        ):
            for (group_id, source), keys in sorted(grants.items()):
                changed.setdefault(group_id, []).extend(write(group_id, keys, source))
        uids = {user.id: user.uid for user in users}
        for group_id in sorted(added.keys() | removed.keys()):
            joined, left = added.get(group_id, []), removed.get(group_id, [])
            if joined or left:
                group = self._store.groups.add_members(organization_id, group_id, len(joined) - len(left))
                unit.record_member_events(
                    group.uid, group.name, [uids[key] for key in joined], [uids[key] for key in left]
                )
