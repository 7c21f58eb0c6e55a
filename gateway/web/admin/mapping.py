"""Map to groups: seen, previewed, saved."""

from __future__ import annotations

from typing import Any

from gateway.provisioning.mapping_preview import MappingDefinition
from gateway.web.admin.blueprint import Blueprint, PreconditionRequired, accepts_if_match
from gateway.web.admin.context import AdminRequest, current_request
from gateway.web.admin.schemas import mapping as schemas
from gateway.web.errors import Unprocessable

blueprint = Blueprint("group-mapping", "Map to groups: which value of an attribute leads into which group.")

_PATH = "/connections/<connection>/group-mapping"


@blueprint.route(_PATH)
@blueprint.response(200, schemas.Mapping)
def read_mapping() -> Any:
    """The mapping as it is saved; `applying` while users are still being brought to it."""
    request = current_request()
    current = request.gateway.mapping.saved_definition(request.connection)
    applying = request.gateway.mapping.progress(request.connection)
    return current.as_json() | ({"applying": applying} if applying else {}), {"ETag": current.etag}


@blueprint.route(f"{_PATH}/preview", methods=["POST"], read_only=True, expensive=True)
@blueprint.arguments(schemas.Mapping)
@blueprint.response(200, schemas.Preview)
def preview_mapping(values: dict[str, Any]) -> Any:
    """Who would join and leave which group if this were saved now. Changes nothing; its ETag is what a save needs."""
    request = current_request()
    preview, etag = request.gateway.mapping.preview(request.idp_caller, _definition(request, values))
    return preview.as_json(), {"ETag": etag}


@blueprint.route(_PATH, methods=["PUT"], expensive=True)
@blueprint.arguments(schemas.Mapping)
@blueprint.response(200, schemas.Mapping)
@accepts_if_match
def save_mapping(values: dict[str, Any]) -> Any:
    """Save a mapping with the ETag of its preview in If-Match. 412 when it would now do something else."""
    request, definition = current_request(), _definition(current_request(), values)
    if request.if_match is None:
        raise PreconditionRequired(
            "Send the ETag of the preview in If-Match: POST the same body to …/preview first."
        )
    request.gateway.mapping.save(request.idp_caller, definition, request.if_match, request.trace)
    return definition.as_json()


def _definition(request: AdminRequest, values: dict[str, Any]) -> MappingDefinition:
    """Return the definition that was sent; attribute and rules stay as saved where a request leaves them out."""
    missing = [name for name in ("attribute", "rules") if name not in values]
    if values["enabled"] and missing:
        raise Unprocessable(
            f"{' and '.join(missing)}: needed to switch Map to groups on.",
            {"json": {name: ["Missing data for required field."] for name in missing}},
        )
    attribute, sent = values.get("attribute"), values.get("rules")
    rules = None if sent is None else tuple((rule["value"], rule["group"]) for rule in sent)
    if "attribute" not in values or rules is None:
        saved = request.gateway.mapping.saved_definition(request.connection)
        attribute = values.get("attribute", saved.attribute)
        rules = saved.rules if rules is None else rules
    return MappingDefinition(values["enabled"], attribute, rules, values["apply_to_existing"])
