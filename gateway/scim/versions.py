"""Entity tags of resources (RFC 7644, 3.14), as in `ETag`, `meta.version` and the versions of a bulk response."""

from __future__ import annotations

import re

#: The version and, in the tag of a user, a dash and a digest of its groups.
_TAG = re.compile(r'(?:W/)?"(\d+)(?:-[0-9a-f]+)?"')


def tag(version: int, mark: str = "") -> str:
    """Return the weak entity tag of a version; `mark` distinguishes representations with the same version."""
    return f'W/"{version}{mark}"'


def version_in(text: str) -> int | None:
    """Return the version in an entity tag, whatever its mark, or None if this server did not issue it."""
    found = _TAG.fullmatch(text.strip())
    return int(found[1]) if found else None
