"""Billing for the provisioning gateway: which plans have SCIM, and how many seats an organization may use.

The hook implementations; `wording` has the sentences of refusals, `plans` the setting.
"""

from __future__ import annotations

import logging

from gateway import Declaration, Event, Organization, SeatRequest, SeatVerdict, Verdict, hookimpl
from gateway_billing import plans, wording

log = logging.getLogger("gateway.billing")

#: Events after which an active user may hold a seat that it did not hold before.
SEAT_EVENTS = frozenset({"user.created", "user.reactivated", "user.restored"})


@hookimpl
def gateway_declare() -> Declaration:
    return Declaration(title="Billing")


@hookimpl
def gateway_check_entitlement(organization: Organization, feature: str) -> Verdict | None:
    if feature != "scim":
        return None
    names = plans.plans_with_scim()
    if plans.has_scim(organization.plan, names):
        return Verdict(allowed=True)
    return Verdict(allowed=False, sentence=wording.plan_without_scim(organization, names))


@hookimpl
def gateway_check_seats(organization: Organization, request: SeatRequest) -> SeatVerdict | None:
    limit = organization.seats.limit
    if limit is None:
        return None
    return SeatVerdict(ceiling=limit, sentence=wording.over_capacity(organization, limit, request))


@hookimpl
def gateway_provisioned(event: Event) -> None:
    """Log a warning to the operator once nine tenths of the seats are in use: there is time to sell more."""
    seats = event.organization.seats
    if seats.limit is None or not _takes_seat(event):
        return
    if seats.used * 10 >= seats.limit * 9:
        log.warning(
            "%s uses %d of %d seats and pays by %s",
            event.organization.name,
            seats.used,
            seats.limit,
            event.organization.billing.payment,
        )


def _takes_seat(event: Event) -> bool:
    return event.type in SEAT_EVENTS and event.data.get("active") is True
