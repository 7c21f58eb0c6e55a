"""Examples that an author gives to the promises, and the one installed plugin that they are tried on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import entry_points
from tempfile import TemporaryDirectory
from typing import Any

import pluggy

from gateway.app import build
from gateway.config import Config, load
from gateway.plugin import builtin, hookspecs
from gateway.plugin.contracts import Billing, Connection, Declaration, Organization, ResourceType, Seats
from gateway.plugin.declarations import settings_of
from gateway.plugin.json_values import freeze
from gateway.plugin.manager import ENTRY_POINTS, PluginManager
from gateway.scim.json_text import Json

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
_STORED: Mapping[str, Json] = {
    "User": {"schemas": [USER], "userName": "user1@acme.test", "active": True},
    "Group": {"schemas": [GROUP], "displayName": "Sales"},
}


@dataclass(frozen=True, slots=True)
class Document:
    """A whole user or group as it is sent, and its translation by the plugin.

    With `becomes` it is translated to exactly that; with `refused` it is refused in a sentence with these words, which
    name the remedy; with neither it is canonical already and left alone.
    """

    sent: Json
    becomes: Json | None = None
    refused: str = ""
    kind: ResourceType = "User"


@dataclass(frozen=True, slots=True)
class Patch:
    """The operations of a PATCH as they are sent, and their translation by the plugin; see `Document`.

    `current` is the stored document they meet, of a group without its members; a plain user or group where left out.
    """

    sent: list[Json]
    becomes: list[Json] | None = None
    refused: str = ""
    kind: ResourceType = "User"
    current: Json | None = None

    @property
    def stored(self) -> Json:
        """The document that the operations meet."""
        return _STORED[self.kind] if self.current is None else self.current


@dataclass(frozen=True, slots=True)
class Resolved:
    """A canonical user, and the groups that the plugin puts it in."""

    document: Json
    groups: frozenset[str] | set[str] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Installed:
    """One installed plugin, whose hooks are called alone: neither other plugins nor the core's defaults answer."""

    name: str
    manager: pluggy.PluginManager
    hooks: frozenset[str]

    def ask(self, hook: str, **arguments: Any) -> Any:
        """Call a hook of the plugin and return its result; None if it does not implement it. Exceptions propagate."""
        if hook not in self.hooks:
            return None
        answer = getattr(self.manager.hook, hook)(**arguments)
        collected = not (getattr(hookspecs, hook).gateway_spec or {}).get("firstresult")
        return (answer[0] if answer else None) if collected else answer

    @property
    def declaration(self) -> Declaration:
        """The plugin's declaration, or one with its name as title."""
        return self.ask("gateway_declare") or Declaration(title=self.name)

    def connection(self, settings: Mapping[str, Any] | None = None) -> Connection:
        """Return a connection of the plugin, with these settings and its schema's defaults."""
        return Connection(
            id="c1",
            slug=f"{self.name}-1",
            idp=self.name,
            name=self.name.title(),
            organization=organization(),
            settings=freeze(settings_of(self.declaration, settings or {})),
            base_url=f"https://gateway.acme.test/scim/v2/{self.name}-1",
            extension_urn=Config.extension_urn,
        )


@lru_cache
def installed(name: str) -> Installed:
    """Return the plugin of that name. Raises LookupError if none is installed."""
    manager = pluggy.PluginManager("gateway")
    manager.add_hookspecs(hookspecs)
    found = entry_points(group=ENTRY_POINTS, name=name)
    if not found:
        others = ", ".join(sorted({point.name for point in entry_points(group=ENTRY_POINTS)})) or "none"
        raise LookupError(
            f"No installed plugin is called {name!r} (there are: {others}). Install it with `pip install -e .` first."
        )
    plugin = next(iter(found)).load()
    manager.register(plugin, name)
    return Installed(
        name, manager, frozenset(caller.name for caller in manager.get_hookcallers(plugin) or ())
    )


def organization(
    limit: int | None = 3, used: int = 0, plan: str = "enterprise", payment: str = "invoice"
) -> Organization:
    """Return an organization as plugins see it."""
    addresses = ("https://acme.test/billing", "https://acme.test/contact")
    billing = Billing("card" if payment == "card" else "invoice", *addresses)
    return Organization("o1", "Acme", plan, True, Seats(limit, used), billing)


@lru_cache
def manager_with(name: str) -> PluginManager:
    """Return a manager that has this plugin and no other, without an instance."""
    with TemporaryDirectory() as folder:
        overrides = {"instance": folder, "secret_key": "unused" * 6, "plugins_disabled": others(name)}
        return build(load(overrides, {})).plugins


def others(name: str) -> tuple[str, ...]:
    """Return the names of all other installed plugins, for a deployment that disables them."""
    names = {point.name for point in entry_points(group=ENTRY_POINTS)}
    return tuple(sorted(names - {name, builtin.NAME}))
