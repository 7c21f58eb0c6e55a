"""Requests of the gateway and responses of SCIM, on werkzeug's.

What Flask adds (contexts, proxies, its responses) costs more than all that is done for a read, so SCIM does without it:
a view is given its request, and responds with headers that are ready to be sent.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

import werkzeug.wrappers
from werkzeug.exceptions import ClientDisconnected, SecurityError
from werkzeug.sansio.utils import get_host
from werkzeug.urls import iri_to_uri
from werkzeug.wsgi import ClosingIterator

from gateway.provisioning import Trace
from gateway.provisioning.admission import Admission
from gateway.scim.errors import InvalidSyntax
from gateway.store.ids_and_time import new_id
from gateway.web.queues import Queued

MEDIA_TYPE = "application/scim+json"
#: Parameters that hold lists (RFC 7644, 3.9): one that is there twice holds both.
_SEVERAL = frozenset({"attributes", "excludedAttributes"})
#: Characters of a User-Agent, and of a query, that are looked at.
AGENT_LENGTH, QUERY_LENGTH = 120, 4000
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Request(werkzeug.wrappers.Request):
    """A request of SCIM or of Flask, and what is known of it: its id, its client, its activity record."""

    def __init__(self, environ: dict[str, Any], populate_request: bool = True, shallow: bool = False) -> None:
        super().__init__(environ, populate_request, shallow)
        self.started_at = time.perf_counter()
        given = environ.get("HTTP_X_REQUEST_ID")
        self.request_id = given if given and _REQUEST_ID.fullmatch(given) else new_id()
        self.trace: Trace | None = None
        self._body: bytes | None = None
        #: The response where there is one already: a refusal before the body was read.
        self.response: ScimResponse | None = None
        #: The connection or the admin token, once it is known: the queues give each client its share.
        self.client_key = ""
        #: True while a queue runs it, where it may take its time.
        self.queued = False
        #: True where the server can suspend it until there is an event (`web.long_polls`).
        self.may_wait = False
        #: True once the client has hung up, where the server can detect it.
        self.client_gone = False
        #: A label of the metrics.
        self.idp = ""
        #: The method and the route, never the path: a label of the metrics. None where no route matched.
        self.operation: str | None = None

    @property
    def received_body(self) -> bytes:
        """The body as far as it was read already; it waits for nothing."""
        return self._body or b""

    @property
    def has_body(self) -> bool:
        """True if a body comes with it, by its headers."""
        length = self.environ.get("CONTENT_LENGTH")
        return bool(length and length != "0") or "HTTP_TRANSFER_ENCODING" in self.environ

    @property
    def awaits_body(self) -> bool:
        """True if a body that will be read is still to come: its sender is known, and it is not too large."""
        if not self.client_key or self.response is not None or not self.has_body:
            return False
        length, most = self.environ.get("CONTENT_LENGTH"), self.max_content_length
        return most is None or not length or (length.isdecimal() and int(length) <= most)

    def require_queue(self) -> None:
        """Continue only in the queue of expensive requests; to be called before anything is changed. Raises Queued."""
        if not self.queued:
            raise Queued("expensive", self.client_key)

    def read_body(self) -> bytes:
        """Return the whole body. Raises RequestEntityTooLarge and ClientDisconnected, as werkzeug does."""
        if self._body is None:
            length, most = self.environ.get("CONTENT_LENGTH"), self.max_content_length
            if length and length.isdecimal() and (most is None or int(length) <= most):
                self._body = self.environ["wsgi.input"].read(int(length)) if length != "0" else b""
                if len(self._body) < int(length):
                    raise ClientDisconnected
            elif length or self.method not in ("GET", "HEAD") or "HTTP_TRANSFER_ENCODING" in self.environ:
                self._body = self.get_data()
            else:
                self._body = b""
        return self._body

    def has_media_type(self, *types: str) -> bool:
        """Check whether the Content-Type of the body is one of these, whatever its parameters."""
        return self.environ.get("CONTENT_TYPE", "") in types or self.mimetype in types

    def query_parameters(self) -> dict[str, str]:
        """Return the parameters of the query; of one that is there twice the first, but all names of attributes."""
        query = self.environ.get("QUERY_STRING")
        if not query:
            return {}
        if not query.isascii():
            # WSGI hands bytes on as if they were Latin-1 (PEP 3333).
            query = query.encode("latin-1").decode(errors="replace")
        pairs = [part.partition("=") for part in query.split("&") if part]
        given = {_plain(name): _plain(value) for name, _, value in reversed(pairs)}
        if len(given) < len(pairs):
            for several in given.keys() & _SEVERAL:
                given[several] = ",".join(
                    _plain(value) for name, _, value in pairs if _plain(name) == several
                )
        return given

    @property
    def agent(self) -> str:
        """The product that calls, by its own word (RFC 9110, 10.1.5)."""
        agent = str(self.environ.get("HTTP_USER_AGENT", ""))[:AGENT_LENGTH]
        return agent if agent.isprintable() else "".join(filter(str.isprintable, agent))

    def flags(self, known: Collection[str]) -> tuple[str, ...]:
        """Return those of `known` that stand in the query without a value."""
        query = self.environ.get("QUERY_STRING", "")
        # As many equals signs as parameters: each has a value.
        if query.count("=") > query.count("&"):
            return ()
        return tuple(sorted({part for part in query[:QUERY_LENGTH].split("&") if part in known}))

    def called_origin(self) -> str:
        """Return scheme and host as the client called them. Raises InvalidSyntax for a Host header that names none."""
        try:
            return _origin(self.scheme, self.environ.get("HTTP_HOST"), self.server)
        except (ValueError, SecurityError):
            raise InvalidSyntax(
                "The Host header of the request names no host. Call the base URL as it was given out."
            ) from None


class ScimRequest(Request):
    """A request of a SCIM endpoint."""

    #: The endpoint, the slug of the connection, and the arguments in the path.
    view: Any = None
    slug = ""
    arguments: Mapping[str, Any] = MappingProxyType({})
    admission: Admission | None = None
    #: How many decisions of plugins its activity record had when the caller was known.
    decision_count = 0


def _plain(text: str) -> str:
    return unquote_plus(text) if "%" in text or "+" in text else text


@lru_cache(maxsize=256)
def _origin(scheme: str, header: str | None, server: tuple[str, int | None] | None) -> str:
    return iri_to_uri(f"{scheme}://{get_host(scheme, header, server)}")


class ServerResponse(NamedTuple):
    """A response as a server sends it: its body whole or in pieces; `end` is called when it was sent or given up."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes | Iterator[bytes]
    end: Callable[[], None]


class ScimResponse:
    """A response of SCIM: a status, headers as they are sent, and a body in one piece or in many."""

    def __init__(self, body: str | Iterator[str], status: int, headers: list[tuple[str, str]]) -> None:
        self.status, self.headers = status, headers
        self._pieces = None if isinstance(body, str) else body
        #: True for a body that is made while it is sent.
        self.is_streamed = self._pieces is not None
        self._body = body.encode() if isinstance(body, str) else b""
        self._closing: list[Callable[[], None]] = []

    @property
    def content(self) -> bytes | Iterator[bytes]:
        """The body as bytes: whole, or piece by piece."""
        if self._pieces is None:
            return self._body
        return (piece.encode() for piece in self._pieces)

    def end(self) -> None:
        """Close a streamed body that was sent or given up, and call what waits for that."""
        if hasattr(self._pieces, "close"):
            self._pieces.close()  # type: ignore[union-attr]
        for callback in self._closing:
            callback()

    def call_when_sent(self, callback: Callable[[], None]) -> None:
        """Call `callback` once a streamed body was sent or given up."""
        self._closing.append(callback)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Send the response, as WSGI has it (PEP 3333)."""
        headers = self.header_list()
        start_response(_line(self.status), headers)
        if environ["REQUEST_METHOD"] == "HEAD" or self._pieces is None:
            body = () if environ["REQUEST_METHOD"] == "HEAD" else (self._body,)
            return ClosingIterator(body, self._closing) if self._closing else body
        return ClosingIterator((piece.encode() for piece in self._pieces), self._closing)

    def header_list(self) -> list[tuple[str, str]]:
        """Return the headers, with the length of a body that is whole."""
        if self._pieces is None and self.status not in (204, 304):
            return [*self.headers, ("Content-Length", str(len(self._body)))]
        return self.headers


def scim_response(
    body: str | Iterator[str], status: int = 200, location: str | None = None, tag: str | None = None
) -> ScimResponse:
    """Make a response; one about a resource has the headers of its `meta` (RFC 7643, 3.1; RFC 7644, 3.3 and 3.14)."""
    headers = [("Content-Type", MEDIA_TYPE)]
    if location is not None:
        headers.append(("Content-Location", location))
        if status == 201:
            headers.append(("Location", location))
    if tag is not None:
        headers.append(("ETag", tag))
    return ScimResponse(body, status, headers)


def no_content(tag: str | None = None) -> ScimResponse:
    """Make a response without a body, 204."""
    return ScimResponse("", 204, [("ETag", tag)] if tag else [])


@lru_cache(maxsize=64)
def _line(status: int) -> str:
    return f"{status} {HTTPStatus(status).phrase}"
