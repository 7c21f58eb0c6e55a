"""Sorting: the attribute that `sortBy` names and the value of it that is compared (RFC 7644, 3.4.2.3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gateway.scim.errors import InvalidFilter, InvalidValue
from gateway.scim.filter_ast import AttrPath
from gateway.scim.filters import MAX_LENGTH, FilterReader
from gateway.scim.schemas import Attribute, ResourceType


class Sort(NamedTuple):
    """The order of a list."""

    path: AttrPath
    descending: bool


def read_sort(text: str, descending: bool, types: Iterable[ResourceType]) -> Sort | None:
    """Parse `sortBy`; return None if none of the types has that attribute.

    Raises InvalidValue for a malformed path and for a complex attribute without sub-attribute.
    """
    path, types = _path(text), tuple(types)
    if any(find_compared(kind, path) for kind in types):
        return Sort(path, descending)
    if path.sub is None and any(kind.find(path.urn, path.name, None) for kind in types):
        # RFC 7644, 3.4.2.3: of a complex attribute a sub-attribute is named.
        raise InvalidValue(f"sortBy {text[:60]!r} has parts: name one of them, as in name.familyName.")
    return None


def find_compared(kind: ResourceType, path: AttrPath) -> tuple[Attribute, Attribute] | None:
    """Return the attribute of a path and the attribute that is compared: itself, or a sub-attribute (default `value`).

    Return None if the type has no such attribute.
    """
    attribute = kind.find(path.urn, path.name, None)
    if attribute is None:
        return None
    if path.sub is None and not attribute.sub:
        return attribute, attribute
    sub = attribute.table.get((path.sub or "value").lower())
    return None if sub is None else (attribute, sub)


def _path(text: str) -> AttrPath:
    try:
        if len(text) > MAX_LENGTH:
            raise InvalidFilter(f"At most {MAX_LENGTH} characters are read.")
        reader = FilterReader(text)
        path = reader.read_path()
        if reader.symbol:
            raise reader.refusal("the end of the path was expected")
    except InvalidFilter as refusal:
        raise InvalidValue(f"sortBy {text[:60]!r} cannot be read. {refusal.detail}") from None
    return path
