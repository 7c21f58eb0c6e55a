"""`make bench`: microseconds and SQL statements of each operation, in process, against the limit, at several sizes.

The gateway and the limit answer in turn, a portion each, so that a busy machine slows both; the ratio is the figure to
quote. `--users 1000,10000` sets the sizes, `--json` prints rows for programs.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.limit import Limit
from gateway.testing import Deployment

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
ROUNDS, PORTION = 9, 60
Environ = dict[str, Any]


def okta_user(name: str, number: int) -> dict[str, Any]:
    """A create as Okta sends it."""
    return {
        "schemas": [USER],
        "userName": f"{name}@acme.test",
        "name": {"givenName": f"Given{number}", "familyName": f"Family{number % 997}"},
        "emails": [{"primary": True, "value": f"{name}@acme.test", "type": "work"}],
        "displayName": f"Given{number} Family{number % 997}",
        "locale": "en-US",
        "externalId": f"00u{number:08d}{name}",
        "groups": [],
        "password": "1mz050nq",
        "active": True,
    }


class Target:
    """An application under test: its base path, its token, the users that it holds."""

    def __init__(self, app: Any, base: str, token: str) -> None:
        self.app, self.base, self.token, self.ids = app, base, token, list[str]()

    def environ(self, method: str, path: str, query: str = "", body: Any = None) -> Environ:
        """A WSGI request."""
        raw = b"" if body is None else json.dumps(body).encode()
        return {
            "REQUEST_METHOD": method, "PATH_INFO": self.base + path, "QUERY_STRING": query, "SERVER_NAME": "localhost",
            "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "localhost",
            "CONTENT_LENGTH": str(len(raw)), "CONTENT_TYPE": "application/scim+json",
            "HTTP_AUTHORIZATION": f"Bearer {self.token}",
            "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(raw), "wsgi.errors": sys.stderr, "wsgi.version": (1, 0),
            "wsgi.multithread": True, "wsgi.multiprocess": True, "wsgi.run_once": False,
        }  # fmt: skip

    def send(self, environ: Environ) -> bytes:
        """The body of the answer; anything but success is an error of the benchmark."""
        status: list[str] = []
        answer = self.app(environ, lambda line, headers, error=None: status.append(line))
        body = b"".join(answer)
        if hasattr(answer, "close"):
            answer.close()
        if status[0][0] != "2":
            raise RuntimeError(
                f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}: {status[0]} {body[:300]!r}"
            )
        return body

    def fill(self, count: int, run: str) -> None:
        """Create users until there are that many."""
        for number in track(
            range(len(self.ids), count), f"{run}: {count:,} users", console=Console(stderr=True)
        ):
            body = self.send(self.environ("POST", "/Users", "", okta_user(f"u{number}", number)))
            self.ids.append(json.loads(body)["id"])


def operations(target: Target, fresh: Iterator[int]) -> dict[str, Callable[[int], Environ]]:
    """What is measured: a request for the n-th turn."""
    ids = target.ids
    return {
        "read": lambda n: target.environ("GET", f"/Users/{ids[n % len(ids)]}"),
        "lookup": lambda n: target.environ(
            "GET", "/Users", f"filter=userName+eq+%22u{n % len(ids)}@acme.test%22&startIndex=1&count=100"
        ),
        "list of 100": lambda n: target.environ("GET", "/Users", "startIndex=1&count=100"),
        "create": lambda n: target.environ("POST", "/Users", "", okta_user(f"n{next(fresh)}", n)),
        "replace": lambda n: target.environ(
            "PUT",
            f"/Users/{ids[n % len(ids)]}",
            "",
            {**okta_user(f"u{n % len(ids)}", n), "displayName": f"D{next(fresh)}"},
        ),
    }


def only_here(target: Target, group: str) -> dict[str, Callable[[int], Environ]]:
    """Operations that the limit does not have."""
    ids = target.ids

    def patch(path: str, *operations: dict[str, Any]) -> Environ:
        return target.environ("PATCH", path, "", {"schemas": [PATCH], "Operations": list(operations)})

    def member(n: int) -> dict[str, Any]:
        return {"value": ids[n % len(ids)]}

    return {
        "deactivate or reactivate": lambda n: patch(
            f"/Users/{ids[n % len(ids)]}", {"op": "replace", "value": {"active": n // len(ids) % 2 == 1}}
        ),
        "group without members": lambda n: target.environ(
            "GET", f"/Groups/{group}", "excludedAttributes=members"
        ),
        "group add or remove one": lambda n: patch(
            f"/Groups/{group}",
            {"op": "add", "path": "members", "value": [member(n)]}
            if n % 2
            else {"op": "remove", "path": f'members[value eq "{ids[(n - 1) % len(ids)]}"]'},
        ),
    }


def portion(target: Target, make: Callable[[int], Environ], turn: int) -> float:
    """Microseconds a request, over one portion."""
    requests = [make(turn * PORTION + n) for n in range(PORTION)]
    begun = time.perf_counter()
    for environ in requests:
        target.send(environ)
    return (time.perf_counter() - begun) / PORTION * 1e6


def statements(deployment: Deployment, target: Target, make: Callable[[int], Environ]) -> int:
    """SQL statements of one request, BEGIN and COMMIT left out."""
    database, seen = deployment.gateway.store.database, 0
    connection = database.peewee.connection()

    def trace(sql: str) -> None:
        nonlocal seen
        seen += not sql.startswith(("BEGIN", "COMMIT", "PRAGMA", "--"))

    environ = make(7)
    connection.set_trace_callback(trace)
    target.send(environ)
    connection.set_trace_callback(None)
    return seen


def measure(users: int, synchronous: str) -> list[dict[str, Any]]:
    """One row an operation, at one size."""
    with tempfile.TemporaryDirectory() as folder:
        deployment = Deployment(Path(folder) / "instance", sqlite_synchronous=synchronous)
        scim = deployment.connection("okta")
        here = Target(deployment.app, scim.base, scim.token)
        limit = Target(Limit(Path(folder), synchronous).app, "", "")
        pragma = deployment.gateway.store.database.peewee.execute_sql
        pragma("PRAGMA synchronous = OFF")  # until all users are there
        here.fill(users, "gateway")
        limit.fill(users, "limit")
        group = scim.group("Everybody")["id"]
        for start in range(0, users, 1000):
            members = [{"value": uid} for uid in here.ids[start : start + 1000]]
            scim.patch(f"/Groups/{group}", {"op": "add", "path": "members", "value": members})
        pragma(f"PRAGMA synchronous = {synchronous}")
        fresh = itertools.count()
        theirs = operations(limit, fresh)
        rows = []
        for name, make in (operations(here, fresh) | only_here(here, group)).items():
            count = statements(deployment, here, make)
            ours, least = [], []
            for turn in range(ROUNDS):
                ours.append(portion(here, make, turn))
                if name in theirs:
                    least.append(portion(limit, theirs[name], turn))
            row: dict[str, Any] = {
                "users": users,
                "operation": name,
                "us": round(statistics.median(ours)),
                "sql": count,
            }
            if least:
                row["limit_us"] = round(statistics.median(least))
                row["of_limit"] = round(statistics.median(b / a for a, b in zip(ours, least, strict=True)), 2)
            rows.append(row)
        deployment.close()
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--users", default="1000,10000", help="sizes to measure, with commas")
    parser.add_argument("--synchronous", default="FULL", choices=["FULL", "NORMAL"])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = [row for size in given.users.split(",") for row in measure(int(size), given.synchronous)]
    if given.json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(
        title=f"In process, SQLite, synchronous={given.synchronous}; «of limit»: 1.00 is the limit itself"
    )
    for heading in ("users", "operation", "µs a request", "limit µs", "of limit", "SQL statements"):
        table.add_column(heading, justify="left" if heading == "operation" else "right")
    for row in rows:
        table.add_row(
            f"{row['users']:,}", row["operation"], str(row["us"]), str(row.get("limit_us", "")),
            f"{row['of_limit']:.2f}" if "of_limit" in row else "", str(row["sql"]),
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
