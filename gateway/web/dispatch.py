"""Requests below `/scim` go to the application of SCIM, all others to Flask's.

`gateway.app` puts a `Dispatcher` over `Flask.wsgi_app`, as Flask documents it for WSGI middleware.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.scim.errors import Refusal
from gateway.web.flask_app import FlaskApp
from gateway.web.http import Request, ScimRequest, ServerResponse
from gateway.web.queues import RequestQueue
from gateway.web.scim.wsgi import ScimApp


class Dispatcher:
    """Both applications, for a WSGI server and, in two halves, for the server of `gateway serve`."""

    def __init__(self, flask_app: FlaskApp, scim: ScimApp, queues: Mapping[str, RequestQueue]) -> None:
        self.scim, self.queues = scim, queues
        self._flask, self._flask_wsgi = flask_app, flask_app.wsgi_app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve a request, as WSGI has it (PEP 3333)."""
        if _is_scim(environ["PATH_INFO"]):
            return self.scim(environ, start_response)
        return self._flask_wsgi(environ, start_response)

    def identify(self, environ: dict[str, Any]) -> Request:
        """Read the headers of a request and find its client, before its body is there."""
        if _is_scim(environ["PATH_INFO"]):
            return self.scim.identify(environ)
        return self._flask.identify(environ)

    def respond(self, request: Request) -> ServerResponse:
        """Serve a request whose body is there. Raises Queued where others would have to wait for it."""
        return (
            self.scim.respond(request) if isinstance(request, ScimRequest) else self._flask.respond(request)
        )

    def refuse(self, request: Request, refusal: Refusal) -> ServerResponse:
        """Respond with a refusal that arose outside of the views."""
        if isinstance(request, ScimRequest):
            return self.scim.refuse(request, refusal)
        return self._flask.refuse(request, refusal)


def _is_scim(path: str) -> bool:
    return path.startswith("/scim/") or path == "/scim"
