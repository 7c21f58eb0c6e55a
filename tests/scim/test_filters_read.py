"""Reading filters: the grammar of RFC 7644, figure 1, and a sentence with the position for anything else."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.scim.errors import InvalidFilter
from gateway.scim.filter_ast import And, AttrPath, Compare, Not, Or, Present, ValueFilter
from gateway.scim.filters import parse_filter
from gateway.scim.matching import check_filter
from gateway.scim.schemas import ENTERPRISE, ENTERPRISE_URN, USER_URN, user_type
from tests.support.timing import check_seconds

USERS = user_type(ENTERPRISE)


def path(name, sub=None, urn=None):
    return AttrPath(urn, name, sub)


def eq(name, value):
    return Compare(path(name), "eq", value)


# RFC 7644, 3.4.2.2, figure 2, with other names.
@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ('userName eq "user1"', eq("userName", "user1")),
        ('name.familyName co "O\'Malley"', Compare(path("name", "familyName"), "co", "O'Malley")),
        (f'{USER_URN}:userName sw "J"', Compare(path("userName", urn=USER_URN), "sw", "J")),
        ("title pr", Present(path("title"))),
        (
            'meta.lastModified gt "2011-05-13T04:42:34Z"',
            Compare(path("meta", "lastModified"), "gt", "2011-05-13T04:42:34Z"),
        ),
        ('title pr and userType eq "Employee"', And((Present(path("title")), eq("userType", "Employee")))),
        ('title pr or userType eq "Intern"', Or((Present(path("title")), eq("userType", "Intern")))),
        (f'schemas eq "{ENTERPRISE_URN}"', eq("schemas", ENTERPRISE_URN)),
        (
            'userType eq "Employee" and (emails co "acme.test" or emails.value co "acme.org")',
            And(
                (
                    eq("userType", "Employee"),
                    Or(
                        (
                            Compare(path("emails"), "co", "acme.test"),
                            Compare(path("emails", "value"), "co", "acme.org"),
                        )
                    ),
                )
            ),
        ),
        (
            'userType ne "Employee" and not (emails co "acme.test")',
            And(
                (Compare(path("userType"), "ne", "Employee"), Not(Compare(path("emails"), "co", "acme.test")))
            ),
        ),
        (
            'emails[type eq "work" and value co "@acme.test"]',
            ValueFilter(
                path("emails"), And((eq("type", "work"), Compare(path("value"), "co", "@acme.test")))
            ),
        ),
    ],
)
def test_the_examples_of_the_rfc(text, tree):
    assert parse_filter(text) == tree


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ('USERNAME EQ "x"', eq("USERNAME", "x")),
        ("a PR AND NOT(b Pr)", And((Present(path("a")), Not(Present(path("b")))))),
        ("a pr or b pr and c pr", Or((Present(path("a")), And((Present(path("b")), Present(path("c"))))))),
        ("((a pr))", Present(path("a"))),
        ("( a pr )", Present(path("a"))),
        ('  a   eq\t"x" ', eq("a", "x")),
        ("not pr", Present(path("not"))),
        ("not eq 1 and and eq 2", And((eq("not", 1), eq("and", 2)))),
        (f"{ENTERPRISE_URN}:manager.$ref pr", Present(path("manager", "$ref", ENTERPRISE_URN))),
        ('http://acme.test/2.0/x:a.b eq "c"', Compare(path("a", "b", "http://acme.test/2.0/x"), "eq", "c")),
        (
            'members[value eq "a" or value eq "b"]',
            ValueFilter(path("members"), Or((eq("value", "a"), eq("value", "b")))),
        ),
        ("emails[not (type pr)]", ValueFilter(path("emails"), Not(Present(path("type"))))),
        # What Entra sends: one element meets both.
        (
            'emails[type eq "work"].value eq "x"',
            ValueFilter(path("emails"), And((eq("type", "work"), eq("value", "x")))),
        ),
        (
            'emails[type eq "work" and primary eq true].value pr',
            ValueFilter(
                path("emails"), And((eq("type", "work"), eq("primary", True), Present(path("value"))))
            ),
        ),
    ],
)
def test_spellings_and_precedence(text, tree):
    assert parse_filter(text) == tree


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ('"x"', "x"),
        ('""', ""),
        (r'"a\"b\\c\/d\u00e9\n"', 'a"b\\c/dé\n'),
        ('"] and )"', "] and )"),
        ('"é😀"', "é😀"),
        (r'"\ud83d\ude00"', "😀"),
        ("0", 0),
        ("-12", -12),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("-0.5E-1", -0.05),
        ("true", True),
        ("FALSE", False),
        ("null", None),
    ],
)
def test_literals_are_those_of_json(literal, value):
    read = parse_filter(f"a eq {literal}").value
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("", None, "The filter is empty"),
        ("  ", None, "The filter is empty"),
        ("userName", 9, "an operator"),
        ("userName eq", 12, "a value was expected"),
        (
            "externalId eq jyoung",
            15,
            'a text in double quotes, a number, true, false or null, but "jyoung" came',
        ),
        ("userName eq 'x'", 13, "a value was expected"),
        ('userName is "x"', 10, "an operator"),
        ('userName eq "x', 13, "does not end"),
        ('userName eq "x\ny"', 13, "does not end"),
        (r'a eq "\x"', 6, "a JSON text"),
        (r'a eq "\ud800"', 6, "a JSON text"),
        (r'a eq "\u0000"', 6, "without NUL"),
        ("a eq 01", 6, "a value was expected"),
        ("a eq 1e999", 6, "a smaller number"),
        ("a eq " + "9" * 400, 6, "a smaller number"),
        ("a eq -" + "9" * 400, 6, "a smaller number"),
        ("a eq " + "9" * 5000, 6, "fewer digits"),
        ("a pr and", 9, "the name of an attribute"),
        ("and pr and", 11, "the name of an attribute"),
        ("a pr b pr", 6, "and, or, or the end"),
        ("(a pr", 6, ") was expected"),
        ("a pr)", 5, "the end of the filter"),
        ("not a pr", 5, "an operator"),
        ("a[]", 3, "the name of an attribute"),
        ("a[b pr", 7, "] was expected"),
        ("a[b[c pr]]", 4, "an operator"),
        ("a.b[c pr]", 4, "after a sub-attribute"),
        ("a[b pr] .c pr", 9, "the name of a sub-attribute"),
        ("a[b pr].1 pr", 8, "the name of a sub-attribute"),
        ("a[b pr].c", 10, "an operator"),
        ("a.b.c pr", 1, "the name of an attribute"),
        ("1a pr", 1, "the name of an attribute"),
        ("ä pr", 1, "the name of an attribute"),
        ("urn: pr", 1, "the name of an attribute"),
        ('"a" eq "b"', 1, "the name of an attribute"),
        ("a gt true", 6, "a text or a number was expected after gt"),
        ("a LE null", 6, "a text or a number was expected after le"),
        ("a co 5", 6, "a text in double quotes was expected after co"),
        ("[a pr]", 1, "the name of an attribute"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_position(text, position, words):
    with pytest.raises(InvalidFilter) as refusal:
        parse_filter(text)
    assert words in refusal.value.detail
    assert position is None or refusal.value.detail.startswith(f"Position {position}:")
    assert len(refusal.value.detail) < 250


def test_brackets_nest_to_a_limit():
    assert parse_filter("(" * 32 + "a pr" + ")" * 32) == Present(path("a"))
    with pytest.raises(InvalidFilter, match="more than 32 brackets"):
        parse_filter("(" * 33 + "a pr" + ")" * 33)
    with pytest.raises(InvalidFilter, match="more than 32 brackets"):
        parse_filter("not (" * 1000)


@pytest.mark.parametrize("text", ["a pr or " * 5000 + "a pr", "(" * 10_000, "x" * 1_000_000])
def test_a_filter_that_is_too_long_is_not_read_at_all(text):
    with pytest.raises(InvalidFilter, match="at most 8192"):
        parse_filter(text)


@pytest.mark.parametrize(
    "unit",
    [
        "a pr or ",
        "a pr and ",
        "(a pr) or ",
        'a[b eq "c"].d pr or ',
        "a:b:c:d pr or ",
        '"',
        "a:",
        "a.",
        "\\",
        " ",
    ],
)
def test_time_grows_with_length_only(unit):
    text = (unit * 8192)[:8192]
    began = time.process_time()
    with pytest.raises(InvalidFilter):
        parse_filter(text)
    check_seconds(time.process_time() - began, 0.5)


@pytest.mark.parametrize(
    "text",
    [
        'active gt "x"',
        'active co "t"',
        'emails.primary ge "x"',
        'x509Certificates sw "MII"',
        'title pr and not (x509Certificates.value lt "MII")',
        'emails[type eq "work" and not (primary gt 1 or primary le 2)]',
    ],
)
def test_booleans_and_binaries_have_no_order(text):
    with pytest.raises(InvalidFilter, match="eq and ne only"):
        check_filter(parse_filter(text), USERS)


@pytest.mark.parametrize(
    "text",
    [
        'userName gt "x"',
        "active eq true",
        'emails[type sw "w"]',
        "emails[primary ne true]",
        'nope gt "x"',
        "x[y pr]",
    ],
)
def test_what_can_be_compared_is_accepted(text):
    check_filter(parse_filter(text), USERS)


# A printer that shares nothing with the reader.

NAMES = st.from_regex(r"[A-Za-z$][A-Za-z0-9_$-]{0,8}", fullmatch=True)
URNS = st.sampled_from([None, USER_URN, ENTERPRISE_URN, "urn:acme:2.0:x.y", "http://acme.test/a"])
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=8)
NUMBERS = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
PATHS = st.builds(AttrPath, URNS, NAMES, st.none() | NAMES)
COMPARES = (
    st.builds(Compare, PATHS, st.sampled_from(["eq", "ne"]), TEXTS | NUMBERS | st.booleans() | st.none())
    | st.builds(Compare, PATHS, st.sampled_from(["co", "sw", "ew"]), TEXTS)
    | st.builds(Compare, PATHS, st.sampled_from(["gt", "ge", "lt", "le"]), TEXTS | NUMBERS)
)
LEAVES = COMPARES | st.builds(Present, PATHS)


def combined(inner):
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.builds(Not, inner) | st.builds(And, several) | st.builds(Or, several)


INNER = st.recursive(LEAVES, combined, max_leaves=4)
VALUE_FILTERS = st.builds(ValueFilter, st.builds(AttrPath, URNS, NAMES), INNER)
FILTERS = st.recursive(LEAVES | VALUE_FILTERS, combined, max_leaves=8)


def printed(node):
    match node:
        case Compare(where, op, value):
            return f"{printed(where)} {op} {json.dumps(value)}"
        case Present(where):
            return f"{printed(where)} pr"
        case Not(operand):
            return f"not ({printed(operand)})"
        case And(operands) | Or(operands):
            word = " and " if isinstance(node, And) else " or "
            return word.join(f"({printed(operand)})" for operand in operands)
        case ValueFilter(where, inner):
            return f"{printed(where)}[{printed(inner)}]"
        case AttrPath(urn, name, sub):
            return f"{urn + ':' if urn else ''}{name}{'.' + sub if sub else ''}"


@given(FILTERS)
def test_what_was_printed_is_read_back_as_it_was(tree):
    assert parse_filter(printed(tree)) == tree


@given(st.text(alphabet='ab.:"\\[]() eqprandotu19é\n', max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        parse_filter(text)
    except InvalidFilter:
        return
