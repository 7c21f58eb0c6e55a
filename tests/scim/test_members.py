"""PATCH of a group: membership changes are taken out of the operations, and nobody is lost by accident."""

import pytest

from gateway.scim.errors import InvalidPath, InvalidSyntax, InvalidValue, Mutability
from gateway.scim.filters import parse_filter
from gateway.scim.members import MemberChange, split_members
from gateway.scim.patch import apply
from gateway.scim.schemas import ENTERPRISE_URN, GROUP_URN, USER_URN, group_type, narrow

GROUPS = group_type()
GROUP = {"schemas": [GROUP_URN], "displayName": "Sales"}
BY_TYPE = parse_filter('type eq "User"')


def add(*ids):
    return MemberChange("add", ids)


def remove(*ids):
    return MemberChange("remove", ids)


def replace(*ids):
    return MemberChange("replace", ids)


CLEAR = MemberChange("clear")


@pytest.mark.parametrize(
    ("operation", "changes"),
    [
        # RFC 7644, 3.5.2.1 to 3.5.2.3
        ({"op": "add", "path": "members", "value": [{"value": "u1", "display": "User 1"}]}, [add("u1")]),
        (
            {"op": "add", "path": "members", "value": [{"$ref": None, "value": "u1"}, {"value": "u2"}]},
            [add("u1", "u2")],
        ),
        ({"op": "add", "path": "members", "value": [{"value": "u1"}, {"value": "u1"}]}, [add("u1")]),
        ({"op": "add", "path": "members", "value": {"value": "u1"}}, [add("u1")]),
        ({"op": "add", "path": "MEMBERS", "value": [{"VALUE": "u1"}]}, [add("u1")]),
        ({"op": "add", "path": f"{GROUP_URN}:members", "value": [{"value": "u1"}]}, [add("u1")]),
        ({"op": "add", "value": {"members": [{"value": "u1"}]}}, [add("u1")]),
        ({"op": "add", "path": "members", "value": []}, []),
        ({"op": "add", "path": "members", "value": None}, []),
        ({"op": "replace", "path": "members", "value": [{"value": "u1"}]}, [replace("u1")]),
        ({"op": "replace", "path": "members", "value": {"value": "u1"}}, [replace("u1")]),
        ({"op": "replace", "value": {"members": [{"value": "u1"}]}}, [replace("u1")]),
        # An empty group is pushed with an empty list.
        ({"op": "replace", "path": "members", "value": []}, [replace()]),
        ({"op": "replace", "value": {"members": []}}, [replace()]),
        ({"op": "replace", "path": GROUP_URN, "value": {"members": [{"value": "u1"}]}}, [replace("u1")]),
        ({"op": "replace", "path": "members", "value": None}, [CLEAR]),
        ({"op": "remove", "path": "members"}, [CLEAR]),
        ({"op": "remove", "path": "members", "value": None}, [CLEAR]),
        # The entries in the value, and no others: read by the RFC, which knows no value here, the group would be empty.
        ({"op": "remove", "path": "members", "value": [{"value": "u1"}]}, [remove("u1")]),
        ({"op": "remove", "path": "members", "value": {"Value": "u1"}}, [remove("u1")]),
        (
            {"op": "remove", "path": "members", "value": [{"$ref": "../Users/u1"}, {"value": "u2"}]},
            [remove("u1", "u2")],
        ),
        # RFC 7643, 2.4
        ({"op": "add", "path": "members", "value": [{"$ref": "https://acme.test/Users/u1"}]}, [add("u1")]),
        ({"op": "add", "path": "members", "value": [{"value": "u1", "$ref": "../Users/u2"}]}, [add("u1")]),
        ({"op": "replace", "value": {"members": [{"$REF": "../Users/u1", "value": ""}]}}, [replace("u1")]),
        ({"op": "remove", "path": 'members[$ref eq "https://acme.test/Users/u1"]'}, [remove("u1")]),
        ({"op": "remove", "path": 'members[value eq "u1"]'}, [remove("u1")]),
        ({"op": "Remove", "path": 'Members[Value EQ "u1"]'}, [remove("u1")]),
        ({"op": "remove", "path": f'{GROUP_URN.upper()}:members[value eq "u1"]'}, [remove("u1")]),
        ({"op": "remove", "path": 'members[type eq "User"]'}, [MemberChange("remove_where", filter=BY_TYPE)]),
        (
            {"op": "remove", "path": 'members[value eq "u1" or value eq "u2"]'},
            [MemberChange("remove_where", filter=parse_filter('value eq "u1" or value eq "u2"'))],
        ),
        (
            {"op": "remove", "path": 'members[value ne "u1"]'},
            [MemberChange("remove_where", filter=parse_filter('value ne "u1"'))],
        ),
        (
            {"op": "remove", "path": "members[value eq null]"},
            [MemberChange("remove_where", filter=parse_filter("value eq null"))],
        ),
    ],
    ids=str,
)
def test_a_membership_change_is_taken_out(operation, changes):
    assert split_members([operation]) == (changes, [])


@pytest.mark.parametrize(
    ("operation", "refusal", "words"),
    [
        ({"op": "remove", "path": "members", "value": "u1"}, InvalidValue, 'but one is "u1"'),
        ({"op": "remove", "path": "members", "value": [{}]}, InvalidValue, "but one is {}"),
        # Nobody would leave by the value, and everybody by the RFC.
        ({"op": "remove", "path": "members", "value": []}, InvalidValue, 'a "value" without an entry: []'),
        (
            {"op": "remove", "path": 'members[value eq "u1"]', "value": [{"value": "u2"}]},
            InvalidValue,
            'takes no "value"',
        ),
        ({"op": "add", "path": "members", "value": [{"$ref": "u1"}]}, InvalidValue, "must end in /Users/"),
        ({"op": "add", "path": "members", "value": ["u1"]}, InvalidValue, 'but one is "u1"'),
        ({"op": "add", "path": "members", "value": "u1"}, InvalidValue, 'but one is "u1"'),
        (
            {"op": "add", "path": "members", "value": [{"display": "User 1"}]},
            InvalidValue,
            "Each member must be",
        ),
        ({"op": "add", "path": "members", "value": [{"value": 7}]}, InvalidValue, "Each member must be"),
        ({"op": "replace", "path": "members", "value": [{"value": ""}]}, InvalidValue, "Each member must be"),
        ({"op": "replace", "path": "members", "value": ""}, InvalidValue, "Each member must be"),
        ({"op": "replace", "value": {"members": [None]}}, InvalidValue, "but one is null"),
        ({"op": "replace", "path": "members.display", "value": "x"}, Mutability, "in place"),
        ({"op": "remove", "path": "members.display"}, Mutability, "in place"),
        ({"op": "replace", "path": 'members[value eq "u1"].display', "value": "x"}, Mutability, "in place"),
        ({"op": "remove", "path": 'members[value eq "u1"].value'}, Mutability, "in place"),
        (
            {"op": "replace", "path": 'members[value eq "u1"]', "value": {"value": "u2"}},
            Mutability,
            "in place",
        ),
        ({"op": "remove", "path": "members[value]"}, InvalidPath, "cannot be read"),
        ({"op": "add", "value": {"members": [], "MEMBERS": []}}, InvalidSyntax, "two spellings"),
    ],
    ids=str,
)
def test_a_membership_change_that_is_no_rfc_shape_is_refused(operation, refusal, words):
    with pytest.raises(refusal) as raised:
        split_members([operation])
    assert words in raised.value.detail


def test_what_is_not_about_members_goes_on_in_order():
    operations = [
        {"op": "remove", "path": 'members[value eq "u1"]'},
        {"op": "replace", "value": {"id": "g1", "displayName": "New", "Members": [{"value": "u2"}]}},
        {"op": "add", "path": "members", "value": [{"value": "u3"}]},
        {"op": "replace", "path": "externalId", "value": "e1"},
        {"op": "replace", "path": "urn:acme:x:members", "value": "not ours"},
    ]
    changes, others = split_members(operations)
    assert changes == [remove("u1"), replace("u2"), add("u3")]
    assert others == [
        {"op": "replace", "value": {"id": "g1", "displayName": "New"}},
        {"op": "replace", "path": "externalId", "value": "e1"},
        {"op": "replace", "path": "urn:acme:x:members", "value": "not ours"},
    ]
    result = apply(GROUPS, GROUP, others[:2], resource_id="g1")
    assert result.document == {**GROUP, "displayName": "New", "externalId": "e1"}


@pytest.mark.parametrize(
    ("operation", "nearest"),
    [
        ({"op": "add", "path": "memebers", "value": [{"value": "u1"}]}, "members"),
        ({"op": "add", "path": "member", "value": [{"value": "u1"}]}, "members"),
        ({"op": "remove", "path": 'Member[value eq "u1"]'}, "members"),
        ({"op": "replace", "path": "displayname1", "value": "x"}, "displayName"),
        ({"op": "replace", "path": "externalID2", "value": "x"}, "externalId"),
        ({"op": "add", "path": "users", "value": [{"value": "u1"}]}, None),
        ({"op": "replace", "path": "name", "value": "x"}, None),
        ({"op": "replace", "path": "name.formatted", "value": "x"}, None),
        ({"op": "replace", "path": "displayName.formatted", "value": "x"}, None),
        ({"op": "replace", "path": USER_URN, "value": {"displayName": "x"}}, None),
        ({"op": "replace", "path": f"{USER_URN}:displayName", "value": "x"}, None),
        ({"op": "replace", "path": f"{ENTERPRISE_URN}:department", "value": "x"}, None),
        ({"op": "replace", "path": "urn:acme:x:members", "value": "not ours"}, None),
        ({"op": "replace", "value": {"member": [{"value": "u1"}]}}, "members"),
        ({"op": "replace", "value": {"displayName": "x", "users": []}}, None),
        ({"op": "replace", "value": {ENTERPRISE_URN: {"department": "x"}}}, None),
        ({"op": "add", "value": {USER_URN: {"displayName": "x"}}}, None),
    ],
    ids=str,
)
def test_what_a_group_does_not_have_is_refused_and_the_nearest_attribute_named(operation, nearest):
    _, others = split_members([operation])
    with pytest.raises(InvalidPath) as raised:
        apply(GROUPS, GROUP, others)
    assert "What can be changed of a group is displayName, externalId and members." in raised.value.detail
    assert (f"The nearest attribute is {nearest}." in raised.value.detail) is (nearest is not None)
    assert raised.value.detail.startswith("A group has no ")


def test_what_a_group_has_and_the_connection_does_not_keep_is_ignored_and_named():
    narrowed = narrow(GROUPS, ["displayName"])
    for operation in (
        {"op": "replace", "path": "externalId", "value": "e1"},
        {"op": "replace", "value": {"externalId": "e1"}},
    ):
        result = apply(narrowed, GROUP, [operation])
        assert (result.document, result.ignored) == (GROUP, ("externalId",))


def test_a_remove_operation_that_names_the_members_in_its_value_says_so():
    by_value, by_path = split_members(
        [
            {"op": "remove", "path": "members", "value": [{"value": "u1"}]},
            {"op": "remove", "path": 'members[value eq "u1"]'},
        ]
    )[0]
    assert (by_value.by_value, by_path.by_value) == (True, False)


def test_okta_repeats_the_id_when_it_renames_a_group():
    operation = {"op": "replace", "value": {"id": "g1", "displayName": "Sales"}}
    assert apply(GROUPS, GROUP, split_members([operation])[1], resource_id="g1").document == GROUP


def test_a_group_cannot_lose_its_name():
    with pytest.raises(Mutability, match="displayName is required"):
        apply(GROUPS, GROUP, [{"op": "remove", "path": "displayName"}])
