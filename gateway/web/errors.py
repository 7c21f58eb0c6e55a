"""Every error in the words of the part it happened in: SCIM under `/scim`, the admin's elsewhere. Never a traceback."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, current_app, g, jsonify, request
from werkzeug.exceptions import HTTPException

from gateway.provisioning import Provisioning
from gateway.scim.errors import (
    InvalidSyntax,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    Refusal,
    Unexpected,
)
from gateway.web.scim import refusal_answer

log = logging.getLogger("gateway")


class Unprocessable(Refusal):
    """A value of the admin REST that cannot be taken; `errors` names each field with its sentences."""

    status = 422

    def __init__(self, detail: str, errors: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.errors = errors or {}


def install(app: Flask) -> None:
    """Register the handlers."""
    app.register_error_handler(Refusal, refused)
    app.register_error_handler(HTTPException, http)
    app.register_error_handler(500, failed)


def refused(refusal: Refusal) -> Response:
    """Record a refusal and answer it, in the format of the part of the URL space that was called."""
    scim = request.path.startswith("/scim")
    if not scim and refusal.scim_type == "invalidValue":
        refusal = Unprocessable(refusal.detail)
    if trace := g.get("trace"):
        if trace.written and refusal.status >= 500:
            refusal.detail = (
                f"The change was stored, but the gateway failed to answer it (request id {g.request_id}). Read what is"
                " there before you send it again."
            )
        gateway: Provisioning = current_app.extensions["gateway"]
        gateway.recorder.refused(trace, refusal)
    return refusal_answer(refusal) if scim else admin_answer(refusal)


def http(error: HTTPException) -> Response:
    """What the framework refused."""
    response = refused(_as_refusal(error))
    if error.code == 405 and getattr(error, "valid_methods", None):
        response.headers["Allow"] = ", ".join(error.valid_methods)  # type: ignore[attr-defined]
    return response


def failed(error: Exception) -> Response:
    """What went wrong here; the log has it, the answer does not."""
    original = getattr(error, "original_exception", None) or error
    log.error("request %s %s failed", g.request_id, request.path, exc_info=original)
    # RFC 7644, 3.7: what a bulk request did before stays done.
    left = "an unknown part of it was done" if request.path.endswith("/Bulk") else "nothing was changed"
    return refused(
        Unexpected(
            f"The gateway failed at this request; {left}. Give the request id"
            f" {g.request_id} to the operator of the application."
        )
    )


def admin_answer(refusal: Refusal) -> Response:
    """`{code, status, message, errors}`."""
    status, errors = refusal.status, getattr(refusal, "errors", {})
    response = jsonify(
        {"code": status, "status": _REASONS[status], "message": refusal.detail, "errors": errors}
    )
    response.status_code = status
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="admin"'
    if refusal.retry_after is not None:
        response.headers["Retry-After"] = str(refusal.retry_after)
    return response


_REASONS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    412: "Precondition Failed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Entity",
    428: "Precondition Required",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}


def _as_refusal(error: HTTPException) -> Refusal:
    if error.code == 404:
        return NotFound(f"There is nothing at {request.path[:200]!r}. Check the base URL.")
    if error.code == 405:
        return MethodNotAllowed(f"{request.method} is not possible at {request.path[:200]!r}.")
    if error.code == 413:
        # RFC 7644, 3.7.4: the limit stands in the answer, so that whoever sends in bulk can send smaller parts.
        most = current_app.config["MAX_CONTENT_LENGTH"]
        return PayloadTooLarge(f"The body is larger than the gateway reads: {most} bytes at most.")
    if error.code in (301, 302, 307, 308):
        return NotFound(
            f"{request.path[:200]!r} holds a slash too many. Enter the base URL without a slash at its end."
        )
    return InvalidSyntax(f"The request cannot be read: {error.description or error.name}")
