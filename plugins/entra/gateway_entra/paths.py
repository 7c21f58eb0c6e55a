"""Paths as Entra writes them: in `path`, and also as the names of values (RFC 7644, 3.5.2, figure 7)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"

#: A sample of Entra's documents and its older jobs name these as if they were attributes of the core schema, which has
#: none of these names.
WITHOUT_URN = frozenset({"manager", "department"})

_NAME = r"[A-Za-z$][\w$-]*"
_PATH = re.compile(
    rf"(?:(?P<urn>(?i:urn):[^\[\]\s\"]+):)?(?P<name>{_NAME})(?:\[(?P<filter>.*)\])?(?:\.(?P<sub>{_NAME}))?",
    re.S,
)
#: Of the operators of a filter Entra uses these two (documented).
_TERM = re.compile(rf'\s*({_NAME})\s+eq\s+("(?:[^"\\]|\\.)*"|true|false)\s*(and\b|$)', re.I)


@dataclass(frozen=True, slots=True)
class Path:
    """An attribute, perhaps of an extension, perhaps some of its elements, perhaps one of its sub-attributes.

    `terms` are what the filter wants its elements to hold; None where there is no filter.
    """

    urn: str | None
    name: str
    terms: tuple[tuple[str, Any], ...] | None = None
    sub: str | None = None

    def means(self, name: str, urn: str | None = None) -> bool:
        """Whether this is that attribute; letter case aside (RFC 7643, 2.1)."""
        return self.name.lower() == name.lower() and (self.urn or "").lower() == (urn or "").lower()

    @property
    def whole(self) -> bool:
        """Whether the attribute itself is meant, and not a part of it."""
        return self.terms is None and self.sub is None

    def __str__(self) -> str:
        text = f"{self.urn}:{self.name}" if self.urn else self.name
        if self.terms is not None:
            text += "[" + " and ".join(f"{name} eq {json.dumps(value)}" for name, value in self.terms) + "]"
        return f"{text}.{self.sub}" if self.sub else text


def read(text: Any) -> Path | None:
    """A path, or None for what Entra does not write; the core then judges the text itself."""
    match = _PATH.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        return None
    terms = None if match["filter"] is None else _terms(match["filter"])
    if match["filter"] is not None and terms is None:
        return None
    urn = match["urn"] if (match["urn"] or "").lower() not in (USER.lower(), GROUP.lower()) else None
    path = Path(urn or None, match["name"], terms, match["sub"])
    return replace(path, urn=ENTERPRISE) if urn is None and path.name.lower() in WITHOUT_URN else path


def leading(name: str, value: Any) -> Path | None:
    """Where a name leads that is a path; None where it is an attribute of the core schema, or the URN of a schema."""
    path = read(name)
    if path is None or (path.urn is None and path.whole and str(path).lower() == name.lower()):
        return None
    # The URN of an extension reads like a path in it; but of what Entra sends only a manager is an object.
    is_schema = path.urn and isinstance(value, Mapping) and not path.means("manager", ENTERPRISE)
    return None if is_schema else path


def boolean(value: Any) -> Any:
    """`"True"` and `"False"` as what they mean, in any letter case; anything else as it is, for the core to judge."""
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


def key_of(document: Mapping[str, Any], name: str) -> str:
    """The key under which an object has an attribute, in whatever letters."""
    return next((key for key in document if key.lower() == name.lower()), name)


def _terms(text: str) -> tuple[tuple[str, Any], ...] | None:
    found, position = [], 0
    while match := _TERM.match(text, position):
        name, value = match[1], json.loads(match[2].lower() if match[2][0] != '"' else match[2], strict=False)
        # A mapping to `roles[primary eq "True"].value` is sent as it was typed (documented).
        found.append((name, boolean(value) if name.lower() == "primary" else value))
        if not match[3]:
            return tuple(found)
        position = match.end()
    return None
