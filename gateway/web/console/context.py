"""The request of the console that is being served: whose session it is, and about which organization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import g, request

from gateway.provisioning.console_access import OPERATE, Session
from gateway.web.tenant_request import TenantRequest


@dataclass
class ConsoleRequest(TenantRequest):
    """A request of a browser that is signed in."""

    session: Session | None = None

    @property
    def signed_in(self) -> Session:
        """The session."""
        assert self.session is not None
        return self.session

    @property
    def only_organization(self) -> int | None:
        """Key of the only organization that the session opens; None for an operator's, which opens all."""
        return self.signed_in.only_organization

    def take(self, name: str) -> list[Any]:
        """Return what an action left for this page, once, and for HEAD nothing: its answer shows nothing."""
        if request.method == "HEAD":
            return []
        return self.gateway.console_access.take(self.signed_in, name)

    def may(self, right: str) -> bool:
        """Return whether the session has a right."""
        return right in self.signed_in.rights

    @property
    def is_operator(self) -> bool:
        """Whether the session is an operator's, who may change nothing if the token only reads."""
        return self.only_organization is None

    @property
    def operates(self) -> bool:
        """Whether the session may do what only operators do."""
        return self.may(OPERATE)


def current_request() -> ConsoleRequest:
    """Return the request of the console that this thread serves."""
    console_request: ConsoleRequest = g.console_request
    return console_request
