"""What JumpCloud sends, translated: members to remove, and nothing else; all other input is left alone."""

from __future__ import annotations

import json
from typing import ClassVar

import gateway_jumpcloud
import pytest

from gateway import ENTERPRISE_URN, GROUP_URN, USER_URN, Billing, Connection, Organization, Seats
from gateway.testing import Document, IdpPromises, Patch

PERSON = {
    "schemas": [USER_URN],
    "userName": "user1@acme.test",
    "name": {"givenName": "Given1", "familyName": "Family1"},
    "displayName": "Given1 Family1",
    "emails": [{"value": "user1@acme.test", "type": "work", "primary": True}],
    "externalId": "1001",
    "active": True,
}


def remove(*ids, **changes):
    return {"op": "remove", "path": "members", "value": [{"value": one} for one in ids]} | changes


def filtered(one):
    return {"op": "remove", "path": f"members[value eq {json.dumps(one)}]"}


ADD = {"op": "add", "path": "members", "value": [{"value": "u1"}]}
RENAME = {"op": "replace", "path": "displayName", "value": "Sales"}


class TestJumpCloud(IdpPromises):
    plugin = "jumpcloud"
    documents: ClassVar = {
        "a user": Document(PERSON),
        "an inactive user": Document(PERSON | {"active": False}),
        "with the extension": Document(PERSON | {ENTERPRISE_URN: {"department": "Tours"}}),
        "a group": Document({"schemas": [GROUP_URN], "displayName": "Sales", "members": []}, kind="Group"),
    }
    patches: ClassVar = {
        name: Patch(sent, becomes=becomes, kind="Group")
        for name, (sent, becomes) in {
            "a member by value": ([remove("u1")], [filtered("u1")]),
            "letter case": ([remove("u1", path="Members")], [filtered("u1")]),
            "several": ([remove("u1", "u2")], [filtered("u1"), filtered("u2")]),
            "between others": ([ADD, remove("u1"), RENAME], [ADD, filtered("u1"), RENAME]),
            "an id with quotes": ([remove('u"1] or value pr')], [filtered('u"1] or value pr')]),
            "add": ([ADD], None),
            "rename": ([RENAME], None),
            "replace without a path": ([{"op": "replace", "value": {"members": []}}], None),
            "remove all, as the RFC says it": ([{"op": "remove", "path": "members"}], None),
            "remove by filter": ([filtered("u1")], None),
        }.items()
    } | {"a user": Patch([{"op": "replace", "path": "active", "value": False}])}


SHAPES = [
    remove(),
    remove(value=["u1"]),
    remove(value=[{"value": "u1"}, {"value": 7}]),
    remove("u1", path="members.value"),
    remove("u1", path=None),
]


@pytest.mark.parametrize("operation", SHAPES)
def test_a_removal_of_an_unknown_shape_is_refused_and_nobody_leaves(deployment, operation):
    jumpcloud = deployment.connection("jumpcloud")
    group = jumpcloud.group("Sales", (jumpcloud.user()["id"],))
    assert jumpcloud.patch(f"/Groups/{group['id']}", operation).status == 400
    assert len(jumpcloud.call("GET", f"/Groups/{group['id']}").json["members"]) == 1


def test_another_connection_reads_the_entries_in_the_value_of_a_remove_too(deployment):
    generic = deployment.connection("generic")
    uid, other = generic.user()["id"], generic.user("user2@acme.test")["id"]
    group = generic.group("Sales", (uid, other))
    assert generic.patch(f"/Groups/{group['id']}", remove(uid)).status == 204
    assert [member["value"] for member in generic.call("GET", f"/Groups/{group['id']}").json["members"]] == [
        other
    ]


def test_a_group_that_the_application_has_is_taken_over(deployment):
    """By its name, as JumpCloud documents it; it is the connection's group from the first write."""
    jumpcloud = deployment.connection("jumpcloud")
    path = f"/organizations/{jumpcloud.organization.uid}/groups"
    deployment.admin("POST", path, {"name": "Guides"})
    found = jumpcloud.call("GET", '/Groups?filter=displayName eq "guides"').json["Resources"]
    uid = jumpcloud.user()["id"]
    change = ADD | {"value": [{"value": uid}]}
    assert jumpcloud.patch(f"/Groups/{found[0]['id']}", change).status in (200, 204)
    assert [(group["name"], group["members"]) for group in deployment.listed(path)] == [("Guides", 1)]


def test_an_activation_that_finds_no_seat_free_says_so(deployment):
    """The test user takes a seat, like anybody."""
    jumpcloud = deployment.connection("jumpcloud", deployment.organization(seats=0))
    refused = jumpcloud.call("POST", "/Users", PERSON)
    assert refused.status == 403
    assert "seat" in refused.json["detail"]


def test_setup_steps_need_no_base_url():
    organization = Organization("o1", "Acme", "enterprise", True, Seats(3, 0), Billing("card", "", ""))
    bare = Connection("c1", "jumpcloud-1", "jumpcloud", "JumpCloud", organization)
    steps = gateway_jumpcloud.gateway_declare().setup_steps(bare)
    assert "Enter the base URL of this connection as Base URL." in steps
