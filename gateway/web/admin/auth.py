"""Authentication of the admin REST: admin tokens, their scopes, and the limit on wrong ones."""

from __future__ import annotations

import hmac

from flask import current_app, request

from gateway.plugin.contracts import Credentials
from gateway.provisioning import Provisioning, Trace
from gateway.provisioning.admin_tokens import OPERATOR
from gateway.scim.errors import (
    AuthenticationFailed,
    Forbidden,
    Refusal,
    TooManyRequests,
    Unavailable,
)
from gateway.store.engine.base import BRIEF
from gateway.store.ids_and_time import now, rfc3339
from gateway.store.records import AdminTokenRecord
from gateway.web.admin.context import PREFIX
from gateway.web.http import Call
from gateway.web.scim.authentication import credentials_of
from gateway.web.scim.rate_limit import RateLimit

#: What a token of each scope opens, in words.
_OPENED = {
    "read": "GET and what only looks",
    "events": "the feeds of events only (GET /organizations/{organization}/events)",
}
#: Microseconds within which a second use of a token is not worth a write.
_MINUTE = 60_000_000


class _WrongToken(AuthenticationFailed):
    """No admin token that is valid. `expired`: the one that was, for the activity; the answer is the same to all."""

    def __init__(self, expired: AdminTokenRecord | None = None) -> None:
        super().__init__(
            "The admin token is wrong, has expired, or was revoked. Tokens of connections open the SCIM endpoints only."
        )
        self.expired = expired


def authenticate(gateway: Provisioning, call: Call, trace: Trace) -> AdminTokenRecord | None:
    """Return the admin token that was presented, or None for the configured one.

    Wrong tokens are counted for each address. Raises AuthenticationFailed and TooManyRequests.
    """
    try:
        return _find_token(gateway, trace, credentials_of(call))
    except _WrongToken as wrong:
        _count_wrong_token()
        if wrong.expired is not None:
            _explain(wrong.expired, trace)
        raise


def admin_key(gateway: Provisioning, call: Call) -> str:
    """Return the key of the admin who calls, "" for nobody: whether a body is worth waiting for.

    It neither counts nor refuses; `authenticate` does, once the body is there.
    """
    if not call.path.startswith(f"{PREFIX}/"):
        return ""
    try:
        return client_key(_find_token(gateway, Trace("", call.request_id), credentials_of(call)))
    except Refusal:
        return ""


def client_key(token: AdminTokenRecord | None) -> str:
    """Return the key by which the queues tell clients apart: each token is one, whatever its name."""
    return f"admin {token.uid if token else OPERATOR}"


def check_scope(token: AdminTokenRecord | None, operation: str, reads: bool, event_feed: bool) -> None:
    """Refuse an operation that the scope of a token does not open.

    `reads`: the operation changes nothing; `event_feed`: it is one that the scope `events` opens. Raises Forbidden.
    """
    scope = token.scope if token else "full"
    if scope == "full" or (reads and (scope == "read" or (scope == "events" and event_feed))):
        return
    raise Forbidden(
        f"The token has the scope {scope}, which opens {_OPENED.get(scope, 'nothing here')};"
        f" {operation} needs a token with the scope {'read or full' if reads else 'full'}."
    )


def _find_token(gateway: Provisioning, trace: Trace, credentials: Credentials) -> AdminTokenRecord | None:
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
    _record_use(gateway, token, credentials.secret)
    return token


def _record_use(gateway: Provisioning, token: AdminTokenRecord, value: str) -> None:
    moment = now()
    if token.last_used is not None and moment - token.last_used < _MINUTE:
        return
    try:
        with gateway.store.transaction(BRIEF):
            gateway.store.admin_tokens.used(token, value, moment)
    except Unavailable:
        return  # a database that only reads can still be read


def _count_wrong_token() -> None:
    limits: RateLimit = current_app.extensions["wrong_admin_tokens"]
    if wait := limits.wait(request.remote_addr or ""):
        raise TooManyRequests(
            "Too many requests without a valid admin token come from this address: try again after"
            f" {wait} second{'s' if wait > 1 else ''}.",
            retry_after=wait,
        )


def _explain(token: AdminTokenRecord, trace: Trace) -> None:
    """Have the activity of the token's organization, where it has one, say that the token expired."""
    if token.organization_id is not None:
        trace.organization_id, trace.token_prefix = token.organization_id, token.prefix
        trace.stranger = f"expired {token.uid}"
        trace.inside = (
            f"The admin token {token.name} {token.prefix}… expired on {rfc3339(token.expires or 0)}. Make a new one and"
            " enter it where the old one is used."
        )
