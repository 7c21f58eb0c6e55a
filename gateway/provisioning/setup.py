"""The stories of setting up: organizations, their single sign-on, connections, tokens, provisioning on and off."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway.contracts import Json, Organization
from gateway.host import Decision, PluginHost
from gateway.provisioning.caller import Caller, Callers, IdpCaller, Trace
from gateway.provisioning.changes import Changes
from gateway.provisioning.sso import read_metadata
from gateway.scim.errors import Conflict, NotFound
from gateway.store import Store
from gateway.store.memberships import MAPPING, PUSH
from gateway.store.records import ConnectionRecord, OrganizationRecord, TokenRecord

FEATURE = "scim"


class Setup:
    """Tells the stories of setting up."""

    def __init__(self, store: Store, host: PluginHost, changes: Changes, callers: Callers) -> None:
        self._store, self._host, self._changes, self._callers = store, host, changes, callers

    # Organizations --------------------------------------------------------------------------------------------------

    def add_organization(self, values: Mapping[str, Any], trace: Trace) -> OrganizationRecord:
        """A new customer of the application."""
        with self._store.transaction():
            organization = self._store.organizations.add(values)
            trace.organization_id = organization.id
            with self._changes.open(self._callers.admin(organization), trace):
                return organization

    def edit_organization(
        self, caller: Caller, values: Mapping[str, Any], trace: Trace
    ) -> OrganizationRecord:
        """Change plan, seats, billing or name. A lower limit evicts nobody."""
        with self._changes.open(caller, trace):
            return self._store.organizations.edit(caller.organization, values)

    def remove_organization(self, caller: Caller) -> None:
        """Remove a customer with everything of it: connections, tokens, users, groups, events, activity."""
        with self._store.transaction():
            self._store.organizations.remove(caller.organization)

    def set_sso(self, caller: Caller, metadata_xml: str, trace: Trace) -> Json:
        """Take in the identity provider's SAML metadata."""
        values = read_metadata(metadata_xml)
        self.edit_organization(caller, {"sso": json.dumps(values)}, trace)
        return values

    def remove_sso(self, caller: Caller, trace: Trace) -> None:
        """Single sign-on is no longer set up; provisioning is refused from now on."""
        self.edit_organization(caller, {"sso": None}, trace)

    # Connections ----------------------------------------------------------------------------------------------------

    def add_connection(
        self, caller: Caller, idp: str, name: str, settings: Mapping[str, Any], trace: Trace
    ) -> ConnectionRecord:
        """A new connection, with provisioning switched off."""
        with self._changes.open(caller, trace):
            connection = self._store.connections.add(caller.organization, idp, name, settings)
            trace.connection_uid = connection.uid
            return connection

    def edit_connection(self, caller: IdpCaller, trace: Trace, **values: Any) -> ConnectionRecord:
        """Change name or settings."""
        connection = caller.connection
        with self._changes.open(caller, trace):
            self._store.organizations.touch_policy(caller.organization.id)
            self._store.connections.edit(connection, **values)
            found = self._store.connections.by_key(connection.id)
        assert found is not None
        return found[0]

    def remove_connection(self, caller: IdpCaller, trace: Trace) -> None:
        """Revoke its tokens and rules. Users and groups stay with their memberships, managed by nobody."""
        connection = caller.connection
        with self._changes.open(caller, trace):
            self._store.organizations.touch_policy(caller.organization.id)
            self._store.memberships.release(caller.organization.id, connection.id, PUSH)
            self._store.memberships.release(caller.organization.id, connection.id, MAPPING)
            self._store.connections.remove(connection)

    def set_provisioning(self, caller: IdpCaller, enabled: bool, trace: Trace) -> None:
        """Switch provisioning on or off; on only once plan and single sign-on allow it."""
        connection = caller.connection
        if enabled and (reasons := self.obstacles(caller.tenant, trace.decisions)):
            raise Conflict(" ".join(reasons))
        with self._changes.open(caller, trace):
            self._store.connections.edit(connection, provisioning=int(enabled))

    def obstacles(self, tenant: Organization, decisions: list[Decision]) -> list[str]:
        """Why an organization cannot be provisioned, each with who can mend it; empty when it can."""
        reasons = []
        denial = self._host.check_entitlement(tenant, FEATURE, decisions)
        if denial is not None:
            reasons.append(denial)
        if not tenant.sso:
            reasons.append(
                f"Single sign-on is not set up for {tenant.name}. An admin of the application has to add the identity"
                " provider's SAML metadata there before users can be provisioned."
            )
        return reasons

    # Tokens ---------------------------------------------------------------------------------------------------------

    def add_token(
        self, caller: IdpCaller, label: str, expires: int | None, trace: Trace
    ) -> tuple[TokenRecord, str]:
        """A new token and its value, shown this once."""
        with self._changes.open(caller, trace):
            return self._store.tokens.add(caller.connection, label, expires)

    def revoke_token(self, caller: IdpCaller, uid: str, trace: Trace) -> None:
        """The token opens nothing from now on."""
        with self._changes.open(caller, trace):
            if not self._store.tokens.remove(caller.connection, uid):
                raise NotFound(f"There is no token with the id {uid!r} here.")
