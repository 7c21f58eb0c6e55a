"""Organizations and their single sign-on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.scim.documents import fold
from gateway.scim.errors import NotFound
from gateway.store.ids_and_time import rfc3339
from gateway.store.records import OrganizationRecord
from gateway.web.admin import schemas
from gateway.web.admin.auth import AdminRequest, Resource, here, tagged, versioned
from gateway.web.admin.parsing import page

blueprint = Resource("organizations", "Customers of the application, and their single sign-on.")

_DEFAULTS: dict[str, Any] = {
    "plan": "standard",
    "domains": [],
    "seat_limit": None,
    "payment": "invoice",
    "billing_url": None,
    "contact_url": None,
}
#: What an organization buys is decided by who sells it.
_SOLD = ("plan", "seats", "billing")


@blueprint.route("/organizations", methods=["POST"])
@blueprint.arguments(schemas.NewOrganization)
@blueprint.response(201, schemas.Organization)
def add_organization(values: dict[str, Any]) -> Any:
    """Make an organization."""
    visit = here()
    visit.only_an_operator("make organizations")
    added = visit.gateway.setup.add_organization(_DEFAULTS | _columns(values), visit.trace)
    return tagged(_shown(visit, added), added)


@blueprint.route("/organizations")
@blueprint.arguments(schemas.OrganizationsAsked, location="query")
@blueprint.response(200, schemas.page_of(schemas.Organization))
def list_organizations(asked: dict[str, Any]) -> Any:
    """All organizations that the token opens, in the order of making; with `q` those whose name holds it."""
    visit, store = here(), here().gateway.store.organizations
    if visit.only_organization is None and asked["q"]:
        rows = store.found(asked["q"], asked["after"], asked["limit"] + 1)
    elif visit.only_organization is None:
        rows = store.page(asked["after"], asked["limit"] + 1)
    else:
        own = store.by_key(visit.only_organization)
        there = own.id > asked["after"] and fold(asked["q"]) in fold(own.name)
        rows = [own] if there or asked["q"] == own.uid else []
    return page(rows, asked["limit"], lambda shown: [_shown(visit, row) for row in shown])


@blueprint.route("/organizations/<organization>")
@blueprint.response(200, schemas.Organization)
def read_organization() -> Any:
    """An organization."""
    visit = here()
    return tagged(_shown(visit, visit.organization), visit.organization)


@blueprint.route("/organizations/<organization>", methods=["PATCH"])
@blueprint.arguments(schemas.OrganizationChange)
@blueprint.response(200, schemas.Organization)
@versioned
def change_organization(values: dict[str, Any]) -> Any:
    """Change what is named, also within `seats` and `billing`. Plan, seats and billing are an operator's to change."""
    visit = here()
    if any(name in values for name in _SOLD):
        visit.only_an_operator("change plan, seats and billing")
    setup = visit.gateway.setup
    edited = setup.edit_organization(visit.caller, _columns(values), visit.trace, visit.if_match)
    return tagged(_shown(visit, edited), edited)


@blueprint.route("/organizations/<organization>", methods=["DELETE"])
@blueprint.response(204)
@versioned
def remove_organization() -> None:
    """Remove an organization with everything that is in it, its activity and events too."""
    visit = here()
    visit.only_an_operator("remove organizations")
    visit.gateway.setup.remove_organization(visit.caller, visit.trace, visit.if_match)


@blueprint.route("/organizations/<organization>/sso", methods=["PUT"])
@blueprint.arguments(schemas.Metadata)
@blueprint.response(200, schemas.Sso)
def set_sso(values: dict[str, str]) -> Any:
    """Set up single sign-on from the identity provider's SAML metadata. XML that is unsafe or broken is refused."""
    visit = here()
    return visit.gateway.setup.set_sso(visit.caller, values["metadata_xml"], visit.trace)


@blueprint.route("/organizations/<organization>/sso")
@blueprint.response(200, schemas.Sso)
def read_sso() -> Any:
    """How single sign-on is set up; 404 before it is."""
    return _sso(here())


@blueprint.route("/organizations/<organization>/sso", methods=["DELETE"])
@blueprint.response(204)
def remove_sso() -> None:
    """Take single sign-on away. Provisioning is refused from then on."""
    visit = here()
    _sso(visit)
    visit.gateway.setup.remove_sso(visit.caller, visit.trace)


def _sso(visit: AdminRequest) -> dict[str, Any]:
    values = visit.organization.sso_values
    if values is None:
        raise NotFound(f"Single sign-on is not set up for {visit.organization.name}.")
    return values


def _columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was sent, flat as it is stored."""
    flat = {name: values[name] for name in ("name", "plan") if name in values}
    if "domains" in values:
        flat["domains"] = _domains(values["domains"])
    if "limit" in values.get("seats", {}):
        flat["seat_limit"] = values["seats"]["limit"]
    return flat | values.get("billing", {})


def _domains(given: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(domain.lower() for domain in given))


def seats_of(organization: OrganizationRecord) -> dict[str, int | None]:
    """`limit`, `used`, `available`."""
    limit, used = organization.seat_limit, organization.seats_used
    return {"limit": limit, "used": used, "available": None if limit is None else max(0, limit - used)}


def _shown(visit: AdminRequest, organization: OrganizationRecord) -> dict[str, Any]:
    billing = visit.gateway.callers.tenant(organization).billing
    return {
        "id": organization.uid,
        "name": organization.name,
        "plan": organization.plan,
        "domains": json.loads(organization.domains),
        "seats": seats_of(organization),
        "billing": {
            "payment": billing.payment,
            "billing_url": billing.billing_url,
            "contact_url": billing.contact_url,
        },
        "sso": organization.sso_values,
        "created_at": rfc3339(organization.created),
        "updated_at": rfc3339(organization.modified),
    }
