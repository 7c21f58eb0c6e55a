"""Paths of PATCH operations (RFC 7644, 3.5.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.scim.errors import InvalidPath
from gateway.scim.filters import parse_filter
from gateway.scim.paths import PatchPath, parse_path
from gateway.scim.schemas import ENTERPRISE_URN, USER_URN

URNS = (USER_URN, ENTERPRISE_URN)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        # The examples of the RFC.
        ("members", PatchPath(None, "members")),
        ("name.familyName", PatchPath(None, "name", None, "familyName")),
        ('addresses[type eq "work"]', PatchPath(None, "addresses", parse_filter('type eq "work"'))),
        (
            'members[value eq "2819"].displayName',
            PatchPath(None, "members", parse_filter('value eq "2819"'), "displayName"),
        ),
        (f"{USER_URN}:userName", PatchPath(USER_URN, "userName")),
        (f"{USER_URN}:name.givenName", PatchPath(USER_URN, "name", None, "givenName")),
        (f"{ENTERPRISE_URN}:manager.value", PatchPath(ENTERPRISE_URN, "manager", None, "value")),
        (
            f'{USER_URN}:emails[type eq "x].y"].value',
            PatchPath(USER_URN, "emails", parse_filter('type eq "x].y"'), "value"),
        ),
        # A bare URN is known only where the schema is.
        (ENTERPRISE_URN.upper(), PatchPath(ENTERPRISE_URN, "")),
        # Spaces around a path do not count, whatever it names.
        (f" {ENTERPRISE_URN}\n", PatchPath(ENTERPRISE_URN, "")),
        (" name.familyName ", PatchPath(None, "name", None, "familyName")),
        ("urn:acme:2.0:User", PatchPath("urn:acme:2.0", "User")),
    ],
)
def test_paths_are_read(text, path):
    assert parse_path(text, URNS) == path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the name of an attribute"),
        (".", "the name of an attribute"),
        ("a.b.c", "the name of an attribute"),
        ("a b", "Position 3"),
        ("name.", "the name of an attribute"),
        (f"{ENTERPRISE_URN}:", "the name of an attribute"),
        ("emails[", "the name of an attribute"),
        ("emails[]", "the name of an attribute"),
        ("emails[type]", "an operator"),
        ("emails[0]", "the name of an attribute"),
        ('emails[type eq "work"', "] was expected"),
        ('emails[type eq "work"]value', "the end of the path"),
        ('emails[type eq "work"].', "the name of a sub-attribute"),
        ('emails[type eq "work"].a.b', "the name of a sub-attribute"),
        ('emails[type eq "work"].value eq "x"', "the end of the path"),
        ('emails.value[type eq "work"]', "after a sub-attribute"),
        ("roles.^[type=='base'].value", "the name of an attribute"),
        ("/emails/0", "the name of an attribute"),
        ("emails[" + "(" * 100, "more than 32 brackets"),
        ("emails[value eq " + "9" * 400 + "]", "a smaller number"),
        ("x" * 9000, "at most 8192"),
    ],
)
def test_malformed_paths_are_refused(text, words):
    with pytest.raises(InvalidPath) as refusal:
        parse_path(text, URNS)
    assert words in refusal.value.detail
    assert len(refusal.value.detail) < 350


@given(st.text(alphabet='ab.:"\\[]() eqpru19é\n', max_size=40))
def test_any_text_is_a_path_or_refused(text):
    try:
        parse_path(text, URNS)
    except InvalidPath:
        return
