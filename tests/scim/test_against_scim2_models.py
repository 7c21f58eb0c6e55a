"""Filters and PATCH, held against an independent implementation of the same RFCs, scim2-models.

Each example is drawn from the attribute tables. Every comparison of a filter, and every operation of a PATCH, is asked
of both sides by itself and then as part of the whole. Where the answers differ, the difference must be one of the table
`DIFFERENCES`: its name, the sentence that decides it, and whom that sentence bears out. Each entry has a smallest
example, which is asserted to differ, so that an entry that is no longer true is noticed.

`GATEWAY_DIFFERENTIAL_FILTERS` and `GATEWAY_DIFFERENTIAL_PATCHES` in the environment say how many examples to try.
"""

import base64
import copy
import datetime
import json
import os
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import email_validator
import pytest
from hypothesis import HealthCheck, assume, currently_in_test_context, event, given, settings
from hypothesis import strategies as st
from pydantic import Base64Bytes, ValidationError
from scim2_models import (
    URN,
    CaseExact,
    Context,
    EnterpriseUser,
    Extension,
    Group,
    PatchOp,
    ScimFilter,
    ScimPolicy,
    User,
)
from scim2_models.exceptions import SCIMException

from gateway.scim.documents import clean, is_empty
from gateway.scim.errors import Refusal
from gateway.scim.filter_ast import Compare, Not, Present
from gateway.scim.filters import MAX_LENGTH, parse_filter
from gateway.scim.json_text import fold, read_datetime
from gateway.scim.matching import check_filter, element_matches, matches
from gateway.scim.members import split_members
from gateway.scim.operations import read_operations
from gateway.scim.patch import apply
from gateway.scim.paths import parse_path
from gateway.scim.schemas import (
    ENTERPRISE,
    ENTERPRISE_URN,
    GROUP_URN,
    PATCH_URN,
    USER_URN,
    Attribute,
    ResourceType,
    Schema,
    group_type,
    user_type,
)

# Long texts make long examples.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

FILTERS = int(os.environ.get("GATEWAY_DIFFERENTIAL_FILTERS", "300"))
PATCHES = int(os.environ.get("GATEWAY_DIFFERENTIAL_PATCHES", "100"))

# Both sides know the same attributes; the core has no numbers to write, so an extension has ------------------

TYPED_URN = "urn:acme:scim:schemas:typed:2.0:User"
TYPED = Schema(
    TYPED_URN,
    "TypedUser",
    "One attribute of each type.",
    (
        Attribute("count", "integer"),
        Attribute("ratio", "decimal"),
        Attribute("since", "dateTime"),
        Attribute("flag", "boolean"),
        Attribute("key", "binary", case_exact=True),
        Attribute("code", case_exact=True),
        Attribute("tags", multi=True),
    ),
)


class TypedUser(Extension):
    __schema__ = URN(TYPED_URN)
    count: int | None = None
    ratio: float | None = None
    since: datetime.datetime | None = None
    flag: bool | None = None
    key: Base64Bytes | None = None
    code: Annotated[str | None, CaseExact.true] = None
    tags: list[str] | None = None


@dataclass(frozen=True, repr=False)
class Kind:
    """A resource type, as each side has it."""

    ours: ResourceType
    theirs: Any

    def __repr__(self):
        return self.ours.name


USERS = Kind(user_type(ENTERPRISE, TYPED), User[EnterpriseUser | TypedUser])
GROUPS = Kind(group_type(), Group)


@pytest.fixture(autouse=True, scope="module")
def _addresses_for_tests_are_addresses():
    """acme.test is no domain of the real world, which scim2-models would refuse."""
    before, email_validator.TEST_ENVIRONMENT = email_validator.TEST_ENVIRONMENT, True
    yield
    email_validator.TEST_ENVIRONMENT = before


# Resources, drawn from the attribute tables -----------------------------------------------------------------

NAMES = ["ab", "AB", "Ab c", "İstanbul", "ıstanbul", "ISTANBUL", "istanbul", "éclair", "e\u0301clair", "ÉCLAIR",
         "Straße", "STRASSE", "ΣΊΣΥΦΟΣ", "σίσυφος", "ﬁle", "ſ", "K", "👩‍👩‍👧", "🙂 smile", "日本語", "\u202eright",
         "a\nb", "O'Brien", 'a "quoted" one', "back\\slash", "100%", "[]", "true", "null", "0"]  # fmt: skip
LONG = st.builds(str.__mul__, st.sampled_from(["ab", "AB", "aB"]), st.integers(159, 170))
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
TEXTS = st.sampled_from(NAMES) | st.sampled_from(NAMES) | ANY | LONG
ADDRESSES = ["ab@acme.test", "AB@acme.test", "b@acme.test", "jürgen@acme.test", "a.b+c@sub.acme.test"]
URLS = ["https://acme.test/a", "https://acme.test/A", "https://acme.test/b?c=1", "/Users/u2"]
MOMENTS = [
    "2026-11-24T08:00:00Z",
    "2026-11-24T09:00:00+01:00",
    "2026-11-24T08:00:00.5Z",
    "2020-02-29T23:59:59-05:00",
]
KEYS = [base64.b64encode(key).decode() for key in (b"a", b"A", b"certificate")]
SIMPLE = {
    "boolean": st.booleans(),
    "integer": st.integers(-3, 3) | st.integers(-(2**53), 2**53),
    "decimal": st.sampled_from([0.5, -0.5, 1.0, 3.25, 1e20]),
    "dateTime": st.sampled_from(MOMENTS),
    "binary": st.sampled_from(KEYS),
    "reference": st.sampled_from(URLS),
}
IDS = st.sampled_from(["u1", "u2", "U2", "e\u0301"])


def value_of(attribute: Attribute, owner: str = "") -> st.SearchStrategy:
    """Values of one attribute, each of them not empty."""
    if attribute.type == "complex":
        subs = {sub.name: value_of(sub, attribute.name) for sub in attribute.sub}
        needed = attribute.needs or sorted(subs.keys() - LABELS)
        each = st.sampled_from(needed).flatmap(
            lambda name: st.fixed_dictionaries(
                {name: subs[name]}, optional={other: subs[other] for other in subs if other != name}
            )
        )
    elif attribute.canonical:
        each = st.sampled_from([*attribute.canonical, "other", "Ab"])
    elif (owner, attribute.name) == ("emails", "value"):
        each = st.sampled_from(ADDRESSES)
    elif (owner, attribute.name) == ("members", "value"):
        each = IDS
    else:
        each = SIMPLE.get(attribute.type, TEXTS)
    if not attribute.multi:
        return each
    many = st.lists(each, min_size=1, max_size=3)
    return many.map(one_primary) if "primary" in attribute.table else many


LABELS = {"type", "primary", "display"}


def one_primary(elements):
    for element in [e for e in elements if e.get("primary")][1:]:
        element["primary"] = False
    return elements


TOP = {kind.ours.name: {a.name: value_of(a) for a in kind.ours.root.sub if a.name not in ("schemas", "id", "meta")}
       for kind in (USERS, GROUPS)}  # fmt: skip
META = {"resourceType": "User", "created": MOMENTS[0], "lastModified": MOMENTS[2], "location": "https://acme.test/Users/u1",
        "version": 'W/"Ab"'}  # fmt: skip


@st.composite
def resources(draw, kind, least=0):
    """A canonical resource, with what only the server writes."""
    tops = sorted(TOP[kind.ours.name])
    chosen = draw(st.lists(st.sampled_from(tops), min_size=least, max_size=6, unique=True))
    document = {name: draw(TOP[kind.ours.name][name]) for name in chosen}
    name = "userName" if kind is USERS else "displayName"
    document.setdefault(name, "ab@acme.test")
    if not document[name].strip() or len(document[name]) > 320:
        document[name] = "Ab"
    for extension in kind.ours.extensions:
        if not document.get(extension.id, True):
            del document[extension.id]
    urns = [kind.ours.schema.id, *(e.id for e in kind.ours.extensions if e.id in document)]
    return {"schemas": urns, "id": "u1", "meta": META | {"resourceType": kind.ours.name}, **document}


# Filters ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Leaf:
    """One comparison, as it is written. The literal is JSON; none where the operator is `pr`."""

    path: str
    op: str
    literal: str | None = None

    def __str__(self):
        return f"{self.path} {self.op}" + ("" if self.literal is None else f" {self.literal}")


@dataclass(frozen=True)
class Node:
    """`not`, `and`, `or`, or brackets alone where there is no word."""

    word: str
    parts: tuple

    def __str__(self):
        if self.word in ("not", ""):
            return f"{self.word}({self.parts[0]})" if self.word else f"({self.parts[0]})"
        inside = self.word == "and"
        return f" {self.word} ".join(
            f"({part})" if inside and isinstance(part, Node) and part.word == "or" else str(part)
            for part in self.parts
        )


@dataclass(frozen=True)
class Selection:
    """`path[inner]`, or `path[inner].sub op literal`."""

    path: str
    inner: Any
    tail: Leaf | None = None

    def __str__(self):
        return f"{self.path}[{self.inner}]" + (f".{self.tail}" if self.tail else "")

    @property
    def whole(self):
        return Node("and", (self.inner, self.tail)) if self.tail else self.inner


OTHER = "urn:acme:scim:schemas:other:2.0:User:title"
UNKNOWN = ["nope", "name.nope", "userName.value", "department", OTHER, "password", ENTERPRISE_URN, "members.nope",
           "emails.nope"]  # fmt: skip


def paths_of(attribute, prefix=""):
    return [prefix + attribute.name, *(f"{prefix}{attribute.name}.{sub.name}" for sub in attribute.sub)]


def all_paths(kind):
    core = [path for a in kind.ours.root.sub if ":" not in a.name for path in paths_of(a)]
    more = [path for e in kind.ours.extensions for a in e.attributes for path in paths_of(a, f"{e.id}:")]
    return core + [f"{kind.ours.schema.id}:{path}" for path in core[::5]] + more


PATHS = {kind.ours.name: all_paths(kind) for kind in (USERS, GROUPS)}
MANY = {kind.ours.name: [prefix + a.name for a in kind.ours.root.sub if a.multi and a.type == "complex"
                         for prefix in ("", "", f"{kind.ours.schema.id}:")] for kind in (USERS, GROUPS)}  # fmt: skip
OPS = ["eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"]
LITERALS = {
    "boolean": ["true", "false"],
    "integer": ["0", "1", "-3", "2.0", "2.5", "9007199254740992"],
    "decimal": ["0.5", "1", "-0.5", "1e20", "3.250"],
    "dateTime": [*map(json.dumps, MOMENTS), '"2026-11-24T08:00:00"', '"2026-11-24"', '"2026"', '"08:00"'],
    "binary": [*map(json.dumps, KEYS), '"YQ"'],
    "reference": [*map(json.dumps, URLS), '"acme"', '"HTTPS://ACME.test/a"'],
}
ODD = ["null", "true", "false", "0", "1", "-1.5e3", '""', '"true"', '"1"', '"ab"', '"2026-11-24T08:00:00Z"']


@st.composite
def leaves(draw, kind, path, attribute):
    spelt = draw(st.sampled_from([path, path, path.upper(), path.lower()]))
    if draw(st.integers(0, 9)) == 0:
        return Leaf(spelt, draw(st.sampled_from(["pr", "PR"])))
    op = draw(st.sampled_from(OPS))
    if draw(st.integers(0, 7)) == 0:
        literal = draw(st.sampled_from(ODD))
    elif attribute is not None and attribute.type in LITERALS:
        literal = draw(st.sampled_from(LITERALS[attribute.type]))
    else:
        literal = draw(texts_to_compare(attribute))
    return Leaf(spelt, draw(st.sampled_from([op, op, op.upper()])), literal)


@st.composite
def texts_to_compare(draw, attribute):
    """A text that may well be there, a piece of it, or the same in other letters."""
    canonical = list(attribute.canonical) if attribute is not None else []
    text = draw(st.sampled_from([*NAMES, *ADDRESSES, *canonical, "u1", "u2", "User"]) | TEXTS)
    start, end = draw(st.integers(0, 3)), draw(st.integers(0, 9))
    form = draw(st.sampled_from([
        text, text, text.upper(), text.lower(), text[start:end], text[start:], text[:end],
        unicodedata.normalize("NFD", text), unicodedata.normalize("NFC", text),
    ]))  # fmt: skip
    return json.dumps(form, ensure_ascii=draw(st.booleans()))


def compared(kind, path):
    """The attribute that a path of a filter compares, or None."""
    located = kind.ours.locate(path)
    if located is None:
        return None
    attribute = located[2] or located[1]
    return attribute.table.get("value") if attribute.type == "complex" else attribute


@st.composite
def filters(draw, kind, document):
    present = [path for path in PATHS[kind.ours.name] if path.split(".")[0] in document] or ["id"]

    def tree(leaf, depth):
        word = draw(st.sampled_from(["leaf", "leaf", "leaf", "not", "", "and", "or"])) if depth else "leaf"
        if word == "leaf":
            return leaf()
        many = draw(st.integers(2, 3)) if word in ("and", "or") else 1
        return Node(word, tuple(tree(leaf, depth - 1) for _ in range(many)))

    def plain():
        path = draw(
            st.sampled_from(draw(st.sampled_from([present, present, PATHS[kind.ours.name], UNKNOWN])))
        )
        return draw(leaves(kind, path, compared(kind, path)))

    def selection():
        heads = MANY[kind.ours.name]
        there = [head for head in heads if head.rpartition(":")[2] in document]
        odd = [
            "nope",
            "name",
            "active",
            "meta",
            "userName",
            "schemas",
            f"{ENTERPRISE_URN}:manager",
            f"{TYPED_URN}:tags",
        ]
        head = draw(
            st.sampled_from(
                draw(st.sampled_from([there or heads, there or heads, there or heads, heads, odd]))
            )
        )
        located = kind.ours.locate(head)
        attribute = located and located[1]
        subs = [sub.name for sub in attribute.sub] if attribute else []
        subs = [*subs, *subs, *subs, "value", "nope", f"{USER_URN}:type", "value.x"]

        def inner():
            sub = draw(st.sampled_from(subs))
            return draw(leaves(kind, sub, attribute.table.get(sub) if attribute else None))

        tail = inner() if draw(st.integers(0, 3)) == 0 else None
        if tail and (":" in tail.path or "." in tail.path):
            tail = None
        return Selection(draw(st.sampled_from([head, head, head.upper()])), tree(inner, 2), tail)

    return tree(lambda: draw(st.sampled_from([plain, plain, selection]))(), 3)


@dataclass
class World:
    """One resource on both sides."""

    kind: Kind
    document: dict
    peer: Any = field(default=None)

    def __post_init__(self):
        if self.peer is None:
            self.peer = self.kind.theirs.model_validate(self.document)

    def with_only(self, attribute, elements):
        return World(self.kind, {**self.document, attribute.name: elements} if elements else
                     {name: value for name, value in self.document.items() if name != attribute.name})  # fmt: skip

    def ask(self, text):
        """Whether the filter holds, by us and by them; None where it is refused."""
        return self.ours(text), self.theirs(text)

    def ours(self, text):
        try:
            tree = parse_filter(text)
            check_filter(tree, self.kind.ours)
        except Refusal:
            return None
        return matches(tree, self.document, self.kind.ours)

    def theirs(self, text):
        try:
            return ScimFilter[self.kind.theirs](text).match(self.peer)
        except SCIMException:
            return None


@dataclass(frozen=True)
class FilterCase:
    """A comparison about which the two sides differ."""

    path: str
    attribute: Attribute | None
    op: str
    literal: str | None
    values: list
    head: Attribute | None
    selected: bool
    ours: bool | None
    theirs: bool | None

    @property
    def answers(self):
        return self.ours, self.theirs

    @property
    def value(self):
        return None if self.literal is None else json.loads(self.literal)

    @property
    def leaf(self):
        """What is compared: of a complex attribute its `value`."""
        found = self.attribute
        return found.table.get("value") if found is not None and found.type == "complex" else found


def case_of(world, leaf, answers, within=None):
    """The case of one comparison; `within` is the path of the value path that it stands in."""
    path = f"{within}.{leaf.path}" if within else leaf.path
    bad = within and (":" in leaf.path or "." in leaf.path)
    located = None if bad else world.kind.ours.locate(path)
    attribute, values, head = None, [], None
    if located is not None and path.lower() not in (e.id.lower() for e in world.kind.ours.extensions):
        extension, head, sub = located
        box = world.document if extension is None else world.document.get(extension, {})
        there = box.get(head.name)
        values = there if isinstance(there, list) else [] if there is None else [there]
        values = [value.get(sub.name) for value in values] if sub else values
        attribute = sub or head
    return FilterCase(path, attribute, leaf.op.lower(), leaf.literal, values, head, bool(within), *answers)


def recognised(case):
    """The name of the difference that this is one of; `--hypothesis-show-statistics` counts them."""
    names = [d.name for d in DIFFERENCES if d.about is type(case) and d.holds(case)]
    assert names, f"not in the table of differences: {case}"
    if currently_in_test_context():
        event(names[0])
    return names[0]


def held(world, node, within=None):
    """What both sides answer, part by part: each comparison is asked alone, and `and`, `or`, `not` are folded here."""
    if isinstance(node, Leaf):
        answers = world.ask(f"{within}[{node}]" if within else str(node))
        if answers[0] is not answers[1]:
            recognised(case_of(world, node, answers, within))
        return answers
    if isinstance(node, Selection):
        return selected(world, node)
    parts = [held(world, part, within) for part in node.parts]
    return tuple(fold_word(node.word, [part[side] for part in parts]) for side in (0, 1))


def fold_word(word, answers):
    if None in answers:
        return None
    return {"and": all, "or": any, "not": lambda a: not a[0], "": lambda a: a[0]}[word](answers)


def selected(world, node):
    attribute = compared_head(world.kind, node.path)
    if attribute is None or not attribute.multi or attribute.type != "complex":
        answers = world.ask(str(node))
        if answers[0] is not answers[1]:
            recognised(SelectionCase(attribute, node, *answers))
        return answers
    elements = world.document.get(attribute.name, [])
    if not elements:
        empty = held(world, node.whole, node.path)
        return tuple(None if answer is None else False for answer in empty)
    each = [held(world.with_only(attribute, [element]), node.whole, node.path) for element in elements]
    return tuple(fold_word("or", [answers[side] for answers in each]) for side in (0, 1))


def compared_head(kind, path):
    located = kind.ours.locate(path)
    return None if located is None else located[1]


@dataclass(frozen=True)
class SelectionCase:
    """A value path on what is no multi-valued complex attribute."""

    attribute: Attribute | None
    node: Selection
    ours: bool | None
    theirs: bool | None


@dataclass(frozen=True)
class PatchCase:
    """An operation about which the two sides differ: the documents after it, None where it is refused."""

    kind: Kind
    document: dict
    operation: dict
    ours: dict | None
    theirs: dict | None

    @property
    def op(self):
        return self.operation["op"]

    @property
    def value(self):
        return self.operation.get("value")

    @property
    def path(self):
        """The path as we read it; None where there is none, or none that can be read."""
        try:
            return (
                parse_path(self.operation["path"], self.kind.ours.urns)
                if self.operation.get("path")
                else None
            )
        except Refusal:
            return None

    @property
    def head(self):
        """The attribute that the path begins with; the whole resource where there is no path."""
        if not self.operation.get("path") or (
            self.path and self.path.urn == self.kind.ours.schema.id and not self.path.name
        ):
            return self.kind.ours.root
        found = self.path and self.kind.ours.find_top_level(self.path.urn, self.path.name)
        return found[1] if found else None

    @property
    def attribute(self):
        """The attribute that is written."""
        sub = self.path.sub if self.path else None
        return self.head.table.get(sub.lower()) if sub and self.head else self.head

    @property
    def there(self):
        """What the document has at the head of the path."""
        found = self.path and self.kind.ours.find_top_level(self.path.urn, self.path.name)
        return (
            (self.document.get(found[0], {}) if found[0] else self.document).get(found[1].name)
            if found
            else None
        )

    @property
    def pieces(self):
        return list(pieces(self.attribute, self.value)) if self.op != "remove" else []

    @property
    def refused(self):
        """Who refuses."""
        return self.ours is None, self.theirs is None

    @property
    def filter(self):
        """The comparisons in the filter of the path."""
        return list(compared_in(self.path.filter)) if self.path and self.path.filter else []


@dataclass(frozen=True)
class SequenceCase:
    """Operations about which the two sides differ as a whole, and none by itself; `mended`: one is refused alone."""

    kind: Kind
    document: dict
    operations: list
    ours: dict | None
    theirs: dict | None
    mended: bool


def pieces(attribute, value):
    """Everything that a value writes: attributes, None where no schema knows them, each with its value."""
    yield attribute, value
    for item in value if isinstance(value, list) else []:
        yield from pieces(attribute, item)
    for key, item in value.items() if isinstance(value, dict) else []:
        yield from pieces(attribute.table.get(key.lower()) if attribute else None, item)


def compared_in(tree):
    """The comparisons of a filter that we have read, as they are written."""
    if isinstance(tree, Compare | Present):
        pr = isinstance(tree, Present)
        yield Leaf(str(tree.path), "pr" if pr else tree.op, None if pr else json.dumps(tree.value))
    else:
        for part in [tree.operand] if isinstance(tree, Not) else tree.operands:
            yield from compared_in(part)


@dataclass(frozen=True)
class Difference:
    """What the two sides are known to do differently, and whom the RFC bears out: ours, theirs, or nobody (open)."""

    name: str
    about: type
    holds: Callable
    rule: str
    right: str
    example: Any


# How a difference is recognised -----------------------------------------------------------------------------

ORDER, WITHIN = {"gt", "ge", "lt", "le"}, {"co", "sw", "ew"}
JSON_TYPES = {"boolean": (bool,), "integer": (int, float), "decimal": (int, float)}


def unreadable(leaf):
    """Whether a comparison asks for the order of a boolean or null, or for parts of what is no text."""
    op, value = leaf.op.lower(), json.loads(leaf.literal or '""')
    return (op in ORDER and (value is None or isinstance(value, bool))) or (
        op in WITHIN and not isinstance(value, str)
    )


def leaves_of(node):
    if isinstance(node, Leaf):
        return [node]
    parts = [node.whole] if isinstance(node, Selection) else node.parts
    return [leaf for part in parts for leaf in leaves_of(part)]


def of_its_type(case):
    """Whether the literal is of the JSON type that the attribute has."""
    value, types = case.value, JSON_TYPES.get(case.leaf.type, (str,))
    if isinstance(value, bool):
        return bool in types
    whole = case.leaf.type != "integer" or not isinstance(value, float) or value.is_integer()
    return isinstance(value, types) and whole


def mistyped(case):
    return case.leaf is not None and case.op != "pr" and case.value is not None and not of_its_type(case)


def never_met(case):
    """What we answer where a value and a literal of different kinds meet; of no values none is selected."""
    return case.ours is (case.op == "ne" and (not case.selected or bool(case.values)))


def no_such_value(case):
    """A text that is no value of an attribute of texts: no address, no URL, no moment, no base64."""
    leaf, value = case.leaf, case.value
    if leaf is None or not isinstance(value, str) or case.op in WITHIN or not of_its_type(case):
        return False
    address = case.head.name == "emails" and leaf.name == "value"
    moment = leaf.type == "dateTime" and read_datetime(value) is None
    return address or moment or leaf.type == "binary" or "external" in leaf.references


def naive(case):
    if not isinstance(case.value, str) or read_datetime(case.value) is None:
        return False
    return datetime.datetime.fromisoformat(case.value).tzinfo is None


def texts_of(case):
    """The literal, and the texts that it is compared with."""
    values = [value.get("value") if isinstance(value, dict) else value for value in case.values]
    return [text for text in [case.value, *values] if isinstance(text, str)]


def composed(case):
    exact = case.leaf is not None and case.leaf.type == "string" and case.leaf.case_exact
    return exact and any(unicodedata.normalize("NFC", text) != text for text in texts_of(case))


UNREADABLE = re.compile(r'(?i) (?:(?:co|sw|ew) [^"]|(?:gt|ge|lt|le) (?:true|false|null))')


def keys_of(value):
    """The keys of an object, and of the objects in it."""
    for key, item in value.items() if isinstance(value, dict) else []:
        yield key
        yield from keys_of(item)


def is_read_only(attribute, value):
    """Whether only the server writes it, and something is said of it."""
    return (
        attribute is not None and attribute.read_only and attribute.name != "schemas" and not is_empty(value)
    )


def is_unassigned(attribute, value):
    return attribute is not None and is_empty(value)


def is_null_of_many(attribute, value):
    return attribute is not None and attribute.multi and value is None


def without(drop, attribute, value):
    """A value without those parts that `drop` says."""
    if isinstance(value, list):
        return [without(drop, attribute, item) for item in value if not drop(attribute, item)]
    if not isinstance(value, dict):
        return value
    parts = [
        (key, attribute.table.get(key.lower()) if attribute else None, item) for key, item in value.items()
    ]
    return {key: without(drop, part, item) for key, part, item in parts if not drop(part, item)}


def explained_by(drop, case):
    """Whether the operation says what `drop` names, and differs no longer, or in another way, without it."""
    if case.op == "remove" or not any(drop(attribute, value) for attribute, value in case.pieces):
        return False
    if drop(case.attribute, case.value):
        return len(touched(case)) < 2
    rest = case.operation | {"value": without(drop, case.attribute, case.value)}
    ours, theirs = (after(case.kind, case.document, [rest]) for after in (ours_after, theirs_after))
    left = PatchCase(case.kind, case.document, rest, ours, theirs)
    return ours == theirs or any(d.holds(left) for d in DIFFERENCES if d.about is PatchCase)


def touched(case):
    """The attributes of the resource that our answer changes."""
    before = normal(case.document)
    return {name for name in {*before, *case.ours} if before.get(name) != case.ours.get(name)} - {"schemas"}


def member_id(entry):
    return next((value for key, value in entry.items() if key.lower() == "value"), None)


def has_type(attribute, value):
    types = JSON_TYPES.get(attribute.type, (str,))
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def writes_other_type(case):
    """Whether a simple attribute gets a value of another JSON type."""
    return any(a is not None and a.type != "complex" and not isinstance(v, list | None) and not has_type(a, v)
               for a, v in case.pieces)  # fmt: skip


def filter_differs(case):
    """Whether a comparison in the filter of the path is itself one about which the two sides differ."""
    if not case.filter or case.head is None or not (case.head.multi and case.head.type == "complex"):
        return False
    world = World(case.kind, {**case.document, "id": "u1"})
    within = case.operation["path"].partition("[")[0]
    each = [world.with_only(case.head, [element] if element else []) for element in case.there or [None]]
    answers = [held(one, leaf, within) for leaf in case.filter for one in each]
    return any(ours is not theirs for ours, theirs in answers)


def names_nothing(case):
    """Whether the filter of the path names what is no sub-attribute."""
    return case.head is not None and any(
        case.head.table.get(leaf.path.lower()) is None for leaf in case.filter
    )


def takes_from_manager(case):
    """Whether a manager that has a value and a $ref would lose one of them."""
    manager = case.document.get(ENTERPRISE_URN, {}).get("manager", {})
    named = case.op == "remove" and case.attribute is not None and case.attribute.name in ("value", "$ref")
    nothing = any(a is not None and a.name in ("value", "$ref") and is_empty(v) for a, v in case.pieces)
    return bool(manager) and (named or nothing)


def differing(case):
    """Pairs of what the two documents have where they differ, one level into an extension."""
    for key in {*case.ours, *case.theirs}:
        ours, theirs = case.ours.get(key), case.theirs.get(key)
        if ours != theirs and isinstance(ours, dict) and isinstance(theirs, dict):
            yield from (
                (ours.get(k), theirs.get(k)) for k in {*ours, *theirs} if ours.get(k) != theirs.get(k)
            )
        elif ours != theirs:
            yield ours, theirs


def known_by(element):
    """What an element is known by: its value, or all of it."""
    if isinstance(element, dict):
        element = element.get("value") or json.dumps(element, sort_keys=True)
    return fold(element) if isinstance(element, str) else element


def doubled(ours, theirs):
    """Whether they only have some values more than once, of which we have all."""
    return (
        isinstance(ours, list) and isinstance(theirs, list) and len(ours) < len(theirs)
        and set(map(known_by, ours)) == set(map(known_by, theirs))
    )  # fmt: skip


def respelt(ours, theirs):
    """Whether the values are the same but for letter case."""
    return isinstance(ours, list) and isinstance(theirs, list) and folded(ours) == folded(theirs)


def completed_otherwise(ours, theirs):
    """Whether the pairs of value and type are the same, and what else the values hold is not."""
    if not all(isinstance(side, list) and all(isinstance(e, dict) for e in side) for side in (ours, theirs)):
        return False
    pairs = [
        [(known_by(e), known_by(e.get("type"))) for e in side if "value" in e] for side in (ours, theirs)
    ]
    return pairs[0] == pairs[1] and len(pairs[0]) == len(ours) == len(theirs)


def adds_twice(case):
    """Whether a value stands twice among those that are added, whatever else they hold."""
    lists = [list(map(known_by, v)) for _, v in case.pieces if isinstance(v, list)]
    return any(len(set(each)) < len(each) for each in lists)


def folded(elements):
    return [fold(json.dumps(element, sort_keys=True, ensure_ascii=False)) for element in elements]


def only(kind_of, case):
    return case.op == "add" and case.refused == (False, False) and all(
        any(each(ours, theirs) for each in kind_of) for ours, theirs in differing(case)
    )  # fmt: skip


def is_primary(element):
    return isinstance(element, dict) and any(k.lower() == "primary" and v is True for k, v in element.items())


def made_primary(case):
    """Whether more than one value is made primary: by the values, or by a path to several."""
    if any(isinstance(value, list) and sum(map(is_primary, value)) > 1 for _, value in case.pieces):
        return True
    by_path = case.path is not None and (case.path.sub or case.path.filter) and isinstance(case.there, list)
    if not by_path or not any(a is not None and a.name == "primary" and v is True for a, v in case.pieces):
        return False
    chosen = [
        e for e in case.there if not case.path.filter or element_matches(case.path.filter, e, case.head)
    ]
    return len(chosen) > 1


def more_in_between(case):
    """Whether they have more values after some of the operations than we would keep of them."""
    for count in range(1, len(case.operations)):
        peer = peer_after(case.kind, case.document, case.operations[:count])
        kept = theirs_after(case.kind, case.document, case.operations[:count]) or {}
        if peer is not None and values_in(dict(peer)) > values_in(kept):
            return True
    return False


def values_in(resource):
    """How many values the attributes of many have."""
    return sum(len(v) for name, v in resource.items() if isinstance(v, list) and name != "schemas")


def label_alone(case):
    """Whether a primary value is added that has nothing but labels."""
    return any(
        is_primary(v) and all(k.lower() in LABELS or is_empty(item) for k, item in v.items())
        for _, v in case.pieces
    )


def all_but_primary(ours, theirs):
    if not (isinstance(ours, list) and isinstance(theirs, list)):
        return False
    bare = [
        [{k: v for k, v in e.items() if k != "primary"} for e in side if isinstance(e, dict)]
        for side in (ours, theirs)
    ]
    return bare[0] == bare[1]


# What differs -----------------------------------------------------------------------------------------------

DIFFERENCES = (
    Difference(
        "`ne` on an attribute that no schema knows holds for us, as on any attribute without a value; not for them",
        FilterCase,
        lambda c: c.attribute is None and c.op == "ne" and c.value is not None and c.answers == (True, False),
        "RFC 7644, 3.4.2.1: «treat the attribute as if there is no attribute value»",
        "ours",
        'nope ne "x"',
    ),
    Difference(
        "an attribute that no schema knows equals null for us, not for them",
        FilterCase,
        lambda c: c.attribute is None and c.op == "eq" and c.value is None and c.answers == (True, False),
        "RFC 7643, 2.5: null and unassigned are «equivalent in state»; RFC 7644, 3.4.2.1 has «equality» of it be false",
        "open",
        "nope eq null",
    ),
    Difference(
        "a password is no attribute of ours, and nothing of it is compared but equality by them",
        FilterCase,
        lambda c: (
            c.attribute is None
            and c.path.lower() == "password"
            and c.ours is (c.op == "ne")
            and c.theirs is None
        ),
        "RFC 7643, 4.1.1: password is compared for «equality» only; RFC 7644, 3.4.2.1 where there is none",
        "open",
        'password co "x"',
    ),
    Difference(
        "order of true, false or null and parts of what is no text are refused by us, and false for them",
        FilterCase,
        lambda c: c.op != "pr" and unreadable(c) and c.ours is None and c.theirs is not None,
        "RFC 7644, 3.12: invalidFilter, where the «comparison combination is not supported»",
        "open",
        "userName co 1",
    ),
    Difference(
        "a literal of another JSON type is never met for us, and refused by them",
        FilterCase,
        lambda c: mistyped(c) and never_met(c) and c.theirs is None,
        "RFC 7644, 3.4.2.2: values «must be identical»; 3.12: invalidFilter may be answered",
        "open",
        "userName eq 1",
    ),
    Difference(
        "a literal of another JSON type is never met for us, and converted by them",
        FilterCase,
        lambda c: (
            mistyped(c)
            and never_met(c)
            and c.theirs is not None
            and c.leaf.type in ("boolean", "integer", "decimal", "dateTime")
        ),
        "RFC 7644, 3.4.2.2: values «must be identical for a match»",
        "ours",
        'active eq "true"',
    ),
    Difference(
        "a text that is no address, URL or base64 is compared as a text by us, and refused by them",
        FilterCase,
        lambda c: no_such_value(c) and c.leaf.type != "dateTime" and c.ours is not None and c.theirs is None,
        "RFC 7644, 3.4.2.2: of texts there is «a lexicographical comparison»; RFC 7643, 4.1.2 says SHOULD of addresses",
        "ours",
        'emails.value gt "a"',
    ),
    Difference(
        "a text that is no moment is never met by one for us; refused by them, or read as a number of seconds or a day",
        FilterCase,
        lambda c: no_such_value(c) and c.leaf.type == "dateTime" and never_met(c),
        "RFC 7643, 2.3.5: a dateTime «MUST include both a date and a time»",
        "ours",
        'meta.created gt "2026"',
    ),
    Difference(
        "a moment without a zone is taken as UTC by us, and met by nothing for them",
        FilterCase,
        lambda c: (
            c.leaf is not None
            and c.leaf.type == "dateTime"
            and c.op not in WITHIN
            and naive(c)
            and c.theirs is (c.op == "ne")
        ),
        "RFC 7643, 2.3.5: xsd:dateTime, whose zone is optional; RFC 7644, 3.4.2.2: «a chronological comparison»",
        "ours",
        'meta.created ge "2026-11-24T08:00:00"',
    ),
    Difference(
        "a moment has parts for us, and none for them",
        FilterCase,
        lambda c: (
            c.leaf is not None and c.leaf.type == "dateTime" and c.op in WITHIN and c.answers == (True, False)
        ),
        "RFC 7644, 3.4.2.2: co holds where the operand is «a substring of the attribute value»",
        "ours",
        'meta.created sw "2026-11"',
    ),
    Difference(
        "a complex attribute that has one value, or no `value`, is compared by `value` by us, as an object by them",
        FilterCase,
        lambda c: (
            c.attribute is not None
            and c.attribute.type == "complex"
            and c.op in ("eq", "ne", *ORDER, *WITHIN)
            and (c.leaf is None or not c.attribute.multi)
        ),
        "RFC 7644, 3.4.2.2: for complex attributes a sub-attribute «MUST be specified»",
        "open",
        "name eq null",
    ),
    Difference(
        "texts that are caseExact are compared as they are by us, and composed (NFC) by them",
        FilterCase,
        lambda c: composed(c) and None not in c.answers,
        "RFC 7644, 3.4.2.2: «must be identical»; section 5 asks for preparation of userName and password only",
        "open",
        'externalId eq "e\u0301"',
    ),
    Difference(
        "meta.location is a reference for us, and a text without regard to case for them",
        FilterCase,
        lambda c: (
            c.head is not None
            and c.head.name == "meta"
            and c.attribute.name == "location"
            and None not in c.answers
        ),
        "RFC 7643, 3.1: «the URI of the resource»; 2.3.7: «a reference is case exact»",
        "ours",
        'meta.location eq "HTTPS://acme.test/Users/u1"',
    ),
    Difference(
        "a value path on an attribute with one value is answered by us, and refused by them",
        SelectionCase,
        lambda c: c.attribute is not None and not c.attribute.multi and c.theirs is None,
        "RFC 7644, 3.12: invalidFilter may be answered; figure 1 does not say what `[` may follow",
        "open",
        'name[givenName eq "Ab"]',
    ),
    Difference(
        "a value path on an attribute of texts selects nothing for us; for them `value` is the text itself",
        SelectionCase,
        lambda c: (
            c.attribute is not None
            and c.attribute.multi
            and c.attribute.type != "complex"
            and not c.ours
            and c.theirs is not None
        ),
        "RFC 7644, figure 1: in brackets are «sub-attributes of a parent attrPath», and a text has none",
        "ours",
        'schemas[value sw "urn"]',
    ),
    Difference(
        "what we refuse to read within a value path is refused whatever stands before it; for them it is false",
        SelectionCase,
        lambda c: c.attribute is None and c.ours is None and any(map(unreadable, leaves_of(c.node))),
        "RFC 7644, 3.12: invalidFilter, where the «comparison combination is not supported»",
        "open",
        "nope[value co 1]",
    ),
    Difference(
        "schemas follow from what is there for us; by them they are written, checked, and take extensions along",
        PatchCase,
        lambda c: c.head is not None and c.head.name == "schemas",
        "RFC 7643, 3: schemas list what is «present in the current JSON structure»",
        "open",
        {"op": "replace", "path": "schemas", "value": []},
    ),
    Difference(
        "a null that is added unassigns for us, and is refused by them",
        PatchCase,
        lambda c: c.op == "add" and c.value is None and c.refused == (False, True) and len(touched(c)) < 2,
        "RFC 7644, 3.5.2.1: add has «the value to be added»; RFC 7643, 2.5: null is no value",
        "open",
        {"op": "add", "path": "title", "value": None},
    ),
    Difference(
        "what is empty unassigns for us; for them it may be of the wrong type, or a filter cannot select it away",
        PatchCase,
        lambda c: c.refused == (False, True) and explained_by(is_unassigned, c),
        "RFC 7643, 2.5: null and an empty array are «equivalent in state» to no value",
        "ours",
        {"op": "replace", "path": "name", "value": ""},
    ),
    Difference(
        "a required text that becomes empty is refused by us, and kept by them",
        PatchCase,
        lambda c: (
            c.refused == (True, False)
            and "cannot be kept" in c.theirs
            and any(
                a is not None and a.required and isinstance(v, str) and not v.strip() for a, v in c.pieces
            )
        ),
        "RFC 7643, 4.1.1: userName «MUST include a non-empty userName value»",
        "ours",
        {"op": "replace", "path": "userName", "value": ""},
    ),
    Difference(
        "a path as the name of an attribute is refused by us, and followed by them",
        PatchCase,
        lambda c: (
            c.refused == (True, False)
            and any(
                set(key) & {".", ":"} and key.lower() not in c.kind.ours.root.table
                for key in keys_of(c.value)
            )
        ),
        "RFC 7644, 3.5.2.1: without a path the value has «a set of attributes»",
        "ours",
        {"op": "replace", "value": {"name.givenName": "Ab"}},
    ),
    Difference(
        "a sub-attribute of values of which there are none is no target for us, and nothing is done by them",
        PatchCase,
        lambda c: (
            c.op != "remove"
            and c.head is not None
            and c.path
            and c.path.sub
            and not c.path.filter
            and c.head.multi
            and not c.there
            and c.refused == (True, False)
        ),
        "RFC 7644, 3.12: noTarget, where the path «did not yield an attribute or attribute value»",
        "ours",
        {"op": "replace", "path": "ims.type", "value": "aim"},
    ),
    Difference(
        "no part of a member is changed by us; by them its display is, and the others where they had no value",
        PatchCase,
        lambda c: (
            c.kind is GROUPS
            and c.head is not None
            and c.head.name == "members"
            and c.refused == (True, False)
            and (c.path.sub or (c.path.filter and c.op != "remove"))
        ),
        "RFC 7643, 8.7.1: the parts of a member are immutable, and display is none of them",
        "open",
        {"op": "remove", "path": "members.type"},
    ),
    Difference(
        "what no schema knows has no value in the filter of a path for us, and is refused by them",
        PatchCase,
        lambda c: names_nothing(c) and c.theirs is None,
        "RFC 7644, 3.4.2.1: «treat the attribute as if there is no attribute value»",
        "ours",
        {"op": "remove", "path": "emails[nope pr]"},
    ),
    Difference(
        "the filter of a path selects something else where the filter differs by itself",
        PatchCase,
        filter_differs,
        "as above, of filters",
        "open",
        {"op": "remove", "path": 'emails[value gt "a"]'},
    ),
    Difference(
        "what only the server writes is passed over by us where it is sent along with others, and refused by them",
        PatchCase,
        lambda c: c.refused == (False, True) and explained_by(is_read_only, c),
        "RFC 7644, 3.5.2: an operation that is not «compatible with an attribute's mutability» is an error",
        "theirs",
        {"op": "replace", "value": {"groups": [{"value": "g1"}], "title": "Ab"}},
    ),
    Difference(
        "a value of another JSON type is refused by us, and converted by them",
        PatchCase,
        lambda c: writes_other_type(c) and c.refused == (True, False),
        "RFC 7643, 2.3: each type has its JSON type",
        "ours",
        {"op": "replace", "path": "active", "value": "False"},
    ),
    Difference(
        "a text that is no address or URL is kept by us, and refused by them",
        PatchCase,
        lambda c: (
            c.refused == (False, True)
            and any(
                a is not None
                and isinstance(v, str)
                and v not in (*ADDRESSES, *URLS)
                and ("external" in a.references or (c.head.name in ("", "emails") and a.name == "value"))
                for a, v in c.pieces
            )
        ),
        "RFC 7643, 4.1.2: an address SHOULD be one of RFC 5321; 2.3.7: a reference is a URI",
        "open",
        {"op": "add", "path": "emails", "value": [{"value": "x"}]},
    ),
    Difference(
        "a value is completed by us where the same one comes again, with or without a type, and doubled by them",
        PatchCase,
        lambda c: (
            not only((respelt,), c)
            and only((doubled, respelt, completed_otherwise) if adds_twice(c) else (doubled, respelt), c)
        ),
        "RFC 7643, 2.4: «SHOULD NOT return the same (type, value) combination more than once»",
        "ours",
        {"op": "add", "path": "emails", "value": [{"value": "ab@acme.test", "display": "Ab"}]},
    ),
    Difference(
        "several values that become primary at once are refused by us; by them not, where one of them was so before",
        PatchCase,
        lambda c: c.refused == (True, False) and made_primary(c),
        "RFC 7643, 2.4: «the primary attribute value 'true' MUST appear no more than once»",
        "ours",
        {"op": "replace", "path": "emails.primary", "value": True},
    ),
    Difference(
        "of a value that is added again in other letters the new spelling is kept by us, and the old one by them",
        PatchCase,
        lambda c: only((respelt,), c),
        "RFC 7644, 3.5.2.1: «If the value already exists, no changes SHOULD be made»; in other letters it is the same",
        "open",
        {"op": "add", "path": "emails", "value": [{"value": "b@acme.test", "type": "home", "display": "AB"}]},
    ),
    Difference(
        "a primary value that has no value is dropped by us; for them it takes that place from the old one before",
        PatchCase,
        lambda c: label_alone(c) and only((all_but_primary, doubled), c),
        "RFC 7643, 2.4: type, primary and display say something about a value",
        "ours",
        {"op": "add", "path": "emails", "value": [{"type": "home", "primary": True}]},
    ),
    Difference(
        "values that become primary at once and the same are one value for us; refused by them, or none is primary",
        PatchCase,
        lambda c: (
            made_primary(c)
            and (
                c.refused == (False, True)
                or (c.refused == (False, False) and all(all_but_primary(*pair) for pair in differing(c)))
            )
        ),
        "RFC 7643, 2.4: «SHOULD NOT return the same (type, value) combination more than once»",
        "open",
        {"op": "add", "path": "emails", "value": [{"value": "a.b+c@sub.acme.test", "primary": True}] * 2},
    ),
    Difference(
        "a filter of texts, or of one value, is no path for us, and selects nothing for them",
        PatchCase,
        lambda c: (
            c.refused == (True, False)
            and bool(c.filter)
            and c.head is not None
            and not (c.head.multi and c.head.type == "complex")
            and c.theirs == normal(c.document)
        ),
        "RFC 7644, figure 1: in brackets are «sub-attributes of a parent attrPath», and a text has none",
        "ours",
        {"op": "remove", "path": f"{TYPED_URN}:tags[nope pr]"},
    ),
    Difference(
        "of a new member only its id is looked at by us; by them the rest has to be of its type too",
        PatchCase,
        lambda c: (
            c.kind is GROUPS
            and c.refused == (False, True)
            and any(
                a is not None
                and a.name == "members"
                and isinstance(v, dict)
                and member_id(v)
                and not all(isinstance(part, str | None) for part in v.values())
                for a, v in c.pieces
            )
        ),
        "RFC 7644, 3.5.2: an operation must be «compatible with the attribute's ... schema»",
        "theirs",
        {"op": "add", "path": "members", "value": [{"value": "u2", "type": True}]},
    ),
    Difference(
        "a manager may lack a part for us; by them neither its value nor its $ref may be taken away",
        PatchCase,
        lambda c: c.refused == (False, True) and takes_from_manager(c),
        "RFC 7643, 4.3: value and $ref of the manager are «RECOMMENDED»",
        "ours",
        {"op": "remove", "path": f"{ENTERPRISE_URN}:manager.$ref"},
    ),
    Difference(
        "order of true, false or null and parts of what is no text are refused by us in the filter of a path, too",
        PatchCase,
        lambda c: (
            c.refused == (True, False) and c.path is None and UNREADABLE.search(c.operation.get("path", ""))
        ),
        "RFC 7644, 3.12: invalidFilter, where the «comparison combination is not supported»",
        "open",
        {"op": "remove", "path": "emails[value co 1]"},
    ),
    Difference(
        "a userName of more than 320 characters is refused by us",
        PatchCase,
        lambda c: (
            c.refused == (True, False)
            and any(
                a is not None and a.uniqueness == "server" and isinstance(v, str) and len(v) > 320
                for a, v in c.pieces
            )
        ),
        "RFC 7643, 4.1.1 knows no limit",
        "open",
        {"op": "replace", "path": "userName", "value": "a" * 321},
    ),
    Difference(
        "a password is passed over by us, whatever its type",
        PatchCase,
        lambda c: (
            c.head is None and c.path and c.path.name.lower() == "password" and c.refused == (False, True)
        ),
        "RFC 7643, 2.3.1: a password is a text; none is kept here",
        "open",
        {"op": "replace", "path": "password", "value": True},
    ),
    Difference(
        "a comparison alone is no path for us, and selects values for them",
        PatchCase,
        lambda c: (
            c.path is None
            and " eq " in c.operation.get("path", "")
            and c.refused == (True, False)
            and "[" not in c.operation["path"]
        ),
        "RFC 7644, 3.5.2, figure 7: PATH is an attrPath or a valuePath; erratum 7122 would add attrExp",
        "ours",
        {"op": "remove", "path": 'emails.type eq "work"'},
    ),
    Difference(
        "an empty path is no path for us, and the whole resource for them",
        PatchCase,
        lambda c: c.operation.get("path") == "" and c.refused == (True, False),
        "RFC 7644, 3.5.2, figure 7: PATH has at least the name of an attribute",
        "ours",
        {"op": "replace", "path": "", "value": {"title": "Ab"}},
    ),
    Difference(
        "null among attributes that are added changes no values for us, and takes them away for them",
        PatchCase,
        lambda c: c.op == "add" and c.refused == (False, False) and explained_by(is_null_of_many, c),
        "RFC 7644, 3.5.2.1: of a multi-valued attribute, «a new value is added»",
        "ours",
        {"op": "add", "value": {"emails": None}},
    ),
    Difference(
        "what a group does not have is refused by us, and passed over by them",
        PatchCase,
        lambda c: (
            c.kind is GROUPS
            and c.refused == (True, False)
            and (
                (c.path is not None and c.attribute is None)
                or (
                    isinstance(c.value, dict)
                    and any(c.kind.ours.find(None, key, None) is None for key in c.value)
                )
            )
        ),
        "RFC 7644, 3.12: invalidPath, where «the path attribute was invalid or malformed»",
        "ours",
        {"op": "add", "path": "nomembers", "value": 1},
    ),
    Difference(
        "a member without its id is refused by us, and kept by them",
        PatchCase,
        lambda c: (
            c.kind is GROUPS
            and c.refused == (True, False)
            and any(
                a is not None and a.name == "members" and isinstance(v, dict) and not member_id(v)
                for a, v in c.pieces
            )
        ),
        "RFC 7643, 4.2: value is the «identifier of the member of this Group»",
        "open",
        {"op": "add", "path": "members", "value": [{"type": "User"}]},
    ),
    Difference(
        "one text for an attribute of many is refused by us, and wrapped by them",
        PatchCase,
        lambda c: (
            c.refused == (True, False)
            and any(
                a is not None and a.multi and a.type != "complex" and isinstance(v, str) for a, v in c.pieces
            )
        ),
        "RFC 7643, 2.4: a multi-valued attribute is a JSON array",
        "open",
        {"op": "replace", "path": f"{TYPED_URN}:tags", "value": "ab"},
    ),
    Difference(
        "of a new member only its id is kept by us, as the server has the rest; by them all that is sent",
        SequenceCase,
        lambda c: (
            c.kind is GROUPS
            and any("members[" in str(step.get("path", "")).lower() for step in c.operations)
            and any(
                a is not None and a.name == "members" and isinstance(v, dict) and len(v) > 1
                for step in c.operations
                for a, v in PatchCase(c.kind, c.document, step, None, None).pieces
            )
        ),
        "RFC 7643, 8.7.1: the parts of a member are immutable, and display is none of them",
        "open",
        [
            {"op": "add", "path": "members", "value": [{"value": "u2", "display": "Ab"}]},
            {"op": "remove", "path": 'members[display eq "Ab"]'},
        ],
    ),
    Difference(
        "a value that we keep once, or not at all, is still there for their next operation",
        SequenceCase,
        more_in_between,
        "RFC 7643, 2.4: «SHOULD NOT return the same (type, value) combination more than once»",
        "open",
        [
            {"op": "add", "path": "roles", "value": [{"value": "x"}]},
            {"op": "add", "path": "roles", "value": [{"value": "x", "primary": True}]},
            {"op": "replace", "path": 'roles[value eq "x"].primary', "value": True},
        ],
    ),
    Difference(
        "an operation that another one mends is let pass by us, and refused by them",
        SequenceCase,
        lambda c: c.mended and c.ours is not None and c.theirs is None,
        "RFC 7644, 3.5.2: a request is «atomic»; a «single operation» in error has the resource restored",
        "open",
        [
            {"op": "replace", "path": "userName", "value": None},
            {"op": "replace", "path": "userName", "value": "b"},
        ],
    ),
)


def tried(count):
    """A fixed set of examples, whatever their number: the same command tries the same."""
    return settings(max_examples=count, derandomize=True, database=None, deadline=None,
                    suppress_health_check=list(HealthCheck))  # fmt: skip


@st.composite
def questions(draw):
    kind = draw(st.sampled_from([USERS, USERS, USERS, GROUPS]))
    document = draw(resources(kind))
    return kind, document, draw(filters(kind, document))


@tried(FILTERS)
@given(questions())
def test_filters_hold_for_the_same_resources(question):
    kind, document, node = question
    assume(len(str(node)) <= MAX_LENGTH)
    world = World(kind, document)
    assert world.ask(str(node)) == held(world, node)


# PATCH ------------------------------------------------------------------------------------------------------

POLICY = ScimPolicy(unknown=ScimPolicy.Unknown.ignore)
WRONG = [None, "", [], {}, "x", 1, True, "true", "False", ["x"], [{}], [{"type": "work"}], {"type": "work"}, [None],
         {"value": None}, {"nope": 1}, {"value": "x", "nope": 1}]  # fmt: skip


ODD_PATHS = ["nope", "name.nope", "emails.nope", OTHER, "", "a b", "emails[type]", "emails[", "members[value eq]",
             'emails[type eq "work"].nope', 'emails[type eq "work"]x', 'emails.type eq "work"', "schemas",
             "meta.created", "groups", "password"]  # fmt: skip
MALFORMED = [{"op": "remove"}, {"op": "add", "path": "title"}, {"op": "replace", "path": "externalId"},
             {"op": "move", "path": "title"}, {"path": "title", "value": "x"}]  # fmt: skip


def ours_after(kind, document, operations):
    """The document after the operations, or None where one of them is refused."""
    try:
        operations = read_operations({"schemas": [PATCH_URN], "Operations": operations})
        changes, others = split_members(operations) if kind is GROUPS else ([], operations)
        rest = {name: value for name, value in document.items() if name != "members"}
        result = apply(kind.ours, rest, others, resource_id="u1").document
    except Refusal:
        return None
    members = membership(document.get("members", []), changes)
    return normal(result | ({"members": members} if members else {}))


def membership(members, changes):
    """Members after the changes, as the store makes them: told by their ids."""
    for change in changes:
        if change.kind == "remove":
            members = [m for m in members if m["value"] not in change.ids]
        elif change.kind == "remove_where":
            attribute = GROUPS.ours.find(None, "members", None)
            members = [m for m in members if not element_matches(change.filter, m, attribute)]
        elif change.kind == "clear":
            members = []
        else:
            kept = members if change.kind == "add" else [m for m in members if m["value"] in change.ids]
            known = {m["value"] for m in kept}
            members = [*kept, *({"value": uid} for uid in change.ids if uid not in known)]
    return members


def theirs_after(kind, document, operations):
    """The same by scim2-models, brought into the form in which we keep a document."""
    peer = peer_after(kind, document, operations)
    if peer is None:
        return None
    dumped = peer.model_dump()
    try:
        return normal(clean(kind.ours, dumped).document)
    except Refusal:
        return {"cannot be kept": dumped}


def peer_after(kind, document, operations):
    """The same as scim2-models leaves it."""
    body = {"schemas": [PATCH_URN], "Operations": copy.deepcopy(operations)}
    try:
        message = PatchOp[kind.theirs].model_validate(
            body, scim_ctx=Context.RESOURCE_PATCH_REQUEST, scim_policy=POLICY
        )
        peer = kind.theirs.model_validate({**document, "id": "u1"})
        message.patch(peer, POLICY)
    except (SCIMException, ValidationError):
        return None
    return peer


def normal(document):
    """A document in which what means the same is the same: moments, base64, types, domains, order of members."""
    document = copy.deepcopy(document)
    for attribute in USERS.ours.root.sub:
        types = {t.lower(): t for sub in attribute.sub if sub.name == "type" for t in sub.canonical}
        for element in document.get(attribute.name, []) if types else []:
            if "type" in element:
                element["type"] = types.get(element["type"].lower(), element["type"])
    for element in document.get("emails", []):
        name, at, domain = element.get("value", "").rpartition("@")
        element |= {"value": name + at + domain.lower()} if at else {}
    for holder in [*document.get("x509Certificates", []), document.get(TYPED_URN, {})]:
        for name in holder.keys() & {"value", "key"}:
            holder[name] = base64.b64encode(base64.b64decode(holder[name])).decode()
    since = document.get(TYPED_URN, {}).get("since")
    if since:
        document[TYPED_URN]["since"] = read_datetime(since).astimezone(datetime.UTC).isoformat()
    if "members" in document:
        document["members"] = [{"value": uid} for uid in sorted({m["value"] for m in document["members"]})]
    return document


@st.composite
def targets(draw, kind, document):
    """A path and the attribute at its end, with the form of what is written there."""
    tops = [a.name for a in kind.ours.root.sub]
    present = [name for name in document if name != "schemas"]
    name = draw(st.sampled_from(draw(st.sampled_from([present, present, tops]))))
    attribute = kind.ours.root.table[name]
    prefix = ""
    if ":" in name:
        if draw(st.integers(0, 4)) == 0:
            return name, attribute
        attribute = draw(st.sampled_from(attribute.sub))
        prefix = f"{name}:"
    elif draw(st.integers(0, 9)) == 0:
        prefix = f"{kind.ours.schema.id}:"
    path, forms = prefix + attribute.name, ["whole", "whole"]
    if attribute.type == "complex":
        forms += (
            ["sub", "sub"] if not attribute.multi else ["sub", "filter", "filter", "filter.sub", "filter.sub"]
        )
    elif draw(st.integers(0, 19)) == 0:
        forms = ["filter"]
    form = draw(st.sampled_from(forms))
    element = attribute
    if form.startswith("filter"):
        path += f"[{draw(conditions(kind, attribute, document.get(attribute.name)))}]"
        element = Attribute(attribute.name, "complex", sub=attribute.sub) if attribute.sub else attribute
    if form.endswith("sub"):
        element = draw(st.sampled_from(attribute.sub))
        path += f".{element.name}"
        return path, Attribute("at", "complex", sub=(element,))
    return path, element


@st.composite
def conditions(draw, kind, attribute, elements):
    """The filter of a path: mostly what selects an element that is there."""
    known = [
        (name, value)
        for element in (elements if isinstance(elements, list) else [])
        if isinstance(element, dict)
        for name, value in element.items()
    ]
    if known and draw(st.integers(0, 3)):
        name, value = draw(st.sampled_from(known))
        first = Leaf(name, "eq", json.dumps(value))
    else:
        sub = draw(st.sampled_from([*attribute.sub, None]))
        first = draw(leaves(kind, sub.name if sub else "nope", sub))
    form = draw(st.sampled_from(["", "", "", "", "not", "and", "or"]))
    if not form:
        return first
    if form == "not":
        return Node("not", (first,))
    sub = draw(st.sampled_from([*attribute.sub, None]))
    return Node(form, (first, draw(leaves(kind, sub.name if sub else "nope", sub))))


@st.composite
def objects(draw, attribute, there):
    """What an operation without a path carries, or one on an extension."""
    subs = [sub for sub in attribute.sub if sub.name not in ("schemas", "id", "meta")]
    chosen = draw(st.lists(st.sampled_from(subs), min_size=0, max_size=3, unique_by=lambda sub: sub.name))
    result = {}
    for sub in chosen:
        value = draw(written(sub, there.get(sub.name)))
        result[draw(st.sampled_from([sub.name, sub.name, sub.name.upper()]))] = value
    odd = draw(st.integers(0, 15))
    if odd == 0:
        result["nope"] = 1
    elif odd == 1:
        result["id"] = draw(st.sampled_from(["u1", "u2"]))
    elif odd == 2:
        result["meta"] = META
    elif odd == 3:
        result["name.givenName"] = "Ab"
    return result


@st.composite
def written(draw, attribute, there=None):
    """A value to write: mostly a good one, often much like what is there."""
    odd = draw(st.integers(0, 23))
    if odd < 3:
        return draw(st.sampled_from(WRONG))
    if ":" in attribute.name:
        return draw(objects(attribute, there or {}))
    value = copy.deepcopy(there) if there and odd % 2 else copy.deepcopy(draw(value_of(attribute)))
    if attribute.multi and isinstance(value, list):
        if odd < 5:
            return value[0]
        value += copy.deepcopy(value[:1]) if odd < 7 else []
    if attribute.type == "complex" and odd > 8:
        alter(draw, attribute, value if isinstance(value, dict) else draw(st.sampled_from(value)))
    return value


def alter(draw, attribute, one):
    """Change one part of an object, or take it away."""
    sub = draw(
        st.sampled_from([*(attribute.table[name] for name in one if name in attribute.table), *attribute.sub])
    )
    if draw(st.integers(0, 7)) == 0:
        one[sub.name] = draw(st.sampled_from([None, "", "x", True]))
    elif sub.name in one and draw(st.booleans()):
        del one[sub.name]
    elif isinstance(one.get(sub.name), str) and draw(st.booleans()):
        one[sub.name] = draw(st.sampled_from([one[sub.name].upper(), one[sub.name].lower()]))
    else:
        one[sub.name] = draw(value_of(sub, attribute.name))


@st.composite
def primaries(draw, attribute, document):
    """An operation that makes one value primary, mostly one beside another that is so."""
    one = copy.deepcopy(draw(st.sampled_from(document[attribute.name])))
    form = draw(st.sampled_from(["new", "old", "filter", "sub"]))
    if form in ("filter", "sub"):
        name = draw(st.sampled_from([name for name in one if name != "primary"] or ["primary"]))
        path = f"{attribute.name}[{name} eq {json.dumps(one.get(name))}]"
        value = {"primary": True}
        path, value = (path, value) if form == "filter" else (f"{path}.primary", True)
        return {"op": draw(st.sampled_from(["add", "replace"])), "path": path, "value": value}
    if form == "new":
        one = {key: item for key, item in draw(value_of(attribute))[0].items() if key != "type"}
    one["primary"] = True
    return draw(st.sampled_from([
        {"op": "add", "path": attribute.name, "value": [one]},
        {"op": "add", "value": {attribute.name: [one]}},
    ]))  # fmt: skip


@st.composite
def operations(draw, kind, document):
    op = draw(st.sampled_from(["add", "add", "replace", "replace", "remove"]))
    odd = draw(st.integers(0, 29))
    heads = [a for a in kind.ours.root.sub if "primary" in a.table and document.get(a.name)]
    if heads and draw(st.integers(0, 9)) == 0:
        return draw(primaries(draw(st.sampled_from(heads)), document))
    if odd == 0:
        path = draw(st.sampled_from(ODD_PATHS))
        operation = {"op": op, "path": path} | (
            {} if op == "remove" else {"value": draw(st.sampled_from(WRONG))}
        )
        return draw(st.sampled_from([operation] * 4 + MALFORMED))
    if (op != "remove" and odd < 7) or odd == 29:
        whole = {"op": op, "value": draw(objects(kind.ours.root, document))}
        return whole | ({"path": kind.ours.schema.id} if odd == 29 else {})
    path, attribute = draw(targets(kind, document))
    if odd > 26:
        path = draw(st.sampled_from([path.upper(), path.lower()])) if "[" not in path else path
    if op == "remove":
        return {"op": op, "path": path} | ({"value": draw(st.sampled_from(WRONG))} if odd == 1 else {})
    if attribute.name == "at":
        owner, sub = path.partition("[")[0].rpartition(":")[2].partition(".")[0], attribute.sub[0]
        value = draw(value_of(sub, owner) | st.sampled_from(WRONG) if odd < 14 else value_of(sub, owner))
    else:
        there = document.get(path.rpartition(":")[2]) if "[" not in path else None
        value = draw(written(attribute, there))
    return {"op": op, "path": path, "value": value}


@st.composite
def changes(draw):
    kind = draw(st.sampled_from([USERS, USERS, USERS, GROUPS]))
    document = clean(kind.ours, draw(resources(kind, 2))).document
    if kind is GROUPS and "members" in document:
        document["members"] = [dict(t) for t in {m["value"]: m for m in document["members"]}.values()]
    steps, now = [], document
    for _ in range(draw(st.integers(1, 5))):
        steps.append(draw(operations(kind, now)))
        now = ours_after(kind, now, steps[-1:]) or now
    return kind, document, steps


@tried(PATCHES)
@given(changes())
def test_patches_end_the_same(change):
    kind, document, steps = change
    now, agreed, mended = document, [], False
    for operation in steps:
        ours, theirs = ours_after(kind, now, [operation]), theirs_after(kind, now, [operation])
        if ours != theirs:
            # It is left out, so that the others are held against each other all the same.
            recognised(PatchCase(kind, now, operation, ours, theirs))
            continue
        agreed.append(operation)
        mended = mended or ours is None
        now = ours or now
    ours, theirs = ours_after(kind, document, agreed), theirs_after(kind, document, agreed)
    if agreed and ours != theirs:
        recognised(SequenceCase(kind, document, agreed, ours, theirs, mended))


# Each difference, by its smallest example -------------------------------------------------------------------

FULL = {
    "schemas": [USER_URN, ENTERPRISE_URN, TYPED_URN],
    "userName": "ab@acme.test",
    "externalId": "\u00e9",
    "name": {"givenName": "Ab"},
    "active": True,
    "emails": [
        {"value": "ab@acme.test", "type": "work", "primary": True},
        {"value": "b@acme.test", "type": "home", "display": "Ab"},
    ],
    ENTERPRISE_URN: {"manager": {"value": "u2", "$ref": "/Users/u2"}},
    TYPED_URN: {"tags": ["a"]},
}
SALES = {"schemas": [GROUP_URN], "displayName": "Ab"}


def case_like(difference):
    """The case that the example of a difference makes, and what the two sides say of it."""
    example = difference.example
    if difference.about is FilterCase:
        world = World(USERS, FULL | {"id": "u1", "meta": META})
        answers = world.ask(example)
        return case_of(world, Leaf(*example.split(" ", 2)), answers), answers
    if difference.about is SelectionCase:
        path, _, inner = example[:-1].partition("[")
        world = World(USERS, FULL | {"id": "u1", "meta": META})
        answers = world.ask(example)
        node = Selection(path, Leaf(*inner.split(" ", 2)))
        return SelectionCase(compared_head(USERS, path), node, *answers), answers
    steps = example if isinstance(example, list) else [example]
    kind, document = (GROUPS, SALES) if "members" in steps[0].get("path", "") else (USERS, FULL)
    after = ours_after(kind, document, steps), theirs_after(kind, document, steps)
    if difference.about is SequenceCase:
        mended = any(ours_after(kind, document, [step]) is None for step in steps)
        return SequenceCase(kind, document, steps, *after, mended), after
    return PatchCase(kind, document, *steps, *after), after


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.name)
def test_each_difference_is_still_one(difference):
    case, (ours, theirs) = case_like(difference)
    assert ours != theirs
    assert recognised(case) == difference.name
    assert re.match(r"RFC 764[34], |as above", difference.rule)
    assert difference.right in ("ours", "theirs", "open")
