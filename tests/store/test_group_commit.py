"""SQLite: short changes of one process that wait for each other are committed together, each for itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway.scim.errors import NotFound, Unavailable
from gateway.store import sqlite
from gateway.store.sqlite import SqliteDatabase
from gateway.testing.engines import is_postgresql

pytestmark = pytest.mark.skipif(is_postgresql(), reason="commits of SQLite")
FIRST = ("SELECT 1 WHERE ? = 1", (1,))


class Writers:
    """Threads that write a number each, one after the other: the first one holds the lock until all have come."""

    def __init__(self, folder: Path) -> None:
        self.database = SqliteDatabase(folder / "numbers.db", "FULL")
        self.database.run("CREATE TABLE numbers (n INTEGER)")
        self.database.run("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
        self.database.run("CREATE TABLE children (id INTEGER REFERENCES parents (id))")
        self.threads, self.commits, self._all = ThreadPoolExecutor(8), list[str](), threading.Event()

    def write(self, number: int, then: Callable[[], Any] = lambda: None, short: bool = True) -> Future[None]:
        began = threading.Event()

        def story() -> None:
            connection = self.database.peewee.connection()
            connection.set_trace_callback(
                lambda sql: self.commits.append(sql) if sql.startswith("COMMIT") else None
            )
            began.set()
            with self.database.transaction(first=FIRST if short else None):
                self._all.wait(10)
                self.database.run("INSERT INTO numbers VALUES (?)", number)
                then()

        written = self.threads.submit(story)
        assert began.wait(10)
        time.sleep(0.1)  # in the queue by now, in this order
        return written

    def go(self) -> None:
        self._all.set()

    @property
    def stored(self) -> list[int]:
        return [row[0] for row in self.database.all("SELECT n FROM numbers ORDER BY rowid")]


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[Writers]:
    writers = Writers(tmp_path)
    yield writers
    writers.threads.shutdown()


def fail() -> None:
    raise RuntimeError("A story that ends badly.")


def test_those_who_wait_are_stored_by_one_commit(writers: Writers) -> None:
    written = [writers.write(number) for number in (1, 2, 3)]
    assert not any(job.done() for job in written)
    writers.go()
    for job in written:
        job.result(10)
    assert (writers.stored, len(writers.commits)) == ([1, 2, 3], 1)


@pytest.mark.parametrize("bad", [1, 2, 3])
def test_one_that_fails_takes_no_other_with_it(writers: Writers, bad: int) -> None:
    written = [writers.write(number, fail if number == bad else lambda: None) for number in (1, 2, 3)]
    writers.go()
    for number, job in enumerate(written, 1):
        if number == bad:
            with pytest.raises(RuntimeError):
                job.result(10)
        else:
            job.result(10)
    assert writers.stored == [number for number in (1, 2, 3) if number != bad]


def test_nobody_is_told_that_it_is_stored_when_the_commit_fails(writers: Writers) -> None:
    def orphan() -> None:
        writers.database.run("PRAGMA defer_foreign_keys = 1")
        writers.database.run("INSERT INTO children VALUES (7)")

    written = [writers.write(1), writers.write(2, orphan), writers.write(3)]
    writers.go()
    for job in written:
        with pytest.raises(NotFound):
            job.result(10)
    assert writers.stored == []
    writers.write(4).result(10)
    assert writers.stored == [4]


def test_a_disk_that_is_full_is_told_to_all_whose_changes_it_took(writers: Writers) -> None:
    def rolled_back() -> None:
        # As SQLite does by itself.
        writers.database.run("ROLLBACK")
        raise sqlite.unavailable("the disk is full")

    written = [writers.write(1), writers.write(2, rolled_back), writers.write(3)]
    writers.go()
    for job in written[:2]:
        with pytest.raises(Unavailable, match="disk is full"):
            job.result(10)
    written[2].result(10)
    assert writers.stored == [3]


def test_a_long_transaction_stores_first_what_was_left_open(writers: Writers) -> None:
    written = [writers.write(1), writers.write(2), writers.write(3, short=False)]
    writers.go()
    for job in written:
        job.result(10)
    assert (writers.stored, len(writers.commits)) == ([1, 2, 3], 2)


def test_who_lost_its_patience_is_not_waited_for(writers: Writers) -> None:
    writers.go()
    writers.database._coming += 1
    began = time.monotonic()
    writers.write(1).result(10)
    assert time.monotonic() - began < 20 * sqlite.LATE
    assert writers.stored == [1]
