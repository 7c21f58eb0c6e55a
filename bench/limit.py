"""The limit: a Flask route, one raw SQL statement, stored JSON spliced into the answer. No tokens, groups or seats.

Nothing that serves SCIM with Flask and SQLite can be faster; how near the gateway comes is what the benchmark tells.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import uuid
from pathlib import Path

from flask import Flask, Response, request

_TABLES = """
CREATE TABLE users (
    id INTEGER PRIMARY KEY, uid TEXT UNIQUE, name_key TEXT UNIQUE, doc TEXT, created TEXT, version INTEGER
);
CREATE TABLE outbox (id INTEGER PRIMARY KEY, uid TEXT, kind TEXT, data TEXT);
CREATE TABLE counters (name TEXT PRIMARY KEY, n INTEGER);
INSERT INTO counters VALUES ('User', 0);
"""


class Limit:
    """The WSGI application `app` over a database of its own."""

    def __init__(self, folder: Path, synchronous: str) -> None:
        self._path, self._synchronous, self._local = folder / "limit.sqlite3", synchronous, threading.local()
        self._connection().executescript(_TABLES)
        self.app = Flask("limit")
        self.app.add_url_rule("/Users/<uid>", "read", self._read)
        self.app.add_url_rule("/Users", "list", self._list)
        self.app.add_url_rule("/Users", "create", self._create, methods=["POST"])
        self.app.add_url_rule("/Users/<uid>", "replace", self._replace, methods=["PUT"])

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._local, "connection"):
            connection = sqlite3.connect(self._path, isolation_level=None, cached_statements=256)
            for pragma in ("journal_mode=wal", f"synchronous={self._synchronous}", "mmap_size=1073741824"):
                connection.execute(f"PRAGMA {pragma}")
            self._local.connection = connection
        return self._local.connection

    @staticmethod
    def _spliced(row: tuple[str, str, str, int]) -> str:
        uid, doc, created, version = row
        return f'{{"id":"{uid}","meta":{{"resourceType":"User","created":"{created}","version":"{version}"}},{doc[1:]}'

    def _read(self, uid: str) -> Response:
        row = (
            self._connection()
            .execute("SELECT uid, doc, created, version FROM users WHERE uid = ?", (uid,))
            .fetchone()
        )
        return Response(self._spliced(row), mimetype="application/scim+json")

    def _list(self) -> Response:
        wanted = request.args.get("filter")
        if wanted:
            sql, value = (
                "SELECT uid, doc, created, version FROM users WHERE name_key = ?",
                wanted.split('"')[1].lower(),
            )
        else:
            sql = "SELECT uid, doc, created, version FROM users WHERE id >= ? ORDER BY id LIMIT 100"
            value = request.args["startIndex"]
        rows = self._connection().execute(sql, (value,)).fetchall()
        body = f'{{"totalResults":{len(rows)},"Resources":[{",".join(map(self._spliced, rows))}]}}'
        return Response(body, mimetype="application/scim+json")

    def _create(self) -> Response:
        document = json.loads(request.get_data())
        row = (str(uuid.uuid4()), json.dumps(document), time.strftime("%Y-%m-%dT%H:%M:%SZ"), 1)
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "INSERT INTO users (uid, doc, created, version, name_key) VALUES (?, ?, ?, ?, ?)",
            (*row, document["userName"].lower()),
        )
        self._close(row[0], row[1])
        return Response(self._spliced(row), 201, mimetype="application/scim+json")

    def _replace(self, uid: str) -> Response:
        document = json.dumps(json.loads(request.get_data()))
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        row = connection.execute(
            "UPDATE users SET doc = ?, version = version + 1 WHERE uid = ? RETURNING uid, doc, created, version",
            (document, uid),
        ).fetchone()
        self._close(uid, document)
        return Response(self._spliced(row), mimetype="application/scim+json")

    def _close(self, uid: str, document: str) -> None:
        connection = self._connection()
        connection.execute("INSERT INTO outbox (uid, kind, data) VALUES (?, 'user', ?)", (uid, document))
        connection.execute("UPDATE counters SET n = n + 1 WHERE name = 'User'")
        connection.execute("COMMIT")
