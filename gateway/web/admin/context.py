"""The request of the admin REST that is being served: who sent it, and about which organization and connection."""

from __future__ import annotations

from dataclasses import dataclass

from flask import g, request

from gateway.provisioning import Caller, IdpCaller, Provisioning, Target, Trace
from gateway.scim.errors import Forbidden
from gateway.store.records import (
    AdminTokenRecord,
    ConnectionRecord,
    OrganizationRecord,
)
from gateway.web.errors import current_http_request
from gateway.web.scim.authentication import public_url

#: Where the paths of the admin REST begin.
PREFIX = "/admin/v1"


@dataclass
class AdminRequest:
    """A request whose token is valid, and the activity record that it will leave."""

    gateway: Provisioning
    trace: Trace
    #: The stored token that was presented; None for the configured one, which has no limits.
    token: AdminTokenRecord | None = None
    found_organization: OrganizationRecord | None = None
    found_connection: ConnectionRecord | None = None

    @property
    def only_organization(self) -> int | None:
        """Key of the only organization that the token opens; None for an operator's, which opens all."""
        return self.token.organization_id if self.token else None

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

    @property
    def if_match(self) -> str | None:
        """The version that the admin knows."""
        return request.headers.get("If-Match")

    def resolve_organization(self, uid: str) -> None:
        """Look up the organization in the URL. Raises NotFound, also where the token opens another."""
        found = self.found_organization = self.gateway.queries.organization(uid, self.only_organization)
        self.trace.organization_id = found.id
        self.trace.target = Target("Organization", found.uid, found.name)

    def resolve_connection(self, uid: str) -> None:
        """Look up the connection in the URL. Raises NotFound, also where the token opens another organization."""
        found = self.gateway.queries.connection(uid, self.only_organization)
        self.found_connection, self.found_organization = found
        self.trace.organization_id, self.trace.connection_uid = found[1].id, found[0].uid
        self.trace.target = Target("Connection", found[0].uid, found[0].name)

    def require_operator(self, what: str) -> None:
        """Refuse a token of an organization; `what` ends the sentence. Raises Forbidden."""
        if self.only_organization is not None:
            raise Forbidden(
                f"Only an operator of the application can {what}; this token opens one organization."
            )


def current_request() -> AdminRequest:
    """Return the request of the admin REST that this thread serves."""
    admin_request: AdminRequest = g.admin_request
    return admin_request
