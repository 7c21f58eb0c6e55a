"""Paths of PATCH operations, parsed into a frozen value (RFC 7644, 3.5.2, figure 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.scim.errors import InvalidFilter, InvalidPath
from gateway.scim.filter_ast import Filter
from gateway.scim.filters import MAX_LENGTH, FilterReader


@dataclass(frozen=True, slots=True)
class PatchPath:
    """The target of an operation; a whole extension has its URN as `urn` and an empty `name`."""

    urn: str | None
    name: str
    filter: Filter | None = None
    sub: str | None = None


def parse_path(text: str, urns: Sequence[str] = ()) -> PatchPath:
    """Parse `attribute`, `attribute.sub`, `attribute[filter]` or `attribute[filter].sub`, with or without a URN.

    `urns` are the URNs of the known schemas, by which the bare URN of an extension is distinguished from an
    attribute. Raises InvalidPath.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidPath(f"The path is {len(text)} characters long; at most {MAX_LENGTH} are read.")
    bare = text.strip().lower()
    known = next((urn for urn in urns if urn.lower() == bare), None)
    if known is not None:
        return PatchPath(known, "")
    try:
        return _read(text)
    except InvalidFilter as refusal:
        raise InvalidPath(f"The path {text[:60]!r} cannot be read. {refusal.detail}") from None


def _read(text: str) -> PatchPath:
    reader = FilterReader(text)
    path = reader.read_path()
    if not reader.symbol:
        return PatchPath(path.urn, path.name, None, path.sub)
    selection = reader.read_element_filter(path)
    sub = reader.read_sub_attribute()
    if reader.symbol:
        raise reader.refusal("the end of the path was expected")
    return PatchPath(path.urn, path.name, selection, sub)
