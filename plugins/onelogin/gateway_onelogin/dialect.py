"""What OneLogin really sends, told as plain RFC 7643 and 7644.

The body of a user is a JSON template that the admin fills with macros, so its shapes are those of templates in use:
of SCIM 1.1 in part, and with every value in quotes. Empty texts need nothing here; to the RFC they are no value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"

#: SCIM 1.1's names, which OneLogin's own guide for templates has (documented), and what they mean in 2.0.
OLD_ENTERPRISE = "urn:scim:schemas:extension:enterprise:1.0"
#: A version of 2.0 in the form of 1.1's names: templates of customers (reported).
MIXED_ENTERPRISE = "urn:scim:schemas:extension:enterprise:2.0"
TODAY = {
    "urn:scim:schemas:core:1.0": CORE,
    "urn:scim:schemas:core:2.0": CORE,
    OLD_ENTERPRISE: ENTERPRISE,
    MIXED_ENTERPRISE: ENTERPRISE,
}

#: A template with "{$user.active}" in quotes (a vendor's guide) can only send text.
WORDS = {"true": True, "false": False}


def map_user(document: Json) -> Json | None:
    """The user as SCIM 2.0 has it; None where it is that already."""
    mapped = dict(document)
    schemas, emails, active = (key_of(mapped, name) for name in ("schemas", "emails", "active"))
    if isinstance(mapped.get(schemas), list):
        mapped[schemas] = [_today(urn) for urn in mapped[schemas]]
    if isinstance(mapped.get(emails), dict):
        mapped[emails] = [mapped[emails]]  # OneLogin's guide: one object, where SCIM has a list
    if isinstance(mapped.get(active), str):
        mapped[active] = WORDS.get(mapped[active].lower(), mapped[active])
    _map_enterprise(mapped)
    return mapped if mapped != document else None


def map_group_patch(operations: list[Json]) -> list[Json] | None:
    """The operations with members to remove named by a filter; None where none was named by a value (captured)."""
    mapped = [plain for operation in operations for plain in _plain(operation)]
    return mapped if mapped != operations else None


def key_of(document: Mapping[str, Any], name: str) -> str:
    """The key under which a document has an attribute. RFC 7643, 2.1: names are case insensitive."""
    return next((key for key in document if key.lower() == name.lower()), name)


def _today(urn: Any) -> Any:
    return TODAY.get(urn.lower(), urn) if isinstance(urn, str) else urn


def _map_enterprise(mapped: Json) -> None:
    """SCIM 1.1's extension under its name of today, and its `managerId` as the manager's `value` (documented)."""
    key = key_of(mapped, ENTERPRISE)
    for old in (key_of(mapped, OLD_ENTERPRISE), key_of(mapped, MIXED_ENTERPRISE)):
        if old in mapped and key not in mapped:
            mapped[key] = mapped.pop(old)
    extension = mapped.get(key)
    if not isinstance(extension, dict):
        return
    manager = extension.get(key_of(extension, "manager"))
    if isinstance(manager, dict) and (old_id := key_of(manager, "managerId")) in manager:
        if key_of(manager, "value") in manager:
            return
        renamed = {"value" if name == old_id else name: held for name, held in manager.items()}
        mapped[key] = {**extension, key_of(extension, "manager"): renamed}


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
