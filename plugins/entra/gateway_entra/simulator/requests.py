"""The requests of Entra's SCIM client, in both dialects, as documented and captured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote_plus

from gateway import ENTERPRISE_URN, GROUP_URN, USER_URN, Json
from gateway.simulation import filter_equal, patch_message

#: Among the `schemas` of every group, and no schema of SCIM (documented).
ADSCIM_GROUP = "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"

#: What the service sends by itself, and what it sends where the tenant URL has the flag aadOptscim062020.
LEGACY = "legacy"
RFC = "rfc"

HEADERS_WITH_BODY: Mapping[str, str] = {"Content-Type": "application/scim+json; charset=utf-8"}
MANAGER = f"{ENTERPRISE_URN}:manager"


# Queries ----------------------------------------------------------------------------------------------------


def user_named(user_name: str) -> str:
    """Return the lookup of a user. Test Connection sends the same, with a random GUID for a name."""
    return f"/Users?filter={_equals('userName', user_name)}"


def group_named(name: str) -> str:
    return f"/Groups?excludedAttributes=members&filter={_equals('displayName', name)}"


def has_member(group_id: str, user_id: str) -> str:
    """Return the lookup of a group with that member. Entra never reads the members."""
    terms = f"{_equals('id', group_id)}+and+{_equals('members', user_id)}"
    return f"/Groups?excludedAttributes=members&filter={terms}"


def _equals(attribute: str, value: str) -> str:
    # Blanks as plus signs, as server logs show them.
    return quote_plus(filter_equal(attribute, value))


# Creates ----------------------------------------------------------------------------------------------------


def new_user(user_name: str, given: str, family: str, external_id: str, department: str) -> Json:
    """Return what the proposed mappings send of a user, with `meta` and an empty list of roles (documented)."""
    return {
        "schemas": [USER_URN, ENTERPRISE_URN],
        "externalId": external_id,
        "userName": user_name,
        "active": True,
        "displayName": f"{given} {family}",
        "emails": [{"primary": True, "type": "work", "value": user_name}],
        "meta": {"resourceType": "User"},
        "name": {"formatted": f"{given} {family}", "familyName": family, "givenName": given},
        "roles": [],
        "title": None,
        ENTERPRISE_URN: {"department": department},
    }


def new_group(name: str, external_id: str) -> Json:
    """Return the create of a group, without members: they follow, each in a PATCH."""
    return {
        "schemas": [GROUP_URN, ADSCIM_GROUP],
        "externalId": external_id,
        "displayName": name,
        "meta": {"resourceType": "Group"},
    }


# Changes ----------------------------------------------------------------------------------------------------


def change(style: str, values: Mapping[str, Any], op: str = "replace") -> Json:
    """Return the PATCH that sets the attributes at these paths.

    The legacy dialect has an operation for each, and booleans as text. The other one has an operation for each path
    with a filter, and one without a path for all the rest, whose names are paths too; a single attribute has its path
    in either dialect.
    """
    if style == LEGACY:
        texts = ((path, str(value) if isinstance(value, bool) else value) for path, value in values.items())
        return patch_message(*({"op": op.title(), "path": path, "value": value} for path, value in texts))
    rest = {path: value for path, value in values.items() if "[" not in path}
    if len(rest) == 1:
        rest = {}
    single = ({"op": op, "path": path, "value": value} for path, value in values.items() if path not in rest)
    return patch_message(*single, *([{"op": op, "value": rest}] if rest else []))


def manager(style: str, user_id: str) -> Json:
    """Return the PATCH of the manager, sent once both users exist: the bare id where the RFC has an object."""
    return change(style, {MANAGER: user_id}, "add")


def add_members(style: str, ids: Sequence[str]) -> Json:
    op = "Add" if style == LEGACY else "add"
    return patch_message(
        {"op": op, "path": "members", "value": [{"$ref": None, "value": each} for each in ids]}
    )


def remove_member(style: str, user_id: str) -> Json:
    if style == LEGACY:
        return patch_message({"op": "Remove", "path": "members", "value": [{"$ref": None, "value": user_id}]})
    return patch_message({"op": "remove", "path": f"members[value eq {json.dumps(user_id)}]"})
