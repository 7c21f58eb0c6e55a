"""Backup and restore of a SQLite database: copied while it is written, checked, put in its place.

SQLite's backup API copies page by page within one read transaction. So the copy is of one moment, no writer waits for
it, and none restarts it, as each would without that transaction. VACUUM INTO is as consistent, but builds every index
again and reports no progress. The price: until the copy is done, the log (`-wal`) only grows.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway.store.engine.base import MIGRATIONS
from gateway.store.engine.sqlite import Use

#: Called while a copy is made with the pages copied and the pages in all.
Progress = Callable[[int, int], None]

#: Pages between two calls of the progress callback.
_PAGES_PER_STEP = 2000
#: The files that SQLite stores beside a database. A log without its database, or beside another one, does harm.
_COMPANIONS = ("-wal", "-shm", "-journal")
SQLITE = "sqlite:///"
_TABLES = {"organizations", "connections", "tokens", "admin_tokens", "users", "groups", "events", "activity"}
#: The migration that makes the tables of the console.
_CONSOLE = "0010_console"
#: The migration that makes the table of the epoch; one without it has an epoch of its own from this migration on.
_EPOCH = "0012_events_out"
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class CopyError(Exception):
    """The copy was not made and nothing was changed; the sentence says why."""


@dataclass(frozen=True)
class Copy:
    """The facts about a sound copy."""

    bytes: int
    migrations: tuple[str, ...]
    #: Migrations of this version that it lacks.
    pending: tuple[str, ...]
    #: The number of the last event of each organization, by its id.
    last_events: dict[str, int]


def back_up(database: Path, target: Path, force: bool, progress: Progress) -> Copy:
    """Write a copy of a database that may be in use to `target`, a single file that its owner alone can read.

    It appears under its name once it is complete and checked. `progress` gets the pages copied and in all. Raises
    CopyError.
    """
    if not database.is_file():
        raise CopyError(f"There is no database at {database}.")
    if target.resolve() in (database.resolve(), *_companions(database.resolve())):
        raise CopyError(f"{target} is the database itself. Name another file.")
    with Use.of(database), write_atomically(target, force) as part:
        return _copy_and_check(database, "rw", part, progress)


@contextmanager
def write_atomically(target: Path, force: bool) -> Iterator[Path]:
    """Yield a new file of mode 0600 that is renamed to `target` at the end, once it is complete. Raises CopyError."""
    if not target.parent.is_dir():
        raise CopyError(f"There is no folder {target.parent}.")
    if target.is_dir():
        raise CopyError(f"{target} is a folder. Name a file in it.")
    if target.exists() and not force:
        raise CopyError(f"{target} exists already. --force overwrites it.")
    with _temporary_file(target) as part:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, target)
    _sync_folder(target.parent)


def restore(source: Path, database: Path, progress: Progress) -> tuple[Copy, Path | None]:
    """Put a copy of `source` in the place of the database; return it and the new path of the old file, if any.

    Links of the console that were open and sessions end: they may have been used or ended since. Event numbers are
    given again, so they have another epoch.
    At any moment the old file or the new one is in place, complete. Raises CopyError, also if the database is in use.
    """
    if not source.is_file():
        raise CopyError(f"There is no file {source}.")
    if source.resolve() == database.resolve():
        raise CopyError(f"{source} is the database itself.")
    database.parent.mkdir(parents=True, exist_ok=True)
    with _exclusive_use(database), _temporary_file(database) as part:
        found = _copy_and_check(source, "ro", part, progress)
        if _CONSOLE in found.migrations:
            _end_console_access(part)
        if _EPOCH in found.migrations:
            _begin_epoch(part)
        _match_owner(part, database)
        kept = _set_aside(database)
        os.replace(part, database)
    _sync_folder(database.parent)
    return found, kept


@contextmanager
def hold_in_use(url: str) -> Iterator[None]:
    """Prevent restores over the SQLite database of a URL until the end; PostgreSQL needs no such lock."""
    with Use.of(Path(url.removeprefix(SQLITE))) if url.startswith(SQLITE) else nullcontext():
        yield


@contextmanager
def _exclusive_use(database: Path) -> Iterator[None]:
    try:
        use = Use(database, alone=True)
    except BlockingIOError:
        raise CopyError(
            "A server or a command has the database open. Stop it first; nothing was changed."
        ) from None
    try:
        yield
    finally:
        use.end()


@contextmanager
def _temporary_file(path: Path) -> Iterator[Path]:
    """Yield a new file in the same folder, of mode 0600, that is removed at the end unless it was renamed."""
    handle, name = tempfile.mkstemp(".part", f".{path.name}.", path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
    except sqlite3.Error as error:
        raise CopyError(f"The copy could not be made: {error}. Nothing was changed.") from None
    except OSError as error:
        raise CopyError(f"The copy could not be made: {error.strerror}. Nothing was changed.") from None
    finally:
        for each in (part, *_companions(part)):
            each.unlink(missing_ok=True)


def _copy_and_check(source: Path, mode: str, part: Path, progress: Progress) -> Copy:
    """Copy, check and flush a database."""
    with closing(_open(source, mode)) as live, closing(_open(part)) as copy:
        # Half a copy is of no use, so no page is written twice, and it is flushed once.
        copy.execute("PRAGMA journal_mode = OFF")
        copy.execute("PRAGMA synchronous = OFF")
        try:
            live.execute("BEGIN")
            live.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()
            live.backup(
                copy, pages=_PAGES_PER_STEP, progress=lambda _, left, pages: progress(pages - left, pages)
            )
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise CopyError(f"{source} is damaged, or no database: {error}. Nothing was changed.") from None
    with closing(_open(part)) as copy:
        try:
            found = _check_copy(copy, part, source)
        except sqlite3.DatabaseError as error:
            raise CopyError(f"{source} is damaged: {error}. Nothing was changed.") from None
    with part.open("rb") as file:
        os.fsync(file.fileno())
    return found


def _open(path: Path, mode: str = "rw") -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)


def _check_copy(copy: sqlite3.Connection, part: Path, source: Path) -> Copy:
    # One file, without a log beside it; a gateway that opens it switches back.
    copy.execute("PRAGMA journal_mode = DELETE").fetchone()
    damages = [str(row[0]) for row in copy.execute("PRAGMA integrity_check(1)")]
    if damages != ["ok"]:
        raise CopyError(f"{source} is damaged: {' '.join(damages[0].split())}. Nothing was changed.")
    schema = copy.execute("SELECT type, name FROM sqlite_schema").fetchall()
    tables = {name for kind, name in schema if kind == "table"}
    if not tables >= {*_TABLES, "schema_migration"} or {kind for kind, _ in schema} - {"table", "index"}:
        raise CopyError(f"{source} is not the database of a gateway. Nothing was changed.")
    if copy.execute("PRAGMA foreign_key_check").fetchone():
        raise CopyError(f"{source} is damaged: a reference leads nowhere. Nothing was changed.")
    seen = sorted(name for (name,) in copy.execute("SELECT name FROM schema_migration"))
    known = sorted(path.stem for path in MIGRATIONS.glob("[0-9]*.py"))
    if newer := set(seen) - set(known):
        raise CopyError(
            f"{source} is from a newer version of the gateway: this one does not know the migrations"
            f" {', '.join(sorted(newer))}. Nothing was changed."
        )
    last = dict(copy.execute("SELECT uid, event_seq FROM organizations ORDER BY id").fetchall())
    pending = tuple(name for name in known if name not in seen)
    return Copy(part.stat().st_size, tuple(seen), pending, last)


def _end_console_access(part: Path) -> None:
    """Revoke links that were used since, as far as the copy knows not yet, and end sessions that have ended since."""
    moment = time.time_ns() // 1000
    with closing(_open(part)) as copy:
        copy.execute("BEGIN")
        copy.execute(
            "UPDATE console_links SET revoked = ? WHERE used IS NULL AND revoked IS NULL AND expires > ?",
            (moment, moment),
        )
        copy.execute("UPDATE console_sessions SET ended = ?, sealed = NULL WHERE ended IS NULL", (moment,))
        copy.execute("COMMIT")


def _begin_epoch(part: Path) -> None:
    with closing(_open(part)) as copy:
        copy.execute("UPDATE feed_state SET epoch = MAX(?, epoch + 1)", (int(time.time()),))


def _match_owner(part: Path, database: Path) -> None:
    """Give the copy the mode and owner of the database, so that the server can open it after a restore by root."""
    if database.exists():
        shutil.copymode(database, part)
    if os.geteuid() == 0:
        owner = (database if database.exists() else database.parent).stat()
        os.chown(part, owner.st_uid, owner.st_gid)


def _set_aside(database: Path) -> Path | None:
    """Rename the old file to a name with the time, and leave no log for the new file."""
    if database.exists():
        try:
            # Merges the log. Also proves that no other program has the file open.
            with closing(_open(database)) as old:
                old.execute("PRAGMA journal_mode = DELETE").fetchone()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF in _BUSY:
                raise CopyError("Another program has the database open. Nothing was changed.") from None
            # Damaged, which may be why it is replaced: saved as it is, with its log.
    present = [each for each in (database, *_companions(database)) if each.exists()]
    kept = database.with_name(f"{database.name}.{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    for each in present:
        to = kept.with_name(kept.name + each.name.removeprefix(database.name))
        try:
            os.link(each, to)
        except OSError:  # a file system without hard links
            shutil.copy2(each, to)
    for each in present:
        if each != database:
            each.unlink()
    return kept if present else None


def _companions(path: Path) -> list[Path]:
    return [path.with_name(path.name + ending) for ending in _COMPANIONS]


def _sync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk."""
    with suppress(OSError):  # not every file system can
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
