"""The requests of Okta's SCIM client: headers, queries and bodies, as documents and captures show them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from gateway import GROUP_URN, USER_URN, Json

PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"

PAGE = 100

#: Sent with every call; the bearer token and what HTTP itself needs are added by the session.
HEADERS: Mapping[str, str] = {
    "Accept": "application/scim+json",
    "Accept-Charset": "utf-8",
    "User-Agent": "Okta SCIM Client 1.0.0",
}

#: Okta names a content type only where there is content (captured).
WITH_BODY: Mapping[str, str] = {**HEADERS, "Content-Type": "application/scim+json; charset=utf-8"}


# Queries ----------------------------------------------------------------------------------------------------


def check_credentials() -> str:
    """The one call behind the button Test API Credentials (captured)."""
    return "/Users?startIndex=1&count=2"


def page(kind: str, start: int) -> str:
    return f"/{kind}?startIndex={start}&count={PAGE}"


def user_named(user_name: str) -> str:
    return f"/Users?filter={_equals('userName', user_name)}&startIndex=1&count={PAGE}"


def group_named(name: str) -> str:
    return f"/Groups?filter={_equals('displayName', name)}&startIndex=1&count={PAGE}"


def _equals(attribute: str, value: str) -> str:
    return quote(f"{attribute} eq {json.dumps(value, ensure_ascii=False)}", safe="")


# Users ------------------------------------------------------------------------------------------------------


def profile(user_name: str, given: str, family: str, external_id: str) -> Json:
    """What the usual mappings send of a person."""
    return {
        "schemas": [USER_URN],
        "userName": user_name,
        "name": {"givenName": given, "familyName": family},
        "emails": [{"primary": True, "value": user_name, "type": "work"}],
        "displayName": f"{given} {family}",
        "locale": "en-US",
        "externalId": external_id,
    }


def new_user(told: Json) -> Json:
    """A create: with a password also where none is synchronized, with the read-only `groups` (documented)."""
    return {**told, "groups": [], "password": secrets.token_urlsafe(6), "active": True}


def laid_over(fetched: Json, told: Json) -> Json:
    """The body of a PUT: what Okta maps, laid over what it fetched (captured).

    So `id`, `meta` and a `name.formatted` gone stale come back to the server.
    """
    name = fetched.get("name")
    return {**fetched, **told, "name": {**(name if isinstance(name, dict) else {}), **told["name"]}}


def set_active(active: bool) -> Json:
    """The PATCH of an app from the catalogue: no path."""
    return patch({"op": "replace", "value": {"active": active}})


# Groups -----------------------------------------------------------------------------------------------------


def new_group(name: str) -> Json:
    return {"schemas": [GROUP_URN], "displayName": name, "members": []}


def whole_group(name: str, members: Sequence[Json]) -> Json:
    """The PUT of an app made with the wizard."""
    return {"schemas": [GROUP_URN], "displayName": name, "members": list(members)}


def rename(group_id: str, name: str) -> Json:
    """Sent right after the create and with changes of members, the read-only `id` included (documented)."""
    return {"op": "replace", "value": {"id": group_id, "displayName": name}}


def add_members(members: Sequence[Json]) -> Json:
    return {"op": "add", "path": "members", "value": list(members)}


def remove_member(user_id: str) -> Json:
    return {"op": "remove", "path": f"members[value eq {json.dumps(user_id)}]"}


def replace_members(members: Sequence[Json]) -> Json:
    """The button Push now; with an empty list for an empty group."""
    return {"op": "replace", "path": "members", "value": list(members)}


def patch(*operations: Json) -> Json:
    return {"schemas": [PATCH_OP], "Operations": list(operations)}
