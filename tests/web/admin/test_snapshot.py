"""A snapshot of an organization, and what a follower makes of it and the events behind it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest


class Copy:
    """What a follower keeps: users, names of groups, and pairs (group, user)."""

    def __init__(self) -> None:
        self.users: dict[str, Any] = {}
        self.groups: dict[str, str] = {}
        self.members: set[tuple[str, str]] = set()

    def take(self, lines: Iterable[dict[str, Any]]) -> None:
        for line in lines:
            data = line["data"]
            if line["resource"] == "User":
                self.users[data["id"]] = (data["userName"], data["active"])
            else:
                self.groups[data["id"]] = data["displayName"]
                self.members |= {(data["id"], member["value"]) for member in data.get("members", ())}

    def apply(self, event: dict[str, Any]) -> None:
        data, uid = event["data"], event["resource_id"]
        if event["type"] == "user.deleted":
            self.users.pop(uid, None)
            self.members = {pair for pair in self.members if pair[1] != uid}
        elif event["type"] == "group.deleted":
            self.groups.pop(uid, None)
            self.members = {pair for pair in self.members if pair[0] != uid}
        elif event["type"] == "group.members_changed":
            self.members |= {(uid, user) for user in data["added"]}
            self.members -= {(uid, user) for user in data["removed"]}
        elif event["resource"] == "User":
            self.users[uid] = (data["userName"], data["active"])
        else:
            self.groups[uid] = data["displayName"]


def replace(acme: Any, user: dict[str, Any], **values: Any) -> None:
    body = {key: user[key] for key in ("schemas", "userName", "active")} | values
    assert acme.okta.call("PUT", f"/Users/{user['id']}", body).status == 200


@pytest.mark.parametrize("at", [1, 3, 202, 206, 207])
def test_a_snapshot_that_is_overtaken_leads_to_the_same_end_by_the_events_behind_it(acme, at: int) -> None:
    """Changes between two lines: rename swap, deletion, creation, members in and out, a group that goes."""
    users = [acme.assign(number) for number in range(205)]
    first, last = users[0], users[-1]
    groups = [acme.okta.group(f"Group {number}", (first["id"], last["id"])) for number in range(3)]
    lines = acme.deployment.gateway.snapshots.lines(acme.okta.organization)
    text = [next(lines) for _ in range(at)]

    replace(acme, first, userName="moving@acme.test")
    replace(acme, last, userName=first["userName"])
    replace(acme, users[3], active=False)
    assert acme.okta.call("DELETE", f"/Users/{users[1]['id']}").status == 204
    new = acme.assign(900)
    members = {"op": "add", "path": "members", "value": [{"value": new["id"]}, {"value": users[2]["id"]}]}
    acme.okta.patch(f"/Groups/{groups[0]['id']}", members)
    out = {"op": "remove", "path": f'members[value eq "{last["id"]}"]'}
    acme.okta.patch(f"/Groups/{groups[1]['id']}", out)
    assert acme.okta.call("DELETE", f"/Groups/{groups[2]['id']}").status == 204
    assert acme.okta.call("DELETE", f"/Users/{users[2]['id']}").status == 204

    begin, *entries, end = map(json.loads, [*text, *lines])
    assert end == {"next": begin["after"]}
    copy = Copy()
    copy.take(entries)
    for event in acme.get(f"{acme.path}/events?after={begin['after']}&epoch={begin['epoch']}")["items"]:
        copy.apply(event)

    truth = Copy()
    truth.take(
        [
            json.loads(line)
            for line in acme.deployment.admin("GET", f"{acme.path}/snapshot").text.splitlines()
        ][1:-1]
    )
    assert vars(copy) == vars(truth)
    assert len(truth.users) == 204
    assert {user for _, user in truth.members} == {first["id"], last["id"], new["id"]}


def test_a_snapshot_has_what_events_have_of_users_and_groups(acme) -> None:
    user = acme.assign(1, "Sales EMEA")
    acme.okta.group("Pushed", (user["id"],))
    answer = acme.deployment.admin("GET", f"{acme.path}/snapshot")
    begin, person, group, end = map(json.loads, answer.text.splitlines())
    events = acme.get(f"{acme.path}/events")["items"]
    assert (begin["after"], begin["organization"]) == (events[-1]["id"], acme.okta.organization.uid)
    assert end == {"next": begin["after"]}
    created = next(event["data"] for event in events if event["type"] == "user.created")
    assert {key: value for key, value in person["data"].items() if key not in ("meta", "groups")} == {
        key: value for key, value in created.items() if key != "meta"
    }
    assert [member["value"] for member in group["data"]["members"]] == [user["id"]]


def test_a_large_group_comes_in_several_lines(acme, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.store.memberships.MEMBERS_AT_ONCE", 2)
    users = [acme.assign(number)["id"] for number in range(5)]
    acme.okta.group("Pushed", tuple(users))
    lines = [
        json.loads(line) for line in acme.deployment.admin("GET", f"{acme.path}/snapshot").text.splitlines()
    ]
    groups = [line["data"] for line in lines if line.get("resource") == "Group"]
    assert [len(group["members"]) for group in groups] == [2, 2, 1]
    assert [member["value"] for group in groups for member in group["members"]] == users


def test_a_snapshot_of_an_organization_that_is_removed_meanwhile_is_not_complete(acme) -> None:
    acme.assign(1)
    lines = acme.deployment.gateway.snapshots.lines(acme.okta.organization)
    next(lines)
    acme.call("DELETE", acme.path, None, 204)
    with pytest.raises(Exception, match="removed meanwhile"):
        list(lines)
