"""The attribute tables: what they know, and how a connection's list of paths narrows them."""

import pytest

from gateway.scim.schemas import (
    ENTERPRISE,
    ENTERPRISE_URN,
    USER_URN,
    application_extension,
    group_type,
    narrow,
    user_type,
)

APP_URN = "urn:acme:scim:schemas:2.0:User"
USERS = user_type(ENTERPRISE, application_extension(APP_URN, "Acme"))


@pytest.mark.parametrize(
    ("urn", "name", "sub", "found"),
    [
        (None, "userName", None, "userName"),
        (None, "USERNAME", None, "userName"),
        (USER_URN, "username", None, "userName"),
        (USER_URN.upper(), "name", "FAMILYNAME", "familyName"),
        (None, "emails", "$ref", None),
        (None, "groups", "$REF", "$ref"),
        (None, "id", None, "id"),
        (USER_URN, "externalid", None, "externalId"),
        (None, "meta", "lastmodified", "lastModified"),
        (ENTERPRISE_URN.lower(), "Department", None, "department"),
        (ENTERPRISE_URN, "manager", "value", "value"),
        (ENTERPRISE_URN, "", None, ENTERPRISE_URN),
        (APP_URN, "GROUP", None, "group"),
        # An extension's attribute needs its URN (RFC 7644, 3.10).
        (None, "department", None, None),
        (None, "password", None, None),
        (ENTERPRISE_URN, "userName", None, None),
        ("urn:acme:unknown", "x", None, None),
        (None, "userName", "x", None),
        (None, ENTERPRISE_URN, None, None),
    ],
)
def test_attributes_are_found_in_any_letter_case(urn, name, sub, found):
    attribute = USERS.find(urn, name, sub)
    assert (attribute and attribute.name) == found


def test_a_narrowed_type_keeps_what_is_named_what_is_required_and_what_is_read_only():
    kept = narrow(USERS, ["NAME.givenname", "emails", f"{APP_URN}:group".upper(), "externalId"])
    assert [attribute.name for attribute in kept.schema.attributes] == [
        "userName",
        "name",
        "emails",
        "groups",
    ]
    assert [sub.name for sub in kept.schema.attributes[1].sub] == ["givenName"]
    assert [extension.id for extension in kept.extensions] == [APP_URN]
    assert kept.keeps_external_id
    assert kept.find(None, "meta", "created")
    assert kept.find(None, "title", None) is None


def test_a_narrowed_type_leaves_out_external_id_and_active_unless_they_are_named():
    kept = narrow(USERS, ["userName"])
    assert not kept.keeps_external_id
    assert kept.find(None, "externalId", None) is None
    assert kept.find(None, "active", None) is None
    assert kept.extensions == ()


@pytest.mark.parametrize("path", [ENTERPRISE_URN, ENTERPRISE_URN.lower()])
def test_a_bare_urn_names_a_whole_extension(path):
    assert narrow(USERS, [path]).extensions == (ENTERPRISE,)


def test_a_bare_core_urn_names_the_whole_core_schema():
    kept = narrow(USERS, [USER_URN])
    assert kept.schema == USERS.schema
    assert kept.extensions == ()


def test_parts_of_an_extension_can_be_named():
    (extension,) = narrow(USERS, [f"{ENTERPRISE_URN}:manager.value", f"{ENTERPRISE_URN}:division"]).extensions
    assert [attribute.name for attribute in extension.attributes] == ["division", "manager"]
    assert [sub.name for sub in extension.attributes[1].sub] == ["value"]


@pytest.mark.parametrize(
    "path",
    ["nope", "name.nope", "userName.x", "", 'emails[type eq "work"]', f"{ENTERPRISE_URN}:nope", "department"],
)
def test_a_path_that_no_schema_knows_is_refused_by_name(path):
    with pytest.raises(ValueError, match="No schema of a User has an attribute") as refusal:
        narrow(USERS, [path])
    assert repr(path) in str(refusal.value)


def test_a_group_has_members_that_need_a_value():
    assert group_type().find(None, "members", "value").required
