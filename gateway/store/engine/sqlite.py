"""SQLite: one file, one writer at a time."""

from __future__ import annotations

import fcntl
import json
import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import peewee

from gateway.scim.errors import NotFound
from gateway.store.engine.base import (
    Database,
    Overrun,
    Row,
    UnusableDatabase,
    Weight,
    unavailable,
)
from gateway.store.engine.dialects import SqliteDialect
from gateway.store.engine.failures import BUSY_SECONDS, Outage, busy
from gateway.store.engine.statements import Steps, alone, names

#: Seconds between two looks whether the write lock is free, about: a fiftieth of the wait so far, within these.
LOOK = 0.0001, 0.001
#: Steps of SQLite's machine between two looks whether a statement has run too long: a millisecond, about.
STEPS = 4000
#: Bytes of the largest file that is written anew after an erasure: writers wait for that, about a second.
REWRITTEN_BYTES = 64 << 20
#: Rows that are fetched before it is looked at what they weigh.
_PORTION = 16
# What SQLite says when the machine, not the statement, is at fault.
_BUSY = "the database is busy"
_OUTAGES = {
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_PROTOCOL: _BUSY,
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "the database is read-only",
    sqlite3.SQLITE_IOERR: "the disk does not answer",
    sqlite3.SQLITE_CANTOPEN: "the database cannot be opened",
}
# The same in words: peewee wraps what happens while it connects twice, and the code is lost.
_SAID = {
    "database is locked": sqlite3.SQLITE_BUSY,
    "database or disk is full": sqlite3.SQLITE_FULL,
    "readonly database": sqlite3.SQLITE_READONLY,
    "disk I/O error": sqlite3.SQLITE_IOERR,
    "unable to open database file": sqlite3.SQLITE_CANTOPEN,
}
# What does not pass by itself.
_LASTING = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)


class Use:
    """A shared lock on a file beside a database that is open, until `end`, the latest when this object is gone.

    With `alone` the lock is exclusive: nobody else has the database open. Raises BlockingIOError where the two meet.
    """

    def __init__(self, database: Path, alone: bool = False) -> None:
        # Reading is enough for a lock, so it can be taken whichever user made the file.
        self._handle = os.open(database.with_suffix(".open.lock"), os.O_RDONLY | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BaseException:
            self.end()
            raise

    @classmethod
    @contextmanager
    def of(cls, database: Path) -> Iterator[None]:
        """Have it open until the end. Raises Unavailable while it is being restored."""
        use = _use(database)
        try:
            yield
        finally:
            use.end()

    def end(self) -> None:
        """Give it up."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            self.end()


def _use(database: Path) -> Use:
    try:
        return Use(database)
    except BlockingIOError:
        raise unavailable("the database is being restored") from None
    except OSError:
        raise unavailable("the database cannot be opened", lasts=True) from None


class _Undone(Exception):
    """Rolls a change back of which a required statement returned no row."""


class _Connection(sqlite3.Connection):
    def __init__(self, database: str, *args: Any, **options: Any) -> None:
        self._use = _use(Path(database))
        super().__init__(database, *args, **options)

    def close(self) -> None:
        super().close()
        self._use.end()


class _Engine(peewee.SqliteDatabase):
    def _connect(self) -> Any:
        _make_folder(Path(self.database))
        # People stand in it: a new file is its owner's alone, and SQLite gives the files beside it the same mode.
        with suppress(OSError):
            os.close(os.open(self.database, os.O_CREAT | os.O_EXCL, 0o600))
        return super()._connect()  # type: ignore[misc]

    def rollback(self) -> None:
        # A full disk makes SQLite roll back by itself. ROLLBACK would then be an error that hides the first one.
        if self.connection().in_transaction:  # type: ignore[no-untyped-call]
            super().rollback()


class SqliteDatabase(Database):
    """A file in WAL mode. Writers of a process queue before the engine's lock."""

    def __init__(self, path: Path, synchronous: str) -> None:
        self.path = path
        # One for all: it keeps nothing, and it is around every statement.
        self._refusing = _Outages(path)
        engine = _Engine(
            str(path),
            # busy_timeout first: the switch to WAL itself needs it when processes start together.
            pragmas=[
                ("busy_timeout", int(BUSY_SECONDS * 1000)),
                ("journal_mode", "wal"),
                ("synchronous", synchronous),
                ("foreign_keys", 1),
                # Pages in the log before a commit copies them into the file. Each change writes to the ends of the same
                # indexes, so the more there are the fewer are different; up to 4,062 the log's own index is one table.
                ("wal_autocheckpoint", 4000),
                # kB for each connection, which forgets them whenever another one commits. The file is not mapped into
                # memory (`mmap_size`): a map is undone and made anew just as often, which costs more than it saves.
                ("cache_size", -4_000),
            ],
            timeout=BUSY_SECONDS,
            cached_statements=512,
            factory=_Connection,
        )
        self._engine = engine
        super().__init__(engine, SqliteDialect())
        # One writer of a process at a time, queued here. Without this queue a thread that holds SQLite's write lock
        # may collect garbage, reset another thread's cursor, and wait for the mutex of a connection whose owner sleeps
        # in SQLite's busy handler waiting for that same write lock: both stall until the busy timeout.
        self._writers = threading.Lock()
        #: `most`: how long the transactions of a thread wait for other writers.
        self._waits = threading.local()

    @contextmanager
    def transaction(
        self, patience: float = BUSY_SECONDS, organization_id: int | None = None
    ) -> Iterator[None]:
        """See Database. All writers follow each other, whatever the organization."""
        connection = self.peewee.connection()
        if connection.in_transaction:
            yield
            return
        most: float | None = getattr(self._waits, "most", None)
        patience = patience if most is None else min(patience, most)
        until = time.monotonic() + patience
        if not self._writers.acquire(timeout=patience):
            raise busy()
        try:
            with self._outages():
                self._begin(connection, until)
                try:
                    yield
                    connection.execute("COMMIT")
                except BaseException:
                    # A full disk makes SQLite roll back by itself.
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
        finally:
            self._writers.release()

    def run_change(self, steps: Steps) -> Row | None:
        """See Database. One statement after the other."""
        if self.peewee.connection().in_transaction:
            return self._run_steps(steps)
        with suppress(_Undone), self.transaction():
            row = self._run_steps(steps)
            if row is None:
                raise _Undone
            return row
        return None

    def _run_steps(self, steps: Steps) -> Row | None:
        rows: dict[str, dict[str, Any]] = {}
        last: Row = ()
        for statement, parameters in steps:
            sql, places = alone(statement)
            values = [parameters[name] if step is None else rows[step][name] for step, name in places]
            values = [json.dumps(value) if type(value) is list else value for value in values]
            if not statement.returns:
                self.run(sql, *values)
                continue
            row = self.one(sql, *values)
            if row is not None:
                rows[statement.name] = dict(zip(names(statement), row, strict=True))
            if statement.required:
                if row is None:
                    return None
                last = row
        return last

    @contextmanager
    def overwriting(self) -> Iterator[None]:
        """See Database. Several builds of SQLite overwrite anyway."""
        connection = self.peewee.connection()
        [before] = connection.execute("PRAGMA secure_delete").fetchone()
        connection.execute("PRAGMA secure_delete = ON").fetchone()
        try:
            yield
        finally:
            connection.execute(f"PRAGMA secure_delete = {('OFF', 'ON', 'FAST')[before]}").fetchone()

    def remove_remains(self) -> bool:
        """See Database. Writes a file of up to `REWRITTEN_BYTES` anew, then copies the log into it and empties it.

        SQLite moves rows between pages without overwriting where they were, also where it overwrites what is deleted.
        """
        connection = self.peewee.connection()
        if not self._writers.acquire(timeout=1):
            return False
        try:
            connection.execute("PRAGMA busy_timeout = 100")
            with self._outages():
                if self.path.stat().st_size <= REWRITTEN_BYTES:
                    connection.execute("VACUUM")
                return not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except Outage:
            return False
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
            self._writers.release()

    @property
    def writers(self) -> threading.Lock:
        """The queue of the writers of this process, held by the one that writes."""
        return self._writers

    def limit_waits(self, seconds: float | None) -> None:
        """See Database."""
        self._waits.most = seconds

    def _begin(self, connection: sqlite3.Connection, until: float) -> None:
        """Take the write lock, before a moment of the monotonic clock.

        SQLite's own waiting sleeps longer with each look, up to a tenth of a second, while a commit takes a
        thousandth: a writer that has waited would go on to wait.
        """
        began = time.monotonic()
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            while True:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    return
                except sqlite3.OperationalError as error:
                    moment = time.monotonic()
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or moment > until:
                        raise
                pause = min(max(LOOK[0], (moment - began) / 50), LOOK[1])
                time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - nothing secret in it
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")

    def fitting(
        self, until: float | None, weight: Weight, size: int, sql: str, *parameters: Any
    ) -> tuple[list[Row], bool]:
        """See Database. Rows are found while they are fetched."""
        with nullcontext() if until is None else self._ending(until), self._outages():
            return self._fitting(weight, size, self._execute(sql, parameters))

    def _fitting(self, weight: Weight, size: int, cursor: sqlite3.Cursor) -> tuple[list[Row], bool]:
        rows: list[Row] = []
        try:
            while portion := cursor.fetchmany(_PORTION):
                weights = weight.of(portion)
                if sum(weights) <= size:
                    size -= sum(weights)
                    rows += portion
                    continue
                for row, each in zip(portion, weights, strict=True):
                    if size <= 0:
                        return rows, True
                    size -= each
                    rows.append(row)
        finally:
            cursor.close()
        return rows, False

    @contextmanager
    def _ending(self, until: float) -> Iterator[None]:
        """See Database."""
        connection = self.peewee.connection()
        connection.set_progress_handler(lambda: time.monotonic() > until, STEPS)
        try:
            yield
        finally:
            connection.set_progress_handler(None, STEPS)

    @contextmanager
    def only_one(self, task: str) -> Iterator[bool]:
        """See Database. The lock is a file beside the database."""
        with _lock_file(self.path, f".{task}.lock") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    @contextmanager
    def _migrating(self) -> Iterator[None]:
        with _lock_file(self.path, ".lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _outages(self) -> AbstractContextManager[None]:
        return self._refusing

    @property
    def exists(self) -> bool:
        """See Database."""
        return self.path.exists()

    @property
    def place(self) -> str:
        """See Database."""
        return str(self.path.absolute())

    def explain_failure(self) -> str | None:
        """See Database. The file is opened as SQLite would, and nothing is written."""
        try:
            with suppress(FileNotFoundError):
                os.close(os.open(self.path, os.O_RDWR))
            if not os.access(self.path.parent, os.W_OK):  # where its log is made
                os.close(os.open(self.path.with_suffix(".lock"), os.O_WRONLY | os.O_CREAT, 0o644))
        except OSError as error:
            return _unusable(self.path, error)
        return None


def _unusable(path: Path, error: OSError) -> str:
    at = "" if str(error.filename) == str(path) else f" at {error.filename}"
    why = "Not a directory" if isinstance(error, FileExistsError) else error.strerror
    return (
        f"The SQLite database {path} cannot be written: {why}{at}. Correct GATEWAY_DATABASE_URL or"
        " GATEWAY_INSTANCE, or let this user write there."
    )


def _make_folder(path: Path) -> None:
    """Have the folder of a database; only what opens or makes one needs it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnusableDatabase(_unusable(path, error)) from None


@contextmanager
def _lock_file(database: Path, suffix: str) -> Iterator[TextIOWrapper]:
    _make_folder(database)
    try:
        lock = database.with_suffix(suffix).open("w")
    except OSError:
        raise unavailable("the database cannot be opened", lasts=True) from None
    with lock:
        yield lock


class _Outages:
    """Around every statement: turns the driver's errors into outages. A class costs half of a generator."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, peewee.OperationalError | peewee.InterfaceError | sqlite3.OperationalError):
            cause = error.__cause__ or error.__context__ or error
            code = getattr(cause, "sqlite_errorcode", None) or getattr(error, "sqlite_errorcode", 0)
            if code == sqlite3.SQLITE_INTERRUPT:
                raise Overrun(unavailable("the database takes too long").detail, retry_after=10) from None
            primary = (code or 0) & 0xFF or next(
                (known for said, known in _SAID.items() if said in str(error)), 0
            )
            outage = _OUTAGES.get(primary)
            if outage:
                raise (busy() if outage == _BUSY else unavailable(outage, primary in _LASTING)) from None
        elif isinstance(error, peewee.DatabaseError) and "file is not a database" in str(error):
            # By its text: peewee wraps what happens while it connects twice, and the code is lost.
            raise UnusableDatabase(
                f"{self._path} is no SQLite database; correct GATEWAY_DATABASE_URL."
            ) from None
        if isinstance(error, peewee.IntegrityError | sqlite3.IntegrityError) and "FOREIGN KEY" in str(error):
            raise NotFound("What this request is about was removed meanwhile.") from None
