"""A dry run answers as the request would, and leaves every table and every sequence as it was, but for its own line."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.provisioning import group_members
from gateway.store.engine.sqlite import SqliteDatabase
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import GROUP, PATCH, USER

BULK = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
SEARCH = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"


@pytest.fixture(scope="module")
def deployment(shared_deployment: Deployment) -> Deployment:
    shared_deployment.app.extensions["dry_runs"].interval = 0
    return shared_deployment


@pytest.fixture(scope="module")
def world(deployment: Deployment) -> tuple[Scim, dict[str, str]]:
    """A connection with two users, a deleted one, and a group; ids by what stands for them in a path."""
    scim = deployment.connection("generic", deployment.organization(seats=4))
    ids = {
        "user": scim.user("user1@acme.test")["id"],
        "other": scim.user("user2@acme.test", active=False)["id"],
    }
    gone = scim.user("gone@acme.test", externalId="gone")["id"]
    scim.call("DELETE", f"/Users/{gone}")
    return scim, ids | {"gone": gone, "group": scim.group("Sales", (ids["user"],))["id"]}


def everything(deployment: Deployment) -> dict[str, Any]:
    """All rows of all tables but the line of the dry run itself, and where each sequence of PostgreSQL stands."""
    deployment.gateway.publisher.publish()
    deployment.deliver_events()
    deployment.gateway.activity_writer.flush()
    database = deployment.gateway.store.database
    if isinstance(database, SqliteDatabase):
        names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'sqlite_sequence'"
        sequences = dict(database.all("SELECT name, seq FROM sqlite_sequence WHERE name <> 'activity'"))
    else:
        names = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        sequences = dict(
            database.all(
                "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = current_schema()"
                " AND sequencename <> 'activity_id_seq'"
            )
        )
    tables = {
        name: sorted(map(repr, database.all(f"SELECT * FROM {name}"))) for (name,) in database.all(names)
    }
    tables["activity"] = [line for line in tables["activity"] if "/explain" not in line]
    # When the admin's own token was used last is no part of the dry run.
    tables.pop("admin_tokens")
    return tables | {"sequences": sequences}


def explain(scim: Scim, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    asked = {"method": method, "path": path} | ({} if body is None else {"body": body})
    answer = scim.deployment.admin("POST", f"/connections/{scim.uid}/explain", asked)
    assert answer.status == status, answer.text
    return answer.json


def operations(*each: dict[str, Any]) -> dict[str, Any]:
    return {"schemas": [PATCH], "Operations": list(each)}


def new(name: str, **more: Any) -> dict[str, Any]:
    return {"schemas": [USER], "userName": name, **more}


OPERATIONS: dict[str, tuple[str, str, Any, int]] = {
    "create": ("POST", "/Users", new("user9@acme.test", emails=[{"value": "user9@acme.test"}]), 201),
    "restore": ("POST", "/Users", new("gone@acme.test", externalId="gone"), 201),
    "refused": ("POST", "/Users", new("user1@acme.test"), 409),
    "invalid": ("POST", "/Users", {"schemas": [USER]}, 400),
    "read": ("GET", "/Users/{user}", None, 200),
    "replace": ("PUT", "/Users/{user}", new("user3@acme.test"), 200),
    "deactivate": ("PATCH", "/Users/{user}", operations({"op": "replace", "path": "active", "value": False}), 200),
    "reactivate": ("PATCH", "/Users/{other}", operations({"op": "replace", "path": "active", "value": True}), 200),
    "delete": ("DELETE", "/Users/{user}", None, 204),
    "unknown": ("DELETE", "/Users/nobody", None, 404),
    "lookup": ("GET", '/Users?filter=userName%20eq%20"user1@acme.test"', None, 200),
    "page": ("GET", "/Users?startIndex=1&count=1", None, 200),
    "filter": ("GET", '/Users?filter=displayName%20co%20"user"&sortBy=userName', None, 200),
    "search": ("POST", "/Users/.search", {"schemas": [SEARCH], "count": 1}, 200),
    "list all": ("GET", "/?count=1", None, 200),
    "search all": ("POST", "/.search", {"schemas": [SEARCH], "count": 1}, 200),
    "create group": ("POST", "/Groups", {"schemas": [GROUP], "displayName": "New", "members": []}, 201),
    "read group": ("GET", "/Groups/{group}", None, 200),
    "replace group": ("PUT", "/Groups/{group}", {"schemas": [GROUP], "displayName": "Other"}, 200),
    "patch group": ("PATCH", "/Groups/{group}", operations({"op": "add", "path": "members",
                                                           "value": [{"value": "{other}"}]}), 204),
    "waiting member": ("PATCH", "/Groups/{group}?attributes=members",
                       operations({"op": "add", "path": "members", "value": [{"value": "nobody"}]}), 200),
    "delete group": ("DELETE", "/Groups/{group}", None, 204),
    "groups": ("GET", "/Groups?count=1", None, 200),
    "search groups": ("POST", "/Groups/.search", {"schemas": [SEARCH]}, 200),
    "config": ("GET", "/ServiceProviderConfig", None, 200),
    "types": ("GET", "/ResourceTypes/User", None, 200),
    "schemas": ("GET", "/Schemas", None, 200),
    "me": ("GET", "/Me", None, 501),
    "no route": ("GET", "/Persons", None, 404),
    "bulk": ("POST", "/Bulk", {"schemas": [BULK], "Operations": [
        {"method": "POST", "path": "/Users", "bulkId": "a", "data": new("user8@acme.test")},
        {"method": "POST", "path": "/Users", "bulkId": "b", "data": new("user1@acme.test")},
        {"method": "POST", "path": "/Groups", "bulkId": "c", "data": {
            "schemas": [GROUP], "displayName": "Bulk", "members": [{"value": "bulkId:a"}]}},
        {"method": "DELETE", "path": "/Users/{user}"},
    ]}, 200),
}  # fmt: skip


def filled(value: Any, ids: dict[str, str]) -> Any:
    """A path or body with ids in the places of their names."""
    if isinstance(value, dict):
        return {name: filled(each, ids) for name, each in value.items()}
    if isinstance(value, list):
        return [filled(each, ids) for each in value]
    if isinstance(value, str):
        for name, uid in ids.items():
            value = value.replace(f"{{{name}}}", uid)
    return value


@pytest.mark.parametrize("name", OPERATIONS)
def test_it_leaves_everything_as_it_was(
    deployment: Deployment, world: tuple[Scim, dict[str, str]], name: str
) -> None:
    scim, ids = world
    method, path, body, status = OPERATIONS[name]
    before = everything(deployment)
    shown = explain(scim, method, filled(path, ids), filled(body, ids))
    assert shown["status"] == status, shown
    assert shown["steps"][-1]["step"] == "outcome"
    after = everything(deployment)
    for table, rows in before.items():
        assert after[table] == rows, table
    assert deployment.activity(scim.organization)[0].operation == "POST /connections/{connection}/explain"


def test_it_shows_events_and_seats(world: tuple[Scim, dict[str, str]]) -> None:
    scim, ids = world
    shown = explain(scim, "POST", "/Users", new("user9@acme.test"))
    assert [event["type"] for event in shown["events"]] == ["user.created"]
    assert shown["seats"] == {"before": 1, "after": 2}
    assert shown["body"]["userName"] == "user9@acme.test"
    shown = explain(
        scim,
        "PATCH",
        f"/Users/{ids['user']}",
        operations({"op": "replace", "path": "active", "value": False}),
    )
    assert shown["seats"] == {"before": 1, "after": 0}
    sentences = " ".join(step["sentence"] for step in shown["steps"])
    assert "user.deactivated" in sentences
    assert "A dry run" in sentences


def test_a_bulk_request_is_tried_as_a_whole(world: tuple[Scim, dict[str, str]]) -> None:
    scim, ids = world
    shown = explain(scim, "POST", "/Bulk", filled(OPERATIONS["bulk"][2], ids))
    assert [each["status"] for each in shown["body"]["Operations"]] == ["201", "409", "201", "204"]
    # The user of the first operation is a member of the third one's group; the refused one left nothing.
    kinds = [event["type"] for event in shown["events"]]
    assert kinds == ["user.created", "group.created", "group.members_changed", "user.deleted"]
    assert shown["seats"] == {"before": 1, "after": 1}


def test_a_change_in_portions_is_not_run(
    deployment: Deployment, world: tuple[Scim, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    scim, ids = world
    monkeypatch.setattr(group_members, "PORTION", 1)
    before = everything(deployment)
    members = [{"value": ids["user"]}, {"value": ids["other"]}]
    shown = explain(scim, "POST", "/Groups", {"schemas": [GROUP], "displayName": "Large", "members": members})
    assert (shown["status"], shown["events"]) == (None, [])
    assert "in portions" in shown["steps"][-1]["sentence"]
    assert everything(deployment) == before


def test_a_refused_request_is_tried_again_by_its_line(deployment: Deployment) -> None:
    scim = deployment.connection("okta", deployment.organization(seats=1))
    scim.user("user1@acme.test")
    scim.call("POST", "/Users", new("user2@acme.test"))
    organization = scim.organization
    line, created = deployment.activity(organization)[:2]
    path = f"/connections/{scim.uid}/explain"
    assert deployment.admin("POST", path, {"activity": str(line.id)}).json["status"] == 403
    deployment.admin("PATCH", f"/organizations/{organization.uid}", {"seats": {"limit": 2}})
    tried = deployment.admin("POST", path, {"activity": line.request_id})
    assert (tried.json["status"], tried.json["seats"]) == (201, {"before": 1, "after": 2})
    assert deployment.admin("POST", path, {"activity": str(created.id)}).status == 404
    scim.call("POST", "/Users", new("user1@acme.test", title="x" * 30_000))
    long = deployment.activity(organization)[0]
    assert deployment.admin("POST", path, {"activity": str(long.id)}).status == 409
    other = deployment.connection("generic", organization)
    assert (
        deployment.admin("POST", f"/connections/{other.uid}/explain", {"activity": str(line.id)}).status
        == 409
    )


def test_it_is_bounded(deployment: Deployment, world: tuple[Scim, dict[str, str]]) -> None:
    scim, _ = world
    for body in (
        {},
        {"method": "GET"},
        {"method": "GET", "path": "/Users", "activity": "1"},
        {"method": "TRACE", "path": "/"},
    ):
        assert deployment.admin("POST", f"/connections/{scim.uid}/explain", body).status == 422
    explain(scim, "GET", "Users", status=422)
    explain(scim, "GET", "/Users")
    dry_runs = deployment.app.extensions["dry_runs"]
    dry_runs.interval = 60
    try:
        explain(scim, "GET", "/Users", status=429)
    finally:
        dry_runs.interval = 0


def test_a_real_change_after_a_dry_run_is_stored(deployment: Deployment, audit: Any) -> None:
    scim = deployment.connection("generic", deployment.organization(seats=4))
    explain(scim, "POST", "/Users", new("user9@acme.test"))
    user = scim.user("user9@acme.test")
    assert scim.call("GET", f"/Users/{user['id']}").status == 200
    assert [kind for kind, _ in deployment.events(scim.organization)][-1] == "user.created"
    audit(deployment)
