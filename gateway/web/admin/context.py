"""The request of the admin REST that is being served: who sent it, and about which organization and connection."""

from __future__ import annotations

from dataclasses import dataclass

from flask import g, request

from gateway.scim.errors import Forbidden
from gateway.store.records import AdminTokenRecord
from gateway.web.tenant_request import TenantRequest

#: Where the paths of the admin REST begin.
PREFIX = "/admin/v1"


@dataclass
class AdminRequest(TenantRequest):
    """A request of the admin REST whose token is valid."""

    #: The stored token that was presented; None for the configured one, which has no limits.
    token: AdminTokenRecord | None = None

    @property
    def only_organization(self) -> int | None:
        """Key of the only organization that the token opens; None for an operator's, which opens all."""
        return self.token.organization_id if self.token else None

    @property
    def if_match(self) -> str | None:
        """The version that the admin knows."""
        return request.headers.get("If-Match")

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
