"""Map to groups: seen, previewed, saved."""

from __future__ import annotations

from typing import Any

from gateway.provisioning.mapping import Plan
from gateway.web.admin import schemas
from gateway.web.admin.blueprint import Blueprint, PreconditionRequired, accepts_if_match
from gateway.web.admin.context import AdminRequest, current_request
from gateway.web.errors import Unprocessable

blueprint = Blueprint("group-mapping", "Map to groups: which value of an attribute leads into which group.")

_PATH = "/connections/<connection>/group-mapping"


@blueprint.route(_PATH)
@blueprint.response(200, schemas.Mapping)
def read_mapping() -> Any:
    """The mapping as it is saved; `applying` while users are still being brought to it."""
    request = current_request()
    current = request.gateway.mapping.current(request.connection)
    applying = request.gateway.mapping.applying(request.connection)
    return current.as_json() | ({"applying": applying} if applying else {}), {"ETag": current.etag}


@blueprint.route(f"{_PATH}/preview", methods=["POST"], read_only=True, expensive=True)
@blueprint.arguments(schemas.Mapping)
@blueprint.response(200, schemas.Preview)
def preview_mapping(values: dict[str, Any]) -> Any:
    """Who would join and leave which group if this were saved now. Changes nothing; its ETag is what a save needs."""
    request = current_request()
    effect, etag = request.gateway.mapping.preview(request.idp_caller, _plan(request, values))
    return effect.as_json(), {"ETag": etag}


@blueprint.route(_PATH, methods=["PUT"], expensive=True)
@blueprint.arguments(schemas.Mapping)
@blueprint.response(200, schemas.Mapping)
@accepts_if_match
def save_mapping(values: dict[str, Any]) -> Any:
    """Save a mapping with the ETag of its preview in If-Match. 412 when it would now do something else."""
    request, plan = current_request(), _plan(current_request(), values)
    if request.if_match is None:
        raise PreconditionRequired(
            "Send the ETag of the preview in If-Match: POST the same body to …/preview first."
        )
    request.gateway.mapping.save(request.idp_caller, plan, request.if_match, request.trace)
    return plan.as_json()


def _plan(request: AdminRequest, values: dict[str, Any]) -> Plan:
    """The plan that was sent. Whoever only switches off need not repeat attribute and rules: they stay."""
    missing = [name for name in ("attribute", "rules") if name not in values]
    if values["enabled"] and missing:
        raise Unprocessable(
            f"{' and '.join(missing)}: needed to switch Map to groups on.",
            {"json": {name: ["Missing data for required field."] for name in missing}},
        )
    current = request.gateway.mapping.current(request.connection)
    rules = values.get("rules")
    return Plan(
        values["enabled"],
        values.get("attribute", current.attribute),
        current.rules if rules is None else tuple((rule["value"], rule["group"]) for rule in rules),
        values["apply_to_existing"],
    )
