"""The syntax tree of a filter (RFC 7644, 3.4.2.2): frozen nodes, compared by value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Op = Literal["eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"]
Value = str | int | float | bool | None

#: Operators that compare by order, and those that look within a text.
ORDER = frozenset({"gt", "ge", "lt", "le"})
WITHIN = frozenset({"co", "sw", "ew"})


@dataclass(frozen=True, slots=True)
class AttrPath:
    """The name of an attribute as it was written: schema URN or None, name, sub-attribute or None."""

    urn: str | None
    name: str
    sub: str | None = None

    def __str__(self) -> str:
        return (f"{self.urn}:" if self.urn else "") + self.name + (f".{self.sub}" if self.sub else "")


@dataclass(frozen=True, slots=True)
class Compare:
    """A comparison of an attribute with a literal."""

    path: AttrPath
    op: Op
    value: Value


@dataclass(frozen=True, slots=True)
class Present:
    """A test whether an attribute has a value (`pr`)."""

    path: AttrPath


@dataclass(frozen=True, slots=True)
class Not:
    """The negation of a filter."""

    operand: Filter


@dataclass(frozen=True, slots=True)
class And:
    """A conjunction of two or more filters."""

    operands: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """A disjunction of two or more filters."""

    operands: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class ValueFilter:
    """A filter that one and the same element of a multi-valued attribute must meet (`emails[…]`)."""

    path: AttrPath
    filter: Filter


Filter = Compare | Present | Not | And | Or | ValueFilter
