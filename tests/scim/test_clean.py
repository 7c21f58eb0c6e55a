"""Documents: a stranger's body goes in; a canonical one comes out, or a sentence that names the attribute."""

import contextlib
import copy
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.scim.documents import clean
from gateway.scim.errors import InvalidSyntax, InvalidValue
from gateway.scim.json_text import fold
from gateway.scim.schemas import (
    ENTERPRISE,
    ENTERPRISE_URN,
    GROUP_URN,
    USER_URN,
    Attribute,
    Schema,
    application_extension,
    group_type,
    narrow,
    user_type,
)

APP_URN = "urn:acme:scim:schemas:2.0:User"
USERS = user_type(ENTERPRISE, application_extension(APP_URN, "Acme"))
GROUPS = group_type()

# RFC 7643, 8.1 to 8.3, shortened, with other people.
MINIMAL_USER = {
    "schemas": [USER_URN],
    "id": "2819c223-7f76-453a-919d-413861904646",
    "userName": "user1@acme.test",
    "meta": {"resourceType": "User", "version": 'W/"1"'},
}
FULL_USER = {
    "schemas": [USER_URN, ENTERPRISE_URN],
    "externalId": "00u1",
    "userName": "user1@acme.test",
    "name": {"formatted": "Mx. Given1 Family1", "familyName": "Family1", "givenName": "Given1"},
    "profileUrl": "https://login.acme.test/user1",
    "emails": [
        {"value": "user1@acme.test", "type": "work", "primary": True},
        {"value": "user1@home.acme.test", "type": "home"},
    ],
    "addresses": [{"type": "work", "locality": "Town", "country": "US", "primary": True}],
    "x509Certificates": [{"value": "MIIDQzCCAqygAwIBAgICEAAwDQYJKoZIhvcNAQEFBQAw"}],
    "active": True,
    ENTERPRISE_URN: {
        "employeeNumber": "701984",
        "manager": {"value": "26118915", "$ref": "../Users/26118915"},
    },
}
# What Okta sends when it creates a user.
OKTA_USER = {
    "schemas": [USER_URN],
    "userName": "test.user@acme.test",
    "name": {"givenName": "Test", "familyName": "User"},
    "emails": [{"primary": True, "value": "test.user@acme.test", "type": "work"}],
    "displayName": "Test User",
    "locale": "en-US",
    "externalId": "00ujl29u0le5T6Aj10h7",
    "groups": [],
    "password": "1mz050nq",
    "active": True,
}


def user(**attributes):
    return {"schemas": [USER_URN], "userName": "user1@acme.test", **attributes}


def cleaned(**attributes):
    """What is left of the attributes when they come with a user."""
    document = dict(clean(USERS, user(**attributes)).document)
    del document["schemas"], document["userName"]
    return document


def test_a_full_user_stays_as_it_is():
    result = clean(USERS, FULL_USER)
    assert result.document == FULL_USER
    assert next(iter(result.document)) == "schemas"
    assert result.ignored == ()


def test_read_only_attributes_are_dropped_quietly():
    body = {**MINIMAL_USER, "groups": [{"value": "g1", "display": "Sales"}]}
    result = clean(USERS, body)
    assert result.document == user()
    assert result.ignored == ()


def test_the_password_that_okta_always_sends_is_ignored_and_named_but_not_shown():
    result = clean(USERS, OKTA_USER)
    assert result.ignored == ("password",)
    assert "1mz050nq" not in str(result)


def test_names_are_canonical_whatever_their_letter_case():
    body = {
        "SCHEMAS": [USER_URN.upper()],
        "USERNAME": "user1@acme.test",
        "Name": {"givenname": "Given1"},
        "EMAILS": [{"Value": "user1@acme.test", "PRIMARY": True}],
        ENTERPRISE_URN.lower(): {"Department": "Tours"},
    }
    assert clean(USERS, body).document == {
        "schemas": [USER_URN, ENTERPRISE_URN],
        "userName": "user1@acme.test",
        "name": {"givenName": "Given1"},
        "emails": [{"value": "user1@acme.test", "primary": True}],
        ENTERPRISE_URN: {"department": "Tours"},
    }


@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_value_is_no_attribute(empty):
    result = clean(USERS, user(title=empty, active=empty, emails=empty, name=empty, zipCode=empty))
    assert result.document == user()
    assert result.ignored == ()


def test_an_empty_value_of_the_type_of_the_attribute_is_no_attribute():
    extension = {APP_URN: {"group": []}, ENTERPRISE_URN: {"manager": {}}}
    result = clean(USERS, user(active=None, emails=[], name={}, meta=[], zipCode=[], other={}, **extension))
    assert result.document == user()
    assert result.ignored == ()


@pytest.mark.parametrize(
    ("attributes", "sentence"),
    [
        ({"active": []}, "active must be true or false, without quotes, but an array came: []."),
        ({"active": {}}, "active must be true or false, without quotes, but an object came: {}."),
        ({"ACTIVE": []}, "active must be true or false, without quotes, but an array came: []."),
        ({"userName": []}, "userName must be a text, but an array came: []."),
        ({"title": {}}, "title must be a text, but an object came: {}."),
        ({"externalId": []}, "externalId must be a text, but an array came: []."),
        ({"name": []}, "name must be an object, but an array came: []."),
        ({"name": {"givenName": []}}, "name.givenName must be a text, but an array came: []."),
        ({"emails": {}}, "emails must be an array of objects"),
        ({"emails": [[]]}, "emails must be an array of objects"),
        ({"emails": [{"value": {}}]}, "emails.value must be a text, but an object came: {}."),
        (
            {"emails": [{"value": "x", "primary": []}]},
            "emails.primary must be true or false, without quotes, but",
        ),
        ({ENTERPRISE_URN: []}, f"{ENTERPRISE_URN} must be an object, but an array came: []."),
        ({APP_URN: {"group": {}}}, f"{APP_URN}:group must be a text, but an object came: {{}}."),
    ],
)
def test_an_empty_value_of_another_type_is_refused_like_a_full_one(attributes, sentence):
    with pytest.raises(InvalidValue) as raised:
        clean(USERS, user(**attributes))
    assert sentence in raised.value.detail


def test_false_is_a_value():
    assert cleaned(active=False) == {"active": False}


@pytest.mark.parametrize(
    "entry",
    [
        {},
        None,
        {"value": None},
        {"value": "", "type": "work"},
        {"type": "work", "primary": True, "display": "x"},
        {"value": "", "unheard": "of"},
    ],
)
def test_an_entry_without_anything_usable_is_dropped_quietly(entry):
    keep = {"value": "user1@acme.test"}
    assert cleaned(emails=[entry, keep]) == {"emails": [keep]}
    assert cleaned(emails=[entry]) == {}


def test_an_address_with_nothing_but_a_type_is_dropped():
    assert cleaned(addresses=[{"type": "work", "locality": "", "primary": True}]) == {}


def test_what_is_not_kept_is_named_once_in_the_order_it_came():
    body = user(
        nope=1,
        name={"middleNames": "x", "givenName": "Given1"},
        emails=[{"value": "a@acme.test", "note": 1}, {"value": "b@acme.test", "note": 2}],
        **{
            "urn:acme:other": {"a": 1},
            ENTERPRISE_URN: {
                "shoeSize": 9,
                "manager": {"value": "1", "hat": True, "displayName": "read-only"},
            },
        },
    )
    assert clean(USERS, body).ignored == (
        "nope",
        "name.middleNames",
        "emails.note",
        "urn:acme:other",
        f"{ENTERPRISE_URN}:shoeSize",
        f"{ENTERPRISE_URN}:manager.hat",
    )


def test_a_narrowed_type_ignores_and_names_what_its_connection_does_not_keep():
    kept = narrow(USERS, ["name.givenName", "emails", "active"])
    result = clean(kept, {**FULL_USER, "title": "Guide"})
    assert set(result.document) == {"schemas", "userName", "name", "emails", "active"}
    assert result.ignored == (
        "externalId",
        "name.formatted",
        "name.familyName",
        "profileUrl",
        "addresses",
        "x509Certificates",
        ENTERPRISE_URN,
        "title",
    )


def test_names_of_what_is_ignored_are_kept_short():
    result = clean(USERS, user(**{f"{'x' * 1000}{number}": 1 for number in range(500)}, **{"a" * 999: 1}))
    assert len(result.ignored) <= 100
    assert max(map(len, result.ignored)) == 200


def test_unknown_urns_in_schemas_are_neither_an_error_nor_kept():
    body = user(schemas=["http://schemas.acme.test/2006/ADSCIM/2.0/Group", ENTERPRISE_URN, USER_URN])
    assert clean(USERS, body).document == user()


def test_an_extension_with_content_is_listed_though_the_client_did_not_list_it():
    assert clean(USERS, user(**{APP_URN: {"group": "Sales"}})).document["schemas"] == [USER_URN, APP_URN]


@pytest.mark.parametrize("value", ["Sales", ["Sales", "Support"]])
def test_the_attribute_of_the_application_takes_a_text_or_an_array_of_texts(value):
    assert cleaned(**{APP_URN: {"group": value}}) == {APP_URN: {"group": value}}


def test_empty_texts_are_dropped_from_the_array():
    assert cleaned(**{APP_URN: {"group": ["", None]}}) == {}
    assert cleaned(**{APP_URN: {"group": ["", "Sales"]}}) == {APP_URN: {"group": ["Sales"]}}


@pytest.mark.parametrize(
    ("schemas", "refusal"),
    [
        (None, InvalidSyntax),
        (USER_URN, InvalidSyntax),
        ({USER_URN: 1}, InvalidSyntax),
        ([USER_URN, 1], InvalidSyntax),
        ([], InvalidValue),
        ([GROUP_URN], InvalidValue),
    ],
)
def test_schemas_must_be_a_list_with_the_urn_of_the_resource(schemas, refusal):
    with pytest.raises(refusal) as raised:
        clean(USERS, user(schemas=schemas))
    assert USER_URN in raised.value.detail


def test_a_body_without_schemas_is_refused():
    with pytest.raises(InvalidSyntax, match="schemas"):
        clean(USERS, {"userName": "user1@acme.test"})


@pytest.mark.parametrize("key", ["schema", "Schema", "schemes", "shemas"])
def test_a_misspelt_schemas_is_named(key):
    with pytest.raises(InvalidSyntax) as raised:
        clean(USERS, {key: [USER_URN], "userName": "user1@acme.test"})
    assert raised.value.detail == (
        f'"schemas" is missing, but "{key}" is there. Spell the key "schemas"; it takes an array of texts with'
        f" {USER_URN} in it."
    )


@pytest.mark.parametrize(
    ("attributes", "sentence"),
    [
        ({"userName": 7}, "userName must be a text, but a number came: 7."),
        ({"userName": ""}, "userName is required, but it is missing or empty."),
        ({"userName": None}, "userName is required, but it is missing or empty."),
        ({"userName": "  "}, "userName is required, but it holds nothing but spaces."),
        ({"title": ["x"]}, 'title must be a text, but an array came: ["x"].'),
        ({"title": True}, "title must be a text, but a boolean came: true."),
        ({"active": "True"}, 'active must be true or false, without quotes, but a text came: "True".'),
        ({"active": 1}, "active must be true or false, without quotes, but a number came: 1."),
        ({"active": 0}, "active must be true or false, without quotes, but a number came: 0."),
        ({"name": "Given1"}, 'name must be an object, but a text came: "Given1".'),
        ({"name": {"givenName": {"a": 1}}}, 'name.givenName must be a text, but an object came: {"a":1}.'),
        (
            {"emails": {"value": "x"}},
            'emails must be an array of objects with "value", as in [{"value": "…"}],'
            ' but an object came: {"value":"x"}.',
        ),
        (
            {"emails": ["x"]},
            'emails must be an array of objects with "value", as in [{"value": "…"}], but a text came in it: "x".',
        ),
        (
            {"roles": "x"},
            'roles must be an array of objects with "value", as in [{"value": "…"}], but a text came',
        ),
        (
            {"addresses": ["x"]},
            'addresses must be an array of objects, as in [{"formatted": "…"}], but a text came in it',
        ),
        ({"emails": [{"value": 1}]}, "emails.value must be a text, but a number came: 1."),
        ({"emails": [{"value": "x", "primary": "true"}]}, "emails.primary must be true or false"),
        ({"x509Certificates": [{"value": "no base64!"}]}, "x509Certificates.value must be base64"),
        ({"x509Certificates": [{"value": "é"}]}, "x509Certificates.value must be base64"),
        ({ENTERPRISE_URN: "x"}, f"{ENTERPRISE_URN} must be an object"),
        ({ENTERPRISE_URN: {"manager": "26"}}, f"{ENTERPRISE_URN}:manager must be an object"),
        ({ENTERPRISE_URN: {"manager": {"value": 26}}}, f"{ENTERPRISE_URN}:manager.value must be a text"),
        ({APP_URN: {"group": ["x", 1]}}, f"{APP_URN}:group must be a text"),
        ({"title": "a\0b"}, "title holds a NUL character"),
        ({"title": "\ud800"}, "title holds half a character"),
        (
            {"emails": [{"value": str(n)} for n in range(1001)]},
            "emails has 1001 values; at most 1000 are kept.",
        ),
    ],
)
def test_a_wrong_value_is_refused_in_a_sentence_that_names_it(attributes, sentence):
    with pytest.raises(InvalidValue) as raised:
        clean(USERS, user(**attributes))
    assert raised.value.detail.startswith(sentence)


def test_a_long_value_is_cut_in_the_sentence():
    with pytest.raises(InvalidValue) as raised:
        clean(USERS, user(active="x" * 5000))
    assert len(raised.value.detail) < 150


@pytest.mark.parametrize(("length", "taken"), [(320, True), (321, False)])
def test_a_user_name_has_at_most_320_characters(length, taken):
    body = user(userName="ü" * length)
    if taken:
        assert clean(USERS, body).document == body
    else:
        with pytest.raises(InvalidValue, match="321 characters"):
            clean(USERS, body)


WORK = {"value": "a@acme.test", "type": "work"}


@pytest.mark.parametrize(
    ("name", "values", "kept", "ignored"),
    [
        ("emails", [WORK, WORK], [WORK], ()),
        ("emails", [WORK, {"value": "A@acme.test", "type": "Work"}], [WORK], ()),
        ("emails", [WORK, WORK | {"type": "home"}], [WORK, WORK | {"type": "home"}], ()),
        ("emails", [WORK, {"value": "a@acme.test"}], [WORK, {"value": "a@acme.test"}], ()),
        ("emails", [WORK | {"primary": True}, WORK | {"primary": True}], [WORK | {"primary": True}], ()),
        ("emails", [WORK, WORK | {"display": "A"}], [WORK | {"display": "A"}], ()),
        (
            "emails",
            [WORK | {"display": "A", "primary": True}, WORK | {"display": "B"}],
            [WORK | {"display": "B", "primary": True}],
            ("emails.display",),
        ),
        ("emails", [WORK | {"display": d} for d in "ABAB"], [WORK | {"display": "B"}], ("emails.display",)),
        ("roles", [{"value": "guide"}, {"value": "Guide"}], [{"value": "guide"}], ()),
        (
            "x509Certificates",
            [{"value": "TUlJ"}, {"value": "TUlj"}],
            [{"value": "TUlJ"}, {"value": "TUlj"}],
            (),
        ),
        ("addresses", [{"locality": "Bonn"}, {"locality": "Bonn"}], [{"locality": "Bonn"}] * 2, ()),
    ],
)
def test_a_pair_of_type_and_value_is_kept_once(name, values, kept, ignored):
    """RFC 7643, 2.4."""
    result = clean(USERS, user(**{name: values}))
    assert (result.document[name], result.ignored) == (kept, ignored)


def test_a_pair_is_known_by_what_a_connection_keeps_of_it():
    kept = narrow(USERS, ["emails.value"])
    assert clean(kept, user(emails=[WORK, WORK | {"type": "home"}])).document["emails"] == [
        {"value": "a@acme.test"}
    ]


@pytest.mark.parametrize(
    ("value", "taken"),
    [("TQ==", True), ("TQ", True), ("TUk", True), ("TUlJ", True), ("T", False), ("TQ=", False), ("TUk==", False),
     ("TUlJT", False), ("=", False), ("TR", True), ("T Q", False), ("TQ==TQ==", False), ("_-8", False)],
)  # fmt: skip
def test_base64_is_taken_with_its_padding_or_without_and_stored_as_sent(value, taken):
    """RFC 7643, 2.3.6."""
    body = user(x509Certificates=[{"value": value}])
    if taken:
        assert clean(USERS, body).document == body
    else:
        with pytest.raises(InvalidValue, match=r"x509Certificates\.value must be base64"):
            clean(USERS, body)


def test_at_most_one_value_is_primary():
    emails = [{"value": "a", "primary": True}, {"value": "b", "primary": True}]
    with pytest.raises(InvalidValue, match="emails has more than one value with primary true"):
        clean(USERS, user(emails=emails))
    emails[1]["primary"] = False
    assert cleaned(emails=emails) == {"emails": emails}


@pytest.mark.parametrize(
    "body",
    [
        {**user(), "username": "other@acme.test"},
        user(name={"givenName": "a", "GIVENNAME": "b"}),
        user(emails=[{"value": "a", "VALUE": "b"}]),
        {**user(), ENTERPRISE_URN: {"division": "a"}, ENTERPRISE_URN.upper(): {"division": "b"}},
    ],
)
def test_one_name_in_two_spellings_is_refused(body):
    with pytest.raises(InvalidSyntax, match="two spellings"):
        clean(USERS, body)


TYPED = user_type(
    Schema(
        "urn:acme:typed",
        "Typed",
        "",
        (
            Attribute("count", "integer"),
            Attribute("ratio", "decimal"),
            Attribute("since", "dateTime"),
            Attribute("days", "dateTime", multi=True),
        ),
    )
)


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("count", 0, True),
        ("count", -7, True),
        ("count", 1.5, False),
        ("count", True, False),
        ("count", "1", False),
        ("ratio", 1.5, True),
        ("ratio", 2, True),
        ("ratio", False, False),
        ("ratio", "1.5", False),
        ("since", "2008-01-23T04:56:22Z", True),
        ("since", "2008-01-23T04:56:22.123456789+02:00", True),
        ("since", "2008-01-23", False),
        ("since", "yesterday AT noon", False),
        ("since", 1201064182, False),
        ("days", ["2008-01-23T04:56:22Z"], True),
        ("days", ["2008-01-23"], False),
    ],
)
def test_numbers_and_moments_are_checked_and_stored_as_sent(name, value, taken):
    body = user(**{"urn:acme:typed": {name: value}})
    if taken:
        assert clean(TYPED, body).document["urn:acme:typed"] == {name: value}
    else:
        with pytest.raises(InvalidValue, match=f"urn:acme:typed:{name} must be"):
            clean(TYPED, body)


def test_a_group_keeps_its_members_as_entries_with_a_value():
    body = {
        "schemas": [GROUP_URN],
        "displayName": "Sales",
        "members": [{"value": "u1", "display": "User 1", "$ref": None}, {"value": "u2", "type": "User"}, {}],
    }
    assert clean(GROUPS, body).document == {
        "schemas": [GROUP_URN],
        "displayName": "Sales",
        "members": [{"value": "u1"}, {"value": "u2", "type": "User"}],
    }


@pytest.mark.parametrize(
    "member", [{"display": "User 1"}, {"$ref": None, "type": "User"}, {"value": "", "type": "User"}]
)
def test_a_member_without_a_value_is_refused_since_dropping_it_would_lose_a_membership(member):
    body = {"schemas": [GROUP_URN], "displayName": "Sales", "members": [member]}
    with pytest.raises(InvalidValue, match=r"members\.value is required"):
        clean(GROUPS, body)


@pytest.mark.parametrize(
    "reference", ["https://scim.acme.test/scim/v2/okta/Users/u1", "../Users/u1", "Users/u%31/", "/users/u1"]
)
def test_a_member_may_be_named_by_its_reference_alone(reference):
    # RFC 7643, 2.4
    body = {"schemas": [GROUP_URN], "displayName": "Sales", "members": [{"$ref": reference}]}
    assert clean(GROUPS, body).document["members"] == [{"$ref": reference, "value": "u1"}]


@pytest.mark.parametrize("reference", ["u1", "https://acme.test/Users/", "https://acme.test/people/u1", "/"])
def test_a_reference_that_leads_to_no_resource_is_refused(reference):
    body = {"schemas": [GROUP_URN], "displayName": "Sales", "members": [{"$ref": reference}]}
    with pytest.raises(InvalidValue, match=r"must end in /Users/"):
        clean(GROUPS, body)


def test_a_group_may_have_thousands_of_members():
    members = [{"value": str(number)} for number in range(5000)]
    body = {"schemas": [GROUP_URN], "displayName": "Sales", "members": members}
    assert len(clean(GROUPS, body).document["members"]) == 5000


def test_a_group_needs_a_name():
    with pytest.raises(InvalidValue, match="displayName is required"):
        clean(GROUPS, {"schemas": [GROUP_URN]})


SCALARS = (
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(string.printable + "éß\0\ud800", max_size=6)
)
NAMES = st.sampled_from(
    [
        "title",
        "TITLE",
        "active",
        "name",
        "givenName",
        "emails",
        "value",
        "type",
        "primary",
        "nope",
        "groups",
        "id",
        "meta",
        ENTERPRISE_URN,
        ENTERPRISE_URN.upper(),
        "manager",
        APP_URN,
        "group",
        "members",
        "$ref",
    ]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_any_body_is_cleaned_or_refused_never_changed_and_clean_twice_is_clean_once(attributes):
    body = user(**attributes)
    before = copy.deepcopy(body)
    with contextlib.suppress(InvalidValue, InvalidSyntax):
        first = clean(USERS, body)
        assert clean(USERS, first.document).document == first.document
        assert clean(USERS, first.document).ignored == ()
    assert body == before


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("User@Acme.test", "uSER@aCME.TEST", True),
        ("ÅSA", "a\u030asa", True),
        # `casefold` would merge these two different names.
        ("strasse", "straße", False),
    ],
)
def test_names_are_folded_without_merging_different_ones(one, other, same):
    assert (fold(one) == fold(other)) is same


@given(st.text())
def test_folding_twice_is_folding_once(text):
    assert fold(fold(text)) == fold(text)
