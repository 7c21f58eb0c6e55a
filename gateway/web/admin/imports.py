"""Imports of people: a CSV file is uploaded, previewed and applied, and its result read."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from gateway.provisioning.imports.csv_files import MOST_BYTES
from gateway.scim.errors import UnsupportedMediaType
from gateway.store.records import ImportRecord
from gateway.web.admin.blueprint import Blueprint, PreconditionRequired, accepts_if_match
from gateway.web.admin.context import AdminRequest, current_request
from gateway.web.admin.pagination import Pagination
from gateway.web.admin.schemas import imports as schemas
from gateway.web.users_csv import import_result_csv

blueprint = Blueprint("imports", "Imports of people from a CSV file, previewed before they are applied.")

_PATH = "/organizations/<organization>/imports"
_FILE = {"required": True, "content": {"text/csv": {"schema": {"type": "string"}}}}


def _imports_json(request: AdminRequest, records: list[ImportRecord]) -> list[dict[str, Any]]:
    return [request.gateway.imports.as_json(record) for record in records]


@blueprint.route(_PATH)
@blueprint.paginate(schemas.Import, _imports_json)
def list_imports(pagination: Pagination) -> Any:
    """Imports of the last 24 hours, with the counts of their upload."""
    request = current_request()
    return request.gateway.imports.page(request.organization, pagination.after, pagination.fetch)


@blueprint.route(_PATH, methods=["POST"], expensive=True, body_limit=MOST_BYTES)
@blueprint.arguments(schemas.ImportQuery, location="query")
@blueprint.doc(requestBody=_FILE)
@blueprint.response(201, schemas.Import)
def upload_import(query: dict[str, Any]) -> Any:
    """Upload a CSV file with the columns of `users.csv`. Nobody is changed; the ETag is what applying needs."""
    called, admin = request, current_request()
    if called.mimetype != "text/csv":
        raise UnsupportedMediaType(
            f"The body is {called.mimetype or 'nothing'!r} by its Content-Type; send the file as text/csv."
        )
    imports = admin.gateway.imports
    record, preview = imports.add(admin.caller, called.get_data(), query["absent"], admin.trace)
    return imports.as_json(record, preview), {"ETag": preview.etag}


@blueprint.route(f"{_PATH}/<import>", expensive=True)
@blueprint.response(200, schemas.Import)
def read_import(**path: str) -> Any:
    """What an import would do now, with the ETag that applying needs; afterwards how far it is."""
    request = current_request()
    imports = request.gateway.imports
    record = imports.find(request.organization, path["import"])
    if not record.is_preview:
        return imports.as_json(record)
    preview = imports.preview(request.organization, record)
    return imports.as_json(record, preview), {"ETag": preview.etag}


@blueprint.route(f"{_PATH}/<import>/apply", methods=["POST"], expensive=True)
@blueprint.response(200, schemas.Import)
@accepts_if_match
def apply_import(**path: str) -> Any:
    """Apply an import with the ETag of its preview in If-Match. 412 when it would now do something else."""
    request = current_request()
    imports = request.gateway.imports
    imports.find(request.organization, path["import"])
    if request.if_match is None:
        raise PreconditionRequired("Send the ETag of the preview in If-Match: GET the import first.")
    request.trace.status = 200
    return imports.as_json(imports.apply(request.caller, path["import"], request.if_match, request.trace))


@blueprint.route(f"{_PATH}/<import>/result.csv", expensive=True)
@blueprint.response(200, {"type": "string"}, content_type="text/csv")
def read_import_result(**path: str) -> Response:
    """The file with the outcome of each row and its reason."""
    request = current_request()
    return import_result_csv(
        request.gateway, request.gateway.imports.find(request.organization, path["import"])
    )


@blueprint.route(f"{_PATH}/<import>", methods=["DELETE"])
@blueprint.response(204)
def remove_import(**path: str) -> None:
    """Delete an import and its rows; the people stay."""
    request = current_request()
    request.gateway.imports.remove(request.caller, path["import"], request.trace)
