"""Domains of an organization, each verified by a record in the DNS or by an operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from marshmallow import Schema, fields, validate

from gateway.provisioning.domains.records import host_of, value_of
from gateway.provisioning.domains.states import DOMAIN_STATES
from gateway.store.ids_and_time import rfc3339
from gateway.store.records import DomainRecord
from gateway.web.admin.blueprint import Blueprint
from gateway.web.admin.context import AdminRequest, current_request
from gateway.web.admin.pagination import Pagination
from gateway.web.text_fields import Name

blueprint = Blueprint("domains", "Domains that an organization has proven to hold.")

_PATH = "/organizations/<organization>/domains"


class NewDomain(Schema):
    """What is sent to add a domain."""

    name = Name(253, required=True, metadata={"description": "As in acme.test; A-labels or Unicode."})


class DnsRecord(Schema):
    """The record that verifies a domain."""

    type = fields.String()
    host = fields.String()
    value = fields.String()


class Domain(Schema):
    """A domain as it is shown."""

    name = fields.String(metadata={"description": "In A-labels."})
    state = fields.String(
        validate=validate.OneOf(DOMAIN_STATES),
        metadata={"description": "lost: its record has been missing for 7 days; after 30 it is unverified."},
    )
    verified_by = fields.String(allow_none=True, validate=validate.OneOf(("dns", "operator")))
    verified_at = fields.String(allow_none=True, metadata={"format": "date-time"})
    checked_at = fields.String(allow_none=True, metadata={"format": "date-time"})
    lost_since = fields.String(
        allow_none=True, metadata={"format": "date-time", "description": "When its record was first missing."}
    )
    problem = fields.String(allow_none=True, metadata={"description": "What the last check found instead."})
    record = fields.Nested(DnsRecord, metadata={"description": "What has to be put into the DNS."})
    created_at = fields.String(metadata={"format": "date-time"})


def _time(moment: int | None) -> str | None:
    return rfc3339(moment) if moment else None


def _domain_json(domain: DomainRecord) -> dict[str, Any]:
    return {
        "name": domain.name,
        "state": domain.state,
        "verified_by": domain.verified_by,
        "verified_at": _time(domain.verified),
        "checked_at": _time(domain.checked),
        "lost_since": _time(domain.lost_since),
        "problem": domain.problem,
        "record": {"type": "TXT", "host": host_of(domain), "value": value_of(domain)},
        "created_at": rfc3339(domain.created),
    }


def _domains_json(_: AdminRequest, domains: Sequence[DomainRecord]) -> list[dict[str, Any]]:
    return [_domain_json(domain) for domain in domains]


@blueprint.route(_PATH, methods=["POST"])
@blueprint.arguments(NewDomain)
@blueprint.response(201, Domain)
def add_domain(values: dict[str, str]) -> Any:
    """Add a domain. It is verified by a check that finds its record in the DNS."""
    request = current_request()
    added = request.gateway.domain_verification.add(request.caller, values["name"], request.trace)
    return _domain_json(added)


@blueprint.route(_PATH)
@blueprint.paginate(Domain, _domains_json)
def list_domains(pagination: Pagination) -> Any:
    """Domains in the order of making: the state of each, and the record that it needs."""
    request = current_request()
    return request.gateway.domain_verification.page(request.organization, pagination.after, pagination.fetch)


@blueprint.route(f"{_PATH}/<name>", methods=["DELETE"])
@blueprint.response(204)
def remove_domain(name: str) -> None:
    """Remove a domain. Addresses in it are outside of the verified domains from then on."""
    request = current_request()
    request.gateway.domain_verification.remove(request.caller, name, request.trace)


@blueprint.route(f"{_PATH}/<name>/check", methods=["POST"], expensive=True)
@blueprint.response(200, Domain)
def check_domain(name: str) -> Any:
    """Look up the record of a domain now; it takes 5 seconds at most. `problem` says what was found instead."""
    request = current_request()
    request.trace.status = 200
    return _domain_json(request.gateway.domain_verification.check(request.caller, name, request.trace))


@blueprint.route(f"{_PATH}/<name>/verify", methods=["POST"])
@blueprint.response(200, Domain)
def verify_domain(name: str) -> Any:
    """Mark a domain as verified without a record, as an operator, who knows whose it is."""
    request = current_request()
    request.gateway.domain_verification.find(request.organization, name)
    request.require_operator("mark a domain as verified")
    request.trace.status = 200
    return _domain_json(request.gateway.domain_verification.verify(request.caller, name, request.trace))
