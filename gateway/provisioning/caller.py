"""Callers of operations: an identity provider's connection, or an admin."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gateway.config import Config
from gateway.plugin.contracts import Billing, Connection, Organization, Seats
from gateway.plugin.declarations import KeptAttributes
from gateway.plugin.json_values import freeze
from gateway.plugin.manager import PluginManager
from gateway.provisioning.safety.settings import Brake, Pause, read_brake, read_pause
from gateway.store.records import ConnectionRecord, OrganizationRecord

#: What stands between the public URL and the slug of a connection in its base URL.
BASE_PATH = "/scim/v2"


def console_path(organization_uid: str, page: str) -> str:
    """Return the path of a page of the console; `page` is its path below that of the organization."""
    return f"/console/organizations/{organization_uid}/{page}"


@dataclass(frozen=True)
class Caller:
    """An admin of an organization, or an operator who acts in it; `tenant` is the organization as plugins see it."""

    organization: OrganizationRecord
    tenant: Organization
    connection: ConnectionRecord | None

    @property
    def connection_id(self) -> int | None:
        """The key of the connection; None for an admin."""
        return self.connection.id if self.connection else None

    @property
    def connection_uid(self) -> str | None:
        """The public id of the connection; None for an admin."""
        return self.connection.uid if self.connection else None


@dataclass(frozen=True)
class IdpCaller(Caller):
    """An identity provider: its connection, as stored and as plugins see it, and the attributes that it keeps."""

    connection: ConnectionRecord
    words: Connection
    kept: KeptAttributes
    #: What its base URL begins with.
    public_url: str
    #: How many removals it may make; None for any number.
    brake: Brake | None = None
    #: Its pause, which may be over.
    pause: Pause | None = None
    #: The `Retry-After` of a change that waits for an admin, in seconds.
    waiting_seconds: int = 900

    def console_url(self, page: str) -> str:
        """Return the URL of a page of the console, `page` below that of the organization, where an admin decides."""
        return f"{self.public_url}{console_path(self.organization.uid, page)}"


class Callers:
    """Builds callers from stored records."""

    def __init__(self, config: Config, plugins: PluginManager) -> None:
        self._config, self._plugins = config, plugins
        self._settings = lru_cache(maxsize=1024)(_parsed)
        self._kept: dict[tuple[str, str], KeptAttributes] = {}
        # Made of what is stored alone, so as long as that stands the same caller serves every request.
        self._known = lru_cache(maxsize=256)(self._caller)

    def tenant(self, organization: OrganizationRecord) -> Organization:
        """Return an organization as plugins see it."""
        config = self._config
        return Organization(
            id=organization.uid,
            name=organization.name,
            plan=organization.plan,
            sso=organization.sso is not None,
            seats=Seats(organization.seat_limit, organization.seats_used),
            billing=Billing(
                "card" if organization.payment == "card" else "invoice",
                organization.billing_url or config.billing_url,
                organization.contact_url or config.contact_url,
            ),
            domains=tuple(json.loads(organization.domains)) if organization.domains != "[]" else (),
        )

    def words(
        self, connection: ConnectionRecord, organization: OrganizationRecord, public_url: str
    ) -> Connection:
        """Return a connection as plugins see it."""
        return Connection(
            id=connection.uid,
            slug=connection.slug,
            idp=connection.idp,
            name=connection.name,
            organization=self.tenant(organization),
            settings=self._settings(connection.settings),
            base_url=f"{public_url}{BASE_PATH}/{connection.slug}",
            extension_urn=self._config.extension_urn,
            mapping_attribute=connection.mapping_attribute if connection.mapping_enabled else None,
        )

    def admin(self, organization: OrganizationRecord, connection: ConnectionRecord | None = None) -> Caller:
        """Return an admin of an organization, or an operator who acts in it; for `connection` where one is given."""
        return Caller(organization, self.tenant(organization), connection)

    def connection(
        self, connection: ConnectionRecord, organization: OrganizationRecord, public_url: str
    ) -> IdpCaller:
        """Return an identity provider. Raises Unavailable where its plugin is missing or fails."""
        return self._known(connection, organization, public_url)

    def _caller(
        self, connection: ConnectionRecord, organization: OrganizationRecord, public_url: str
    ) -> IdpCaller:
        words = self.words(connection, organization, public_url)
        kept = self._keeps(connection, words)
        declaration = self._plugins.declared.of(connection.idp)
        return IdpCaller(
            organization, words.organization, connection, words, kept, public_url,
            read_brake(connection.brake), read_pause(connection.pause),
            declaration.waiting_seconds if declaration else 900,
        )  # fmt: skip

    def _keeps(self, connection: ConnectionRecord, words: Connection) -> KeptAttributes:
        """Return what a connection keeps: it depends on plugin and settings alone, so it is computed once."""
        kept = self._kept.get((connection.idp, connection.settings))
        if kept is None:
            if len(self._kept) > 1024:
                self._kept.clear()
            kept = self._kept[connection.idp, connection.settings] = self._plugins.declared.kept(words)
        return kept


def _parsed(settings: str) -> Mapping[str, Any]:
    return freeze(json.loads(settings))  # type: ignore[no-any-return]
