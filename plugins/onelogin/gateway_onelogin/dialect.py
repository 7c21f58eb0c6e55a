"""Translates the users that OneLogin sends to RFC 7643.

The body of a user is a JSON template that the admin fills with macros, so its shapes are those of templates in use:
of SCIM 1.1 in part, and with every value in quotes. Empty texts need no translation; to the RFC they are no value.
"""

from __future__ import annotations

from typing import Any

from gateway import ENTERPRISE_URN, USER_URN, Json, get, key_of, read_boolean

#: SCIM 1.1's names, which OneLogin's own guide for templates has (documented), and what they mean in 2.0.
OLD_ENTERPRISE = "urn:scim:schemas:extension:enterprise:1.0"
#: A version of 2.0 in the form of 1.1's names: templates of customers (reported).
MIXED_ENTERPRISE = "urn:scim:schemas:extension:enterprise:2.0"
CURRENT_URNS = {
    "urn:scim:schemas:core:1.0": USER_URN,
    "urn:scim:schemas:core:2.0": USER_URN,
    OLD_ENTERPRISE: ENTERPRISE_URN,
    MIXED_ENTERPRISE: ENTERPRISE_URN,
}


def translate_user(document: Json) -> Json | None:
    """Return the user in the form of SCIM 2.0; None where the document needs no translation."""
    user = dict(document)
    schemas, emails, active = (key_of(user, name) for name in ("schemas", "emails", "active"))
    if isinstance(user.get(schemas), list):
        user[schemas] = [_current_urn(urn) for urn in user[schemas]]
    if isinstance(user.get(emails), dict):
        user[emails] = [user[emails]]  # OneLogin's guide: one object, where SCIM has a list
    if isinstance(user.get(active), str):
        # A template with "{$user.active}" in quotes (a vendor's guide) can only send text.
        user[active] = read_boolean(user[active])
    _rename_enterprise(user)
    _rename_manager_id(user)
    return user if user != document else None


def _current_urn(urn: Any) -> Any:
    return CURRENT_URNS.get(urn.lower(), urn) if isinstance(urn, str) else urn


def _rename_enterprise(user: Json) -> None:
    """Put SCIM 1.1's extension under its name in 2.0 (documented)."""
    key = key_of(user, ENTERPRISE_URN)
    for old in (key_of(user, OLD_ENTERPRISE), key_of(user, MIXED_ENTERPRISE)):
        if old in user and key not in user:
            user[key] = user.pop(old)


def _rename_manager_id(user: Json) -> None:
    """Rename SCIM 1.1's `managerId` to the manager's `value` (documented)."""
    extension = get(user, ENTERPRISE_URN)
    manager = get(extension, "manager") if isinstance(extension, dict) else None
    if not isinstance(manager, dict) or key_of(manager, "value") in manager:
        return
    if (old := key_of(manager, "managerId")) in manager:
        renamed = {"value" if name == old else name: value for name, value in manager.items()}
        user[key_of(user, ENTERPRISE_URN)] = {**extension, key_of(extension, "manager"): renamed}
