"""The sentences of this plugin's refusals, which the admin of an identity provider reads word for word.

Each says who can do what about it, and where. The same question always has the same sentence.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway import Billing, Organization, SeatRequest


def over_capacity(organization: Organization, limit: int, request: SeatRequest) -> str:
    """Return why another active user was refused, and how to get a seat for it.

    It has no number of seats in use: many requests arrive together, and a number that was read before the refusal
    may have changed. The sentence is true also where the limit was lowered below the use.
    """
    parts = [_seats(organization.name, limit, request.seats), _nobody(request), _more_seats(organization)]
    return "You're over capacity: " + " ".join(part for part in parts if part)


def plan_without_scim(organization: Organization, names: Sequence[str]) -> str:
    """Return why an organization may not use SCIM, and who can change that."""
    return (
        f"{organization.name} is on the {organization.plan} plan, "
        f"and provisioning by SCIM is part of the {_choice(names)}. {_another_plan(organization)}"
    )


def _seats(name: str, limit: int, wanted: int) -> str:
    if limit <= 0:
        return f"{name} has no seats."
    if wanted > 1:
        return f"{name} has {_count(limit)}, and fewer than {wanted} of them are free."
    if limit == 1:
        return f"{name} has 1 seat and it is in use."
    return f"{name} has {limit} seats and all of them are in use."


def _nobody(request: SeatRequest) -> str:
    return f"No seat was left for {request.user_name}." if request.user_name else ""


def _more_seats(organization: Organization) -> str:
    billing = organization.billing
    if billing.payment == "invoice":
        mend = f"{organization.name} pays by invoice: to get more seats, {_support(billing)}"
    else:
        mend = f"{organization.name} pays by card: add seats on {_billing_page(billing)}"
    return f"{mend} and, once the seats are there, retry the assignment in your identity provider."


def _another_plan(organization: Organization) -> str:
    billing = organization.billing
    if billing.payment == "invoice":
        return f"{organization.name} pays by invoice: to change the plan, {_support(billing)}."
    return f"The owner of {organization.name} can change the plan on {_billing_page(billing)} by card."


def _support(billing: Billing) -> str:
    return "contact support by opening a new request" + _at(billing.contact_url)


def _billing_page(billing: Billing) -> str:
    return "the Billing page" + _at(billing.billing_url)


def _at(url: str) -> str:
    return f" at {url}" if url else ""


def _count(seats: int) -> str:
    return "1 seat" if seats == 1 else f"{seats} seats"


def _choice(names: Sequence[str]) -> str:
    *others, last = names
    listed = f"{', '.join(others)} or {last}" if others else last
    return f"{listed} plan"
