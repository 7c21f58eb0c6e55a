"""What one value may cost: its length, its bytes in an index, its combining marks."""

from __future__ import annotations

import json
import unicodedata

import pytest

from gateway.provisioning.trace import LINE_COUNT, LINE_TEXT_LENGTH, Trace
from gateway.scim.documents import INDEXED_BYTES, clean
from gateway.scim.errors import InvalidFilter, InvalidValue
from gateway.scim.filters import parse_filter
from gateway.scim.json_text import MOST_MARKS, fold, has_long_run, read_json
from gateway.scim.members import member_ids
from gateway.scim.patch import apply
from gateway.scim.projection import project
from gateway.scim.schemas import GROUP, GROUP_URN, USER, USER_URN, ResourceType

USERS = ResourceType("User", "/Users", USER)
GROUPS = ResourceType("Group", "/Groups", GROUP)
MARK = "\N{COMBINING ACUTE ACCENT}"


def user(**attributes):
    return {"schemas": [USER_URN], "userName": "ann@acme.test", **attributes}


def test_all_combining_marks_of_this_unicode_are_known():
    # Planes 2 to 13 hold nothing but ideographs.
    every = [chr(code) for code in (*range(0x20000), *range(0xE0000, 0xE1000))]
    firsts = [unicodedata.normalize("NFD", char)[0] for char in every]
    marks = {char for char, first in zip(every, firsts, strict=True) if unicodedata.combining(first)}
    assert len(marks) > 900
    assert [mark for mark in marks if not has_long_run(mark * (MOST_MARKS + 1))] == []
    assert not has_long_run("".join(char * (MOST_MARKS + 1) for char in every if char not in marks))


@pytest.mark.parametrize("ascii_only", [True, False], ids=["escaped", "raw"])
def test_a_chain_of_combining_marks_is_refused_in_a_body(ascii_only):
    usual = json.dumps(user(displayName="a" + MARK * 30), ensure_ascii=ascii_only).encode()
    assert read_json(usual)["displayName"] == "a" + MARK * 30
    chain = json.dumps(user(displayName="a" + MARK * 31), ensure_ascii=ascii_only).encode()
    with pytest.raises(InvalidValue, match="displayName has more than 30 combining marks in a row"):
        read_json(chain)


@pytest.mark.parametrize("written", [MARK, r"\u0301"], ids=["raw", "escaped"])
def test_a_chain_of_combining_marks_is_refused_in_a_filter(written):
    parse_filter(f'title eq "a{written * 30}"')
    with pytest.raises(InvalidFilter, match="30 combining marks in a row"):
        parse_filter(f'title eq "a{written * 31}"')


def test_a_chain_of_combining_marks_is_never_normalized():
    chain = "A" + "\u0323\u0301" * 40
    assert fold(chain) == chain.lower()


@pytest.mark.parametrize(
    ("kind", "attributes", "sentence"),
    [
        (USERS, user(userName="a" * 321), "userName is 321 characters long; at most 320 are kept"),
        (USERS, user(externalId="a" * 1025), "externalId is 1025 characters long; at most 1024 are kept"),
        (USERS, user(displayName="a" * 1025), "displayName is 1025 characters long; at most 1024"),
        (USERS, user(emails=[{"value": "a" * 321}]), "emails.value is 321 characters long; at most 320"),
        (USERS, user(title="a" * 65537), "title is 65537 characters long; at most 65536 are kept"),
        (USERS, user(name={"givenName": "a" * 65537}), "name.givenName is 65537 characters long"),
        (
            GROUPS,
            {"schemas": [GROUP_URN], "displayName": "a" * 1025},
            "displayName is 1025 characters long; at most 1024 are kept",
        ),
        (
            GROUPS,
            {"schemas": [GROUP_URN], "displayName": "a", "members": [{"value": "a" * 1025}]},
            "members.value is 1025 characters long; at most 1024 are kept",
        ),
        (USERS, user(externalId="\U0001f600" * 513), "externalId takes 2052 bytes in UTF-8; at most 2048"),
    ],
)
def test_a_value_beyond_its_bound_is_refused_by_name(kind, attributes, sentence):
    with pytest.raises(InvalidValue, match=sentence):
        clean(kind, attributes)


def test_what_folding_makes_of_a_value_is_bounded_as_well():
    # 4 bytes each, and 12 when it is normalized.
    with pytest.raises(InvalidValue, match=f"at most {INDEXED_BYTES} are kept"):
        clean(USERS, user(userName="\U0001d160" * 320))


@pytest.mark.parametrize("value", ["a" * 1024, "\u00e9" * 1024, "\U0001f600" * 512])
def test_a_value_within_its_bound_is_kept(value):
    assert clean(USERS, user(externalId=value)).document["externalId"] == value


def test_a_patch_is_held_to_the_same_bounds():
    with pytest.raises(InvalidValue, match="externalId is 9000 characters long; at most 1024"):
        apply(USERS, user(), [{"op": "replace", "path": "externalId", "value": "a" * 9000}])
    with pytest.raises(InvalidValue, match="member is 9000 characters long; at most 1024"):
        member_ids([{"value": "a" * 9000}])


def test_operations_that_a_dialect_unfolds_are_counted():
    one = {"op": "replace", "path": "title", "value": "x"}
    assert apply(USERS, user(), [one] * 1000).document["title"] == "x"
    with pytest.raises(InvalidValue, match="more than 1000 operations"):
        apply(USERS, user(), [one] * 1001)


def test_a_name_in_a_projection_counts_once_in_all_its_spellings():
    shown = user(title="t", nickName="n")
    names = ["title", "TITLE", f"{USER_URN}:title", "nobody"] * 10
    assert project(USERS, shown, names, ())["title"] == "t"
    assert "nickName" not in project(USERS, shown, names, ())
    assert "title" not in project(USERS, shown, (), names)


def test_a_line_of_the_activity_is_bounded_and_says_how_much_more_there_was():
    trace = Trace("PATCH /Groups", "r", ignored=[f"member {n}" for n in range(38_000)])
    line = trace.line(400, "x" * 5000)
    names, detail = json.loads(line.ignored), line.detail
    assert names[: LINE_COUNT + 1] == [*(f"member {n}" for n in range(LINE_COUNT)), "… and 37900 more"]
    assert detail == "x" * LINE_TEXT_LENGTH + "… and 3000 more characters"


def test_a_line_names_as_many_changed_attributes_as_it_holds():
    trace = Trace("PUT /Users", "r", changed=[f"urn:x:{n}" for n in range(5000)])
    changed = json.loads(trace.line(200).facts)["changed"]
    assert (len(changed), changed[-1]) == (LINE_COUNT + 1, "… and 4900 more")
