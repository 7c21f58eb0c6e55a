"""Links that open the console: for a stranger who sets it up, and for somebody whom the application has signed in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.store.ids_and_time import now, rfc3339
from gateway.store.records import ConsoleLinkRecord
from gateway.web.admin.blueprint import Blueprint
from gateway.web.admin.context import AdminRequest, current_request
from gateway.web.admin.pagination import Pagination
from gateway.web.admin.schemas import console_links as schemas

blueprint = Blueprint("console-links", "Links that open the console in a browser, each of them once.")

_PATH = "/organizations/<organization>/setup-links"


def setup_link_json(link: ConsoleLinkRecord) -> dict[str, Any]:
    """Return a setup link without its URL, which is shown once."""
    return {
        "id": link.uid,
        "email": link.email,
        "rights": link.right_names,
        "state": link.state(now()),
        "created_at": rfc3339(link.created),
        "created_by": link.created_by,
        "expires_at": rfc3339(link.expires),
        "used_at": None if link.used is None else rfc3339(link.used),
        "used_from": link.used_from,
    }


def _links_json(_: AdminRequest, links: Sequence[ConsoleLinkRecord]) -> list[dict[str, Any]]:
    return [setup_link_json(link) for link in links]


@blueprint.route(_PATH, methods=["POST"])
@blueprint.arguments(schemas.SetupLinkRequest)
@blueprint.response(201, schemas.NewSetupLink)
def add_setup_link(values: dict[str, Any]) -> Any:
    """Make a link for the customer's IT admin. Its URL is shown this once, and opens the console once."""
    request = current_request()
    link, secret = request.gateway.console_access.add_setup_link(
        request.caller,
        values.get("email"),
        values["rights"],
        values["expires_in_hours"],
        request.trace,
        request.token and request.token.expires,
    )
    return setup_link_json(link) | {"url": request.link_url(secret)}


@blueprint.route(_PATH)
@blueprint.paginate(schemas.SetupLink, _links_json)
def list_setup_links(pagination: Pagination) -> Any:
    """The setup links of an organization, without their URLs: who made them, and when they were opened."""
    request = current_request()
    return request.gateway.console_access.setup_links(
        request.organization, pagination.after, pagination.fetch
    )


@blueprint.route(f"{_PATH}/<link>", methods=["DELETE"])
@blueprint.response(204)
def revoke_setup_link(link: str) -> None:
    """Revoke a setup link; the session that it opened ends at once."""
    request = current_request()
    request.gateway.console_access.revoke_setup_link(request.caller, link, request.trace)


@blueprint.route("/organizations/<organization>/console-links", methods=["POST"])
@blueprint.arguments(schemas.ConsoleLinkRequest)
@blueprint.response(201, schemas.ConsoleLink)
def add_console_link(values: dict[str, Any]) -> Any:
    """Make a link for somebody who is signed in to the application: redirect the browser to it within five minutes."""
    request = current_request()
    link, secret = request.gateway.console_access.add_console_link(
        request.caller,
        values["person"],
        values["role"],
        values.get("return_url"),
        request.trace,
        request.token and request.token.expires,
    )
    return {"url": request.link_url(secret), "expires_at": rfc3339(link.expires)}
