"""Preconditions of a change (RFC 9110, 13.1): If-Match, and If-None-Match of a PUT that may only create."""

from __future__ import annotations

from typing import Any

from gateway.provisioning.rendering import etag
from gateway.scim.errors import PreconditionFailed
from gateway.scim.versions import version_in


def check_version(record: Any, if_match: str | None) -> None:
    """`If-Match` names the version that the caller knows (RFC 7644, 3.14; RFC 9110, 13.1.1).

    What a user's tag says of its groups is not compared: they are read-only on a user, no write of one overwrites them,
    and a caller who only saw other groups knows what it changes.
    """
    if if_match is None or if_match.strip() == "*":
        return
    if record.version not in {version_in(tag) for tag in if_match.split(",")}:
        raise PreconditionFailed(
            f"The resource has changed: its version is {etag(record)}, If-Match names {if_match[:80]}. Read it again."
        )


def refuse_to_replace(exists: bool) -> None:
    """Refuse a PUT that asks to create only, where the resource exists. Raises PreconditionFailed."""
    if exists:
        raise PreconditionFailed(
            "The resource exists, and If-None-Match: * asks not to replace one. Leave that header out, or name the"
            " version that you know in If-Match."
        )
