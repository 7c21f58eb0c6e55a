"""Conditional requests (RFC 7644, 3.14; RFC 9110, 13): when a client may keep what it has, and what `*` asks of a PUT.

A 304 is given only where the answer would be what the client got with that tag. The tag moves with all that is shown
of a resource, also of its neighbours: see `rendering.etag`. What a projection shows (RFC 7644, 3.9) depends on the
settings of the connection too, so it is always sent whole. Tags do not reflect what an operator changes of the whole
deployment: its public URL, its plugins, its database by one from a backup.
"""

from __future__ import annotations

import re

from gateway.scim.messages import Search
from gateway.scim.schemas import ResourceType
from gateway.scim.selection import is_projected
from gateway.web.http import ScimRequest, ScimResponse

#: One element of a list of tags: the list may have empty ones (RFC 9110, 5.6.1).
_ELEMENT = re.compile(r'[ \t]*(?:(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"[ \t]*)?(?:,|\Z)')


def is_current(request: ScimRequest, tag: str, resource: ResourceType, asked: Search) -> bool:
    """Check whether If-None-Match names the version that would be sent; a projection has none."""
    header = request.headers.get("If-None-Match")
    if header is None:
        return False
    return _is_wildcard(header) or (_lists_tag(header, tag) and not is_projected(resource, asked))


def not_modified(location: str, tag: str) -> ScimResponse:
    """Make a response without a body, 304 (RFC 9110, 15.4.5)."""
    return ScimResponse("", 304, [("Content-Location", location), ("ETag", tag)])


def creates_only(request: ScimRequest) -> bool:
    """Check whether a PUT asks to create only (RFC 9110, 13.1.2), which no PUT of SCIM does."""
    return _is_wildcard(request.headers.get("If-None-Match"))


def _is_wildcard(header: str | None) -> bool:
    return header is not None and header.strip() == "*"


def _lists_tag(header: str, tag: str) -> bool:
    """Check whether a list of tags names this one, weak or not (RFC 9110, 8.8.3.2). What is no such list names none."""
    at, named = 0, False
    while at < len(header):
        element = _ELEMENT.match(header, at)
        if element is None:
            return False
        named = named or element[1] == tag.removeprefix("W/").strip('"')
        at = element.end()
    return named
