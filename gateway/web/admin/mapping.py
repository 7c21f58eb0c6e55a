"""Map to groups: seen, previewed, saved."""

from __future__ import annotations

from typing import Any

from gateway.provisioning.mapping import Plan
from gateway.web.admin import schemas
from gateway.web.admin.auth import AdminRequest, PreconditionRequired, Resource, here, versioned
from gateway.web.errors import Unprocessable

blueprint = Resource("group-mapping", "Map to groups: which value of an attribute leads into which group.")

_PATH = "/connections/<connection>/group-mapping"


@blueprint.route(_PATH)
@blueprint.response(200, schemas.Mapping)
def read_mapping() -> Any:
    """The mapping as it is saved; `applying` while users are still being brought to it."""
    visit = here()
    current = visit.gateway.mapping.current(visit.connection)
    applying = visit.gateway.mapping.applying(visit.connection)
    return current.as_json() | ({"applying": applying} if applying else {}), {"ETag": current.etag}


@blueprint.route(f"{_PATH}/preview", methods=["POST"], only_looks=True)
@blueprint.arguments(schemas.Mapping)
@blueprint.response(200, schemas.Preview)
def preview_mapping(values: dict[str, Any]) -> Any:
    """Who would join and leave which group if this were saved now. Changes nothing; its ETag is what a save needs."""
    visit = here()
    effect, etag = visit.gateway.mapping.preview(visit.idp_caller, _plan(visit, values))
    return effect.as_json(), {"ETag": etag}


@blueprint.route(_PATH, methods=["PUT"])
@blueprint.arguments(schemas.Mapping)
@blueprint.response(200, schemas.Mapping)
@versioned
def save_mapping(values: dict[str, Any]) -> Any:
    """Save a mapping with the ETag of its preview in If-Match. 412 when it would now do something else."""
    visit, plan = here(), _plan(here(), values)
    if visit.if_match is None:
        raise PreconditionRequired(
            "Send the ETag of the preview in If-Match: POST the same body to …/preview first."
        )
    visit.gateway.mapping.save(visit.idp_caller, plan, visit.if_match, visit.trace)
    return plan.as_json()


def _plan(visit: AdminRequest, values: dict[str, Any]) -> Plan:
    """The plan that was sent. Whoever only switches off need not repeat attribute and rules: they stay."""
    missing = [name for name in ("attribute", "rules") if name not in values]
    if values["enabled"] and missing:
        raise Unprocessable(
            f"{' and '.join(missing)}: needed to switch Map to groups on.",
            {"json": {name: ["Missing data for required field."] for name in missing}},
        )
    current = visit.gateway.mapping.current(visit.connection)
    rules = values.get("rules")
    return Plan(
        values["enabled"],
        values.get("attribute", current.attribute),
        current.rules if rules is None else tuple((rule["value"], rule["group"]) for rule in rules),
        values["apply_to_existing"],
    )
