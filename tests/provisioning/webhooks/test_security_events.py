"""Claims of security event tokens: RFC 8417, RFC 9967 and what makes a token of each event of the gateway."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.provisioning.event_types import ORGANIZATION_TYPES
from gateway.provisioning.webhooks.messages import BODY_LIMIT, OutboundEvent, message_id
from gateway.provisioning.webhooks.security_events import TYPES, claims, event_uris

ISSUER, WEBHOOK, ORGANIZATION, UID = "https://scim.acme.test", "0192-w", "0192-o", "0192-u"
AT, MOMENT = 1_795_000_123_456_789, 1_795_000_200_000_000
PREFIX = "urn:ietf:params:scim:event:"
USER = {
    "id": UID, "meta": {"version": 'W/"7"'}, "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
    "userName": "user1@acme.test", "externalId": "00u1", "active": True,
}  # fmt: skip
GROUP = {
    "id": UID, "meta": {"version": 'W/"2"'}, "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
    "displayName": "Sales",
}  # fmt: skip


def token(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    resource = "User" if kind.startswith("user") else "Group"
    event = OutboundEvent(ORGANIZATION, 1_795_000_000, 7, kind, AT, resource, UID, "0192-c", json.dumps(data))
    made = claims(event, ISSUER, WEBHOOK, MOMENT)
    assert made is not None
    return made


def events(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    found = token(kind, data)["events"]
    assert all(uri.startswith(PREFIX) for uri in found)
    assert set(found) <= set(event_uris())
    # RFC 9967, 2.4: data in full events, attributes in notices, never both, neither elsewhere.
    for uri, payload in found.items():
        expected = {"full": "data", "notice": "attributes"}.get(uri.rpartition(":")[2])
        assert payload.keys() & {"data", "attributes"} == ({expected} if expected else set())
    return {uri.removeprefix(PREFIX): payload for uri, payload in found.items()}


def test_every_type_of_users_and_groups_has_a_token():
    assert set(TYPES) <= set(ORGANIZATION_TYPES)
    held = {f"{each}.removal_{what}" for each in ("user", "group") for what in ("held", "withdrawn")}
    without = held | {"user.adoption_waiting", "user.adopted"}
    changes = {kind for kind in ORGANIZATION_TYPES if kind.startswith(("user.", "group."))}
    assert changes - without == set(TYPES)
    event = OutboundEvent(None, 1, 1, "organization.removed", AT, "Organization", UID, None, "{}")
    assert claims(event, ISSUER, WEBHOOK, MOMENT) is None


def test_the_claims_of_a_token():
    made = token("user.created", USER)
    assert made.pop("events") == {f"{PREFIX}prov:create:full": {"data": USER, "version": 'W/"7"'}}
    assert made == {
        "iss": ISSUER, "aud": f"{ISSUER}/admin/v1/webhooks/{WEBHOOK}", "iat": 1_795_000_200, "toe": 1_795_000_123,
        "jti": f"evt_{ORGANIZATION}_1795000000_7", "organization": ORGANIZATION,
        "sub_id": {"format": "scim", "uri": f"/Users/{UID}", "externalId": "00u1"},
    }  # fmt: skip


def test_a_subject_without_external_id_has_its_path_alone():
    assert token("group.deleted", GROUP)["sub_id"] == {"format": "scim", "uri": f"/Groups/{UID}"}


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("user.created", ["prov:create:full"]),
        ("user.updated", ["prov:put:full"]),
        ("user.deactivated", ["prov:deactivate", "prov:put:full"]),
        ("user.reactivated", ["prov:activate", "prov:put:full"]),
        ("user.restored", ["prov:activate", "prov:put:full"]),
        ("user.deleted", ["prov:delete"]),
    ],
)
def test_events_of_users(kind: str, names: list[str]):
    found = events(kind, USER)
    assert list(found) == names
    assert all(payload == {} for name, payload in found.items() if not name.endswith(":full"))
    assert all(payload["data"] == USER for name, payload in found.items() if name.endswith(":full"))


def test_a_user_who_is_restored_inactive_is_not_activated():
    assert list(events("user.restored", USER | {"active": False})) == ["prov:put:full"]


def test_events_of_groups():
    assert events("group.created", GROUP)["prov:create:full"]["data"] == GROUP
    assert events("group.deleted", GROUP) == {"prov:delete": {}}
    # Members are not in the event, so a rename is a PATCH that leaves them as they are.
    renamed = events("group.updated", GROUP)["prov:patch:full"]["data"]["Operations"]
    assert renamed == [
        {"op": "replace", "value": {"displayName": "Sales"}},
        {"op": "remove", "path": "externalId"},
    ]
    named = events("group.updated", GROUP | {"externalId": "g1"})["prov:patch:full"]["data"]["Operations"]
    assert named == [{"op": "replace", "value": {"displayName": "Sales", "externalId": "g1"}}]


def test_members_that_come_and_go_are_operations_of_patch():
    data = {"id": UID, "displayName": "Sales", "added": ["a", "b"], "removed": ["c"]}
    assert events("group.members_changed", data)["prov:patch:full"]["data"] == {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [
            {"op": "add", "path": "members", "value": [{"value": "a"}, {"value": "b"}]},
            {"op": "remove", "path": 'members[value eq "c"]'},
        ],
    }
    only_left = events("group.members_changed", data | {"added": []})["prov:patch:full"]["data"]["Operations"]
    assert only_left == [{"op": "remove", "path": 'members[value eq "c"]'}]


def test_a_token_that_would_be_too_large_names_the_attributes_in_place_of_their_values():
    large = USER | {"note": "x" * BODY_LIMIT}
    assert events("user.deactivated", large) == {
        "prov:deactivate": {},
        "prov:put:notice": {
            "attributes": ["id", "userName", "externalId", "active", "note"], "version": 'W/"7"',
        },
    }  # fmt: skip
    many = {"id": UID, "displayName": "Sales", "added": ["x" * BODY_LIMIT], "removed": []}
    assert events("group.members_changed", many) == {"prov:patch:notice": {"attributes": ["members"]}}


def test_the_id_of_a_token_is_that_of_the_message():
    event = OutboundEvent(ORGANIZATION, 1, 2, "user.created", AT, "User", UID, None, json.dumps(USER))
    made = claims(event, ISSUER, WEBHOOK, MOMENT)
    assert made is not None
    assert made["jti"] == message_id(event)
