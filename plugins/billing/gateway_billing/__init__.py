"""Billing for the provisioning gateway: which plans have SCIM, and how many seats an organization may use.

Only the hooks are here; the sentences are in `wording`, the setting in `plans`.
"""

from __future__ import annotations

import logging

from gateway import Declaration, Event, Organization, SeatRequest, SeatVerdict, Verdict, hookimpl
from gateway_billing import plans, wording

log = logging.getLogger("gateway.billing")

#: Changes after which an active user holds a seat that it did not hold before.
TAKES_A_SEAT = frozenset({"user.created", "user.reactivated", "user.restored"})


@hookimpl
def gateway_declare() -> Declaration:
    return Declaration(title="Billing")


@hookimpl
def gateway_check_entitlement(organization: Organization, feature: str) -> Verdict | None:
    if feature != "scim":
        return None
    with_scim = plans.with_scim()
    if plans.has_scim(organization.plan, with_scim):
        return Verdict(allowed=True)
    return Verdict(allowed=False, sentence=wording.plan_without_scim(organization, with_scim))


@hookimpl
def gateway_check_seats(organization: Organization, request: SeatRequest) -> SeatVerdict | None:
    limit = organization.seats.limit
    if limit is None:
        return None
    return SeatVerdict(ceiling=limit, sentence=wording.over_capacity(organization, limit, request))


@hookimpl
def gateway_provisioned(event: Event) -> None:
    """Warn the operator while there is still time to sell seats: from nine tenths of them on."""
    seats = event.organization.seats
    if seats.limit is None or not _took_a_seat(event):
        return
    if seats.used * 10 >= seats.limit * 9:
        log.warning(
            "%s uses %d of %d seats and pays by %s",
            event.organization.name,
            seats.used,
            seats.limit,
            event.organization.billing.payment,
        )


def _took_a_seat(event: Event) -> bool:
    return event.type in TAKES_A_SEAT and event.data.get("active") is True
