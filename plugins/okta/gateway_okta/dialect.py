"""What Okta's SCIM client really sends, told as plain RFC 7643: documents in, documents or refusals out."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from gateway import InvalidValue

Json = dict[str, Any]

CORE_USER = "urn:ietf:params:scim:schemas:core:2.0:User"

#: Sub-attributes that describe an entry but are no value of it.
DESCRIPTIVE = frozenset({"type", "primary"})

#: How much of a strange value is repeated to the admin.
SHOWN = 80


def map_user(document: Json) -> Json | None:
    """The user without empty entries and with a primary e-mail address; None where both held already.

    :raises InvalidValue: for a userName that is not an e-mail address.
    """
    user_name = document.get(key_of(document, "userName"))
    if not isinstance(user_name, str) or not user_name:
        return None  # RFC 7643, 4.1.1: userName is required; the core says so better
    check_user_name(user_name)
    mapped = {name: _without_empty_entries(value) for name, value in document.items()}
    emails = key_of(mapped, "emails")
    mapped[emails] = _with_primary(mapped.get(emails), user_name)
    return mapped if mapped != document else None


def check_patch(operations: list[Json]) -> None:
    """Hold a PATCH that renames a user to the same rule as a create. All else in it is left to the core.

    :raises InvalidValue: for a userName that is not an e-mail address.
    """
    for operation in operations:
        user_name = _new_user_name(operation)
        if isinstance(user_name, str) and user_name:
            check_user_name(user_name)


def check_user_name(user_name: str) -> None:
    """Refuse a user name that is not made like an e-mail address.

    Only the shape is asked: domains without a dot and domains that no mail reaches (`.local`) are common in
    directories, and a sample of Okta's own has one.
    """
    if not looks_like_email(user_name):
        raise InvalidValue(
            f"userName {_shown(user_name)} is not an e-mail address. "
            'In Okta, set "Application username format" to Email on the Sign On tab of the application, '
            "then retry the assignment."
        )


def looks_like_email(text: str) -> bool:
    """One @ with something on both sides of it, and no space or control character anywhere."""
    local, _, domain = text.partition("@")
    return bool(local and domain) and "@" not in domain and not _has_blank(text)


def key_of(document: Mapping[str, Any], name: str) -> str:
    """The key under which a document has an attribute. RFC 7643, 2.1: names are case insensitive."""
    return next((key for key in document if key.lower() == name.lower()), name)


def _new_user_name(operation: Json) -> Any:
    path, value = operation.get("path"), operation.get("value")
    if path is None and isinstance(value, dict):
        named = {key.lower(): held for key, held in value.items()}
        return named.get("username", named.get(f"{CORE_USER}:userName".lower()))
    if isinstance(path, str) and path.lower() in {"username", f"{CORE_USER}:userName".lower()}:
        return value
    return None


def _without_empty_entries(value: Any) -> Any:
    """With "push empty values" an emptied entry of a list arrives without a value.

    Reported by admins of Okta: a server that insists on a value fails the whole update.
    """
    if not isinstance(value, list):
        return value
    return [entry for entry in value if not _is_empty_entry(entry)]


def _is_empty_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and all(
        held is None or held == "" for name, held in entry.items() if name.lower() not in DESCRIPTIVE
    )


def _with_primary(emails: Any, user_name: str) -> Any:
    """Okta sends no e-mail where the attribute is not mapped, and an empty one where the user has none."""
    if emails is not None and not _are_entries(emails):
        return emails  # no shape of Okta's; the core's validation names it
    addresses = [entry for entry in emails or () if entry.get(key_of(entry, "value"))]
    if not addresses:
        return [{"value": user_name, "primary": True, "type": "work"}]
    if any(_is_true(entry.get(key_of(entry, "primary"))) for entry in addresses):
        return addresses
    first, *others = addresses
    return [{**first, key_of(first, "primary"): True}, *others]


def _are_entries(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"


def _has_blank(text: str) -> bool:
    if text.isascii():
        return " " in text or not text.isprintable()
    return any(kind[0] == "Z" or kind == "Cc" for kind in map(unicodedata.category, text))


def _shown(text: str) -> str:
    return f'"{text}"' if len(text) <= SHOWN else f'"{text[:SHOWN]}…"'
