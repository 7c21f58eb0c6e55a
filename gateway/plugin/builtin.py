"""The core's own plugin: bearer tokens, documents as RFC 7643 has them, Map to groups.

Registered under the name `generic`, which is also the identity provider for everything that speaks plain SCIM.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.plugin.contracts import (
    Connection,
    Credentials,
    Declaration,
    GroupGrant,
    Principal,
    User,
)
from gateway.plugin.hookspecs import hookimpl
from gateway.plugin.kit import get
from gateway.scim.paths import parse_path
from gateway.scim.schemas import USER_URN
from gateway.store import Store

NAME = "generic"
_CORE = USER_URN.lower()


def _setup_steps(connection: Connection) -> list[str]:
    return [
        f"Enter {connection.base_url} as the base URL (also called tenant URL) of SCIM 2.0 provisioning at your"
        " identity provider.",
        "Make a token for this connection here, and enter it there as bearer token (also called secret token).",
        "Test the connection there, then switch on creating, updating and deactivating users.",
        f"To map people to groups, send the attribute `group` in the namespace {connection.extension_urn}.",
    ]


class BuiltinPlugin:
    """The default implementations. `PluginManager` calls them after the plugin of the identity provider."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @hookimpl
    def gateway_declare(self) -> Declaration:
        """Declare the generic identity provider."""
        return Declaration(title="Generic SCIM 2.0", idp=True, setup_steps=_setup_steps)

    @hookimpl
    def gateway_authenticate(self, connection: Connection, credentials: Credentials) -> Principal | None:
        """Authenticate by a bearer token of the connection."""
        return credentials.own if credentials.scheme in ("", "bearer") else None

    @hookimpl
    def gateway_resolve_groups(self, connection: Connection, user: User) -> Iterable[GroupGrant] | None:
        """Return the groups that the mapping rules give a user."""
        values = mapped_values(connection.mapping_attribute, user.document)
        return (
            [GroupGrant(group) for group in self._store.mapping_rules.groups_for(connection.id, values)]
            if values
            else None
        )


def mapped_values(attribute: str | None, document: Mapping[str, Any]) -> list[str]:
    """Return the texts at the attribute path that Map to groups reads; none where the path is None or leads nowhere."""
    if attribute is None:
        return []
    path = parse_path(attribute, tuple(key for key in document if key.lower().startswith("urn:")))
    holder = document if path.urn is None or path.urn.lower() == _CORE else get(document, path.urn)
    value = get(holder, path.name) if isinstance(holder, Mapping) else None
    if path.sub:
        entries = value if isinstance(value, list) else [value]
        value = [get(entry, path.sub) for entry in entries if isinstance(entry, Mapping)]
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]
