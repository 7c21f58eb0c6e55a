"""Filters and sort keys as SQL: a filter tree over one table becomes one condition, an attribute one expression.

Every comparison answers true or false, never NULL, so that `not` means what RFC 7644 says. What has a column is
compared there; everything else in the stored document. An attribute that no schema knows is absent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway.scim.documents import fold, read_datetime
from gateway.scim.errors import InvalidFilter
from gateway.scim.filters import And, AttrPath, Compare, Filter, Not, Or, Present, ValueFilter
from gateway.scim.schemas import Attribute, ResourceType
from gateway.scim.sorting import compared
from gateway.store import groups, users
from gateway.store.clock import microseconds
from gateway.store.records import ConnectionRecord, GroupRecord, UserRecord

_COMPARE = {"eq": "=", "ne": "<>", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}


class Condition(NamedTuple):
    """A piece of SQL and its parameters."""

    sql: str
    parameters: tuple[Any, ...] = ()


TRUE, FALSE, NULL = Condition("1"), Condition("0"), Condition("NULL")


@dataclass(frozen=True)
class Column:
    """An attribute that has a column: the SQL that reads it, how a value is turned into what it holds."""

    sql: str
    convert: Callable[[Any], Any] | None = None
    nullable: bool = False


def _moment(value: Any) -> int:
    from_text = read_datetime(value) if isinstance(value, str) else None
    if from_text is None:
        raise InvalidFilter(f"{value!r} is not a date and time such as 2026-11-24T08:00:00Z.")
    return microseconds(from_text)


@dataclass(frozen=True)
class Table:
    """How one resource type is stored."""

    name: str
    columns: str
    record: Any
    alive: str
    by_path: dict[str, Column]
    #: Attributes that are rows elsewhere: a FROM … WHERE that joins those that the connection (its one parameter) sees,
    #: and the SQL of each sub-attribute.
    joined: dict[str, tuple[str, dict[str, str]]]


_COMMON = {
    "id": Column("{t}.uid"),
    "externalid": Column("{t}.external_id", nullable=True),
    "meta.created": Column("{t}.created", _moment),
    "meta.lastmodified": Column("{t}.modified", _moment),
    "meta.version": Column("""('W/"' || {t}.version || '"')"""),
}
USERS = Table(
    name="users",
    columns=users.COLUMNS,
    record=UserRecord,
    alive="{t}.deleted = 0",
    by_path=_COMMON
    | {
        "username": Column("{t}.user_name_key"),
        "active": Column("{t}.active"),
        "meta.resourcetype": Column("'User'"),
    },
    joined={
        "groups": (
            "grants r JOIN groups g ON g.id = r.group_id WHERE r.user_id = {t}.id"
            " AND (g.connection_id = ? OR g.connection_id IS NULL)",
            {"value": "g.uid", "display": "g.name"},
        )
    },
)
GROUPS = Table(
    name="groups",
    columns=groups.COLUMNS,
    record=GroupRecord,
    alive="1",
    by_path=_COMMON | {"displayname": Column("{t}.name_key"), "meta.resourcetype": Column("'Group'")},
    joined={
        "members": (
            "grants r JOIN users u ON u.id = r.user_id WHERE r.group_id = {t}.id AND u.deleted = 0"
            " AND (u.connection_id = ? OR u.connection_id IS NULL)",
            {
                "value": "u.uid",
                "display": "COALESCE(json_extract(u.doc, '$.displayName'), u.user_name)",
                "type": "'User'",
            },
        )
    },
)


#: A location is the id behind a text that is the same for all of a type.
_ONLY_SORTED = {"meta.location": Column("{t}.uid")}
#: By what the rows elsewhere are ordered where they are shown.
_SHOWN_BY = {"users": "group_id", "groups": "user_id"}


class Compiler:
    """One filter tree, or one sort key, over one table."""

    def __init__(self, resource: ResourceType, table: Table, connection: ConnectionRecord) -> None:
        self._resource, self._table, self._connection = resource, table, connection

    def condition(self, tree: Filter) -> Condition:
        """The whole tree."""
        return _logic(tree, self._leaf)

    def key(self, path: AttrPath) -> Condition:
        """What a resource is sorted by; NULL where it has no value (RFC 7644, 3.4.2.3)."""
        found = compared(self._resource, path)
        if found is None:
            return NULL
        attribute, target = found
        column = (self._table.by_path | _ONLY_SORTED).get(_dotted(attribute, path))
        if column:
            return Condition(column.sql.format(t=self._table.name))
        joined = self._table.joined.get(attribute.name.lower())
        sql, parameters = self._joined_value(target, *joined) if joined else self._value(path, *found)
        exact = target.case_exact or target.type not in ("string", "reference")
        return Condition(sql if exact else f"fold({sql})", parameters)

    def _joined_value(self, target: Attribute, source: str, subs: dict[str, str]) -> Condition:
        """Of the first row, in the order in which they are shown."""
        # A `$ref` is the id behind a text that is the same for all.
        sql = subs.get("value" if target.name == "$ref" else target.name.lower(), "NULL")
        source = source.format(t=self._table.name)
        return Condition(f"(SELECT {sql} FROM {source} ORDER BY r.{_SHOWN_BY[self._table.name]} LIMIT 1)",
                         (self._connection.id,))  # fmt: skip

    def _value(self, path: AttrPath, attribute: Attribute, target: Attribute) -> Condition:
        doc, where = f"{self._table.name}.doc", _json_path(self._resource, path, attribute)
        sub = "" if target is attribute else f".{_quoted(target.name)}"
        if not attribute.multi and not attribute.one_or_many:
            return Condition(f"json_extract({doc}, {_literal(where + sub)})")
        value = f"json_extract(e.value, {_literal('$' + sub)})" if sub else "e.value"
        primary = "json_extract(e.value, '$.primary') IS NOT 1, " if "primary" in attribute.table else ""
        each = f"json_each({doc}, {_literal(where)}) e"
        return Condition(f"(SELECT {value} FROM {each} ORDER BY {primary}e.key LIMIT 1)")

    def _leaf(self, leaf: Compare | Present | ValueFilter) -> Condition:
        path = leaf.path
        attribute = self._resource.find(path.urn, path.name, None)
        if attribute is None or (path.sub and _sub(attribute, path.sub) is None):
            return _absent(leaf)
        if isinstance(leaf, ValueFilter) and attribute.type != "complex":
            return FALSE
        joined = self._table.joined.get(attribute.name.lower())
        if joined:
            return self._joined(leaf, attribute, *joined)
        column = self._table.by_path.get(_dotted(attribute, path))
        if column and not isinstance(leaf, ValueFilter):
            sub = self._resource.find(path.urn, path.name, path.sub) if path.sub else attribute
            return _simple(leaf, column.sql.format(t=self._table.name), sub or attribute, column)
        if attribute.name == "meta" and isinstance(leaf, Present) and not path.sub:
            return TRUE
        return self._in_document(leaf, attribute)

    def _in_document(self, leaf: Compare | Present | ValueFilter, attribute: Attribute) -> Condition:
        doc, where = f"{self._table.name}.doc", _json_path(self._resource, leaf.path, attribute)
        if isinstance(leaf, ValueFilter) or attribute.multi or attribute.one_or_many:
            return self._element(leaf, attribute, doc, where)
        target = attribute
        if leaf.path.sub or attribute.type == "complex":
            sub = _sub(attribute, leaf.path.sub or "value")
            if sub is None:
                return _exists(leaf, doc, where) if not leaf.path.sub else _absent(leaf)
            target, where = sub, f"{where}.{_quoted(sub.name)}"
        return _simple(leaf, f"json_extract({doc}, {_literal(where)})", target)

    def _element(
        self, leaf: Compare | Present | ValueFilter, attribute: Attribute, doc: str, where: str
    ) -> Condition:
        """A multi-valued attribute matches when any one of its elements does."""
        if isinstance(leaf, Present) and not leaf.path.sub:
            return _exists(leaf, doc, where)
        inner = leaf.filter if isinstance(leaf, ValueFilter) else _on_element(leaf)
        condition = _logic(inner, lambda leaf: _of_element(leaf, attribute))
        found = self._any(attribute, doc, where, condition)
        if isinstance(leaf, Compare) and (leaf.op == "ne" or leaf.value is None):
            return _of_many(leaf, found, self._any(attribute, doc, where, TRUE))
        value = _wanted_value(inner)
        if attribute.name == "emails" and value is not None:
            # The index on addresses narrows, the document decides.
            narrowed = Condition(
                f"{self._table.name}.id IN (SELECT user_id FROM emails WHERE organization_id = ? AND value_key = ?)",
                (self._connection.organization_id, fold(value)),
            )
            return _join("AND", [narrowed, found])
        return found

    @staticmethod
    def _any(attribute: Attribute, doc: str, where: str, condition: Condition) -> Condition:
        each = f"json_each({doc}, {_literal(where)}) e"
        if not attribute.multi and attribute.type == "complex":
            each = f"(SELECT json_extract({doc}, {_literal(where)}) AS value) e"
            condition = _join("AND", [Condition("e.value IS NOT NULL"), condition])
        return Condition(f"EXISTS (SELECT 1 FROM {each} WHERE {condition.sql})", condition.parameters)

    def _joined(
        self, leaf: Compare | Present | ValueFilter, attribute: Attribute, source: str, subs: dict[str, str]
    ) -> Condition:
        source, seen = source.format(t=self._table.name), (self._connection.id,)
        some = Condition(f"EXISTS (SELECT 1 FROM {source})", seen)
        if isinstance(leaf, Present) and not leaf.path.sub:
            return some
        inner = leaf.filter if isinstance(leaf, ValueFilter) else _on_element(leaf)

        def on_row(leaf: Compare | Present | ValueFilter) -> Condition:
            sub = _sub(attribute, leaf.path.name)
            sql = subs.get(leaf.path.name.lower())
            return (
                _simple(leaf, sql, sub)
                if sub and sql and not isinstance(leaf, ValueFilter)
                else _absent(leaf)
            )

        condition = _logic(inner, on_row)
        found = Condition(f"EXISTS (SELECT 1 FROM {source} AND {condition.sql})", seen + condition.parameters)
        return _of_many(leaf, found, some) if isinstance(leaf, Compare) else found


def _logic(tree: Filter, leaf: Callable[[Any], Condition]) -> Condition:
    if isinstance(tree, And | Or):
        return _join("AND" if isinstance(tree, And) else "OR", [_logic(part, leaf) for part in tree.operands])
    if isinstance(tree, Not):
        return _not(_logic(tree.operand, leaf))
    return leaf(tree)


def _join(word: str, parts: Sequence[Condition]) -> Condition:
    # Chains are nested as a balanced tree: SQLite limits the depth of an expression, not its length.
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    left, right = _join(word, parts[:middle]), _join(word, parts[middle:])
    return Condition(f"({left.sql} {word} {right.sql})", left.parameters + right.parameters)


def _not(condition: Condition) -> Condition:
    return Condition(f"NOT {condition.sql}", condition.parameters)


def _absent(leaf: Compare | Present | ValueFilter) -> Condition:
    """An attribute without a value: only `ne` a value, and `eq null`, hold (RFC 7644, 3.4.2.2; RFC 7643, 2.5)."""
    if isinstance(leaf, Compare):
        return TRUE if (leaf.op == "ne") is (leaf.value is not None) and leaf.op in ("eq", "ne") else FALSE
    return FALSE


def _exists(leaf: Compare | Present | ValueFilter, doc: str, where: str) -> Condition:
    if isinstance(leaf, Present):
        return Condition(f"json_type({doc}, {_literal(where)}) IS NOT NULL")
    return _absent(leaf)


def _on_element(leaf: Compare | Present) -> Filter:
    """`emails.type eq "x"` asks the same of an element as `emails[type eq "x"]`; of `ne` this is the opposite."""
    inner = AttrPath(None, leaf.path.sub or "value", None)
    if isinstance(leaf, Present):
        return Present(inner)
    return Compare(inner, "eq" if leaf.op == "ne" else leaf.op, leaf.value)


def _of_many(leaf: Compare, found: Condition, some: Condition) -> Condition:
    """`found`: a value is equal; `some`: there is any. `ne` holds where none is equal, and no value equals null."""
    if leaf.value is None:
        found = _join("OR", [found, _not(some)])
    return _not(found) if leaf.op == "ne" else found


def _of_element(leaf: Compare | Present | ValueFilter, attribute: Attribute) -> Condition:
    if isinstance(leaf, ValueFilter):
        return _absent(leaf)
    if not attribute.sub:
        return _simple(leaf, "e.value", attribute) if leaf.path.name.lower() == "value" else _absent(leaf)
    sub = _sub(attribute, leaf.path.name)
    return (
        _simple(leaf, f"json_extract(e.value, {_literal('$.' + _quoted(sub.name))})", sub)
        if sub
        else _absent(leaf)
    )


def _simple(
    leaf: Compare | Present, sql: str, attribute: Attribute, column: Column | None = None
) -> Condition:
    """One comparison of one stored value."""
    if isinstance(leaf, Present):
        return Condition(f"{sql} IS NOT NULL")
    value, op = leaf.value, leaf.op
    if value is None:
        return Condition(f"{sql} IS {'NULL' if op == 'eq' else 'NOT NULL'}")
    if column and column.convert:
        value = column.convert(value)
    elif not _comparable(attribute, value):
        return TRUE if op == "ne" else FALSE
    elif isinstance(value, str) and not attribute.case_exact:
        value, sql = fold(value), sql if column else f"fold({sql})"
    if op in _COMPARE:
        return _compared(sql, op, value, column)
    if not isinstance(value, str):
        raise InvalidFilter(f"{op} compares text, and {attribute.name} is not text.")
    return _within(op, sql, value)


def _compared(sql: str, op: str, value: Any, column: Column | None) -> Condition:
    compared = f"{sql} {_COMPARE[op]} ?"
    if column and not column.nullable:
        return Condition(compared, (value,))
    if column and op != "ne":
        # Written so that an index on the column can serve it.
        return Condition(f"({sql} IS NOT NULL AND {compared})", (value,))
    return Condition(f"COALESCE({compared}, {int(op == 'ne')})", (value,))


def _within(op: str, sql: str, value: str) -> Condition:
    if not value:
        return Condition(f"{sql} IS NOT NULL")
    if op == "co":
        return Condition(f"COALESCE(instr({sql}, ?) > 0, 0)", (value,))
    if op == "sw":
        return Condition(f"COALESCE(substr({sql}, 1, {len(value)}) = ?, 0)", (value,))
    return Condition(f"COALESCE(substr({sql}, -{len(value)}) = ?, 0)", (value,))


def _comparable(attribute: Attribute, value: Any) -> bool:
    if attribute.type == "boolean":
        return isinstance(value, bool)
    if attribute.type in ("integer", "decimal"):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, str)


def _wanted_value(tree: Filter) -> str | None:
    """The text that `value` must equal for the tree to hold, where the tree says so."""
    for part in tree.operands if isinstance(tree, And) else (tree,):
        if isinstance(part, Compare) and part.op == "eq" and part.path.name.lower() == "value":
            return part.value if isinstance(part.value, str) else None
    return None


def _sub(attribute: Attribute, name: str) -> Attribute | None:
    return next((sub for sub in attribute.sub if sub.name.lower() == name.lower()), None)


def _dotted(attribute: Attribute, path: AttrPath) -> str:
    return f"{attribute.name}.{path.sub}".lower() if path.sub else attribute.name.lower()


def _json_path(resource: ResourceType, path: AttrPath, attribute: Attribute) -> str:
    urn = path.urn
    if urn is None or urn.lower() == resource.schema.id.lower():
        return f"$.{_quoted(attribute.name)}"
    extension = next(e.id for e in resource.extensions if e.id.lower() == urn.lower())
    return f"$.{_quoted(extension)}.{_quoted(attribute.name)}"


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
