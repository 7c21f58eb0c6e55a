"""What Okta sends, translated: user names, primary e-mails, empty entries; and what is left alone."""

from __future__ import annotations

import gateway_okta
import pytest

from gateway import GROUP_URN, USER_URN, InvalidValue
from gateway.testing import Document, IdpPromises, Patch

CREATE = {
    "schemas": [USER_URN],
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

FROM_THE_NAME = [{"value": "user1@acme.test", "primary": True, "type": "work"}]
REMEDY = '"Application username format" to Email on the Sign On tab'

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

RENAMES = [
    {"op": "replace", "value": {"userName": "user1"}},
    {"op": "add", "value": {"USERNAME": "user1"}},
    {"op": "replace", "value": {f"{USER_URN}:userName": "user1"}},
    {"op": "replace", "path": "userName", "value": "user1"},
    {"op": "add", "path": "username", "value": "user1"},
    {"op": "replace", "path": f"{USER_URN.upper()}:userName", "value": "user1"},
]


def emails(sent, becomes=None):
    """A create with these e-mails, and with those that it should have."""
    return Document({**CREATE, "emails": sent}, None if becomes is None else {**CREATE, "emails": becomes})


class TestOkta(IdpPromises):
    plugin = "okta"
    documents = {
        "the usual create": Document(CREATE),
        "a group": Document({"schemas": [GROUP_URN], "displayName": "Sales", "members": []}, kind="Group"),
        **{f"the name {name}": Document({**CREATE, "userName": name}) for name in GOOD},
        **{
            f"{key} as {name!r}": Document({"schemas": [USER_URN], key: name}, refused=REMEDY)
            for name in BAD
            for key in ("userName", "USERNAME")
        },
        "no e-mails": Document(
            {"schemas": [USER_URN], "userName": "user1@acme.test"},
            {"schemas": [USER_URN], "userName": "user1@acme.test", "emails": FROM_THE_NAME},
        ),
        **{
            f"e-mails that are empty: {sent}": emails(sent, FROM_THE_NAME)
            for sent in (
                None,
                [],
                [{}],
                [{"value": ""}],
                [{"value": None, "type": "work"}],
                [{"primary": True}],
            )
        },
        "no primary e-mail": emails(
            [{"type": "work", "value": ""}, {"value": "a@b"}, {"value": "c@d", "primary": False}],
            [{"value": "a@b", "primary": True}, {"value": "c@d", "primary": False}],
        ),
        "a primary e-mail in second place": emails([{"value": "a@b"}, {"VALUE": "c@d", "Primary": True}]),
        "names of attributes in other letters": Document(
            {"SCHEMAS": [USER_URN], "username": "user1@acme.test", "EMAILS": []},
            {"SCHEMAS": [USER_URN], "username": "user1@acme.test", "EMAILS": FROM_THE_NAME},
        ),
        "entries without a value": Document(
            {
                **CREATE,
                "phoneNumbers": [{"type": "work", "value": ""}, {"type": "mobile", "value": "1"}],
                "addresses": [{"type": "work", "locality": "", "region": None}, {"locality": "Here"}],
            },
            {
                **CREATE,
                "phoneNumbers": [{"type": "mobile", "value": "1"}],
                "addresses": [{"locality": "Here"}],
            },
        ),
        "empty text": Document({**CREATE, "title": "", "name": {"givenName": "", "familyName": "F"}}),
    }
    patches = {
        **{f"a rename by {operation}": Patch([operation], refused=REMEDY) for operation in RENAMES},
        "deactivated": Patch([{"op": "replace", "value": {"active": False}}]),
        "a password": Patch([{"op": "replace", "value": {"password": "secret"}}]),
        "a good name": Patch([{"op": "replace", "value": {"userName": "user2@acme.test"}}]),
        "no e-mails": Patch([{"op": "replace", "path": "emails", "value": []}]),
        "no display name": Patch([{"op": "remove", "path": "displayName"}]),
        "a group's name": Patch([{"op": "replace", "value": {"displayName": "userName"}}], kind="Group"),
    }

    def test_okta_deletes_no_user_and_sends_no_bulk(self, transcript):
        for request in (exchange["request"] for exchange in transcript["exchanges"]):
            assert not (request["method"] == "DELETE" and request["path"].startswith("/Users/"))
            assert request["path"].startswith(("/Users", "/Groups", "/Nothing"))

    def test_a_transcript_is_documented_captured_or_reported(self, transcript):
        assert any(word in transcript["source"] for word in ("documented", "captured", "reported"))


# What no promise asks: what Okta does not send, and the core says better -------------------------------------


def mapped(document):
    return gateway_okta.gateway_map_resource("User", document)


def patched(operation, resource_type="User"):
    return gateway_okta.gateway_map_patch(resource_type, [operation])


def test_of_a_long_name_only_the_beginning_is_repeated():
    with pytest.raises(InvalidValue) as refused:
        mapped({"userName": "x" * 5000})
    assert f'"{"x" * 80}…"' in refused.value.detail
    assert len(refused.value.detail) < 300


@pytest.mark.parametrize("document", [{}, {"userName": None}, {"userName": 7}, {"userName": ""}])
def test_a_name_that_is_missing_or_no_text_is_left_to_the_core(document):
    assert mapped(document) is None


@pytest.mark.parametrize("sent", ["a@b", {"value": "a@b"}, ["a@b"], [None]])
def test_emails_of_another_shape_are_left_to_the_core(sent):
    assert mapped({**CREATE, "emails": sent}) is None


WRONG = [
    {"op": "replace", "path": "userName", "value": None},
    {"op": "replace", "path": 7, "value": "user1"},
    {"op": "replace", "value": "user1"},
    {},
]


@pytest.mark.parametrize("operation", WRONG)
def test_operations_of_another_shape_are_left_to_the_core(operation):
    assert patched(operation) is None


@pytest.mark.parametrize("operation", RENAMES)
def test_of_a_group_no_user_name_is_asked(operation):
    assert patched(operation, "Group") is None
