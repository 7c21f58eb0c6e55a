"""Undo after random histories of two connections and an admin, as the server has it and as a follower does."""

from __future__ import annotations

import copy
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.testing import Deployment
from tests.oracles.invariants import audit
from tests.oracles.state_machine.feed import Feed

CHOICES = ["deactivated", "deleted", "left_groups", "attributes"]


@pytest.fixture
def deployment(shared_deployment: Deployment) -> Deployment:
    return shared_deployment


class History:
    """Random requests about four users of a connection, one of another connection, and two groups."""

    def __init__(self, deployment: Deployment, seed: int) -> None:
        self.random, self.deployment = random.Random(seed), deployment
        self.scim = deployment.connection("okta", deployment.organization(f"Acme {seed}", seats=20))
        self.other = deployment.connection("entra", self.scim.organization)
        self.path = f"/organizations/{self.scim.organization.uid}"
        self.names = {str(self.scim.user(name)["id"]): name for name in map(_name, range(4))}
        self.guest = str(self.other.user("guest@acme.test")["id"])
        self.pushed = str(self.scim.group("Pushed", tuple(self.names)[:3])["id"])
        self.manual = str(deployment.admin("POST", f"{self.path}/groups", {"name": "Manual"}).json["id"])
        for uid in list(self.names)[1:]:
            self._seat_in_manual("PUT", uid)
        #: Users whom the admin did something to.
        self.decided: set[str] = set()

    def act(self) -> None:
        """Do one thing to one user; what is not possible is refused."""
        uid = self.random.choice(list(self.names))
        self.random.choice(
            [
                self._set_active, self._set_active, self._delete, self._restore, self._rename, self._leave, self._join,
                self._decide, self._guest,
            ]
        )(uid)  # fmt: skip

    def _set_active(self, uid: str) -> None:
        op = {"op": "replace", "path": "active", "value": self.random.random() < 0.3}
        self.scim.patch(f"/Users/{uid}", op)

    def _delete(self, uid: str) -> None:
        self.scim.call("DELETE", f"/Users/{uid}")

    def _restore(self, uid: str) -> None:
        self.scim.call("POST", "/Users", {"schemas": [USER], "userName": self.names[uid]})

    def _rename(self, uid: str) -> None:
        name = f"Name {self.random.randint(1, 3)}"
        self.scim.patch(f"/Users/{uid}", {"op": "replace", "path": "displayName", "value": name})

    def _leave(self, uid: str) -> None:
        self.scim.patch(f"/Groups/{self.pushed}", {"op": "remove", "path": f'members[value eq "{uid}"]'})

    def _join(self, uid: str) -> None:
        if self.scim.call("GET", f"/Users/{uid}").status == 200:
            self.scim.patch(
                f"/Groups/{self.pushed}", {"op": "add", "path": "members", "value": [{"value": uid}]}
            )

    def _decide(self, uid: str) -> None:
        self.decided.add(uid)
        if self.random.random() < 0.5:
            self._seat_in_manual(self.random.choice(("PUT", "DELETE")), uid)
        else:
            active = self.random.random() < 0.5
            self.deployment.admin("PATCH", f"{self.path}/users/{uid}", {"active": active})

    def _guest(self, _: str) -> None:
        op = {"op": "replace", "path": "active", "value": self.random.random() < 0.5}
        self.other.patch(f"/Users/{self.guest}", op)

    def _seat_in_manual(self, method: str, uid: str) -> None:
        self.deployment.admin(method, f"{self.path}/groups/{self.manual}/members/{uid}")

    def undo(self, start: str, what: list[str]) -> dict[str, Any]:
        """Undo what the first connection did since a moment."""
        path, body = f"/connections/{self.scim.uid}/undo", {"from": start, "what": what}
        shown = self.deployment.admin("POST", path, body)
        assert shown.status == 200, shown.text
        etag = self.deployment.last_headers["ETag"]
        done = self.deployment.admin("POST", path, body | {"preview": False}, If_Match=etag)
        assert done.status == 200, done.text
        assert done.json["people"] == shown.json["people"]
        again = self.deployment.admin("POST", path, body).json
        assert again["people"] == []
        return dict(done.json)


USER = "urn:ietf:params:scim:schemas:core:2.0:User"


def _name(number: int) -> str:
    return f"user{number}@acme.test"


def _seen(feed: Feed, uid: str) -> tuple[Any, list[str]]:
    return feed.users.get(uid), [group for group, members in feed.members.items() if uid in members]


@pytest.mark.parametrize("seed", [77, 84, 107, 132, 173])
def test_people_are_back_for_followers_too(deployment: Deployment, seed: int) -> None:
    history, feed = History(deployment, seed), Feed()
    organization = history.scim.organization.uid
    for _ in range(history.random.randint(0, 6)):
        history.act()
    feed.follow(deployment, organization)
    before, start = copy.deepcopy(feed), datetime.now(UTC).isoformat()
    history.decided.clear()
    for _ in range(history.random.randint(1, 14)):
        history.act()
    feed.follow(deployment, organization)
    done = copy.deepcopy(feed)
    for what in ([history.random.choice(CHOICES)], CHOICES):
        history.undo(start, what)
        if history.random.random() < 0.5:
            feed.follow(deployment, organization)
    feed.follow(deployment, organization)
    others = {history.guest} | (history.names.keys() - before.users.keys())
    for uid in others:
        assert _seen(feed, uid) == _seen(done, uid), "who was not here before, or is another connection's"
    for uid in before.users.keys() & history.names.keys() - history.decided:
        was, now_ = before.users[uid], feed.users[uid]
        assert now_["active"] >= was["active"], uid
        assert now_.get("displayName") == was.get("displayName"), uid
        for group in (history.pushed, history.manual):
            assert (uid in feed.members[group]) >= (uid in before.members[group]), (uid, group)
    shown = {each["id"] for each in deployment.listed(f"{history.path}/users")}
    assert shown == feed.users.keys()
    assert sum(user["active"] for user in feed.users.values()) == deployment.used(history.scim.organization)
    audit(deployment)
