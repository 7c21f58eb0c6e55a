"""What plugins declare about themselves, beside what they answer: titles, settings, what a connection keeps, its steps.

A declaration is a plugin's code as well and may fail in any way. Where something is only shown it is left out then;
where a request needs it, the request is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from marshmallow import ValidationError

from gateway.plugin.call_stats import FAILED, CallStats
from gateway.plugin.contracts import Connection, Declaration, PluginCheck, RecentCalls
from gateway.plugin.json_values import check_plain, freeze
from gateway.scim.errors import Unavailable
from gateway.scim.schemas import ENTERPRISE, ResourceType, Schema, group_type, narrow, user_type

log = logging.getLogger("gateway.plugins")

#: Checks that a plugin adds at most.
CHECKS = 10


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """A plugin as operators are shown it."""

    name: str
    version: str
    idp: bool
    hooks: tuple[str, ...]
    declaration: Declaration


@dataclass(frozen=True, slots=True)
class KeptAttributes:
    """The resource types reduced to the attributes that a connection keeps."""

    user: ResourceType
    group: ResourceType
    #: Whether a PATCH without any operation is accepted.
    empty_patches: bool = False


class Declarations:
    """The declarations of the plugins of one application."""

    def __init__(self, call_stats: CallStats, extension: Schema) -> None:
        self._call_stats, self._extension = call_stats, extension
        self._plugins: dict[str, PluginInfo] = {}
        #: Flags behind a base URL that any plugin knows.
        self.url_flags: frozenset[str] = frozenset()
        self._kept = lru_cache(maxsize=512)(self._keep)

    def read(self, plugins: Mapping[str, PluginInfo]) -> None:
        """Replace the plugins, given by name."""
        self._plugins = dict(plugins)
        self.url_flags = frozenset(
            flag for plugin in plugins.values() if plugin.idp for flag in plugin.declaration.url_flags
        )

    def plugins(self) -> list[PluginInfo]:
        """Return all plugins, the built-in one included, sorted by name."""
        return sorted(self._plugins.values(), key=lambda plugin: plugin.name)

    def of(self, idp: str) -> Declaration | None:
        """Return the declaration of an identity provider; None where no plugin of that name is one."""
        plugin = self._plugins.get(idp)
        return plugin.declaration if plugin and plugin.idp else None

    def title(self, idp: str) -> str:
        """Return the name of an identity provider that people know."""
        declaration = self.of(idp)
        return declaration.title if declaration else idp

    def recognise(self, agent: str, flags: Collection[str]) -> str | None:
        """Return the plugin of the identity provider that sends this User-Agent or these flags; None if not known."""
        folded = agent.casefold()
        for plugin in self.plugins():
            declared = plugin.declaration
            if plugin.idp and (
                any(folded.startswith(begin.casefold()) for begin in declared.user_agents)
                or not frozenset(declared.url_flags).isdisjoint(flags)
            ):
                return plugin.name
        return None

    def checks(self, connection: Connection, recent: RecentCalls) -> list[PluginCheck]:
        """Return the checks of the plugin of an identity provider; none where it is missing or fails."""
        declaration = self.of(connection.idp)
        try:
            found = list(declaration.checks(connection, recent)) if declaration else []
            check_plain([[check.name, check.level, check.message, check.remedy] for check in found])
            if not {check.level for check in found} <= {"note", "warn"}:
                raise ValueError("a check has another level than note or warn")
            return found[:CHECKS]
        except Exception:  # a plugin may fail in any way; the other checks are shown without its own
            log.exception("plugin %s failed in its checks", connection.idp)
            self._count(connection.idp, "checks")
            return []

    def setup_steps(self, connection: Connection) -> list[str]:
        """Return the steps that an admin takes at the identity provider; none where its plugin is missing or fails."""
        declaration = self.of(connection.idp)
        try:
            return list(declaration.setup_steps(connection)) if declaration else []
        except Exception:  # a plugin may fail in any way; the connection can be shown without its steps
            log.exception("plugin %s failed to tell its setup steps", connection.idp)
            self._count(connection.idp, "setup_steps")
            return []

    def checked_settings(self, idp: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings as the plugin of an identity provider loads them.

        Raises marshmallow's ValidationError, and Unavailable where the plugin fails.
        """
        declaration = self.of(idp)
        assert declaration is not None
        try:
            settings = settings_of(declaration, values)
            check_plain(settings)
            return settings
        except ValidationError:
            raise
        except Exception as error:  # a plugin may fail in any way, or load what cannot be stored
            raise self._failed(idp, "settings") from error

    def shown_settings(self, idp: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that are no secrets; none where the plugin cannot say which are."""
        declaration = self.of(idp)
        if declaration is None:
            return {}
        try:
            schema = declaration.settings() if declaration.settings else None
            fields = schema.fields if schema else {}
            secret = {name for name, field in fields.items() if field.metadata.get("secret")}
        except Exception:  # a plugin may fail in any way; the connection can be shown without its settings
            log.exception("plugin %s failed to tell which settings are secret", idp)
            self._count(idp, "settings")
            return {}
        return {name: value for name, value in values.items() if name not in secret}

    def secret_values(self, idp: str, values: Mapping[str, Any]) -> list[str]:
        """Return the texts in settings that are secret; all of them where the plugin cannot say which are."""
        shown = self.shown_settings(idp, values)
        return [
            value for name, value in values.items() if name not in shown and isinstance(value, str) and value
        ]

    def kept(self, connection: Connection) -> KeptAttributes:
        """Return the resource types reduced to what a connection keeps; discovery and validation follow from them.

        Raises Unavailable where the plugin is missing or fails.
        """
        declaration = self.of(connection.idp)
        if declaration is None:
            raise Unavailable(
                f"The gateway has no plugin for the identity provider {connection.idp!r} of this connection any more."
                " Nothing was changed; ask the operator of the application to install it.",
                retry_after=300,
            )
        try:
            paths = declaration.keeps(connection.settings) if declaration.keeps else None
            kept = self._kept(tuple(paths) if paths is not None else None)
            return replace(kept, empty_patches=declaration.empty_patches)
        except Exception as error:  # a plugin may fail in any way, or name what no schema knows
            raise self._failed(connection.idp, "keeps") from error

    def would_keep(self, idp: str, settings: Mapping[str, Any]) -> KeptAttributes:
        """Return what a connection with these settings would keep. Raises ValueError for an unknown attribute."""
        declaration = self.of(idp)
        try:
            declared = declaration.keeps(freeze(settings)) if declaration and declaration.keeps else None
            paths = None if declared is None else tuple(declared)
            check_plain(list(paths or ()))
        except Exception as error:  # a plugin may fail in any way
            raise self._failed(idp, "keeps") from error
        return self._keep(paths)

    def _keep(self, paths: tuple[str, ...] | None) -> KeptAttributes:
        whole = user_type(ENTERPRISE, self._extension)
        if paths is None:
            return KeptAttributes(whole, group_type())
        # Whether an account is active, and what Map to groups maps, is kept whatever a plugin leaves out.
        return KeptAttributes(narrow(whole, (*paths, "active", f"{self._extension.id}:group")), group_type())

    def _failed(self, plugin: str, name: str) -> Unavailable:
        """Return the refusal of a request that needs the declaration; call it where that was caught: it is logged."""
        log.exception("plugin %s failed in %s", plugin, name)
        self._count(plugin, name)
        return unusable(plugin)

    def _count(self, plugin: str, name: str) -> None:
        self._call_stats.count_ended(self._call_stats.calls(plugin, name), FAILED, 0.0)


def unusable(plugin: str) -> Unavailable:
    """Return the refusal of a request that a plugin failed at."""
    return Unavailable(
        f"The gateway's plugin {plugin} failed, so nothing was changed. Try again later; if it stays, give the request"
        " id to the operator of the application.",
        retry_after=30,
    )


def settings_of(declaration: Declaration, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings loaded by the schema of a plugin. Raises marshmallow's ValidationError."""
    if declaration.settings is not None:
        return dict(declaration.settings().load(dict(values)))
    if values:
        raise ValidationError({name: ["This identity provider has no such setting."] for name in values})
    return {}
