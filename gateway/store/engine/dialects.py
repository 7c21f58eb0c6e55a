"""SQL dialects: the expressions that differ between SQLite and PostgreSQL. All other SQL is written once, for both.

A document is stored twice: as it is represented, and as it is compared (`doc_key`: names and texts folded by Python,
because engines fold letters differently). SQLite stores both as text; PostgreSQL stores the second one as `jsonb`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Protocol


class Dialect(Protocol):
    """The SQL expressions that an engine provides.

    `document` is the SQL of a document, `names` are the keys that lead to a part of it, `kind` is the type of an
    attribute (RFC 7643, 2.3). Values are text, numbers, or 1 and 0 for booleans; NULL if there is none.
    """

    #: The end of a SELECT that locks its rows against removal until the transaction ends.
    keep: str
    #: True if a sort copies whole rows: then keys are sorted, and the rows looked up.
    sorts_copies: bool
    #: The cast of a parameter that is a comparable document, for where no column gives its type.
    comparable: str
    #: True if each statement is a round trip to a server, which costs more than its execution.
    has_round_trips: bool
    #: True if the key of a removed row is never given again.
    counts_keys: bool

    def each(self, parameter: str) -> str:
        """Return the FROM item `listed(value)` of the texts of a list parameter (`engine.statements`)."""

    def one_of(self, column: str, parameter: str) -> str:
        """Test whether a text is in a list parameter."""

    def stored_document(self, table: str) -> str:
        """Return the document of a row as it is represented."""

    def comparable_document(self, table: str) -> str:
        """Return the document of a row as it is compared."""

    def part(self, document: str, names: Sequence[str]) -> str:
        """Return a part of a document that is text, as JSON text."""

    def octets(self, sql: str) -> str:
        """Return the number of bytes of a text."""

    def value(self, document: str, names: Sequence[str], kind: str) -> str:
        """Return a single value."""

    def exists(self, document: str, names: Sequence[str]) -> str:
        """Test whether a part exists."""

    def elements(self, document: str, names: Sequence[str], alias: str, array: bool) -> str:
        """Return the FROM item `alias(key, value)` of the elements of an array, or of one value if not `array`."""

    def same_key(self, one: str, other: str) -> str:
        """Test whether two aliases of `elements` are at the same element."""

    def element(self, alias: str, name: str | None, kind: str) -> str:
        """Return a sub-attribute of an element, or the element itself for None."""

    def pairs(self, query: str, one: str, other: str) -> str:
        """Return two columns of a query, in its order, as a JSON array of arrays; NULL or empty for no rows."""

    def key_in(self, query: str, few: bool) -> str:
        """Test whether the key of a row is in the result of a query, run first; `few` for some hundred keys."""

    def numbers(self, sql: str) -> str:
        """Aggregate a column of numbers into text with commas, in any order."""

    def ordered(self, sql: str) -> str:
        """Return a text that is ordered by code points."""

    def contains(self, sql: str) -> str:
        """Test whether a text contains the next parameter."""

    def last_characters(self, sql: str, length: int) -> str:
        """Return the last characters of a text."""


class SqliteDialect:
    """JSON functions over text, of SQLite 3.38 and later."""

    keep = ""
    sorts_copies = True
    has_round_trips = False
    counts_keys = False
    comparable = ""

    def each(self, parameter: str) -> str:
        return f"json_each(:{parameter}) AS listed"

    def one_of(self, column: str, parameter: str) -> str:
        return f"{column} IN (SELECT value FROM json_each(:{parameter}))"

    def stored_document(self, table: str) -> str:
        return f"{table}.doc"

    def comparable_document(self, table: str) -> str:
        return f"{table}.doc_key"

    def part(self, document: str, names: Sequence[str]) -> str:
        return f"{document} -> {_path(names)}"

    def octets(self, sql: str) -> str:
        return f"LENGTH(CAST({sql} AS BLOB))"

    def value(self, document: str, names: Sequence[str], kind: str) -> str:
        return f"json_extract({document}, {_path(names)})"

    def exists(self, document: str, names: Sequence[str]) -> str:
        return f"json_type({document}, {_path(names)}) IS NOT NULL"

    def elements(self, document: str, names: Sequence[str], alias: str, array: bool) -> str:
        place = _path(names)
        if array:
            return f"json_each({document}, {place}) {alias}"
        # A single object would be split into its members.
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

    def last_characters(self, sql: str, length: int) -> str:
        return f"substr({sql}, -{length})"


class PostgresqlDialect:
    """Operators of `jsonb`, of PostgreSQL 12 and later."""

    keep = " FOR KEY SHARE"
    sorts_copies = False
    has_round_trips = True
    counts_keys = True
    comparable = "::jsonb"

    def each(self, parameter: str) -> str:
        return f"unnest(:{parameter}::text[]) AS listed(value)"

    def one_of(self, column: str, parameter: str) -> str:
        return f"{column} = ANY(:{parameter}::text[])"

    def stored_document(self, table: str) -> str:
        return f"{table}.doc::jsonb"

    def comparable_document(self, table: str) -> str:
        return f"{table}.doc_key"

    def part(self, document: str, names: Sequence[str]) -> str:
        # Not `jsonb`, which would build the whole document anew.
        return f"({document}::json{_steps(names)})::text"

    def octets(self, sql: str) -> str:
        return f"octet_length({sql})"

    def value(self, document: str, names: Sequence[str], kind: str) -> str:
        return _typed(f"{document}{_steps(names)}", kind)

    def exists(self, document: str, names: Sequence[str]) -> str:
        return f"({document}{_steps(names)}) IS NOT NULL"

    def elements(self, document: str, names: Sequence[str], alias: str, array: bool) -> str:
        found = f"{document}{_steps(names)}"
        # In lax mode a path unwraps an array and leaves any other value.
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

    def last_characters(self, sql: str, length: int) -> str:
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
