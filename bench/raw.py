"""Direct access to SQLite and PostgreSQL databases, to write rows by the hundred thousand."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any


@contextmanager
def connect(url: str) -> Iterator[Any]:
    """Open a connection whose commits do not wait for the disk."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=wal")
            connection.execute("PRAGMA synchronous=OFF")
            yield connection
        return
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        yield connection


def row(connection: Any, table: str, order: str) -> dict[str, Any]:
    """Return the last row of a table in an order, by column; values of types of the engine are text."""
    cursor = connection.execute(f"SELECT * FROM {table} LIMIT 0")
    columns = [column[0] for column in cursor.description]
    texts = ", ".join(columns if _is_sqlite(connection) else [f"{column}::text" for column in columns])
    found = connection.execute(
        f"SELECT {texts} FROM {table} ORDER BY {table}.{order} DESC LIMIT 1"
    ).fetchone()
    return dict(zip(columns, found, strict=True))


def insert(connection: Any, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows, as fast as the engine allows."""
    names = ", ".join(columns)
    if _is_sqlite(connection):
        sql, rest = f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(columns))})", iter(rows)
        # In parts, between which other writers get in, such as the gateway's activity.
        while part := list(islice(rest, 20_000)):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(sql, part)
            connection.execute("COMMIT")
        return
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
        for values in rows:
            copy.write_row(values)


def settled(connection: Any, table: str) -> None:
    """Set the id sequence behind the inserted rows, and update the planner's statistics."""
    if _is_sqlite(connection):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return
    if table == "users":
        connection.execute("SELECT setval(pg_get_serial_sequence('users', 'id'), MAX(id)) FROM users")
    connection.execute(f"VACUUM ANALYZE {table}")


def _is_sqlite(connection: Any) -> bool:
    return isinstance(connection, sqlite3.Connection)
