"""Parses paths as Entra writes them: in `path`, and as the names of values (RFC 7644, 3.5.2, figure 7)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway import ENTERPRISE_URN, GROUP_URN, USER_URN, read_boolean

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
    """The path of an attribute: with the URN of its schema, a filter on its elements, and a sub-attribute, if any.

    `terms` are the pairs of name and value that the filter compares; None where there is no filter.
    """

    urn: str | None
    name: str
    terms: tuple[tuple[str, Any], ...] | None = None
    sub: str | None = None

    def is_attribute(self, name: str, urn: str | None = None) -> bool:
        """Return whether the path names that attribute, letter case aside (RFC 7643, 2.1)."""
        return self.name.lower() == name.lower() and (self.urn or "").lower() == (urn or "").lower()

    @property
    def whole(self) -> bool:
        """Whether the path names the whole attribute, without filter or sub-attribute."""
        return self.terms is None and self.sub is None

    def __str__(self) -> str:
        text = f"{self.urn}:{self.name}" if self.urn else self.name
        if self.terms is not None:
            text += "[" + " and ".join(f"{name} eq {json.dumps(value)}" for name, value in self.terms) + "]"
        return f"{text}.{self.sub}" if self.sub else text


def parse_path(text: Any) -> Path | None:
    """Parse a path. Returns None for what Entra does not write; the core then judges the text itself."""
    match = _PATH.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        return None
    terms = None if match["filter"] is None else _parse_terms(match["filter"])
    if match["filter"] is not None and terms is None:
        return None
    urn = match["urn"] if (match["urn"] or "").lower() not in (USER_URN.lower(), GROUP_URN.lower()) else None
    path = Path(urn or None, match["name"], terms, match["sub"])
    return replace(path, urn=ENTERPRISE_URN) if urn is None and path.name.lower() in WITHOUT_URN else path


def parse_name(name: str, value: Any) -> Path | None:
    """Parse the name of a value that is a path. Returns None for an attribute of the core schema, or a schema's URN."""
    path = parse_path(name)
    if path is None or (path.urn is None and path.whole and str(path).lower() == name.lower()):
        return None
    # The URN of an extension reads like a path in it; but of what Entra sends only a manager is an object.
    is_schema = path.urn and isinstance(value, Mapping) and not path.is_attribute("manager", ENTERPRISE_URN)
    return None if is_schema else path


def _parse_terms(text: str) -> tuple[tuple[str, Any], ...] | None:
    terms, position = [], 0
    while match := _TERM.match(text, position):
        name, value = match[1], json.loads(match[2].lower() if match[2][0] != '"' else match[2], strict=False)
        # A mapping to `roles[primary eq "True"].value` is sent as it was typed (documented).
        terms.append((name, read_boolean(value) if name.lower() == "primary" else value))
        if not match[3]:
            return tuple(terms)
        position = match.end()
    return None
