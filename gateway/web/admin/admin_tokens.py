"""Tokens of the admin REST itself: an operator's, for all organizations, and those of one organization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.store.ids_and_time import in_days, rfc3339
from gateway.store.records import AdminTokenRecord, OrganizationRecord
from gateway.web.admin.blueprint import Blueprint
from gateway.web.admin.context import AdminRequest, current_request
from gateway.web.admin.pagination import Pagination
from gateway.web.admin.schemas import tokens as schemas

blueprint = Blueprint("admin-tokens", "Tokens that open this REST: of operators, and of one organization.")


def _token_json(token: AdminTokenRecord, organization: str | None) -> dict[str, Any]:
    return {
        "id": token.uid,
        "name": token.name,
        "organization": organization,
        "scope": token.scope,
        "prefix": token.prefix,
        "expires_at": rfc3339(token.expires) if token.expires is not None else None,
        "created_at": rfc3339(token.created),
        "last_used_at": rfc3339(token.last_used) if token.last_used is not None else None,
    }


def _tokens_json(request: AdminRequest, tokens: Sequence[AdminTokenRecord]) -> list[dict[str, Any]]:
    names = request.gateway.queries.organization_names(token.organization_id for token in tokens)
    return [
        _token_json(token, names[token.organization_id]["id"] if token.organization_id in names else None)
        for token in tokens
    ]


@blueprint.route("/admin-tokens", methods=["POST"])
@blueprint.arguments(schemas.AdminTokenRequest)
@blueprint.response(201, schemas.NewAdminToken)
def add_operator_token(values: dict[str, Any]) -> Any:
    """Make a token that opens all organizations. For operators only."""
    request = current_request()
    request.require_operator("make tokens for all organizations")
    return _add(request, None, values)


@blueprint.route("/admin-tokens")
@blueprint.paginate(schemas.AdminToken, _tokens_json)
def list_admin_tokens_of_all(pagination: Pagination) -> Any:
    """All admin tokens, of operators and of organizations, without their values. For operators only."""
    request = current_request()
    request.require_operator("see the admin tokens of all organizations")
    return request.gateway.queries.admin_tokens(None, pagination.after, pagination.fetch)


@blueprint.route("/admin-tokens/<token>", methods=["DELETE"])
@blueprint.response(204)
def revoke_any_admin_token(token: str) -> None:
    """Revoke any admin token, at once. For operators only."""
    request = current_request()
    request.require_operator("revoke tokens of all organizations")
    request.gateway.admin_access.revoke_token(None, token, request.trace)


@blueprint.route("/organizations/<organization>/admin-tokens", methods=["POST"])
@blueprint.arguments(schemas.AdminTokenRequest)
@blueprint.response(201, schemas.NewAdminToken)
def add_admin_token(values: dict[str, Any]) -> Any:
    """Make a token that opens this organization and no other."""
    request = current_request()
    return _add(request, request.organization, values)


@blueprint.route("/organizations/<organization>/admin-tokens")
@blueprint.paginate(schemas.AdminToken, _tokens_json)
def list_admin_tokens(pagination: Pagination) -> Any:
    """The admin tokens of an organization, without their values; expired ones stay until they are deleted."""
    request = current_request()
    return request.gateway.queries.admin_tokens(request.organization, pagination.after, pagination.fetch)


@blueprint.route("/organizations/<organization>/admin-tokens/<token>", methods=["DELETE"])
@blueprint.response(204)
def revoke_admin_token(token: str) -> None:
    """Revoke an admin token of an organization, at once; also the one that is used."""
    request = current_request()
    request.gateway.admin_access.revoke_token(request.organization, token, request.trace)


def _add(
    request: AdminRequest, organization: OrganizationRecord | None, values: dict[str, Any]
) -> dict[str, Any]:
    added, value = request.gateway.admin_access.add_token(
        organization,
        values["name"],
        values["scope"],
        in_days(values["expires_in_days"]),
        request.trace,
        request.token,
    )
    # What is known by now is not looked up: the value is in this answer and nowhere else.
    return _token_json(added, organization and organization.uid) | {"token": value}
