"""The gate of the SCIM endpoints: which connection is this, who knocks, and may they come in."""

from __future__ import annotations

import base64
import binascii
import re

from flask import Request

from gateway.config import Config
from gateway.plugin.contracts import Credentials, Principal
from gateway.provisioning import IdpCaller, Provisioning, Trace
from gateway.scim.errors import AuthenticationFailed, Forbidden, NotFound, TooManyRequests, Unavailable
from gateway.store.connections import AuthenticationRecord
from gateway.store.engine.base import BRIEF
from gateway.store.ids_and_time import rfc3339
from gateway.web.http import Call
from gateway.web.scim.rate_limit import WRONG_TOKENS, RateLimit

#: Bytes of a body that takes long to read and to do: a group with thousands of members, a Bulk request.
LARGE_BODY = 262_144

#: In one match: cut off one by one, a header of thousands of them would be copied as often.
_DOUBLED = re.compile(r"\s*(?:bearer\s+)+", re.IGNORECASE)

_REMEDY = "Copy the base URL and the token again from the application, or make a new token there."

_NOT_VALID = f"The token is wrong, has expired, was revoked, or belongs to another base URL. {_REMEDY}"


class Authentication:
    """Opens for identity providers."""

    def __init__(self, gateway: Provisioning) -> None:
        self.gateway = gateway
        self._limits = RateLimit(gateway.config.rate_limit, gateway.config.workers)
        self._wrong = RateLimit(WRONG_TOKENS, gateway.config.workers)

    def find(self, call: Call, slug: str, trace: Trace) -> IdpCaller:
        """The connection behind a base URL."""
        found = self.gateway.store.connections.for_authentication(slug, ())
        if found is None:
            raise NotFound(f"No connection has this base URL. {_REMEDY}")
        return self._caller(call, found, trace)

    def identify(self, call: Call, slug: str, trace: Trace) -> IdpCaller:
        """Authenticate the caller of a connection. No byte of the body is read before."""
        caller = self._known(call, slug, trace)
        call.client_key = caller.connection.uid
        return caller

    def admit(self, call: Call, caller: IdpCaller, trace: Trace) -> None:
        """Let a known caller in: within its rate, and while its connection may be provisioned."""
        # The body is read before a caller may be refused: what stays unread makes the server close the connection, and
        # a client that still sends never sees the refusal.
        large = len(call.body()) > LARGE_BODY
        if not call.queued:
            self._limits.admit(caller.connection.uid)
        if large:
            call.expensive()
        self._admit(caller, trace)

    def again(self, call: Call, slug: str, trace: Trace) -> IdpCaller:
        """The same for an operation of a bulk request, which was counted as one request when it came in."""
        caller = self._known(call, slug, trace)
        self._admit(caller, trace)
        return caller

    def _known(self, call: Call, slug: str, trace: Trace) -> IdpCaller:
        store, credentials = self.gateway.store, credentials_of(call)
        secret = credentials.secret
        digests = store.tokens.digests(secret) if secret else []
        found = store.connections.for_authentication(slug, digests)
        if found is None:
            # A base URL that names nothing is answered like one whose token is wrong.
            self._slow_down(call, "")
            raise AuthenticationFailed(_NOT_VALID)
        caller = self._caller(call, found, trace)
        if not secret:
            trace.stranger = "no token"
            self._slow_down(call, slug)
            raise AuthenticationFailed("The request carries no token. Enter the token as a bearer token.")
        if found.token:
            own = Principal(label=found.token[1], token_id=found.token[0])
            credentials = Credentials(credentials.scheme, secret, own)
        principal = trace.record(self.gateway.plugins.authenticate(caller.words, credentials))
        if principal is None:
            trace.stranger = "wrong token"
            self._slow_down(call, slug)
            self._explain(caller, secret, trace)
            raise AuthenticationFailed(_NOT_VALID)
        trace.principal, trace.token_id = principal.label, principal.token_id
        if found.token and principal.token_id == found.token[0]:
            trace.token_prefix = found.token[2]
            if found.digest != digests[0]:
                self._renew(str(found.digest), digests[0])
        return caller

    def _renew(self, old: str, new: str) -> None:
        """Store a token under the key in force that was found by an older one."""
        try:
            with self.gateway.store.transaction(BRIEF):
                self.gateway.store.tokens.renew(old, new)
        except Unavailable:
            return  # the next request with this token tries again

    def _slow_down(self, call: Call, slug: str) -> None:
        """Count a wrong token. The token is looked up first, so a right one from the same address always passes."""
        wait = self._wrong.wait(f"{call.environ.get('REMOTE_ADDR', '')} {slug}")
        if wait:
            raise TooManyRequests(
                f"{_NOT_VALID} Too many requests without a valid token come from this address: try again after {wait}"
                f" second{'s' if wait > 1 else ''}.",
                retry_after=wait,
            )

    def _explain(self, caller: IdpCaller, secret: str, trace: Trace) -> None:
        """Have the activity say why a token is not valid here; the answer says the same to everybody."""
        store, connection = self.gateway.store, caller.connection
        known = store.tokens.known(store.tokens.digests(secret))
        found = store.connections.by_key(known.connection_id) if known else None
        if known is None or found is None or found[1].id != caller.organization.id:
            trace.stranger = "unknown token"
            trace.inside = (
                "The token is unknown: it is none of this organization's. Copy it again from the application without"
                " spaces, or make a new one there."
            )
            return
        token = f"{known.label} {known.prefix}…".strip()
        if known.connection_id != connection.id:
            trace.stranger = f"foreign {known.prefix}"
            trace.inside = (
                f"The token {token} belongs to the connection {found[0].name!r} of this organization, not to"
                f" {connection.name!r}. Enter the base URL and the token of one and the same connection."
            )
        else:
            how, at = ("was revoked", known.revoked) if known.revoked else ("expired", known.expires)
            trace.stranger = f"{how} {known.prefix}"
            trace.inside = (
                f"The token {token} {how} on {rfc3339(at or 0)}. Make a new one in the application and enter it at the"
                " identity provider."
            )

    def _caller(self, call: Call, found: AuthenticationRecord, trace: Trace) -> IdpCaller:
        connection, organization, *_ = found
        trace.organization_id, trace.connection_uid = organization.id, connection.uid
        call.idp = connection.idp
        return self.gateway.callers.connection(
            connection, organization, public_url(call, self.gateway.config)
        )

    def _admit(self, caller: IdpCaller, trace: Trace) -> None:
        reasons = trace.record(self.gateway.setup.obstacles(caller.tenant))
        if not caller.connection.provisioning:
            reasons.append(
                f"Provisioning is switched off for the connection {caller.connection.name!r}. An admin of the"
                " application can switch it on there."
            )
        if reasons:
            raise Forbidden(" ".join(reasons))


def credentials_of(call: Request) -> Credentials:
    """What `Authorization` holds. A doubled `Bearer` and a bare token are common slips of setting up, and accepted."""
    header = call.environ.get("HTTP_AUTHORIZATION", "").strip()
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "basic":
        try:
            return Credentials("basic", base64.b64decode(rest, validate=True).decode())
        except (binascii.Error, UnicodeDecodeError):
            return Credentials("basic", "")
    if scheme.lower() != "bearer":
        return Credentials("", header if not rest else "")
    doubled = _DOUBLED.match(rest)
    return Credentials("bearer", rest[doubled.end() :].strip() if doubled else rest.strip())


def public_url(call: Call, config: Config) -> str:
    """What base URLs begin with: as configured, else as the request came in."""
    return config.public_url or call.called_at()
