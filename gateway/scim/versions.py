"""Entity tags of resources (RFC 7644, 3.14): one text in `ETag`, `meta.version` and the versions of a bulk response."""

from __future__ import annotations

import re

#: Its version, and in the tag of a user behind a dash what stands for its groups.
_TAG = re.compile(r'(?:W/)?"(\d+)(?:-[0-9a-f]+)?"')


def tag(version: int, mark: str = "") -> str:
    """The weak tag of a version. `mark` tells apart what was not stored with it."""
    return f'W/"{version}{mark}"'


def version_in(text: str) -> int | None:
    """The version that a tag names, whatever its mark; None when it is no tag of ours."""
    found = _TAG.fullmatch(text.strip())
    return int(found[1]) if found else None
