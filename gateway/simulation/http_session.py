"""The session of a simulator over HTTP."""

from __future__ import annotations

import http.client
import json
import select
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from email.message import Message
from typing import Any, Self
from urllib.parse import quote, urlsplit

from gateway.simulation.api import Answer

#: Seconds to wait for an answer, as Okta does.
TIMEOUT = 60.0
_UNESCAPED = "!#$%&'()*+,/:;=?@[]~"


class HttpSession:
    """A `gateway.simulation.Session` over HTTP. Each thread keeps a connection of its own, open from call to call."""

    def __init__(self, base_url: str, token: str, timeout: float = TIMEOUT) -> None:
        """`base_url` begins with http:// or https://; a slash at its end is dropped. Raises ValueError otherwise."""
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"{base_url!r} is no base URL: it begins with https:// and names a server.")
        if not token.isascii() or not token.isprintable():
            raise ValueError("The token holds characters that no HTTP header can carry.")
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._path, self._token, self._timeout = parts.path.rstrip("/"), token, timeout
        self._context = ssl.create_default_context() if self._secure else None
        self._local = threading.local()
        self._connections: list[http.client.HTTPConnection] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.close()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request with the token of the session, or with `token`. No answer at all has the status 0."""
        return self.exchange(method, path, body, token=token, headers=headers)[0]

    def exchange(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Answer, Message]:
        """Send one request as `call` does; return the answer and its headers."""
        sent = dict(headers or {})
        names = {name.lower() for name in sent}
        if "authorization" not in names:
            sent["Authorization"] = f"Bearer {self._token if token is None else token}"
        if body is not None and "content-type" not in names:
            sent["Content-Type"] = "application/scim+json"
        data = None if body is None else json.dumps(body).encode()
        started = time.perf_counter()
        try:
            status, text, received = self._exchange(
                method, quote(self._path + path, safe=_UNESCAPED), data, sent
            )
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._drop()
            return Answer(0, None, _reason(error, self._timeout), time.perf_counter() - started), Message()
        return Answer(status, _parsed(text), text, time.perf_counter() - started), received

    def _exchange(
        self, method: str, path: str, data: bytes | None, headers: dict[str, str]
    ) -> tuple[int, str, Message]:
        connection = self._connection()
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
        return response.status, text, response.headers

    def _connection(self) -> http.client.HTTPConnection:
        """Return this thread's connection, closed first where the server closed it: no request is sent twice."""
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if (
            connection is not None
            and connection.sock is not None
            and select.select([connection.sock], [], [], 0)[0]
        ):
            connection.close()
        if connection is None:
            connection = self._local.connection = self._new_connection()
            self._connections.append(connection)
        return connection

    def _new_connection(self) -> http.client.HTTPConnection:
        if self._context:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=self._context
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)

    def _drop(self) -> None:
        with suppress(AttributeError):
            self._local.connection.close()


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _reason(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} seconds"
    if isinstance(error, http.client.RemoteDisconnected):
        return "the server closed the connection without an answer"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of the server is not trusted: {error.verify_message}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
