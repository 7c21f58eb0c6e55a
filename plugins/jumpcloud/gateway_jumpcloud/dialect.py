"""What JumpCloud really sends, told as plain RFC 7644: members to remove, named by a value (reported)."""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]


def map_group_patch(operations: list[Json]) -> list[Json] | None:
    """The operations with members to remove named by a filter; None where none was named by a value."""
    mapped = [plain for operation in operations for plain in _plain(operation)]
    return mapped if mapped != operations else None


def _plain(operation: Json) -> list[Json]:
    """`remove` with a list of members takes out these alone; the RFC would take a path without a filter for all."""
    if ids := _members_to_remove(operation):
        return [{"op": "remove", "path": f"members[value eq {json.dumps(member)}]"} for member in ids]
    return [operation]


def _members_to_remove(operation: Json) -> list[str]:
    """The ids in the value; none where it is of any other shape, which the core then refuses."""
    path, value = operation.get("path"), operation.get("value")
    if operation["op"] != "remove" or not isinstance(path, str) or path.lower() != "members":
        return []
    entries = value if isinstance(value, list) else []
    ids = [_id(entry) for entry in entries]
    return ids if all(isinstance(member, str) and member for member in ids) else []


def _id(entry: Any) -> Any:
    """The `value` of an entry, in whatever letter case its name is; None where there is none."""
    named = {name.lower(): held for name, held in entry.items()} if isinstance(entry, dict) else {}
    return named.get("value")
