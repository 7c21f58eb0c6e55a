"""The engine: connections, the one transaction, and what differs from engine to engine. Knows no table."""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peewee
from playhouse.migrations import Runner

from gateway.scim.documents import fold
from gateway.scim.errors import NotFound, Unavailable

MIGRATIONS = Path(__file__).with_name("migrations")
BUSY_SECONDS = 5.0
#: The same for a write that the request can do without.
BRIEF = 0.5
#: More placeholders than this in one statement are split over several.
CHUNK = 500

# What SQLite says when the machine, not the statement, is at fault.
_OUTAGES = {
    sqlite3.SQLITE_BUSY: "the database is busy",
    sqlite3.SQLITE_LOCKED: "the database is busy",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "the database is read-only",
    sqlite3.SQLITE_IOERR: "the disk does not answer",
    sqlite3.SQLITE_CANTOPEN: "the database cannot be opened",
}


class _Engine(peewee.SqliteDatabase):
    def rollback(self) -> None:
        # A full disk makes SQLite roll back by itself. ROLLBACK would then be an error that hides the first one.
        if self.connection().in_transaction:
            super().rollback()


class Database:
    """SQLite through peewee. A thread keeps its connection; writers of a process queue before the engine's lock."""

    def __init__(self, path: Path, synchronous: str = "FULL") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.peewee = _Engine(
            str(path),
            # busy_timeout first: the switch to WAL itself needs it when processes start together.
            pragmas=[
                ("busy_timeout", int(BUSY_SECONDS * 1000)),
                ("journal_mode", "wal"),
                ("synchronous", synchronous),
                ("foreign_keys", 1),
                ("mmap_size", 1 << 30),
                ("cache_size", -32_000),
            ],
            timeout=BUSY_SECONDS,
            cached_statements=512,
        )
        self.peewee.register_function(_fold, "fold", 1, deterministic=True)
        # One writer of a process at a time, queued here. Without this queue a thread that holds SQLite's write lock
        # may collect garbage, reset another thread's cursor, and wait for the mutex of a connection whose owner sleeps
        # in SQLite's busy handler waiting for that same write lock: both stall until the busy timeout.
        self._writers = threading.Lock()

    @contextmanager
    def transaction(self, patience: float = BUSY_SECONDS) -> Iterator[None]:
        """One transaction, from the first statement a writer. Inside another one it is part of it.

        `patience` is how many seconds it waits for other writers, at most; then Unavailable.
        """
        if self.peewee.in_transaction():
            yield
            return
        if not self._writers.acquire(timeout=patience):
            raise _unavailable("the database is busy")
        try:
            if patience != BUSY_SECONDS:
                self._wait_at_most(patience)
            with _outages(), self.peewee.atomic("IMMEDIATE"):
                yield
        finally:
            if patience != BUSY_SECONDS:
                self._wait_at_most(BUSY_SECONDS)
            self._writers.release()

    def _wait_at_most(self, seconds: float) -> None:
        self.run(f"PRAGMA busy_timeout = {int(seconds * 1000)}")

    def one(self, sql: str, *parameters: Any) -> tuple[Any, ...] | None:
        """The first row, or None."""
        cursor = self._execute(sql, parameters)
        try:
            return cursor.fetchone()
        finally:
            cursor.close()

    def all(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """All rows. Only for statements whose result is bounded."""
        cursor = self._execute(sql, parameters)
        try:
            return cursor.fetchall()
        finally:
            cursor.close()

    def run(self, sql: str, *parameters: Any) -> int:
        """The number of rows changed."""
        cursor = self._execute(sql, parameters)
        try:
            return cursor.rowcount
        finally:
            cursor.close()

    def run_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """The same statement for each row."""
        with _outages():
            self.peewee.connection().executemany(sql, rows)

    def each(self, sql: str, *parameters: Any) -> Iterator[tuple[Any, ...]]:
        """Rows one by one, for results of any size."""
        cursor = self._execute(sql, parameters)
        try:
            yield from cursor
        finally:
            cursor.close()

    def among(
        self, values: Sequence[Any], query: Callable[[str], str], *parameters: Any
    ) -> list[tuple[Any, ...]]:
        """Rows of a query over many values: `query` is given the placeholders, once for each chunk of values."""
        rows: list[tuple[Any, ...]] = []
        for start in range(0, len(values), CHUNK):
            chunk = values[start : start + CHUNK]
            rows += self.all(query(",".join("?" * len(chunk))), *parameters, *chunk)
        return rows

    def _execute(self, sql: str, parameters: Sequence[Any]) -> Any:
        with _outages():
            return self.peewee.execute_sql(sql, parameters)

    def migrate(self) -> list[str]:
        """Bring the schema to the newest version; the names of what was applied. Safe when many start at once."""
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return Runner(self.peewee, str(MIGRATIONS)).up()

    @contextmanager
    def only_one(self, task: str) -> Iterator[bool]:
        """True in one process at a time: a task that need not be done twice. Never waits."""
        with self.path.with_suffix(f".{task}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def pending_migrations(self) -> list[str]:
        """Names of migrations that this database has not seen."""
        return [m.name for m in Runner(self.peewee, str(MIGRATIONS)).status() if m.path and not m.applied]

    def close(self) -> None:
        """Close the connection of this thread."""
        if not self.peewee.is_closed():
            self.peewee.close()


def _fold(text: str | None) -> str | None:
    """`fold` for SQL, where an absent value is NULL."""
    return None if text is None else fold(text)


class _outages:
    """Turns an engine that cannot serve into a refusal to come back later. A class: half the cost of a generator."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, peewee.OperationalError | peewee.InterfaceError | sqlite3.OperationalError):
            cause = error.__cause__ or error.__context__ or error
            code = getattr(cause, "sqlite_errorcode", None) or getattr(error, "sqlite_errorcode", 0)
            outage = _OUTAGES.get((code or 0) & 0xFF)
            if outage:
                raise _unavailable(outage) from None
        if isinstance(error, peewee.IntegrityError | sqlite3.IntegrityError) and "FOREIGN KEY" in str(error):
            raise NotFound("What this request is about was removed meanwhile.") from None


def _unavailable(outage: str) -> Unavailable:
    return Unavailable(
        f"The gateway cannot serve this now: {outage}. Nothing was changed; try again later.", retry_after=10
    )
