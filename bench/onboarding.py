"""`make onboarding`: creates many users at once through two nodes, in one organization with fewer seats than users.

Two nodes with two workers each behind haproxy (where it is installed; else the client alternates between them), one
PostgreSQL whose commits are on disk. Each connection does as Okta does: it looks a user up, and creates it. Afterwards
the database is asked: who was acknowledged is there, nobody else is, no seat is used twice, no event number is
missing, and each refusal has the sentence of the billing plugin.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import signal
import sys
import tempfile
import threading
import time
import urllib.parse
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.machines import HOST, WORKERS, Node, Postgres, Proxy, installed
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import USER
from tests.oracles.invariants import OFFENCES

ORGANIZATIONS = 4
#: Share of the users of the first organization that get a seat.
FIT = 0.8
SENTENCE = "You're over capacity: "
PATIENCE = 60.0


@dataclass
class Customer:
    """An organization that onboards, and the answers that its identity provider got."""

    scim: Scim
    base: str
    seats: int | None
    users: list[str]
    created: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    strange: list[str] = field(default_factory=list)


class Connection(threading.Thread):
    """One open connection to one node or the proxy. It takes the next user of its customer until none is left."""

    def __init__(self, customer: Customer, port: int, left: Any, times: list[tuple[str, float]]) -> None:
        super().__init__(daemon=True)
        self._customer, self._left, self._times = customer, left, times
        self._connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)

    def run(self) -> None:
        """Create users until none is left."""
        with closing(self._connection):
            for name in self._left:
                try:
                    self._onboard(name)
                except (OSError, http.client.HTTPException) as error:
                    self._customer.strange.append(f"{name}: {type(error).__name__}")
                    self._connection.close()

    def _onboard(self, name: str) -> None:
        customer = self._customer
        query = urllib.parse.quote(f'userName eq "{name}"')
        status, answer = self._send("GET", f"/Users?filter={query}&startIndex=1&count=100")
        if status != 200 or answer["totalResults"]:
            customer.strange.append(f"{name}: lookup {status} {answer}")
        body = {"schemas": [USER], "userName": name, "externalId": f"00u{name}", "active": True}
        body |= {"name": {"givenName": "Given", "familyName": name}, "displayName": name, "locale": "en-US"}
        body |= {"emails": [{"primary": True, "value": name, "type": "work"}], "groups": []}
        status, answer = self._send("POST", "/Users", body)
        if status == 201:
            customer.created[name] = answer["id"]
        elif status == 403:
            customer.refused[name] = answer["detail"]
        else:
            customer.strange.append(f"{name}: {status} {answer}")

    def _send(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self._customer.scim.token}"}
        headers |= {"Content-Type": "application/scim+json"} if body else {}
        began = time.perf_counter()
        self._connection.request(method, self._customer.base + path, body and json.dumps(body), headers)
        answer = self._connection.getresponse()
        text = answer.read()
        took = (time.perf_counter() - began) * 1000
        what = "lookup" if method == "GET" else {201: "create", 403: "refused"}.get(answer.status, "failed")
        self._times.append((what, took))
        return answer.status, json.loads(text)


class _Left:
    """The users that no connection has picked yet."""

    def __init__(self, names: list[str]) -> None:
        self._names, self._lock = iter(names), threading.Lock()

    def __iter__(self) -> _Left:
        return self

    def __next__(self) -> str:
        with self._lock:
            return next(self._names)


def onboard(users: int, connections: int, console: Console) -> dict[str, Any]:
    """Set up nodes and organizations, create all users, and return the figures and everything that is wrong."""
    with tempfile.TemporaryDirectory(prefix="gateway-onboarding-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        os.chmod(folder, 0o755)
        with ExitStack() as running:
            server = Postgres(folder / "primary")
            running.callback(server.stop)
            url = f"postgresql://postgres@{HOST}:{server.port}/postgres"
            deployment = Deployment(
                folder / "instance", database_url=url, secret_key="a-key-for-tests-only" * 2, brake="off"
            )
            running.callback(deployment.close)
            nodes = Node(folder, "a", deployment.environment), Node(folder, "b", deployment.environment)
            services: list[Any] = [*nodes, Proxy(folder, nodes)] if installed("haproxy") else [*nodes]
            for service in services:
                service.start()
                running.callback(service.end, signal.SIGKILL)
            ports = [service.port for service in services[2:] or services]
            customers = [
                _customer(deployment, number, users // ORGANIZATIONS) for number in range(ORGANIZATIONS)
            ]
            times, seconds = _sent(customers, connections, ports, console)
            logs = "".join((folder / f"{node.name}.log").read_text() for node in nodes)
            wrong = _wrong(server, customers) | {
                "unexpected in the logs": logs.split("ERROR gateway ")[1:][:3]
            }
            return {
                "users": sum(len(customer.users) for customer in customers),
                "connections": connections,
                "through": "haproxy" if len(ports) == 1 else "nodes in turn",
                "seconds": round(seconds, 1),
                "milliseconds": _figures(times),
                "organizations": [_refusal_sentences(deployment, customer) for customer in customers],
                "wrong": {what: found for what, found in wrong.items() if found},
            }


def _customer(deployment: Deployment, number: int, users: int) -> Customer:
    seats = int(users * FIT) if number == 0 else None
    scim = deployment.connection("okta", deployment.organization(f"Customer {number}", seats=seats))
    return Customer(scim, scim.base, seats, [f"u{number}-{each}@acme.test" for each in range(users)])


def _sent(
    customers: list[Customer], connections: int, ports: list[int], console: Console
) -> tuple[list[tuple[str, float]], float]:
    """Create all users; return the milliseconds of each request, and the seconds of all."""
    times, left = list[tuple[str, float]](), [_Left(customer.users) for customer in customers]
    threads = [
        Connection(customers[number % len(customers)], port, left[number % len(customers)], times)
        for number, port in zip(range(connections), itertools.cycle(ports), strict=False)
    ]
    began, all_users = time.monotonic(), sum(len(customer.users) for customer in customers)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{all_users:,} users", total=2 * all_users)
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            bar.update(task, completed=len(times))
            time.sleep(0.1)
    return times, time.monotonic() - began


def _wrong(server: Postgres, customers: list[Customer]) -> dict[str, Any]:
    """Return everything that is wrong in the database, by a description."""
    rows = server.ask("SELECT uid, user_name FROM users WHERE active = 1 AND deleted = 0")
    created = {uid: name for customer in customers for name, uid in customer.created.items()}
    recorded = server.ask("SELECT resource_uid FROM events WHERE type = 'user.created'")
    wrong: dict[str, Any] = {what: server.ask(sql)[:5] for what, sql in OFFENCES.items()}
    wrong["deadlocks"] = server.ask("SELECT datname, deadlocks FROM pg_stat_database WHERE deadlocks > 0")
    wrong["stored are others than were acknowledged"] = sorted(set(rows) ^ set(created.items()))[:5]
    wrong["events of creation differ from answers of 201"] = Counter(uid for (uid,) in recorded) != Counter(
        list(created)
    )
    wrong["above the limit"] = server.ask("SELECT uid FROM organizations WHERE seats_used > seat_limit")
    wrong["seats left, and yet refused"] = [
        customer.base
        for customer in customers
        if customer.refused and len(customer.created) != customer.seats
    ]
    wrong["refused without the sentence"] = [
        detail
        for customer in customers
        for detail in customer.refused.values()
        if not detail.startswith(SENTENCE)
    ][:5]
    wrong["neither created nor refused"] = [each for customer in customers for each in customer.strange][:5]
    wrong["never answered"] = [
        customer.base
        for customer in customers
        if len(customer.created) + len(customer.refused) != len(customer.users)
    ]
    return wrong


def _refusal_sentences(deployment: Deployment, customer: Customer) -> dict[str, Any]:
    organization = customer.scim.organization
    return {
        "name": organization.name,
        "sent": len(customer.users),
        "seats": customer.seats,
        "created": len(customer.created),
        "refused": len(customer.refused),
        "seats in use": organization.seats_used,
        "events": len(deployment.events(organization)),
    }


def _figures(times: list[tuple[str, float]]) -> dict[str, dict[str, float]]:
    """Return the number of requests of each kind, and their median, 99th percentile and maximum in milliseconds."""
    figures = {}
    for what in ("lookup", "create", "refused", "failed"):
        if sorted_times := sorted(took for kind, took in times if kind == what):
            last = len(sorted_times) - 1
            figures[what] = {
                "count": len(sorted_times),
                "p50": round(sorted_times[last // 2], 1),
                "p99": round(sorted_times[int(last * 0.99)], 1),
                "max": round(sorted_times[last], 1),
            }
    return figures


def main() -> int:
    """Run and print; return 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="make onboarding", description=__doc__)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that all it started ends as well
    result = onboard(given.users, given.connections, Console(stderr=True))
    if given.json:
        print(json.dumps(result, indent=1))
        return int(bool(result["wrong"]))
    console = Console()
    title = (
        f"{result['users']:,} users in {result['seconds']} s, {given.connections} connections, 2 nodes with"
    )
    console.print(_table(f"{title} {WORKERS} workers each, {result['through']}", result["organizations"]))
    rows = [{"request": what, **figures} for what, figures in result["milliseconds"].items()]
    console.print(_table("Milliseconds", rows))
    for what, found in result["wrong"].items():
        console.print(f"WRONG, {what}: {found}", style="red", markup=False)
    console.print("All books balance." if not result["wrong"] else "", markup=False)
    return int(bool(result["wrong"]))


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in rows[0]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            *(
                "" if value is None else f"{value:,}" if value != str(value) else value
                for value in row.values()
            )
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
