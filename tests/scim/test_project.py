"""Projection: which part of a resource is answered (RFC 7644, 3.9)."""

import copy

import pytest

from gateway.scim.projection import project
from gateway.scim.schemas import ENTERPRISE, ENTERPRISE_URN, GROUP_URN, USER_URN, group_type, user_type

USERS = user_type(ENTERPRISE)
USER = {
    "schemas": [USER_URN, ENTERPRISE_URN],
    "id": "u1",
    "userName": "user1@acme.test",
    "name": {"givenName": "Given1", "familyName": "Family1"},
    "emails": [{"value": "a@acme.test", "type": "work", "primary": True}, {"value": "b@acme.test"}],
    "groups": [{"value": "g1", "display": "Sales"}],
    ENTERPRISE_URN: {"department": "Tours", "manager": {"value": "u2", "displayName": "Given2"}},
    "meta": {"resourceType": "User", "location": "/Users/u1"},
}
ALWAYS = {"schemas": USER["schemas"], "id": "u1"}
GROUP = {"schemas": [GROUP_URN], "id": "g1", "displayName": "Sales", "members": [{"value": "u1"}], "meta": {}}


def without(*names):
    return {name: value for name, value in USER.items() if name not in names}


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ([], USER),
        (["userName"], {"userName": "user1@acme.test"}),
        (["USERNAME", "id"], {"userName": "user1@acme.test"}),
        ([f"{USER_URN}:userName"], {"userName": "user1@acme.test"}),
        (["name.givenName"], {"name": {"givenName": "Given1"}}),
        (["name.givenName", "name.familyName"], {"name": USER["name"]}),
        (["name", "name.givenName"], {"name": USER["name"]}),
        (["emails.type"], {"emails": [{"type": "work"}]}),
        (["emails.display"], {}),
        (["emails.display", "emails.type"], {"emails": [{"type": "work"}]}),
        (
            ["emails.type", "emails.primary", "emails.display"],
            {"emails": [{"type": "work", "primary": True}]},
        ),
        (["name.middleName"], {}),
        (["name.middleName", "name.givenName"], {"name": {"givenName": "Given1"}}),
        (
            [f"{ENTERPRISE_URN}:manager.displayName"],
            {ENTERPRISE_URN: {"manager": {"displayName": "Given2"}}},
        ),
        ([f"{ENTERPRISE_URN}:manager.$ref"], {}),
        (
            [f"{ENTERPRISE_URN}:manager.$ref", f"{ENTERPRISE_URN}:department"],
            {ENTERPRISE_URN: {"department": "Tours"}},
        ),
        (
            ["emails.type", "emails.value"],
            {"emails": [{"value": "a@acme.test", "type": "work"}, {"value": "b@acme.test"}]},
        ),
        (["groups.display"], {"groups": [{"display": "Sales"}]}),
        (["meta.location"], {"meta": {"location": "/Users/u1"}}),
        ([ENTERPRISE_URN], {ENTERPRISE_URN: USER[ENTERPRISE_URN]}),
        ([f"{ENTERPRISE_URN}:department"], {ENTERPRISE_URN: {"department": "Tours"}}),
        ([f"{ENTERPRISE_URN.lower()}:Manager.Value"], {ENTERPRISE_URN: {"manager": {"value": "u2"}}}),
        (["nope", "title", "name.nope", "department", ""], {}),
    ],
)
def test_only_what_is_named_and_what_is_always_returned(attributes, expected):
    assert project(USERS, USER, attributes, []) == {**ALWAYS, **expected}


@pytest.mark.parametrize(
    ("excluded", "expected"),
    [
        (["emails", "NAME"], without("emails", "name")),
        (["id", "schemas"], USER),
        (["name.givenName"], {**USER, "name": {"familyName": "Family1"}}),
        (
            ["emails.type", "emails.primary"],
            {**USER, "emails": [{"value": "a@acme.test"}, {"value": "b@acme.test"}]},
        ),
        (["groups.value", "groups.display"], without("groups")),
        (["name.givenName", "name.familyName"], without("name")),
        (
            [f"{ENTERPRISE_URN}:manager.value", f"{ENTERPRISE_URN}:manager.displayName"],
            {**USER, ENTERPRISE_URN: {"department": "Tours"}},
        ),
        ([ENTERPRISE_URN], without(ENTERPRISE_URN)),
        ([f"{ENTERPRISE_URN}:manager"], {**USER, ENTERPRISE_URN: {"department": "Tours"}}),
        ([f"{ENTERPRISE_URN}:manager", f"{ENTERPRISE_URN}:department"], without(ENTERPRISE_URN)),
        (["nope", "name.nope", "title", "nickName.x"], USER),
    ],
)
def test_everything_but_what_is_excluded(excluded, expected):
    before = copy.deepcopy(USER)
    assert project(USERS, USER, [], excluded) == expected
    assert before == USER


def test_the_members_of_a_group_can_be_left_out():
    assert "members" not in project(group_type(), GROUP, [], ["members"])


def test_what_is_named_and_excluded_is_excluded():
    assert project(USERS, USER, ["userName", "name"], ["name"]) == {**ALWAYS, "userName": "user1@acme.test"}
