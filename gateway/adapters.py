"""Pieces of translation that several identity providers need, for plugins to compose in `gateway_map_resource`."""

from __future__ import annotations

from typing import Any


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
