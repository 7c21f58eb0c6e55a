"""Authentication of the admin REST: admin tokens, their scopes, and the limit on wrong ones."""

from __future__ import annotations

from flask import current_app, request

from gateway.provisioning import Provisioning, Trace
from gateway.provisioning.admin_tokens import OPERATOR, WrongAdminToken, note_expired
from gateway.provisioning.imports.csv_files import MOST_BYTES
from gateway.scim.errors import Forbidden, Refusal, TooManyRequests
from gateway.store.records import AdminTokenRecord
from gateway.web.admin.context import PREFIX
from gateway.web.http import Request
from gateway.web.scim.authentication import credentials_of
from gateway.web.scim.rate_limit import RateLimit

#: What a token of each scope opens, in words.
_OPENED = {
    "read": "GET and what only looks",
    "events": "the feeds of events and snapshots only (GET /organizations/{organization}/events, GET /events)",
}


def authenticate(gateway: Provisioning, request: Request, trace: Trace) -> AdminTokenRecord | None:
    """Return the admin token that was presented, or None for the configured one.

    Wrong tokens are counted for each address. Raises AuthenticationFailed and TooManyRequests.
    """
    try:
        return gateway.admin_access.authenticate(credentials_of(request), trace)
    except WrongAdminToken as wrong:
        _count_wrong_token()
        note_expired(wrong, trace)
        raise


def admin_key(gateway: Provisioning, request: Request) -> str:
    """Return the key of the admin who calls, "" for nobody: whether a body is worth waiting for.

    It neither counts nor refuses; `authenticate` does, once the body is there.
    """
    if not request.path.startswith(f"{PREFIX}/"):
        return ""
    try:
        token = gateway.admin_access.authenticate(credentials_of(request), Trace("", request.request_id))
        if request.path.endswith("/imports"):
            # Its route is not known yet: the body is larger than that of others.
            request.max_content_length = max(MOST_BYTES, gateway.config.body_limit)
        return client_key(token)
    except Refusal:
        return ""


def client_key(token: AdminTokenRecord | None) -> str:
    """Return the key by which the queues distinguish clients: each token is one, whatever its name."""
    return f"admin {token.uid if token else OPERATOR}"


def check_scope(token: AdminTokenRecord | None, operation: str, reads: bool, event_feed: bool) -> None:
    """Refuse an operation that the scope of a token does not open.

    `reads`: the operation changes nothing; `event_feed`: it is one that the scope `events` opens, though it may store
    what a follower has acknowledged. Raises Forbidden.
    """
    scope = token.scope if token else "full"
    if scope == "full" or (scope == "read" and reads) or (scope == "events" and event_feed):
        return
    raise Forbidden(
        f"The token has the scope {scope}, which opens {_OPENED.get(scope, 'nothing here')};"
        f" {operation} needs a token with the scope {'read or full' if reads else 'full'}."
    )


def _count_wrong_token() -> None:
    limits: RateLimit = current_app.extensions["wrong_admin_tokens"]
    if wait := limits.wait(request.remote_addr or ""):
        raise TooManyRequests(
            "Too many requests without a valid admin token come from this address: try again after"
            f" {wait} second{'s' if wait > 1 else ''}.",
            retry_after=wait,
        )
