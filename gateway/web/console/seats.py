"""Seats: how many are in use, who waits for one, and where to retry once there are more."""

from __future__ import annotations

from typing import Any

import flask

from gateway.provisioning.console_access import OPERATE
from gateway.scim.errors import Refusal
from gateway.web.console.blueprint import blueprint, note_refusal, see
from gateway.web.console.charts import seats_chart
from gateway.web.console.context import current_request
from gateway.web.console.forms import Problem
from gateway.web.console.organizations import seat_limit_of
from gateway.web.console.rendering import render, safe_url

#: People who wait that are listed, and days of the chart.
_LISTED, _DAYS = 100, 30


@blueprint.page("/console/organizations/<organization>/seats")
def show_seats() -> Any:
    """Show the seats of an organization."""
    return _seats_page()


@blueprint.action(
    "/console/organizations/<organization>/seats",
    operation="PATCH /organizations/{organization}",
    needs=OPERATE,
)
def change_seats() -> Any:
    """Change the number of seats, as an operator."""
    request = current_request()
    try:
        limit = seat_limit_of(flask.request.form.get("seats", "").strip())
        request.gateway.setup.edit_organization(request.caller, {"seat_limit": limit}, request.trace)
    except Refusal as refusal:
        return _seats_page(Problem(note_refusal(refusal), flask.request.form))
    return see("show_seats", "There is no limit now." if limit is None else f"There are {limit:,} seats now.")


def _seats_page(problem: Problem | None = None) -> Any:
    request = current_request()
    gateway, organization = request.gateway, request.organization
    queue = gateway.seat_queues.of(organization)
    billing = gateway.callers.tenant(organization).billing
    by_invoice = billing.payment == "invoice"
    page = render(
        "seats.html",
        enforced=gateway.queries.seat_limit(organization)[0],
        queue=queue,
        listed=queue.people[:_LISTED],
        by_invoice=by_invoice,
        billing_url=safe_url(billing.contact_url if by_invoice else billing.billing_url),
        chart=seats_chart(gateway.history.seats_by_day(organization, _DAYS)),
        problem=problem,
    )
    return page, problem.refusal.status if problem else 200
