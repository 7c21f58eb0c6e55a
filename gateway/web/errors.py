"""Errors as responses: in SCIM's format below `/scim`, in the admin REST's elsewhere. Never a traceback."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from gateway.provisioning import Provisioning, Target, Trace
from gateway.scim.errors import (
    InvalidSyntax,
    MethodNotAllowed,
    NotFound,
    Refusal,
    Unexpected,
)
from gateway.scim.escaping import escape_controls
from gateway.store.engine.failures import Outage
from gateway.web.base_urls import BaseUrlMistake, slug_in
from gateway.web.encodings import ACCEPTED, too_large
from gateway.web.exchanges import refused_exchange
from gateway.web.http import Request, ScimRequest, ScimResponse, scim_response

log = logging.getLogger("gateway")

#: Resources by the operations that name one.
_KINDS = {"/Users/{id}": "User", "/Groups/{id}": "Group"}
#: Characters of an id that the activity holds of a request that was refused: no id that the gateway gave is longer.
LONGEST_ID = 100


class Unprocessable(Refusal):
    """A value of the admin REST that cannot be accepted; `errors` names each field with its sentences."""

    status = 422

    def __init__(self, detail: str, errors: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.errors = errors or {}


class Errors:
    """Makes responses of refusals and failures, and records them in the activity."""

    def __init__(self, gateway: Provisioning) -> None:
        self._gateway = gateway

    def install(self, app: Flask) -> None:
        """Register the handlers of what Flask serves."""
        app.register_error_handler(
            Refusal, lambda refusal: self.admin_response(refusal, current_http_request())
        )
        app.register_error_handler(HTTPException, self.http_response)
        app.register_error_handler(500, self._failed)

    def scim_response(self, error: Exception, request: ScimRequest) -> ScimResponse:
        """Make the response to any error of a SCIM endpoint (RFC 7644, 3.12)."""
        if request.trace is None:
            request.trace = self._trace_below_connection(request)
            if request.trace and isinstance(error, BaseUrlMistake):
                request.trace.stranger = error.mistake
        refusal = self.record(self.as_refusal(error, request), request)
        response = scim_response(refusal.as_json(), refusal.status)
        if refusal.status == 401:
            response.headers.append(("WWW-Authenticate", 'Bearer realm="SCIM"'))
        if refusal.status == 415:
            # RFC 7694, 3
            response.headers.append(("Accept-Encoding", ACCEPTED))
        if refusal.retry_after is not None:
            # Whole seconds: an IdP that cannot read it waits five minutes.
            response.headers.append(("Retry-After", str(refusal.retry_after)))
        if allowed := _allowed_methods(error):
            response.headers.append(("Allow", allowed))
        return response

    def _trace_below_connection(self, request: ScimRequest) -> Trace | None:
        """Return the trace of a request that matched no route, for the activity of the connection it is below."""
        slug = slug_in(request.path)
        if slug is None:
            return None
        below = request.path.partition(f"/{slug}")[2]
        trace = Trace(
            f"{request.method} {below[:80] or '/'}", request.request_id, slug=slug, agent=request.agent
        )
        return trace if self._gateway.admission.attribute(slug, trace) else None

    def http_response(self, error: HTTPException) -> Response:
        """Make the response to what the framework refused outside of SCIM."""
        request = current_http_request()
        response = self.admin_response(self.as_refusal(error, request), request)
        if allowed := _allowed_methods(error):
            response.headers["Allow"] = allowed
        return response

    def _failed(self, error: Exception) -> Response:
        request = current_http_request()
        return self.admin_response(_unexpected(error, request), request)

    def admin_response(self, refusal: Refusal, request: Request) -> Response:
        """Make the response to a refusal outside of SCIM."""
        if refusal.scim_type == "invalidValue":
            refusal = Unprocessable(refusal.detail)
        return admin_error(self.record(refusal, request))

    def record(self, refusal: Refusal, request: Request) -> Refusal:
        """Record a refusal in the activity, where the request has one; return it as it is to be shown."""
        if trace := request.trace:
            if isinstance(request, ScimRequest):
                _name_target(trace, request)
            if trace.written and refusal.status >= 500:
                refusal.detail = (
                    f"The change was stored, but the gateway failed to answer it (request id {request.request_id})."
                    " Read what is there before you send it again."
                )
            exchange = None
            if isinstance(request, ScimRequest):
                exchange = partial(refused_exchange, request, refusal)
            self._gateway.activity_writer.record_refusal(trace, refusal, exchange)
        elif isinstance(refusal, Outage):
            self._gateway.activity_writer.record_outage(refusal)
        return refusal

    def as_refusal(self, error: Exception, request: Request) -> Refusal:
        """Return the refusal that says to a client what an error means."""
        if isinstance(error, Refusal):
            return error
        if not isinstance(error, HTTPException):
            return _unexpected(error, request)
        if error.code == 404:
            return NotFound(f"There is nothing at {request.path[:200]!r}. {_advice(request.path)}")
        if error.code == 405:
            return MethodNotAllowed(f"{request.method} is not possible at {request.path[:200]!r}.")
        if error.code == 413:
            return too_large(request.max_content_length or self._gateway.config.body_limit)
        return InvalidSyntax(f"The request cannot be read: {error.description or error.name}")


def current_http_request() -> Request:
    """Return the HTTP request that Flask serves in this thread."""
    return request._get_current_object()  # type: ignore[attr-defined, no-any-return]


def _name_target(trace: Trace, request: ScimRequest) -> None:
    """Name the resource of a request that was refused before it was looked up."""
    kind = _KINDS.get(trace.operation.partition(" ")[2])
    if trace.target is None and trace.principal is not None and kind and "uid" in request.arguments:
        trace.target = Target(kind, escape_controls(request.arguments["uid"])[:LONGEST_ID], None)


def _advice(path: str) -> str:
    """Return what to do about a path that nothing serves."""
    if path.startswith("/admin/"):
        return "The paths of the admin REST stand at /admin/v1/docs."
    return (
        "Compare the base URL at the identity provider with the one that the application shows; /Users, /Groups and"
        " the other endpoints follow it directly."
    )


def _allowed_methods(error: Exception) -> str | None:
    methods = getattr(error, "valid_methods", None)
    return ", ".join(methods) if methods else None


def _unexpected(error: Exception, request: Request) -> Unexpected:
    """Log a failure, and make the refusal that does not show it."""
    original = getattr(error, "original_exception", None) or error
    log.error("request %s %s failed", request.request_id, request.path, exc_info=original)
    # RFC 7644, 3.7: what a bulk request did before stays done.
    in_part = request.path.endswith("/Bulk") or (request.trace and request.trace.in_part)
    left = "an unknown part of it was done" if in_part else "nothing was changed"
    return Unexpected(
        f"The gateway failed at this request; {left}. Give the request id {request.request_id} to the operator of the"
        " application."
    )


def admin_error(refusal: Refusal) -> Response:
    """Make `{code, status, message, errors}` of a refusal."""
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
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
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
