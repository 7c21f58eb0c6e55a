"""The Flask application. Requests of identity providers go straight from the route to the view, without contexts.

A request is served in two halves: `identify`, which needs no byte of its body, and `respond`. A WSGI server calls both
at once (`wsgi_app`); the server of `gateway serve` receives the body in between, without a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from flask import Flask, Response, request
from werkzeug.routing import MapAdapter, Rule

from gateway.provisioning import Provisioning
from gateway.scim.errors import Refusal
from gateway.store.engine.failures import BUSY_SECONDS, Busy, busy
from gateway.web.base_urls import ENDPOINTS, refuse_too_long, without_slashes
from gateway.web.errors import Errors, current_http_request
from gateway.web.http import Answer, Call
from gateway.web.queues import PATIENCE, Queued, RequestQueue, too_many
from gateway.web.scim.endpoints import PREFIX, View
from gateway.web.scim.rate_limit import WRONG_TOKENS, RateLimit

if TYPE_CHECKING:
    from gateway.web.metrics import Metrics

#: Requests that may hold a whole group.
_OF_MEMBERS = frozenset({"POST /Groups", "PUT /Groups/<uid>", "PATCH /Groups/<uid>"})
#: Seconds that a request waits for the lock of the database before it leaves its thread to others.
BLOCKED_SECONDS = 0.1
#: Bytes of an answer outside of SCIM that is sent piece by piece, and of such a piece.
LARGE, PIECE = 2_097_152, 131_072
#: Where Flask finds its request, and says whether it answers piece by piece.
_CALL, _STREAMED = "gateway.call", "gateway.streamed"


class Reply(NamedTuple):
    """What is sent: the body whole or in pieces, and what to call when it has ended one way or another."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes | Iterator[bytes]
    end: Callable[[], None]


class App(Flask):
    """Every request has an id, which its answer and the activity tell, and is counted."""

    def __init__(self, gateway: Provisioning, metrics: Metrics) -> None:
        super().__init__("gateway", static_folder=None)
        self.extensions["gateway"] = gateway
        self.extensions["wrong_admin_tokens"] = RateLimit(WRONG_TOKENS, gateway.config.workers)
        self.config["MAX_CONTENT_LENGTH"] = self._most = gateway.config.body_limit
        self._most_members = max(self._most, gateway.config.group_body_limit)
        self._metrics, self.errors = metrics, Errors(gateway)
        self.errors.install(self)
        self.queues = {
            "expensive": RequestQueue(PATIENCE, too_many),
            "blocked": RequestQueue(BUSY_SECONDS, busy),
        }
        self._limit_waits = gateway.limit_waits
        #: Who the credentials of a request to the admin REST belong to, or nothing.
        self.admin_key: Callable[[Call], str] = lambda call: ""

    @staticmethod
    def request_class(environ: dict[str, Any]) -> Call:  # type: ignore[override]
        """The request that Flask serves: the one that was identified, if it was."""
        call: Call = environ.get(_CALL) or Call(environ)
        return call

    # In halves ------------------------------------------------------------------------------------------------------

    def identify(self, environ: dict[str, Any]) -> Call:
        """Find the route of a request and its caller. A refusal is the call's answer already."""
        call = Call(environ)
        call.max_content_length = self._most
        if not _is_scim(environ):
            environ[_CALL] = call
            if call.has_body:
                call.client_key = self.admin_key(call)
            return call
        try:
            call.view, call.arguments = self._routed(call)
            call.view.identify(call)
        except Exception as error:  # noqa: BLE001 - whatever happened is answered in the words of SCIM
            call.answered = self.errors.scim(error, call)
        return call

    def respond(self, call: Call) -> Reply:
        """Do what is asked for, with the body at hand. Raises Queued where others would have to wait for it."""
        if not _is_scim(call.environ):
            # What a read writes, such as when a token was used, it can do without.
            reads = call.method in ("GET", "HEAD")
            self._limit_waits(BLOCKED_SECONDS if reads else None)
            return self._by_flask(call)
        self._limit_waits(None if call.queued else BLOCKED_SECONDS)
        answered = self._answered(call, until_blocked=not call.queued)
        body = b"" if call.method == "HEAD" else answered.content
        return Reply(answered.status, answered.sent_headers(), body, answered.end)

    def refuse(self, call: Call, refusal: Refusal) -> Reply:
        """Answer with a refusal that arose outside of the views."""
        if _is_scim(call.environ):
            call.answered = self.errors.scim(refusal, call)
            return self.respond(call)
        with self.request_context(call.environ):
            response = self.process_response(self.errors.refused(refusal, call))
        return Reply(response.status_code, list(response.headers), response.get_data(), response.close)

    def _answered(self, call: Call, until_blocked: bool = False) -> Answer:
        answered = call.answered
        if answered is None:
            try:
                answered = call.view(call)
            except Busy as busy:
                if until_blocked and call.trace and not call.trace.written:
                    raise Queued("blocked", call.client_key) from None
                answered = self.errors.scim(busy, call)
            except Exception as error:  # noqa: BLE001 - whatever happened is answered in the words of SCIM
                answered = self.errors.scim(error, call)
        answered.headers.append(("X-Request-Id", call.request_id))
        counted = self._metrics.answering(call, answered.status)
        if answered.streamed and call.method != "HEAD":
            answered.when_sent(counted)
        else:
            counted()
        return answered

    def _by_flask(self, call: Call) -> Reply:
        started: list[Any] = []

        def start(*answer: Any) -> Any:
            started.extend(answer)

        pieces: Any = super().wsgi_app(call.environ, start)
        status, headers = int(started[0][:3]), started[1]
        if call.environ.get(_STREAMED):
            return Reply(status, headers, _in_larger_pieces(pieces), pieces.close)
        try:
            return Reply(status, headers, b"".join(pieces), lambda: None)
        finally:
            pieces.close()

    # At once --------------------------------------------------------------------------------------------------------

    def wsgi_app(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        """What is under `/scim` by itself, everything else as Flask does it."""
        if _is_scim(environ):
            call = self.identify(environ)
        else:
            call = environ[_CALL] = Call(environ)
        try:
            return self._sent(call, start_response)
        except Queued as queued:
            call.queued = True
            with self.queues[queued.queue].alone():
                return self._sent(call, start_response)

    def _sent(self, call: Call, start_response: Any) -> Iterable[bytes]:
        if _is_scim(call.environ):
            return self._answered(call)(call.environ, start_response)
        return super().wsgi_app(call.environ, start_response)

    def process_response(self, response: Response) -> Response:
        """The same for what Flask does."""
        call, response = current_http_request(), super().process_response(response)
        if request.url_rule:
            call.operation = f"{request.method} {request.url_rule.rule}"
        call.environ[_STREAMED] = response.is_streamed and (response.content_length or LARGE) >= LARGE
        response.headers["X-Request-Id"] = call.request_id
        self._metrics.answering(call, response.status_code)()
        return response

    # Routes of SCIM -------------------------------------------------------------------------------------------------

    def _routed(self, call: Call) -> tuple[View, dict[str, Any]]:
        """The view and its arguments. Raises NotFound and MethodNotAllowed as werkzeug does."""
        parts = call.path.split("/")
        if len(parts) in (5, 6) and all(parts[3:]):
            route = self._short.get((call.method, parts[2], parts[4], len(parts)))
            if route and not (len(parts) == 6 and parts[5].lower() in ENDPOINTS):
                call.operation, view = route
                self._set_limit(call)
                return view, {"slug": parts[3], "uid": parts[5]} if len(parts) == 6 else {"slug": parts[3]}
        # A slash at the end of a base URL makes `…//Users`, and some clients end with one.
        path = without_slashes(call.path)
        refuse_too_long(path)
        adapter = MapAdapter(self.url_map, "", "", "", call.scheme, path, call.method)
        rule, arguments = adapter.match(return_rule=True)
        call.operation = _label(call.method, rule)
        self._set_limit(call)
        return self._view(rule), dict(arguments)

    def _set_limit(self, call: Call) -> None:
        if call.operation in _OF_MEMBERS:
            call.max_content_length = self._most_members

    @cached_property
    def _short(self) -> dict[tuple[str, str, str, int], tuple[str, View]]:
        """Routes of the form `…/Users` and `…/Users/<uid>` by their parts: werkzeug's way to them takes longer."""
        found = {}
        for rule in self.url_map.iter_rules():
            parts = rule.rule.split("/")
            if rule.rule.startswith(f"{PREFIX}/") and parts[4] and parts[5:] in ([], ["<uid>"]):
                for method in rule.methods or ():
                    found[method, parts[2], parts[4], len(parts)] = _label(method, rule), self._view(rule)
        return found

    def _view(self, rule: Rule) -> View:
        # Registered with Flask like any other, but given its request and called without contexts.
        return self.view_functions[rule.endpoint]  # type: ignore[return-value]


def _in_larger_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of some size: each waits for its turn in the queue."""
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


def _is_scim(environ: dict[str, Any]) -> bool:
    path = environ["PATH_INFO"]
    return bool(path.startswith("/scim/") or path == "/scim")


def _label(method: str, rule: Rule) -> str:
    return f"{method} {rule.rule.removeprefix(PREFIX)}"
