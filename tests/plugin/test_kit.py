"""The kit that plugins compose their translations of; the core validates what comes out."""

import pytest

from gateway import get, keep_one_primary, key_of, read_boolean, split_member_removals
from gateway.scim.documents import clean
from gateway.scim.errors import InvalidValue
from gateway.scim.schemas import USER_URN, user_type

FIRST = {"value": "a@acme.test", "type": "work", "primary": True}
SECOND = {"value": "a@acme.test", "type": "home", "primary": True}


def test_the_first_of_two_primary_values_stays_primary():
    """PingOne fills the second e-mail with a copy of the first, primary and all."""
    sent = {"schemas": [USER_URN], "userName": "a@acme.test", "emails": [FIRST, SECOND]}
    with pytest.raises(InvalidValue, match="more than one value with primary true"):
        clean(user_type(), sent)
    assert clean(user_type(), keep_one_primary(sent)).document["emails"] == [
        FIRST,
        {"value": "a@acme.test", "type": "home"},
    ]
    assert sent["emails"] == [FIRST, SECOND]


@pytest.mark.parametrize(
    "value",
    [
        None,
        3,
        "x",
        [],
        {},
        [None],
        ["x", True],
        [{"primary": True}],
        [{"Primary": "True"}, FIRST],
        [{"primary": False}, FIRST],
    ],
)
def test_what_has_not_two_primary_values_stays_as_it_is(value):
    assert keep_one_primary({"emails": value}) == {"emails": value}


def test_letter_case_does_not_count():
    assert keep_one_primary({"Roles": [FIRST, {"value": "b", "PRIMARY": True}]}) == {
        "Roles": [FIRST, {"value": "b"}]
    }


def test_a_key_is_found_in_any_letter_case():
    assert key_of({"USERNAME": "a"}, "userName") == "USERNAME"
    assert key_of({"title": "a"}, "userName") == "userName"
    assert key_of({"EMAILS": 1, "emails": 2}, "emails") == "emails"


def test_get_ignores_letter_case_and_answers_none_for_a_missing_attribute():
    assert get({"USERNAME": "a"}, "userName") == "a"
    assert get({"title": "a"}, "userName") is None


@pytest.mark.parametrize(
    ("value", "read"),
    [("true", True), ("False", False), ("TRUE", True), ("yes", "yes"), ("", ""), (1, 1), (None, None)],
)
def test_read_boolean_leaves_what_is_no_boolean(value, read):
    assert read_boolean(value) == read
    assert type(read_boolean(value)) is type(read)


def remove(value, path="members"):
    return {"op": "remove", "path": path, "value": value}


def test_split_member_removals_makes_one_removal_a_member():
    add = {"op": "add", "path": "members", "value": [{"value": "u0"}]}
    assert split_member_removals([add, remove([{"value": "u1"}, {"VALUE": 'u"2'}], "Members")]) == [
        add,
        {"op": "remove", "path": 'members[value eq "u1"]'},
        {"op": "remove", "path": 'members[value eq "u\\"2"]'},
    ]


@pytest.mark.parametrize(
    "operation",
    [
        remove([]),
        remove("u1"),
        remove(["u1"]),
        remove([{"value": "u1"}, {"value": 7}]),
        remove([{"value": "u1"}], "members.value"),
        remove([{"value": "u1"}], None),
        {"op": "remove", "path": "members"},
        {"op": "replace", "path": "members", "value": [{"value": "u1"}]},
    ],
)
def test_split_member_removals_leaves_every_other_operation(operation):
    assert split_member_removals([operation]) is None
