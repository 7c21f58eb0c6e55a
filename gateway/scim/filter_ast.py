"""The tree of a filter (RFC 7644, 3.4.2.2): frozen nodes, compared by what they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Op = Literal["eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"]
Value = str | int | float | bool | None

#: Operators that ask for an order, and those that look within a text.
ORDER = frozenset({"gt", "ge", "lt", "le"})
WITHIN = frozenset({"co", "sw", "ew"})


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
    value: Value


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
