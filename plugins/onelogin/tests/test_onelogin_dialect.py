"""What OneLogin sends, translated: SCIM 1.1's names, values in quotes, members to remove; and what is left alone."""

from __future__ import annotations

import copy
import json
from typing import ClassVar

import gateway_onelogin
import pytest
from gateway_onelogin import steps
from gateway_onelogin.dialect import OLD_ENTERPRISE

from gateway import ENTERPRISE_URN, GROUP_URN, USER_URN, Billing, Connection, Organization, Seats
from gateway.testing import Document, IdpPromises, Patch

OLD = "urn:scim:schemas:core:1.0"
EMAIL = {"value": "user1@acme.test", "type": "work", "primary": True}


def user(**changes):
    return {"schemas": [USER_URN], "userName": "user1@acme.test", "emails": [EMAIL], "active": True} | changes


def remove(*ids, **changes):
    return {"op": "remove", "path": "members", "value": [{"value": one} for one in ids]} | changes


def filtered(one):
    return {"op": "remove", "path": f"members[value eq {json.dumps(one)}]"}


def mapped(document):
    return gateway_onelogin.gateway_map_resource("User", copy.deepcopy(document))


ADD = {"op": "add", "path": "members", "value": [{"value": "u1"}]}
TOURS = {"department": "Tours", "manager": {"value": "4711"}}
OLD_TOURS = {"department": "Tours", "manager": {"managerId": "4711", "displayName": "Given2"}}

TRANSLATED = {
    # what a template sends, what it means
    "the core schema of 1.0": ({"schemas": [OLD]}, {"schemas": [USER_URN]}),
    "both, in capitals": (
        {"schemas": [OLD.upper(), OLD_ENTERPRISE]},
        {"schemas": [USER_URN, ENTERPRISE_URN]},
    ),
    "beside others": ({"schemas": [OLD, "urn:acme:User"]}, {"schemas": [USER_URN, "urn:acme:User"]}),
    "one e-mail as an object": ({"emails": EMAIL}, {"emails": [EMAIL]}),
    "active as text": ({"active": "true"}, {"active": True}),
    "inactive in capitals": ({"active": "False"}, {"active": False}),
    "the extension of 1.0": (
        {OLD_ENTERPRISE: {"department": "Tours"}},
        {ENTERPRISE_URN: {"department": "Tours"}},
    ),
    "the manager of 1.0": (
        {OLD_ENTERPRISE: OLD_TOURS},
        {ENTERPRISE_URN: TOURS | {"manager": {"value": "4711", "displayName": "Given2"}}},
    ),
    "the manager of 1.0 in 2.0": (
        {ENTERPRISE_URN: {"Manager": {"managerId": "4711"}}},
        {ENTERPRISE_URN: {"Manager": {"value": "4711"}}},
    ),
}
LEFT_ALONE = {
    "plain": {},
    "plain, with the extension": {"schemas": [USER_URN, ENTERPRISE_URN], ENTERPRISE_URN: TOURS},
    "a manager of both names": {ENTERPRISE_URN: {"manager": {"value": "4711", "managerId": "1"}}},
    "an extension of both names": {ENTERPRISE_URN: TOURS, OLD_ENTERPRISE: OLD_TOURS},
    "no e-mail": {"emails": []},
    "inactive": {"active": False},
    "an empty active": {"active": ""},
    "empty texts": {"title": "", "name": {"givenName": ""}, "id": None, "meta": {"resourceType": "User"}},
}


class TestOneLogin(IdpPromises):
    plugin = "onelogin"
    documents: ClassVar = {
        **{name: Document(user(**sent), becomes=user(**meant)) for name, (sent, meant) in TRANSLATED.items()},
        **{name: Document(user(**sent)) for name, sent in LEFT_ALONE.items()},
        "a group": Document({"schemas": [GROUP_URN], "displayName": "Sales"}, kind="Group"),
    }
    patches: ClassVar = {
        name: Patch(sent, becomes=becomes, kind="Group")
        for name, (sent, becomes) in {
            "a member by value": ([remove("u1")], [filtered("u1")]),
            "letter case": ([remove("u1", path="Members")], [filtered("u1")]),
            "several": ([remove("u1", "u2")], [filtered("u1"), filtered("u2")]),
            "between others": ([ADD, remove("u1"), ADD], [ADD, filtered("u1"), ADD]),
            "an id with quotes": ([remove('u"1] or value pr')], [filtered('u"1] or value pr')]),
            "with a display name": ([remove(value=[{"value": "u1", "display": "U"}])], [filtered("u1")]),
            "add": ([ADD], None),
            "replace": ([{"op": "replace", "path": "members", "value": [{"value": "u1"}]}], None),
            "replace without a path": ([{"op": "replace", "value": {"members": []}}], None),
            "remove all, as the RFC says it": ([{"op": "remove", "path": "members"}], None),
            "remove by filter": ([filtered("u1")], None),
        }.items()
    } | {"a user": Patch([{"op": "replace", "path": "active", "value": False}])}


# What the core refuses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        {"emails": "user1@acme.test"},
        {"active": "perhaps"},
        {"active": 1},
        {"schemas": OLD},
        {"schemas": None},
        {"schemas": [7, OLD]},
        {ENTERPRISE_URN: {"manager": "4711"}},
        {ENTERPRISE_URN: "Tours"},
    ],
)
def test_a_user_of_an_unknown_shape_is_refused(deployment, sent):
    assert deployment.connection("onelogin").call("POST", "/Users", user(**sent)).status == 400


SHAPES = [
    remove(),
    remove(value="u1"),
    remove(value=["u1"]),
    remove(value=[{"value": "u1"}, {"value": 7}]),
    remove(value=[{"value": "u1"}, {"value": ""}]),
    remove("u1", path="members.value"),
    remove("u1", path="displayName"),
    remove("u1", path=None),
]


@pytest.mark.parametrize("operation", SHAPES)
def test_a_removal_of_an_unknown_shape_is_refused_and_nobody_leaves(deployment, operation):
    onelogin = deployment.connection("onelogin")
    group = onelogin.group("Sales", (onelogin.user()["id"],))
    assert onelogin.patch(f"/Groups/{group['id']}", operation).status == 400
    assert len(onelogin.call("GET", f"/Groups/{group['id']}").json["members"]) == 1


def test_another_connection_is_held_to_the_urns_of_the_rfc(deployment):
    generic = deployment.connection("generic")
    assert generic.call("POST", "/Users", user(userName="user2@acme.test", schemas=[OLD])).status == 400


def test_very_many_members_are_removed_at_once(deployment):
    """More than there may be operations in a message; the limit is for what came, not for what it means."""
    onelogin = deployment.connection("onelogin")
    first, second = onelogin.user()["id"], onelogin.user("user2@acme.test")["id"]
    group = onelogin.group("Sales", (first, second))
    strangers = [f"stranger-{number}" for number in range(1200)]
    assert onelogin.patch(f"/Groups/{group['id']}", remove(*strangers, first)).status in (200, 204)
    members = onelogin.call("GET", f"/Groups/{group['id']}").json["members"]
    assert [member["value"] for member in members] == [second]


# What the admin reads --------------------------------------------------------------------------------------

ORGANIZATION = Organization("o1", "Acme", "enterprise", True, Seats(3, 0), Billing("card", "", ""))
CONNECTION = Connection(
    "c1", "onelogin-1", "onelogin", "OneLogin", ORGANIZATION,
    base_url="https://gateway.acme.test/scim/v2/onelogin-1", extension_urn="urn:acme:scim:User",
)  # fmt: skip


def test_the_steps_have_the_connections_own_values():
    steps = gateway_onelogin.gateway_declare().setup_steps(CONNECTION)
    assert any(CONNECTION.base_url in step for step in steps)
    assert any('"urn:acme:scim:User": {"group": "{$parameters.group}"}' in step for step in steps)


def test_the_template_of_the_steps_needs_no_translation_once_it_is_filled(deployment):
    onelogin = deployment.connection("onelogin")
    template = steps.template(onelogin.caller().words.extension_urn)
    for macro, value in {
        "{$parameters.scimusername}": "user1@acme.test", "{$user.email}": "user1@acme.test",
        "{$user.display_name}": "Given1 Family1", "{$user.firstname}": "Given1",
        "{$user.lastname}": "Family1", "{$parameters.group}": "Guides",
    }.items():  # fmt: skip
        template = template.replace(macro, value)
    assert "{$" not in template
    document = json.loads(template) | {"active": True}
    assert mapped(document) is None
    created = onelogin.call("POST", "/Users", document).json
    assert {name: created[name] for name in document if name != "schemas"} == {
        name: held for name, held in document.items() if name != "schemas"
    }
    assert deployment.activity(onelogin.organization)[0].ignored == "[]"
