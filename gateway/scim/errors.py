"""Refusals: the errors of RFC 7644, section 3.12, as exceptions, one class for each reason.

`detail` is shown, word for word, to the admin of the identity provider: say what was wrong, with which value, and
what to do.
"""

from __future__ import annotations

import json
from typing import ClassVar

ERROR_URN = "urn:ietf:params:scim:api:messages:2.0:Error"


class Refusal(Exception):
    """A request that is answered with an error; `detail` is one or two sentences for an admin."""

    status: ClassVar[int] = 400
    scim_type: ClassVar[str | None] = None

    def __init__(self, detail: str, *, retry_after: int | None = None, page: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        #: Where an admin of the application decides about it: `safety`, `adoption`, `domains`, `person`, or nowhere.
        self.page = page
        #: Whole seconds after which the same request may be sent again (RFC 9110, 10.2.3), or None.
        self.retry_after = retry_after

    def as_json(self) -> str:
        """Return the error message as JSON, in ASCII, so that any client can read lone surrogates in it."""
        body: dict[str, object] = {"schemas": [ERROR_URN], "status": str(self.status)}
        if self.scim_type:
            body["scimType"] = self.scim_type
        body["detail"] = self.detail
        return json.dumps(body)


# RFC 7644, table 9: the detail error keywords that this server uses, all but `uniqueness` with status 400.


class InvalidFilter(Refusal):
    """The filter is malformed, or compares what cannot be compared."""

    scim_type = "invalidFilter"


class TooMany(Refusal):
    """The list asks for more work than the server does in one request; the sentence says how to ask for less."""

    scim_type = "tooMany"


class Uniqueness(Refusal):
    """A value that must be unique is held by another resource."""

    status = 409
    scim_type = "uniqueness"


class Gone(Refusal):
    """What is asked for was here and is not any more, and will not come back (RFC 9110, 15.5.11)."""

    status = 410


class Mutability(Refusal):
    """The change meets a read-only or immutable attribute."""

    scim_type = "mutability"


class InvalidSyntax(Refusal):
    """The body is not the JSON, or not the message, that was expected."""

    scim_type = "invalidSyntax"


class InvalidPath(Refusal):
    """The path of a PATCH operation is malformed."""

    scim_type = "invalidPath"


class NoTarget(Refusal):
    """The path of a PATCH operation selects nothing that could be changed."""

    scim_type = "noTarget"


class InvalidValue(Refusal):
    """A value is missing, of the wrong type, or not allowed here."""

    scim_type = "invalidValue"


# RFC 9865, 2.1: the detail error keywords of cursors.


class InvalidCursor(Refusal):
    """The cursor was not issued for this query."""

    scim_type = "invalidCursor"


class ExpiredCursor(Refusal):
    """The cursor is too old."""

    scim_type = "expiredCursor"


class InvalidCount(Refusal):
    """A page of that size is not available with a cursor."""

    scim_type = "invalidCount"


# RFC 7644, table 8: refusals that have an HTTP status and no keyword.


class AuthenticationFailed(Refusal):
    """The credentials are missing, unknown, expired or revoked."""

    status = 401


class Forbidden(Refusal):
    """The caller is authenticated but not authorized; the sentence says who can change that."""

    status = 403


class OverCapacity(Forbidden):
    """No seat is left for one more active user."""


class NotFound(Refusal):
    """There is no such resource here; a resource of another tenant is answered alike."""

    status = 404


class MethodNotAllowed(Refusal):
    """The URL exists, the method does not."""

    status = 405


class Conflict(Refusal):
    """The request contradicts the state of the resource."""

    status = 409


class PreconditionFailed(Refusal):
    """The resource is no longer the one that `If-Match` names."""

    status = 412


class PayloadTooLarge(Refusal):
    """The body is larger than the server reads."""

    status = 413


class UnsupportedMediaType(Refusal):
    """The body is not JSON by its `Content-Type`."""

    status = 415


class RequestTimeout(Refusal):
    """The rest of the request did not come in time (RFC 9110, 15.5.9)."""

    status = 408


class TooManyRequests(Refusal):
    """The caller exceeded its rate limit; `retry_after` says when to retry (RFC 6585, 4)."""

    status = 429


class Waiting(Refusal):
    """An admin holds the change back; the same request succeeds once the admin has allowed it.

    `status` is the one after which the identity provider tries again by itself, as its plugin says.
    """

    def __init__(
        self,
        detail: str,
        *,
        page: str,
        status: int = 429,
        scim_type: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(detail, retry_after=retry_after, page=page)
        self.status, self.scim_type = status, scim_type  # type: ignore[misc]


class NotSupported(Refusal):
    """A part of the protocol that this server does not implement."""

    status = 501


class Unavailable(Refusal):
    """Nothing was changed; the same request may succeed later."""

    status = 503


class Unexpected(Refusal):
    """The server failed; the cause is in its log under the request id, never in the response."""

    status = 500
