"""Translates the users that Okta sends to RFC 7643, and refuses user names that are no e-mail addresses."""

from __future__ import annotations

import unicodedata
from typing import Any

from gateway import USER_URN, InvalidValue, Json, get, key_of, read_boolean

#: Sub-attributes that describe an entry but are no value of it.
DESCRIPTIVE = frozenset({"type", "primary"})

#: How much of a strange value is repeated to the admin.
SHOWN = 80


def translate_user(document: Json) -> Json | None:
    """Return the user without empty list entries and with a primary e-mail; None where it needs no translation.

    :raises InvalidValue: for a userName that is not an e-mail address.
    """
    user_name = get(document, "userName")
    if not isinstance(user_name, str) or not user_name:
        return None  # RFC 7643, 4.1.1: userName is required; the core says so better
    check_user_name(user_name)
    user = {name: _without_empty_entries(value) for name, value in document.items()}
    emails = key_of(user, "emails")
    user[emails] = _with_primary(user.get(emails), user_name)
    return user if user != document else None


def check_patch(operations: list[Json]) -> None:
    """Check the user name in a PATCH that renames a user, as in a create. The core judges all else in it.

    :raises InvalidValue: for a userName that is not an e-mail address.
    """
    for operation in operations:
        user_name = _new_user_name(operation)
        if isinstance(user_name, str) and user_name:
            check_user_name(user_name)


def check_user_name(user_name: str) -> None:
    """Refuse a user name that does not have the shape of an e-mail address.

    Only the shape is checked: domains without a dot and domains that no mail reaches (`.local`) are common in
    directories, and a sample of Okta's own has one.

    :raises InvalidValue: with the setting in Okta that mends it.
    """
    if not looks_like_email(user_name):
        raise InvalidValue(
            f"userName {_quote(user_name)} is not an e-mail address. "
            'In Okta, set "Application username format" to Email on the Sign On tab of the application, '
            "then retry the assignment."
        )


def looks_like_email(text: str) -> bool:
    """Return whether the text has one @ with text on both sides, and no space or control character."""
    local, _, domain = text.partition("@")
    return bool(local and domain) and "@" not in domain and not _has_blank(text)


def _new_user_name(operation: Json) -> Any:
    path, value = operation.get("path"), operation.get("value")
    if path is None and isinstance(value, dict):
        folded = {key.lower(): held for key, held in value.items()}
        return folded.get("username", folded.get(f"{USER_URN}:userName".lower()))
    if isinstance(path, str) and path.lower() in {"username", f"{USER_URN}:userName".lower()}:
        return value
    return None


def _without_empty_entries(value: Any) -> Any:
    """Drop list entries without a value, which Okta sends with "push empty values".

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
    """Make the first e-mail primary where none is, and the user name the only e-mail where there is none.

    Okta sends no e-mail where the attribute is not mapped, and an empty one where the user has none.
    """
    if emails is not None and not _are_entries(emails):
        return emails  # no shape of Okta's; the core's validation names it
    addresses = [entry for entry in emails or () if get(entry, "value")]
    if not addresses:
        return [{"value": user_name, "primary": True, "type": "work"}]
    if any(read_boolean(get(entry, "primary")) is True for entry in addresses):
        return addresses
    first, *others = addresses
    return [{**first, key_of(first, "primary"): True}, *others]


def _are_entries(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def _has_blank(text: str) -> bool:
    if text.isascii():
        return " " in text or not text.isprintable()
    return any(kind[0] == "Z" or kind == "Cc" for kind in map(unicodedata.category, text))


def _quote(text: str) -> str:
    return f'"{text}"' if len(text) <= SHOWN else f'"{text[:SHOWN]}…"'
