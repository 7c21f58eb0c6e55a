"""Security event tokens (RFC 8417) of SCIM events (RFC 9967): their claims, and what pushes one (RFC 8935).

Keys are `gateway.provisioning.webhooks.signing_keys`'.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway.provisioning.webhooks.messages import BODY_LIMIT, OutboundEvent, message_id
from gateway.scim.json_text import Json

#: RFC 9967, 2.2: what the URIs of events begin with.
_PREFIX = "urn:ietf:params:scim:event:"
_PATCH_URN = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
#: RFC 9967, 2.4: what a change of ours is there. A name that ends with `:full` has the data, in `:notice` the names of
#: the attributes alone; one token with two events says that both came of one transaction (RFC 8417, 2.2).
_EVENTS: Mapping[str, tuple[str, ...]] = {
    "user.created": ("prov:create:full",),
    "user.updated": ("prov:put:full",),
    "user.deactivated": ("prov:deactivate", "prov:put:full"),
    "user.reactivated": ("prov:activate", "prov:put:full"),
    "user.restored": ("prov:activate", "prov:put:full"),
    "user.deleted": ("prov:delete",),
    "user.erased": ("prov:delete",),
    "group.created": ("prov:create:full",),
    # Not `prov:put`: events of groups have no members, which a replacement without them would remove.
    "group.updated": ("prov:patch:full",),
    "group.members_changed": ("prov:patch:full",),
    "group.deleted": ("prov:delete",),
}
#: The types of events that have a token; others are none of SCIM's and are not sent as one.
TYPES = tuple(_EVENTS)
#: What the data of an event of an erased person ends with.
_ERASED = '"erased": true}'
#: RFC 8935, 2.1.
PUSH_HEADERS: Mapping[str, str] = {"Content-Type": "application/secevent+jwt", "Accept": "application/json"}
#: Attributes of a group that its event says by other means.
_NOT_PATCHED = ("id", "schemas", "meta", "members")


def has_token(kind: str, data: str) -> bool:
    """Return whether an event has a token: those of SCIM, but not what an erased person once was."""
    return kind in _EVENTS and (_EVENTS[kind] == ("prov:delete",) or not is_erased(data))


def is_erased(data: str) -> bool:
    """Return whether the data of an event, in JSON, are those of a person who was erased."""
    return data.endswith(_ERASED)


def event_uris() -> list[str]:
    """Return the URIs of all events that a token of the gateway can hold (RFC 9967, 4: `eventUris`)."""
    names = {name for names in _EVENTS.values() for name in names}
    return sorted(_PREFIX + name for full in names for name in {full, full.replace(":full", ":notice")})


def audience(issuer: str, webhook_uid: str) -> str:
    """Return the audience of the tokens of an endpoint: a URL that stays when the endpoint's own changes."""
    return f"{issuer}/admin/v1/webhooks/{webhook_uid}"


def claims(event: OutboundEvent, issuer: str, webhook_uid: str, moment_us: int) -> Json | None:
    """Return the claims of an event's token, or None for an event that SCIM does not have.

    `issuer`: the public URL. `moment_us`: when the token is issued; `toe` is when the change was made. `jti` is the
    message id, so a receiver drops doubles by it. A token of more than `BODY_LIMIT` bytes has notices in place of data.
    """
    if not has_token(event.type, event.data):
        return None
    names = _EVENTS[event.type]
    data: Json = json.loads(event.data)
    if event.type == "user.restored" and not data.get("active"):
        names = ("prov:put:full",)
    # RFC 9967, 2.1: the subject is `sub_id` and never `sub`.
    subject = {"format": "scim", "uri": f"/{event.resource}s/{event.resource_id}"}
    if data.get("externalId"):
        subject["externalId"] = data["externalId"]
    return {
        "iss": issuer,
        "aud": audience(issuer, webhook_uid),
        "iat": moment_us // 1_000_000,
        "jti": message_id(event),
        "toe": event.at // 1_000_000,
        "sub_id": subject,
        # None of RFC 9967's: a resource is one of an organization.
        "organization": event.organization,
        "events": _payloads(names, event, data),
    }


def _payloads(names: tuple[str, ...], event: OutboundEvent, data: Json) -> Json:
    full = _patch(event, data) if "prov:patch:full" in names else data
    version = {"version": found} if (found := _version(data)) else {}
    # What encodes a token makes 4 bytes of 3.
    if len(event.data.encode()) * 4 // 3 > BODY_LIMIT:
        return {
            _PREFIX + name.replace(":full", ":notice"): (
                {"attributes": _attributes(event, data)} | version if name.endswith(":full") else {}
            )
            for name in names
        }
    return {_PREFIX + name: {"data": full} | version if name.endswith(":full") else {} for name in names}


def _version(data: Json) -> str | None:
    found = data.get("meta", {}).get("version")
    return found if isinstance(found, str) else None


def _attributes(event: OutboundEvent, data: Json) -> list[str]:
    """Return the names of what a change has set."""
    if event.type == "group.members_changed":
        return ["members"]
    return [name for name in data if name not in ("schemas", "meta")]


def _patch(event: OutboundEvent, data: Json) -> Json:
    """Return the PATCH request (RFC 7644, 3.5.2) that makes the change of a group."""
    if event.type == "group.members_changed":
        operations: list[dict[str, Any]] = []
        if data["added"]:
            added = [{"value": uid} for uid in data["added"]]
            operations.append({"op": "add", "path": "members", "value": added})
        operations += [{"op": "remove", "path": f'members[value eq "{uid}"]'} for uid in data["removed"]]
    else:
        value = {name: each for name, each in data.items() if name not in _NOT_PATCHED}
        operations = [{"op": "replace", "value": value}]
        if "externalId" not in data:
            operations.append({"op": "remove", "path": "externalId"})
    return {"schemas": [_PATCH_URN], "Operations": operations}
