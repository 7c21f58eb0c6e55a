"""Migrations: bring the schema to the newest version while others read and write (rules: docs/operations.md).

A migration is a file `NNNN_name.py` with `up(migrator, db)`, peewee's migrator and engine, which runs in one short
transaction. One with `atomic = False` has `up(steps)` instead: steps that each end by themselves, and that continue
from where they were when the process is killed.
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

#: Seconds that a change of tables waits for locks. On PostgreSQL all later statements queue behind it meanwhile.
LOCK_SECONDS = 0.5
#: Seconds until a retry, and until the last one.
RETRY_SECONDS, GIVE_UP_SECONDS = 1.0, 120.0
#: Seconds that a batch should take, and the rows of the first one. Writers get as much time between two batches.
BATCH_SECONDS, FIRST_BATCH_ROWS = 0.05, 100


@dataclass(frozen=True)
class Progress:
    """The progress of a migration."""

    migration: str
    #: Rows of `total`; both are 0 if that is unknown.
    done: int = 0
    total: int = 0
    #: The duration, once the migration is applied.
    seconds: float | None = None


ProgressCallback = Callable[[Progress], None]


class Database(Protocol):
    """The part of `gateway.store.engine.base.Database` that migrations use."""

    peewee: peewee.Database
    held: str

    def one(self, sql: str, *parameters: Any) -> tuple[Any, ...] | None: ...
    def all(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]: ...
    def run(self, sql: str, *parameters: Any) -> int: ...
    def altering(self) -> AbstractContextManager[None]: ...
    def index(self, name: str, table: str, columns: str, where: str = "") -> None: ...
    def drop_index(self, name: str) -> None: ...


def ignore_progress(progress: Progress) -> None:
    """Ignore a report of progress."""


class Migrator(Runner):
    """A runner of the migrations of a folder."""

    def __init__(
        self, database: Database, folder: Path, on_progress: ProgressCallback = ignore_progress
    ) -> None:
        super().__init__(database.peewee, str(folder))
        self._database, self._on_progress = database, on_progress

    def _run(self, name: str, module: Any, direction: str, fake: bool = False) -> None:
        self._on_progress(Progress(name))
        began = time.monotonic()
        if getattr(module, "atomic", True):
            retry_while_locked(lambda: self._apply_atomically(name, module))
        else:
            steps = Steps(self._database, name, self._on_progress)
            module.up(steps)
            steps.end(lambda: self.History.create(name=name))
        self._on_progress(Progress(name, seconds=time.monotonic() - began))

    def _apply_atomically(self, name: str, module: Any) -> None:
        # peewee's context handles SQLite's foreign keys; its transaction would not wait for other writers.
        with self.migrator.migration_context(atomic=False), self._database.altering():
            module.up(self.migrator, self.database)
            self.History.create(name=name)


class Steps:
    """The steps of a migration of a large table; each may be repeated."""

    def __init__(self, database: Database, migration: str, on_progress: ProgressCallback) -> None:
        self._database, self._migration, self._on_progress = database, migration, on_progress
        self._rewritten: set[str] = set()

    def rewrite(self, table: str, change: Callable[[Database, int, int], None], key: str = "id") -> None:
        """Change all rows that a table has now, in batches, in the order of a key of whole numbers from 1 on.

        `change(database, after, last)` changes the rows whose key is above `after` and at most `last`, which are
        locked meanwhile. It must accept rows that have their new form already. Raises ValueError for a second rewrite
        of a table.
        """
        if table in self._rewritten:
            raise ValueError(f"{self._migration} rewrites {table} twice: change all in one go.")
        self._rewritten.add(table)
        retry_while_locked(self._prepare_positions)
        (total,) = self._database.one(f"SELECT COALESCE(MAX({key}), 0) FROM {table}") or (0,)
        size, done = FIRST_BATCH_ROWS, 0
        while done < total:
            began = time.monotonic()
            done = retry_while_locked(partial(self._batch, table, change, key, total, size))
            took = time.monotonic() - began
            self._on_progress(Progress(self._migration, min(done, total), total))
            size = max(
                FIRST_BATCH_ROWS // 10,
                min(FIRST_BATCH_ROWS * 100, int(size * max(0.5, min(2.0, BATCH_SECONDS / took)))),
            )
            # Writers get as long as this took. SQLite's writers poll every tenth of a second at most.
            time.sleep(min(max(took, BATCH_SECONDS), LOCK_SECONDS))

    def _prepare_positions(self) -> None:
        with self._database.altering():
            self._database.run(
                "CREATE TABLE IF NOT EXISTS schema_migration_position"
                " (migration TEXT NOT NULL, step TEXT NOT NULL, position BIGINT NOT NULL,"
                " PRIMARY KEY (migration, step))"
            )
            # Positions of another migration that was abandoned.
            self._database.run("DELETE FROM schema_migration_position WHERE migration <> ?", self._migration)

    def _batch(
        self, table: str, change: Callable[[Database, int, int], None], key: str, total: int, size: int
    ) -> int:
        """Change one batch and store its position, in one transaction; return its last key, `total` at the end."""
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
        """Create an index unless it exists; `columns` and `where` as in CREATE INDEX.

        Writers continue on PostgreSQL and wait on SQLite.
        """
        retry_while_locked(lambda: self._database.index(name, table, columns, where))

    def drop_index(self, name: str) -> None:
        """Drop an index if it exists."""
        retry_while_locked(lambda: self._database.drop_index(name))

    def end(self, record: Callable[[], Any]) -> None:
        """Record that all steps are done."""

        def last() -> None:
            with self._database.altering():
                record()
                self._database.run("DROP TABLE IF EXISTS schema_migration_position")

        retry_while_locked(last)


def retry_while_locked(job: Callable[[], Any]) -> Any:
    """Call `job` until it is not blocked by other writers or an outage; give up after two minutes.

    Raises the last Unavailable, or at once an Outage that lasts.
    """
    end = time.monotonic() + GIVE_UP_SECONDS
    while True:
        try:
            return job()
        except Unavailable as failure:
            if time.monotonic() > end or (isinstance(failure, Outage) and failure.lasts):
                raise
            time.sleep(RETRY_SECONDS)
