"""`make overload`: the waits of other customers while one customer, or a stranger, attacks the server.

A server of `gateway serve` holds two organizations. A neighbour of the one that is attacked sends lookups, reads and
creates at a modest rate on eight connections; what it waits is measured while nothing else happens and during each
attack. Attackers run in a process of their own. Addresses are those of this machine alone.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.driver import HOST
from bench.machines import free_port
from bench.operations import okta_user, uid
from bench.processes import children, memory
from bench.raw import connect
from bench.served import run_server
from bench.stock import fill_gateway
from gateway.testing import Deployment, engines
from gateway.testing.deployment import PATCH

#: Users of the attacker with the largest documents that are accepted.
LARGE_USERS = 60
#: The neighbour: connections, and requests a second on each.
NEIGHBOURS, RATE = 8, 15
#: Largest ratio of the neighbour's wait under attack to its quiet wait.
MOST_RATIO = 4.0
#: Milliseconds below which a wait passes, whatever its ratio to the quiet one.
NOTICED_MS = 20.0
#: Megabytes of a worker, at most, under any attack.
MOST_MEMORY_MB = 200


@dataclass
class Target:
    """The server as attackers and the neighbour know it: address, paths, tokens."""

    port: int
    base: str
    token: str
    admin: str
    connection: str
    organization: str
    other_connection: str
    large_group: str
    users: int
    neighbour_base: str = ""
    neighbour_token: str = ""


@dataclass
class Waits:
    """The neighbour's results: seconds of each request, and the number of wrong or missing answers."""

    seconds: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)

    def ms(self, share: float) -> float:
        """Return the wait in milliseconds that `share` of the requests did not exceed."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else float("nan")


# HTTP ----------------------------------------------------------------------------------------------------------------


def request(
    method: str,
    path: str,
    token: str = "",
    body: bytes | None = None,
    *,
    length: int | None = None,
    more: str = "",
) -> bytes:
    """Return the bytes of a request; `length` is the value of Content-Length if it is not the body's."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if body is not None or length is not None:
        lines.append("Content-Type: application/json")
        lines.append(f"Content-Length: {len(body or b'') if length is None else length}")
    return "\r\n".join(lines).encode() + f"\r\n{more}\r\n".encode() + (body or b"")


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read the next answer; return its status and body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    if "transfer-encoding: chunked" in head:
        pieces = []
        while size := int((await reader.readline()).strip() or b"0", 16):
            pieces.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readline()
        return status, b"".join(pieces)
    length = head.partition("content-length: ")[2].split("\r\n")[0]
    return status, await reader.readexactly(int(length)) if length and status != 204 else b""


async def neighbour(target: Target, seconds: float, waits: Waits, numbers: Iterator[int]) -> None:
    """Send requests of an identity provider over one connection, at a fixed rate, and wait for each answer."""
    asks = itertools.cycle(("lookup", "read", "create", "lookup"))
    began, sent = time.monotonic(), 0
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    while time.monotonic() - began < seconds:
        number, kind = next(numbers), next(asks)
        base, token = target.neighbour_base, target.neighbour_token
        if kind == "create":
            body = json.dumps(okta_user("n", number)).encode()
            asked, wanted = request("POST", f"{base}/Users", token, body), 201
        elif kind == "read":
            asked, wanted = request("GET", f"{base}/Groups?count=1", token), 200
        else:
            text = quote(f'userName eq "n{number - 8:07d}@acme.test"')
            asked, wanted = request("GET", f"{base}/Users?filter={text}", token), 200
        begun = time.monotonic()
        try:
            async with asyncio.timeout(30):
                if streams is None:
                    streams = await asyncio.open_connection(HOST, target.port)
                streams[1].write(asked)
                status, _ = await answer(streams[0])
            if status != wanted:
                waits.failed[str(status)] += 1
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            waits.failed[type(error).__name__] += 1
            streams = None
        waits.seconds.append(time.monotonic() - begun)
        sent += 1
        await asyncio.sleep(max(0.0, began + sent / RATE - time.monotonic()))
    if streams:
        streams[1].close()


async def neighbours(target: Target, seconds: float, numbers: Iterator[int]) -> Waits:
    """Run all connections of the neighbour."""
    waits = Waits()
    await asyncio.gather(*(neighbour(target, seconds, waits, numbers) for _ in range(NEIGHBOURS)))
    return waits


# Attacks -------------------------------------------------------------------------------------------------------------

Attack = Callable[[Target, Counter[str]], Awaitable[None]]
ATTACKS: dict[str, Attack] = {}


def attack(name: str) -> Callable[[Attack], Attack]:
    """Register an attack by the name that the table shows."""

    def registered(function: Attack) -> Attack:
        ATTACKS[name] = function
        return function

    return registered


async def _held(
    target: Target, seen: Counter[str], opening: bytes, drip: bytes = b"", read: bool = True
) -> None:
    """Send the beginning of a request, then a few bytes now and then; reconnect when the server closes."""
    while True:
        with suppress(OSError, asyncio.IncompleteReadError, ValueError):
            reader, writer = await asyncio.open_connection(
                HOST, target.port, limit=4096 if not read else 65536
            )
            writer.write(opening)
            ending = asyncio.create_task(answer(reader)) if read else None
            while not (ending and ending.done()):
                await asyncio.sleep(0.5)
                if drip:
                    writer.write(drip)
                    await writer.drain()
            if ending:
                seen[str((await ending)[0])] += 1
            writer.close()
        await asyncio.sleep(0.2)


async def _many(count: int, one: Callable[[], Awaitable[None]]) -> None:
    await asyncio.gather(*(one() for _ in range(count)))


async def _storm(target: Target, seen: Counter[str], clients: int, asked: Callable[[int], bytes]) -> None:
    """Run clients that send the next request as soon as they have an answer."""
    numbers = itertools.count()

    async def client() -> None:
        while True:
            with suppress(OSError, asyncio.IncompleteReadError, ValueError):
                reader, writer = await asyncio.open_connection(HOST, target.port)
                try:
                    while True:
                        writer.write(asked(next(numbers)))
                        status, _ = await answer(reader)
                        seen[str(status)] += 1
                        if status == 429:
                            await asyncio.sleep(0.2)
                finally:
                    writer.close()
            await asyncio.sleep(0.05)

    await _many(clients, client)


def _large(number: int) -> dict[str, Any]:
    """Return a user of nine tenths of the largest document."""
    addresses = [f"{number}.{each}@{'a' * 280}.test" for each in range(700)]
    return okta_user("l", number) | {"emails": [{"value": address, "type": "work"} for address in addresses]}


def _body(target: Target, number: int, **values: Any) -> bytes:
    return json.dumps(okta_user("a", number) | values).encode()


@attack("200 bodies that never come")
async def _(target: Target, seen: Counter[str]) -> None:
    opening = request("POST", f"{target.base}/Users", target.token, length=500)
    await _many(200, lambda: _held(target, seen, opening))


@attack("200 bodies that drip")
async def _(target: Target, seen: Counter[str]) -> None:
    opening = request("POST", f"{target.base}/Users", target.token, length=500)
    await _many(200, lambda: _held(target, seen, opening, b" "))


@attack("200 chunked bodies that never end")
async def _(target: Target, seen: Counter[str]) -> None:
    opening = request("POST", f"{target.base}/Users", target.token, more="Transfer-Encoding: chunked\r\n")
    await _many(200, lambda: _held(target, seen, opening, b"1\r\n{\r\n"))


@attack("200 that wait for 100-continue and never go on")
async def _(target: Target, seen: Counter[str]) -> None:
    opening = request(
        "POST", f"{target.base}/Users", target.token, length=500, more="Expect: 100-continue\r\n"
    )
    await _many(200, lambda: _held(target, seen, opening, read=False))


@attack("200 bodies that never come, admin REST")
async def _(target: Target, seen: Counter[str]) -> None:
    opening = request(
        "POST", f"/admin/v1/organizations/{target.organization}/users", target.admin, length=500
    )
    await _many(200, lambda: _held(target, seen, opening))


@attack("200 strangers' bodies that never come")
async def _(target: Target, seen: Counter[str]) -> None:
    opening = request("POST", f"{target.base}/Users", "pgw_wrong", length=500)
    await _many(200, lambda: _held(target, seen, opening))


@attack("200 headers that drip")
async def _(target: Target, seen: Counter[str]) -> None:
    await _many(200, lambda: _held(target, seen, b"GET /live HTTP/1.1\r\nX-A: ", b"a", read=False))


@attack("1,200 idle connections")
async def _(target: Target, seen: Counter[str]) -> None:
    await _many(1200, lambda: _held(target, seen, b"", read=False))


@attack("64 that do not read a list")
async def _(target: Target, seen: Counter[str]) -> None:
    opening = request("GET", f"{target.base}/Users?count=1000", target.token)
    await _many(64, lambda: _held(target, seen, opening, read=False))


@attack("64 that do not read a large group")
async def _(target: Target, seen: Counter[str]) -> None:
    opening = request("GET", f"{target.base}/Groups/{target.large_group}", target.token)
    await _many(64, lambda: _held(target, seen, opening, read=False))


@attack("64 that do not read users.csv")
async def _(target: Target, seen: Counter[str]) -> None:
    opening = request("GET", f"/admin/v1/organizations/{target.organization}/users.csv", target.admin)
    await _many(64, lambda: _held(target, seen, opening, read=False))


def _filters(name: str, path: str, text: str) -> None:
    async def storm(target: Target, seen: Counter[str]) -> None:
        asked = request("GET", f"{target.base}/{path}{quote(text, safe='=&')}", target.token)
        await _storm(target, seen, 8, lambda _: asked)

    ATTACKS[name] = storm


_filters("8 × displayName co", "Users?filter=", 'displayName co "zzz"')
_filters("8 × name.familyName eq", "Users?filter=", 'name.familyName eq "zzz"')
_filters("8 × sortBy", "Users?", "sortBy=name.familyName&count=100&startIndex=30000")
_filters(
    "8 × a filter of 250 terms",
    "Users?filter=",
    " or ".join(f'name.familyName eq "zz{n}"' for n in range(250)),
)
_filters(
    "8 × 270 terms on groups", "Groups?filter=", " or ".join(f'members.value eq "zz{n}"' for n in range(270))
)
_filters("8 × pages of large users", "Users?", 'count=300&filter=userName sw "l"')
_filters("8 × names of large users", "Users?", 'count=300&attributes=userName&filter=userName sw "l"')
_filters("8 × pages of 1,000", "Users?", "count=1000&startIndex=1")


@attack("8 × far pages at random")
async def _(target: Target, seen: Counter[str]) -> None:
    def asked(number: int) -> bytes:
        start = 1 + number * 7919 * 13 % target.users
        return request("GET", f"{target.base}/Users?count=100&startIndex={start}", target.token)

    await _storm(target, seen, 8, asked)


@attack("8 × preview of Map to groups")
async def _(target: Target, seen: Counter[str]) -> None:
    attribute = "urn:calendly:scim:schemas:2.0:User:group"
    values = {"enabled": True, "attribute": attribute, "rules": [{"value": "x", "group": "X"}]}
    body = json.dumps(values | {"apply_to_existing": True}).encode()
    path = f"/admin/v1/connections/{target.connection}/group-mapping/preview"
    await _storm(target, seen, 8, lambda _: request("POST", path, target.admin, body))


@attack("8 × preview of a takeover")
async def _(target: Target, seen: Counter[str]) -> None:
    body = json.dumps({"from": target.connection, "match": "user_name", "preview": True}).encode()
    path = f"/admin/v1/connections/{target.other_connection}/takeover"
    await _storm(target, seen, 8, lambda _: request("POST", path, target.admin, body))


@attack("8 × users.csv")
async def _(target: Target, seen: Counter[str]) -> None:
    path = f"/admin/v1/organizations/{target.organization}/users.csv"
    await _storm(target, seen, 8, lambda _: request("GET", path, target.admin))


@attack("4 × Bulk of 1,000")
async def _(target: Target, seen: Counter[str]) -> None:
    def asked(number: int) -> bytes:
        operations = [
            {"method": "POST", "path": "/Users", "bulkId": str(n), "data": okta_user("b", number * 1000 + n)}
            for n in range(1000)
        ]
        urn = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
        body = json.dumps({"schemas": [urn], "Operations": operations}).encode()
        return request("POST", f"{target.base}/Bulk", target.token, body)

    await _storm(target, seen, 4, asked)


@attack("16 × a wrong token")
async def _(target: Target, seen: Counter[str]) -> None:
    await _storm(target, seen, 16, lambda _: request("GET", f"{target.base}/Users?count=1", "pgw_wrong"))


@attack("8 × a name of combining marks")
async def _(target: Target, seen: Counter[str]) -> None:
    marks = "a" + "\u0315\u0300\u05ae\u0316" * 24_000
    await _storm(
        target,
        seen,
        8,
        lambda n: request("POST", f"{target.base}/Users", target.token, _body(target, n, displayName=marks)),
    )


@attack("8 × a PATCH of combining marks")
async def _(target: Target, seen: Counter[str]) -> None:
    marks = "a" + "\u0315\u0300\u05ae\u0316" * 24_000
    change = {"op": "replace", "path": 'emails[type eq "work"].value', "value": f"{marks}@acme.test"}
    body = json.dumps({"schemas": [PATCH], "Operations": [change]}).encode()
    await _storm(
        target, seen, 8, lambda _: request("PATCH", f"{target.base}/Users/{uid(1)}", target.token, body)
    )


# Running -------------------------------------------------------------------------------------------------------------


def _attacker(name: str, target: Target, seconds: float, result: Any) -> None:
    seen: Counter[str] = Counter()

    async def run() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await ATTACKS[name](target, seen)

    with suppress(BaseException):
        asyncio.run(run())
    result.put(dict(seen))
    result.close()
    result.join_thread()
    os._exit(0)  # connections that nobody reads are left to the kernel


@contextmanager
def attacked(name: str, target: Target, seconds: float) -> Iterator[Callable[[], dict[str, int]]]:
    """Run an attack in a process of its own; yields a function that waits for its end and returns its answers."""
    context = multiprocessing.get_context("spawn")
    result = context.Queue()
    process = context.Process(target=_attacker, args=(name, target, seconds, result), daemon=True)
    process.start()
    try:
        yield lambda: result.get(timeout=seconds + 20)
    finally:
        process.join(10)
        process.kill()


@contextmanager
def target_of(engine: str, users: int, workers: int, server: str) -> Iterator[tuple[Target, int]]:
    """Run a server with two organizations; yield its target and its process id."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-overload-")))
        settings: dict[str, Any] = {"secret_key": "a secret for an overload, long enough for all"}
        settings |= {"admin_token": "an operator of an overload, long enough"}
        if engine == "postgresql":
            url = stack.enter_context(engines.server())
            with connect(url) as connection:
                connection.execute("CREATE DATABASE overload TEMPLATE template0 ENCODING 'UTF8'")
            settings["database_url"] = urlsplit(url)._replace(path="/overload").geturl()
        with closing(Deployment(folder / "instance", brake="off", **settings)) as deployment:
            subject, scim = fill_gateway(deployment, users)
            other = deployment.connection("okta", scim.organization)
            for number in range(LARGE_USERS):
                scim.call("POST", "/Users", _large(number))
            near = deployment.connection("okta", deployment.organization("Neighbour"))
            for number in range(16):
                near.call("POST", "/Users", okta_user("n", number))
            store = deployment.gateway.store
            _, admin = store.admin_tokens.add(scim.organization, "attacker")
            environment = deployment.environment
            target = Target(
                free_port(), scim.base, scim.token, admin, scim.connection.uid, scim.organization.uid,
                other.connection.uid, subject.groups["large"], users, near.base, near.token,
            )  # fmt: skip
        if server == "gunicorn":
            metrics = folder / "metrics"
            metrics.mkdir()
            environment |= {"PROMETHEUS_MULTIPROC_DIR": str(metrics), "GATEWAY_WORKERS": str(workers)}
            command = ["gunicorn", "--workers", str(workers), "--worker-class", "gthread", "--threads", "2"]
            command += ["--limit-request-line", "0", "--no-control-socket", "--bind", f"{HOST}:{target.port}"]
            command += ["gateway.app:create_app()"]
        else:
            command = ["gateway.cli", "serve", "--port", str(target.port), "--workers", str(workers)]
        log = folder / "server.log"
        pid = stack.enter_context(run_server([sys.executable, "-m", *command], target.port, environment, log))
        yield target, pid


def measured(engine: str, given: argparse.Namespace, progress: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return a row for each attack: the neighbour's waits before and during it."""
    rows = []
    numbers = itertools.count(16)
    names = [
        name for name in ATTACKS if not given.only or any(part in name for part in given.only.split(","))
    ]
    with target_of(engine, given.users, given.workers, given.server) as (target, pid):
        asyncio.run(neighbours(target, 2, numbers))  # once for nothing
        for name in names:
            progress(f"{engine}: {name}")
            quiet = asyncio.run(neighbours(target, given.seconds / 2, numbers))
            with attacked(name, target, given.seconds + 2) as answered:
                time.sleep(1.5)
                during = asyncio.run(neighbours(target, given.seconds, numbers))
                held = max((memory(worker)[1] for worker in children(pid)), default=float("nan"))
                seen = answered()
            rows.append(_row(engine, name, quiet, during, held, seen))
            time.sleep(0.5)
    return rows


def _row(
    engine: str, name: str, quiet: Waits, during: Waits, held: float, seen: dict[str, int]
) -> dict[str, Any]:
    ratios = {share: during.ms(share) / max(quiet.ms(share), 1e-3) for share in (0.5, 0.95, 0.99)}
    bad = ratios[0.95] > MOST_RATIO and during.ms(0.95) > NOTICED_MS
    return {
        "engine": engine, "attack": name,
        "quiet_ms": [quiet.ms(0.5), quiet.ms(0.95), quiet.ms(0.99)],
        "during_ms": [during.ms(0.5), during.ms(0.95), during.ms(0.99)],
        "failed": dict(during.failed), "requests": len(during.seconds), "memory_mb": held, "attackers": seen,
        "holds": not (bad or during.failed or held > MOST_MEMORY_MB),
    }  # fmt: skip


def main() -> int:
    """Run all attacks and print the rows; return 1 if a bound was exceeded."""
    parser = argparse.ArgumentParser(prog="make overload", description=__doc__)
    parser.add_argument("--engines", default="sqlite,postgresql", help="with a comma")
    parser.add_argument("--users", type=int, default=60_000, help="of the organization that attacks")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each attack is watched")
    parser.add_argument("--only", help="parts of names of attacks, with commas")
    parser.add_argument("--server", default="gateway", choices=["gateway", "gunicorn"])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with Progress(
        TextColumn("{task.description:60}"), BarColumn(), TimeElapsedColumn(), console=Console(stderr=True)
    ) as bar:
        task = bar.add_task("overload", total=None)
        for engine in given.engines.split(","):
            rows += measured(engine, given, lambda words: bar.update(task, description=words))
    if given.json:
        print(json.dumps(rows, indent=1))
    else:
        _print(rows)
    return 0 if all(row["holds"] for row in rows) else 1


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(
        "engine", "attack", "quiet p50 · p95 · p99 ms", "during", "failed", "worker MB", "attackers got", ""
    )
    for row in rows:
        quiet, during = (" · ".join(f"{ms:.1f}" for ms in row[key]) for key in ("quiet_ms", "during_ms"))
        failed = ", ".join(f"{count} × {what}" for what, count in row["failed"].items()) or "none"
        got = ", ".join(f"{count} × {what}" for what, count in sorted(row["attackers"].items())) or "nothing"
        table.add_row(
            row["engine"], row["attack"], quiet, during, failed, f"{row['memory_mb']:.0f}", got,
            "holds" if row["holds"] else "FAILS",
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 170).print(table)


if __name__ == "__main__":
    sys.exit(main())
