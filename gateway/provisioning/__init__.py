"""The stories, each one transaction, to be read aloud. They know no web framework.

`Provisioning` holds them for one application: what the doors (`gateway.web`, `gateway.cli`) call.
"""

from __future__ import annotations

from typing import cast

from gateway.config import Config
from gateway.plugin.manager import PluginHost
from gateway.provisioning.admin_tokens import AdminAccess
from gateway.provisioning.caller import Caller, Callers, IdpCaller, Target, Trace
from gateway.provisioning.diagnostics import Checkup
from gateway.provisioning.groups import Groups
from gateway.provisioning.long_changes import LongRuns
from gateway.provisioning.mapped_values import UnruledValues
from gateway.provisioning.mapping import MapToGroups
from gateway.provisioning.membership_sync import GroupMover
from gateway.provisioning.organizations import Setup
from gateway.provisioning.recorder import Recorder
from gateway.provisioning.takeover import Takeover
from gateway.provisioning.unit_of_work import Changes, Who
from gateway.provisioning.users import Users
from gateway.scim.errors import AuthenticationFailed
from gateway.store import Store

__all__ = ["Caller", "IdpCaller", "Provisioning", "Target", "Trace"]


class Provisioning:
    """Store, plugins and stories of one application."""

    def __init__(self, config: Config, store: Store, host: PluginHost) -> None:
        self.config, self.store, self.host = config, store, host
        self.callers = Callers(config, host)
        self.recorder = Recorder(store, host, self.callers, config.activity_days)
        changes = Changes(store)
        mover = GroupMover(store, host)
        unruled = UnruledValues(store)
        self.users = Users(store, host, changes, mover, self._refreshed, unruled, config.document_limit)
        self.groups = Groups(store, host, changes, self._refreshed, config.document_limit)
        self.runs = LongRuns(store, changes, self.callers)
        self.recorder.chores.append(self.runs.go_on)
        self.mapping = MapToGroups(store, changes, self.runs, self._refreshed)
        self.takeover = Takeover(store, host, changes, mover, self._refreshed)
        self.setup = Setup(store, host, changes, self.callers, self._refreshed, self.runs)
        self.admin_access = AdminAccess(store, changes, self.callers)
        self.checkup = Checkup(store, host, self.callers, self.recorder, unruled)

    def _refreshed(self, caller: Who) -> Who:
        """The same caller as it is stored now."""
        if not isinstance(caller, IdpCaller):
            return cast(Who, self.callers.admin(self.store.organizations.by_key(caller.organization.id)))
        found = self.store.connections.by_key(caller.connection.id)
        if found is None:
            raise AuthenticationFailed(
                "This connection was removed in the application; its tokens are revoked."
            )
        public_url = caller.words.base_url.rsplit("/scim/v2/", 1)[0]
        return cast(Who, self.callers.connection(*found, public_url))
