"""Mistakes in a base URL: slashes too many are ignored, an endpoint or a prefix too many is named in a 404."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.provisioning.caller import BASE_PATH
from gateway.scim.errors import NotFound

#: Names of endpoints, in lower case. No resource has one of them as its id.
ENDPOINTS = frozenset(
    {"users", "groups", "serviceproviderconfig", "resourcetypes", "schemas", "bulk", "me", ".search"}
)
#: The parts of the path that all base URLs have.
BASE_SEGMENTS = BASE_PATH.strip("/").split("/")
#: Mistakes: `BASE_PATH` stands in it twice, it ends in an endpoint.
TWICE, ENDPOINT = "base URL twice", "endpoint in base URL"
_OF_RESOURCES = frozenset({"users", "groups"})


class BaseUrlMistake(NotFound):
    """A path that shows what is wrong with the base URL; `mistake` says it in a word or two, for the activity."""

    def __init__(self, detail: str, mistake: str) -> None:
        super().__init__(detail)
        self.mistake = mistake


def path_segments(path: str) -> list[str]:
    """Return the segments of a path; empty ones, of slashes too many, are left out."""
    return [*filter(None, path.split("/"))]


def refuse_too_long(segments: Sequence[str]) -> None:
    """Refuse a path whose base URL ends in an endpoint, or holds `BASE_PATH` twice. Raises BaseUrlMistake."""
    lowered = "/".join(segments).lower().split("/")
    if BASE_SEGMENTS[0] in lowered[2:]:
        second = lowered.index(BASE_SEGMENTS[0], 2)
        if lowered[second : second + 2] == BASE_SEGMENTS:
            raise BaseUrlMistake(
                f"There is nothing at {_quoted(segments)}: {BASE_PATH} stands in it twice. Copy the base URL from the"
                f" application as it is; it holds {BASE_PATH} already.",
                TWICE,
            )
    if (
        len(lowered) > 4
        and lowered[3] in _OF_RESOURCES
        and lowered[4] in ENDPOINTS
        and lowered[4:] != [".search"]
    ):
        raise BaseUrlMistake(
            f"There is nothing at {_quoted(segments)}: the base URL ends in /{segments[3][:20]}. Enter it without that;"
            " the identity provider adds it by itself.",
            ENDPOINT,
        )


def slug_in(path: str) -> str | None:
    """Return the slug of the connection that a path is below, wherever it stands behind `BASE_PATH`."""
    segments = path_segments(path)
    while segments[2:4] == BASE_SEGMENTS:
        del segments[:2]
    return segments[2] if len(segments) > 2 and segments[:2] == BASE_SEGMENTS else None


def _quoted(segments: Sequence[str]) -> str:
    return repr(f"/{'/'.join(segments)}"[:200])
