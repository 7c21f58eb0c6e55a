"""Adoption: users whom nobody manages and a connection wants to, and whom its first push would meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.provisioning.adoption.review import PreviewRequest, as_json
from gateway.web.admin.blueprint import Blueprint, PreconditionRequired, accepts_if_match
from gateway.web.admin.context import AdminRequest, current_request
from gateway.web.admin.pagination import Pagination
from gateway.web.admin.schemas import adoptions as schemas

blueprint = Blueprint("adoptions", "Adoption: what becomes of users whom no connection manages.")

_OF_CONNECTION = "/connections/<connection>"


def _adoptions_json(_: AdminRequest, rows: Sequence[Any]) -> list[dict[str, Any]]:
    return [as_json(row) for row in rows]


def _preview_request(values: dict[str, Any]) -> PreviewRequest:
    names = values["names"]
    return PreviewRequest(
        values["match"],
        None if names is None else tuple(dict.fromkeys(names)),
        values["limit"],
        values["after"],
    )


@blueprint.route(f"{_OF_CONNECTION}/adoptions")
@blueprint.paginate(schemas.Adoption, _adoptions_json, schemas.AdoptionQuery)
def list_adoptions(pagination: Pagination) -> Any:
    """The users whom the connection wants to manage: each once, with how often it tried and what was decided."""
    request = current_request()
    return request.gateway.adoptions.page(
        request.connection, pagination.query["state"], pagination.after, pagination.fetch
    )


@blueprint.route(f"{_OF_CONNECTION}/adoptions/<adoption>", methods=["POST"])
@blueprint.arguments(schemas.AdoptionDecision)
@blueprint.response(200, schemas.Adoption)
def decide_adoption(values: dict[str, Any], adoption: str) -> Any:
    """Approve or reject; approved, the next write of the connection adopts the user."""
    request = current_request()
    request.trace.status = 200
    decided = request.gateway.adoptions.decide(
        request.caller, request.connection, adoption, values["decision"], request.trace
    )
    return as_json(decided)


@blueprint.route(f"{_OF_CONNECTION}/adoption/preview", methods=["POST"], expensive=True)
@blueprint.arguments(schemas.AdoptionPreviewRequest)
@blueprint.response(200, schemas.AdoptionPreview)
def preview_adoption(values: dict[str, Any]) -> Any:
    """Whom the first push would meet of the users that nobody manages, and what speaks against each. No change."""
    request = current_request()
    request.trace.status = 200
    shown = request.gateway.adoptions.preview(request.caller, request.connection, _preview_request(values))
    return shown.as_json(), {"ETag": shown.etag}


@blueprint.route(f"{_OF_CONNECTION}/adoption", methods=["POST"], expensive=True)
@blueprint.arguments(schemas.AdoptionApproval)
@blueprint.response(200, schemas.ApprovedAdoptions)
@accepts_if_match
def approve_adoptions(values: dict[str, Any]) -> Any:
    """Approve users of a preview before they are pushed: the same body, its ETag in If-Match, and whom."""
    request = current_request()
    request.trace.status = 200
    if request.if_match is None:
        raise PreconditionRequired(
            "Send the ETag of the preview in If-Match: POST the same body to …/adoption/preview first."
        )
    chosen = None if values["approve"] == "safe" else values["approve"]
    count = request.gateway.adoptions.approve(
        request.caller, request.connection, _preview_request(values), chosen, request.if_match, request.trace
    )
    return {"approved": count}
