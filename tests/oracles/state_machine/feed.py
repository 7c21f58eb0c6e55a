"""A copy of users and groups that knows nothing but the events."""

from __future__ import annotations

from gateway.testing import Deployment
from tests.oracles.state_machine.records import Json


class Feed:
    """A copy that knows nothing but the events."""

    def __init__(self) -> None:
        self.users: dict[str, Json] = {}
        self.groups: dict[str, str] = {}
        self.members: dict[str, set[str]] = {}
        self.gone: set[str] = set()
        self.last = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Feed) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def follow(self, deployment: Deployment, organization: str) -> list[Json]:
        """Ask for what is new until nothing is."""
        heard: list[Json] = []
        while True:
            answer = deployment.admin(
                "GET", f"/organizations/{organization}/events?after={self.last}&limit=50"
            )
            assert answer.status == 200, answer.text
            for event in answer.json["items"]:
                assert event["id"] == self.last + 1
                self.last = event["id"]
                self._hear(event["type"], event["resource_id"], event["data"])
                heard.append(event)
            if len(answer.json["items"]) < 50:
                return heard

    def _hear(self, kind: str, uid: str, data: Json) -> None:
        assert data["id"] == uid
        if kind.startswith("connection."):
            return
        if kind == "group.members_changed":
            added, removed = set(data["added"]), set(data["removed"])
            assert added or removed
            assert added <= self.users.keys()
            assert not added & self.members[uid]
            assert removed <= self.members[uid]
            assert data["displayName"] == self.groups[uid]
            self.members[uid] = (self.members[uid] | added) - removed
            return
        here = self.users if kind.startswith("user.") else self.groups
        restored = kind == "user.restored"
        assert (uid in here) != (kind.endswith(".created") or restored), (kind, uid)
        assert (uid in self.gone) == restored, (kind, uid)
        if kind.startswith("user."):
            self._hear_user(kind, uid, data)
        elif kind == "group.deleted":
            del self.groups[uid], self.members[uid]
        else:
            self.groups[uid] = data["displayName"]
            self.members.setdefault(uid, set())

    def _hear_user(self, kind: str, uid: str, data: Json) -> None:
        if kind == "user.deleted":
            del self.users[uid]
            self.gone.add(uid)
            self.members = {group: members - {uid} for group, members in self.members.items()}
            return
        active = self.users.get(uid, data)["active"]
        turned = {"user.deactivated": (True, False), "user.reactivated": (False, True)}
        assert (active, data["active"]) == turned.get(kind, (active, active))
        self.gone.discard(uid)
        self.users[uid] = {key: value for key, value in data.items() if key not in ("id", "meta", "groups")}
