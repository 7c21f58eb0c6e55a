"""Sends one message to one endpoint, and returns what came of it; reads and writes nothing of the store."""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from gateway.provisioning.webhooks.addresses import check_url, policy
from gateway.scim.errors import InvalidValue
from gateway.scim.escaping import escape_controls

if TYPE_CHECKING:
    import requests

    from gateway.provisioning.webhooks.connections import Session

__all__ = ["Outcome", "Sender", "check_url"]

#: Seconds of a whole attempt, and of its time after the headers of the answer: the status is known by then.
ATTEMPT_SECONDS, BODY_SECONDS = 15.0, 2.0
#: Bytes of an answer that are kept as text, and those that are read to use its connection again.
RESPONSE_LIMIT, DRAIN_LIMIT = 1024, 65_536


class Outcome(NamedTuple):
    """What came of an attempt. `error` is a sentence where there is no answer, or one that cannot be a success."""

    #: Of the answer, None without one.
    status: int | None
    #: Milliseconds of the whole attempt.
    ms: int
    error: str | None
    #: The begin of the answer's body as one line of text.
    response: str | None
    #: Seconds, as the endpoint asked for them; not limited here.
    retry_after: int | None


class Sender:
    """Posts messages. Each thread has connections of its own, which stay open for the next message."""

    def __init__(self, allow: Sequence[str], seconds: float = ATTEMPT_SECONDS) -> None:
        """`allow`: networks such as `10.0.0.0/8` that endpoints of the operator may be in; `seconds`: of an attempt."""
        self._allow, self._seconds = tuple(allow), seconds
        self._own = threading.local()
        self._context: ssl.SSLContext | None = None
        self._sessions: list[Session] = []
        self._lock = threading.Lock()

    def post(self, url: str, body: bytes, headers: Mapping[str, str], private_allowed: bool) -> Outcome:
        """Send a body, and return what came of it within `seconds`; no endpoint makes this raise.

        `private_allowed`: it is an endpoint of the operator, which may be in the networks `allow`.
        """
        # Late: a deployment without webhooks imports no HTTP client.
        from gateway.provisioning.webhooks import connections

        session = self._session(private_allowed)
        begun, attempt = time.monotonic(), connections.attempt
        attempt.policy = policy(self._allow, private_allowed)
        attempt.deadline, attempt.connected = begun + self._seconds, False
        status = retry_after = response = error = None
        try:
            check_url(url, self._allow, private_allowed)
            answer = self._request(session, url, body, {"Content-Type": "application/json", **headers})
            status, retry_after = answer.status_code, _retry_after(answer.headers.get("Retry-After"))
            attempt.deadline = min(attempt.deadline, time.monotonic() + BODY_SECONDS)
            response = _read_text(answer)
            error = _redirect_error(status, answer.headers.get("Location"))
        except InvalidValue as refusal:
            error = refusal.detail
        except connections.NotReachable as reason:
            error = str(reason)
        except connections.FAILURES as failure:
            error = _error(failure, time.monotonic() - begun)
        return Outcome(status, round((time.monotonic() - begun) * 1000), error, response, retry_after)

    def close(self) -> None:
        """Close the connections of all threads; none may be in `post`."""
        with self._lock:
            for session in self._sessions:
                session.close()
            self._sessions.clear()
            self._own = threading.local()

    def _request(self, session: Session, url: str, body: bytes, headers: dict[str, str]) -> requests.Response:
        """Post, and once more where the endpoint has closed the connection that was kept."""
        from gateway.provisioning.webhooks.connections import attempt

        try:
            return session.post_bytes(url, body, headers, self._seconds)
        except OSError as failure:
            if attempt.connected or not any(isinstance(cause, ConnectionError) for cause in _causes(failure)):
                raise
        return session.post_bytes(url, body, headers, self._seconds)

    def _session(self, private_allowed: bool) -> Session:
        """Return this thread's session; an organization's endpoint never gets a connection made for an operator's."""
        from gateway.provisioning.webhooks import connections

        mine: dict[bool, Session] = vars(self._own).setdefault("sessions", {})
        if private_allowed not in mine:
            with self._lock:
                self._context = self._context or connections.tls_context()
                mine[private_allowed] = connections.Session(self._context)
                self._sessions.append(mine[private_allowed])
        return mine[private_allowed]


def _read_text(answer: requests.Response) -> str:
    """Read the begin of the body as it came, and the rest of a short one, so that the connection can be used again."""
    from gateway.provisioning.webhooks.connections import FAILURES

    try:
        begin = answer.raw.read(RESPONSE_LIMIT, decode_content=False)
        rest = answer.raw.read(DRAIN_LIMIT, decode_content=False) if len(begin) == RESPONSE_LIMIT else b""
    except FAILURES:  # the status was sent, and decides
        answer.close()
        return ""
    if len(rest) == DRAIN_LIMIT:
        answer.raw.close()
    answer.close()
    return escape_controls(begin.decode("utf-8", "replace"))


def _redirect_error(status: int, location: str | None) -> str | None:
    if not 300 <= status < 400:
        return None
    try:
        host = urlsplit(location or "").hostname
    except ValueError:
        host = None
    where = f" to {host}" if host and re.fullmatch("[a-z0-9._:-]{1,253}", host) else ""
    return (
        f"The endpoint answered with a redirect{where}, which is not followed: set the URL that it leads to."
    )


def _retry_after(value: str | None) -> int | None:
    """Return the seconds of a Retry-After, given as a number or as a date (RFC 9110, 10.2.3); None for another text."""
    if value is None or len(value) > 40:
        return None
    if value.isascii() and value.isdigit():
        return int(value)
    try:
        return max(0, round(parsedate_to_datetime(value).timestamp() - time.time()))
    except (ValueError, OverflowError):
        return None


def _error(failure: Exception, seconds: float) -> str:
    """Say why there was no answer."""
    causes = list(_causes(failure))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"The certificate of the endpoint was not accepted: {cause.verify_message}."
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return f"The endpoint did not answer within {seconds:.0f} seconds."
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return f"No TLS connection was made: {escape_controls(cause.reason or str(cause))}."
    if any(isinstance(cause, ConnectionError) for cause in causes):
        return "The endpoint closed the connection before it answered."
    return f"What the endpoint answered is not HTTP: {escape_controls(str(causes[-1]))[:200]}."


def _causes(failure: BaseException) -> Iterator[BaseException]:
    """Yield an exception, and those that it was made of, from the outermost to the innermost."""
    found: list[BaseException] = []
    waiting: list[object] = [failure]
    while waiting and len(found) < 20:
        error = waiting.pop(0)
        if isinstance(error, BaseException) and error not in found:
            found.append(error)
            yield error
            waiting += [*error.args, getattr(error, "reason", None), error.__cause__, error.__context__]
