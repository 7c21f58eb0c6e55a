"""Translates values of a user that Entra writes in its own way: references, lists, roles, soft-deleted names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Set
from typing import Any

from gateway import Json, get, key_of, read_boolean

#: The attributes of a user that hold a list of objects (RFC 7643, 4.1).
LISTS = {
    name.lower(): name
    for name in (
        "emails",
        "phoneNumbers",
        "ims",
        "photos",
        "addresses",
        "entitlements",
        "roles",
        "x509Certificates",
    )
}

#: What Entra calls a role of its own in every create (documented).
ROLE_TYPE = "WindowsAzureActiveDirectoryRole"

#: The object id, without its dashes.
_PREFIX = re.compile(r"[0-9a-fA-F]{32}(?=.)")


def is_of_soft_deleted(value: Any, known: str | None = None) -> bool:
    """Return whether a name is that of a soft-deleted user: Entra puts the object id before the user principal name.

    Somebody else can then take the name for the 30 days in which the user can be restored. What follows the prefix
    is an address, or the name that is `known` of the user; a name that is known with its prefix is just a name.
    """
    if not isinstance(value, str) or not _PREFIX.match(value):
        return False
    if known is not None and value.lower() == known.lower():
        return False
    local, _, domain = (rest := value[32:]).partition("@")
    return bool(local and domain) or (known is not None and rest.lower() == known.lower())


def make_reference(value: Any) -> Any:
    """Make a manager an object. It comes as its bare id, or in the older form as a list of one object.

    A manager that the server returns as text makes Entra give up on the user (reported). Empty text stays empty.
    """
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        # Its `$ref` is left out: in the documented sample it leads to a host that is nobody's.
        return {"value": get(value[0], "value")}
    return {"value": value} if isinstance(value, str) and value else value


def translate_elements(name: str, value: Any, present: Iterable[Any] = ()) -> Any:
    """Translate each element of a list to the RFC's form; what is no list of objects is left as it is.

    `present` are the elements that the user has already.
    """
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list):
        return value
    known = frozenset(
        one["value"] for one in present if isinstance(one, Mapping) and isinstance(one.get("value"), str)
    )
    return [translate_element(name, each, known) if isinstance(each, Mapping) else each for each in value]


def translate_element(name: str, given: Mapping[str, Any], known: Set[str] = frozenset()) -> Json:
    """Translate one element. `known` are the values of those that the user has already."""
    element = _translate_role(given, known) if name == "roles" else dict(given)
    primary = key_of(element, "primary")
    return {**element, primary: read_boolean(element[primary])} if primary in element else element


def _translate_role(given: Mapping[str, Any], known: Set[str]) -> Json:
    """Translate a role, which a PATCH of the legacy dialect sends as JSON in the text of its value (documented).

    Such a role has no other attribute, so it is completed to what a create sends, unless the user has it already.
    """
    key = key_of(given, "value")
    packed = _unpack(given.get(key))
    role = {**given, **packed}
    if packed and key != "value":
        role.pop(key)
    display = role.pop(key_of(role, "displayName"), None)
    if display is not None and key_of(role, "display") not in role:
        role["display"] = display
    if packed and role["value"] not in known:
        role = {"primary": False, "type": ROLE_TYPE, **role}
    return role


def _unpack(text: Any) -> Json:
    if not isinstance(text, str) or not text.startswith("{"):
        return {}
    try:
        role = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(role, dict) or not isinstance(role.get("value"), str):
        return {}
    # Its id is not kept: Entra documents `value` as what an application should go by.
    return {name: role[name] for name in ("value", "displayName") if isinstance(role.get(name), str)}
