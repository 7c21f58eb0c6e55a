"""What the plugin says of itself: its settings, what a connection kept_attributes, and the way through Okta's pages."""

from __future__ import annotations

import gateway_okta
import pytest
from gateway_okta.settings import DEFAULT_ATTRIBUTES, MOST_PATHS, OktaSettings, kept_attributes
from marshmallow import ValidationError

from gateway import Billing, Connection, Organization, Seats

ORGANIZATION = Organization("o1", "Acme", "enterprise", True, Seats(3, 0), Billing("card", "", ""))
CONNECTION = Connection(
    "c1",
    "okta-1",
    "okta",
    "Okta",
    ORGANIZATION,
    base_url="https://gateway.acme.test/scim/v2/okta-1",
    extension_urn="urn:acme:scim:User",
)


def test_it_is_an_identity_provider_with_settings_steps_and_a_simulator():
    declaration = gateway_okta.gateway_declare()
    assert (declaration.title, declaration.idp) == ("Okta", True)
    assert declaration.settings is OktaSettings
    assert declaration.simulator.styles == ("oin", "aiw")


# Settings ---------------------------------------------------------------------------------------------------

GOOD = [
    "title",
    "name.middleName",
    "phoneNumbers",
    "x-custom_1",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value",
    "urn:acme:scim:User:groups",
]

BAD = [
    "",
    " ",
    "title ",
    "title\n",
    "1st",
    "a..b",
    "a.b.c",
    ".a",
    "emails[type eq]",
    "urn:",
    "urn:acme:",
    "x" * 257,
    "id",
    "META",
    "meta.created",
    "password",
    "groups",
]


@pytest.mark.parametrize("path", GOOD)
def test_an_attribute_path_is_taken(path):
    assert OktaSettings().load({"extra_attributes": [path]}) == {"extra_attributes": [path]}


@pytest.mark.parametrize("path", [*BAD, 7, None, ["title"]])
def test_what_is_no_path_or_belongs_to_the_protocol_is_refused(path):
    with pytest.raises(ValidationError):
        OktaSettings().load({"extra_attributes": [path]})


def test_unknown_settings_and_endless_lists_are_refused():
    with pytest.raises(ValidationError, match="Unknown field"):
        OktaSettings().load({"extra_atributes": []})
    with pytest.raises(ValidationError, match="Longer than"):
        OktaSettings().load({"extra_attributes": ["title"] * (MOST_PATHS + 1)})


def test_the_five_attributes_are_kept_and_what_the_settings_add_once():
    assert kept_attributes({}) == DEFAULT_ATTRIBUTES
    assert kept_attributes(OktaSettings().load({})) == DEFAULT_ATTRIBUTES
    extra = ["title", "USERNAME", "Title", "nickName"]
    assert kept_attributes({"extra_attributes": extra}) == (*DEFAULT_ATTRIBUTES, "title", "nickName")


# Steps ------------------------------------------------------------------------------------------------------


def steps(connection=CONNECTION):
    return list(gateway_okta.gateway_declare().setup_steps(connection))


def test_setup_steps_follow_the_order_of_the_guide():
    listed = steps()
    assert len(listed) == 19 + 6
    milestones = [
        ("Email", 3),
        ("Configure API Integration", 4),
        ("Enable API integration", 5),
        (CONNECTION.base_url, 9),
        ("bearer token", 10),
        ("API Token field", 11),
        ("Test API Credentials", 12),
        ("To App", 13),
        ("Create Users, Update User Attributes and Deactivate Users", 15),
        ("Username, Given name, Family name, Primary email and Display name", 16),
        ("Assignments", 17),
        ("External name: group. External namespace: urn:acme:scim:User.", 19),
        ("Map to groups", 22),
    ]
    for words, place in milestones:
        assert words in listed[place]


def test_a_step_is_short_and_whole():
    for step in steps():
        assert step.endswith(".")
        assert "  " not in step
        assert len(step) < 420


def test_setup_steps_need_neither_base_url_nor_namespace():
    bare = Connection("c1", "okta-1", "okta", "Okta", ORGANIZATION)
    assert "shown beside it" in steps(bare)[9]
    assert "the one shown at the connection" in steps(bare)[19]
