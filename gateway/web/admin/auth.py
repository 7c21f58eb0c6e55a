"""The door of the admin REST: whose token is this, which organization and connection is it about, may it see them.

A token of an organization meets what belongs to another as if it did not exist.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import flask_smorest
from flask import Response, current_app, g, request

from gateway.plugin.contracts import Credentials
from gateway.provisioning import Caller, IdpCaller, Provisioning, Target, Trace
from gateway.provisioning.admin_tokens import OPERATOR
from gateway.provisioning.rendering import Versioned, etag
from gateway.scim.documents import shown
from gateway.scim.errors import (
    AuthenticationFailed,
    Forbidden,
    NotFound,
    Refusal,
    TooManyRequests,
    Unavailable,
)
from gateway.store.engine.base import BRIEF
from gateway.store.ids_and_time import now, rfc3339
from gateway.store.portions import OutlinedUser
from gateway.store.records import (
    AdminTokenRecord,
    ConnectionRecord,
    GroupRecord,
    OrganizationRecord,
    UserRecord,
)
from gateway.web.admin.parsing import Reader
from gateway.web.errors import here as calling
from gateway.web.http import Call
from gateway.web.scim.authentication import credentials_of, public_url
from gateway.web.scim.rate_limit import RateLimit

PREFIX = "/admin/v1"
#: Endpoints that look at everybody of an organization or a connection: each has to wait for its turn.
EXPENSIVE = frozenset(
    {
        "group-mapping.preview_mapping",
        "group-mapping.save_mapping",
        "connections.preview_takeover",
        "connections.take_over",
        "users.export_users",
    }
)
#: Endpoints that a token with the scope `events` opens.
EVENT_FEEDS = frozenset({"feeds.list_events"})
_READING = ("GET", "HEAD", "OPTIONS")
#: Endpoints of another method that change nothing, as their routes declare.
ONLY_LOOKING: set[str] = set()
#: What a token of each scope opens, in words.
_OPENED = {
    "read": "GET and what only looks",
    "events": "the feeds of events only (GET /organizations/{organization}/events)",
}
_USUAL_STATUS = {"POST": 201, "DELETE": 204}
#: Microseconds within which a second use of a token is not worth a write.
_MINUTE = 60_000_000


class PreconditionRequired(Refusal):
    """What may move everybody is done only as it was previewed (RFC 6585, 3)."""

    status = 428


@dataclass
class AdminRequest:
    """One request that was let in: who came, for what, and the line it will leave in the activity."""

    gateway: Provisioning
    trace: Trace
    #: Key of the only organization that the token opens; None for an operator, who sees all.
    only_organization: int | None
    #: The stored token that was presented; None for the configured one, which has no limits.
    token: AdminTokenRecord | None = None
    found_organization: OrganizationRecord | None = None
    found_connection: ConnectionRecord | None = None

    @property
    def organization(self) -> OrganizationRecord:
        """The organization in the URL."""
        assert self.found_organization is not None
        return self.found_organization

    @property
    def connection(self) -> ConnectionRecord:
        """The connection in the URL."""
        assert self.found_connection is not None
        return self.found_connection

    @property
    def caller(self) -> Caller:
        """The admin, for stories about the organization."""
        return self.gateway.callers.admin(self.organization)

    @property
    def idp_caller(self) -> IdpCaller:
        """The connection, for stories that look through its eyes."""
        return self.gateway.callers.connection(self.connection, self.organization, self.public_url)

    @property
    def public_url(self) -> str:
        """What base URLs begin with."""
        return public_url(calling(), self.gateway.config)

    @property
    def if_match(self) -> str | None:
        """The version that the admin knows."""
        return request.headers.get("If-Match")

    def only_an_operator(self, what: str) -> None:
        """Refuse a token of an organization."""
        if self.only_organization is not None:
            raise Forbidden(
                f"Only an operator of the application can {what}; this token opens one organization."
            )

    def managers(
        self, records: Iterable[UserRecord | OutlinedUser | GroupRecord]
    ) -> dict[int | None, dict[str, str] | None]:
        """Who manages them, by the key of the connection; nobody for what is manual."""
        keys = sorted({record.connection_id for record in records if record.connection_id is not None})
        found = self.gateway.store.connections.by_keys(self.organization, keys)
        return {None: None} | {key: {"connection": c.uid, "idp": c.idp} for key, c in found.items()}


class Resource(flask_smorest.Blueprint):
    """A blueprint behind the door."""

    ARGUMENTS_PARSER = Reader()

    def __init__(self, name: str, description: str) -> None:
        super().__init__(name, __name__, url_prefix=PREFIX, description=description)
        self.before_request(_enter)
        self.after_request(_leave)

    def route(self, rule: str, *, only_looks: bool = False, **options: Any) -> Any:
        """A route whose view's name is its operationId: a generated client has a function of that name for good.

        `only_looks`: it changes nothing though it is no GET, so that a token with the scope `read` opens it.
        """
        serve = super().route(rule, **options)
        refusals = {"401": "UNAUTHORIZED", "403": "FORBIDDEN"} | ({"404": "NOT_FOUND"} if "<" in rule else {})

        def decorate(view: Any) -> Any:
            if only_looks:
                ONLY_LOOKING.add(f"{self.name}.{view.__name__}")
            first, *more = view.__name__.split("_")
            named = first + "".join(word.title() for word in more)
            return serve(self.doc(operationId=named, responses=refusals)(view))

        return decorate


#: For the documentation of what can be changed: the version that the admin knows.
versioned = Resource.doc(
    parameters=[
        {
            "in": "header",
            "name": "If-Match",
            "schema": {"type": "string"},
            "description": "The ETag of what was read; 412 when it has changed since.",
        }
    ]
)


def here() -> AdminRequest:
    """The visit that is being served."""
    visit: AdminRequest = g.visit
    return visit


def tagged(answer: Any, record: Versioned) -> Any:
    """An answer with the entity tag of what it shows."""
    return answer, {"ETag": etag(record)}


def _enter() -> None:
    gateway: Provisioning = current_app.extensions["gateway"]
    call = calling()
    trace = Trace(
        _operation(),
        call.request_id,
        status=_USUAL_STATUS.get(request.method, 200),
        before_portions=call.expensive,
    )
    call.trace = trace
    try:
        token = _token(gateway, trace, credentials_of(call))
    except _WrongToken as wrong:
        _slow_down()
        if wrong.expired is not None:
            _explain(wrong.expired, trace)
        raise
    visit = g.visit = AdminRequest(gateway, trace, token.organization_id if token else None, token)
    call.client_key = _client_key(token)
    # What the door looked up need not be an argument of every view.
    arguments = request.view_args or {}
    if "organization" in arguments:
        _enter_organization(visit, arguments.pop("organization"))
    if "connection" in arguments:
        _enter_connection(visit, arguments.pop("connection"))
    _check_scope(visit)
    if request.endpoint in EXPENSIVE:
        call.expensive()


def admin_of(gateway: Provisioning, call: Call) -> str:
    """Who calls the admin REST, or nothing: whether a body is worth waiting for. `_enter` looks again, and refuses."""
    if not call.path.startswith(f"{PREFIX}/"):
        return ""
    try:
        trace = Trace("", call.request_id)
        return _client_key(_token(gateway, trace, credentials_of(call)))
    except Refusal:
        return ""


def _client_key(token: AdminTokenRecord | None) -> str:
    """The key by which the queues tell clients apart: each token is one, whatever name its maker gave it."""
    return f"admin {token.uid if token else OPERATOR}"


class _WrongToken(AuthenticationFailed):
    """No admin token that is valid. `expired`: the one that was, for the activity; the answer is the same to all."""

    def __init__(self, expired: AdminTokenRecord | None = None) -> None:
        super().__init__(
            "The admin token is wrong, has expired, or was revoked. Tokens of connections open the SCIM endpoints only."
        )
        self.expired = expired


def _explain(token: AdminTokenRecord, trace: Trace) -> None:
    """Have the activity of the organization, where the token was of one, say why it is not valid."""
    if token.organization_id is not None:
        trace.organization_id, trace.token_prefix = token.organization_id, token.prefix
        trace.stranger = f"expired {token.uid}"
        trace.inside = (
            f"The admin token {token.name} {token.prefix}… expired on {rfc3339(token.expires or 0)}. Make a new one and"
            " enter it where the old one is used."
        )


def _check_scope(visit: AdminRequest) -> None:
    """Refuse what the scope of the token does not open. Raises Forbidden."""
    scope = visit.token.scope if visit.token else "full"
    if scope == "full":
        return
    reads = request.method in _READING or request.endpoint in ONLY_LOOKING
    if reads and (scope == "read" or (scope == "events" and request.endpoint in EVENT_FEEDS)):
        return
    raise Forbidden(
        f"The token has the scope {scope}, which opens {_OPENED.get(scope, 'nothing here')};"
        f" {_operation()} needs a token with the scope {'read or full' if reads else 'full'}."
    )


def _slow_down() -> None:
    """Bound the rate of wrong tokens from one address. Raises TooManyRequests."""
    limits: RateLimit = current_app.extensions["wrong_admin_tokens"]
    if wait := limits.wait(request.remote_addr or ""):
        raise TooManyRequests(
            "Too many requests without a valid admin token come from this address: try again after"
            f" {wait} second{'s' if wait > 1 else ''}.",
            retry_after=wait,
        )


def _operation() -> str:
    """`PATCH /organizations/{organization}/users/{user}`."""
    path = re.sub(r"<([a-z]+)>", r"{\1}", str(request.url_rule))
    return f"{request.method} {path.removeprefix(PREFIX)}"


def _token(gateway: Provisioning, trace: Trace, credentials: Credentials) -> AdminTokenRecord | None:
    """Find the token that was presented; None for the configured one. Raises AuthenticationFailed."""
    if credentials.scheme != "bearer" or not credentials.secret:
        raise AuthenticationFailed("The request carries no token. Send an admin token as a bearer token.")
    configured = gateway.config.admin_token.encode()
    if configured and hmac.compare_digest(credentials.secret.encode(), configured):
        trace.principal = OPERATOR
        return None
    token = gateway.store.admin_tokens.find(credentials.secret)
    if token is None or (token.expires is not None and token.expires <= now()):
        raise _WrongToken(token)
    trace.principal, trace.token_prefix = token.name, token.prefix
    _remember_use(gateway, token, credentials.secret)
    return token


def _remember_use(gateway: Provisioning, token: AdminTokenRecord, value: str) -> None:
    moment = now()
    if token.last_used is not None and moment - token.last_used < _MINUTE:
        return
    try:
        with gateway.store.transaction(BRIEF):
            gateway.store.admin_tokens.used(token, value, moment)
    except Unavailable:
        return  # a database that only reads can still be read


def _enter_organization(visit: AdminRequest, uid: str) -> None:
    found = visit.gateway.store.organizations.by_id(uid)
    if found is None or visit.only_organization not in (None, found.id):
        raise NotFound(f"There is no organization with the id {shown(uid)} here.")
    visit.found_organization = found
    visit.trace.organization_id = found.id
    visit.trace.target = Target("Organization", found.uid, found.name)


def _enter_connection(visit: AdminRequest, uid: str) -> None:
    found = visit.gateway.store.connections.by_id(uid)
    if found is None or visit.only_organization not in (None, found[1].id):
        raise NotFound(f"There is no connection with the id {shown(uid)} here.")
    visit.found_connection, visit.found_organization = found
    visit.trace.organization_id, visit.trace.connection_uid = found[1].id, found[0].uid
    visit.trace.target = Target("Connection", found[0].uid, found[0].name)


def _leave(response: Response) -> Response:
    # Of an operator's token there is neither a line nor an event.
    if (visit := g.get("visit")) and visit.trace.written and visit.trace.organization_id:
        visit.gateway.recorder.changed(visit.trace)
    # Tokens and people's data are in here.
    response.headers["Cache-Control"] = "no-store"
    return response
