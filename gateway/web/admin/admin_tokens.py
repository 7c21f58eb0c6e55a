"""Tokens of the admin REST itself: an operator's, for all organizations, and those of one organization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.store.ids_and_time import in_days, rfc3339
from gateway.store.records import AdminTokenRecord, OrganizationRecord
from gateway.web.admin import schemas
from gateway.web.admin.auth import AdminRequest, Resource, here
from gateway.web.admin.parsing import Paging, page

blueprint = Resource("admin-tokens", "Tokens that open this REST: of operators, and of one organization.")

_Page = schemas.page_of(schemas.AdminToken)


@blueprint.route("/admin-tokens", methods=["POST"])
@blueprint.arguments(schemas.AdminTokenRequest)
@blueprint.response(201, schemas.NewAdminToken)
def add_operator_token(values: dict[str, Any]) -> Any:
    """Make a token that opens all organizations. For operators only."""
    visit = here()
    visit.only_an_operator("make tokens for all organizations")
    return _add(visit, None, values)


@blueprint.route("/admin-tokens")
@blueprint.arguments(Paging, location="query")
@blueprint.response(200, _Page)
def list_admin_tokens_of_all(asked: dict[str, int]) -> Any:
    """All admin tokens, of operators and of organizations, without their values. For operators only."""
    visit = here()
    visit.only_an_operator("see the admin tokens of all organizations")
    return _page(visit, None, asked)


@blueprint.route("/admin-tokens/<token>", methods=["DELETE"])
@blueprint.response(204)
def revoke_any_admin_token(token: str) -> None:
    """Revoke any admin token, at once. For operators only."""
    visit = here()
    visit.only_an_operator("revoke tokens of all organizations")
    visit.gateway.admin_access.revoke_token(None, token, visit.trace)


@blueprint.route("/organizations/<organization>/admin-tokens", methods=["POST"])
@blueprint.arguments(schemas.AdminTokenRequest)
@blueprint.response(201, schemas.NewAdminToken)
def add_admin_token(values: dict[str, Any]) -> Any:
    """Make a token that opens this organization and no other."""
    visit = here()
    return _add(visit, visit.organization, values)


@blueprint.route("/organizations/<organization>/admin-tokens")
@blueprint.arguments(Paging, location="query")
@blueprint.response(200, _Page)
def list_admin_tokens(asked: dict[str, int]) -> Any:
    """The admin tokens of an organization, without their values; expired ones stay until they are deleted."""
    visit = here()
    return _page(visit, visit.organization, asked)


@blueprint.route("/organizations/<organization>/admin-tokens/<token>", methods=["DELETE"])
@blueprint.response(204)
def revoke_admin_token(token: str) -> None:
    """Revoke an admin token of an organization, at once; also the one that is used."""
    visit = here()
    visit.gateway.admin_access.revoke_token(visit.organization, token, visit.trace)


def _add(
    visit: AdminRequest, organization: OrganizationRecord | None, values: dict[str, Any]
) -> dict[str, Any]:
    added, value = visit.gateway.admin_access.add_token(
        organization,
        values["name"],
        values["scope"],
        in_days(values["expires_in_days"]),
        visit.trace,
        visit.token,
    )
    # What is known by now is not looked up: the value is in this answer and nowhere else.
    return _shown_token(added, organization and organization.uid) | {"token": value}


def _page(visit: AdminRequest, organization: OrganizationRecord | None, asked: dict[str, int]) -> Any:
    rows = visit.gateway.store.admin_tokens.page(organization, asked["after"], asked["limit"] + 1)
    return page(rows, asked["limit"], lambda shown: _shown(visit, shown))


def _shown(visit: AdminRequest, tokens: Sequence[AdminTokenRecord]) -> list[dict[str, Any]]:
    keys = sorted({token.organization_id for token in tokens if token.organization_id is not None})
    names = visit.gateway.store.organizations.names(keys)
    return [
        _shown_token(token, names[token.organization_id]["id"] if token.organization_id in names else None)
        for token in tokens
    ]


def _shown_token(token: AdminTokenRecord, organization: str | None) -> dict[str, Any]:
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
