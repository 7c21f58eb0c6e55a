"""Documents on their way into the store: their size, what changed in them, and those that admins make by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.scim.errors import InvalidValue
from gateway.scim.json_text import Json, dumps
from gateway.scim.schemas import USER_URN


def primary_email(document: Json) -> str | None:
    """Return the primary e-mail address of a user, else the first one; None without any."""
    entries = [entry for entry in document.get("emails", ()) if entry.get("value")]
    primary = next((entry for entry in entries if entry.get("primary")), entries[0] if entries else None)
    return primary["value"] if primary else None


def differing(before: Json, after: Json) -> list[str]:
    """Names of what differs between two documents; of an extension and a complex attribute its sub-attributes."""
    names = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old == new or name == "schemas":
            continue
        if isinstance(old or new, dict):
            separator = ":" if name.lower().startswith("urn:") else "."
            inner = differing(old or {}, new or {})
            names += [f"{name}{separator}{each}" for each in inner] if inner else [name]
        else:
            names.append(name)
    return names


def check_size(document: Json, before: Json | None, limit: int) -> None:
    """Refuse a document of more bytes of JSON than `limit`; one that was larger before may shrink.

    Raises InvalidValue.
    """
    size = len(dumps(document).encode())
    if size > limit and (before is None or size > len(dumps(before).encode())):
        largest = max((name for name in document if name != "schemas"), key=lambda n: len(dumps(document[n])))
        raise InvalidValue(
            f"The resource would take {size} bytes of JSON; at most {limit} are kept, and {largest!r} takes the most of"
            " them. Send fewer or shorter values."
        )


def manual_document(values: Mapping[str, Any]) -> Json:
    """Return the document of a user that an admin makes by hand."""
    document: Json = {
        "schemas": [USER_URN],
        "userName": values["user_name"],
        "active": values.get("active", True),
    }
    if values.get("display_name"):
        document["displayName"] = values["display_name"]
    if values.get("email"):
        document["emails"] = [{"value": values["email"], "type": "work", "primary": True}]
    return document


def edited(document: Json, values: Mapping[str, Any]) -> Json:
    """Return the document of a manual user with other values; its other attributes stay."""
    document = dict(document)
    if "user_name" in values:
        document["userName"] = values["user_name"]
    if "display_name" in values:
        document["displayName"] = values["display_name"]
    if "email" in values:
        others = [dict(entry) for entry in document.get("emails", ())]
        shown = next((entry for entry in others if entry.get("primary")), others[0] if others else None)
        others = [entry for entry in others if entry is not shown]
        own = {**(shown or {"type": "work"}), "value": values["email"], "primary": True}
        document["emails"] = [own, *others] if values["email"] else others
    return {name: value for name, value in document.items() if value not in (None, "", [])}
