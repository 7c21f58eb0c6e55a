"""Pieces of translation that several identity providers need, for plugins to compose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def key_of(document: Mapping[str, Any], name: str) -> str:
    """Return the key of an attribute in an object, letter case aside (RFC 7643, 2.1); the name where there is none."""
    return next((key for key in document if key.lower() == name.lower()), name)


def get(document: Mapping[str, Any], name: str) -> Any:
    """Return the value of an attribute of an object, letter case aside (RFC 7643, 2.1); None where there is none."""
    return document.get(key_of(document, name))


def keep_one_primary(document: dict[str, Any]) -> dict[str, Any]:
    """Keep `primary` at the first value of each list that says it, and take it from the others.

    RFC 7643, 2.4 allows one primary value in a list; the core refuses two. Returns a new document; what is not a list
    of objects stays as it is, and the core judges it.
    """
    return {name: _with_one_primary(value) for name, value in document.items()}


def _with_one_primary(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    kept, primary = [], False
    for item in value:
        key = (
            next((key for key in item if key.lower() == "primary"), None) if isinstance(item, dict) else None
        )
        if key is not None and item[key] is True:
            item = {name: part for name, part in item.items() if name != key} if primary else item
            primary = True
        kept.append(item)
    return kept
