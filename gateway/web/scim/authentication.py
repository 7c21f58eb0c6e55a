"""Authentication of the SCIM endpoints over HTTP: the token of a request, and limits on their number."""

from __future__ import annotations

import base64
import binascii
import re

from gateway.config import Config
from gateway.plugin.contracts import Credentials
from gateway.provisioning import IdpCaller, Provisioning, Trace
from gateway.provisioning.admission import NOT_VALID, UNENCRYPTED, Admission, NotAuthenticated
from gateway.scim.errors import TooManyRequests
from gateway.web.http import Request, ScimRequest
from gateway.web.scim.rate_limit import WRONG_TOKENS, RateLimit

#: Bytes of a body that takes long to read and to do: a group with thousands of members, a Bulk request.
LARGE_BODY = 262_144

#: In one match: cut off one by one, a header of thousands of them would be copied as often.
_DOUBLED = re.compile(r"\s*(?:bearer\s+)+", re.IGNORECASE)


class Authentication:
    """Has provisioning admit each request, and limits their rate."""

    def __init__(self, gateway: Provisioning) -> None:
        self._admission = gateway.admission
        self._https = gateway.config.public_url.startswith("https:")
        self._limits = RateLimit(gateway.config.rate_limit, gateway.config.workers)
        self._wrong = RateLimit(WRONG_TOKENS, gateway.config.workers)

    def note_client(self, request: ScimRequest, trace: Trace) -> None:
        """Note which product calls, and the flags behind its base URL that a plugin knows."""
        trace.agent = request.agent
        if request.environ.get("QUERY_STRING"):
            trace.flags = request.flags(self._admission.url_flags)
        if self._https and request.environ.get("HTTP_X_FORWARDED_PROTO") == "http":
            trace.flags = (*trace.flags, UNENCRYPTED)

    def find(self, request: ScimRequest, slug: str, trace: Trace) -> Admission:
        """Return the connection of a base URL without authentication. Raises NotFound."""
        try:
            return Admission(self._admission.find(slug, request.called_origin, trace))
        finally:
            request.idp = trace.idp

    def identify(self, request: ScimRequest, slug: str, trace: Trace) -> Admission:
        """Authenticate the caller of a connection. No byte of the body is read before.

        Raises AuthenticationFailed, and TooManyRequests for too many wrong tokens.
        """
        admission = self._authenticate(request, slug, trace)
        request.client_key = admission.caller.connection.uid
        return admission

    def admit(self, request: ScimRequest, admission: Admission, trace: Trace) -> None:
        """Let an authenticated caller in: within its rate, and while its connection may be provisioned.

        Raises TooManyRequests and Forbidden.
        """
        # The body is read before a caller may be refused: what stays unread makes the server close the connection, and
        # a client that still sends never sees the refusal.
        large = len(request.read_body()) > LARGE_BODY
        if not request.queued:
            self._limits.admit(admission.caller.connection.uid)
        if large:
            request.require_queue()
        if admission.refusal or admission.decisions:
            _permit(admission, trace)

    def admit_operation(self, request: ScimRequest, slug: str, trace: Trace) -> IdpCaller:
        """Authenticate and admit an operation of a bulk request, which counts as one request against the limit.

        Raises AuthenticationFailed and Forbidden.
        """
        admission = self._authenticate(request, slug, trace)
        _permit(admission, trace)
        return admission.caller

    def _authenticate(self, request: ScimRequest, slug: str, trace: Trace) -> Admission:
        try:
            return self._admission.admit(slug, credentials_of(request), request.called_origin, trace)
        except NotAuthenticated as refused:
            self._count_wrong_token(request, slug if refused.caller else "")
            self._admission.explain(refused, trace)
            raise
        finally:
            request.idp = trace.idp

    def _count_wrong_token(self, request: ScimRequest, slug: str) -> None:
        """Count a wrong token. The token is looked up first, so a right one from the same address always passes."""
        wait = self._wrong.wait(f"{request.environ.get('REMOTE_ADDR', '')} {slug}")
        if wait:
            raise TooManyRequests(
                f"{NOT_VALID} Too many requests without a valid token come from this address: try again after {wait}"
                f" second{'s' if wait > 1 else ''}.",
                retry_after=wait,
            )


def _permit(admission: Admission, trace: Trace) -> None:
    trace.decide(admission.decisions)
    if admission.refusal is not None:
        raise admission.refusal


def credentials_of(request: Request) -> Credentials:
    """Parse the `Authorization` header; a doubled `Bearer` and a bare token, common slips of setup, are accepted."""
    header = request.environ.get("HTTP_AUTHORIZATION", "").strip()
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


def public_url(request: Request, config: Config) -> str:
    """Return the beginning of base URLs: as configured, else scheme and host of the request."""
    return config.public_url or request.called_origin()
