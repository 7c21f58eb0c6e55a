"""SCIM as a WSGI application of its own, on werkzeug's requests and routes.

A request is served in two halves: `identify`, which needs no byte of its body, and `respond`. A WSGI server has both
done at once; the server of `gateway serve` receives the body in between, without a thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Protocol

from werkzeug.exceptions import NotFound
from werkzeug.routing import Map

from gateway.provisioning import Provisioning
from gateway.scim.errors import Refusal
from gateway.store.engine.failures import Busy
from gateway.web.base_urls import BASE_SEGMENTS, path_segments, refuse_too_long
from gateway.web.errors import Errors
from gateway.web.http import ScimRequest, ScimResponse, ServerResponse
from gateway.web.queues import BLOCKED_SECONDS, Queued, RequestQueue
from gateway.web.scim.endpoints import Endpoints

#: Requests that may hold a whole group.
_OF_MEMBERS = frozenset({"POST /Groups", "PUT /Groups/<uid>", "PATCH /Groups/<uid>"})


class RequestCounter(Protocol):
    """What counts requests: the metrics."""

    def count(self, request: ScimRequest, status: int) -> None:
        """Count a request that was answered."""


class ScimApp:
    """All endpoints of all connections. Flask's contexts and hooks do not exist here."""

    def __init__(
        self,
        gateway: Provisioning,
        metrics: RequestCounter,
        errors: Errors,
        queues: Mapping[str, RequestQueue],
    ) -> None:
        self._limit_waits, self._metrics, self._errors, self._queues = (
            gateway.limit_waits,
            metrics,
            errors,
            queues,
        )
        self._body_limit = gateway.config.body_limit
        self._group_body_limit = max(self._body_limit, gateway.config.group_body_limit)
        #: Routes below the base URL of a connection.
        self.url_map = Map(Endpoints(gateway).rules(), merge_slashes=False, redirect_defaults=False)
        self._routes = self.url_map.bind("")

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve a request in the thread of a WSGI server, expensive ones one at a time."""
        request = self.identify(environ)
        try:
            response = self._serve(request)
        except Queued as queued:
            response = self._serve_alone(request, self._queues[queued.queue])
        return response(environ, start_response)

    def identify(self, environ: dict[str, Any]) -> ScimRequest:
        """Find the route of a request and authenticate its caller. A refusal is its response already."""
        # Not put into its own environment: a circle of references would wait for the garbage collector.
        request = ScimRequest(environ, populate_request=False)
        request.max_content_length = self._body_limit
        try:
            self._route(request)
            request.view.identify(request)
        except Exception as error:  # noqa: BLE001 - any error is answered in the terms of SCIM
            request.response = self._errors.scim_response(error, request)
        return request

    def respond(self, request: ScimRequest) -> ServerResponse:
        """Do what is asked for, with the body at hand. Raises Queued where others would have to wait for it."""
        self._limit_waits(None if request.queued else BLOCKED_SECONDS)
        response = self._serve(request, until_blocked=not request.queued)
        body = b"" if request.method == "HEAD" else response.content
        return ServerResponse(response.status, response.header_list(), body, response.end)

    def refuse(self, request: ScimRequest, refusal: Refusal) -> ServerResponse:
        """Respond with a refusal that arose outside of the views."""
        request.response = self._errors.scim_response(refusal, request)
        return self.respond(request)

    def _serve(self, request: ScimRequest, until_blocked: bool = False) -> ScimResponse:
        response = request.response
        if response is None:
            try:
                response = request.view(request)
            except Busy as busy:
                if until_blocked and request.trace and not request.trace.written:
                    raise Queued("blocked", request.client_key) from None
                response = self._errors.scim_response(busy, request)
            except Exception as error:  # noqa: BLE001 - any error is answered in the terms of SCIM
                response = self._errors.scim_response(error, request)
        response.headers.append(("X-Request-Id", request.request_id))
        if response.is_streamed and request.method != "HEAD":
            response.call_when_sent(partial(self._metrics.count, request, response.status))
        else:
            self._metrics.count(request, response.status)
        return response

    def _serve_alone(self, request: ScimRequest, queue: RequestQueue) -> ScimResponse:
        request.queued = True
        try:
            with queue.run_alone():
                return self._serve(request)
        except Refusal as refusal:  # other requests took too long
            request.response = self._errors.scim_response(refusal, request)
            return self._serve(request)

    def _route(self, request: ScimRequest) -> None:
        """Find the view of a request and its arguments. Raises NotFound and MethodNotAllowed, as werkzeug does."""
        # An empty segment is passed over: some base URLs and some clients end with a slash.
        segments = path_segments(request.path)
        refuse_too_long(segments)
        if segments[:2] != BASE_SEGMENTS or len(segments) < 3:
            raise NotFound
        view, arguments = self._routes.match(f"/{'/'.join(segments[3:])}", request.method)
        request.operation = operation = f"{request.method} {view.path}"
        if operation in _OF_MEMBERS:
            request.max_content_length = self._group_body_limit
        request.view, request.slug, request.arguments = view, segments[2], arguments
