"""A user as Entra creates it, told as plain RFC 7643."""

from __future__ import annotations

from typing import Any

from gateway import InvalidValue
from gateway_entra import values
from gateway_entra.paths import ENTERPRISE, Path, boolean, key_of, leading

Json = dict[str, Any]

#: What a connection keeps: all that the schemas have but `emails.display`, for "Test schema" of Entra's provisioning
#: fails at a schema that declares it (reported).
KEPT = (
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
        f"{ENTERPRISE}:{name}"
        for name in ("employeeNumber", "costCenter", "organization", "division", "department", "manager")
    ),
)


def map_user(document: Json) -> Json:
    """The user with paths in the place of names unfolded, and with booleans, manager and roles as the RFC has them.

    :raises InvalidValue: for the userName of a soft-deleted user.
    """
    # RFC 7643, 2.5: null is the same as no attribute at all.
    user = _unfolded({name: value for name, value in document.items() if value is not None})
    _refuse_soft_deleted(user.get(key_of(user, "userName")))
    for name, value in user.items():
        if name.lower() == "active":
            user[name] = boolean(value)
        elif name.lower() in values.LISTS:
            user[name] = values.entries(values.LISTS[name.lower()], value) if value else value
    enterprise = user.get(key_of(user, ENTERPRISE))
    if isinstance(enterprise, dict) and (manager := key_of(enterprise, "manager")) in enterprise:
        enterprise[manager] = values.reference(enterprise[manager])
    return user


def _unfolded(document: Json) -> Json:
    """`name.givenName` and `urn:…:User:department` as the objects that they lead into."""
    paths = {name: path for name, value in document.items() if (path := leading(name, value))}
    user = {name: value for name, value in document.items() if name not in paths}
    names = Names()
    left = {
        name: document[name] for name, path in paths.items() if not _put(user, names, path, document[name])
    }
    return user | left


class Names:
    """Under which key an object has an attribute, in whatever letters; each object is gone through once."""

    def __init__(self) -> None:
        self._known: dict[int, dict[str, str]] = {}

    def key(self, box: Json, name: str) -> str:
        """The key that is there, or the name, which is then taken for written."""
        known = self._known.get(id(box))
        if known is None:
            known = self._known[id(box)] = {key.lower(): key for key in reversed(box)}
        return known.setdefault(name.lower(), name)


def _put(user: Json, names: Names, path: Path, value: Any) -> bool:
    """Put a value where the path leads; False where something else is there, and the path is better left alone."""
    if path.terms is not None:
        return False
    box: Any = user
    *boxes, last = [part for part in (path.urn, path.name, path.sub) if part]
    for part in boxes:
        box = box.setdefault(names.key(box, part), {})
        if not isinstance(box, dict):
            return False
    if (key := names.key(box, last)) in box:
        return False
    box[key] = value
    return True


def _refuse_soft_deleted(user_name: Any) -> None:
    if values.is_of_soft_deleted(user_name):
        raise InvalidValue(
            f'userName "{user_name[:80]}" is the name of a user who was soft-deleted in Entra: the object id stands '
            "before it. Restore the user there before it is provisioned, or delete it for good."
        )
