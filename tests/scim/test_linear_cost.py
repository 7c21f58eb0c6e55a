"""What reading costs: ten times the input takes about ten times as long, and what is too much is refused at once.

Seconds of the processor are counted, so that a busy machine slows nothing down; the least of several runs counts.
"""

import contextlib
import json
import time
from functools import partial
from urllib.parse import quote

import pytest

from gateway.scim.bulk import read_bulk
from gateway.scim.documents import clean
from gateway.scim.errors import (
    InvalidFilter,
    InvalidPath,
    InvalidSyntax,
    InvalidValue,
    PayloadTooLarge,
    Refusal,
)
from gateway.scim.filters import MAX_LENGTH, FilterReader, parse_filter
from gateway.scim.json_text import read_json
from gateway.scim.matching import matches
from gateway.scim.members import split_members
from gateway.scim.messages import read_search
from gateway.scim.operations import read_operations
from gateway.scim.patch import apply
from gateway.scim.paths import parse_path
from gateway.scim.projection import project
from gateway.scim.schemas import (
    BULK_REQUEST_URN,
    ENTERPRISE,
    ENTERPRISE_URN,
    PATCH_URN,
    SEARCH_URN,
    USER_URN,
    group_type,
    user_type,
)
from gateway.scim.sorting import read_sort
from gateway.store.query.candidates import MAX_TERMS
from gateway.web.http import ScimRequest
from gateway.web.scim.authentication import credentials_of
from tests.support.timing import check_seconds

pytestmark = pytest.mark.slow

USERS, GROUPS = user_type(ENTERPRISE), group_type()
USER = {
    "schemas": [USER_URN],
    "userName": "user1@acme.test",
    "emails": [{"value": "user1@acme.test", "type": "work"}],
}
RUNS = 5
#: Ten times as much may take so many times as long: 10, and room for caches and noise. Squares would be 100.
RATIO = 25
#: Seconds below which nothing is compared: a hiccup would count for too much.
FLOOR = 0.001


def seconds(call):
    """The least of several runs; refusals are answers too."""
    return min(_once(call) for _ in range(RUNS))


def _once(call):
    began = time.process_time()
    with contextlib.suppress(Refusal):
        call()
    return time.process_time() - began


def grows(read, make, size):
    """Assert that ten times the size takes at most about ten times as long. A second look where it did not."""
    small, large = make(size), make(10 * size)
    for last in (False, False, True):
        least = max(FLOOR, seconds(lambda: read(small)))
        most = seconds(lambda: read(large))
        if most <= RATIO * least:
            return
        assert not last, f"{size}: {least:.4f} s, {10 * size}: {most:.4f} s"


def whole(text):
    """The tree of a filter of any length: the cap is not what makes it quick."""
    return FilterReader(text).read_or()


FILTERS = {
    "or": lambda n: " or ".join(["a pr"] * n),
    "and": lambda n: " and ".join(['a eq "x"'] * n),
    "or and": lambda n: " or ".join(["a pr and b pr"] * n),
    "brackets beside each other": lambda n: " or ".join(["(a pr)"] * n),
    "not": lambda n: " or ".join(["not (a pr)"] * n),
    "the name not": lambda n: " and ".join(["not pr"] * n),
    "value paths": lambda n: " or ".join(['a[b eq "c"].d pr'] * n),
    "brackets in each other": lambda n: "(" * n + "a pr" + ")" * n,
    "not in each other": lambda n: "not (" * n + "a pr" + ")" * n,
    "value paths in each other": lambda n: "a[" * n + "b pr" + "]" * n,
    "open brackets": lambda n: "(" * n,
    "a long text": lambda n: f'a eq "{"x" * 100 * n}"',
    "a text that does not end": lambda n: 'a eq "' + "x" * 100 * n,
    "texts": lambda n: " or ".join(['a eq "x"'] * n),
    "escapes": lambda n: 'a eq "' + r"\u00e9" * 10 * n + '"',
    "backslashes": lambda n: 'a eq "' + r"\\" * 10 * n + '"',
    "half escapes": lambda n: 'a eq "' + "\\" * (10 * n + 1),
    "quotes": lambda n: '"' * n,
    "digits": lambda n: "a eq " + "9" * n,
    "digits behind the point": lambda n: "a eq 0." + "9" * 10 * n,
    "an exponent": lambda n: "a eq 1e" + "9" * 10 * n,
    "dots": lambda n: "a." * 10 * n + " pr",
    "colons": lambda n: "a:" * 10 * n + " pr",
    "colons and dots": lambda n: "a:b." * 10 * n + " pr",
    "a URN": lambda n: "urn:" + "x" * 100 * n + ":a pr",
    "a name": lambda n: "x" * 100 * n + "! pr",
    "a sub-attribute": lambda n: "a." + "x" * 100 * n + "! pr",
    "spaces": lambda n: "a" + " " * 100 * n + "pr",
    "spaces at the end": lambda n: "a pr" + " " * 100 * n + "!",
}


@pytest.mark.parametrize("make", FILTERS.values(), ids=FILTERS)
def test_filters_of_any_length(make):
    grows(whole, make, 100)


@pytest.mark.parametrize("make", FILTERS.values(), ids=FILTERS)
def test_paths_up_to_their_cap(make):
    text = f"emails[{make(1000)}"[: MAX_LENGTH + 1]
    assert seconds(lambda: parse_path(text)) < 0.5


@pytest.mark.parametrize("terms", [500, 1000])
def test_the_most_terms_that_are_read(terms):
    tree = parse_filter(" or ".join(["a pr"] * terms))
    assert len(tree.operands) == terms
    assert matches(tree, USER, USERS) is False


@pytest.mark.parametrize("text", [make(5000) for make in FILTERS.values()], ids=FILTERS)
def test_beyond_the_cap_it_is_refused_unread(text):
    for read, refusal in ((parse_filter, InvalidFilter), (parse_path, InvalidPath), (_sort, InvalidValue)):
        with pytest.raises(refusal, match=r"[Aa]t most 8192"):
            read(text.ljust(MAX_LENGTH + 1))
        assert seconds(lambda read=read: read(text.ljust(MAX_LENGTH + 1))) < 0.05


def _sort(text):
    return read_sort(text, False, (USERS,))


@pytest.mark.parametrize("open_", ["(", "not(", "emails[", "emails[(", "emails[not("])
def test_brackets_in_each_other_are_refused_where_the_33rd_opens(open_):
    text = open_ * (MAX_LENGTH // len(open_))
    with pytest.raises(InvalidFilter, match=r"more than 32 brackets are open|an operator"):
        parse_filter(text)
    assert seconds(lambda: parse_filter(text)) < 0.05


def test_matching_grows_with_the_terms():
    grows(
        lambda tree: matches(tree, USER, USERS), lambda n: parse_filter(" or ".join(['title eq "x"'] * n)), 40
    )


# Reading JSON ----------------------------------------------------------------------------------------------------


def inside(value):
    return b'{"a":' + value + b"}"


BODIES = {
    "a text": lambda n: inside(b'"' + b"x" * 100 * n + b'"'),
    "a text of two bytes a letter": lambda n: inside(b'"' + "é".encode() * 100 * n + b'"'),
    "escapes": lambda n: inside(b'"' + b"\\u00e9" * 20 * n + b'"'),
    "pairs of surrogates": lambda n: inside(b'"' + b"\\ud83d\\ude00" * 10 * n + b'"'),
    "half surrogates": lambda n: inside(b'"' + b"\\ud83d" * 20 * n + b'"'),
    "backslashes": lambda n: inside(b'"' + b"\\\\" * 50 * n + b'"'),
    "a text that does not end": lambda n: inside(b'"' + b"\\\\" * 50 * n),
    "digits": lambda n: inside(b"9" * n),
    "many digits": lambda n: inside(b"9" * 10 * n),
    "digits behind the point": lambda n: inside(b"0." + b"9" * 10 * n),
    "an exponent": lambda n: inside(b"1e" + b"9" * 10 * n),
    "numbers": lambda n: inside(b"[" + b",".join([b"1.5"] * 10 * n) + b"]"),
    "arrays in each other": lambda n: inside(b"[" * 10 * n + b"]" * 10 * n),
    "open arrays": lambda n: inside(b"[" * 10 * n),
    "objects in each other": lambda n: b'{"a":' * 10 * n + b"{}" + b"}" * 10 * n,
    "arrays beside each other": lambda n: inside(b"[" + b",".join([b"[[]]"] * 5 * n) + b"]"),
    "keys": lambda n: b"{" + b",".join(b'"%d":1' % i for i in range(5 * n)) + b"}",
    "one key many times": lambda n: b"{" + b",".join([b'"a":1'] * 5 * n) + b"}",
    "spaces": lambda n: b" " * 100 * n + b"{}",
    "spaces only": lambda n: b" \n" * 50 * n,
    "bytes that are no text": lambda n: inside(b'"' + b"x" * 100 * n + b'\xff"'),
    "names below a long name": lambda n: inside(
        b'{"\\u00e9":1,"' + b"k" * 200 * n + b'":{' + b",".join(b'"%d":1' % i for i in range(5 * n)) + b"}}"
    ),
}  # fmt: skip


@pytest.mark.parametrize("make", BODIES.values(), ids=BODIES)
def test_bodies(make):
    grows(read_json, make, 300)


def bodies_of(kind, **attributes):
    names = {USERS: {"userName": "user1@acme.test"}, GROUPS: {"displayName": "Sales"}}[kind]
    return {"schemas": [kind.schema.id], **names, **attributes}


def patch(operations):
    return {"schemas": [PATCH_URN], "Operations": operations}


def search(**asked):
    return {"schemas": [SEARCH_URN], **asked}


def bulk(operations):
    return {"schemas": [BULK_REQUEST_URN], "Operations": operations}


def post(number, refers):
    members = [{"value": f"bulkId:{refers}"}] * 5
    return {"method": "POST", "path": "/Groups", "bulkId": str(number), "data": {"members": members}}


def numbered(n):
    return [{"value": str(number)} for number in range(n)]


as_user, as_group = partial(clean, USERS), partial(clean, GROUPS)
MESSAGES = {
    "unknown attributes": (as_user, lambda n: bodies_of(USERS, **{f"x{i}": 1 for i in range(n)})),
    "members": (as_group, lambda n: bodies_of(GROUPS, members=numbered(n))),
    "e-mail addresses": (as_user, lambda n: bodies_of(USERS, emails=numbered(n))),
    "schemas": (as_user, lambda n: bodies_of(USERS) | {"schemas": [USER_URN] * n}),
    "schemas that are wrong": (as_user, lambda n: bodies_of(USERS) | {"schemas": ["x"] * n}),
    "a certificate": (as_user, lambda n: bodies_of(USERS, x509Certificates=[{"value": "TUlJ" * 10 * n}])),
    "attributes asked for": (read_search, lambda n: search(attributes=["emails.value"] * n)),
    "attributes left out": (read_search, lambda n: search(excludedAttributes=[f"x{i}" for i in range(n)])),
    "unknown words of a search": (read_search, lambda n: search(**{f"x{i}": 1 for i in range(n)})),
    "values": (read_operations, lambda n: patch([{"op": "add", "value": {"title": "x" * n}}] * 100)),
}


@pytest.mark.parametrize(("read", "make"), MESSAGES.values(), ids=MESSAGES)
def test_messages(read, make):
    grows(read, make, 500)


@pytest.mark.parametrize(
    "name", ["emails.value", "unknown", f"{USER_URN}:emails.type", "a." * 50, ":" * 100, "x" * 100]
)
def test_projections_grow_with_the_names(name):
    grows(lambda names: project(USERS, USER, names, names), lambda n: (name,) * n, 200)


@pytest.mark.parametrize("name", ["emails.value", f"{ENTERPRISE_URN}:manager.displayName", "EMAILS"])
def test_a_name_asked_for_very_often_is_looked_up_once(name):
    user = {**USER, "emails": numbered(1000), ENTERPRISE_URN: {"manager": {"displayName": "x"}}}
    once = project(USERS, user, (name,), ())
    assert project(USERS, user, (name, name.lower(), name.upper()) * 2000, ()) == once
    assert seconds(lambda: project(USERS, user, (name,) * 6000, (name,) * 6000)) < 0.1


OPERATIONS = {
    "titles": lambda n: [{"op": "replace", "path": "title", "value": str(i)} for i in range(n)],
    "whole users": lambda n: [{"op": "add", "value": {"title": str(i)}} for i in range(n)],
    "chosen values": lambda n: [
        {"op": "replace", "path": 'emails[type eq "work"].value', "value": str(i)} for i in range(n)
    ],
    "unknown paths": lambda n: [{"op": "add", "path": f"x{i}.y", "value": 1} for i in range(n)],
    "values one at a time": lambda n: [
        {"op": "add", "path": "emails", "value": [{"value": f"{i}@acme.test"}]} for i in range(n)
    ],
    "filters with many terms": lambda n: [
        {"op": "remove", "path": f"emails[{' or '.join(['value eq 1'] * 10)}]"} for i in range(n)
    ],
    "long paths": lambda n: [{"op": "add", "path": "a." * 1000, "value": 1}] * n,
    "members": lambda n: [{"op": "remove", "path": f'members[value eq "{i}"]'} for i in range(n)],
}


@pytest.mark.parametrize("make", OPERATIONS.values(), ids=OPERATIONS)
def test_operations(make):
    def read_all(operations):
        with contextlib.suppress(Refusal):
            split_members(operations)
        apply(USERS, USER, operations)

    grows(lambda body: read_all(read_operations(body)), lambda n: patch(make(n)), 100)


@pytest.mark.parametrize(
    "refers",
    [lambda i, n: i - 1, lambda i, n: i + 1, lambda i, n: (i * 7) % n, lambda i, n: 0],
    ids=["the one before", "the one behind", "any", "the first"],
)
def test_bulk_requests(refers):
    def make(n):
        return bulk([post(i, refers(i, n)) for i in range(n)])

    grows(lambda body: read_bulk(body).order(), make, 100)


@pytest.mark.parametrize(
    ("read", "body", "refusal"),
    [
        (read_operations, patch(OPERATIONS["titles"](10_000)), InvalidValue),
        (read_operations, patch([{"op": "remove", "path": "x" * 8000}] * 120), InvalidPath),
        (read_bulk, bulk([post(i, 0) for i in range(10_000)]), PayloadTooLarge),
        (read_search, search(attributes=[f"x{i}" for i in range(20_000)]), InvalidValue),
        (read_json, b'{"a":' + b"[" * 500_000 + b"]" * 500_000 + b"}", InvalidSyntax),
        (read_json, b'{"a":' + b"9" * 1_000_000 + b"}", InvalidValue),
    ],
    ids=["operations", "paths", "a bulk request", "names", "arrays", "digits"],
)  # fmt: skip
def test_what_is_too_much_is_refused_at_once(read, body, refusal):
    with pytest.raises(refusal):
        read(body)
    assert seconds(lambda: read(body)) < 0.5


# The database ----------------------------------------------------------------------------------------------------

TERMS = ['title eq "x"', "active eq true", 'emails[type eq "x"]', 'groups.display co "x"', "nothing pr"]


def test_a_filter_of_as_many_comparisons_as_are_answered_is_answered_by_the_database(scim):
    """The wall clock counts here: the engine may be another process. Hence the larger room."""
    scim.user(title="Guide")

    def answered(text):
        answer = scim.call("GET", f"/Users?filter={quote(text)}")
        assert answer.status == 200, text[:40]
        return answer.seconds

    for term in TERMS:
        for word in (" or ", " and "):
            few, many = word.join([term] * (MAX_TERMS // 10)), word.join([term] * MAX_TERMS)
            least = min(answered(few) for _ in range(RUNS))
            assert min(answered(many) for _ in range(RUNS)) < 4 * RATIO * max(least, FLOOR), term


def test_a_filter_of_the_longest_length_is_answered_or_refused_at_once(scim):
    for term in TERMS:
        for word in (" or ", " and "):
            text = word.join([term] * (MAX_LENGTH // len(term + word)))
            answer = scim.call("GET", f"/Users?filter={quote(text)}")
            gathered = word == " or " and term == TERMS[0]  # one attribute, eq
            assert answer.status == (200 if gathered else 400), text[:40]
            assert gathered or answer.json["scimType"] == "tooMany"
            check_seconds(answer.seconds, 0.5)


def test_five_thousand_terms_are_refused_before_the_database_hears_of_them(scim):
    text = " or ".join(["title pr"] * 5000)
    answer = scim.call("POST", "/Users/.search", json.dumps(search(filter=text)))
    assert (answer.status, answer.json["scimType"]) == (400, "invalidFilter")
    assert "at most 8192" in answer.json["detail"]
    check_seconds(
        min(scim.call("POST", "/Users/.search", search(filter=text)).seconds for _ in range(RUNS)), 0.5
    )


def test_a_token_with_bearer_in_front_very_often_costs_as_much_as_it_is_long():
    """A stranger can send it."""

    def cost(often):
        call = ScimRequest({"REQUEST_METHOD": "GET", "HTTP_AUTHORIZATION": "bearer " * often + "pgw_x"})
        begun = time.process_time()
        for _ in range(5):
            assert credentials_of(call).secret == "pgw_x"
        return time.process_time() - begun

    assert cost(8000) < 40 * max(cost(800), 0.0005)
