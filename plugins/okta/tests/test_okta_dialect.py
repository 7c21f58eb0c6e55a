"""What Okta sends, translated: user names, primary e-mails, empty entries; and what is left alone."""

from __future__ import annotations

import copy

import gateway_okta
import pytest
from gateway_okta import dialect

from gateway import InvalidValue

CORE = "urn:ietf:params:scim:schemas:core:2.0:User"

CREATE = {
    "schemas": [CORE],
    "userName": "user1@acme.test",
    "name": {"givenName": "Given1", "familyName": "Family1"},
    "emails": [{"primary": True, "value": "user1@acme.test", "type": "work"}],
    "displayName": "Given1 Family1",
    "locale": "en-US",
    "externalId": "00u1a2b3c4d5e6f7g8h9",
    "groups": [],
    "password": "1mz050nq",
    "active": True,
}


def mapped(document, resource_type="User"):
    return gateway_okta.gateway_map_resource(resource_type, document)


def emails(**changes):
    return mapped({**CREATE, **changes})["emails"]


def test_the_usual_create_needs_no_translation():
    document = copy.deepcopy(CREATE)
    assert mapped(document) is None
    assert document == CREATE


def test_groups_are_sent_as_the_rfc_has_them():
    assert mapped({"displayName": "Sales", "members": []}, "Group") is None


# User names -------------------------------------------------------------------------------------------------

GOOD = ["user1@acme.test", "user1@corp.local", "u@localhost", "ünï@acme.test", "o'neil+x@acme.test"]
BAD = [
    "user1",
    "@acme.test",
    "user1@",
    "@",
    "a@b@c",
    "user 1@acme.test",
    "user1@acme.test\n",
    "user\t1@acme.test",
    "user\u00a01@acme.test",
    "user\x001@acme.test",
    " ",
]


@pytest.mark.parametrize("user_name", GOOD)
def test_only_the_shape_of_an_address_is_asked_for(user_name):
    assert mapped({**CREATE, "userName": user_name}) is None


@pytest.mark.parametrize("user_name", BAD)
@pytest.mark.parametrize("key", ["userName", "USERNAME"])
def test_a_name_that_is_no_address_is_refused_with_the_remedy(user_name, key):
    with pytest.raises(InvalidValue) as refused:
        mapped({"schemas": [CORE], key: user_name})
    assert user_name in refused.value.detail
    assert '"Application username format" to Email' in refused.value.detail
    assert "Sign On tab" in refused.value.detail


def test_of_a_long_name_only_the_beginning_is_repeated():
    with pytest.raises(InvalidValue) as refused:
        mapped({"userName": "x" * 5000})
    assert f'"{"x" * 80}…"' in refused.value.detail
    assert len(refused.value.detail) < 300


@pytest.mark.parametrize("document", [{}, {"userName": None}, {"userName": 7}, {"userName": ""}])
def test_a_name_that_is_missing_or_no_text_is_left_to_the_core(document):
    assert mapped(document) is None


# E-mails ----------------------------------------------------------------------------------------------------

FROM_THE_NAME = [{"value": "user1@acme.test", "primary": True, "type": "work"}]


@pytest.mark.parametrize(
    "sent", [None, [], [{}], [{"value": ""}], [{"value": None, "type": "work"}], [{"primary": True}]]
)
def test_without_an_address_the_user_name_is_the_primary_one(sent):
    assert emails(emails=sent) == FROM_THE_NAME


def test_without_emails_at_all_too():
    assert mapped({"userName": "user1@acme.test"})["emails"] == FROM_THE_NAME


def test_the_first_address_is_primary_where_none_is_said_to_be():
    sent = [{"type": "work", "value": ""}, {"value": "a@b"}, {"value": "c@d", "primary": False}]
    assert emails(emails=sent) == [{"value": "a@b", "primary": True}, {"value": "c@d", "primary": False}]


def test_a_primary_address_stays_primary_wherever_it_stands():
    sent = [{"value": "a@b"}, {"VALUE": "c@d", "Primary": True}]
    assert mapped({**CREATE, "emails": sent}) is None


def test_letter_case_of_an_attribute_name_says_nothing():
    document = mapped({"username": "user1@acme.test", "EMAILS": []})
    assert document == {"username": "user1@acme.test", "EMAILS": FROM_THE_NAME}


@pytest.mark.parametrize("sent", ["a@b", {"value": "a@b"}, ["a@b"], [None]])
def test_emails_of_another_shape_are_left_to_the_core(sent):
    assert mapped({**CREATE, "emails": sent}) is None


# Empty values -----------------------------------------------------------------------------------------------


def test_entries_without_a_value_are_dropped_wherever_they_stand():
    sent = {
        "phoneNumbers": [{"type": "work", "value": ""}, {"type": "mobile", "value": "1"}],
        "addresses": [{"type": "work", "locality": "", "region": None}, {"locality": "Here"}],
    }
    document = mapped({**CREATE, **sent})
    assert document["phoneNumbers"] == [{"type": "mobile", "value": "1"}]
    assert document["addresses"] == [{"locality": "Here"}]


def test_empty_text_is_a_value_and_stays():
    assert mapped({**CREATE, "title": "", "name": {"givenName": "", "familyName": "F"}}) is None


# PATCH ------------------------------------------------------------------------------------------------------

RENAMES = [
    {"op": "replace", "value": {"userName": "user1"}},
    {"op": "add", "value": {"USERNAME": "user1"}},
    {"op": "replace", "value": {f"{CORE}:userName": "user1"}},
    {"op": "replace", "path": "userName", "value": "user1"},
    {"op": "add", "path": "username", "value": "user1"},
    {"op": "replace", "path": f"{CORE.upper()}:userName", "value": "user1"},
]

LEFT_ALONE = [
    {"op": "replace", "value": {"active": False}},
    {"op": "replace", "value": {"password": "secret"}},
    {"op": "replace", "value": {"userName": "user1@acme.test"}},
    {"op": "replace", "path": "userName", "value": None},
    {"op": "replace", "path": "emails", "value": []},
    {"op": "remove", "path": "displayName"},
    {"op": "replace", "path": 7, "value": "user1"},
    {"op": "replace", "value": "user1"},
    {},
]


def patched(operation, resource_type="User"):
    return gateway_okta.gateway_map_patch(resource_type, [operation])


@pytest.mark.parametrize("operation", RENAMES)
def test_a_patch_that_renames_obeys_the_same_rule(operation):
    with pytest.raises(InvalidValue, match='userName "user1" is not an e-mail address'):
        patched(operation)


@pytest.mark.parametrize("operation", LEFT_ALONE)
def test_other_patches_are_left_alone(operation):
    assert patched(operation) is None


@pytest.mark.parametrize("operation", RENAMES)
def test_of_a_group_no_user_name_is_asked(operation):
    assert patched(operation, "Group") is None


def test_a_key_is_found_in_any_letter_case_and_else_named_as_asked():
    assert dialect.key_of({"EMAILS": 1}, "emails") == "EMAILS"
    assert dialect.key_of({}, "emails") == "emails"
