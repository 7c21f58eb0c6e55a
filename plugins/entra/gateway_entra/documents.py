"""Translates the users that Entra creates to RFC 7643, and lists the attributes that a connection keeps."""

from __future__ import annotations

from typing import Any

from gateway import ENTERPRISE_URN, InvalidValue, Json, get, key_of, read_boolean
from gateway_entra import values
from gateway_entra.paths import Path, parse_name

#: The attributes that a connection keeps: all that the schemas have but `emails.display`, for "Test schema" of Entra's
#: provisioning fails at a schema that declares it (reported).
KEPT_ATTRIBUTES = (
    "externalId",
    "userName",
    "name",
    "displayName",
    "nickName",
    "profileUrl",
    "title",
    "userType",
    "preferredLanguage",
    "locale",
    "timezone",
    "active",
    "emails.value",
    "emails.type",
    "emails.primary",
    "phoneNumbers",
    "ims",
    "photos",
    "addresses",
    "entitlements",
    "roles",
    "x509Certificates",
    *(
        f"{ENTERPRISE_URN}:{name}"
        for name in ("employeeNumber", "costCenter", "organization", "division", "department", "manager")
    ),
)


def translate_user(document: Json) -> Json:
    """Unfold names that are paths, and translate booleans, manager and roles to the RFC's form.

    :raises InvalidValue: for the userName of a soft-deleted user.
    """
    # RFC 7643, 2.5: null is the same as no attribute at all.
    user = _unfold({name: value for name, value in document.items() if value is not None})
    _refuse_soft_deleted(get(user, "userName"))
    for name, value in user.items():
        if name.lower() == "active":
            user[name] = read_boolean(value)
        elif name.lower() in values.LISTS:
            user[name] = values.translate_elements(values.LISTS[name.lower()], value) if value else value
    enterprise = get(user, ENTERPRISE_URN)
    if isinstance(enterprise, dict) and (manager := key_of(enterprise, "manager")) in enterprise:
        enterprise[manager] = values.make_reference(enterprise[manager])
    return user


def _unfold(document: Json) -> Json:
    """Put the values of `name.givenName` and `urn:…:User:department` into the objects that these paths lead to."""
    paths = {name: path for name, value in document.items() if (path := parse_name(name, value))}
    user = {name: value for name, value in document.items() if name not in paths}
    keys = KeyIndex()
    unplaced = {
        name: document[name] for name, path in paths.items() if not _put(user, keys, path, document[name])
    }
    return user | unplaced


class KeyIndex:
    """The keys of objects by attribute name, letter case aside; each object is indexed once."""

    def __init__(self) -> None:
        self._known: dict[int, dict[str, str]] = {}

    def key(self, holder: Json, name: str) -> str:
        """Return the key of an attribute; the name where there is none, which is then indexed as present."""
        known = self._known.get(id(holder))
        if known is None:
            known = self._known[id(holder)] = {key.lower(): key for key in reversed(holder)}
        return known.setdefault(name.lower(), name)


def _put(user: Json, keys: KeyIndex, path: Path, value: Any) -> bool:
    """Put a value where the path leads. Returns False, and changes nothing, where another value is in the way."""
    if path.terms is not None:
        return False
    holder: Any = user
    *holders, last = [part for part in (path.urn, path.name, path.sub) if part]
    for part in holders:
        holder = holder.setdefault(keys.key(holder, part), {})
        if not isinstance(holder, dict):
            return False
    if (key := keys.key(holder, last)) in holder:
        return False
    holder[key] = value
    return True


def _refuse_soft_deleted(user_name: Any) -> None:
    if values.is_of_soft_deleted(user_name):
        raise InvalidValue(
            f'userName "{user_name[:80]}" is the name of a user who was soft-deleted in Entra: the object id stands '
            "before it. Restore the user there before it is provisioned, or delete it for good."
        )
