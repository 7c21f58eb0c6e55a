"""Diagnostics of a connection, for an admin whose identity provider reports an error."""

from __future__ import annotations

from collections import Counter

from gateway.plugin.manager import PluginManager
from gateway.provisioning.activity_writer import ActivityWriter
from gateway.provisioning.caller import Callers
from gateway.provisioning.diagnostics.call_checks import CallChecks
from gateway.provisioning.diagnostics.checks import Check
from gateway.provisioning.diagnostics.setup_checks import SOON, SetupChecks
from gateway.provisioning.mapped_values import MappedPath, UnruledValues, describe_unruled
from gateway.store import Store
from gateway.store.records import ConnectionRecord, OrganizationRecord

__all__ = ["SOON", "Check", "Diagnostics"]

#: Users, groups and waiting members that are looked at, however many there are; waiting members that are named.
USERS, GROUPS, MEMBERS, EXAMPLES = 1000, 10_000, 1000, 3


class Diagnostics:
    """Checks connections. Changes nothing and calls no identity provider."""

    def __init__(
        self,
        store: Store,
        plugins: PluginManager,
        callers: Callers,
        activity_writer: ActivityWriter,
        unruled: UnruledValues,
    ) -> None:
        self._store, self._plugins, self._callers, self._activity_writer = (
            store,
            plugins,
            callers,
            activity_writer,
        )
        self._unruled, self._setup = unruled, SetupChecks(store, plugins, callers)
        self._calls = CallChecks(store, plugins.declared, callers)

    def of(self, organization: OrganizationRecord, connection: ConnectionRecord) -> list[Check]:
        """Return all checks of a connection, in the order in which they should be mended."""
        # The activity of a moment ago is part of it.
        self._activity_writer.flush_briefly()
        return [
            *self._setup.obstacles(organization, connection),
            *self._setup.surroundings(organization, connection),
            *self._mistakes(organization, connection),
            *self._map_to_groups(organization, connection),
            *self._waiting(organization, connection),
            *self._calls.last_calls(organization, connection),
        ]

    def _mistakes(self, organization: OrganizationRecord, connection: ConnectionRecord) -> list[Check]:
        if self._plugins.declared.of(connection.idp) is None:
            return []
        return self._calls.mistakes(organization, connection)

    # Warnings of what was left out: nothing where there is nothing to warn of.

    def _map_to_groups(self, organization: OrganizationRecord, connection: ConnectionRecord) -> list[Check]:
        """Name the values of the newest users that no rule covers."""
        attribute = connection.mapping_attribute
        if (
            not connection.mapping_enabled
            or not attribute
            or self._plugins.declared.of(connection.idp) is None
        ):
            return []
        caller = self._callers.connection(connection, organization, "")
        path, rules = MappedPath.parse(caller.kept, attribute), self._unruled.rules(caller)
        users = self._store.portions.find_newest(connection, [path.names], USERS)
        met: Counter[str] = Counter()
        without = 0
        for user in users:
            values = [value for value in path.values_in_part(user.parts[0]) if value not in rules.exact]
            met.update(values)
            without += bool(values)
        if not met:
            return []
        # The most frequent first.
        near, others = rules.find_unruled(value for value, _ in met.most_common())
        looked = f"the newest {len(users)} users" if len(users) > 1 else "the newest user"
        has = "user has" if without == 1 else "users have"
        said = " ".join(describe_unruled(attribute, near, others, met))
        return [
            Check(
                "map_to_groups",
                "warn",
                f"Of {looked}, {without} {has} a value that no rule covers.",
                "Add a rule for each value that should lead to a group.",
                example=said,
            )
        ]

    def _waiting(self, organization: OrganizationRecord, connection: ConnectionRecord) -> list[Check]:
        """Name members of pushed groups who are not provisioned."""
        found = self._store.waiting_members.newest(organization.id, connection.id, MEMBERS + 1, GROUPS)
        if not found:
            return []
        many = f"more than {MEMBERS}" if len(found) > MEMBERS else str(len(found))
        of = "member" if len(found) == 1 else "members"
        examples = ", ".join(f"{uid[:80]} of {name[:80]!r}" for name, uid in found[:EXAMPLES])
        message = f"Pushed groups wait for {many} {of} whom this connection has not provisioned."
        remedy = "Assign these users to the application at the identity provider, or take them out of the groups there."
        return [Check("waiting_members", "warn", message, remedy, example=f"Such as {examples}.")]
