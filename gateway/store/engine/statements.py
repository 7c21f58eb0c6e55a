"""One description of a change, for every engine: a list of named statements, each with the values that it needs.

A statement has parameters by name, `:name`. Three more words stand in its SQL:

- `:other.column` is a value of the row that another statement of the same change returned;
- `:go` is true where all required statements before this one have returned a row;
- a parameter that is a list is read by `Dialect.each` or `Dialect.one_of`.

`Database.run_change` executes the list. SQLite runs one statement after the other and binds the values of earlier rows.
PostgreSQL joins them to one statement, each a part of its WITH clause, and takes the values from there: one round trip.

A required statement that returns no row ends the change: nothing is written. What is written first has to be undone
then, which SQLite does by ROLLBACK. One statement of PostgreSQL cannot undo a part of itself, so there a `RowUpdate`
only locks its row at its place in the list, under its conditions, and is carried out once all required statements have
returned a row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

#: SQL in which another text stands for each of those words; the name of the step (None: this one's own) and of the
#: parameter, in the order of the placeholders.
Text = tuple[str, tuple[tuple[str | None, str], ...]]

_WORD = re.compile(r"'(?:[^']|'')*'|::|:(\w+)(?:\.(\w+))?|%")


class Statement(NamedTuple):
    """A statement of a change. `returns`: the columns of its row, for statements behind it."""

    name: str
    sql: str
    returns: tuple[str, ...] = ()
    #: Whether the change ends where this returns no row.
    required: bool = False

    @property
    def text(self) -> str:
        """The SQL with its RETURNING."""
        return f"{self.sql} RETURNING {', '.join(self.returns)}" if self.returns else self.sql


class RowUpdate(NamedTuple):
    """An UPDATE of one row that others wait for, as the first statement of a change; always required."""

    name: str
    table: str
    #: Column and new value, as SQL over the old row.
    sets: tuple[tuple[str, str], ...]
    where: str
    returns: tuple[str, ...]
    #: Columns that still have the value that statements behind this one see. An engine whose statements do not see what
    #: was committed while they waited for the row has to compare it.
    fresh: tuple[str, ...] = ()
    required: bool = True

    @property
    def sql(self) -> str:
        """The UPDATE."""
        sets = ", ".join(f"{column} = {value}" for column, value in self.sets)
        return f"UPDATE {self.table} SET {sets} WHERE {self.where}"

    @property
    def text(self) -> str:
        """The UPDATE with its RETURNING."""
        return f"{self.sql} RETURNING {', '.join(self.returns)}"

    @property
    def lock(self) -> str:
        """A SELECT of the row that the UPDATE will return, under the same conditions; locks the row.

        FOR UPDATE, though the UPDATE needs less: a foreign key's FOR KEY SHARE may join the lock that is enough for it,
        and the UPDATE then waits behind the ones that wait for this transaction: a deadlock.
        """
        values = dict(self.sets)
        columns = ", ".join(f"{values.get(column, column)} AS {column}" for column in self.returns)
        key = self.where.partition(" AND ")[0]
        same = "".join(
            f" AND {column} = (SELECT seen.{column} FROM {self.table} seen WHERE seen.{key})"
            for column in self.fresh
        )
        return f"SELECT {columns} FROM {self.table} WHERE {self.where}{same} FOR UPDATE"


class Step(NamedTuple):
    """A statement of a change, and its parameters."""

    statement: Statement | RowUpdate
    parameters: Mapping[str, Any]


Steps = Sequence[Step]


def names(statement: Statement | RowUpdate) -> list[str]:
    """Return the names of the columns that a statement returns."""
    return [column.rpartition(" AS ")[2] for column in statement.returns]


@lru_cache(maxsize=256)
def alone(statement: Statement | RowUpdate) -> Text:
    """Return a statement that is run after those before it, with `?` for each value."""
    places: list[tuple[str | None, str]] = []

    def value(word: re.Match[str]) -> str:
        name, column = word.groups()
        if name is None:
            return word[0]
        if name == "go":
            return "TRUE"
        places.append((name, column) if column else (None, name))
        return "?"

    return _WORD.sub(value, statement.text), tuple(places)


@lru_cache(maxsize=256)
def joined(statements: tuple[Statement | RowUpdate, ...]) -> Text:
    """All statements as one of PostgreSQL, with `%s` for each value; it returns the row of the last required one."""
    places: list[tuple[str | None, str]] = []
    before: str | None = None

    def rendered(name: str, sql: str) -> str:
        def value(word: re.Match[str]) -> str:
            parameter, column = word.groups()
            if parameter is None:
                return "%%" if word[0] == "%" else word[0].replace("%", "%%")
            if parameter == "go":
                return f"EXISTS (SELECT 1 FROM {before})" if before else "TRUE"
            if column:
                return f"(SELECT {column} FROM {parameter})"
            places.append((name, parameter))
            return "%s"

        return _WORD.sub(value, sql)

    parts, required = [], [statement for statement in statements if statement.required]
    for statement in statements:
        postponed = isinstance(statement, RowUpdate) and statement is not required[-1]
        text = statement.lock if postponed and isinstance(statement, RowUpdate) else statement.text
        parts.append(f"{statement.name} AS ({rendered(statement.name, text)})")
        if statement.required:
            before = statement.name
        if required and statement is required[-1]:
            parts += [
                f"{update.name}_done AS ({rendered(update.name, f'{update.sql} AND :go')})"
                for update in required[:-1]
                if isinstance(update, RowUpdate)
            ]
    result = f"SELECT {', '.join(names(required[-1]))} FROM {before}" if required else "SELECT 1"
    return f"WITH {', '.join(parts)} {result}", tuple(places)
