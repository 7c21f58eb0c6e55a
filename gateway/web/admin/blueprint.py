"""The blueprint that every resource of the admin REST is written with: authentication, operation ids, pages, ETags."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import flask_smorest
from flask import Response, current_app, g, request
from marshmallow import Schema

from gateway.provisioning import Provisioning, Trace
from gateway.provisioning.rendering import Versioned, etag
from gateway.scim.errors import Refusal
from gateway.web.admin.auth import authenticate, check_scope, client_key
from gateway.web.admin.context import PREFIX, AdminRequest, current_request
from gateway.web.admin.pagination import PageQuery, page_of, paginated
from gateway.web.admin.parsing import StrictParser
from gateway.web.errors import current_http_request

_READING = ("GET", "HEAD", "OPTIONS")
_USUAL_STATUS = {"POST": 201, "DELETE": 204}


class PreconditionRequired(Refusal):
    """An operation that may change many users is done only as it was previewed (RFC 6585, 3)."""

    status = 428


class Blueprint(flask_smorest.Blueprint):
    """A resource of the admin REST.

    A token of an organization is answered as if what belongs to another organization did not exist.
    """

    ARGUMENTS_PARSER = StrictParser()

    def __init__(self, name: str, description: str) -> None:
        super().__init__(name, __name__, url_prefix=PREFIX, description=description)
        #: Endpoints by what their routes declare.
        self._read_only: set[str] = set()
        self._expensive: set[str] = set()
        self._event_feeds: set[str] = set()
        self._body_limits: dict[str, int] = {}
        self.before_request(self._begin_request)
        self.after_request(_end_request)

    def route(
        self,
        rule: str,
        *,
        read_only: bool = False,
        expensive: bool = False,
        event_feed: bool = False,
        body_limit: int = 0,
        **options: Any,
    ) -> Any:
        """Register a view. Its name in camel case is its operationId, of which generated clients make a function.

        `read_only`: it changes nothing though it is no GET, so that a token with the scope `read` opens it.
        `expensive`: it looks at everybody of an organization or a connection, so it waits in a queue.
        `event_feed`: a token with the scope `events` opens it.
        `body_limit`: bytes of a body that may be larger than others.
        """
        serve = super().route(rule, **options)
        refusals = {"401": "UNAUTHORIZED", "403": "FORBIDDEN"} | ({"404": "NOT_FOUND"} if "<" in rule else {})
        kinds = (read_only, self._read_only), (expensive, self._expensive), (event_feed, self._event_feeds)

        def decorate(view: Any) -> Any:
            for declared, endpoints in kinds:
                if declared:
                    endpoints.add(f"{self.name}.{view.__name__}")
            if body_limit:
                self._body_limits[f"{self.name}.{view.__name__}"] = body_limit
            first, *more = view.__name__.split("_")
            named = first + "".join(word.title() for word in more)
            return serve(self.doc(operationId=named, responses=refusals)(view))

        return decorate

    def paginate(
        self,
        item: type[Schema],
        to_json: Callable[[AdminRequest, Any], list[dict[str, Any]]],
        query: type[PageQuery] = PageQuery,
    ) -> Callable[[Any], Any]:
        """Serve the rows that a view returns in pages; the view is passed a `Pagination`.

        `to_json` makes items of the rows of one page, `item` and `query` describe both.
        """

        def decorate(view: Any) -> Any:
            paged = paginated(view, lambda rows: to_json(current_request(), rows))
            return self.arguments(query, location="query")(self.response(200, page_of(item))(paged))

        return decorate

    def _begin_request(self) -> None:
        gateway: Provisioning = current_app.extensions["gateway"]
        http_request, operation = current_http_request(), _operation()
        trace = http_request.trace = Trace(
            operation,
            http_request.request_id,
            status=_USUAL_STATUS.get(request.method, 200),
            before_portions=http_request.require_queue,
        )
        token = authenticate(gateway, http_request, trace)
        if limit := self._body_limits.get(str(request.endpoint)):
            http_request.max_content_length = max(limit, gateway.config.body_limit)
        admin_request = g.admin_request = AdminRequest(gateway, trace, token=token)
        http_request.client_key = client_key(token)
        # What is looked up here need not be an argument of every view.
        arguments = request.view_args or {}
        if "organization" in arguments:
            admin_request.resolve_organization(arguments.pop("organization"))
        if "connection" in arguments:
            admin_request.resolve_connection(arguments.pop("connection"))
        reads = request.method in _READING or request.endpoint in self._read_only
        check_scope(token, operation, reads, request.endpoint in self._event_feeds)
        if request.endpoint in self._expensive:
            http_request.require_queue()


#: For the documentation of what can be changed: the version that the admin knows.
accepts_if_match = Blueprint.doc(
    parameters=[
        {
            "in": "header",
            "name": "If-Match",
            "schema": {"type": "string"},
            "description": "The ETag of what was read; 412 when it has changed since.",
        }
    ]
)


def with_etag(answer: Any, record: Versioned) -> Any:
    """Return an answer with the entity tag of the record that it shows."""
    return answer, {"ETag": etag(record)}


def _operation() -> str:
    """Name the operation: `PATCH /organizations/{organization}/users/{user}`."""
    path = re.sub(r"<([a-z]+)>", r"{\1}", str(request.url_rule))
    return f"{request.method} {path.removeprefix(PREFIX)}"


def _end_request(response: Response) -> Response:
    # Without an organization, as for an operator's token, there is neither an activity record nor an event.
    admin_request: AdminRequest | None = g.get("admin_request")
    if admin_request and admin_request.trace.written and admin_request.trace.organization_id:
        admin_request.gateway.activity_writer.record_change(admin_request.trace)
    # Tokens and people's data are in here.
    response.headers["Cache-Control"] = "no-store"
    return response
