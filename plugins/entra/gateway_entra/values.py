"""Values of a user that Entra writes in a way of its own, wherever they come: booleans, references, roles, names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Set
from typing import Any

from gateway_entra.paths import boolean, key_of

Json = dict[str, Any]

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
    """Whether a name is that of a soft-deleted user: Entra puts the object id before the user principal name.

    So that somebody else can have the name for the 30 days in which the user can be restored. What follows the prefix
    is an address, or the name that is `known` of the user; a name that is known with its prefix is just a name.
    """
    if not isinstance(value, str) or not _PREFIX.match(value):
        return False
    if known is not None and value.lower() == known.lower():
        return False
    local, _, domain = (rest := value[32:]).partition("@")
    return bool(local and domain) or (known is not None and rest.lower() == known.lower())


def reference(value: Any) -> Any:
    """A manager as an object. It comes as its bare id, or in the older form as a list of one object.

    A string that is shown back as one makes Entra give up on the user (reported). Empty stays empty: nobody.
    """
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        # Its `$ref` is left out: in the documented sample it leads to a host that is nobody's.
        return {"value": value[0].get(key_of(value[0], "value"))}
    return {"value": value} if isinstance(value, str) and value else value


def entries(name: str, value: Any, present: Iterable[Any] = ()) -> Any:
    """The elements of a list, each as the RFC has it; what is no list of objects is left as it is."""
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list):
        return value
    known = frozenset(
        one["value"] for one in present if isinstance(one, Mapping) and isinstance(one.get("value"), str)
    )
    return [entry(name, each, known) if isinstance(each, Mapping) else each for each in value]


def entry(name: str, given: Mapping[str, Any], known: Set[str] = frozenset()) -> Json:
    """One element. `known` are the values of those that the user has already."""
    held = _role(given, known) if name == "roles" else dict(given)
    primary = key_of(held, "primary")
    return {**held, primary: boolean(held[primary])} if primary in held else held


def _role(given: Mapping[str, Any], known: Set[str]) -> Json:
    """A role, which a PATCH of the legacy dialect tells as JSON in the text of its value (documented).

    It then has nothing else, so it is completed to what a create tells of a role, unless the user has it already.
    """
    key = key_of(given, "value")
    packed = _unpacked(given.get(key))
    role = {**given, **packed}
    if packed and key != "value":
        role.pop(key)
    shown = role.pop(key_of(role, "displayName"), None)
    if shown is not None and key_of(role, "display") not in role:
        role["display"] = shown
    if packed and role["value"] not in known:
        role = {"primary": False, "type": ROLE_TYPE, **role}
    return role


def _unpacked(text: Any) -> Json:
    if not isinstance(text, str) or not text.startswith("{"):
        return {}
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(told, dict) or not isinstance(told.get("value"), str):
        return {}
    # Its id is not kept: Entra documents `value` as what an application should go by.
    return {name: told[name] for name in ("value", "displayName") if isinstance(told.get(name), str)}
