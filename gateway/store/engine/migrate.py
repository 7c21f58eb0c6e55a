"""Brings the schema to the newest version while others read and write. docs/operations.md has the rules of migrations.

A migration is a file `NNNN_name.py` with `up(migrator, db)`, peewee's migrator and engine, which runs in one short
transaction. One with `atomic = False` has `up(steps)` instead: steps that each end by themselves, and that go on from
where they were when the process is killed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import peewee
from playhouse.migrations import Runner

from gateway.scim.errors import Unavailable
from gateway.store.engine.failures import Outage

#: Seconds that a change of tables waits for others, at most. On PostgreSQL all who come later wait behind it so long.
QUEUE = 0.5
#: Seconds until it is tried again, and until it is given up.
PAUSE, INSIST = 1.0, 120.0
#: Seconds that a batch is meant to take, and how many rows the first one has. Between two of them writers have time.
BATCH, FIRST = 0.05, 100


@dataclass(frozen=True)
class Progress:
    """How far a migration is."""

    migration: str
    #: Of `total`; both are 0 where that is not known.
    done: int = 0
    total: int = 0
    #: How long it took, once it is applied.
    seconds: float | None = None


Told = Callable[[Progress], None]


class Database(Protocol):
    """What migrations ask of a database. `gateway.store.engine.base` says what each does."""

    peewee: peewee.Database
    held: str

    def one(self, sql: str, *parameters: Any) -> tuple[Any, ...] | None: ...
    def all(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]: ...
    def run(self, sql: str, *parameters: Any) -> int: ...
    def altering(self) -> AbstractContextManager[None]: ...
    def index(self, name: str, table: str, columns: str, where: str = "") -> None: ...
    def drop_index(self, name: str) -> None: ...


def silent(progress: Progress) -> None:
    """For whom nobody waits."""


class Migrator(Runner):
    """The migrations of a folder, for a database."""

    def __init__(self, database: Database, folder: Path, told: Told = silent) -> None:
        super().__init__(database.peewee, str(folder))
        self._database, self._told = database, told

    def _run(self, name: str, module: Any, direction: str, fake: bool = False) -> None:
        self._told(Progress(name))
        began = time.monotonic()
        if getattr(module, "atomic", True):
            retry_while_locked(lambda: self._at_once(name, module))
        else:
            steps = Steps(self._database, name, self._told)
            module.up(steps)
            steps.end(lambda: self.History.create(name=name))
        self._told(Progress(name, seconds=time.monotonic() - began))

    def _at_once(self, name: str, module: Any) -> None:
        # peewee's context looks after SQLite's references; its transaction would not wait for other writers.
        with self.migrator.migration_context(atomic=False), self._database.altering():
            module.up(self.migrator, self.database)
            self.History.create(name=name)


class Steps:
    """What a migration of a large table is made of. Each may be done again."""

    def __init__(self, database: Database, migration: str, told: Told) -> None:
        self._database, self._migration, self._told = database, migration, told
        self._rewritten: set[str] = set()

    def rewrite(self, table: str, change: Callable[[Database, int, int], None], key: str = "id") -> None:
        """Change all rows that a table has now, a batch at a time, in the order of a key of whole numbers from 1 on.

        `change(database, after, last)` changes those whose key is above `after` and at most `last`. Nobody else writes
        them meanwhile. It must not mind rows that have their new form already.
        """
        if table in self._rewritten:
            raise ValueError(f"{self._migration} rewrites {table} twice: change all in one go.")
        self._rewritten.add(table)
        retry_while_locked(self._remember)
        (total,) = self._database.one(f"SELECT COALESCE(MAX({key}), 0) FROM {table}") or (0,)
        size, done = FIRST, 0
        while done < total:
            began = time.monotonic()
            done = retry_while_locked(partial(self._batch, table, change, key, total, size))
            took = time.monotonic() - began
            self._told(Progress(self._migration, min(done, total), total))
            size = max(FIRST // 10, min(FIRST * 100, int(size * max(0.5, min(2.0, BATCH / took)))))
            # Others have as long as this had. SQLite's writers look again after up to a tenth of a second.
            time.sleep(min(max(took, BATCH), QUEUE))

    def _remember(self) -> None:
        with self._database.altering():
            self._database.run(
                "CREATE TABLE IF NOT EXISTS schema_migration_position"
                " (migration TEXT NOT NULL, step TEXT NOT NULL, position BIGINT NOT NULL,"
                " PRIMARY KEY (migration, step))"
            )
            # What another migration left that was given up.
            self._database.run("DELETE FROM schema_migration_position WHERE migration <> ?", self._migration)

    def _batch(
        self, table: str, change: Callable[[Database, int, int], None], key: str, total: int, size: int
    ) -> int:
        """The last key of a batch, `total` when there are no more; where it is stands in the same transaction."""
        database, step = self._database, (self._migration, table)
        with database.altering():
            (after,) = database.one(
                "SELECT COALESCE(MAX(position), 0) FROM schema_migration_position WHERE migration = ? AND step = ?",
                *step,
            ) or (0,)
            rows = database.all(
                f"SELECT {key} FROM {table} WHERE {key} > ? AND {key} <= ? ORDER BY {key} LIMIT ?{database.held}",
                after,
                total,
                size,
            )
            if not rows:
                return total
            last = int(rows[-1][0])
            change(database, after, last)
            database.run(
                "INSERT INTO schema_migration_position (migration, step, position) VALUES (?, ?, ?)"
                " ON CONFLICT (migration, step) DO UPDATE SET position = excluded.position",
                *step,
                last,
            )
        return last

    def index(self, name: str, table: str, columns: str, where: str = "") -> None:
        """Have an index; `columns` and `where` as CREATE INDEX wants them. PostgreSQL's writers go on, those of SQLite
        wait."""
        retry_while_locked(lambda: self._database.index(name, table, columns, where))

    def drop_index(self, name: str) -> None:
        """Do not have an index any more."""
        retry_while_locked(lambda: self._database.drop_index(name))

    def end(self, record: Callable[[], Any]) -> None:
        """All steps were done."""

        def last() -> None:
            with self._database.altering():
                record()
                self._database.run("DROP TABLE IF EXISTS schema_migration_position")

        retry_while_locked(last)


def retry_while_locked(job: Callable[[], Any]) -> Any:
    """Do it, again and again while others are in its way or the database is away, for a while."""
    end = time.monotonic() + INSIST
    while True:
        try:
            return job()
        except Unavailable as failure:
            if time.monotonic() > end or (isinstance(failure, Outage) and failure.lasts):
                raise
            time.sleep(PAUSE)
