"""Requests of identity providers and their responses, as explanations store them."""

from __future__ import annotations

import json
from typing import Any

from gateway.provisioning import IdpCaller
from gateway.provisioning.explanations.masking import read_body
from gateway.provisioning.explanations.pending import Exchange
from gateway.scim.bulk import BulkOperation
from gateway.scim.errors import Refusal
from gateway.web.http import ScimRequest, ScimResponse

#: Headers that are stored; no other one.
_HEADERS = ("Content-Type", "Content-Encoding", "User-Agent", "If-Match", "If-None-Match")
_OF_RESPONSES = ("Location", "ETag", "Retry-After")
_LONGEST = 2000


def exchange_of(request: ScimRequest, response: ScimResponse) -> Exchange:
    """Return a request and the response to it."""
    content = response.content
    body = read_body(content) if isinstance(content, bytes) else "… sent in parts, not kept"
    headers = {name: value for name, value in response.headers if name in _OF_RESPONSES}
    answer = {"status": response.status, "headers": headers, "body": body}
    return Exchange(_request(request), answer, _caller(request))


def refused_exchange(request: ScimRequest, refusal: Refusal) -> Exchange:
    """Return a request and the refusal of it."""
    return Exchange(_request(request), _answer(refusal), _caller(request))


def operation_exchange(request: ScimRequest, operation: BulkOperation, refusal: Refusal) -> Exchange:
    """Return an operation of a bulk request and the refusal of it."""
    path = operation.collection + ("" if operation.uid is None else f"/{operation.uid}")
    sent = {"method": operation.method, "path": path[:_LONGEST], "headers": {}, "body": operation.data}
    return Exchange(sent, _answer(refusal), _caller(request))


def _request(request: ScimRequest) -> dict[str, Any]:
    query = request.environ.get("QUERY_STRING", "")
    headers = {name: request.headers[name][:_LONGEST] for name in _HEADERS if name in request.headers}
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    return {
        "method": request.method,
        "path": request.path.partition(f"/{request.slug}")[2][:_LONGEST] or "/",
        "query": {name: value[:_LONGEST] for name, value in request.query_parameters().items()}
        if query
        else {},
        "headers": headers,
        "scheme": scheme[:20] if credentials else "",
        "body": read_body(request.received_body),
    }


def _answer(refusal: Refusal) -> dict[str, Any]:
    headers = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
    return {"status": refusal.status, "headers": headers, "body": json.loads(refusal.as_json())}


def _caller(request: ScimRequest) -> IdpCaller | None:
    return request.admission.caller if request.admission else None
