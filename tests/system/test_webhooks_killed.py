"""kill -9 at any moment loses no event for a webhook and changes no order: real servers, a real endpoint.

`GATEWAY_WEBHOOK_SECONDS=300 pytest tests/system/test_webhooks_killed.py -s` kills every five seconds, for so long, and
says what it saw; `make events-soak` does so on both engines.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from gateway.provisioning.webhooks import messages
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import USER
from tests.support.receiver import Receiver
from tests.support.server import Server

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("GATEWAY_WEBHOOK_SECONDS", "0"))
#: Seconds between two kills, and of rest between two creates of one client.
BETWEEN, REST = (5.0, 0.1) if SECONDS else (1.0, 0.1)
ORGANIZATIONS = 4


class Clients:
    """Create users of each organization, one after the other, while a server is there."""

    def __init__(self, scims: list[Scim]) -> None:
        self._bases, self.over, self.port = {scim.uid: scim.base for scim in scims}, threading.Event(), 0
        self.threads = [threading.Thread(target=self._run, args=(scim,), daemon=True) for scim in scims]

    def _run(self, scim: Scim) -> None:
        base, number = self._bases[scim.uid], 0
        while not self.over.wait(REST):
            number += 1
            body = json.dumps({"schemas": [USER], "userName": f"user{number}@acme.test"})
            headers = {"Authorization": f"Bearer {scim.token}", "Content-Type": "application/scim+json"}
            try:
                with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
                    connection.request("POST", f"{base}/Users", body, headers)
                    connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                self.over.wait(0.05)


def test_every_event_reaches_its_webhooks_in_order_though_servers_are_killed(
    deployment: Deployment, tmp_path: Path
) -> None:
    deployment.gateway.worker.stop()
    store, receiver = deployment.gateway.store, Receiver()
    scims = [deployment.connection("generic") for _ in range(ORGANIZATIONS)]
    with store.transaction():
        for path, organization in [
            ("all", None),
            *((scim.organization.uid, scim.organization) for scim in scims),
        ]:
            url = f"{receiver.url}/{path}"
            webhook = store.webhooks.add(
                organization, "operator", url, "standard", None, messages.new_secret(), None
            )
            store.webhook_replays.move_to_newest(webhook)
    environment = deployment.environment | {"GATEWAY_WEBHOOK_ALLOW": "127.0.0.0/8"}
    clients, kills = Clients(scims), 0
    log, begun = tmp_path / "server.log", time.monotonic()
    # Two nodes: while one is killed the other serves on.
    nodes = [Server(environment, log, "--workers", "1") for _ in range(2)]
    try:
        clients.port = nodes[1].port
        for thread in clients.threads:
            thread.start()
        while not kills or time.monotonic() - begun < SECONDS:
            time.sleep(BETWEEN)
            nodes.pop(0).kill()
            kills += 1
            nodes.append(Server(environment, log, "--workers", "1"))
            clients.port = nodes[0].port
        clients.over.set()
        for thread in clients.threads:
            thread.join(15)
        if not SECONDS:
            # What the killed node had leased is free after twenty seconds, and found within thirty.
            store.database.run("UPDATE webhook_positions SET lease_until = 0")
            nodes.pop(0).kill()
            store.database.run("UPDATE webhook_positions SET lease_until = 0")
            nodes.append(Server(environment, log, "--workers", "1"))
        newest = {scim.organization.uid: store.events.newest(scim.organization.id) for scim in scims}
        deadline = time.monotonic() + (90 if SECONDS else 30)
        while time.monotonic() < deadline and not _is_complete(receiver, newest):
            time.sleep(0.1)
        for uid, last in newest.items():
            for path in ("/all", f"/{uid}"):
                numbers = [
                    body["id"] for at, _, body in receiver.got if at == path and body["organization"] == uid
                ]
                firsts = list(dict.fromkeys(numbers))
                assert firsts == list(range(1, last + 1)), log.read_text()[-3000:]
        assert min(newest.values()) > 10
        sent: dict[str, set[str]] = {}
        for path, headers, body in receiver.got:
            sent.setdefault(f"{path} {body['organization']} {body['id']}", set()).add(headers["webhook-id"])
        assert all(len(ids) == 1 for ids in sent.values())
    finally:
        clients.over.set()
        for node in nodes:
            node.kill()
        receiver.close()
    sys.stdout.write(
        f"\n{kills} kills in {time.monotonic() - begun:.0f} s, for {sum(newest.values())} events: {len(sent)} messages,"
        f" each delivered and in order; {len(receiver.got) - len(sent)} of them twice, with equal ids\n"
    )


def _is_complete(receiver: Receiver, newest: dict[str, int]) -> bool:
    got = {(path, body["organization"], body["id"]) for path, _, body in list(receiver.got)}
    return all((path, uid, last) in got for uid, last in newest.items() for path in ("/all", f"/{uid}"))
