"""Adapters that plugins compose, with the core's own validation behind them."""

import pytest

from gateway import keep_one_primary, key_of
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
