"""A request about an organization, of the admin REST or of the console: what is in its URL, and who acts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from gateway.provisioning import Caller, IdpCaller, Provisioning, Target, Trace
from gateway.scim.errors import NotFound
from gateway.scim.json_text import excerpt
from gateway.store.records import ConnectionRecord, OrganizationRecord
from gateway.web.errors import current_http_request
from gateway.web.scim.authentication import public_url


@dataclass
class TenantRequest(ABC):
    """A request whose sender is known, and the activity record that it will leave."""

    gateway: Provisioning
    trace: Trace
    found_organization: OrganizationRecord | None = None
    found_connection: ConnectionRecord | None = None

    @property
    @abstractmethod
    def only_organization(self) -> int | None:
        """Key of the only organization that the sender may open; None for an operator, who opens all."""

    @property
    def organization(self) -> OrganizationRecord:
        """The organization in the URL."""
        assert self.found_organization is not None
        return self.found_organization

    @property
    def connection(self) -> ConnectionRecord:
        """The connection in the URL."""
        assert self.found_connection is not None
        return self.found_connection

    @property
    def caller(self) -> Caller:
        """The admin, for operations on the organization."""
        return self.gateway.callers.admin(self.organization)

    @property
    def idp_caller(self) -> IdpCaller:
        """The connection, for operations that see what its identity provider sees."""
        return self.gateway.callers.connection(self.connection, self.organization, self.public_url)

    @property
    def public_url(self) -> str:
        """What base URLs begin with."""
        return public_url(current_http_request(), self.gateway.config)

    def link_url(self, secret: str) -> str:
        """Return the URL of a link; its secret is in the fragment, which browsers do not send."""
        return f"{self.public_url}/setup#{secret}"

    def resolve_organization(self, uid: str) -> None:
        """Look up the organization in the URL. Raises NotFound, also where the sender may open another one only."""
        found = self.found_organization = self.gateway.queries.organization(uid, self.only_organization)
        self.trace.organization_id = found.id
        self.trace.target = Target("Organization", found.uid, found.name)

    def resolve_connection(self, uid: str) -> None:
        """Look up the connection in the URL. Raises NotFound, also where the sender may open another organization."""
        found = self.gateway.queries.connection(uid, self.only_organization)
        if self.found_organization is not None and self.found_organization.id != found[1].id:
            raise NotFound(f"There is no connection with the id {excerpt(uid)} here.")
        self.found_connection, self.found_organization = found
        self.trace.organization_id, self.trace.connection_uid = found[1].id, found[0].uid
        self.trace.target = Target("Connection", found[0].uid, found[0].name)
