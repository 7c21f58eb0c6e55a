"""Holding filters against documents: RFC 7644, 3.4.2.2, and side by side with another implementation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scim2_models import EnterpriseUser, ScimFilter, User

from gateway.scim.filters import parse_filter
from gateway.scim.matching import check_filter, element_matches, matches
from gateway.scim.schemas import ENTERPRISE, ENTERPRISE_URN, USER_URN, Attribute, Schema, narrow, user_type

USERS = user_type(ENTERPRISE)
USER = {
    "schemas": [USER_URN, ENTERPRISE_URN],
    "id": "u1",
    "externalId": "Ext-1",
    "userName": "User1@Acme.test",
    "displayName": "Jürgen Straße",
    "name": {"givenName": "Given1", "familyName": "Family1"},
    "active": True,
    "emails": [
        {"value": "user1@acme.test", "type": "work", "primary": True},
        {"value": "User1@home.test", "type": "home"},
        {"value": "user1@other.test"},
    ],
    "groups": [{"value": "g1", "display": "Sales"}],
    ENTERPRISE_URN: {"department": "Tours", "manager": {"value": "u2"}},
    "meta": {"resourceType": "User", "lastModified": "2026-11-24T10:00:00.000Z"},
}


@pytest.mark.parametrize(
    "text",
    [
        # Letter case counts only where the table says so.
        'userName eq "USER1@acme.TEST"',
        'displayName eq "JÜRGEN straße"',
        'externalId eq "Ext-1"',
        'not (externalId eq "ext-1")',
        'id eq "u1"',
        'USERNAME sw "user1"',
        f'{USER_URN}:userName ew ".test"',
        'schemas eq "urn:ietf:params:scim:schemas:core:2.0:user"',
        # Parts of complex attributes, and their value where none is named.
        'name.familyName co "MIL"',
        'emails eq "user1@acme.test"',
        'emails co "home"',
        'emails.type eq "home"',
        'groups eq "g1"',
        'groups.display eq "sales"',
        f'{ENTERPRISE_URN}:department eq "tours"',
        f'{ENTERPRISE_URN}:manager eq "u2"',
        f'{ENTERPRISE_URN}:manager.value eq "u2"',
        # One element meets the whole of a value path.
        'emails[type eq "work" and value ew "@acme.test"]',
        'not (emails[type eq "work" and value ew "@home.test"])',
        'emails.type eq "work" and emails.value ew "@home.test"',
        'emails[type eq "home"].value eq "user1@HOME.test"',
        "emails[not (type pr)]",
        'emails[type ne "work" and type pr]',
        'name[familyName eq "family1"]',
        # Presence.
        "userName pr",
        "name pr",
        "emails.type pr",
        "not (title pr)",
        "not (nickName pr) and not (name.middleName pr)",
        # Booleans.
        "active eq true",
        "active ne false",
        "emails.primary eq true",
        "emails[primary eq true]",
        'not (active eq "true")',
        # Null is the same as absent.
        "title eq null",
        "userName ne null",
        "emails.type eq null",
        "not (active eq null)",
        # `ne` is the opposite of `eq`: no value is equal.
        'title ne "x"',
        'emails.type ne "fax"',
        'not (emails.type ne "work")',
        'emails ne "x"',
        # Moments are compared in time, whatever their zone; parts of them as text.
        'meta.lastModified eq "2026-11-24T11:00:00+01:00"',
        'meta.lastModified gt "2026-11-24T10:30:00+01:00"',
        'meta.lastModified le "2026-11-24T10:00:00Z"',
        'meta.lastModified le "2026-11-24T10:00:00"',
        'meta.lastModified sw "2026-11-24"',
        'not (meta.lastModified gt "yesterday")',
        # Order of texts.
        'userName gt "TZZZ" and userName lt "v"',
        'userName ge "user1@acme.test" and userName le "USER1@ACME.TEST"',
        # What no schema knows is absent.
        'not (nope eq "x")',
        'nope ne "x"',
        "nope eq null",
        "not (nope pr)",
        'not (nope co "x")',
        "not (nope[x pr])",
        "not (userName[value pr])",
        'not (name eq "Given1")',
        'not (emails.nope eq "x")',
        'not (urn:acme:x:userName eq "User1@Acme.test")',
        'not (department eq "Tours")',
        'not (emails[nope eq "x"])',
        'not (emails[value.x eq "x"])',
        # Values of different kinds never meet.
        "not (userName eq 1)",
        "not (userName gt 1)",
        "not (active eq 1)",
    ],
)
def test_a_user_is_found_by(text):
    assert matches(parse_filter(text), USER, USERS)


TYPED = user_type(
    Schema("urn:acme:typed", "Typed", "", (Attribute("count", "integer"), Attribute("ratio", "decimal")))
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("urn:acme:typed:count eq 7", True),
        ("urn:acme:typed:count eq 7.0", True),
        ("urn:acme:typed:count gt 6.5", True),
        ("urn:acme:typed:count lt 7", False),
        ("urn:acme:typed:count ne 8", True),
        ('urn:acme:typed:count eq "7"', False),
        ("urn:acme:typed:count eq true", False),
        ("urn:acme:typed:ratio ge 0.5", True),
        ("urn:acme:typed:ratio le 0", False),
    ],
)
def test_numbers_are_compared_as_numbers(text, found):
    document = {"userName": "x", "urn:acme:typed": {"count": 7, "ratio": 0.5}}
    assert matches(parse_filter(text), document, TYPED) is found


@pytest.mark.parametrize("path", ["value.x", "urn:x:y:value", "nope"])
def test_what_an_element_does_not_have_is_absent_and_not_refused(path):
    tree = parse_filter(f'x509Certificates[{path} gt "a"]')
    check_filter(tree, USERS)
    assert not matches(tree, USER, USERS)


def test_an_attribute_that_a_connection_does_not_keep_is_absent():
    kept = narrow(USERS, ["emails.value"])
    assert not matches(parse_filter('externalId eq "Ext-1"'), USER, kept)
    assert not matches(parse_filter("emails.type pr"), USER, kept)
    assert matches(parse_filter('title ne "x"'), USER, kept)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('type eq "WORK"', True),
        ('type eq "work" and primary eq true', True),
        ('type eq "home" or value co "acme"', True),
        ('not (value ew "acme.test")', False),
        ('display eq "x"', False),
        ('display ne "x"', True),
        ('urn:x:y:type eq "work"', False),
    ],
)
def test_elements_of_a_value_path(text, found):
    emails = USERS.find(None, "emails", None)
    assert element_matches(parse_filter(text), USER["emails"][0], emails) is found


# Side by side with scim2-models, where both can say something: it refuses what this server lets be false.

Peer = User[EnterpriseUser]
TEXTS = st.sampled_from(["", "a", "A", "ab", "b", "work", "home", "é", "É"])
WORDS = TEXTS.filter(bool)


def optional(**fields):
    return st.fixed_dictionaries({}, optional=fields)


ELEMENTS = optional(value=WORDS, type=WORDS, display=WORDS, primary=st.just(False)).filter(bool)
DOCUMENTS = optional(
    displayName=WORDS,
    title=WORDS,
    externalId=WORDS,
    active=st.booleans(),
    name=optional(givenName=WORDS, familyName=WORDS).filter(bool),
    phoneNumbers=st.lists(ELEMENTS, min_size=1, max_size=3),
    roles=st.lists(ELEMENTS, min_size=1, max_size=3),
)
STRINGS = st.sampled_from(
    [
        "userName",
        "displayName",
        "TITLE",
        "externalId",
        "name.givenName",
        "name.familyName",
        "phoneNumbers.value",
        "roles.type",
        "roles.display",
        "roles",
        "phoneNumbers",
        f"{ENTERPRISE_URN}:department",
    ]
)
PARTS = st.sampled_from(["value", "type", "display"])
OPS = st.sampled_from(["eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"])


def comparisons(names):
    return st.builds(lambda name, op, text: f'{name} {op} "{text}"', names, OPS, TEXTS) | st.builds(
        lambda name, op: f"{name} {op} null", names, st.sampled_from(["eq", "ne"])
    )


def combined(inner):
    return (
        st.builds(lambda one: f"not ({one})", inner)
        | st.builds(lambda one, other: f"({one}) and ({other})", inner, inner)
        | st.builds(lambda one, other: f"({one}) or ({other})", inner, inner)
    )


INNER = st.recursive(comparisons(PARTS) | st.builds("{} pr".format, PARTS), combined, max_leaves=3)
LEAVES = (
    comparisons(STRINGS)
    | st.builds("{} pr".format, STRINGS | st.sampled_from(["name", "active"]))
    | st.sampled_from(["active eq true", "active eq false", "active ne true", "active ne false"])
    | st.builds("{}[{}]".format, st.sampled_from(["phoneNumbers", "roles"]), INNER)
)
FILTERS = st.recursive(LEAVES, combined, max_leaves=5)


@given(FILTERS, DOCUMENTS, st.booleans())
def test_another_implementation_finds_the_same(text, attributes, with_department):
    document = {"schemas": [USER_URN], "userName": "ab", **attributes}
    if with_department:
        document[ENTERPRISE_URN] = {"department": "A"}
    peer = Peer.model_validate(document)
    assert matches(parse_filter(text), document, USERS) == ScimFilter[Peer](text).match(peer)
