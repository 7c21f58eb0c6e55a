"""Filters evaluated against documents in Python (RFC 7644, 3.4.2.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.scim.documents import is_empty
from gateway.scim.errors import InvalidFilter
from gateway.scim.filter_ast import (
    ORDER,
    WITHIN,
    And,
    AttrPath,
    Compare,
    Filter,
    Not,
    Or,
    Present,
    Value,
    ValueFilter,
)
from gateway.scim.json_text import fold, read_datetime
from gateway.scim.schemas import Attribute, ResourceType


def check_filter(node: Filter, resource_type: ResourceType) -> None:
    """Refuse a filter with comparisons that have no meaning: order and substrings of booleans and binaries.

    Raises InvalidFilter.
    """
    if isinstance(node, (And, Or)):
        for operand in node.operands:
            check_filter(operand, resource_type)
    elif isinstance(node, Not):
        check_filter(node.operand, resource_type)
    elif isinstance(node, ValueFilter):
        check_filter(_prefix_paths(node.path, node.filter), resource_type)
    elif isinstance(node, Compare) and node.op in ORDER | WITHIN:
        attribute = _find_compared(resource_type.find(node.path.urn, node.path.name, node.path.sub))
        # RFC 7644, 3.4.2.2: booleans and binaries have no order.
        if attribute is not None and attribute.type in ("boolean", "binary"):
            raise InvalidFilter(f"{node.path} is a {attribute.type}; it can be compared with eq and ne only.")


def _prefix_paths(path: AttrPath, node: Filter) -> Filter:
    """Return a filter of elements as a filter of the resource; only its paths matter to the caller."""
    if isinstance(node, (And, Or)):
        return And(tuple(_prefix_paths(path, operand) for operand in node.operands))
    if isinstance(node, Not):
        return _prefix_paths(path, node.operand)
    if isinstance(node, Compare) and not (node.path.urn or node.path.sub):
        return Compare(AttrPath(path.urn, path.name, node.path.name), node.op, node.value)
    # An element has no such attribute, or only its presence is tested.
    return Present(path)


_ValueReader = Callable[[AttrPath], tuple[Attribute | None, list[Any]]]


def matches(node: Filter, document: Mapping[str, Any], resource_type: ResourceType) -> bool:
    """Return True if a canonical document meets the filter.

    Any value of a multi-valued attribute may meet a comparison. `ne` is the negation of `eq`: it is true where no
    value is equal, so also where there is no value. An unknown attribute counts as absent.
    """

    def read(path: AttrPath) -> tuple[Attribute | None, list[Any]]:
        found = resource_type.find_top_level(path.urn, path.name)
        if found is None:
            return None, []
        extension, attribute = found
        box = document if extension is None else document.get(extension, {})
        return _values_at(attribute, box.get(attribute.name), path.sub)

    return _evaluate(node, read)


def element_matches(node: Filter, element: Mapping[str, Any], attribute: Attribute) -> bool:
    """Return True if one element of a multi-valued attribute meets the filter of a value path."""

    def read(path: AttrPath) -> tuple[Attribute | None, list[Any]]:
        sub = attribute.table.get(path.name.lower())
        if sub is None or path.urn or path.sub:
            return None, []
        return _values_at(sub, element.get(sub.name), None)

    return _evaluate(node, read)


def _values_at(attribute: Attribute, value: Any, sub: str | None) -> tuple[Attribute | None, list[Any]]:
    """Return the attribute and its values, or the sub-attribute `sub` and its values if one is named."""
    values = value if isinstance(value, list) else [] if value is None else [value]
    if sub is None:
        return attribute, values
    inner = attribute.table.get(sub.lower())
    if inner is None:
        return None, []
    return inner, [item.get(inner.name) for item in values]


def _evaluate(node: Filter, read: _ValueReader) -> bool:
    if isinstance(node, Compare):
        return _evaluate_comparison(node, *read(node.path))
    if isinstance(node, Present):
        # RFC 7644, 3.4.2.2: a non-empty value, or a non-empty node of a complex attribute.
        return any(not is_empty(value) for value in read(node.path)[1])
    if isinstance(node, And):
        return all(_evaluate(operand, read) for operand in node.operands)
    if isinstance(node, Or):
        return any(_evaluate(operand, read) for operand in node.operands)
    if isinstance(node, Not):
        return not _evaluate(node.operand, read)
    attribute, elements = read(node.path)
    if attribute is None or attribute.type != "complex":
        return False
    return any(element_matches(node.filter, element, attribute) for element in elements)


def _find_compared(attribute: Attribute | None) -> Attribute | None:
    """Return the attribute that is compared: the `value` of a complex one, else the attribute itself."""
    if attribute is None or attribute.type != "complex":
        return attribute
    return attribute.table.get("value")


def _evaluate_comparison(node: Compare, attribute: Attribute | None, values: list[Any]) -> bool:
    leaf = _find_compared(attribute)
    if leaf is None:
        values = []
    elif leaf is not attribute:
        values = [value.get("value") for value in values]
    if node.op == "ne":
        return not _any_equal(node.value, leaf, values)
    if node.op == "eq":
        return _any_equal(node.value, leaf, values)
    return any(_compare(value, node.op, node.value, leaf) for value in values)


def _any_equal(wanted: Value, leaf: Attribute | None, values: list[Any]) -> bool:
    if wanted is None:
        # RFC 7643, 2.5: null is the same as no value.
        return not values or any(value is None for value in values)
    return any(_compare(value, "eq", wanted, leaf) for value in values)


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


def _compare(value: Any, op: str, wanted: Value, leaf: Attribute | None) -> bool:
    """Compare one value with one literal by any operator but `ne`. Values of different types never match."""
    if leaf is None or value is None:
        return False
    left, right = _comparable(value, leaf, op), _comparable(wanted, leaf, op)
    return _value_kind(left) is _value_kind(right) and _TESTS[op](left, right)


def _comparable(value: Any, leaf: Attribute, op: str) -> Any:
    if not isinstance(value, str):
        return value
    if leaf.type == "dateTime" and op not in WITHIN:
        return read_datetime(value) or value
    return value if leaf.case_exact else fold(value)


def _value_kind(value: Any) -> type:
    return float if type(value) is int else type(value)
