"""How soon an event reaches its webhook beside endpoints that are dead, slow or refuse: `python -m bench.webhooks`.

One server with two workers and SQLite on this machine, a receiver that answers at once, and so many creates a second,
spread over the organizations. Prints the time from commit to arrival, by scenario, and how many messages a second one
process of `gateway deliver` sends.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.provisioning.webhooks import messages
from gateway.store.records import OrganizationRecord
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import USER
from tests.support.receiver import Receiver
from tests.support.server import Server

SLOW_SECONDS = 14.0
CLIENTS = 4


def create(port: int, targets: Sequence[tuple[str, str]], rate: float, seconds: float, name: str) -> None:
    """Create users at a rate, one after the other, in one organization after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    begun = time.monotonic()
    for number in range(int(rate * seconds)):
        if (pause := begun + number / rate - time.monotonic()) > 0:
            time.sleep(pause)
        base, token = targets[number % len(targets)]
        body = json.dumps({"schemas": [USER], "userName": f"{name}-{number}@acme.test"})
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/scim+json"}
        connection.request("POST", f"{base}/Users", body, headers)
        connection.getresponse().read()


class Bench:
    """A deployment with a receiver; `arrivals` are (path, seconds since the commit)."""

    def __init__(self, folder: Path, organizations: int) -> None:
        self.deployment, self.receiver = Deployment(folder / "instance"), Receiver()
        self.deployment.gateway.worker.stop()
        self.scims = [self.deployment.connection("generic") for _ in range(organizations)]
        self.folder, self.arrivals = folder, list[tuple[str, float]]()
        self.environment = self.deployment.environment | {"GATEWAY_WEBHOOK_ALLOW": "127.0.0.0/8"}
        self.receiver.answer = self._answer

    def _answer(self, path: str, body: dict[str, Any]) -> int:
        committed = datetime.fromisoformat(body["timestamp"]).timestamp()
        self.arrivals.append((path, time.time() - committed))
        if path == "/slow":
            time.sleep(SLOW_SECONDS)
        return 400 if path == "/refusing" and body["id"] % 10 == 0 else 204

    def add_webhook(self, url: str, organization: OrganizationRecord | None, from_now: bool = True) -> None:
        """Add an endpoint of the operator, which begins now or with the first event."""
        store = self.deployment.gateway.store
        with store.transaction():
            webhook = store.webhooks.add(
                organization, "operator", url, "standard", None, messages.new_secret(), None
            )
            if from_now:
                store.webhook_replays.move_to_newest(webhook)

    def remove_webhooks(self) -> None:
        """Remove all endpoints."""
        self.deployment.gateway.store.database.run("DELETE FROM webhooks")

    def load(self, scims: Sequence[Scim], rate: float, seconds: float) -> list[tuple[str, float]]:
        """Create users by a server and return what arrived until five seconds later."""
        server = Server(self.environment, self.folder / "server.log", "--workers", "2")
        try:
            time.sleep(2)
            self.arrivals.clear()
            targets = [(scim.base, scim.token) for scim in scims]
            name = f"user{time.monotonic():.0f}"
            processes = [
                multiprocessing.Process(
                    target=create,
                    args=(server.port, targets[number::CLIENTS], rate / CLIENTS, seconds, f"{name}-{number}"),
                )
                for number in range(CLIENTS)
            ]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
            time.sleep(5)
            return list(self.arrivals)
        finally:
            server.stop(seconds=40)
            server.close()

    def drain(self, wanted: int) -> float:
        """Let one process deliver what is behind, and return how many messages a second arrived."""
        self.arrivals.clear()
        with (self.folder / "deliver.log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", "deliver"], env=self.environment, stderr=log
            )
        deadline = time.monotonic() + 120
        while not self.arrivals and time.monotonic() < deadline:
            time.sleep(0.001)
        begun = time.monotonic()
        while len(self.arrivals) < wanted and time.monotonic() < deadline:
            time.sleep(0.01)
        figure = len(self.arrivals) / (time.monotonic() - begun)
        process.terminate()
        process.wait(20)
        return figure


def describe(name: str, arrivals: Sequence[float]) -> str:
    """Return a line of figures."""
    ordered = sorted(arrivals)
    middle, late = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    return (
        f"{name}: {len(ordered)} messages, p50 {middle:.2f} s, p99 {late:.2f} s, slowest {ordered[-1]:.2f} s"
    )


def main() -> None:
    """Run all scenarios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100.0, help="creates a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    threading.stack_size(256 * 1024)
    with tempfile.TemporaryDirectory(prefix="gateway-webhooks-") as folder:
        bench = Bench(Path(folder), 53)
        for number, scim in enumerate(bench.scims[:50]):
            bench.add_webhook(f"{bench.receiver.url}/{number}", scim.organization)
        bench.add_webhook("http://127.0.0.1:9/", bench.scims[50].organization)
        bench.add_webhook(f"{bench.receiver.url}/slow", bench.scims[51].organization)
        bench.add_webhook(f"{bench.receiver.url}/refusing", bench.scims[52].organization)
        arrivals = bench.load(bench.scims, given.rate, given.seconds)
        healthy = [seconds for path, seconds in arrivals if path[1:].isdigit()]
        print(describe("50 healthy endpoints beside a dead, a slow and a refusing one", healthy))
        bench.remove_webhooks()
        bench.add_webhook(f"{bench.receiver.url}/all", None)
        arrivals = bench.load(bench.scims[:50], given.rate, given.seconds)
        print(describe("one endpoint of all organizations", [seconds for _, seconds in arrivals]))
        bench.remove_webhooks()
        store = bench.deployment.gateway.store
        events = sum(store.events.newest(scim.organization.id) for scim in bench.scims)
        bench.add_webhook(f"{bench.receiver.url}/all", None, from_now=False)
        print(f"one process to one endpoint: {bench.drain(events):.0f} messages a second")
        bench.remove_webhooks()
        for number in range(4):
            bench.add_webhook(f"{bench.receiver.url}/{number}", None, from_now=False)
        print(f"one process to four endpoints: {bench.drain(4 * events):.0f} messages a second")
        bench.receiver.close()


if __name__ == "__main__":
    main()
