"""Databases past the store, where rows by the hundred thousand are written: SQLite files and PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any


@contextmanager
def connect(url: str) -> Iterator[Any]:
    """A connection that waits for no disk: what it writes can be made again."""
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
    """The last row of a table in that order, by column; what the engine keeps in a form of its own as text."""
    cursor = connection.execute(f"SELECT * FROM {table} LIMIT 0")
    columns = [column[0] for column in cursor.description]
    texts = ", ".join(columns if _is_sqlite(connection) else [f"{column}::text" for column in columns])
    found = connection.execute(
        f"SELECT {texts} FROM {table} ORDER BY {table}.{order} DESC LIMIT 1"
    ).fetchone()
    return dict(zip(columns, found, strict=True))


def insert(connection: Any, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Add rows, as fast as the engine takes them."""
    names = ", ".join(columns)
    if _is_sqlite(connection):
        sql, rest = f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(columns))})", iter(rows)
        # In parts, between which others may write: the gateway's own activity waits for no more than a moment.
        while part := list(islice(rest, 20_000)):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(sql, part)
            connection.execute("COMMIT")
        return
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
        for values in rows:
            copy.write_row(values)


def settled(connection: Any, table: str) -> None:
    """What a server does by itself sooner or later: the counter of ids goes on behind them, statistics are there."""
    if _is_sqlite(connection):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return
    if table == "users":
        connection.execute("SELECT setval(pg_get_serial_sequence('users', 'id'), MAX(id)) FROM users")
    connection.execute(f"VACUUM ANALYZE {table}")


def _is_sqlite(connection: Any) -> bool:
    return isinstance(connection, sqlite3.Connection)
