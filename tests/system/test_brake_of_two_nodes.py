"""The brake holds over two servers of one database: no more removals happen than the limit, wherever they arrive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from gateway.simulation.api import Answer
from gateway.simulation.http_session import HttpSession
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import ADMIN_TOKEN, PATCH
from tests.support.moments import moment_between
from tests.support.server import Server

pytestmark = pytest.mark.slow

PEOPLE, LIMIT, WRITERS = 50, 10, 10
OFF = {"schemas": [PATCH], "Operations": [{"op": "replace", "value": {"active": False}}]}


@pytest.fixture
def nodes(deployment: Deployment, tmp_path: Path) -> Iterator[list[str]]:
    """The URLs of two servers; this process has the database only to set it up and to look."""
    deployment.gateway.worker.stop()
    servers: list[Server] = []
    try:
        while len(servers) < 2:
            servers.append(Server(deployment.environment, tmp_path / "server.log", "--workers", "1"))
        yield [server.url for server in servers]
    finally:
        for server in servers:
            server.kill()


def test_of_fifty_deactivations_over_two_servers_ten_happen_forty_wait_and_an_undo_brings_all_back(
    deployment: Deployment, nodes: list[str]
) -> None:
    scim = deployment.connection("okta", deployment.organization(seats=PEOPLE), brake=True)
    uids = [scim.user(f"user{number}@acme.test")["id"] for number in range(PEOPLE)]
    before = moment_between()
    with ExitStack() as stack:
        idps = [stack.enter_context(HttpSession(url + scim.base, scim.token)) for url in nodes]
        admins = [stack.enter_context(HttpSession(f"{url}/admin/v1", ADMIN_TOKEN)) for url in nodes]

        answers = deactivate(idps, uids)
        held = [uid for uid in uids if answers[uid][0].status == 429]

        assert Counter(answer.status for answer, _ in answers.values()) == {200: LIMIT, 429: PEOPLE - LIMIT}
        assert {answers[uid][1]["Retry-After"] for uid in held} == {"900"}
        assert all("10 are allowed in 60 minutes" in answers[uid][0].json["detail"] for uid in held)
        assert deployment.used(scim.organization) == PEOPLE - LIMIT
        for admin in admins:
            feed = feed_of(admin, scim)
            assert Counter(kind for kind, _ in feed if kind != "user.created") == {
                "connection.held": 1,
                "user.removal_held": PEOPLE - LIMIT,
                "user.deactivated": LIMIT,
            }
            assert {uid for kind, uid in feed if kind == "user.removal_held"} == set(held)
            shown = admin.call("GET", f"/connections/{scim.uid}/hold").json
            assert (shown["state"], shown["held"]) == ("waiting", PEOPLE - LIMIT)

        # Nothing passes by trying again, at whichever server.
        again = deactivate(idps[::-1], held)
        assert Counter(answer.status for answer, _ in again.values()) == {429: PEOPLE - LIMIT}

        # One server is told to let them pass, both do.
        decision = {"action": "allow_all", "hours": 1}
        assert admins[0].call("POST", f"/connections/{scim.uid}/hold", decision).status == 200
        allowed = deactivate(idps, held)
        assert Counter(answer.status for answer, _ in allowed.values()) == {200: PEOPLE - LIMIT}
        assert deployment.used(scim.organization) == 0
        told = Counter(kind for kind, _ in feed_of(admins[1], scim))
        assert (told["connection.held"], told["user.removal_held"]) == (1, PEOPLE - LIMIT)
        assert told["user.deactivated"] == PEOPLE

        # All of it was a mistake: an undo brings everybody back, and a second one changes nothing.
        for admin, people in zip(admins, (PEOPLE, 0), strict=True):
            asked = {"from": before, "what": ["deactivated"]}
            shown, headers = admin.exchange("POST", f"/connections/{scim.uid}/undo", asked)
            assert (shown.json["summary"]["people"], shown.json["summary"]["stays"]) == (people, 0)
            known, wanted = {"If-Match": headers["ETag"]}, {**asked, "preview": False}
            done, _ = admin.exchange("POST", f"/connections/{scim.uid}/undo", wanted, headers=known)
            assert (done.status, done.json["summary"]["reactivated"]) == (200, people)
            assert deployment.used(scim.organization) == PEOPLE
        assert Counter(kind for kind, _ in feed_of(admins[0], scim))["user.reactivated"] == PEOPLE
        repeated = deactivate(idps, uids)
        assert Counter(answer.status for answer, _ in repeated.values()) == {429: PEOPLE}
        assert deployment.used(scim.organization) == PEOPLE


def deactivate(idps: list[HttpSession], uids: list[str]) -> dict[str, tuple[Answer, Message]]:
    """Deactivate these users at once, every other one at each server; what was answered, by id."""

    def send(number: int) -> tuple[Answer, Message]:
        return idps[number % len(idps)].exchange("PATCH", f"/Users/{uids[number]}", OFF)

    with ThreadPoolExecutor(WRITERS) as pool:
        return dict(zip(uids, pool.map(send, range(len(uids))), strict=True))


def feed_of(admin: HttpSession, scim: Scim) -> list[tuple[str, Any]]:
    """Return type and resource of every event, as an application that follows them reads them."""
    path = f"/organizations/{scim.organization.uid}/events"
    page = admin.call("GET", f"{path}?after=0&limit=1000")
    assert page.status == 200, page.text
    return [(event["type"], event["data"].get("id")) for event in page.json["items"]]
