"""Operations on organizations: their single sign-on, connections, tokens, and the switch of provisioning."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from gateway.plugin.declarations import KeptAttributes
from gateway.plugin.manager import PluginManager
from gateway.provisioning.admin_tokens import check_expiry
from gateway.provisioning.admission import obstacles
from gateway.provisioning.caller import Caller, Callers, IdpCaller
from gateway.provisioning.domains.policy import check_policy
from gateway.provisioning.long_changes import USERS_PER_PORTION, LongChangeRunner
from gateway.provisioning.mapped_values import check_attribute
from gateway.provisioning.preconditions import check_version
from gateway.provisioning.publication import Publisher
from gateway.provisioning.rendering import group_json
from gateway.provisioning.saml_metadata import read_metadata
from gateway.provisioning.trace import Target, Trace
from gateway.provisioning.unit_of_work import UnitOfWork, UnitsOfWork, retry_on_conflict
from gateway.scim.errors import Conflict, InvalidValue, NotFound, Refusal
from gateway.scim.json_text import Json, excerpt
from gateway.store import Store, WriteConflict
from gateway.store.long_changes import REMOVE, LongChange
from gateway.store.publications import DEPLOYMENT
from gateway.store.records import ConnectionRecord, OrganizationRecord, TokenRecord

log = logging.getLogger("gateway")

#: Rows that one transaction of a removal removes.
_ROWS_PER_PORTION = 500


class OrganizationSetup:
    """Runs the operations of setting up."""

    def __init__(
        self, store: Store, plugins: PluginManager, units_of_work: UnitsOfWork, callers: Callers,
        long_changes: LongChangeRunner, publisher: Publisher, brake: Mapping[str, int] | None,
    ) -> None:  # fmt: skip
        self._brake = brake
        self._store, self._plugins, self._units_of_work = store, plugins, units_of_work
        self._callers, self._long_changes, self._publisher = callers, long_changes, publisher
        long_changes.register(REMOVE, self._remove_connection)
        long_changes.register(REMOVE, self._remove_organization, of_connection=False)

    # Organizations --------------------------------------------------------------------------------------------------

    def add_organization(self, values: Mapping[str, Any], trace: Trace) -> OrganizationRecord:
        """Add an organization, a customer of the application."""
        with self._store.transaction():
            organization = self._store.organizations.add(values)
            trace.organization_id = organization.id
            trace.target = Target("Organization", organization.uid, organization.name)
            with self._units_of_work.open(self._callers.admin(organization), trace):
                return organization

    def edit_organization(
        self, caller: Caller, values: Mapping[str, Any], trace: Trace, if_match: str | None = None
    ) -> OrganizationRecord:
        """Change plan, seats, billing or name. A lower limit deactivates nobody.

        Raises PreconditionFailed, and Conflict for a policy that would let nobody in.
        """
        trace.changed = sorted(values)
        with self._units_of_work.open(caller, trace):
            check_version(self._store.organizations.by_key(caller.organization.id), if_match)
            check_policy(self._store, caller.organization.id, values.get("outside_domains"))
            return self._store.organizations.edit(caller.organization, values)

    def remove_organization(self, caller: Caller, trace: Trace, if_match: str | None = None) -> None:
        """Remove an organization with all that belongs to it: connections, tokens, users, groups, events, activity.

        It takes several transactions; what breaks off is finished by the worker. Raises PreconditionFailed, and
        Conflict under a legal hold.
        """
        organization = caller.organization
        with self._store.transaction(organization_id=organization.id):
            check_version(self._store.organizations.by_key(organization.id), if_match)
            if self._store.erasures.is_held(organization):
                raise Conflict(
                    f"{organization.name} is under a legal hold: it is not removed. An operator of the application ends"
                    " the hold first."
                )
            self._store.organizations.close(organization)
            left = self._store.long_changes.find(organization.id, None)
            if left:
                run = left.uid
            else:
                run = self._begin_removal(organization.id, None, trace)
                self._store.publications.close(organization.id, organization.uid, organization.name)
        self._publisher.schedule([DEPLOYMENT])
        self._finish_removal(run, trace)
        trace.written = False
        # Its activity went with it, so this line is all that is left.
        log.warning(
            "organization %s (%s) removed by %s, request %s",
            organization.uid, organization.name, trace.principal, trace.request_id,
        )  # fmt: skip

    def set_sso(self, caller: Caller, metadata_xml: str, trace: Trace) -> Json:
        """Store the identity provider's SAML metadata; return what was read from it. Raises InvalidValue."""
        values = read_metadata(metadata_xml)
        self.edit_organization(caller, {"sso": json.dumps(values)}, trace)
        return values

    def remove_sso(self, caller: Caller, trace: Trace) -> None:
        """Remove single sign-on; provisioning is refused from then on."""
        self.edit_organization(caller, {"sso": None}, trace)

    # Connections ----------------------------------------------------------------------------------------------------

    def add_connection(
        self, caller: Caller, idp: str, name: str | None, settings: Mapping[str, Any], trace: Trace
    ) -> ConnectionRecord:
        """Add a connection, with provisioning switched off. Without a name it has the title of its plugin."""
        name = self._plugins.declared.title(idp) if name is None else name
        with self._units_of_work.open(caller, trace):
            connection = self._store.connections.add(caller.organization, idp, name, settings, self._brake)
            trace.connection_uid = connection.uid
            trace.target = Target("Connection", connection.uid, connection.name)
            return connection

    @retry_on_conflict
    def edit_connection(
        self, caller: Caller, connection: ConnectionRecord, values: Mapping[str, Any], trace: Trace,
        if_match: str | None = None,
    ) -> ConnectionRecord:  # fmt: skip
        """Change name, brake or settings. Without a brake nothing is held any more.

        Settings that are not named stay as they are; null removes one. Raises PreconditionFailed, Conflict, and
        ValidationError of the plugin's schema.
        """
        stored, changed = self._read_again(connection), dict(values)
        trace.changed = [name for name in sorted(values) if name != "settings"] + [
            f"settings.{name}" for name in sorted(values.get("settings", {}))
        ]
        check_version(stored, if_match)
        if "settings" in values:
            changed["settings"] = self._merge_settings(stored, values["settings"])
        with self._units_of_work.open(caller, trace) as change:
            change.outdate()
            if self._read_again(connection).version != stored.version:
                raise WriteConflict
            self._store.connections.edit(connection, **changed)
            if "brake" in changed and changed["brake"] is None:
                self._store.brakes.clear(connection.id)
            return self._read_again(connection)

    def checked_settings(self, idp: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings as the plugin of an identity provider loads them.

        Raises InvalidValue for an unknown identity provider, and ValidationError of the plugin's schema.
        """
        return self._check_settings(idp, values)[0]

    def _check_settings(self, idp: str, values: Mapping[str, Any]) -> tuple[dict[str, Any], KeptAttributes]:
        declaration = self._plugins.declared.of(idp)
        if declaration is None:
            known = ", ".join(plugin.name for plugin in self._plugins.declared.plugins() if plugin.idp)
            raise InvalidValue(f"There is no identity provider {excerpt(idp)} here. Known are: {known}.")
        settings = self._plugins.declared.checked_settings(idp, values)
        try:
            return settings, self._plugins.declared.would_keep(idp, settings)
        except ValueError as error:
            raise InvalidValue(f"settings name what cannot be kept. {error}") from None

    def _merge_settings(self, connection: ConnectionRecord, given: Mapping[str, Any]) -> dict[str, Any]:
        merged = {**connection.setting_values, **given}
        settings, kept = self._check_settings(
            connection.idp, {name: value for name, value in merged.items() if value is not None}
        )
        if connection.mapping_enabled and connection.mapping_attribute:
            try:
                check_attribute(kept, connection.mapping_attribute)
            except InvalidValue:
                raise Conflict(
                    f"Map to groups looks at {connection.mapping_attribute!r}, which this connection would no longer"
                    " keep. Let the mapping look at another attribute first, or switch it off."
                ) from None
        return settings

    def _read_again(self, connection: ConnectionRecord) -> ConnectionRecord:
        found = self._store.connections.by_key(connection.id)
        if found is None:
            raise NotFound("This connection was removed meanwhile.")
        return found[0]

    def remove_connection(
        self, caller: Caller, connection: ConnectionRecord, trace: Trace, if_match: str | None = None
    ) -> None:
        """Remove a connection with its tokens and rules. Users and groups stay with their memberships, unmanaged.

        It takes several transactions; what breaks off is finished by the worker. Raises PreconditionFailed.
        """
        organization_id = caller.organization.id
        with self._units_of_work.open(caller, trace) as change:
            change.outdate()
            check_version(self._read_again(connection), if_match)
            self._store.connections.close(connection)
            left = self._store.long_changes.find(organization_id, connection)
            removing = left is not None and left.kind == REMOVE
            run = left.uid if left and removing else self._begin_removal(organization_id, connection, trace)
        self._finish_removal(run, trace)

    def _begin_removal(self, organization_id: int, connection: ConnectionRecord | None, trace: Trace) -> str:
        return self._store.long_changes.begin(
            organization_id, connection, REMOVE, principal=trace.principal, request_id=trace.request_id
        )

    def _finish_removal(self, run: str, trace: Trace) -> None:
        try:
            self._long_changes.finish(run, trace)
        except Refusal as refusal:
            if self._long_changes.progress(run):
                refusal.detail += " The removal has begun, and the gateway goes on with it by itself."
            raise

    def _remove_organization(self, caller: Caller, run: LongChange, change: UnitOfWork) -> bool:
        """Remove a portion of an organization's rows, the last time itself too. Return whether there are more."""
        gone = self._store.organizations.remove_some(caller.organization, _ROWS_PER_PORTION)
        if gone:
            self._store.long_changes.advance(run, 0, gone)
            return True
        self._store.organizations.remove(caller.organization)
        return False

    def _remove_connection(self, caller: Caller, run: LongChange, change: UnitOfWork) -> bool:
        """Release a portion of a connection's users or pushed memberships, the last time its groups and itself.

        Return whether there are more.
        """
        assert run.connection_id is not None
        found = self._store.connections.by_key(run.connection_id)
        if found is None:
            return False
        store, connection, organization_id = self._store, found[0], caller.organization.id
        if keys := store.connections.managed_keys(connection, USERS_PER_PORTION):
            store.memberships.release_users(organization_id, keys)
            alive = store.connections.release(connection, keys)
            store.memberships.reveal(organization_id, keys)
            store.organizations.count(organization_id, "User", connection.id, -alive)
            store.organizations.count(organization_id, "User", None, alive)
            store.long_changes.advance(run, keys[-1], alive)
            return True
        if store.memberships.release_pushes(organization_id, connection.id, _ROWS_PER_PORTION):
            store.long_changes.advance(run, run.after, 0)
            return True
        change.outdate()
        self._rename_clashing(organization_id, connection, change)
        store.connections.remove(connection)
        return False

    def check_not_removing(self, connection: ConnectionRecord) -> None:
        """Refuse to change a connection that is being removed. Raises Conflict."""
        left = self._store.long_changes.find(connection.organization_id, connection)
        if left is not None and left.kind == REMOVE:
            raise Conflict(
                f"The connection {connection.name!r} is being removed. Make another one, or wait until it is gone."
            )

    def _rename_clashing(
        self, organization_id: int, connection: ConnectionRecord, change: UnitOfWork
    ) -> None:
        """Rename the groups whose names would be those of manual groups once no connection pushes them."""
        for group in self._store.groups.clashing(connection):
            number, name = 1, f"{group.name} ({connection.name})"
            while self._store.groups.namesake(organization_id, connection.id, name):
                number += 1
                name = f"{group.name} ({connection.name} {number})"
            document = {**json.loads(group.doc), "displayName": name}
            renamed = self._store.groups.rewrite(organization_id, connection.id, group, document)
            assert renamed is not None
            change.record_event("group.updated", "Group", group.uid, group_json(renamed, None, None))

    def set_provisioning(self, caller: IdpCaller, enabled: bool, trace: Trace) -> None:
        """Switch provisioning on or off. Raises Conflict while plan or single sign-on do not allow it."""
        connection = caller.connection
        if enabled and (reasons := trace.record(obstacles(self._plugins, caller.tenant))):
            raise Conflict(" ".join(reasons))
        trace.changed = ["provisioning"]
        with self._units_of_work.open(caller, trace):
            if enabled:
                self.check_not_removing(connection)
            self._store.connections.edit(connection, provisioning=int(enabled))

    # Tokens ---------------------------------------------------------------------------------------------------------

    def add_token(
        self, caller: IdpCaller, label: str, expires: int | None, trace: Trace,
        latest: int | None = None,
    ) -> tuple[TokenRecord, str]:  # fmt: skip
        """Make a token of a connection and return it with its value, which is shown this once.

        `expires` in microseconds; `latest` is the end of the admin token that is used, None where that has none. Raises
        Forbidden for a token that outlives it.
        """
        check_expiry(latest, expires)
        with self._units_of_work.open(caller, trace):
            self.check_not_removing(caller.connection)
            token, value = self._store.tokens.add(caller.connection, label, expires)
            trace.target = Target("Token", token.uid, f"{token.label} ({token.prefix}…)".strip())
            return token, value

    def revoke_token(self, caller: IdpCaller, uid: str, trace: Trace) -> None:
        """Revoke a token of a connection, at once. Raises NotFound."""
        missing = NotFound(f"There is no token with the id {excerpt(uid)} here.")
        # Looked for first: a write would wait for others.
        if all(token.uid != uid for token in self._store.tokens.by_connection(caller.connection)):
            raise missing
        with self._units_of_work.open(caller, trace):
            removed = self._store.tokens.remove(caller.connection, uid)
            if removed is None:
                raise missing
            trace.target = Target("Token", uid, f"{removed.label} ({removed.prefix}…)".strip())
