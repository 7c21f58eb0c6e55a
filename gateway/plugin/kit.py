"""Translations that several identity providers need, for plugins to compose. `gateway` exports them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway.scim.json_text import Json

_BOOLEANS = {"true": True, "false": False}


def key_of(document: Mapping[str, Any], name: str) -> str:
    """Return the key of an attribute in an object, letter case aside (RFC 7643, 2.1); the name where there is none."""
    if name in document:
        return name
    return next((key for key in document if key.lower() == name.lower()), name)


def get(document: Mapping[str, Any], name: str) -> Any:
    """Return the value of an attribute of an object, letter case aside (RFC 7643, 2.1); None where there is none."""
    return document.get(key_of(document, name))


def read_boolean(value: Any) -> Any:
    """Return the boolean that the text `true` or `false` means, in any letter case; any other value as it is.

    The core refuses what is no boolean then, in a sentence that names the attribute.
    """
    return _BOOLEANS.get(value.lower(), value) if isinstance(value, str) else value


def keep_one_primary(document: Json) -> Json:
    """Keep `primary` at the first value of each list that says it, and take it from the others.

    RFC 7643, 2.4 allows one primary value in a list; the core refuses two. Returns a new document; what is not a list
    of objects stays as it is, and the core judges it.
    """
    return {name: _with_one_primary(value) for name, value in document.items()}


def split_member_removals(operations: list[Json]) -> list[Json] | None:
    """Replace each removal of members that lists them in `value` by one removal with a filter for each of them.

    Some identity providers list the members to remove, where RFC 7644, 3.5.2.2 has a filter in the path and would
    remove all of them. A list of any other shape is left as it is, and the core refuses it. Returns None where there is
    nothing to replace.
    """
    plain = [each for operation in operations for each in _split_removal(operation)]
    return plain if plain != operations else None


def _with_one_primary(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    items, primary = [], False
    for item in value:
        if isinstance(item, dict) and get(item, "primary") is True:
            key = key_of(item, "primary")
            item = {name: part for name, part in item.items() if name != key} if primary else item
            primary = True
        items.append(item)
    return items


def _split_removal(operation: Json) -> list[Json]:
    path, value = operation.get("path"), operation.get("value")
    if operation["op"] != "remove" or not isinstance(path, str) or path.lower() != "members":
        return [operation]
    entries = value if isinstance(value, list) else []
    ids = [get(entry, "value") if isinstance(entry, dict) else None for entry in entries]
    if not ids or not all(isinstance(member, str) and member for member in ids):
        return [operation]
    return [{"op": "remove", "path": f"members[value eq {json.dumps(member)}]"} for member in ids]
