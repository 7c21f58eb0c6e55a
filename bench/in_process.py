"""In process, on SQLite and without a network: microseconds and SQL statements of a request, against the limit.

Gateway and limit alternate, a portion each, so that a busy machine slows both; the ratio is the figure to quote.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.limit import Limit
from bench.operations import OPERATIONS, Ask, Subject
from bench.stock import NEVER_HELD, fill_gateway, fill_limit
from gateway.testing import Deployment

PORTION = 60


def measure(
    users: tuple[int, ...], operations: tuple[str, ...], rounds: int, synchronous: str,
    show_progress: Callable[[str, int, int], None],
) -> list[dict[str, Any]]:  # fmt: skip
    """Return a row for each portion: microseconds a request, and for the gateway the number of statements."""
    return [row for size in users for row in _at(size, operations, rounds, synchronous, show_progress)]


def _at(
    users: int,
    operations: tuple[str, ...],
    rounds: int,
    synchronous: str,
    show_progress: Callable[[str, int, int], None],
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        show_progress(f"in process: filling with {users:,} users", 0, 1)
        with closing(
            Deployment(Path(folder) / "instance", sqlite_synchronous=synchronous, brake=NEVER_HELD)
        ) as deployment:
            subject, _ = fill_gateway(deployment, users)
            url = f"sqlite:///{folder}/limit.sqlite3"
            rival = fill_limit(url, synchronous, users)
            ours, limit = (
                Application(deployment.app, subject),
                Application(Limit(url, synchronous).app, rival),
            )
            counts = {name: _statements(deployment, ours, name) for name in operations}
            total = rounds * len(operations)
            for done in range(total):
                number, name = done // len(operations), operations[done % len(operations)]
                show_progress(f"in process: {name}, {users:,} users", done, total)
                row = {"users": users, "operation": name, "round": number}
                rows.append(row | {"target": "gateway", "us": ours.portion(name), "sql": counts[name]})
                if OPERATIONS[name].of_limit:
                    rows.append(row | {"target": "limit", "us": limit.portion(name)})
    return rows


class Application:
    """A WSGI application with its users."""

    def __init__(self, app: Any, subject: Subject) -> None:
        self._app, self._subject = app, subject

    def portion(self, name: str, count: int = PORTION) -> float:
        """Return the microseconds of one operation, over a portion of `count`."""
        work = [environ for _ in range(count) for environ in self.work(name)]
        begun = time.perf_counter()
        for environ in work:
            self.send(environ)
        return (time.perf_counter() - begun) / count * 1e6

    def work(self, name: str) -> list[dict[str, Any]]:
        """Return the requests of the next run of an operation."""
        return [self._environ(ask) for ask in self._subject.next(name)]

    def _environ(self, ask: Ask) -> dict[str, Any]:
        return {
            "REQUEST_METHOD": ask.method, "PATH_INFO": self._subject.base + ask.path, "QUERY_STRING": ask.query,
            "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "localhost",
            "CONTENT_LENGTH": str(len(ask.body)), "CONTENT_TYPE": "application/scim+json",
            "HTTP_AUTHORIZATION": f"Bearer {self._subject.token}",
            "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(ask.body), "wsgi.errors": sys.stderr,
            "wsgi.version": (1, 0), "wsgi.multithread": True, "wsgi.multiprocess": True, "wsgi.run_once": False,
        }  # fmt: skip

    def send(self, environ: dict[str, Any]) -> None:
        """Send one request. Raises RuntimeError for an answer that is no success."""
        status: list[str] = []
        answer = self._app(environ, lambda line, headers, error=None: status.append(line))
        body = b"".join(answer)
        if hasattr(answer, "close"):
            answer.close()
        if status[0][0] != "2":
            raise RuntimeError(
                f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}: {status[0]} {body[:300]!r}"
            )


def _statements(deployment: Deployment, application: Application, name: str) -> int:
    """Return the number of SQL statements of one run of an operation, without BEGIN and COMMIT."""
    connection, seen = deployment.gateway.store.database.peewee.connection(), 0

    def trace(sql: str) -> None:
        nonlocal seen
        seen += not sql.startswith(("BEGIN", "COMMIT", "PRAGMA", "--"))

    for environ in application.work(name):  # fills the caches
        application.send(environ)
    work = application.work(name)
    connection.set_trace_callback(trace)
    for environ in work:
        application.send(environ)
    connection.set_trace_callback(None)
    return seen
