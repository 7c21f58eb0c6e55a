"""Organizations and their single sign-on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.scim.errors import NotFound
from gateway.store.ids_and_time import rfc3339
from gateway.store.records import OrganizationRecord
from gateway.web.admin.blueprint import Blueprint, accepts_if_match, with_etag
from gateway.web.admin.context import AdminRequest, current_request
from gateway.web.admin.pagination import Pagination
from gateway.web.admin.schemas import organizations as schemas

blueprint = Blueprint("organizations", "Customers of the application, and their single sign-on.")

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


def seats_json(organization: OrganizationRecord) -> dict[str, int | None]:
    """`limit`, `used`, `available`."""
    limit, used = organization.seat_limit, organization.seats_used
    return {"limit": limit, "used": used, "available": None if limit is None else max(0, limit - used)}


def _organization_json(request: AdminRequest, organization: OrganizationRecord) -> dict[str, Any]:
    billing = request.gateway.callers.tenant(organization).billing
    return {
        "id": organization.uid,
        "name": organization.name,
        "plan": organization.plan,
        "domains": json.loads(organization.domains),
        "outside_domains": organization.outside_domains,
        "seats": seats_json(organization),
        "billing": {
            "payment": billing.payment,
            "billing_url": billing.billing_url,
            "contact_url": billing.contact_url,
        },
        "sso": organization.sso_values,
        "legal_hold": bool(organization.legal_hold),
        "created_at": rfc3339(organization.created),
        "updated_at": rfc3339(organization.modified),
    }


def _organizations_json(
    request: AdminRequest, organizations: Sequence[OrganizationRecord]
) -> list[dict[str, Any]]:
    return [_organization_json(request, organization) for organization in organizations]


@blueprint.route("/organizations", methods=["POST"])
@blueprint.arguments(schemas.NewOrganization)
@blueprint.response(201, schemas.Organization)
def add_organization(values: dict[str, Any]) -> Any:
    """Make an organization."""
    request = current_request()
    request.require_operator("make organizations")
    added = request.gateway.setup.add_organization(_DEFAULTS | _columns(values), request.trace)
    return with_etag(_organization_json(request, added), added)


@blueprint.route("/organizations")
@blueprint.paginate(schemas.Organization, _organizations_json, schemas.OrganizationsQuery)
def list_organizations(pagination: Pagination) -> Any:
    """All organizations that the token opens, in the order of making; with `q` those whose name holds it."""
    request = current_request()
    return request.gateway.queries.organizations(
        request.only_organization, pagination.query["q"], pagination.after, pagination.fetch
    )


@blueprint.route("/organizations/<organization>")
@blueprint.response(200, schemas.Organization)
def read_organization() -> Any:
    """An organization."""
    request = current_request()
    return with_etag(_organization_json(request, request.organization), request.organization)


@blueprint.route("/organizations/<organization>", methods=["PATCH"])
@blueprint.arguments(schemas.OrganizationChange)
@blueprint.response(200, schemas.Organization)
@accepts_if_match
def change_organization(values: dict[str, Any]) -> Any:
    """Change what is named, also within `seats` and `billing`. Plan, seats and billing are an operator's to change."""
    request = current_request()
    if any(name in values for name in _SOLD):
        request.require_operator("change plan, seats and billing")
    if "legal_hold" in values:
        request.require_operator("begin and end a legal hold")
    setup = request.gateway.setup
    edited = setup.edit_organization(request.caller, _columns(values), request.trace, request.if_match)
    return with_etag(_organization_json(request, edited), edited)


@blueprint.route("/organizations/<organization>", methods=["DELETE"])
@blueprint.response(204)
@accepts_if_match
def remove_organization() -> None:
    """Remove an organization with everything that is in it, its activity and events too."""
    request = current_request()
    request.require_operator("remove organizations")
    request.gateway.setup.remove_organization(request.caller, request.trace, request.if_match)


@blueprint.route("/organizations/<organization>/sso", methods=["PUT"])
@blueprint.arguments(schemas.Metadata)
@blueprint.response(200, schemas.Sso)
def set_sso(values: dict[str, str]) -> Any:
    """Set up single sign-on from the identity provider's SAML metadata. XML that is unsafe or broken is refused."""
    request = current_request()
    return request.gateway.setup.set_sso(request.caller, values["metadata_xml"], request.trace)


@blueprint.route("/organizations/<organization>/sso")
@blueprint.response(200, schemas.Sso)
def read_sso() -> Any:
    """How single sign-on is set up; 404 before it is."""
    return _sso_values(current_request())


@blueprint.route("/organizations/<organization>/sso", methods=["DELETE"])
@blueprint.response(204)
def remove_sso() -> None:
    """Take single sign-on away. Provisioning is refused from then on."""
    request = current_request()
    _sso_values(request)
    request.gateway.setup.remove_sso(request.caller, request.trace)


def _sso_values(request: AdminRequest) -> dict[str, Any]:
    values = request.organization.sso_values
    if values is None:
        raise NotFound(f"Single sign-on is not set up for {request.organization.name}.")
    return values


def _columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was sent, flat as it is stored."""
    flat: dict[str, Any] = {
        name: values[name] for name in ("name", "plan", "outside_domains") if name in values
    }
    if "domains" in values:
        flat["domains"] = _domains(values["domains"])
    if "legal_hold" in values:
        flat["legal_hold"] = int(values["legal_hold"])
    if "limit" in values.get("seats", {}):
        flat["seat_limit"] = values["seats"]["limit"]
    return {**flat, **values.get("billing", {})}


def _domains(given: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(domain.lower() for domain in given))
