"""The start: an operator's list of organizations; everybody else is led to the organization of the session."""

from __future__ import annotations

from typing import Any

from flask import redirect, request
from marshmallow import fields, validate

from gateway.provisioning.console_access import OPERATE
from gateway.scim.errors import InvalidValue
from gateway.web.console.blueprint import blueprint, see
from gateway.web.console.context import current_request
from gateway.web.console.entry import enter_path, show_sign_in
from gateway.web.console.forms import NAME, read_form
from gateway.web.console.rendering import render
from gateway.web.text_fields import Name

#: Organizations on a page, and of those that need attention.
_PAGE, _FAILING = 50, 20
_HOURS = 24
_MOST_SEATS = 1_000_000_000


@blueprint.page("/console/", signed_in=False)
def show_start() -> Any:
    """Show the organizations to an operator, the sign-in page to a browser that is not signed in."""
    session = current_request().session
    if session is None:
        return show_sign_in()
    if session.only_organization is not None:
        return redirect(enter_path(session), 303)
    gateway = current_request().gateway
    text, after = request.args.get("q", "")[:200], request.args.get("after", "0")
    start = int(after) if after.isdecimal() and len(after) < 16 else 0
    rows = gateway.queries.organizations(None, text, start, _PAGE + 1)
    # Those that fail come first, and only where the list begins.
    failing = () if text or start else gateway.history.failing_organizations(_HOURS, _FAILING)
    following = rows[_PAGE - 1].id if len(rows) > _PAGE else None
    found = [(row, None) for row in rows[:_PAGE]]
    return render("organizations.html", organizations=found, failing=failing, following=following, q=text)


@blueprint.action("/console/organizations", operation="POST /organizations", needs=OPERATE, operator=True)
def make_organization() -> Any:
    """Make an organization and lead to it."""
    console_request = current_request()
    payment = fields.String(validate=validate.OneOf(("invoice", "card")))
    values = read_form({"name": NAME, "plan": Name(60), "payment": payment, "seats": fields.String()})
    values["seat_limit"] = seat_limit_of(values.pop("seats"))
    defaults: dict[str, Any] = {"domains": [], "billing_url": None, "contact_url": None}
    made = console_request.gateway.setup.add_organization(defaults | values, console_request.trace)
    return see(
        "show_home", f"{made.name} is made. Next, send its IT admin a setup link.", organization=made.uid
    )


def seat_limit_of(text: str) -> int | None:
    """Return the number of seats in a field; None, for no limit, where it is empty. Raises InvalidValue."""
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 12 or int(text) > _MOST_SEATS:
        raise InvalidValue(
            f"Seats: {text[:20]!r} is no whole number from 0 to {_MOST_SEATS}. Empty means no limit."
        )
    return int(text)
