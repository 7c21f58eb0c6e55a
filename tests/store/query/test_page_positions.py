"""A page anywhere in the list of users, in any order and by many at once, costs what the first pages cost."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway.store.query import page_positions
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import USER
from tests.oracles.invariants import OFFENCES

pytestmark = pytest.mark.slow

USERS = 260


@pytest.fixture(autouse=True)
def blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones, so that a few hundred users have many."""
    for name in ("_VISIBLE", "_COUNT"):
        text = getattr(page_positions, name)
        monkeypatch.setattr(
            page_positions, name, text.replace(f"/ {page_positions.BLOCK}", "/ 10").replace("= 1000", "= 10")
        )
    monkeypatch.setattr(page_positions, "BLOCK", 10)


@pytest.fixture
def everybody(scim: Scim) -> list[str]:
    """Ids in the order of making, every tenth user managed by nobody."""
    store, uids = scim.deployment.gateway.store, []
    with store.transaction():
        for number in range(USERS):
            document = {"schemas": [USER], "userName": f"user{number}@acme.test", "active": False}
            owner = None if number % 10 == 7 else scim.connection.id
            made = store.users.add(scim.organization.id, owner, document)
            assert made
            store.organizations.count(scim.organization.id, "User", owner, 1)
            uids.append(made[0].uid)
    return uids


def at(scim: Scim, start: int, count: int = 5, path: str = "/Users") -> list[str]:
    """Who is on a page."""
    answer = scim.call("GET", f"{path}?startIndex={start}&count={count}&attributes=id")
    assert answer.status == 200, answer.text
    return [user["id"] for user in answer.json["Resources"]]


def pages(everybody: list[str], dice: random.Random) -> Iterator[tuple[int, list[str]]]:
    """Where pages begin, in any order, and who is on them."""
    for start in dice.sample(range(1, len(everybody) + 1), 25):
        yield start, everybody[start - 1 : start + 4]


def rows(deployment: Deployment) -> int:
    """How many blocks there are."""
    return int(deployment.gateway.store.database.all("SELECT COUNT(*) FROM user_blocks")[0][0])


def forget_walks(deployment: Deployment) -> None:
    """Each page is then found by its position alone."""
    deployment.gateway.store.database.run("DELETE FROM walks")


def test_any_page_is_found_while_users_come_go_and_come_back(
    deployment: Deployment, scim: Scim, everybody: list[str]
) -> None:
    dice, gone = random.Random(3), list[tuple[int, str, str]]()
    for turn in range(6):
        for path in ("/Users", "/"):
            for start, page in pages(everybody, dice):
                forget_walks(deployment)
                assert at(scim, start, path=path) == page, (turn, start)
        assert rows(deployment) >= 20
        for uid in dice.sample(everybody, 12):
            user = scim.call("GET", f"/Users/{uid}").json
            assert scim.call("DELETE", f"/Users/{uid}").status == 204
            gone.append((everybody.index(uid), uid, user["userName"]))
            everybody.remove(uid)
        # A user of nobody is not restored by this connection: its name is free for a new one, which comes last.
        for _ in range(5):
            _, uid, name = gone.pop(dice.randrange(len(gone)))
            made = scim.user(name, active=False)["id"]
            everybody.append(made)
            everybody.sort(key=lambda uid: keys(deployment)[uid])
        _ = scim.user(f"new{turn}@acme.test", active=False)["id"]
        everybody.append(_)


def keys(deployment: Deployment) -> dict[str, int]:
    """The order of making."""
    return dict(deployment.gateway.store.database.all("SELECT uid, id FROM users"))


def test_the_books_balance(
    deployment: Deployment, scim: Scim, everybody: list[str], together: Callable[..., list[Any]]
) -> None:
    """Pages asked for at once, while users go: every block still holds whom it counts."""
    dice = random.Random(5)
    starts = dice.sample(range(1, USERS), 6)
    jobs: list[Callable[[], Any]] = [lambda start=start: at(scim, start) for start in starts]  # type: ignore[misc]
    jobs += [lambda uid=uid: scim.call("DELETE", f"/Users/{uid}") for uid in everybody[20:24]]  # type: ignore[misc]
    together(deployment, jobs)
    wrong, deadline = OFFENCES["a block of users is counted wrong"], time.monotonic() + 10
    while rows(deployment) < 20:  # blocks are left out by a page that would wait for a writer
        assert time.monotonic() < deadline, "no page ever noted its blocks"
        at(scim, USERS - 10)
    assert deployment.gateway.store.database.all(wrong) == []
    forget_walks(deployment)
    left = everybody[:20] + everybody[24:]
    assert at(scim, 150) == left[149:154]
    other = deployment.connection("generic", scim.organization)
    assert (
        at(other, 5) == [uid for number, uid in enumerate(everybody) if number % 10 == 7 and uid in left][4:9]
    )
    assert deployment.gateway.store.database.all(wrong) == []
