"""What groups a deleted user was in is remembered for a while, and only of deletions."""

from __future__ import annotations

from typing import Any

from gateway.provisioning import removed_grants
from gateway.provisioning.removed_grants import DAYS, RemovedGrantPruning
from gateway.store.ids_and_time import DAY, now
from gateway.testing import Deployment, Scim


def remembered(scim: Scim, *uids: str) -> list[tuple[str, str]]:
    """Group and source of the memberships that are remembered of deleted users."""
    store = scim.deployment.gateway.store
    found = [store.users.deleted(scim.organization, uid) for uid in uids]
    rows = store.removed_grants.of_users(scim.organization.id, [user.id for user in found if user])
    names = dict(store.database.all("SELECT id, name FROM groups"))
    return [(names[group], source) for _, group, source, _ in rows]


def test_a_deleted_user_is_remembered_with_its_groups(deployment: Deployment, scim: Scim) -> None:
    user, other = scim.user()["id"], scim.user("other@acme.test")["id"]
    scim.group("Sales", (user, other))
    scim.group("Support", (user,))
    scim.group("Guides", (other,))
    assert scim.call("DELETE", f"/Users/{user}").status == 204
    assert remembered(scim, user) == [("Sales", "push"), ("Support", "push")]
    assert remembered(scim, other) == []
    path = f"/organizations/{scim.organization.uid}/users/{other}"
    assert deployment.admin("DELETE", path).status == 204
    assert remembered(scim, other) == [("Sales", "push"), ("Guides", "push")]


def test_of_two_deletions_both_are_remembered(scim: Scim) -> None:
    """Who came back without its groups was in them before both: an undo of both gives them back."""
    user = scim.user()["id"]
    group = scim.group("Sales", (user,))["id"]
    scim.call("DELETE", f"/Users/{user}")
    assert scim.user()["id"] == user
    scim.group("Support", (user,))
    assert scim.call("DELETE", f"/Users/{user}").status == 204
    assert scim.call("GET", f"/Groups/{group}").json.get("members", []) == []
    assert remembered(scim, user) == [("Sales", "push"), ("Support", "push")]


def test_memberships_are_forgotten_after_their_days(
    deployment: Deployment, scim: Scim, monkeypatch: Any
) -> None:
    monkeypatch.setattr(removed_grants, "MOST", 2)
    user = scim.user()["id"]
    for name in ("Sales", "Support", "Guides"):
        scim.group(name, (user,))
    scim.call("DELETE", f"/Users/{user}")
    moment = [now() + DAYS * DAY - 60_000_000]
    task = RemovedGrantPruning(deployment.gateway.store, lambda: moment[0])
    task.prune()
    assert len(remembered(scim, user)) == 3
    moment[0] += 3_600_000_000
    task.prune()
    assert remembered(scim, user) == [("Guides", "push")]
    task.prune()
    assert remembered(scim, user) == []


def test_memberships_are_kept_under_a_legal_hold(deployment: Deployment, scim: Scim) -> None:
    user, path = scim.user()["id"], f"/organizations/{scim.organization.uid}"
    scim.group("Sales", (user,))
    scim.call("DELETE", f"/Users/{user}")
    moment = [now() + 2 * DAYS * DAY]
    task = RemovedGrantPruning(deployment.gateway.store, lambda: moment[0])
    assert deployment.admin("PATCH", path, {"legal_hold": True}).status == 200
    task.prune()
    assert remembered(scim, user) == [("Sales", "push")]
    assert deployment.admin("PATCH", path, {"legal_hold": False}).status == 200
    moment[0] += 3_600_000_000
    task.prune()
    assert remembered(scim, user) == []
