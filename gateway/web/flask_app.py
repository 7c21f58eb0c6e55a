"""The Flask application: the admin REST, the console, and health. SCIM has an application of its own.

A request is served in two halves, as one of SCIM is (`gateway.web.scim.wsgi`): `identify` and `respond`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import flask

from gateway.provisioning import Provisioning
from gateway.scim.errors import Refusal
from gateway.web.errors import Errors, current_http_request
from gateway.web.http import Request, ServerResponse
from gateway.web.queues import BLOCKED_SECONDS, Queued, RequestQueue
from gateway.web.routes import Rule
from gateway.web.scim.rate_limit import WRONG_TOKENS, RateLimit

if TYPE_CHECKING:
    from gateway.web.metrics import Metrics

#: Bytes of a body that is sent piece by piece, and of such a piece.
LARGE, PIECE = 2_097_152, 131_072
#: Where Flask finds its request, and says whether it answers piece by piece.
_REQUEST, _STREAMED = "gateway.request", "gateway.streamed"


class FlaskRequest(Request, flask.Request):
    """A request that Flask serves."""


class FlaskApp(flask.Flask):
    """Every request has an id, which its answer and the activity name, and is counted."""

    url_rule_class = Rule

    def __init__(
        self, gateway: Provisioning, metrics: Metrics, errors: Errors, queues: Mapping[str, RequestQueue]
    ) -> None:
        super().__init__("gateway", static_folder=None)
        # A path with slashes too many leads nowhere; a redirect would be HTML.
        self.url_map.merge_slashes = False
        self.extensions["gateway"] = gateway
        self.extensions["wrong_admin_tokens"] = RateLimit(WRONG_TOKENS, gateway.config.workers)
        self.config["MAX_CONTENT_LENGTH"] = self._body_limit = gateway.config.body_limit
        self._limit_waits, self._metrics, self._errors, self._queues = (
            gateway.limit_waits,
            metrics,
            errors,
            queues,
        )
        #: Finds the key of the client whose body is worth waiting for, "" for nobody.
        self.find_client: Callable[[Request], str] = lambda request: ""
        errors.install(self)

    @staticmethod
    def request_class(environ: dict[str, Any]) -> FlaskRequest:  # type: ignore[override]
        """Return the request that was identified, if it was."""
        request: FlaskRequest = environ.get(_REQUEST) or FlaskRequest(environ)
        return request

    def identify(self, environ: dict[str, Any]) -> FlaskRequest:
        """Find out who sends a request with a body: whether that is worth waiting for."""
        request = environ[_REQUEST] = FlaskRequest(environ)
        request.max_content_length = self._body_limit
        if request.has_body:
            request.client_key = self.find_client(request)
        return request

    def respond(self, request: Request) -> ServerResponse:
        """Serve a request whose body is there. Raises Queued where others would have to wait for it."""
        # What a read writes, such as when a token was used, it can do without.
        self._limit_waits(BLOCKED_SECONDS if request.method in ("GET", "HEAD") else None)
        started: list[Any] = []

        def start(*response: Any) -> Any:
            started.extend(response)

        pieces: Any = super().wsgi_app(request.environ, start)
        status, headers = int(started[0][:3]), started[1]
        if request.environ.get(_STREAMED):
            return ServerResponse(status, headers, _in_larger_pieces(pieces), pieces.close)
        try:
            return ServerResponse(status, headers, b"".join(pieces), lambda: None)
        finally:
            pieces.close()

    def refuse(self, request: Request, refusal: Refusal) -> ServerResponse:
        """Respond with a refusal that no view raised."""
        with self.request_context(request.environ):
            response = self.process_response(self._errors.admin_response(refusal, request))
        return ServerResponse(
            response.status_code, list(response.headers), response.get_data(), response.close
        )

    def wsgi_app(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve a request in the thread of a WSGI server, expensive ones one at a time."""
        request = environ[_REQUEST] = FlaskRequest(environ)
        try:
            return super().wsgi_app(environ, start_response)
        except Queued as queued:
            request.queued = True
            with self._queues[queued.queue].run_alone():
                return super().wsgi_app(environ, start_response)

    def process_response(self, response: flask.Response) -> flask.Response:
        """Name the request in its response, and count it."""
        request, response = current_http_request(), super().process_response(response)
        if flask.request.url_rule:
            request.operation = f"{request.method} {flask.request.url_rule.rule}"
        request.environ[_STREAMED] = response.is_streamed and (response.content_length or LARGE) >= LARGE
        response.headers["X-Request-Id"] = request.request_id
        self._metrics.count(request, response.status_code)
        return response


def _in_larger_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join small pieces: each is sent in a step of its own of the queue."""
    gathered: list[bytes] = []
    size = 0
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= PIECE:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)
