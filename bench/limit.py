"""The limit: a Flask route, one raw SQL statement, stored JSON spliced into the answer. No tokens, groups or seats.

No SCIM server with Flask and this database can be faster; the benchmark measures the gateway's distance from it. A
change is one transaction: the row, an outbox, a counter. `python -m bench.limit URL SYNCHRONOUS PORT WORKERS` serves it
by the server of the gateway.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

from flask import Flask, Response, request
from granian import _signals

from bench.raw import connect, insert
from gateway.server.supervisor import _build_server, reserve_port
from gateway.server.worker import end_with_parent, install_stop_signal, restore_default_stop
from gateway.store.ids_and_time import new_id

_TABLES = (
    "CREATE TABLE users (id {key}, uid TEXT UNIQUE, name_key TEXT UNIQUE, doc TEXT, created TEXT, version INTEGER)",
    "CREATE TABLE outbox (id {key}, uid TEXT, kind TEXT, data TEXT)",
    "CREATE TABLE counters (name TEXT PRIMARY KEY, n INTEGER)",
    "INSERT INTO counters VALUES ('User', 0)",
)
_SHOWN = "uid, doc, created, version"


class Limit:
    """The WSGI application `app` over a database of its own."""

    def __init__(self, url: str, synchronous: str) -> None:
        self._url, self._synchronous, self._local = url, synchronous, threading.local()
        self._postgresql = url.startswith("postgresql:")
        # As in the gateway: one writer of a process at a time, where the engine has only one.
        self._writers = threading.Lock()
        self.app = Flask("limit", static_folder=None)
        self.app.add_url_rule("/Users/<uid>", "read", self._read)
        self.app.add_url_rule("/Users", "list", self._list)
        self.app.add_url_rule("/Users", "create", self._create, methods=["POST"])
        self.app.add_url_rule("/Users/<uid>", "replace", self._replace, methods=["PUT"])

    def fill(self, users: Iterator[tuple[str, str, str]]) -> None:
        """Create the tables and insert users: (id, folded name, document)."""
        key = "BIGSERIAL PRIMARY KEY" if self._postgresql else "INTEGER PRIMARY KEY"
        with connect(self._url) as connection:
            for statement in _TABLES:
                connection.execute(statement.format(key=key))
            columns = ("uid", "name_key", "doc", "created", "version")
            created = time.strftime("%Y-%m-%dT%H:%M:%SZ")
            insert(connection, "users", columns, ((*user, created, 1) for user in users))

    def _connection(self) -> Any:
        if not hasattr(self._local, "connection"):
            self._local.connection = self._connected()
        return self._local.connection

    def _connected(self) -> Any:
        if self._postgresql:
            import psycopg

            return psycopg.connect(self._url, autocommit=True, prepare_threshold=0)
        import sqlite3

        path = self._url.removeprefix("sqlite:///")
        connection = sqlite3.connect(path, isolation_level=None, cached_statements=256, timeout=5)
        # Checkpoints are as rare as the gateway's. Memory-mapped reads, which the gateway has, made no difference here.
        settings = ("wal_autocheckpoint=4000", "mmap_size=1073741824")
        for pragma in ("journal_mode=wal", f"synchronous={self._synchronous}", *settings):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _rows(self, sql: str, *parameters: Any) -> list[Any]:
        if self._postgresql:
            sql = _translated(sql)
        rows: list[Any] = self._connection().execute(sql, parameters).fetchall()
        return rows

    @contextmanager
    def _change(self, uid: str, document: str) -> Iterator[Callable[..., Any]]:
        """Run one transaction, which ends with the outbox and the counter."""
        connection, translated = self._connection(), _translated if self._postgresql else str
        with self._writers if not self._postgresql else connection.transaction():
            if not self._postgresql:
                connection.execute("BEGIN IMMEDIATE")
            yield lambda sql, *parameters: connection.execute(translated(sql), parameters)
            connection.execute(
                translated("INSERT INTO outbox (uid, kind, data) VALUES (?, 'user', ?)"), (uid, document)
            )
            connection.execute("UPDATE counters SET n = n + 1 WHERE name = 'User'")
            if not self._postgresql:
                connection.execute("COMMIT")

    @staticmethod
    def _spliced(row: tuple[str, str, str, int]) -> str:
        uid, doc, created, version = row
        return f'{{"id":"{uid}","meta":{{"resourceType":"User","created":"{created}","version":"{version}"}},{doc[1:]}'

    def _read(self, uid: str) -> Response:
        row = self._rows(f"SELECT {_SHOWN} FROM users WHERE uid = ?", uid)[0]
        return Response(self._spliced(row), mimetype="application/scim+json")

    def _list(self) -> Response:
        if wanted := request.args.get("filter"):
            name = wanted.split('"')[1].lower()
            rows = self._rows(f"SELECT {_SHOWN} FROM users WHERE name_key = ?", name)
        else:
            start = int(request.args["startIndex"])
            rows = self._rows(f"SELECT {_SHOWN} FROM users WHERE id >= ? ORDER BY id LIMIT 100", start)
        body = f'{{"totalResults":{len(rows)},"Resources":[{",".join(map(self._spliced, rows))}]}}'
        return Response(body, mimetype="application/scim+json")

    def _create(self) -> Response:
        document = json.loads(request.get_data())
        row = (new_id(), json.dumps(document), time.strftime("%Y-%m-%dT%H:%M:%SZ"), 1)
        with self._change(row[0], row[1]) as run:
            run(
                f"INSERT INTO users ({_SHOWN}, name_key) VALUES (?, ?, ?, ?, ?)",
                *row,
                document["userName"].lower(),
            )
        return Response(self._spliced(row), 201, mimetype="application/scim+json")

    def _replace(self, uid: str) -> Response:
        document = json.dumps(json.loads(request.get_data()))
        with self._change(uid, document) as run:
            row = run(
                f"UPDATE users SET doc = ?, version = version + 1 WHERE uid = ? RETURNING {_SHOWN}",
                document,
                uid,
            ).fetchone()
        return Response(self._spliced(row), mimetype="application/scim+json")


@lru_cache
def _translated(sql: str) -> str:
    return sql.replace("?", "%s")


def _loaded(parent: int, url: str, synchronous: str, target: str) -> Any:
    restore_default_stop()
    _signals.set_sync_signals = install_stop_signal
    end_with_parent(parent)
    return Limit(url, synchronous).app


if __name__ == "__main__":
    url, synchronous, port, workers = sys.argv[1:]
    # The server of `gateway serve`, with granian's own WSGI interface.
    with reserve_port("127.0.0.1", int(port)) as (address, number):
        _build_server(address, number, int(workers)).serve(
            target_loader=partial(_loaded, os.getpid(), url, synchronous)
        )
