"""The Flask application. Requests of identity providers go straight from the route to the view, without contexts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request
from werkzeug.routing import MapAdapter, Rule

from gateway.provisioning import Provisioning
from gateway.web.base_urls import ENDPOINTS, refuse_too_long, without_slashes
from gateway.web.calls import Answer, Call
from gateway.web.errors import Errors, here
from gateway.web.limits import WRONG_TOKENS, Limits
from gateway.web.scim import PREFIX

if TYPE_CHECKING:
    from gateway.web.metrics import Metrics

#: Requests that may hold a whole group.
_OF_MEMBERS = frozenset({"POST /Groups", "PUT /Groups/<uid>", "PATCH /Groups/<uid>"})


class App(Flask):
    """Every request has an id, which its answer and the activity tell, and is counted."""

    request_class = Call

    def __init__(self, gateway: Provisioning, metrics: Metrics) -> None:
        super().__init__("gateway", static_folder=None)
        self.extensions["gateway"] = gateway
        self.extensions["wrong_admin_tokens"] = Limits(WRONG_TOKENS, gateway.config.workers)
        self.config["MAX_CONTENT_LENGTH"] = self._most = gateway.config.body_limit
        self._most_members = max(self._most, gateway.config.group_body_limit)
        self._metrics, self.errors = metrics, Errors(gateway)
        self.errors.install(self)

    def wsgi_app(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        """What is under `/scim` by itself, everything else as Flask does it."""
        path = environ["PATH_INFO"]
        if not path.startswith("/scim/") and path != "/scim":
            return super().wsgi_app(environ, start_response)
        call = Call(environ)
        call.max_content_length = self._most
        try:
            view, arguments = self._routed(call)
            answered = view(call, **arguments)
        except Exception as error:  # noqa: BLE001 - whatever happened is answered in the words of SCIM
            answered = self.errors.scim(error, call)
        answered.headers.append(("X-Request-Id", call.request_id))
        counted = self._metrics.answering(call, answered.status)
        if answered.streamed and call.method != "HEAD":
            answered.when_sent(counted)
        else:
            counted()
        return answered(environ, start_response)

    def process_response(self, response: Response) -> Response:
        """The same for what Flask does."""
        call, response = here(), super().process_response(response)
        if request.url_rule:
            call.operation = f"{request.method} {request.url_rule.rule}"
        response.headers["X-Request-Id"] = call.request_id
        self._metrics.answering(call, response.status_code)()
        return response

    def _routed(self, call: Call) -> tuple[Callable[..., Answer], dict[str, Any]]:
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
    def _short(self) -> dict[tuple[str, str, str, int], tuple[str, Callable[..., Answer]]]:
        """Routes of the form `…/Users` and `…/Users/<uid>` by their parts: werkzeug's way to them takes longer."""
        found = {}
        for rule in self.url_map.iter_rules():
            parts = rule.rule.split("/")
            if rule.rule.startswith(f"{PREFIX}/") and parts[4] and parts[5:] in ([], ["<uid>"]):
                for method in rule.methods or ():
                    found[method, parts[2], parts[4], len(parts)] = _label(method, rule), self._view(rule)
        return found

    def _view(self, rule: Rule) -> Callable[..., Answer]:
        # Registered with Flask like any other, but given its request and called without contexts.
        return self.view_functions[rule.endpoint]  # type: ignore[return-value]


def _label(method: str, rule: Rule) -> str:
    return f"{method} {rule.rule.removeprefix(PREFIX)}"
