"""Synchronizes the memberships of one user with what plugins and mapping rules want."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway.plugin.manager import PluginManager
from gateway.provisioning.caller import Caller
from gateway.provisioning.trace import Trace
from gateway.provisioning.unit_of_work import UnitOfWork
from gateway.scim.schemas import GROUP_URN
from gateway.store import Store
from gateway.store.memberships import MANUAL, MAPPING, PUSH
from gateway.store.records import ConnectionRecord, GroupRecord, UserRecord

#: Group key and source.
Grant = tuple[int, str]


class MembershipSync:
    """Grants and withdraws memberships by delta, and records who joined and left."""

    def __init__(self, store: Store, plugins: PluginManager) -> None:
        self._store, self._plugins = store, plugins

    def sync_user(
        self, caller: Caller, user: UserRecord, wanted: Mapping[str, frozenset[str]], change: UnitOfWork, trace: Trace,
        new: bool = False,
    ) -> bool:  # fmt: skip
        """Give one user the memberships that are wanted, group names by source; return whether it joined or left any.

        While Map to groups is on, memberships come from mapping and push alone: manual reasons end here.
        """
        connection = caller.connection
        if connection is None or (new and not any(wanted.values())) or not self.decides(connection):
            return False
        organization_id = caller.organization.id
        held = set(self._store.memberships.reasons(organization_id, user.id))
        kept = {PUSH} if connection.mapping_enabled else {PUSH, MANUAL, MAPPING}
        target = {grant for grant in held if grant[1] in kept} | self._grants(organization_id, wanted, trace)
        self._regrant(organization_id, user, held, target, change)
        return {group for group, _ in held} != {group for group, _ in target}

    def decides(self, connection: ConnectionRecord) -> bool:
        """Return whether mapping or a plugin may change memberships of the users of a connection."""
        return bool(connection.mapping_enabled) or self._plugins.resolves_groups(connection.idp)

    def attach_waiting(self, caller: Caller, user: UserRecord, change: UnitOfWork) -> bool:
        """Add a new or restored user to the groups that wait for it; return True if there were any."""
        organization_id = caller.organization.id
        groups = self._store.waiting_members.take(organization_id, caller.connection_id, user.uid)
        if not groups:
            return False
        held = set(self._store.memberships.reasons(organization_id, user.id))
        self._regrant(organization_id, user, held, held | {(group, PUSH) for group in groups}, change)
        return True

    def _grants(self, organization_id: int, wanted: Mapping[str, frozenset[str]], trace: Trace) -> set[Grant]:
        grants: set[Grant] = set()
        for source, names in wanted.items():
            for name in names:
                group = self._store.groups.manual(organization_id, name)
                if group:
                    grants.add((group.id, source))
                else:
                    trace.ignored.append(f"group {name!r} of {source}: the organization has no such group")
                    trace.left_out.append(
                        f"{_wanted_by(source)} puts the user into the group {name!r}, and the application has no group"
                        " of that name that it may fill. Make it there, or mend the name."
                    )
        return grants

    def _regrant(
        self, organization_id: int, user: UserRecord, held: set[Grant], target: set[Grant], change: UnitOfWork
    ) -> None:
        memberships = self._store.memberships
        change.depends_on_policy = change.depends_on_policy or target != held
        for group_id, source in sorted(target - held):
            memberships.grant(group_id, [user.id], source)
        for group_id, source in sorted(held - target):
            memberships.withdraw(group_id, [user.id], source)
        before, after = {group for group, _ in held}, {group for group, _ in target}
        if before == after:
            return
        for group_id in sorted(before ^ after):
            joined = group_id in after
            group = self._store.groups.add_members(organization_id, group_id, 1 if joined else -1)
            change.record_member_events(
                group.uid, group.name, [user.uid] if joined else [], [] if joined else [user.uid]
            )


def _wanted_by(source: str) -> str:
    return "A rule of Map to groups" if source == MAPPING else f"The plugin {source}"


def make_group(store: Store, caller: Caller, name: str, change: UnitOfWork) -> GroupRecord:
    """Create a manual group, or one that a rule needs."""
    document: dict[str, Any] = {"schemas": [GROUP_URN], "displayName": name}
    group = store.groups.add(caller.organization.id, None, document)
    change.count("Group", None, 1)
    change.record_event(
        "group.created", "Group", group.uid, json.dumps({"id": group.uid, **document}, ensure_ascii=False)
    )
    return group
