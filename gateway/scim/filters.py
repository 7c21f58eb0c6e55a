"""Filters: a recursive descent parser for the grammar of RFC 7644, 3.4.2.2.

One pass over the tokens; a chain of and/or becomes one flat node, so that only brackets nest.
"""

from __future__ import annotations

import json
import math
import re
from typing import cast

from gateway.scim.errors import InvalidFilter
from gateway.scim.filter_ast import (
    ORDER,
    WITHIN,
    And,
    AttrPath,
    Compare,
    Filter,
    Not,
    Op,
    Or,
    Present,
    Value,
    ValueFilter,
)
from gateway.scim.json_text import MOST_MARKS, excerpt, has_long_run

MAX_LENGTH = 8192
MAX_DEPTH = 32

_OPS = frozenset({"eq", "ne"}) | ORDER | WITHIN
_WORDS: dict[str, Value] = {"true": True, "false": False, "null": None}

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\\x00-\x1f]|\\.)*")|(?P<word>[^\s"()\[\]]+)|(?P<mark>[()\[\]])|(?P<end>\Z))"""
)
_OPENING = re.compile(r"\s*\(")
_NAME = r"[A-Za-z$][A-Za-z0-9_$-]*"
# RFC 7643, 2.1 and RFC 7644, 3.10. The URN ends at the last colon; versions such as 2.0 hold dots.
_PATH = re.compile(rf"(?:([A-Za-z][A-Za-z0-9+.-]*:[^\s\"]+):)?({_NAME})(?:\.({_NAME}))?")
#: The most common filter of identity providers, matched at once; `_TOKEN` and `_PATH` would read the same.
_USUAL = re.compile(rf'(?![Nn][Oo][Tt] )({_NAME}) eq "([^"\\\\\x00-\x1f]*)"')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def parse_filter(text: str) -> Filter:
    """Parse a filter into its syntax tree. Raises InvalidFilter with the position, from 1, of the error."""
    if len(text) > MAX_LENGTH:
        raise InvalidFilter(f"The filter is {len(text)} characters long; at most {MAX_LENGTH} are read.")
    if has_long_run(text):
        raise InvalidFilter(
            f"The filter has more than {MOST_MARKS} combining marks in a row; it is not read."
        )
    if usual := _USUAL.fullmatch(text):
        return Compare(AttrPath(None, usual[1], None), "eq", usual[2])
    reader = FilterReader(text)
    if not reader.symbol:
        raise InvalidFilter('The filter is empty; it should read like userName eq "name@acme.test".')
    result = reader.read_or()
    if reader.symbol:
        raise reader.refusal("and, or, or the end of the filter was expected")
    return result


class FilterReader:
    """A token reader for filters and paths. `symbol` is the current token, empty at the end."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.depth = 0
        self.end = 0
        self.symbol = ""
        self.advance()

    def advance(self) -> str:
        """Move to the next token and return the one that was passed. Raises InvalidFilter for a text without end."""
        passed = self.symbol
        found = _TOKEN.match(self.text, self.end)
        if found is None:
            position = len(self.text) - len(self.text[self.end :].lstrip()) + 1
            raise InvalidFilter(
                f"Position {position}: a text begins that does not end, or holds what JSON forbids."
            )
        self.kind = cast(str, found.lastgroup)
        self.symbol = found[self.kind]
        self.start, self.end = found.span(self.kind)
        return passed

    def refusal(self, sentence: str) -> InvalidFilter:
        """Return the InvalidFilter that says what was expected at the current position, and what stands there."""
        there = f"but {excerpt(self.symbol)} came" if self.symbol else "but the text ends"
        return InvalidFilter(f"Position {self.start + 1}: {sentence}, {there}.")

    def expect(self, mark: str) -> None:
        """Move past the given bracket. Raises InvalidFilter if another token stands there."""
        if self.kind != "mark" or self.symbol != mark:
            raise self.refusal(f"{mark} was expected")
        self.advance()

    def is_word(self, keyword: str) -> bool:
        """Return True if the current token is this keyword, letter case aside."""
        return self.kind == "word" and self.symbol.lower() == keyword

    def read_or(self, within: bool = False) -> Filter:
        """Read a filter: terms joined by `or`. `within` is True inside a value path, where none may nest."""
        # RFC 7644, 3.4.2.2: grouping binds strongest, then not, then and, then or.
        operands = [self.read_and(within)]
        while self.is_word("or"):
            self.advance()
            operands.append(self.read_and(within))
        return operands[0] if len(operands) == 1 else Or(tuple(operands))

    def read_and(self, within: bool) -> Filter:
        """Read factors joined by `and`."""
        operands = [self.read_term(within)]
        while self.is_word("and"):
            self.advance()
            operands.append(self.read_term(within))
        return operands[0] if len(operands) == 1 else And(tuple(operands))

    def read_term(self, within: bool) -> Filter:
        """Read a group, a negation, a value path or a comparison."""
        if self.symbol == "(":
            return self.read_group("(", ")", within)
        if self.is_word("not") and _OPENING.match(self.text, self.end):
            self.advance()
            return Not(self.read_group("(", ")", within))
        path = self.read_path()
        if self.kind == "mark" and self.symbol == "[" and not within:
            return self.read_value_path(path)
        return self.read_comparison(path)

    def read_group(self, opening: str, closing: str, within: bool) -> Filter:
        """Read a filter between brackets; at most `MAX_DEPTH` may be open."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise InvalidFilter(f"Position {self.start + 1}: more than {MAX_DEPTH} brackets are open.")
        self.expect(opening)
        result = self.read_or(within)
        self.expect(closing)
        self.depth -= 1
        return result

    def read_path(self) -> AttrPath:
        """Read the name of an attribute."""
        found = _PATH.fullmatch(self.symbol) if self.kind == "word" else None
        if found is None:
            raise self.refusal("the name of an attribute was expected")
        self.advance()
        return AttrPath(*found.groups())

    def read_value_path(self, path: AttrPath) -> ValueFilter:
        """Read `emails[type eq "work"]`, or `emails[type eq "work"].value eq "x"` as one filter of an element."""
        inner = self.read_element_filter(path)
        sub = self.read_sub_attribute()
        if sub is None:
            return ValueFilter(path, inner)
        more = self.read_comparison(AttrPath(None, sub))
        operands = inner.operands if isinstance(inner, And) else (inner,)
        return ValueFilter(path, And((*operands, more)))

    def read_element_filter(self, path: AttrPath) -> Filter:
        """Read the filter in square brackets after `path`."""
        # RFC 7644, figure 1: no value path within a value path, and none below a sub-attribute.
        if path.sub is not None:
            raise self.refusal("a comparison was expected after a sub-attribute")
        return self.read_group("[", "]", within=True)

    def read_sub_attribute(self) -> str | None:
        """Read the sub-attribute that follows a closing bracket; return None if there is none."""
        if self.kind != "word" or not self.symbol.startswith("."):
            return None
        if not re.fullmatch(_NAME, self.symbol[1:]) or self.text[self.start - 1] != "]":
            raise self.refusal("the name of a sub-attribute was expected")
        return self.advance()[1:]

    def read_comparison(self, path: AttrPath) -> Filter:
        """Read the operator and the value after `path`."""
        op = self.symbol.lower() if self.kind == "word" else ""
        if op == "pr":
            self.advance()
            return Present(path)
        if op not in _OPS:
            raise self.refusal("an operator (eq, ne, co, sw, ew, gt, ge, lt, le or pr) was expected")
        self.advance()
        value = self.read_value(op)
        return Compare(path, cast(Op, op), value)

    def read_value(self, op: str) -> Value:
        """Read the literal after the operator `op`, of a type that the operator takes."""
        value = self.read_literal()
        if op in ORDER and (value is None or isinstance(value, bool)):
            raise self.refusal(f"a text or a number was expected after {op}")
        if op in WITHIN and not isinstance(value, str):
            raise self.refusal(f"a text in double quotes was expected after {op}")
        self.advance()
        return value

    def read_literal(self) -> Value:
        """Return the value of the current token, without moving past it."""
        if self.kind == "text":
            return self.read_text()
        word = self.symbol.lower()
        if word in _WORDS and self.kind == "word":
            return _WORDS[word]
        found = _NUMBER.fullmatch(word) if self.kind == "word" else None
        if found is None:
            raise self.refusal("a value was expected: a text in double quotes, a number, true, false or null")
        return self.read_number(word, whole=found.lastindex is None)

    def read_number(self, word: str, whole: bool) -> int | float:
        """Return the number that a word spells. Raises InvalidFilter where it is too large."""
        try:
            number = int(word) if whole else float(word)
            if math.isfinite(number):
                return number
        except ValueError:
            # Python reads no whole number of more than 4300 digits.
            raise self.refusal("a number with fewer digits was expected") from None
        except OverflowError:
            # A whole number beyond every float, which no stored number equals.
            pass
        raise self.refusal("a smaller number was expected")

    def read_text(self) -> str:
        """Return the text of a quoted token. Raises InvalidFilter for text that cannot be stored."""
        if "\\" not in self.symbol:
            return self.symbol[1:-1]
        try:
            # RFC 7644, 3.4.2.2: a value is a JSON string, escapes included.
            text = cast(str, json.loads(self.symbol))
            text.encode()
        except ValueError:
            raise self.refusal("a JSON text was expected") from None
        if "\0" in text:
            raise self.refusal("a text without NUL was expected")
        if has_long_run(text):
            raise self.refusal(f"a text with at most {MOST_MARKS} combining marks in a row was expected")
        return text
