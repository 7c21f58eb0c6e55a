"""Requests to the gateway over one connection: TLS is verified, answers are bounded, each status has its error."""

from __future__ import annotations

import http.client
import json
import select
import socket
import ssl
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from gateway_client.errors import (
    AccessRefused,
    GatewayError,
    Unavailable,
    UnexpectedAnswer,
    UnknownOrganization,
)

#: Bytes of one answer, and of one line of a snapshot: a group of some 500,000 members.
MAX_BYTES = 64 * 1024 * 1024
#: Seconds for one answer, beside those that the gateway was asked to wait.
TIMEOUT = 30.0
#: The longest pause that a `Retry-After` can ask for, in seconds.
MAX_RETRY_AFTER = 3600.0


class Transport:
    """Sends GET requests with a token to one gateway. Only `abort` may be called by another thread.

    Redirects are not followed and no proxy is used, so that the token reaches that server and no other.
    """

    def __init__(
        self, url: str, token: str, context: ssl.SSLContext | None, timeout: float = TIMEOUT
    ) -> None:
        parts = urlsplit(url)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.query
            or parts.fragment
            or "@" in url
        ):
            raise ValueError(
                "The URL of the gateway begins with https:// and names a server, without user or query."
            )
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError("The token is empty or holds characters that no HTTP header can carry.")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._path = quote(parts.path.rstrip("/"), safe="/%")
        self._timeout = timeout
        self._headers = {"Authorization": f"Bearer {token}", "User-Agent": "provisioning-gateway-client"}
        if parts.scheme == "https":
            context = context or ssl.create_default_context()
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=timeout, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
        # A feed that is dropped rather than closed leaves no open socket behind.
        weakref.finalize(self, self._connection.close)

    def get(self, path: str, query: Mapping[str, Any], wait: float = 0) -> dict[str, Any]:
        """Return the JSON object of an answer, for which the gateway may take `wait` seconds longer.

        Raises Unavailable, AccessRefused, UnknownOrganization, Gone, UnexpectedAnswer.
        """
        with self._failures():
            response = self._send(path, query, wait)
            body = _read(response, time.monotonic() + self._timeout + wait)
        if response.status != 200:
            raise _error(response.status, response.headers.get("Retry-After"), body)
        return _parse(body)

    def stream(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield the JSON object of each line of an answer. Raises what `get` raises."""
        with self._failures():
            response = self._send(path, {}, 0)
            if response.status != 200:
                body = _read(response, time.monotonic() + self._timeout)
                raise _error(response.status, response.headers.get("Retry-After"), body)
        try:
            while True:
                with self._failures():
                    line = response.readline(MAX_BYTES + 1)
                if not line:
                    return
                if len(line) > MAX_BYTES:
                    raise TooLarge(f"A line of the answer has more than {MAX_BYTES} bytes.")
                try:
                    value = _parse(line)
                except UnexpectedAnswer:
                    if line.endswith(b"\n"):
                        raise
                    raise Unavailable("The answer broke off.") from None
                yield value
        finally:
            if not response.isclosed():
                self.close()

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._connection.close()

    def abort(self) -> None:
        """End a request that another thread waits for: it raises Unavailable."""
        if (opened := self._connection.sock) is not None:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)

    def _send(self, path: str, query: Mapping[str, Any], wait: float) -> http.client.HTTPResponse:
        connection = self._connection
        # What the server closed, or said unasked, is no connection to send a request over.
        if connection.sock is not None and select.select([connection.sock], [], [], 0)[0]:
            connection.close()
        if connection.sock is None:
            connection.connect()
        connection.sock.settimeout(self._timeout + wait)
        target = self._path + path + (f"?{urlencode(query)}" if query else "")
        connection.request("GET", target, headers=self._headers)
        return connection.getresponse()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Close the connection after any failure, and name those of the network."""
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise Unavailable(
                f"The certificate of {self.url} is not trusted: {error.verify_message}. Give an `ssl_context` that"
                " trusts its authority."
            ) from None
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unavailable(f"No answer from {self.url}: {str(error) or type(error).__name__}.") from None
        except GatewayError:
            self.close()
            raise


class Gone(GatewayError):
    """What was asked for is no longer there (410, or 409 of older gateways): `Feed` says which of its errors it is."""


class TooLarge(UnexpectedAnswer):
    """An answer of more bytes than are read."""


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    parts, size = [], 0
    while part := response.read(1 << 16):
        parts.append(part)
        size += len(part)
        if size > MAX_BYTES:
            raise TooLarge(f"The answer has more than {MAX_BYTES} bytes.")
        if time.monotonic() > deadline:
            raise Unavailable("The answer took too long.")
    if response.length:
        raise Unavailable("The answer broke off.")
    return b"".join(parts)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UnexpectedAnswer("The answer is no JSON object: is the URL that of a provisioning gateway?")
    return value


def _error(status: int, retry_after: str | None, body: bytes) -> GatewayError:
    """Return the error for a status, with the sentence of the gateway."""
    try:
        sentence = str(_parse(body)["message"])[:1000]
    except (UnexpectedAnswer, KeyError):
        sentence = "No message came with it."
    message = f"The gateway answered {status}: {sentence}"
    if status in (408, 429) or status >= 500:
        return Unavailable(message, _seconds(retry_after))
    if status in (401, 403):
        return AccessRefused(message)
    if status == 404:
        return UnknownOrganization(message)
    if status in (409, 410):
        return Gone(sentence)
    if 300 <= status < 400:
        return UnexpectedAnswer(
            f"The gateway answered {status}: redirects are not followed, so give the right URL."
        )
    return UnexpectedAnswer(message)


def _seconds(retry_after: str | None) -> float | None:
    """Return the seconds of a `Retry-After` (RFC 9110, 10.2.3): a number of them, or a date."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    try:
        seconds = float(text) if text.isdecimal() else parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)
