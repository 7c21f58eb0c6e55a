"""Requests of the gateway and responses of SCIM, on werkzeug's.

What Flask adds (contexts, proxies, its responses) costs more than all that is done for a read, so SCIM does without it:
a view is given its request, and responds with headers that are ready to be sent.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
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
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Request(werkzeug.wrappers.Request):
    """A request of SCIM or of Flask, and what is known of it: its id, its client, its activity record."""

    def __init__(self, environ: dict[str, Any], populate_request: bool = True, shallow: bool = False) -> None:
        super().__init__(environ, populate_request, shallow)
        self.began = time.perf_counter()
        given = environ.get("HTTP_X_REQUEST_ID")
        self.request_id = given if given and _REQUEST_ID.fullmatch(given) else new_id()
        self.trace: Trace | None = None
        self._body: bytes | None = None
        #: The response where there is one already: a refusal before the body was read.
        self.answered: Answer | None = None
        #: The connection or the admin token, once it is known: the queues give each client its share.
        self.client_key = ""
        #: True while a queue runs it, where it may take its time.
        self.queued = False
        #: True once the client has hung up, where the server can tell.
        self.gone = False
        #: A label of the metrics.
        self.idp = ""
        #: The method and the route, never the path: a label of the metrics. None where no route matched.
        self.operation: str | None = None

    @property
    def has_body(self) -> bool:
        """Whether a body comes with it, by its headers."""
        told = self.environ.get("CONTENT_LENGTH")
        return bool(told and told != "0") or "HTTP_TRANSFER_ENCODING" in self.environ

    @property
    def awaits_body(self) -> bool:
        """Whether a body that will be read is still to come: its sender is known, and it is not too large."""
        if not self.client_key or self.answered is not None or not self.has_body:
            return False
        told, most = self.environ.get("CONTENT_LENGTH"), self.max_content_length
        return most is None or not told or (told.isdecimal() and int(told) <= most)

    def expensive(self) -> None:
        """Go on only in the queue of expensive requests. Call it before anything is changed."""
        if not self.queued:
            raise Queued("expensive", self.client_key)

    def body(self) -> bytes:
        """The whole body. Raises RequestEntityTooLarge and ClientDisconnected, as werkzeug does."""
        if self._body is None:
            told, most = self.environ.get("CONTENT_LENGTH"), self.max_content_length
            if told and told.isdecimal() and (most is None or int(told) <= most):
                self._body = self.environ["wsgi.input"].read(int(told)) if told != "0" else b""
                if len(self._body) < int(told):
                    raise ClientDisconnected
            elif told or self.method not in ("GET", "HEAD") or "HTTP_TRANSFER_ENCODING" in self.environ:
                self._body = self.get_data()
            else:
                self._body = b""
        return self._body

    def says(self, *types: str) -> bool:
        """Whether the body says that it is of one of these media types; parameters say nothing."""
        return self.environ.get("CONTENT_TYPE", "") in types or self.mimetype in types

    def query(self) -> dict[str, str]:
        """The parameters behind the `?`; of one that is there twice the first, but all names of attributes."""
        told = self.environ.get("QUERY_STRING")
        if not told:
            return {}
        if not told.isascii():
            # WSGI hands bytes on as if they were Latin-1 (PEP 3333).
            told = told.encode("latin-1").decode(errors="replace")
        pairs = [part.partition("=") for part in told.split("&") if part]
        given = {_plain(name): _plain(value) for name, _, value in reversed(pairs)}
        if len(given) < len(pairs):
            for several in given.keys() & _SEVERAL:
                given[several] = ",".join(
                    _plain(value) for name, _, value in pairs if _plain(name) == several
                )
        return given

    def called_at(self) -> str:
        """Scheme and host as they were called."""
        try:
            return _origin(self.scheme, self.environ.get("HTTP_HOST"), self.server)
        except (ValueError, SecurityError):
            raise InvalidSyntax(
                "The Host header of the request names no host. Call the base URL as it was given out."
            ) from None


class Call(Request):
    """A request of a SCIM endpoint."""

    #: The endpoint, the slug of the connection, and the arguments in the path.
    view: Any = None
    slug = ""
    arguments: Mapping[str, Any] = MappingProxyType({})
    admission: Admission | None = None
    #: How many decisions of plugins its activity record had when the caller was known.
    decided = 0


def _plain(text: str) -> str:
    return unquote_plus(text) if "%" in text or "+" in text else text


@lru_cache(maxsize=256)
def _origin(scheme: str, header: str | None, server: tuple[str, int | None] | None) -> str:
    return iri_to_uri(f"{scheme}://{get_host(scheme, header, server)}")


class Reply(NamedTuple):
    """What a server sends: the body whole or in pieces, and what to call when it has ended one way or another."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes | Iterator[bytes]
    end: Callable[[], None]


class Answer:
    """What goes out: a status, headers as they are sent, and a body in one piece or in many."""

    def __init__(self, body: str | Iterator[str], status: int, headers: list[tuple[str, str]]) -> None:
        self.status, self.headers = status, headers
        self._pieces = None if isinstance(body, str) else body
        #: True for a body that is made while it is sent.
        self.streamed = self._pieces is not None
        self._body = body.encode() if isinstance(body, str) else b""
        self._closing: list[Callable[[], None]] = []

    @property
    def content(self) -> bytes | Iterator[bytes]:
        """The body as bytes: whole, or piece by piece."""
        if self._pieces is None:
            return self._body
        return (piece.encode() for piece in self._pieces)

    def end(self) -> None:
        """A streamed body has ended, or was given up."""
        if hasattr(self._pieces, "close"):
            self._pieces.close()  # type: ignore[union-attr]
        for told in self._closing:
            told()

    def when_sent(self, told: Callable[[], None]) -> None:
        """Call this once a streamed body has ended, one way or another."""
        self._closing.append(told)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Send it, as WSGI has it."""
        headers = self.sent_headers()
        start_response(_line(self.status), headers)
        if environ["REQUEST_METHOD"] == "HEAD" or self._pieces is None:
            body = () if environ["REQUEST_METHOD"] == "HEAD" else (self._body,)
            return ClosingIterator(body, self._closing) if self._closing else body
        return ClosingIterator((piece.encode() for piece in self._pieces), self._closing)

    def sent_headers(self) -> list[tuple[str, str]]:
        """The headers, with the length of a body that is whole."""
        if self._pieces is None and self.status not in (204, 304):
            return [*self.headers, ("Content-Length", str(len(self._body)))]
        return self.headers


def answer(
    body: str | Iterator[str], status: int = 200, location: str | None = None, tag: str | None = None
) -> Answer:
    """A SCIM answer. One about a resource has the headers of its `meta` (RFC 7643, 3.1; RFC 7644, 3.3 and 3.14)."""
    headers = [("Content-Type", MEDIA_TYPE)]
    if location is not None:
        headers.append(("Content-Location", location))
        if status == 201:
            headers.append(("Location", location))
    if tag is not None:
        headers.append(("ETag", tag))
    return Answer(body, status, headers)


def empty(tag: str | None = None) -> Answer:
    """204: it was done, and there is nothing to say."""
    return Answer("", 204, [("ETag", tag)] if tag else [])


@lru_cache(maxsize=64)
def _line(status: int) -> str:
    return f"{status} {HTTPStatus(status).phrase}"
