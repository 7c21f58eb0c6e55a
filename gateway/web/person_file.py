"""The export of a person as a file, for the admin REST and for the console."""

from __future__ import annotations

from flask import Response

from gateway.web.tenant_request import TenantRequest


def person_file(request: TenantRequest, user: str) -> Response:
    """Stream the export of a user as JSON."""
    pieces = request.gateway.person_export.pieces(request.caller, user, request.trace)
    answer = Response((piece.encode() for piece in pieces), mimetype="application/json")
    answer.headers["Content-Disposition"] = f'attachment; filename="person-{user}.json"'
    return answer
