"""Filters and sort keys as SQL: a filter tree over one table becomes one condition, an attribute one expression.

Every comparison is true or false, never NULL, so that `not` means what RFC 7644 says. An attribute with a column is
compared there, any other in the stored document. An attribute that no schema has is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gateway.scim.errors import InvalidFilter
from gateway.scim.filter_ast import And, AttrPath, Compare, Not, Or, Present, ValueFilter
from gateway.scim.json_text import fold
from gateway.scim.schemas import Attribute, ResourceType
from gateway.scim.sorting import find_compared
from gateway.store.engine.dialects import Dialect
from gateway.store.query.candidates import Leaf, OneOf, Tree
from gateway.store.query.columns import ONLY_SORTED, ORDER_IN_REPRESENTATION, Column, Table
from gateway.store.records import ConnectionRecord

_COMPARE = {"eq": "=", "ne": "<>", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}


class Condition(NamedTuple):
    """A piece of SQL and its parameters."""

    sql: str
    parameters: tuple[Any, ...] = ()
    #: The depth of nested brackets.
    depth: int = 0


TRUE, FALSE, NULL = Condition("TRUE"), Condition("FALSE"), Condition("NULL")


class FilterCompiler:
    """A compiler of one filter tree, or one sort key, over one table."""

    def __init__(
        self, dialect: Dialect, resource: ResourceType, table: Table, connection: ConnectionRecord
    ) -> None:
        self._dialect, self._resource, self._table = dialect, resource, table
        self._connection = connection

    def condition(self, tree: Tree) -> Condition:
        """Compile a merged tree (`candidates.merge_equals`). Raises InvalidFilter."""
        return _combine(tree, self._compile_leaf)

    def key(self, path: AttrPath) -> Condition:
        """Return the expression that `sortBy` orders by; NULL for a resource without the value (RFC 7644, 3.4.2.3)."""
        found = find_compared(self._resource, path)
        if found is None:
            return NULL
        attribute, target = found
        column = (self._table.by_path | ONLY_SORTED).get(_dotted_name(attribute, path))
        joined = self._table.joined.get(attribute.name.lower())
        if column:
            key = Condition(column.sql.format(t=self._table.name))
        else:
            key = self._joined_value(target, *joined) if joined else self._value(path, *found)
        text = _is_text(target) and not (column and column.convert)
        return key._replace(sql=self._dialect.ordered(key.sql)) if text else key

    def _joined_value(self, target: Attribute, source: str, subs: dict[str, str]) -> Condition:
        """Return the value of the first row, in the order of the representation."""
        # A `$ref` is the id after a prefix that is the same for all.
        sql = subs.get("value" if target.name == "$ref" else target.name.lower(), "NULL")
        source = source.format(t=self._table.name)
        return Condition(f"(SELECT {sql} FROM {source} ORDER BY r.{ORDER_IN_REPRESENTATION[self._table.name]} LIMIT 1)",
                         (self._connection.id,))  # fmt: skip

    def _value(self, path: AttrPath, attribute: Attribute, target: Attribute) -> Condition:
        names = self._names(path, attribute)
        if not attribute.multi and not attribute.one_or_many:
            below = [] if target is attribute else [target.name]
            return Condition(self._read(target, [*names, *below]))
        document, place = self._document(target, names)
        each = self._dialect.elements(document, place, "e", attribute.multi)
        value = self._of_element(target, None if target is attribute else target.name, "e")
        first = ""
        if "primary" in attribute.table:
            first = f"COALESCE({self._dialect.element('e', 'primary', 'boolean')}, 0) DESC, "
        return Condition(f"(SELECT {value} FROM {each} ORDER BY {first}e.key LIMIT 1)")

    def _compile_leaf(self, leaf: Leaf) -> Condition:
        path = leaf.path
        attribute = self._resource.find(path.urn, path.name, None)
        if attribute is None or (path.sub and _find_sub(attribute, path.sub) is None):
            return _compile_absent(leaf)
        if isinstance(leaf, ValueFilter) and attribute.type != "complex":
            return FALSE
        joined = self._table.joined.get(attribute.name.lower())
        if joined:
            return self._compile_joined(leaf, attribute, *joined)
        column = self._table.by_path.get(_dotted_name(attribute, path))
        if column and not isinstance(leaf, ValueFilter):
            sub = self._resource.find(path.urn, path.name, path.sub) if path.sub else attribute
            return self._compile_simple(leaf, column.sql.format(t=self._table.name), sub or attribute, column)
        if attribute.name == "meta" and isinstance(leaf, Present) and not path.sub:
            return TRUE
        return self._compile_in_document(leaf, attribute)

    def _compile_in_document(self, leaf: Leaf, attribute: Attribute) -> Condition:
        names = self._names(leaf.path, attribute)
        if isinstance(leaf, ValueFilter) or attribute.multi or attribute.one_or_many:
            return self._compile_element(leaf, attribute, names)
        if not leaf.path.sub and attribute.type != "complex":
            return self._compile_simple(leaf, self._read(attribute, names), attribute)
        sub = _find_sub(attribute, leaf.path.sub or "value")
        if sub is None:
            return self._presence(attribute, names) if isinstance(leaf, Present) else _compile_absent(leaf)
        return self._compile_simple(leaf, self._read(sub, [*names, sub.name]), sub)

    def _compile_element(self, leaf: Leaf, attribute: Attribute, names: Sequence[str]) -> Condition:
        """Compile a comparison of a multi-valued attribute, which any one of its elements may meet."""
        if isinstance(leaf, Present) and not leaf.path.sub:
            return self._presence(attribute, names)
        inner = leaf.filter if isinstance(leaf, ValueFilter) else _element_filter(leaf)
        condition = _combine(inner, lambda leaf: self._on_element(leaf, attribute))
        found = self._any_element(attribute, names, condition)
        if isinstance(leaf, Compare) and (leaf.op == "ne" or leaf.value is None):
            return _complete_for_many(leaf, found, self._any_element(attribute, names, TRUE))
        return found

    def _any_element(self, attribute: Attribute, names: Sequence[str], condition: Condition) -> Condition:
        dialect, many = self._dialect, attribute.multi
        document, place = self._document(attribute, names)
        each = dialect.elements(document, place, "e", many)
        if any(map(_is_exact, attribute.sub)):
            # Values that are compared exactly are in the stored document.
            exact = dialect.elements(dialect.stored_document(self._table.name), names, "x", many)
            each = f"{each} JOIN {exact} ON {dialect.same_key('x', 'e')}"
        return Condition(f"EXISTS (SELECT 1 FROM {each} WHERE {condition.sql})", condition.parameters)

    def _on_element(self, leaf: Leaf, attribute: Attribute) -> Condition:
        if isinstance(leaf, ValueFilter) or leaf.path.urn or leaf.path.sub:
            return _compile_absent(leaf)  # a part of an element has no parts
        if not attribute.sub:
            if leaf.path.name.lower() != "value":
                return _compile_absent(leaf)
            return self._compile_simple(leaf, self._of_element(attribute, None, "e"), attribute)
        sub = _find_sub(attribute, leaf.path.name)
        if sub is None:
            return _compile_absent(leaf)
        return self._compile_simple(
            leaf, self._of_element(sub, sub.name, "x" if _is_exact(sub) else "e"), sub
        )

    def _compile_joined(
        self, leaf: Leaf, attribute: Attribute, source: str, subs: dict[str, str]
    ) -> Condition:
        source, seen = source.format(t=self._table.name), (self._connection.id,)
        some = Condition(f"EXISTS (SELECT 1 FROM {source})", seen)
        if isinstance(leaf, Present) and not leaf.path.sub:
            return some
        inner = leaf.filter if isinstance(leaf, ValueFilter) else _element_filter(leaf)

        def on_row(leaf: Leaf) -> Condition:
            sub, sql = _find_sub(attribute, leaf.path.name), subs.get(leaf.path.name.lower())
            if sub is None or sql is None or isinstance(leaf, ValueFilter) or leaf.path.urn or leaf.path.sub:
                return _compile_absent(leaf)
            return self._compile_simple(leaf, sql, sub)

        condition = _combine(inner, on_row)
        found = Condition(f"EXISTS (SELECT 1 FROM {source} AND {condition.sql})", seen + condition.parameters)
        return _complete_for_many(leaf, found, some) if isinstance(leaf, Compare) else found

    # Reading of values ----------------------------------------------------------------------------------------------

    def _names(self, path: AttrPath, attribute: Attribute) -> list[str]:
        """Return the keys that lead to an attribute in the stored document."""
        if path.urn is None or path.urn.lower() == self._resource.schema.id.lower():
            return [attribute.name]
        urn = path.urn.lower()
        return [next(e.id for e in self._resource.extensions if e.id.lower() == urn), attribute.name]

    def _document(self, attribute: Attribute, names: Sequence[str]) -> tuple[str, Sequence[str]]:
        """Return the document in which an attribute is compared, and the keys that lead to it there."""
        if _is_exact(attribute):
            return self._dialect.stored_document(self._table.name), names
        return self._dialect.comparable_document(self._table.name), [fold(name) for name in names]

    def _read(self, attribute: Attribute, names: Sequence[str]) -> str:
        document, place = self._document(attribute, names)
        return self._dialect.value(document, place, attribute.type)

    def _of_element(self, attribute: Attribute, name: str | None, alias: str) -> str:
        name = fold(name) if name and not _is_exact(attribute) else name
        return self._dialect.element(alias, name, attribute.type)

    def _presence(self, attribute: Attribute, names: Sequence[str]) -> Condition:
        return Condition(self._dialect.exists(*self._document(attribute, names)))

    # Comparisons of one value ---------------------------------------------------------------------------------------

    def _compile_simple(
        self, leaf: Compare | OneOf | Present, sql: str, attribute: Attribute, column: Column | None = None
    ) -> Condition:
        if isinstance(leaf, Present):
            return Condition(f"{sql} IS NOT NULL")
        if isinstance(leaf, OneOf):
            return self._one_of(leaf, sql, attribute, column)
        value, op = leaf.value, leaf.op
        if value is None:
            return Condition(f"{sql} IS {'NULL' if op == 'eq' else 'NOT NULL'}")
        if column and column.convert:
            value = column.convert(value)
        if not _comparable(attribute, leaf.value):
            return TRUE if op == "ne" else FALSE
        if isinstance(value, str) and not attribute.case_exact:
            value = fold(value)
        if op in _COMPARE:
            return self._compare(sql, op, value, column)
        if not isinstance(value, str):
            raise InvalidFilter(f"{op} compares text, and {attribute.name} is not text.")
        return self._match_text(op, sql, value)

    def _one_of(self, leaf: OneOf, sql: str, attribute: Attribute, column: Column | None) -> Condition:
        if not _is_text(attribute):
            return FALSE
        values: Sequence[Any] = leaf.values
        if column and column.convert:
            values = [column.convert(value) for value in values]
        elif not attribute.case_exact:
            values = [fold(value) for value in values]
        found = f"{sql} IN ({', '.join('?' * len(values))})"
        if column and column.nullable:
            found = f"({sql} IS NOT NULL AND {found})"
        return Condition(found if column else f"COALESCE({found}, FALSE)", tuple(values))

    def _compare(self, sql: str, op: str, value: Any, column: Column | None) -> Condition:
        if op not in ("eq", "ne") and isinstance(value, str):
            sql = self._dialect.ordered(sql)
        compared = f"{sql} {_COMPARE[op]} ?"
        if column and not column.nullable:
            return Condition(compared, (value,))
        if column and op != "ne":
            # Written so that an index on the column can serve it.
            return Condition(f"({sql} IS NOT NULL AND {compared})", (value,))
        return Condition(f"COALESCE({compared}, {'TRUE' if op == 'ne' else 'FALSE'})", (value,))

    def _match_text(self, op: str, sql: str, value: str) -> Condition:
        if not value:
            return Condition(f"{sql} IS NOT NULL")
        if op == "co":
            return Condition(f"COALESCE({self._dialect.contains(sql)}, FALSE)", (value,))
        if op == "sw":
            return Condition(f"COALESCE(substr({sql}, 1, {len(value)}) = ?, FALSE)", (value,))
        return Condition(f"COALESCE({self._dialect.last_characters(sql, len(value))} = ?, FALSE)", (value,))


def _combine(tree: Tree, leaf: Callable[[Any], Condition], negated: bool = False) -> Condition:
    if isinstance(tree, And | Or):
        # De Morgan: no condition is ever NULL, so a `not` can go down to the leaves.
        word = "AND" if isinstance(tree, And) is not negated else "OR"
        return _join(word, [_combine(part, leaf, negated) for part in tree.operands])
    if isinstance(tree, Not):
        return _combine(tree.operand, leaf, not negated)
    return _not(leaf(tree)) if negated else leaf(tree)


def _join(word: str, parts: Sequence[Condition]) -> Condition:
    # SQLite limits the depth of an expression, not its length, and the parser stack to the left of a position:
    # the deepest part is first, the others are nested as a balanced tree.
    if len(parts) == 1:
        return parts[0]
    first, *others = sorted(parts, key=lambda part: part.depth, reverse=True)
    if first.depth == 0:
        middle = len(parts) // 2
        first, other = _join(word, parts[:middle]), _join(word, parts[middle:])
    else:
        other = _join(word, others)
    depth = 1 + max(first.depth, other.depth)
    return Condition(f"({first.sql} {word} {other.sql})", first.parameters + other.parameters, depth)


def _not(condition: Condition) -> Condition:
    return condition._replace(sql=f"NOT {condition.sql}")


def _compile_absent(leaf: Leaf) -> Condition:
    """Compile a comparison of an absent attribute: true for `ne` a value and `eq null` (RFC 7643, 2.5)."""
    if isinstance(leaf, Compare):
        return TRUE if (leaf.op == "ne") is (leaf.value is not None) and leaf.op in ("eq", "ne") else FALSE
    return FALSE


def _element_filter(leaf: Compare | OneOf | Present) -> Tree:
    """Return `emails.type eq "x"` as the filter `type eq "x"` of an element; `ne` becomes `eq`, to be negated."""
    inner = AttrPath(None, leaf.path.sub or "value", None)
    if isinstance(leaf, OneOf):
        return OneOf(inner, leaf.values)
    if isinstance(leaf, Present):
        return Present(inner)
    return Compare(inner, "eq" if leaf.op == "ne" else leaf.op, leaf.value)


def _complete_for_many(leaf: Compare, found: Condition, some: Condition) -> Condition:
    """Add null and `ne` to a condition on elements: `ne` is true where no value is equal, and no value equals null.

    `found` is true if a value is equal, `some` if there is any value.
    """
    if leaf.value is None:
        found = _join("OR", [found, _not(some)])
    return _not(found) if leaf.op == "ne" else found


def _comparable(attribute: Attribute, value: Any) -> bool:
    if attribute.type == "boolean":
        return isinstance(value, bool)
    if attribute.type in ("integer", "decimal"):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, str)


def _find_sub(attribute: Attribute, name: str) -> Attribute | None:
    return next((sub for sub in attribute.sub if sub.name.lower() == name.lower()), None)


def _dotted_name(attribute: Attribute, path: AttrPath) -> str:
    return f"{attribute.name}.{path.sub}".lower() if path.sub else attribute.name.lower()


def _is_text(attribute: Attribute) -> bool:
    return attribute.type not in ("boolean", "integer", "decimal")


def _is_exact(attribute: Attribute) -> bool:
    return attribute.case_exact and _is_text(attribute)
