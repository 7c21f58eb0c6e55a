"""Slips in a base URL: slashes too many are passed over, an endpoint or a prefix too many is named in a 404."""

from __future__ import annotations

from gateway.provisioning.caller import BASE_PATH
from gateway.scim.errors import NotFound

#: Names of endpoints, in lower case. No resource has one of them as its id.
ENDPOINTS = frozenset(
    {"users", "groups", "serviceproviderconfig", "resourcetypes", "schemas", "bulk", "me", ".search"}
)
#: The parts of the path that all base URLs have.
_BASE = BASE_PATH.strip("/").split("/")
_OF_RESOURCES = frozenset({"users", "groups"})


def without_slashes(path: str) -> str:
    """The path with one slash where there are several, and none at its end; the root of a connection keeps its own."""
    parts = [part for part in path.split("/") if part]
    return f"/{'/'.join(parts)}" + ("/" if len(parts) == 3 else "")


def refuse_too_long(path: str) -> None:
    """Refuse a path whose base URL ends in an endpoint, or holds `BASE_PATH` twice. Raises NotFound."""
    parts = [part.lower() for part in path.split("/") if part]
    if _BASE[0] in parts[2:] and parts[parts.index(_BASE[0], 2) : parts.index(_BASE[0], 2) + 2] == _BASE:
        raise NotFound(
            f"There is nothing at {path[:200]!r}: {BASE_PATH} stands in it twice. Copy the base URL from the"
            f" application as it is; it holds {BASE_PATH} already."
        )
    if len(parts) > 4 and parts[3] in _OF_RESOURCES and parts[4] in ENDPOINTS and parts[4:] != [".search"]:
        name = [part for part in path.split("/") if part][3]
        raise NotFound(
            f"There is nothing at {path[:200]!r}: the base URL ends in /{name[:20]}. Enter it without that; the"
            " identity provider adds it by itself."
        )


def slug_in(path: str) -> str | None:
    """The slug of the connection that a path is below, wherever it stands behind `BASE_PATH`."""
    parts = [part for part in path.split("/") if part]
    return parts[2] if len(parts) > 2 and parts[:2] == _BASE else None
