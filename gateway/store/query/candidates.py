"""Which resources may meet a filter, as an index finds them: nobody else needs to be read.

Comparisons by `eq` of one attribute that are joined by `or` count as one, and become one `IN`: that is how clients ask
for many resources by their ids. What the filter means is compiled in `conditions`; candidates only narrow it.
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

#: Comparisons in one filter, those that became one counted once. Each is evaluated for every resource that is read.
MAX_TERMS = 100


@dataclass(frozen=True, slots=True)
class Among:
    """One attribute equals any of these texts."""

    path: AttrPath
    values: tuple[str, ...]


#: What a filter is made of once it is gathered.
Leaf = Compare | Among | Present | ValueFilter
#: A filter whose comparisons by `eq` are gathered.
Tree = Any


def table_of(resource: ResourceType) -> Table:
    """Where the resources of a type are stored."""
    return USERS if resource.name == "User" else GROUPS


def gathered(tree: Filter) -> Tree:
    """The same filter, in which every `a eq "1" or a eq "2"` is one comparison. Raises TooMany above MAX_TERMS."""
    tree = _gathered(tree)
    terms = sum(1 for _ in _leaves(tree))
    if terms > MAX_TERMS:
        raise TooMany(
            f"The filter has {terms} comparisons; at most {MAX_TERMS} are answered. Comparisons of one attribute by eq"
            ' that are joined by or, such as id eq "1" or id eq "2", count as one. Ask in several requests.'
        )
    return tree


def _gathered(tree: Filter) -> Tree:
    if isinstance(tree, Not):
        return Not(_gathered(tree.operand))
    if isinstance(tree, ValueFilter):
        return ValueFilter(tree.path, _gathered(tree.filter))
    if isinstance(tree, And):
        return And(tuple(map(_gathered, tree.operands)))
    if not isinstance(tree, Or):
        return tree
    values: dict[tuple[str, str, str], dict[str, None]] = {}
    places: dict[tuple[str, str, str], int] = {}
    operands: list[Tree] = []
    for operand in tree.operands:
        if not (isinstance(operand, Compare) and operand.op == "eq" and isinstance(operand.value, str)):
            operands.append(_gathered(operand))
            continue
        path = operand.path
        key = (path.urn or "").lower(), path.name.lower(), (path.sub or "").lower()
        if key not in places:
            places[key] = len(operands)
            operands.append(operand)
        values.setdefault(key, {})[operand.value] = None
    for key, place in places.items():
        if len(values[key]) > 1:
            operands[place] = Among(operands[place].path, tuple(values[key]))
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
    """How many resources of a type a gathered filter may make the engine read. Asks no database."""
    if isinstance(tree, And):
        return min(reach(resource, operand) for operand in tree.operands)
    if isinstance(tree, Or):
        return max(reach(resource, operand) for operand in tree.operands)
    if isinstance(tree, Not):
        return Reach.ALL
    if resource.find(tree.path.urn, tree.path.name, None) is None:
        return Reach.ALL if isinstance(tree, Compare) and not _absent_fails(tree) else Reach.NOBODY
    if is_active(resource, tree):
        return Reach.RANGE
    found = _lookup(resource, tree)
    return Reach.ALL if found is None else found[0].reach


def _absent_fails(leaf: Compare) -> bool:
    """Whether a comparison fails for an attribute that nobody has."""
    return leaf.op != "ne" if leaf.value is not None else leaf.op == "ne"


def is_active(resource: ResourceType, tree: Tree) -> bool:
    """Whether that is the whole filter: `active eq true`, which nearly everybody meets."""
    if not isinstance(tree, Compare) or (tree.op, tree.value) != ("eq", True) or tree.value is not True:
        return False
    return _name(resource, tree.path) == "active"


def is_answered(resource: ResourceType, tree: Tree) -> bool:
    """Whether the candidates of a gathered filter are those that meet it and are seen, and no others."""
    found = None if isinstance(tree, And | Or | Not) else _lookup(resource, tree)
    return found is not None and found[0].answers


def candidates(
    resource: ResourceType, tree: Tree, organization_id: int, connection_id: int
) -> list[tuple[str, tuple[Any, ...]]] | None:
    """SELECTs of keys, each with its parameters: whoever meets a gathered filter is among what they find. None: all
    resources may."""
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
        return [] if reach(resource, tree) is Reach.NOBODY else None
    lookup, values = found
    given = {"organization": (organization_id,), "connection": (connection_id,), "values": values}
    sql = lookup.sql.format(values=", ".join("?" * len(values)))
    return [(sql, tuple(value for name in lookup.given for value in given[name]))]


def _lookup(resource: ResourceType, leaf: Leaf) -> tuple[Lookup, tuple[Any, ...]] | None:
    """The index that answers a comparison, and the values that are looked up there."""
    name, table = _name(resource, leaf.path), table_of(resource)
    if name is None or isinstance(leaf, Present):
        return None
    if isinstance(leaf, ValueFilter):
        lookup, values = table.lookups.get(f"{name}.value"), _wanted(leaf.filter)
    else:
        op = "eq" if isinstance(leaf, Among) else leaf.op
        lookup = table.lookups.get(name if op == "eq" else f"{name} {op}")
        values = leaf.values if isinstance(leaf, Among) else (leaf.value,)
    if lookup is None or not values:
        return None
    if lookup.constant is not None:
        return (lookup, ()) if values[0] is lookup.constant else None
    # An empty text is looked for in the document alone.
    if not all(isinstance(value, str) and value for value in values):
        return None
    column = table.by_path.get(name)
    if column and column.convert:
        return lookup, tuple(map(column.convert, values))
    return lookup, tuple(dict.fromkeys(values if lookup.exact else map(fold, values)))


def _name(resource: ResourceType, path: AttrPath) -> str | None:
    """The name of an attribute of the core schema, dotted; None for others."""
    if path.urn is not None and path.urn.lower() != resource.schema.id.lower():
        return None
    return f"{path.name}.{path.sub}".lower() if path.sub else path.name.lower()


def _wanted(tree: Tree) -> Sequence[Any]:
    """The texts of which `value` must equal one for the filter of an element to hold, where the filter says so."""
    if isinstance(tree, And):
        return next(filter(None, map(_wanted, tree.operands)), ())
    if isinstance(tree, Or):
        parts = [_wanted(operand) for operand in tree.operands]
        return [value for part in parts for value in part] if all(parts) else ()
    if isinstance(tree, Among) and tree.path.name.lower() == "value":
        return tree.values
    if isinstance(tree, Compare) and tree.op == "eq" and tree.path.name.lower() == "value":
        return (tree.value,)
    return ()
