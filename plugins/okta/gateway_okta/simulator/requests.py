"""The requests of Okta's SCIM client: headers, queries and bodies, as documented and captured."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from gateway import GROUP_URN, USER_URN, Json
from gateway.simulation import filter_equal, patch_message

PAGE_SIZE = 100

#: Sent with every call; the bearer token and what HTTP itself needs are added by the session.
HEADERS: Mapping[str, str] = {
    "Accept": "application/scim+json",
    "Accept-Charset": "utf-8",
    "User-Agent": "Okta SCIM Client 1.0.0",
}

#: Okta names a content type only where there is content (captured).
HEADERS_WITH_BODY: Mapping[str, str] = {**HEADERS, "Content-Type": "application/scim+json; charset=utf-8"}


# Queries ----------------------------------------------------------------------------------------------------------


def check_credentials() -> str:
    """Return the one query behind the button Test API Credentials (captured)."""
    return "/Users?startIndex=1&count=2"


def page(kind: str, start: int) -> str:
    return f"/{kind}?startIndex={start}&count={PAGE_SIZE}"


def user_named(user_name: str) -> str:
    return f"/Users?filter={_equals('userName', user_name)}&startIndex=1&count={PAGE_SIZE}"


def group_named(name: str) -> str:
    return f"/Groups?filter={_equals('displayName', name)}&startIndex=1&count={PAGE_SIZE}"


def _equals(attribute: str, value: str) -> str:
    return quote(filter_equal(attribute, value), safe="")


# Users ------------------------------------------------------------------------------------------------------------


def profile(user_name: str, given: str, family: str, external_id: str) -> Json:
    """Return what the usual mappings send of a user."""
    return {
        "schemas": [USER_URN],
        "userName": user_name,
        "name": {"givenName": given, "familyName": family},
        "emails": [{"primary": True, "value": user_name, "type": "work"}],
        "displayName": f"{given} {family}",
        "locale": "en-US",
        "externalId": external_id,
    }


def new_user(profile: Json) -> Json:
    """Return the body of a create: with a password also where none is synchronized, and `groups` (documented)."""
    return {**profile, "groups": [], "password": secrets.token_urlsafe(6), "active": True}


def overlay(fetched: Json, profile: Json) -> Json:
    """Return the body of a PUT: the profile that Okta maps, over the user that it fetched (captured).

    So the server receives `id`, `meta` and an outdated `name.formatted`.
    """
    name = fetched.get("name")
    return {**fetched, **profile, "name": {**(name if isinstance(name, dict) else {}), **profile["name"]}}


def set_active(active: bool) -> Json:
    """Return the PATCH of an app from the catalogue: no path."""
    return patch_message({"op": "replace", "value": {"active": active}})


# Groups -----------------------------------------------------------------------------------------------------------


def new_group(name: str) -> Json:
    return {"schemas": [GROUP_URN], "displayName": name, "members": []}


def whole_group(name: str, members: Sequence[Json]) -> Json:
    """Return the PUT of an app made with the wizard."""
    return {"schemas": [GROUP_URN], "displayName": name, "members": list(members)}


def rename(group_id: str, name: str) -> Json:
    """Return the operation that follows a create and goes with changes of members. It has the `id` (documented)."""
    return {"op": "replace", "value": {"id": group_id, "displayName": name}}


def add_members(members: Sequence[Json]) -> Json:
    return {"op": "add", "path": "members", "value": list(members)}


def remove_member(user_id: str) -> Json:
    return {"op": "remove", "path": f"members[value eq {json.dumps(user_id)}]"}


def replace_members(members: Sequence[Json]) -> Json:
    """Return the operation of the button Push now; with an empty list for an empty group."""
    return {"op": "replace", "path": "members", "value": list(members)}
