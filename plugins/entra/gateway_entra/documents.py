"""A user as Entra creates it, told as plain RFC 7643."""

from __future__ import annotations

from typing import Any

from gateway import InvalidValue
from gateway_entra import values
from gateway_entra.paths import ENTERPRISE, Path, boolean, key_of, leading

Json = dict[str, Any]


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
    left = {name: document[name] for name, path in paths.items() if not _put(user, path, document[name])}
    return user | left


def _put(user: Json, path: Path, value: Any) -> bool:
    """Put a value where the path leads; False where something else is there, and the path is better left alone."""
    if path.terms is not None:
        return False
    box: Any = user
    *boxes, last = [part for part in (path.urn, path.name, path.sub) if part]
    for part in boxes:
        box = box.setdefault(key_of(box, part), {})
        if not isinstance(box, dict):
            return False
    if key_of(box, last) in box:
        return False
    box[last] = value
    return True


def _refuse_soft_deleted(user_name: Any) -> None:
    if values.is_of_soft_deleted(user_name):
        raise InvalidValue(
            f'userName "{user_name[:80]}" is the name of a user who was soft-deleted in Entra: the object id stands '
            "before it. Restore the user there before it is provisioned, or delete it for good."
        )
