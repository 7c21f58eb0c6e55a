"""Filters: their text read into a small tree (RFC 7644, 3.4.2.2), and the tree held against a document."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from gateway.scim.documents import fold, is_empty, read_datetime, shown
from gateway.scim.errors import InvalidFilter
from gateway.scim.schemas import Attribute, ResourceType

MAX_LENGTH = 8192
MAX_DEPTH = 64

Op = Literal["eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"]
Literal_ = str | int | float | bool | None

_OPS = frozenset({"eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"})
_ORDER = frozenset({"gt", "ge", "lt", "le"})
_WITHIN = frozenset({"co", "sw", "ew"})
_WORDS: dict[str, Literal_] = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True)
class AttrPath:
    """The name of an attribute as it was written: schema URN if given, name, sub-attribute if given."""

    urn: str | None
    name: str
    sub: str | None = None

    def __str__(self) -> str:
        return (f"{self.urn}:" if self.urn else "") + self.name + (f".{self.sub}" if self.sub else "")


@dataclass(frozen=True, slots=True)
class Compare:
    path: AttrPath
    op: Op
    value: Literal_


@dataclass(frozen=True, slots=True)
class Present:
    path: AttrPath


@dataclass(frozen=True, slots=True)
class Not:
    operand: Filter


@dataclass(frozen=True, slots=True)
class And:
    operands: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    operands: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class ValueFilter:
    """One and the same element of a multi-valued attribute meets the whole inner filter."""

    path: AttrPath
    filter: Filter


Filter = Compare | Present | Not | And | Or | ValueFilter


# Reading. One pass over the tokens; a chain of and/or becomes one flat node, so only brackets nest.

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\\x00-\x1f]|\\.)*")|(?P<word>[^\s"()\[\]]+)|(?P<mark>[()\[\]])|(?P<end>\Z))"""
)
_NAME = r"[A-Za-z$][A-Za-z0-9_$-]*"
# RFC 7643, 2.1 and RFC 7644, 3.10. The URN ends at the last colon; versions such as 2.0 hold dots.
_PATH = re.compile(rf"(?:([A-Za-z][A-Za-z0-9+.-]*:[^\s\"]+):)?({_NAME})(?:\.({_NAME}))?")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def parse_filter(text: str) -> Filter:
    """The tree of a filter. Raises InvalidFilter with the position, from 1, of what cannot be read."""
    if len(text) > MAX_LENGTH:
        raise InvalidFilter(f"The filter is {len(text)} characters long; at most {MAX_LENGTH} are read.")
    reader = Reader(text)
    if not reader.token:
        raise InvalidFilter('The filter is empty; it should read like userName eq "name@acme.test".')
    result = reader.any_of()
    if reader.token:
        raise reader.refusal("and, or, or the end of the filter was expected")
    return result


class Reader:
    """A position in the text of a filter or path. `token` is the next token, empty at the end."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.depth = 0
        self.end = 0
        self.token = ""
        self.move()

    def move(self) -> str:
        """Step over the next token and give it back."""
        passed = self.token
        found = _TOKEN.match(self.text, self.end)
        if found is None:
            position = len(self.text) - len(self.text[self.end :].lstrip()) + 1
            raise InvalidFilter(
                f"Position {position}: a text begins that does not end, or holds what JSON forbids."
            )
        self.kind = cast(str, found.lastgroup)
        self.token = found[self.kind]
        self.start, self.end = found.span(self.kind)
        return passed

    def refusal(self, sentence: str) -> InvalidFilter:
        there = f"but {shown(self.token)} came" if self.token else "but the text ends"
        return InvalidFilter(f"Position {self.start + 1}: {sentence}, {there}.")

    def take(self, mark: str) -> None:
        if self.kind != "mark" or self.token != mark:
            raise self.refusal(f"{mark} was expected")
        self.move()

    def at(self, keyword: str) -> bool:
        return self.kind == "word" and self.token.lower() == keyword

    def any_of(self, within: bool = False) -> Filter:
        # RFC 7644, 3.4.2.2: grouping binds strongest, then not, then and, then or.
        operands = [self.all_of(within)]
        while self.at("or"):
            self.move()
            operands.append(self.all_of(within))
        return operands[0] if len(operands) == 1 else Or(tuple(operands))

    def all_of(self, within: bool) -> Filter:
        operands = [self.term(within)]
        while self.at("and"):
            self.move()
            operands.append(self.term(within))
        return operands[0] if len(operands) == 1 else And(tuple(operands))

    def term(self, within: bool) -> Filter:
        if self.kind == "mark":
            return self.group("(", ")", within)
        if self.at("not") and self.text[self.end :].lstrip()[:1] == "(":
            self.move()
            return Not(self.group("(", ")", within))
        path = self.path()
        if self.kind == "mark" and self.token.startswith("[") and not within:
            return self.selection(path)
        return self.expression(path)

    def group(self, opening: str, closing: str, within: bool) -> Filter:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise InvalidFilter(f"Position {self.start + 1}: more than {MAX_DEPTH} brackets are open.")
        self.take(opening)
        result = self.any_of(within)
        self.take(closing)
        self.depth -= 1
        return result

    def path(self) -> AttrPath:
        found = _PATH.fullmatch(self.token) if self.kind == "word" else None
        if found is None:
            raise self.refusal("the name of an attribute was expected")
        self.move()
        return AttrPath(*found.groups())

    def selection(self, path: AttrPath) -> ValueFilter:
        """`emails[type eq "work"]`, or `emails[type eq "work"].value eq "x"` as one filter of an element."""
        inner = self.value_filter(path)
        sub = self.sub()
        if sub is None:
            return ValueFilter(path, inner)
        more = self.expression(AttrPath(None, sub))
        operands = inner.operands if isinstance(inner, And) else (inner,)
        return ValueFilter(path, And((*operands, more)))

    def value_filter(self, path: AttrPath) -> Filter:
        # RFC 7644, figure 1: no value path within a value path, and none below a sub-attribute.
        if path.sub is not None:
            raise self.refusal("a comparison was expected after a sub-attribute")
        return self.group("[", "]", within=True)

    def sub(self) -> str | None:
        """The sub-attribute that follows a closing bracket, or None."""
        if self.kind != "word" or not self.token.startswith("."):
            return None
        if not re.fullmatch(_NAME, self.token[1:]) or self.text[self.start - 1] != "]":
            raise self.refusal("the name of a sub-attribute was expected")
        return self.move()[1:]

    def expression(self, path: AttrPath) -> Filter:
        op = self.token.lower() if self.kind == "word" else ""
        if op == "pr":
            self.move()
            return Present(path)
        if op not in _OPS:
            raise self.refusal("an operator (eq, ne, co, sw, ew, gt, ge, lt, le or pr) was expected")
        self.move()
        value = self.value(op)
        return Compare(path, cast(Op, op), value)

    def value(self, op: str) -> Literal_:
        value = self.literal()
        if op in _ORDER and (value is None or isinstance(value, bool)):
            raise self.refusal(f"a text or a number was expected after {op}")
        if op in _WITHIN and not isinstance(value, str):
            raise self.refusal(f"a text in double quotes was expected after {op}")
        self.move()
        return value

    def literal(self) -> Literal_:
        if self.kind == "text":
            return self.text_literal()
        word = self.token.lower()
        if word in _WORDS and self.kind == "word":
            return _WORDS[word]
        found = _NUMBER.fullmatch(word) if self.kind == "word" else None
        if found is None:
            raise self.refusal("a value was expected: a text in double quotes, a number, true, false or null")
        number = self.number(word, whole=found.lastindex is None)
        if not math.isfinite(number):
            raise self.refusal("a smaller number was expected")
        return number

    def number(self, word: str, whole: bool) -> int | float:
        try:
            return int(word) if whole else float(word)
        except ValueError:
            # Python reads no whole number of more than 4300 digits.
            raise self.refusal("a number with fewer digits was expected") from None

    def text_literal(self) -> str:
        if "\\" not in self.token:
            return self.token[1:-1]
        try:
            # RFC 7644, 3.4.2.2: a value is a JSON string, escapes included.
            text = cast(str, json.loads(self.token))
            text.encode()
        except ValueError:
            raise self.refusal("a JSON text was expected") from None
        if "\0" in text:
            raise self.refusal("a text without NUL was expected")
        return text


def check_filter(node: Filter, resource_type: ResourceType) -> None:
    """Refuse what can be read but not compared: order and parts of booleans and binaries."""
    if isinstance(node, (And, Or)):
        for operand in node.operands:
            check_filter(operand, resource_type)
    elif isinstance(node, Not):
        check_filter(node.operand, resource_type)
    elif isinstance(node, ValueFilter):
        check_filter(_under(node.path, node.filter), resource_type)
    elif isinstance(node, Compare) and node.op in _ORDER | _WITHIN:
        attribute = _leaf(resource_type.find(node.path.urn, node.path.name, node.path.sub))
        # RFC 7644, 3.4.2.2: booleans and binaries have no order.
        if attribute is not None and attribute.type in ("boolean", "binary"):
            raise InvalidFilter(f"{node.path} is a {attribute.type}; it can be compared with eq and ne only.")


def _under(path: AttrPath, node: Filter) -> Filter:
    """A filter of elements, written as a filter of the resource; only its paths matter here."""
    if isinstance(node, (And, Or)):
        return And(tuple(_under(path, operand) for operand in node.operands))
    if isinstance(node, Not):
        return _under(path, node.operand)
    if isinstance(node, Compare):
        return Compare(AttrPath(path.urn, path.name, node.path.name), node.op, node.value)
    return node


# Holding a filter against a document

_Read = Callable[[AttrPath], tuple[Attribute | None, list[Any]]]


def matches(node: Filter, document: Mapping[str, Any], resource_type: ResourceType) -> bool:
    """Whether a canonical document meets the filter.

    Any value of a multi-valued attribute may meet a comparison. `ne` is always the opposite of `eq`: it holds
    where no value is equal, so also where there is none. An unknown attribute is one that is absent.
    """

    def read(path: AttrPath) -> tuple[Attribute | None, list[Any]]:
        found = resource_type.head(path.urn, path.name)
        if found is None:
            return None, []
        extension, attribute = found
        box = document if extension is None else document.get(extension, {})
        return _down(attribute, box.get(attribute.name), path.sub)

    return _holds(node, read)


def element_matches(node: Filter, element: Mapping[str, Any], attribute: Attribute) -> bool:
    """Whether one element of a multi-valued attribute meets the filter of a value path."""

    def read(path: AttrPath) -> tuple[Attribute | None, list[Any]]:
        sub = attribute.table.get(path.name.lower())
        if sub is None or path.urn or path.sub:
            return None, []
        return _down(sub, element.get(sub.name), None)

    return _holds(node, read)


def _down(attribute: Attribute, value: Any, sub: str | None) -> tuple[Attribute | None, list[Any]]:
    """The attribute and its values, one step down where the path names a sub-attribute."""
    values = value if isinstance(value, list) else [] if value is None else [value]
    if sub is None:
        return attribute, values
    inner = attribute.table.get(sub.lower())
    if inner is None:
        return None, []
    return inner, [item.get(inner.name) for item in values]


def _holds(node: Filter, read: _Read) -> bool:
    if isinstance(node, Compare):
        return _compares(node, *read(node.path))
    if isinstance(node, Present):
        # RFC 7644, 3.4.2.2: a non-empty value, or a non-empty node of a complex attribute.
        return any(not is_empty(value) for value in read(node.path)[1])
    if isinstance(node, And):
        return all(_holds(operand, read) for operand in node.operands)
    if isinstance(node, Or):
        return any(_holds(operand, read) for operand in node.operands)
    if isinstance(node, Not):
        return not _holds(node.operand, read)
    attribute, elements = read(node.path)
    if attribute is None or attribute.type != "complex":
        return False
    return any(element_matches(node.filter, element, attribute) for element in elements)


def _leaf(attribute: Attribute | None) -> Attribute | None:
    """The attribute that is compared: of a complex one its `value`."""
    if attribute is None or attribute.type != "complex":
        return attribute
    return attribute.table.get("value")


def _compares(node: Compare, attribute: Attribute | None, values: list[Any]) -> bool:
    leaf = _leaf(attribute)
    if leaf is None:
        values = []
    elif leaf is not attribute:
        values = [value.get("value") for value in values]
    if node.op == "ne":
        return not _equals(node.value, leaf, values)
    if node.op == "eq":
        return _equals(node.value, leaf, values)
    return any(_meets(value, node.op, node.value, leaf) for value in values)


def _equals(wanted: Literal_, leaf: Attribute | None, values: list[Any]) -> bool:
    if wanted is None:
        # RFC 7643, 2.5: null is the same as no value.
        return not values or any(value is None for value in values)
    return any(_meets(value, "eq", wanted, leaf) for value in values)


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: bool(a == b),
    "co": lambda a, b: b in a,
    "sw": lambda a, b: bool(a.startswith(b)),
    "ew": lambda a, b: bool(a.endswith(b)),
    "gt": lambda a, b: bool(a > b),
    "ge": lambda a, b: bool(a >= b),
    "lt": lambda a, b: bool(a < b),
    "le": lambda a, b: bool(a <= b),
}


def _meets(value: Any, op: str, wanted: Literal_, leaf: Attribute | None) -> bool:
    """One value against one literal. Values of different kinds never meet; `ne` is not asked here."""
    if leaf is None or value is None:
        return False
    left, right = _comparable(value, leaf, op), _comparable(wanted, leaf, op)
    return _kind(left) is _kind(right) and _TESTS[op](left, right)


def _comparable(value: Any, leaf: Attribute, op: str) -> Any:
    if not isinstance(value, str):
        return value
    if leaf.type == "dateTime" and op not in _WITHIN:
        return read_datetime(value) or value
    return value if leaf.case_exact else fold(value)


def _kind(value: Any) -> type:
    return float if type(value) is int else type(value)
