"""The stories, each one transaction, to be read aloud. They know no web framework.

`Provisioning` holds them for one application: what the doors (`gateway.web`, `gateway.cli`) call.
"""

from __future__ import annotations

from typing import cast

from gateway.config import Config
from gateway.plugin.manager import PluginManager
from gateway.provisioning.admin_tokens import AdminAccess
from gateway.provisioning.admission import AdmissionControl
from gateway.provisioning.caller import Caller, Callers, IdpCaller, Target, Trace
from gateway.provisioning.diagnostics import Diagnostics
from gateway.provisioning.groups import Groups
from gateway.provisioning.long_changes import LongChangeRunner
from gateway.provisioning.mapped_values import UnruledValues
from gateway.provisioning.mapping import MapToGroups
from gateway.provisioning.membership_sync import MembershipSync
from gateway.provisioning.organizations import OrganizationSetup
from gateway.provisioning.recorder import Recorder
from gateway.provisioning.takeover import Takeover
from gateway.provisioning.unit_of_work import AnyCaller, UnitsOfWork
from gateway.provisioning.users import Users
from gateway.scim.errors import AuthenticationFailed
from gateway.store import Store

__all__ = ["Caller", "IdpCaller", "Provisioning", "Target", "Trace"]


class Provisioning:
    """Store, plugins and stories of one application."""

    def __init__(self, config: Config, store: Store, plugins: PluginManager) -> None:
        self.config, self.store, self.plugins = config, store, plugins
        self.callers = Callers(config, plugins)
        self.admission = AdmissionControl(store, plugins, self.callers, config.public_url)
        self.recorder = Recorder(store, plugins, self.callers, config.activity_days)
        changes = UnitsOfWork(store)
        membership_sync = MembershipSync(store, plugins)
        unruled = UnruledValues(store)
        self.users = Users(
            store, plugins, changes, membership_sync, self._refreshed, unruled, config.document_limit
        )
        self.groups = Groups(store, plugins, changes, self._refreshed, config.document_limit)
        self.long_changes = LongChangeRunner(store, changes, self.callers)
        self.recorder.chores.append(self.long_changes.resume)
        self.mapping = MapToGroups(store, changes, self.long_changes, self._refreshed)
        self.takeover = Takeover(store, plugins, changes, membership_sync, self._refreshed)
        self.setup = OrganizationSetup(
            store, plugins, changes, self.callers, self._refreshed, self.long_changes
        )
        self.admin_access = AdminAccess(store, changes, self.callers)
        self.diagnostics = Diagnostics(store, plugins, self.callers, self.recorder, unruled)

    def _refreshed(self, caller: AnyCaller) -> AnyCaller:
        """The same caller as it is stored now."""
        if not isinstance(caller, IdpCaller):
            return cast(
                AnyCaller, self.callers.admin(self.store.organizations.by_key(caller.organization.id))
            )
        found = self.store.connections.by_key(caller.connection.id)
        if found is None:
            raise AuthenticationFailed(
                "This connection was removed in the application; its tokens are revoked."
            )
        return cast(AnyCaller, self.callers.connection(*found, caller.public_url))
