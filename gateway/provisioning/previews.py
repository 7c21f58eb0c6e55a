"""What previews have in common: an entity tag, by which the change that they show is made, or refused."""

from __future__ import annotations

import hashlib
import json

from gateway.scim.errors import PreconditionFailed


class PreviewDigest:
    """Digests what a preview shows, in its order, to a strong entity tag (RFC 9110, 8.8.3)."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, *values: object) -> None:
        """Add values that JSON knows."""
        self._digest.update(json.dumps(values).encode())

    def tag(self, *last: object) -> str:
        """Return the entity tag of what was added, and of the last values, which are not added."""
        digest = self._digest.copy()
        if last:
            digest.update(json.dumps(last).encode())
        return f'"{digest.hexdigest()[:32]}"'


def tag_of(*values: object) -> str:
    """Return the strong entity tag of values that JSON knows."""
    return PreviewDigest().tag(*values)


def check_preview(tag: str, if_match: str, sentence: str) -> None:
    """Refuse a change whose preview would have another tag by now than `If-Match` names.

    Raises PreconditionFailed with the sentence.
    """
    if tag not in {each.strip().removeprefix("W/") for each in if_match.split(",")}:
        raise PreconditionFailed(sentence)
