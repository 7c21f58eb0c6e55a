"""What every engine offers to the rooms of the store: statements, the one transaction, migrations. Knows no table.

SQL is written with `?` for a parameter. What differs from engine to engine is in `sqlite`, `postgresql` and `dialects`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import peewee

from gateway.scim.errors import Unavailable
from gateway.store.engine.dialects import Dialect
from gateway.store.engine.failures import BUSY_SECONDS, Outage
from gateway.store.engine.migrate import LOCK_SECONDS, Migrator, ProgressCallback, ignore_progress
from gateway.store.engine.statements import Steps

MIGRATIONS = Path(__file__).with_name("migrations")
#: Seconds that a write waits for other writers, at most, if the request can do without it.
BRIEF = 0.5
#: More placeholders than this in one statement are split over several.
CHUNK = 500
Row = tuple[Any, ...]
#: How many rows one INSERT takes. Few sizes, so that each engine compiles few statements.
_ROWS = (100, 10, 1)


class WriteConflict(Unavailable):
    """What a transaction was based on was changed by somebody else meanwhile: begin it anew."""

    def __init__(self) -> None:
        super().__init__(
            "The same resource is being changed by many requests at once. Nothing was changed by this one; try again.",
            retry_after=1,
        )


class Weight(NamedTuple):
    """What rows weigh in bytes, about: the column `doc`, and so much for each unit of another one."""

    columns: tuple[str, ...]
    counted: str | None = None
    each: int = 0

    def of(self, rows: Sequence[Row]) -> list[int]:
        """Each row."""
        doc = self.columns.index("doc")
        if self.counted is None:
            return [len(row[doc]) for row in rows]
        counted = self.columns.index(self.counted)
        return [len(row[doc]) + row[counted] * self.each for row in rows]


class UnusableDatabase(Exception):
    """The database that is configured cannot be used as it is; the sentence says what is wrong, never the password."""


class Overrun(Unavailable):
    """A statement took longer than it may, and was ended."""


class Database(ABC):
    """An engine through peewee. A thread keeps its connection."""

    #: Behind a SELECT: nobody else writes the rows that were found until the transaction ends.
    held = ""

    def __init__(self, engine: peewee.Database, dialect: Dialect) -> None:
        self.peewee, self.dialect = engine, dialect

    @abstractmethod
    def transaction(
        self, patience: float = BUSY_SECONDS, organization_id: int | None = None
    ) -> AbstractContextManager[None]:
        """One transaction, from the first statement a writer. Inside another one it is part of it.

        Those that name the same organization follow each other: what one of them reads stays true until it ends.
        `patience` is how many seconds it waits for other writers, at most; then Unavailable.
        """

    @abstractmethod
    def run_change(self, steps: Steps) -> Row | None:
        """Run the statements of a change and return the row of the last required one; () where none is required.

        None when a required statement returned no row: outside of a transaction nothing was written then, inside of one
        the caller has to end it by an exception. Outside of one the change is a transaction by itself.
        """

    @abstractmethod
    def limit_waits(self, seconds: float | None) -> None:
        """Have transactions of this thread wait for the lock of all writers for so long at most (None: as they say).

        They raise Busy then. Does nothing for an engine that has no such lock.
        """

    @abstractmethod
    def only_one(self, task: str) -> AbstractContextManager[bool]:
        """Return True in one process at a time, on any node, for a task that must not run twice. Never waits."""

    @contextmanager
    def overwriting(self) -> Iterator[None]:
        """Overwrite what statements of this thread delete, where the engine would leave it in its file until reused."""
        yield

    def remove_remains(self) -> bool:
        """Leave nothing in files that was deleted or replaced since; False where others prevent that for now.

        True without doing anything for an engine whose files are the operator's.
        """
        return True

    @abstractmethod
    def _outages(self) -> AbstractContextManager[None]:
        """Turn errors of an engine that is out of service into Outage."""

    @abstractmethod
    def _ending(self, until: float) -> AbstractContextManager[None]:
        """Statements inside end at a moment of the monotonic clock: Overrun."""

    @abstractmethod
    def _migrating(self) -> AbstractContextManager[None]:
        """Wait until no other process migrates this database."""

    def one(self, sql: str, *parameters: Any) -> tuple[Any, ...] | None:
        """Return the first row, or None."""
        cursor = self._execute(sql, parameters)
        try:
            row: tuple[Any, ...] | None = cursor.fetchone()
            return row
        finally:
            cursor.close()

    def all(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """All rows. Only for statements whose result is bounded."""
        cursor = self._execute(sql, parameters)
        try:
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows
        finally:
            cursor.close()

    def all_before(self, until: float | None, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return all rows, outside of a transaction.

        Raises Overrun at the time `until` of the monotonic clock; None for no limit.
        """
        if until is None:
            return self.all(sql, *parameters)
        with self._ending(until):
            return self.all(sql, *parameters)

    @abstractmethod
    def fitting(
        self, until: float | None, weight: Weight, size: int, sql: str, *parameters: Any
    ) -> tuple[list[tuple[Any, ...]], bool]:
        """Return rows of a SELECT in the order of `id` until they weigh `size`, and whether there are more.

        The documents of further rows are not loaded. `until` as in `all_before`.
        """

    def run(self, sql: str, *parameters: Any) -> int:
        """Run a statement and return the number of rows that it changed."""
        cursor = self._execute(sql, parameters)
        try:
            return int(cursor.rowcount)
        finally:
            cursor.close()

    def run_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each row of parameters."""
        with self._outages():
            cursor = self.peewee.connection().cursor()
            try:
                cursor.executemany(sql, rows)
            finally:
                cursor.close()

    def insert(self, into: str, rows: Sequence[Sequence[Any]]) -> None:
        """Rows into `table (column, …)`, many in a statement.

        A statement for each row would hand the interpreter to another thread and back each time, which costs more than
        the row.
        """
        start = 0
        for size in _ROWS:
            while len(rows) - start >= size:
                values = chain.from_iterable(rows[start : start + size])
                self.run(_insertion(into, len(rows[0]), size), *values)
                start += size

    def among(
        self, values: Sequence[Any], query: Callable[[str], str], *parameters: Any
    ) -> list[tuple[Any, ...]]:
        """Rows of a query over many values: `query` is given the placeholders, once for each chunk of values."""
        rows: list[tuple[Any, ...]] = []
        for start in range(0, len(values), CHUNK):
            chunk = values[start : start + CHUNK]
            rows += self.all(query(",".join("?" * len(chunk))), *parameters, *chunk)
        return rows

    def run_among(self, values: Sequence[Any], query: Callable[[str], str], *parameters: Any) -> None:
        """Run a statement that returns no rows over many values: see `among`."""
        for start in range(0, len(values), CHUNK):
            chunk = values[start : start + CHUNK]
            self.run(query(",".join("?" * len(chunk))), *parameters, *chunk)

    def _execute(self, sql: str, parameters: Sequence[Any]) -> Any:
        with self._outages():
            # Past peewee's own `execute_sql`, which costs as much as a small statement.
            return self.peewee.connection().execute(sql, parameters)

    def migrate(self, report: ProgressCallback = ignore_progress, folder: Path | None = None) -> list[str]:
        """Bring the schema to the newest version; the names of what was applied. Safe when many start at once.

        `report` is called when a migration begins, as it proceeds, and once it is applied. `folder` has other ones.
        """
        with self._outages(), self._migrating():
            self.check()
            applied: list[str] = Migrator(self, folder or MIGRATIONS, report).up()
            return applied

    @contextmanager
    def altering(self) -> Iterator[None]:
        """Open the transaction of a migration, which waits briefly for locks and has no limit of time."""
        with self.transaction(LOCK_SECONDS):
            yield

    def index(self, name: str, table: str, columns: str, where: str = "") -> None:
        """Create an index unless it exists, of all rows or of those that meet a condition.

        Writers wait while it is built, unless the engine can do better.
        """
        with self.altering():
            self.run(f"CREATE INDEX IF NOT EXISTS {name} ON {table} ({columns}){where and f' WHERE {where}'}")

    def drop_index(self, name: str) -> None:
        """Do not have an index any more."""
        with self.altering():
            self.run(f"DROP INDEX IF EXISTS {name}")

    def pending_migrations(self) -> list[str]:
        """Names of migrations that this database has not seen."""
        with self._outages():
            self.check()
            status = Migrator(self, MIGRATIONS).status()
        return [migration.name for migration in status if migration.path and not migration.applied]

    def sessions(self) -> int | None:
        """How many connections the engine gives to all nodes together; None where it does not limit them."""
        return None

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it is, without the password: the path of a file, or a URL."""

    @property
    def exists(self) -> bool:
        """False where it would be made anew. A server is asked nothing, and makes none."""
        return True

    def check(self) -> None:
        """Raise UnusableDatabase where it can be reached and not be used. Sends no statement of its own."""
        return

    def explain_failure(self) -> str | None:
        """Say why this database cannot be opened, in one sentence without the password; None: unknown, or it can."""
        return None

    def close(self) -> None:
        """Close the connection of this thread."""
        if not self.peewee.is_closed():
            self.peewee.close()


@lru_cache(maxsize=64)
def _insertion(into: str, columns: int, rows: int) -> str:
    row = f"({','.join('?' * columns)})"
    return f"INSERT INTO {into} VALUES {','.join([row] * rows)}"


def unavailable(outage: str, lasts: bool = False) -> Outage:
    """Return the refusal of a database out of service; `lasts` if it does not recover by itself."""
    return Outage(outage, lasts=lasts)
