"""PATCH of a group: membership changes are taken out of the operations, and nobody is lost by accident."""

import pytest

from gateway.scim.errors import InvalidPath, InvalidSyntax, InvalidValue, Mutability
from gateway.scim.filters import parse_filter
from gateway.scim.patch import MemberChange, apply, split_members
from gateway.scim.schemas import GROUP_URN, group_type

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
        # Read by the RFC, these would empty the group.
        ({"op": "remove", "path": "members", "value": [{"value": "u1"}]}, InvalidValue, 'takes no "value"'),
        ({"op": "remove", "path": "members", "value": []}, InvalidValue, 'takes no "value"'),
        ({"op": "remove", "path": "members", "value": "u1"}, InvalidValue, 'takes no "value"'),
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
    result = apply(GROUPS, GROUP, others, resource_id="g1")
    assert result.document == {**GROUP, "displayName": "New", "externalId": "e1"}
    assert result.ignored == ("urn:acme:x:members",)


def test_okta_repeats_the_id_when_it_renames_a_group():
    operation = {"op": "replace", "value": {"id": "g1", "displayName": "Sales"}}
    assert apply(GROUPS, GROUP, split_members([operation])[1], resource_id="g1").document == GROUP


def test_a_group_cannot_lose_its_name():
    with pytest.raises(Mutability, match="displayName is required"):
        apply(GROUPS, GROUP, [{"op": "remove", "path": "displayName"}])
