"""The state of the deployment, for operators: what is as it should be, and what needs them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gateway.plugin.manager import PluginManager
from gateway.store import Store
from gateway.store.ids_and_time import now

#: Microseconds without progress after which a long change is worth a look.
_STUCK = 300_000_000


class Finding(NamedTuple):
    """One thing that was looked at: whether it is as it should be, what was found, and what to do if not."""

    name: str
    ok: bool
    message: str
    remedy: str = ""


class DeploymentState:
    """Looks at the database, the plugins and what is under way. Changes nothing."""

    def __init__(self, store: Store, plugins: PluginManager) -> None:
        self._store, self._plugins = store, plugins

    def findings(self) -> list[Finding]:
        """Return all findings, those that need an operator first."""
        found = [self._migrations(), *self._missing_plugins(), *self._listeners(), self._long_changes()]
        return sorted(found, key=lambda finding: finding.ok)

    def _migrations(self) -> Finding:
        pending = self._store.database.pending_migrations()
        place = self._store.database.place
        if pending:
            return Finding(
                "Database", False, f"{place} lacks {', '.join(pending)}.", "Run `gateway migrate`."
            )
        return Finding("Database", True, f"{place} has all migrations.")

    def _missing_plugins(self) -> Iterator[Finding]:
        counts = self._store.connections.count_by_idp()
        missing = {idp: number for idp, number in counts.items() if self._plugins.declared.of(idp) is None}
        for idp, number in missing.items():
            yield Finding(
                "Identity providers",
                False,
                f"{number} connection{'s use' if number > 1 else ' uses'} {idp}, and there is no plugin of that name:"
                " each of their calls is refused.",
                f"Install the plugin {idp}, or take it out of GATEWAY_PLUGINS_DISABLED, and restart.",
            )
        if not missing:
            total = sum(counts.values())
            yield Finding("Identity providers", True, f"Each of {total} connections has its plugin.")

    def _listeners(self) -> Iterator[Finding]:
        for plugin, organizations, failures in self._store.listener_positions.failing():
            yield Finding(
                f"Listener {plugin}",
                False,
                f"It fails at the next event of {organizations} organization{'s' if organizations > 1 else ''}, up to"
                f" {failures} times in a row; later events of these wait.",
                "The log names the error of each attempt; it is repeated by itself.",
            )

    def _long_changes(self) -> Finding:
        stuck = self._store.long_changes.find_abandoned(now() - _STUCK)
        if stuck:
            return Finding(
                "Long changes",
                False,
                f"{len(stuck)} made no progress for five minutes: {', '.join(change.kind for change in stuck[:5])}.",
                "The worker of any process goes on with them; look into the log for its error.",
            )
        return Finding("Long changes", True, "None is stuck.")
