"""PATCH of a user: RFC 7644, 3.5.2, operation by operation, on a copy."""

import contextlib
import copy
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.scim.documents import clean
from gateway.scim.errors import (
    InvalidFilter,
    InvalidPath,
    InvalidSyntax,
    InvalidValue,
    Mutability,
    NoTarget,
    Refusal,
)
from gateway.scim.operations import Operation, read_operations
from gateway.scim.patch import apply
from gateway.scim.schemas import (
    ENTERPRISE,
    ENTERPRISE_URN,
    PATCH_URN,
    USER_URN,
    application_extension,
    narrow,
    user_type,
)
from tests.support.timing import check_seconds

APP_URN = "urn:acme:scim:schemas:2.0:User"
USERS = user_type(ENTERPRISE, application_extension(APP_URN, "Acme"))
WORK = {"value": "user1@acme.test", "type": "work", "primary": True}
HOME = {"value": "user1@home.acme.test", "type": "home"}
TOWN = {"type": "work", "locality": "Town", "country": "US"}
USER = {
    "schemas": [USER_URN, ENTERPRISE_URN],
    "externalId": "00u1",
    "userName": "user1@acme.test",
    "name": {"givenName": "Given1", "familyName": "Family1"},
    "nickName": "Nick1",
    "active": True,
    "emails": [WORK, HOME],
    "addresses": [TOWN],
    ENTERPRISE_URN: {"department": "Tours", "manager": {"value": "u2"}},
}


def op(kind, path=None, *value):
    operation = {"op": kind}
    if path is not None:
        operation["path"] = path
    if value:
        operation["value"] = value[0]
    return operation


def patched(*operations, of=USER):
    return apply(USERS, of, operations, resource_id="u1").document


def changed(**attributes):
    """The user with these attributes; those that are None are gone."""
    return {name: value for name, value in {**USER, **attributes}.items() if value is not None}


ADD = [
    # RFC 7644, 3.5.2.1
    (op("add", "title", "Guide"), {"title": "Guide"}),
    (op("add", "TITLE", "Guide"), {"title": "Guide"}),
    (op("add", f"{USER_URN}:title", "Guide"), {"title": "Guide"}),
    (op("add", "nickName", "Other"), {"nickName": "Other"}),
    (op("add", "nickName", "Nick1"), {}),
    (op("add", None, {"title": "Guide", "NickName": "Other"}), {"title": "Guide", "nickName": "Other"}),
    (op("add", USER_URN, {"title": "Guide"}), {"title": "Guide"}),
    (op("add", "name", {"middleName": "M"}), {"name": {**USER["name"], "middleName": "M"}}),
    (op("add", "name.middleName", "M"), {"name": {**USER["name"], "middleName": "M"}}),
    (op("add", "emails", [{"value": "x@acme.test"}]), {"emails": [WORK, HOME, {"value": "x@acme.test"}]}),
    (op("add", "emails", {"value": "x@acme.test"}), {"emails": [WORK, HOME, {"value": "x@acme.test"}]}),
    (
        op("add", None, {"emails": [{"value": "x@acme.test"}]}),
        {"emails": [WORK, HOME, {"value": "x@acme.test"}]},
    ),
    (op("add", "phoneNumbers", [{"value": "1"}]), {"phoneNumbers": [{"value": "1"}]}),
    (op("add", "emails", []), {}),
    # What is there already is not added again; what it lacked is completed.
    (op("add", "emails", [HOME]), {}),
    (op("add", "emails", [{"value": HOME["value"]}]), {}),
    (op("add", "emails", [{**HOME, "display": "Home"}]), {"emails": [WORK, {**HOME, "display": "Home"}]}),
    # Letter case does not make it another one, and does not change it either.
    (op("add", "emails", [{"value": HOME["value"].upper(), "type": "HOME"}]), {}),
    (
        op("add", "photos", [{"value": "https://acme.test/a"}, {"value": "https://acme.test/A"}]),
        {"photos": [{"value": "https://acme.test/a"}, {"value": "https://acme.test/A"}]},
    ),
    (op("add", "addresses", [{**TOWN, "locality": "TOWN"}]), {}),
    (op("add", "emails", [{**HOME, "type": "other"}]), {"emails": [WORK, HOME, {**HOME, "type": "other"}]}),
    (op("add", "addresses", [TOWN]), {}),
    (
        op("add", "addresses", [{**TOWN, "locality": "City"}]),
        {"addresses": [TOWN, {**TOWN, "locality": "City"}]},
    ),
    # A new primary value takes that place from the old one.
    (
        op("add", "emails", [{"value": "x@acme.test", "primary": True}]),
        {"emails": [{**WORK, "primary": False}, HOME, {"value": "x@acme.test", "primary": True}]},
    ),
    (
        op("add", "emails", [{**HOME, "primary": True}]),
        {"emails": [{**WORK, "primary": False}, {**HOME, "primary": True}]},
    ),
    (
        op("add", 'emails[type eq "home"]', {"display": "Home"}),
        {"emails": [WORK, {**HOME, "display": "Home"}]},
    ),
    (op("add", 'emails[type eq "home"].display', "Home"), {"emails": [WORK, {**HOME, "display": "Home"}]}),
    # Extensions.
    (
        op("add", f"{ENTERPRISE_URN}:division", "North"),
        {ENTERPRISE_URN: {**USER[ENTERPRISE_URN], "division": "North"}},
    ),
    (
        op("add", None, {ENTERPRISE_URN.lower(): {"Division": "North"}}),
        {ENTERPRISE_URN: {**USER[ENTERPRISE_URN], "division": "North"}},
    ),
    (
        op("add", APP_URN, {"group": "Sales"}),
        {"schemas": [USER_URN, ENTERPRISE_URN, APP_URN], APP_URN: {"group": "Sales"}},
    ),
    (op("add", "schemas", [APP_URN]), {}),
    (op("add", None, {"schemas": [USER_URN, APP_URN]}), {}),
]

REPLACE = [
    # RFC 7644, 3.5.2.3
    (op("replace", "active", False), {"active": False}),
    (op("replace", None, {"active": False}), {"active": False}),
    (op("replace", "title", "Guide"), {"title": "Guide"}),
    (op("replace", "emails", [HOME]), {"emails": [HOME]}),
    (op("replace", "emails", HOME), {"emails": [HOME]}),
    (op("replace", "name", {"givenName": "New"}), {"name": {"givenName": "New", "familyName": "Family1"}}),
    (
        op("replace", None, {"name": {"givenName": "New"}}),
        {"name": {"givenName": "New", "familyName": "Family1"}},
    ),
    (op("replace", "name.givenName", "New"), {"name": {"givenName": "New", "familyName": "Family1"}}),
    (
        op("replace", 'emails[type eq "home"]', {"value": "x@acme.test"}),
        {"emails": [WORK, {**HOME, "value": "x@acme.test"}]},
    ),
    (
        op("replace", 'emails[type eq "home"].value', "x@acme.test"),
        {"emails": [WORK, {"value": "x@acme.test", "type": "home"}]},
    ),
    (
        op("replace", 'emails[type eq "home"].primary', True),
        {"emails": [{**WORK, "primary": False}, {**HOME, "primary": True}]},
    ),
    (op("replace", "emails.type", "x"), {"emails": [{**WORK, "type": "x"}, {**HOME, "type": "x"}]}),
    (
        op("replace", f"{ENTERPRISE_URN}:manager.value", "u3"),
        {ENTERPRISE_URN: {"department": "Tours", "manager": {"value": "u3"}}},
    ),
    # No sub-attribute is named, so all are left unchanged.
    (op("replace", "name", {}), {}),
    (op("replace", 'emails[type eq "home"]', {}), {}),
    # An empty value unassigns (RFC 7643, 2.5).
    (op("replace", "nickName", None), {"nickName": None}),
    (op("replace", "nickName", ""), {"nickName": None}),
    (op("replace", None, {"nickName": "", "emails": None}), {"nickName": None, "emails": None}),
    (op("replace", "emails", []), {"emails": None}),
    (op("replace", "name.givenName", None), {"name": {"familyName": "Family1"}}),
    (op("replace", "name", {"givenName": "", "familyName": None}), {"name": None}),
    (op("replace", "name", None), {"name": None}),
    (op("replace", 'emails[type eq "home"].value', ""), {"emails": [WORK]}),
    (op("replace", 'emails[type eq "home"]', None), {"emails": [WORK]}),
    (op("replace", f"{ENTERPRISE_URN}:manager", ""), {ENTERPRISE_URN: {"department": "Tours"}}),
    (op("replace", ENTERPRISE_URN, None), {"schemas": [USER_URN], ENTERPRISE_URN: None}),
    (op("replace", "title", None), {}),
    (op("replace", "title", ""), {}),
    # What cannot be changed may be repeated.
    (op("replace", None, {"id": "u1", "nickName": "Other"}), {"nickName": "Other"}),
    (op("replace", "id", "u1"), {}),
    (op("replace", None, {"groups": [], "meta": None, "schemas": [USER_URN]}), {}),
    (op("replace", None, {ENTERPRISE_URN: {"manager": {"displayName": "x"}}}), {}),
]

REMOVE = [
    # RFC 7644, 3.5.2.2
    (op("remove", "nickName"), {"nickName": None}),
    (op("remove", "nickName", None), {"nickName": None}),
    (op("remove", "title"), {}),
    (op("remove", "emails"), {"emails": None}),
    (op("remove", 'emails[type eq "home"]'), {"emails": [WORK]}),
    (op("remove", 'emails[value ew ".test"]'), {"emails": None}),
    (op("remove", 'emails[type eq "fax"]'), {}),
    (op("remove", 'phoneNumbers[type eq "fax"]'), {}),
    (
        op("remove", 'emails[type eq "work"].primary'),
        {"emails": [{"value": WORK["value"], "type": "work"}, HOME]},
    ),
    (op("remove", 'emails[type eq "work"].value'), {"emails": [HOME]}),
    (
        op("remove", "emails.type"),
        {"emails": [{"value": WORK["value"], "primary": True}, {"value": HOME["value"]}]},
    ),
    (op("remove", "name.givenName"), {"name": {"familyName": "Family1"}}),
    (op("remove", "name"), {"name": None}),
    (op("remove", f"{ENTERPRISE_URN}:manager.value"), {ENTERPRISE_URN: {"department": "Tours"}}),
    (op("remove", ENTERPRISE_URN.upper()), {"schemas": [USER_URN], ENTERPRISE_URN: None}),
    (op("remove", APP_URN), {}),
    (op("remove", f"{APP_URN}:group"), {}),
    (op("remove", "externalId"), {"externalId": None}),
]


@pytest.mark.parametrize(("operation", "attributes"), ADD + REPLACE + REMOVE, ids=str)
def test_an_operation_changes_what_it_names_and_nothing_else(operation, attributes):
    assert patched(operation) == changed(**attributes)
    assert apply(USERS, USER, [operation], resource_id="u1").ignored == ()


REFUSED = [
    (op("replace", 'emails[type eq "fax"]', {"value": "x"}), NoTarget, "selects no value"),
    (op("replace", 'emails[type eq "fax"].value', "x"), NoTarget, "selects no value"),
    (op("add", 'emails[type eq "fax"].value', "x"), NoTarget, "nothing to add"),
    (op("add", 'emails[type eq "fax"]', {"value": "x"}), NoTarget, "nothing to add"),
    (op("replace", "phoneNumbers.value", "x"), NoTarget, "selects no value"),
    (op("remove"), NoTarget, "needs a path"),
    (op("remove", USER_URN), NoTarget, "the whole resource"),
    (op("remove", "emails", [{}]), InvalidValue, "an entry that names no value: {}"),
    (op("remove", "emails", [WORK, {"type": "work", "primary": True}]), InvalidValue, "names no value"),
    # Nothing would go by the value, and everything by the RFC.
    (op("remove", "emails", []), InvalidValue, 'a "value" without an entry: []'),
    (op("remove", "emails", {}), InvalidValue, 'a "value" without an entry: {}'),
    (op("remove", "emails", ""), InvalidValue, 'a "value" without an entry: ""'),
    (op("remove", "emails", ["user1@acme.test"]), InvalidValue, "emails must be an array of objects"),
    (op("remove", "emails", [7]), InvalidValue, "emails must be an array of objects"),
    (op("remove", 'emails[type eq "work"]', [WORK]), InvalidValue, 'takes no "value"'),
    (op("remove", "emails.value", "x"), InvalidValue, 'takes no "value"'),
    (op("remove", "nickName", "Nick1"), InvalidValue, 'takes no "value"'),
    (op("remove", "groups", [{"value": "g1"}]), Mutability, "groups is read-only"),
    (op("replace", "title", {}), InvalidValue, "title must be a text"),
    (op("replace", "title", []), InvalidValue, "title must be a text"),
    (op("replace", "active", []), InvalidValue, "active must be true or false"),
    (op("replace", None, {"active": []}), InvalidValue, "active must be true or false"),
    (op("replace", "name", []), InvalidValue, "name must be an object"),
    (op("remove", "userName"), Mutability, "userName is required"),
    (op("replace", "userName", ""), InvalidValue, "userName is required"),
    (op("replace", None, {"userName": None}), InvalidValue, "userName is required"),
    (op("replace", "userName", "x" * 321), InvalidValue, "321 characters"),
    (op("replace", None, {"id": "u2"}), Mutability, 'changed to "u2"'),
    (op("replace", "id", "u2"), Mutability, 'changed to "u2"'),
    (op("remove", "id"), Mutability, "id is read-only"),
    (op("replace", "groups", []), Mutability, "groups is read-only"),
    (op("add", "groups", [{"value": "g1"}]), Mutability, "groups is read-only"),
    (op("remove", 'groups[value eq "g1"]'), Mutability, "groups is read-only"),
    (op("replace", "meta.created", "x"), Mutability, "meta is read-only"),
    (op("remove", "schemas"), Mutability, "schemas is read-only"),
    (op("replace", f"{ENTERPRISE_URN}:manager.displayName", "x"), Mutability, "displayName is read-only"),
    (op("replace", None, "x"), InvalidValue, "takes an object"),
    (op("add", None, None), InvalidValue, "takes an object"),
    (op("replace", "active", "False"), InvalidValue, "active must be true or false"),
    (op("replace", "name", "x"), InvalidValue, "name must be an object"),
    (op("replace", "emails", "x"), InvalidValue, "emails must be an array"),
    (op("add", "emails", ["x"]), InvalidValue, 'emails must be an array of objects with "value"'),
    (op("add", 'emails[type eq "work"]', "x"), InvalidValue, "takes an object"),
    (op("replace", 'emails[type eq "work"].primary', "True"), InvalidValue, "must be true or false"),
    (
        op("add", "emails", [{"value": "a", "primary": True}, {"value": "b", "primary": True}]),
        InvalidValue,
        "primary",
    ),
    (op("replace", "emails.primary", True), InvalidValue, "primary"),
    (op("replace", f"{ENTERPRISE_URN}:manager", "u3"), InvalidValue, "manager must be an object"),
    (op("replace", None, {"name.givenName": "New"}), InvalidPath, 'put it in "path"'),
    (op("replace", None, {f"{ENTERPRISE_URN}:department": "x"}), InvalidPath, 'put it in "path"'),
    (op("replace", "", "x"), InvalidPath, "cannot be read"),
    (op("replace", "emails[type]", "x"), InvalidPath, "cannot be read"),
    # RFC 7644, 3.4.2.2: booleans and binaries have no order.
    (op("remove", 'emails[primary gt "a"]'), InvalidFilter, "primary is a boolean"),
    (op("replace", 'phoneNumbers[primary co "a"].type', "x"), InvalidFilter, "primary is a boolean"),
    (op("replace", 'nickName[value eq "x"]', "x"), InvalidPath, "no values to choose from"),
    (op("replace", 'name[givenName eq "x"].givenName', "x"), NoTarget, "selects no value"),
    (op("replace", 'manager[value eq "x"]', {"value": "u9"}), NoTarget, "selects no value"),
    (op("add", f'{ENTERPRISE_URN}:manager[value eq "x"].value', "u9"), NoTarget, "selects no value"),
    (op("replace", None, {"nickName": "a", "nickname": "b"}), InvalidSyntax, "two spellings"),
    (op("replace", "name", {"givenName": "a", "givenname": "b"}), InvalidSyntax, "two spellings"),
    (op("move", "emails", []), InvalidSyntax, "add, replace or remove"),
    (op("add", 7, []), InvalidPath, "must be a text"),
    (op("add", "emails"), InvalidValue, 'has no "value"'),
]


BY_VALUE = [
    # Clients name the values that go in `value`; RFC 7644, 3.5.2.2 knows none here and would remove them all.
    (op("remove", "emails", [WORK]), {"emails": [HOME]}),
    (op("remove", "emails", WORK), {"emails": [HOME]}),
    (op("remove", "emails", [WORK, HOME]), {"emails": None}),
    (op("remove", "emails", [{"value": "USER1@acme.test"}]), {"emails": [HOME]}),
    (op("remove", "EMAILS", [{"Value": WORK["value"], "display": "other"}]), {"emails": [HOME]}),
    (op("remove", "emails", [{**WORK, "type": "other"}]), {}),
    (op("remove", "emails", [{"value": "nobody@acme.test"}]), {}),
    (op("remove", "roles", [{"value": "guide"}]), {}),
    (op("remove", "addresses", [{"locality": "TOWN"}]), {"addresses": None}),
    (op("remove", "addresses", [TOWN]), {"addresses": None}),
    (op("remove", "addresses", [{**TOWN, "region": "North"}]), {}),
    (op("remove", f"{APP_URN}:group", "Sales"), {}),
]


@pytest.mark.parametrize(("operation", "changes"), BY_VALUE, ids=str)
def test_a_remove_operation_with_a_value_removes_its_entries_and_no_others(operation, changes):
    result = apply(USERS, USER, [operation])
    assert result.document == changed(**changes)
    assert result.entries == ("EMAILS" if "EMAILS" in operation.values() else operation["path"],)


def test_of_texts_those_in_the_value_are_removed():
    several = changed(
        schemas=[USER_URN, ENTERPRISE_URN, APP_URN], **{APP_URN: {"group": ["Sales", "Legal", "sales"]}}
    )
    left = patched(op("remove", f"{APP_URN}:group", ["Sales", "Other"]), of=several)
    assert left[APP_URN] == {"group": ["Legal", "sales"]}
    one = changed(schemas=[USER_URN, ENTERPRISE_URN, APP_URN], **{APP_URN: {"group": "Sales"}})
    assert patched(op("remove", f"{APP_URN}:group", ["sales"]), of=one) == one
    assert APP_URN not in patched(op("remove", f"{APP_URN}:group", ["Sales"]), of=one)


def test_a_remove_operation_without_a_value_is_not_said_to_have_one():
    assert apply(USERS, USER, [op("remove", "emails")]).entries == ()


BY_FILTER = [
    # A filter chooses the one value of an attribute or not, as it does in a list.
    (op("remove", f'{ENTERPRISE_URN}:manager[value eq "u2"]'), {ENTERPRISE_URN: {"department": "Tours"}}),
    (op("remove", 'manager[value eq "u2"]'), {ENTERPRISE_URN: {"department": "Tours"}}),
    (op("remove", 'manager[value eq "u3"]'), {}),
    (op("remove", f'{ENTERPRISE_URN}:manager[value eq "u3"]'), {}),
    (
        op("replace", 'manager[value eq "u2"].value', "u3"),
        {ENTERPRISE_URN: {"department": "Tours", "manager": {"value": "u3"}}},
    ),
    (
        op("replace", 'name[givenName eq "Given1"].familyName', "New"),
        {"name": {"givenName": "Given1", "familyName": "New"}},
    ),
    (op("remove", 'name[givenName eq "Given1"]'), {"name": None}),
    (op("remove", 'name[givenName eq "Given1"].givenName'), {"name": {"familyName": "Family1"}}),
    (op("remove", 'name[givenName eq "x"].givenName'), {}),
    # Without the URN of the one extension that has it.
    (op("replace", "department", "North"), {ENTERPRISE_URN: {**USER[ENTERPRISE_URN], "department": "North"}}),
    (op("remove", "manager"), {ENTERPRISE_URN: {"department": "Tours"}}),
]


@pytest.mark.parametrize(("operation", "changes"), BY_FILTER, ids=str)
def test_a_filter_chooses_the_one_value_of_an_attribute_or_not(operation, changes):
    result = apply(USERS, USER, [operation])
    assert (result.document, result.ignored) == (changed(**changes), ())


def test_a_name_that_two_extensions_have_needs_its_urn():
    kind = user_type(ENTERPRISE, replace(ENTERPRISE, id="urn:acme:other"))
    result = apply(kind, USER, [op("replace", "department", "North")])
    assert (result.document, result.ignored) == (USER, ("department",))


@pytest.mark.parametrize(("operation", "refusal", "words"), REFUSED, ids=str)
def test_an_operation_that_cannot_be_applied_is_refused(operation, refusal, words):
    before = copy.deepcopy(USER)
    with pytest.raises(refusal) as raised:
        patched(operation)
    assert words in raised.value.detail
    assert before == USER


def test_a_value_without_a_type_is_the_one_that_stands_without_a_type_if_there_is_one():
    bare = {"value": HOME["value"], "display": "Any"}
    of = changed(emails=[HOME, bare])
    assert patched(op("add", "emails", [bare]), of=of) == of


@pytest.mark.parametrize(
    ("operation", "ignored"),
    [
        (op("replace", "nope", 1), ("nope",)),
        (op("remove", "nope.x"), ("nope.x",)),
        (op("add", "urn:acme:other:x", 1), ("urn:acme:other:x",)),
        (op("replace", "name.nope", 1), ("name.nope",)),
        (op("replace", 'emails[type eq "work"].nope', 1), ("emails.nope",)),
        (op("add", 'emails[type eq "work"]', {"note": 1}), ("emails.note",)),
        (
            op("replace", None, {"password": "x", "zip": None, "urn:acme:other": {"x": 1}}),
            ("password", "zip", "urn:acme:other"),
        ),
        (op("replace", None, {"name": {"nope": 1}}), ("name.nope",)),
        (op("add", "emails", [{**HOME, "note": 1}]), ("emails.note",)),
        (op("replace", ENTERPRISE_URN, {"nope": 1}), (f"{ENTERPRISE_URN}:nope",)),
        (op("replace", f"{ENTERPRISE_URN}:manager", {"nope": 1}), (f"{ENTERPRISE_URN}:manager.nope",)),
        (op("replace", None, {"groups": [{"value": "g1"}]}), ("groups",)),
    ],
    ids=str,
)
def test_what_is_well_formed_but_not_kept_is_ignored_and_named(operation, ignored):
    result = apply(USERS, USER, [operation], resource_id="u1")
    assert result.document == USER
    assert result.ignored == ignored


def test_an_attribute_that_the_connection_does_not_keep_is_ignored():
    kept = narrow(USERS, ["name.givenName", "active"])
    document = clean(kept, USER).document
    result = apply(kept, document, [op("replace", "title", "x"), op("replace", "name.familyName", "x")])
    assert result.document == document
    assert result.ignored == ("title", "name.familyName")


def test_operations_are_applied_in_order_each_to_what_the_one_before_left():
    document = patched(
        op("remove", "emails"),
        op("add", "emails", [{"value": "x@acme.test", "type": "work"}]),
        op("replace", 'emails[type eq "work"].value', "y@acme.test"),
        op("add", 'emails[type eq "work"].primary', True),
        op("replace", "userName", None),
        op("replace", "userName", "y@acme.test"),
    )
    assert document == changed(
        userName="y@acme.test", emails=[{"value": "y@acme.test", "type": "work", "primary": True}]
    )


@pytest.mark.parametrize(
    ("stored", "kind", "value", "group"),
    [
        ("Sales", "add", "Support", "Support"),
        ("Sales", "add", ["Support"], ["Sales", "Support"]),
        (["Sales", "Support"], "add", "Support", ["Sales", "Support"]),
        (["Sales"], "add", "Support", ["Sales", "Support"]),
        (["Sales"], "replace", "Support", "Support"),
        ("Sales", "replace", ["a", "b"], ["a", "b"]),
    ],
)
def test_a_text_or_an_array_of_texts_is_added_to_by_its_shape(stored, kind, value, group):
    document = changed(schemas=[USER_URN, ENTERPRISE_URN, APP_URN], **{APP_URN: {"group": stored}})
    assert patched(op(kind, f"{APP_URN}:group", value), of=document)[APP_URN] == {"group": group}


EMAILS = [{"value": f"{number}@acme.test"} for number in range(900)]
TERMS = " or ".join(['value eq "x"'] * 400)


def each(kind, path, value=None, times=1000):
    return [op(kind, path.format(number), value) for number in range(times)]


CHEAP = {
    "one value added at a time": [op("add", "emails", [{"value": f"{n}@acme.test"}]) for n in range(1000)],
    "the same value added again": each("add", "emails", [{"value": "1@acme.test", "type": "work"}]),
    "one long filter": [op("remove", f"emails[{' or '.join(['a pr'] * 300)}]")],
    "a filter for some": each("replace", 'emails[value eq "{}@acme.test"].type', "work", 200),
    "all at once": each("replace", "emails.type", "work", 100),
    "no such values": each("remove", f"ims[{TERMS}]", None, 20),
    "a long text": [op("replace", "emails.display", "x" * 50_000)],
}


@pytest.mark.parametrize("operations", CHEAP.values(), ids=CHEAP)
def test_many_operations_on_many_values_take_their_time_once(operations):
    began = time.process_time()
    patched(*operations, of=changed(emails=EMAILS))
    check_seconds(time.process_time() - began, 2)


DEAR = {
    "long filters over many values": each("remove", f"emails[{TERMS}]", None, 5),
    "one filter over long texts": [op("remove", f"emails[{TERMS} or display pr]")],
    "a filter for each": each("replace", 'emails[value eq "{}@acme.test"].type', "work"),
    "all, again and again": each("replace", "emails.type", "work"),
    "a very long text for each": [op("replace", "emails.display", "x" * 500_000)],
    "very many names for each": [op("add", "emails[value pr]", {f"x{number}": 1 for number in range(9000)})],
    "the primary value, again and again": [
        op("add", "emails", {**email, "primary": True}) for email in EMAILS
    ],
}


@pytest.mark.parametrize("operations", DEAR.values(), ids=DEAR)
def test_operations_that_would_go_through_too_many_values_are_refused(operations):
    emails = [{**email, "display": "é" * 300} for email in EMAILS]
    began = time.process_time()
    with pytest.raises(InvalidValue, match="go through too many values"):
        patched(*operations, of=changed(emails=emails))
    check_seconds(time.process_time() - began, 2)


@pytest.mark.parametrize("path", ["emails", None])
def test_the_limit_of_values_is_held_with_each_operation(path):
    def added(number):
        emails = [{"value": f"{number}.{i}@acme.test"} for i in range(20)]
        return op("add", path, emails if path else {"emails": emails})

    began = time.process_time()
    with pytest.raises(InvalidValue, match="emails has 1020 values; at most 1000 are kept"):
        patched(*map(added, range(500)), of=changed(emails=[]))
    check_seconds(time.process_time() - began, 0.5)


@pytest.mark.parametrize(
    "between",
    [
        op("remove", 'emails[value eq "x@acme.test"]'),
        op("remove", "emails"),
        op("replace", "emails", [WORK]),
        op("replace", 'emails[value eq "x@acme.test"].value', "y@acme.test"),
        op("remove", "emails.value"),
        op("replace", None, {"emails": None}),
    ],
    ids=str,
)
def test_what_is_no_longer_there_is_added_again(between):
    new = {"value": "x@acme.test"}
    added = op("add", "emails", [new])
    assert patched(added, between, added)["emails"].count(new) == 1


def test_values_that_are_known_by_all_they_hold_are_known_after_another_became_primary():
    photo = {"display": "A", "type": "photo", "primary": True}
    other = {"value": "https://acme.test/a", "primary": True}
    of = changed(photos=[photo])
    document = patched(
        op("add", "photos", [other]), op("add", "photos", [{**photo, "primary": False}]), of=of
    )
    assert document["photos"] == [other]


# The envelope


def message(*operations, **more):
    return {"schemas": [PATCH_URN], "Operations": list(operations), **more}


def test_operations_are_read_whatever_their_letter_case():
    body = {
        "Schemas": [PATCH_URN.upper()],
        "operations": [
            {"OP": "Replace", "Path": "active", "VALUE": False},
            {"op": "ADD", "value": {"title": "x"}, "name": "not ours"},
            {"op": "remove", "path": "title"},
            {"op": "replace", "path": "title", "value": None},
        ],
    }
    assert read_operations(body) == [
        {"op": "replace", "path": "active", "value": False},
        {"op": "add", "value": {"title": "x"}},
        {"op": "remove", "path": "title"},
        {"op": "replace", "path": "title", "value": None},
    ]


@pytest.mark.parametrize(
    ("body", "refusal", "words"),
    [
        ({"Operations": [op("remove", "x")]}, InvalidSyntax, "schemas"),
        (message(op("remove", "x"), schemas=[USER_URN]), InvalidValue, PATCH_URN),
        ({"schemas": [PATCH_URN]}, InvalidSyntax, "Operations"),
        (message(), InvalidSyntax, "at least one"),
        (message(Operations={"op": "add"}), InvalidSyntax, "must be an array"),
        (message("remove"), InvalidSyntax, "must be an object"),
        (message({"op": "remove", "OP": "add", "path": "x"}), InvalidSyntax, "in two spellings"),
        (message({"op": "remove", "path": "x", "Path": "y"}), InvalidSyntax, "in two spellings"),
        (message(op("remove", "x"), operations=[op("remove", "x")]), InvalidSyntax, "in two spellings"),
        (message(*[op("remove", "x" * 8000)] * 17), InvalidPath, "at most 131072"),
        (message({"path": "x"}), InvalidSyntax, "it is null"),
        (message({"op": 1}), InvalidSyntax, "it is 1"),
        (message(op("remove")), NoTarget, "needs a path"),
        (message({"op": "remove", "path": None}), NoTarget, "needs a path"),
        (message(op("replace", ["x"], 1)), InvalidPath, "must be a text"),
        (message(op("add", "x")), InvalidValue, "The add operation of x has no"),
        (message(*[op("remove", "x")] * 1001), InvalidValue, "at most 1000"),
    ],
)
def test_a_malformed_message_is_refused(body, refusal, words):
    with pytest.raises(refusal) as raised:
        read_operations(body)
    assert words in raised.value.detail


def test_operations_may_be_given_as_values():
    assert apply(USERS, USER, [Operation("remove", "nickName")]).document == changed(nickName=None)


# Whatever comes, the document that went in stays, and what comes out is canonical.

PATHS = st.sampled_from(
    [
        None,
        "title",
        "name",
        "name.givenName",
        "emails",
        "emails.type",
        'emails[type eq "work"]',
        "id",
        "groups",
        "nope",
        'emails[type eq "home"].value',
        "emails[not (type pr)].primary",
        'addresses[country eq "US"]',
        ENTERPRISE_URN,
        f"{ENTERPRISE_URN}:manager",
        f"{ENTERPRISE_URN}:manager.value",
        APP_URN,
        f"{APP_URN}:group",
        "userName",
        "schemas",
    ]
)
NAMES = st.sampled_from(
    ["title", "userName", "name", "givenName", "emails", "value", "type", "primary", "manager"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.sampled_from(["", "x", "work", "home", "user1@acme.test"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
OPERATIONS = st.builds(op, st.sampled_from(["add", "replace"]), PATHS, VALUES) | st.builds(
    op, st.just("remove"), PATHS.filter(bool)
)


@given(st.lists(OPERATIONS, min_size=1, max_size=4))
def test_any_operations_leave_the_document_alone_and_end_canonical_or_refused(operations):
    before = copy.deepcopy(USER), copy.deepcopy(operations)
    with contextlib.suppress(Refusal):
        result = apply(USERS, USER, operations, resource_id="u1").document
        assert clean(USERS, result).document == result
        result["name"] = result.setdefault("emails", []).append({"value": "later"})
    assert (USER, operations) == before
