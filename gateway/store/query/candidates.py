"""Candidates: the keys of all resources that may meet a filter, found by an index, so that no others are read.

Comparisons by `eq` of one attribute that are joined by `or` count as one and become one `IN`: clients ask for many
resources by their ids in this way. `filter_sql` compiles the meaning of the filter; candidates only narrow it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.scim.errors import TooMany
from gateway.scim.filter_ast import And, AttrPath, Compare, Filter, Not, Or, Present, ValueFilter
from gateway.scim.json_text import fold
from gateway.scim.schemas import ResourceType
from gateway.store.query.columns import GROUPS, USERS, Lookup, Reach, Table

#: Comparisons in one filter, merged ones counted once. Each is evaluated for every resource that is read.
MAX_TERMS = 100


@dataclass(frozen=True, slots=True)
class OneOf:
    """A test whether one attribute equals any of these texts."""

    path: AttrPath
    values: tuple[str, ...]


#: The leaves of a merged filter.
Leaf = Compare | OneOf | Present | ValueFilter
#: A merged filter: a Filter whose leaves may be OneOf.
Tree = Any


def table_of(resource: ResourceType) -> Table:
    """Return the table of a resource type."""
    return USERS if resource.name == "User" else GROUPS


def merge_equals(tree: Filter) -> Tree:
    """Return the filter with every `a eq "1" or a eq "2"` merged into one comparison.

    Raises TooMany for more than `MAX_TERMS` comparisons.
    """
    tree = _merge_equals(tree)
    terms = sum(1 for _ in _leaves(tree))
    if terms > MAX_TERMS:
        raise TooMany(
            f"The filter has {terms} comparisons; at most {MAX_TERMS} are answered. Comparisons of one attribute by eq"
            ' that are joined by or, such as id eq "1" or id eq "2", count as one. Ask in several requests.'
        )
    return tree


def _merge_equals(tree: Filter) -> Tree:
    if isinstance(tree, Not):
        return Not(_merge_equals(tree.operand))
    if isinstance(tree, ValueFilter):
        return ValueFilter(tree.path, _merge_equals(tree.filter))
    if isinstance(tree, And):
        return And(tuple(map(_merge_equals, tree.operands)))
    if not isinstance(tree, Or):
        return tree
    values: dict[tuple[str, str, str], dict[str, None]] = {}
    places: dict[tuple[str, str, str], int] = {}
    operands: list[Tree] = []
    for operand in tree.operands:
        if not (isinstance(operand, Compare) and operand.op == "eq" and isinstance(operand.value, str)):
            operands.append(_merge_equals(operand))
            continue
        path = operand.path
        key = (path.urn or "").lower(), path.name.lower(), (path.sub or "").lower()
        if key not in places:
            places[key] = len(operands)
            operands.append(operand)
        values.setdefault(key, {})[operand.value] = None
    for key, place in places.items():
        if len(values[key]) > 1:
            operands[place] = OneOf(operands[place].path, tuple(values[key]))
    return operands[0] if len(operands) == 1 else Or(tuple(operands))


def _leaves(tree: Tree) -> Iterator[Leaf]:
    if isinstance(tree, And | Or):
        for operand in tree.operands:
            yield from _leaves(operand)
    elif isinstance(tree, Not):
        yield from _leaves(tree.operand)
    elif isinstance(tree, ValueFilter):
        yield from _leaves(tree.filter)
    else:
        yield tree


def reach(resource: ResourceType, tree: Tree) -> Reach:
    """Estimate how many resources of a type a merged filter makes the engine read, without asking the database."""
    if isinstance(tree, And):
        return min(reach(resource, operand) for operand in tree.operands)
    if isinstance(tree, Or):
        return max(reach(resource, operand) for operand in tree.operands)
    if isinstance(tree, Not):
        return Reach.ALL
    if resource.find(tree.path.urn, tree.path.name, None) is None:
        return Reach.ALL if isinstance(tree, Compare) and not _fails_if_absent(tree) else Reach.EMPTY
    if is_active(resource, tree):
        return Reach.RANGE
    found = _lookup(resource, tree)
    return Reach.ALL if found is None else found[0].reach


def _fails_if_absent(leaf: Compare) -> bool:
    """Return True if a comparison is false for an absent attribute."""
    return leaf.op != "ne" if leaf.value is not None else leaf.op == "ne"


def is_active(resource: ResourceType, tree: Tree) -> bool:
    """Return True if the whole filter is `active eq true`, which nearly all users meet."""
    if not isinstance(tree, Compare) or (tree.op, tree.value) != ("eq", True) or tree.value is not True:
        return False
    return _name(resource, tree.path) == "active"


def is_answered(resource: ResourceType, tree: Tree) -> bool:
    """Return True if the candidates of a merged filter are exactly the visible resources that meet it."""
    found = None if isinstance(tree, And | Or | Not) else _lookup(resource, tree)
    return found is not None and found[0].answers


def candidates(
    resource: ResourceType, tree: Tree, organization_id: int, connection_id: int
) -> list[tuple[str, tuple[Any, ...]]] | None:
    """Return SELECTs of keys, with parameters, that together find all resources that may meet a merged filter.

    Return None if any resource may meet it.
    """
    if isinstance(tree, And):
        best = min(tree.operands, key=lambda operand: reach(resource, operand))
        return candidates(resource, best, organization_id, connection_id)
    if isinstance(tree, Or):
        parts = [candidates(resource, operand, organization_id, connection_id) for operand in tree.operands]
        return None if None in parts else [select for part in parts if part is not None for select in part]
    if isinstance(tree, Not):
        return None
    found = _lookup(resource, tree)
    if found is None:
        return [] if reach(resource, tree) is Reach.EMPTY else None
    lookup, values = found
    given = {"organization": (organization_id,), "connection": (connection_id,), "values": values}
    sql = lookup.sql.format(values=", ".join("?" * len(values)))
    return [(sql, tuple(value for name in lookup.given for value in given[name]))]


def _lookup(resource: ResourceType, leaf: Leaf) -> tuple[Lookup, tuple[Any, ...]] | None:
    """Return the index that answers a comparison, and the values to look up."""
    name, table = _name(resource, leaf.path), table_of(resource)
    if name is None or isinstance(leaf, Present):
        return None
    if isinstance(leaf, ValueFilter):
        lookup, values = table.lookups.get(f"{name}.value"), _required_values(leaf.filter)
    else:
        op = "eq" if isinstance(leaf, OneOf) else leaf.op
        lookup = table.lookups.get(name if op == "eq" else f"{name} {op}")
        values = leaf.values if isinstance(leaf, OneOf) else (leaf.value,)
    if lookup is None or not values:
        return None
    if lookup.constant is not None:
        return (lookup, ()) if values[0] is lookup.constant else None
    # An empty text is compared in the document only.
    if not all(isinstance(value, str) and value for value in values):
        return None
    column = table.by_path.get(name)
    if column and column.convert:
        return lookup, tuple(map(column.convert, values))
    return lookup, tuple(dict.fromkeys(values if lookup.exact else map(fold, values)))


def _name(resource: ResourceType, path: AttrPath) -> str | None:
    """Return the dotted name of an attribute of the core schema; None for others."""
    if path.urn is not None and path.urn.lower() != resource.schema.id.lower():
        return None
    return f"{path.name}.{path.sub}".lower() if path.sub else path.name.lower()


def _required_values(tree: Tree) -> Sequence[Any]:
    """Return the texts one of which `value` must equal for the filter of an element to be true, if it says so."""
    if isinstance(tree, And):
        return next(filter(None, map(_required_values, tree.operands)), ())
    if isinstance(tree, Or):
        parts = [_required_values(operand) for operand in tree.operands]
        return [value for part in parts for value in part] if all(parts) else ()
    if isinstance(tree, OneOf) and tree.path.name.lower() == "value":
        return tree.values
    if isinstance(tree, Compare) and tree.op == "eq" and tree.path.name.lower() == "value":
        return (tree.value,)
    return ()
