"""Where SQLite and PostgreSQL want different words for the same. Everything else is written once, for both.

A document is stored twice: as it is shown, and as it is compared (`doc_key`: names and texts folded by Python, for
engines fold letters differently). SQLite keeps both as text; PostgreSQL keeps the second one as `jsonb`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Protocol


class Dialect(Protocol):
    """Pieces of SQL. `document` is the SQL of a document, `names` the way down into it, `kind` the type of an attribute
    (RFC 7643, 2.3). Values come out as text, number, or 1 and 0 for booleans; NULL where there is none."""

    #: Behind a SELECT: the rows that were found stay until the transaction ends.
    keep: str
    #: Whether rows that are sorted are copied whole: then their keys are sorted, and the rows looked up.
    sorts_copies: bool
    #: The parameter that is a document as it is compared, also where no column tells it.
    comparable: str
    #: Whether each statement is a turn to a server, which costs more than what is asked for.
    turns: bool

    def shown(self, table: str) -> str:
        """The document of a row as it is shown."""

    def compared(self, table: str) -> str:
        """The document of a row as it is compared."""

    def part(self, document: str, names: Sequence[str]) -> str:
        """A part of a document that is text, as JSON text."""

    def octets(self, sql: str) -> str:
        """How many bytes a text has."""

    def value(self, document: str, names: Sequence[str], kind: str) -> str:
        """A single value."""

    def there(self, document: str, names: Sequence[str]) -> str:
        """Whether there is anything at all."""

    def elements(self, document: str, names: Sequence[str], alias: str, array: bool) -> str:
        """For FROM: each element of what is an array, or (not `array`) may stand there alone: `alias` (key, value)."""

    def same_key(self, one: str, other: str) -> str:
        """Whether two of those are the same element."""

    def element(self, alias: str, name: str | None, kind: str) -> str:
        """A value of an element, or (None) the element itself."""

    def pairs(self, query: str, one: str, other: str) -> str:
        """Two columns of all rows of a query, in its order, as text: a JSON array of arrays, NULL or empty for none."""

    def key_in(self, query: str, few: bool) -> str:
        """Whether the key of a row is one of those that a query finds. It is answered first; `few`: some hundreds."""

    def numbers(self, sql: str) -> str:
        """The numbers of a column, of all rows of a group, as text: with commas between them, in any order."""

    def ordered(self, sql: str) -> str:
        """Text that is ordered by the numbers of its characters."""

    def contains(self, sql: str) -> str:
        """Whether a text holds another one, the next parameter."""

    def last(self, sql: str, length: int) -> str:
        """The last characters of a text."""


class SqliteDialect:
    """JSON functions over text, as SQLite 3.38 and later have them."""

    keep = ""
    sorts_copies = True
    turns = False
    comparable = "?"

    def shown(self, table: str) -> str:
        return f"{table}.doc"

    def compared(self, table: str) -> str:
        return f"{table}.doc_key"

    def part(self, document: str, names: Sequence[str]) -> str:
        return f"{document} -> {_path(names)}"

    def octets(self, sql: str) -> str:
        return f"LENGTH(CAST({sql} AS BLOB))"

    def value(self, document: str, names: Sequence[str], kind: str) -> str:
        return f"json_extract({document}, {_path(names)})"

    def there(self, document: str, names: Sequence[str]) -> str:
        return f"json_type({document}, {_path(names)}) IS NOT NULL"

    def elements(self, document: str, names: Sequence[str], alias: str, array: bool) -> str:
        place = _path(names)
        if array:
            return f"json_each({document}, {place}) {alias}"
        # An object that stands alone would be taken apart.
        alone = f"CASE json_type({document}, {place}) WHEN 'object' THEN json_array({document} -> {place})"
        return f"json_each({alone} ELSE {document} -> {place} END) {alias}"

    def same_key(self, one: str, other: str) -> str:
        return f"{one}.key IS {other}.key"

    def element(self, alias: str, name: str | None, kind: str) -> str:
        return f"{alias}.value" if name is None else f"json_extract({alias}.value, {_path([name])})"

    def pairs(self, query: str, one: str, other: str) -> str:
        return f"(SELECT json_group_array(json_array({one}, {other})) FROM ({query}) found)"

    def key_in(self, query: str, few: bool) -> str:
        return f"id IN ({query})"

    def numbers(self, sql: str) -> str:
        return f"group_concat({sql})"

    def ordered(self, sql: str) -> str:
        return sql

    def contains(self, sql: str) -> str:
        return f"instr({sql}, ?) > 0"

    def last(self, sql: str, length: int) -> str:
        return f"substr({sql}, -{length})"


class PostgresqlDialect:
    """`jsonb`, as PostgreSQL 12 and later have it."""

    keep = " FOR KEY SHARE"
    sorts_copies = False
    turns = True
    comparable = "?::jsonb"

    def shown(self, table: str) -> str:
        return f"{table}.doc::jsonb"

    def compared(self, table: str) -> str:
        return f"{table}.doc_key"

    def part(self, document: str, names: Sequence[str]) -> str:
        # Not `jsonb`, which would build the whole document anew.
        return f"({document}::json{_steps(names)})::text"

    def octets(self, sql: str) -> str:
        return f"octet_length({sql})"

    def value(self, document: str, names: Sequence[str], kind: str) -> str:
        return _typed(f"{document}{_steps(names)}", kind)

    def there(self, document: str, names: Sequence[str]) -> str:
        return f"({document}{_steps(names)}) IS NOT NULL"

    def elements(self, document: str, names: Sequence[str], alias: str, array: bool) -> str:
        found = f"{document}{_steps(names)}"
        # In its lax mode a path takes an array apart, and anything else as it is.
        each = f"jsonb_path_query({found}, '$[*]')"
        return f"{each} WITH ORDINALITY AS {alias}(value, key)"

    def same_key(self, one: str, other: str) -> str:
        return f"{one}.key = {other}.key"

    def element(self, alias: str, name: str | None, kind: str) -> str:
        return _typed(f"{alias}.value{_steps([name] if name else [])}", kind)

    def pairs(self, query: str, one: str, other: str) -> str:
        return f"(SELECT json_agg(json_build_array({one}, {other}))::text FROM ({query}) found)"

    def key_in(self, query: str, few: bool) -> str:
        return f"id = ANY (ARRAY({query}))" if few else f"id IN ({query})"

    def numbers(self, sql: str) -> str:
        return f"string_agg({sql}::text, ',')"

    def ordered(self, sql: str) -> str:
        return f'({sql} COLLATE "C")'

    def contains(self, sql: str) -> str:
        return f"strpos({sql}, ?) > 0"

    def last(self, sql: str, length: int) -> str:
        return f"right({sql}, {length})"


def _path(names: Sequence[str]) -> str:
    return _literal("$" + "".join(f".{json.dumps(name, ensure_ascii=False)}" for name in names))


def _steps(names: Sequence[str]) -> str:
    return "".join(f" -> {_literal(name)}" for name in names)


def _typed(found: str, kind: str) -> str:
    if kind == "boolean":
        return f"CASE ({found})::text WHEN 'true' THEN 1 WHEN 'false' THEN 0 END"
    if kind in ("integer", "decimal"):
        return f"CASE jsonb_typeof({found}) WHEN 'number' THEN ({found})::numeric END"
    return f"({found} #>> '{{}}')"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
