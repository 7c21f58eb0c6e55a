"""Setup links, for operators: make one, copy it with a text for a mail, see when it was opened, revoke it."""

from __future__ import annotations

from typing import Any

from flask import request as http_request

from gateway.provisioning.console_access import OPERATE, SETUP_RIGHTS
from gateway.scim.errors import InvalidValue
from gateway.store.ids_and_time import now
from gateway.web.console.blueprint import blueprint, see
from gateway.web.console.context import current_request
from gateway.web.console.forms import EMAIL, read_form
from gateway.web.console.rendering import render

#: Hours that a link can be opened, and how that is said.
HOURS = (("24", "1 day"), ("120", "5 days"), ("720", "30 days"))
RIGHTS = (("sso", "Single sign-on"), ("connections", "Connections and tokens"), ("mapping", "Map to groups"))
_SHOWN = 200


@blueprint.page("/console/organizations/<organization>/setup-links", operator=True)
def show_setup_links() -> str:
    """Show the setup links of an organization, and the URL of one that was just made."""
    request = current_request()
    access = request.gateway.console_access
    links = access.setup_links(request.organization, 0, _SHOWN)
    made = request.take(f"setup link {request.organization.uid}")
    moment = now()
    rows = [(link, link.state(moment)) for link in reversed(links)]
    return render("setup_links.html", links=rows, made=made, hours=HOURS, rights=RIGHTS)


@blueprint.action(
    "/console/organizations/<organization>/setup-links",
    operation="POST /organizations/{organization}/setup-links",
    needs=OPERATE,
    operator=True,
)
def make_setup_link() -> Any:
    """Make a setup link; its URL is shown once, on the page that follows."""
    request = current_request()
    values = read_form({"email": EMAIL})
    rights = [right for right in SETUP_RIGHTS if right in http_request.form.getlist("rights")]
    hours = http_request.form.get("hours", "")
    if not rights or hours not in dict(HOURS):
        raise InvalidValue("Choose at least one thing that the link allows, and how long it can be opened.")
    access = request.gateway.console_access
    link, secret = access.add_setup_link(
        request.caller, values["email"] or None, rights, int(hours), request.trace,
        request.signed_in.record.token_expires,
    )  # fmt: skip
    left = {"url": request.link_url(secret), "email": link.email, "expires": link.expires}
    access.leave(request.signed_in, f"setup link {request.organization.uid}", left)
    return see("show_setup_links")


@blueprint.action(
    "/console/organizations/<organization>/setup-links/<link>/revoke",
    operation="DELETE /organizations/{organization}/setup-links/{link}",
    needs=OPERATE,
    operator=True,
)
def revoke_setup_link(link: str) -> Any:
    """Revoke a setup link; the session that it opened ends."""
    request = current_request()
    request.gateway.console_access.revoke_setup_link(request.caller, link, request.trace)
    return see("show_setup_links", "The link is revoked, and the session that it opened has ended.")
