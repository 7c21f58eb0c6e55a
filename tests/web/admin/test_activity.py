"""What support finds in the activity: what was touched, by whom, what moved, and what was left out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.store import activity

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"


def newest(acme: Any, query: str = "") -> dict[str, Any]:
    return dict(acme.get(f"{acme.path}/activity?limit=1&{query}")["items"][0])


def patch(acme: Any, path: str, *operations: dict[str, Any]) -> Any:
    return acme.okta.call("PATCH", path, {"schemas": [PATCH], "Operations": list(operations)})


def push(acme: Any, name: str, *members: str) -> dict[str, Any]:
    body = {"schemas": [GROUP], "displayName": name, "members": [{"value": each} for each in members]}
    return dict(acme.okta.call("POST", "/Groups", body).json)


def test_a_line_names_what_was_touched_and_the_token_that_did_it(acme) -> None:
    (token,) = acme.get(f"{acme.connection}/tokens")["items"]
    user = acme.assign(1)
    line = newest(acme)
    assert line["target"] == {"type": "User", "id": user["id"], "name": "user1@acme.test"}
    assert line["by"] == {"name": "test", "prefix": token["prefix"]}
    acme.okta.call("GET", f"/Users/{user['id']}")
    assert newest(acme)["target"]["id"] == user["id"]
    group = push(acme, "Sales", user["id"])
    assert newest(acme)["target"] == {"type": "Group", "id": group["id"], "name": "Sales"}


def test_a_line_names_the_fields_that_moved_and_never_a_value(acme) -> None:
    user = acme.assign(1)
    patch(
        acme,
        f"/Users/{user['id']}",
        {"op": "replace", "path": "name.familyName", "value": "Hidden"},
        {"op": "replace", "path": "active", "value": False},
    )
    line = newest(acme)
    assert line["changed"] == ["active", "name.familyName"]
    assert "Hidden" not in json.dumps(line)
    patch(acme, f"/Users/{user['id']}", {"op": "replace", "path": "active", "value": False})
    assert newest(acme)["changed"] == []


def test_a_line_counts_the_members_that_came_and_went(acme) -> None:
    users = [acme.assign(number)["id"] for number in range(3)]
    group = push(acme, "Sales", *users[:2])
    assert newest(acme)["members"] == {"joined": 2, "left": 0, "waiting": 0}
    patch(
        acme,
        f"/Groups/{group['id']}",
        {"op": "remove", "path": f'members[value eq "{users[0]}"]'},
        {"op": "add", "path": "members", "value": [{"value": users[2]}]},
    )
    assert newest(acme)["members"] == {"joined": 1, "left": 1, "waiting": 0}
    assert newest(acme)["outcome"] == "success"


def test_members_that_are_not_there_make_the_line_partial(acme) -> None:
    user = acme.assign(1)["id"]
    push(acme, "Sales", user, "nobody-1", "nobody-2")
    line = newest(acme)
    assert (line["outcome"], line["members"]) == ("partial", {"joined": 1, "left": 0, "waiting": 2})
    assert "2 members" in line["detail"]
    assert newest(acme, "outcome=partial")["id"] == line["id"]


def test_a_group_replaced_by_members_that_are_not_there_is_partial_and_says_how_many(acme) -> None:
    user = acme.assign(1)["id"]
    push(acme, "Sales", user)
    group = acme.okta.call("GET", "/Groups").json["Resources"][0]
    body = {"schemas": group["schemas"], "displayName": "Sales"}
    body |= {"members": [{"value": "nobody-1"}, {"value": "nobody-2"}]}
    replaced = acme.okta.call("PUT", f"/Groups/{group['id']}", body)
    assert (replaced.status, replaced.json.get("members")) == (200, None)
    line = newest(acme)
    assert (line["outcome"], line["members"]) == ("partial", {"joined": 0, "left": 1, "waiting": 2})
    assert "2 members" in line["detail"]


def test_restored_is_told(acme) -> None:
    user = acme.assign(1)
    acme.okta.call("DELETE", f"/Users/{user['id']}")
    assert acme.assign(1)["id"] == user["id"]
    line = newest(acme)
    assert (line["restored"], line["target"]["id"]) == (True, user["id"])
    acme.assign(2)
    assert newest(acme)["restored"] is False


def test_the_404_of_a_deleted_user_says_when_and_by_whom(acme) -> None:
    user = acme.assign(1)
    acme.okta.call("DELETE", f"/Users/{user['id']}")
    at, prefix = newest(acme)["at"], newest(acme)["by"]["prefix"]
    for refused in (
        acme.okta.call("GET", f"/Users/{user['id']}"),
        patch(acme, f"/Users/{user['id']}", {"op": "replace", "path": "active", "value": True}),
    ):
        assert refused.status == 404
        line = newest(acme)
        assert "user1@acme.test was deleted on " + at[:10] in line["detail"]
        assert f"{prefix}…" in line["detail"]
        assert "POST /Users" in line["detail"]
    unknown = acme.okta.call("GET", "/Users/nobody")
    assert "deleted" not in newest(acme)["detail"]
    # The answer is the same for both, but for the id.
    reported = acme.okta.call("GET", f"/Users/{user['id']}").json["detail"]
    assert reported.replace(user["id"], "nobody") == unknown.json["detail"]
    answer = acme.deployment.admin("GET", f"{acme.path}/users/{user['id']}")
    assert (answer.status, "was deleted on" in answer.json["message"]) == (404, True)


def test_an_admin_who_deleted_is_named(acme) -> None:
    user = acme.assign(1)
    acme.call("DELETE", f"{acme.path}/users/{user['id']}", status=204)
    acme.okta.call("GET", f"/Users/{user['id']}")
    assert "by an admin (operator)" in newest(acme)["detail"]


def test_lines_of_admins_say_what_they_touched(acme) -> None:
    made = acme.post(f"{acme.connection}/tokens", {"label": "New"})
    line = newest(acme)
    assert line["target"] == {"type": "Token", "id": made["id"], "name": f"New ({made['prefix']}…)"}
    assert line["by"] == {"name": "operator", "prefix": None}
    acme.call("DELETE", f"{acme.connection}/tokens/{made['id']}", status=204)
    assert newest(acme)["target"]["id"] == made["id"]
    acme.call("PATCH", acme.connection, {"name": "Other"})
    line = newest(acme)
    assert (line["target"]["type"], line["changed"]) == ("Connection", ["name"])
    acme.call("PATCH", acme.path, {"seats": {"limit": 4}})
    line = newest(acme)
    assert (line["target"]["type"], line["changed"]) == ("Organization", ["seat_limit"])
    user = acme.assign(1)
    acme.call("PATCH", f"{acme.path}/users/{user['id']}", {"active": False})
    line = newest(acme)
    assert (line["target"]["id"], line["changed"]) == (user["id"], ["active"])
    group = acme.post(f"{acme.path}/groups", {"name": "Sales"})
    assert newest(acme)["target"] == {"type": "Group", "id": group["id"], "name": "Sales"}
    acme.call("PUT", f"{acme.path}/groups/{group['id']}/members/{user['id']}", status=204)
    line = newest(acme)
    assert (line["target"]["id"], line["members"]["joined"]) == (group["id"], 1)


def test_lines_are_found_by_time_status_target_and_request_id(acme) -> None:
    user, group = acme.assign(1), push(acme, "Sales")
    acme.refused()
    acme.okta.call("POST", "/Users", {"schemas": []})
    lines = acme.get(f"{acme.path}/activity")["items"]

    def found(query: str) -> list[str]:
        return [line["id"] for line in acme.get(f"{acme.path}/activity?{query}")["items"]]

    def those(**wanted: Any) -> list[str]:
        return [line["id"] for line in lines if wanted.items() <= line.items()]

    assert found("status=400") == those(status=400) != []
    about = [line["id"] for line in lines if (line["target"] or {}).get("id") == group["id"]]
    assert found(f"target={group['id']}") == about != []
    assert found(f"target={user['id']}") != []
    assert found(f"request_id={lines[2]['request_id']}") == [lines[2]["id"]]
    moment = lines[2]["at"]
    assert found(f"until={moment}") == [line["id"] for line in lines if line["at"] < moment]
    assert set(found(f"since={moment}")) == {line["id"] for line in lines if line["at"] >= moment}
    assert found(f"since={moment.replace('Z', '%2B00:00')}") == found(f"since={moment}")
    for bad in ("since=yesterday", "since=2026-01-01", "status=99", "until=2026-01-01T00:00:00"):
        acme.get(f"{acme.path}/activity?{bad}", 422)


def test_a_filter_without_an_index_looks_at_a_window_and_goes_on(
    acme, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity, "WINDOW", 4)
    user = acme.assign(1)
    for _ in range(10):
        acme.okta.call("GET", "/Users?count=1")
    pages, after, ids = 0, "", []
    while after is not None:
        page = acme.get(f"{acme.path}/activity?status=201&after={after}")
        ids += [line["target"]["id"] for line in page["items"] if line["operation"] == "POST /Users"]
        after, pages = page["next"], pages + 1
    assert ids == [user["id"]]
    assert pages > 2


def test_an_operator_sees_the_activity_of_all_organizations(acme) -> None:
    deployment = acme.deployment
    other = deployment.connection("okta", deployment.organization("Other"))
    acme.assign(1)
    other.user("user2@other.test")
    items = acme.get("/activity?status=201")["items"]
    made = [line for line in items if line["operation"] == "POST /Users"]
    assert [line["organization"]["name"] for line in made] == ["Other", "Acme"]
    first = acme.get("/activity?limit=1")
    second = acme.get(f"/activity?limit=1&after={first['next']}")
    assert [first["items"][0]["id"], second["items"][0]["id"]] == [line["id"] for line in made]
    _, token = deployment.gateway.store.admin_tokens.add(other.organization, "own")
    answer = deployment.admin("GET", "/activity", token=token)
    assert answer.status == 403
    assert answer.json["message"].startswith("Only an operator")


def test_organizations_and_users_are_found_by_a_part_of_the_name(acme) -> None:
    deployment = acme.deployment
    for name in ("Straße Nord", "Nordwind", "100%"):
        deployment.organization(name)

    def found(path: str) -> list[str]:
        return [item.get("name") or item["user_name"] for item in acme.get(path)["items"]]

    assert found("/organizations?q=NORD") == ["Straße Nord", "Nordwind"]
    assert found("/organizations?q=%25") == ["100%"]
    first = acme.get("/organizations?q=nord&limit=1")
    assert [item["name"] for item in first["items"]] == ["Straße Nord"]
    assert found(f"/organizations?q=nord&after={first['next']}") == ["Nordwind"]
    for number in (1, 2, 11):
        acme.assign(number)
    assert found(f"{acme.path}/users?q=USER1") == ["user1@acme.test", "user11@acme.test"]
    assert found(f"{acme.path}/users?q=_") == []
    first = acme.get(f"{acme.path}/users?q=1@&limit=1")
    assert [item["user_name"] for item in first["items"]] == ["user1@acme.test"]
    assert found(f"{acme.path}/users?q=1@&after={first['next']}") == ["user11@acme.test"]
