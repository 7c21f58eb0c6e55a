"""Changes of very many users: made in portions that let others write, gone on with when a process was killed."""

from __future__ import annotations

import http.client
import json
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest

from gateway.scim.schemas import USER_URN
from gateway.store.long_changes import APPLY, RELEASE, REMOVE
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import ADMIN_TOKEN
from gateway.web.queues import MAX_WAIT_SECONDS, RequestQueue, too_many_requests
from tests.system.test_kill import get, serve

pytestmark = pytest.mark.slow

SCHEMA = "urn:calendly:scim:schemas:2.0:User"
Audit = Callable[[Deployment], None]


class Mapped:
    """An organization whose users have a value each, and the calls of its admin."""

    def __init__(self, deployment: Deployment, users: int = 0) -> None:
        self.deployment = deployment
        self.okta: Scim = deployment.connection("okta", deployment.organization("Acme"))
        self.path = f"/connections/{self.okta.uid}/group-mapping"
        self.organization = f"/organizations/{self.okta.organization.uid}"
        self.users = [self.okta.user(f"user{n}@acme.test", **{SCHEMA: {"group": "a"}}) for n in range(users)]

    def body(self, group: str = "A", **values: Any) -> dict[str, Any]:
        rules = [{"value": "a", "group": group}]
        return {
            "enabled": True,
            "attribute": f"{SCHEMA}:group",
            "rules": rules,
            "apply_to_existing": True,
        } | values

    def save(self, group: str = "A", **values: Any) -> Any:
        """Preview and save; the answer."""
        etag = self.etag(group, **values)
        return self.deployment.admin("PUT", self.path, self.body(group, **values), If_Match=etag)

    def etag(self, group: str = "A", **values: Any) -> str:
        answer = self.deployment.admin("POST", f"{self.path}/preview", self.body(group, **values))
        assert answer.status == 200, answer.text
        return str(self.deployment.last_headers["ETag"])

    def mapping(self) -> Any:
        return self.deployment.admin("GET", self.path).json

    def sources(self) -> list[dict[str, list[str]]]:
        """The groups of every user, with the reasons."""
        shown = self.deployment.listed(f"{self.organization}/users")
        return [{group["name"]: group["sources"] for group in user["groups"]} for user in shown]

    def joined(self, group: str) -> list[str]:
        """Who came into a group, in the order of the events."""
        reported = (data for _, data in self.deployment.events(self.okta.organization))
        return [uid for data in reported if data.get("displayName") == group for uid in data.get("added", ())]

    @contextmanager
    def saving(self, group: str) -> Iterator[list[Any]]:
        """While a mapping is saved in another thread; its answer once that is over."""
        answers: list[Any] = []
        etag = self.etag(group)
        app, headers = self.deployment.app, {"Authorization": f"Bearer {ADMIN_TOKEN}", "If-Match": etag}

        def save() -> None:
            path, body = f"/admin/v1{self.path}", self.body(group)
            answers.append(app.test_client().put(path, json=body, headers=headers))
            self.deployment.gateway.store.database.close()

        thread = threading.Thread(target=save)
        thread.start()
        try:
            until = time.monotonic() + 30
            while "applying" not in self.mapping() and not answers and time.monotonic() < until:
                time.sleep(0.001)
            # Expensive requests of one process follow each other; what comes now comes to another one.
            app.extensions["dispatcher"].queues["expensive"] = RequestQueue(
                MAX_WAIT_SECONDS, too_many_requests
            )
            yield answers
        finally:
            thread.join(60)
            assert not thread.is_alive()


@pytest.fixture(autouse=True)
def _small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.provisioning.mapping.USERS_PER_PORTION", 1)


def test_others_write_while_a_mapping_is_saved(deployment: Deployment, audit: Audit) -> None:
    acme, other = Mapped(deployment, 60), deployment.connection("okta", deployment.organization("Other"))
    written, seen = 0, []
    with acme.saving("A") as answers:
        while not answers:
            other.user(f"other{written}@other.test")
            acme.okta.user(f"late{written}@acme.test", **{SCHEMA: {"group": "a"}})
            written += 1
            seen.append(acme.mapping().get("applying"))
    assert answers[0].status_code == 200
    assert written > 5
    progress = [each["done"] for each in seen if each]
    assert progress == sorted(progress)
    assert len(set(progress)) > 3
    assert {each["users"] for each in seen if each} == {60}
    assert "applying" not in acme.mapping()
    # Each moved once, whether a portion or its own write did it.
    assert acme.sources() == [{"A": ["mapping"]}] * (60 + written)
    assert len(acme.joined("A")) == len(set(acme.joined("A"))) == 60 + written
    audit(deployment)


def test_a_user_who_is_written_meanwhile_follows_the_new_rules_and_moves_once(
    deployment: Deployment, audit: Audit
) -> None:
    acme = Mapped(deployment, 60)
    with acme.saving("A") as answers:
        for user in reversed(acme.users):
            change = {"op": "replace", "value": {"displayName": "New"}}
            assert acme.okta.patch(f"/Users/{user['id']}", change).status == 200
    assert answers[0].status_code == 200
    assert acme.sources() == [{"A": ["mapping"]}] * 60
    assert sorted(acme.joined("A")) == sorted(user["id"] for user in acme.users)
    audit(deployment)


def test_a_mapping_that_is_overtaken_by_another_is_no_success(deployment: Deployment, audit: Audit) -> None:
    acme = Mapped(deployment, 60)
    with acme.saving("A") as answers:
        assert acme.save("A", enabled=False).status == 200
    assert (answers[0].status_code, "another one was saved" in answers[0].text) == (409, True)
    assert {} in acme.sources()
    assert {"A": ["manual"]} in acme.sources()
    assert "applying" not in acme.mapping()
    assert acme.save("B").status == 200
    assert acme.sources() == [{"B": ["mapping"]}] * 60
    assert [rule["group"] for rule in acme.mapping()["rules"]] == ["B"]
    audit(deployment)


def test_what_a_killed_process_left_is_gone_on_with(deployment: Deployment, audit: Audit) -> None:
    acme = Mapped(deployment, 5)
    gateway = deployment.gateway
    gateway.worker.stop()
    # As it is between the first transaction and the portions.
    assert acme.save("A", apply_to_existing=False).status == 200
    path = json.dumps([[SCHEMA, "group"], None])
    with gateway.store.transaction():
        gateway.store.long_changes.begin(acme.okta.organization.id, acme.okta.connection, APPLY, path)
    assert acme.mapping()["applying"] == {"done": 0, "users": 5}
    assert gateway.long_changes.resume() == []  # somebody may be at it
    with gateway.store.transaction():
        gateway.store.database.run("UPDATE long_changes SET touched = 0")
    gateway.long_changes._searched = -100.0
    assert gateway.long_changes.resume() == [acme.okta.organization.id]
    assert "applying" not in acme.mapping()
    assert acme.sources() == [{"A": ["mapping"]}] * 5
    audit(deployment)


def test_switching_off_lets_admins_edit_by_hand_before_all_is_done(
    deployment: Deployment, audit: Audit
) -> None:
    acme = Mapped(deployment, 3)
    assert acme.save("A").status == 200
    store, connection = deployment.gateway.store, acme.okta.connection
    with store.transaction():
        store.connections.edit(connection, mapping_enabled=0)
        store.long_changes.begin(connection.organization_id, connection, RELEASE)
    group = deployment.listed(f"{acme.organization}/groups")[0]["id"]
    path = f"{acme.organization}/groups/{group}/members/{acme.users[2]['id']}"
    assert deployment.admin("DELETE", path).status == 204
    assert acme.sources() == [{"A": ["mapping"]}, {"A": ["mapping"]}, {}]
    assert acme.save("A", enabled=False).status == 200
    assert acme.sources() == [{"A": ["manual"]}, {"A": ["manual"]}, {}]
    audit(deployment)


def grown(deployment: Deployment) -> tuple[Mapped, dict[str, Any]]:
    """Users who are mapped and pushed, one of them deleted; and the pushed group."""
    acme = Mapped(deployment, 12)
    assert acme.save("A").status == 200
    pushed = acme.okta.group("Pushed", tuple(user["id"] for user in acme.users))
    assert acme.okta.call("DELETE", f"/Users/{acme.users[0]['id']}").status == 204
    return acme, pushed


def test_a_connection_is_removed_in_portions_and_by_whoever_goes_on(
    deployment: Deployment, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.provisioning.organizations.USERS_PER_PORTION", 3)
    monkeypatch.setattr("gateway.provisioning.organizations._ROWS_PER_PORTION", 3)
    acme, pushed = grown(deployment)
    gateway, uid = deployment.gateway, acme.okta.connection.uid
    # Killed after the first portion.
    connection, organization = acme.okta.connection, acme.okta.organization
    with gateway.store.transaction():
        gateway.store.connections.close(connection)
        run = gateway.store.long_changes.begin(organization.id, connection, REMOVE)
    gateway.long_changes._run_portion(run, deployment.trace(organization))
    audit(deployment)
    assert acme.okta.call("GET", "/Users").status == 401
    for method, path, body in (
        ("PUT", f"/connections/{uid}/provisioning", {"enabled": True}),
        ("POST", f"/connections/{uid}/tokens", {"label": "new"}),
    ):
        answer = deployment.admin(method, path, body)
        assert (answer.status, "is being removed" in answer.text) == (409, True)
    assert deployment.admin("DELETE", f"/connections/{uid}").status == 204
    assert deployment.admin("GET", f"/connections/{uid}").status == 404
    assert acme.sources() == [{"A": ["manual"], "Pushed": ["manual"]}] * 11
    users = deployment.listed(f"{acme.organization}/users")
    assert {user["managed_by"] for user in users} == {None}
    assert deployment.admin("GET", f"{acme.organization}/groups/{pushed['id']}").json["managed_by"] is None
    assert gateway.store.database.all("SELECT * FROM long_changes") == []
    audit(deployment)


def test_an_organization_is_removed_in_portions_with_all_that_is_in_it(
    deployment: Deployment, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.provisioning.organizations._ROWS_PER_PORTION", 3)
    other = deployment.connection("okta", deployment.organization("Other"))
    kept = other.user("kept@other.test", emails=[{"value": "kept@other.test", "type": "work"}])
    acme, _ = grown(deployment)
    deployment.gateway.activity_writer.flush()
    assert deployment.admin("DELETE", acme.organization).status == 204
    assert deployment.admin("GET", acme.organization).status == 404
    database = deployment.gateway.store.database
    for table in (
        "users",
        "groups",
        "connections",
        "events",
        "activity",
        "hourly_calls",
        "emails",
        "long_changes",
        "tallies",
    ):
        # Events of the deployment itself have the organization 0.
        left = database.all(f"SELECT DISTINCT organization_id FROM {table} WHERE organization_id > 0")
        assert left in ([], [(other.organization.id,)]), table
    assert other.call("GET", f"/Users/{kept['id']}").status == 200
    audit(deployment)


@pytest.mark.parametrize("what", ["mapping", "takeover", "users.csv", "users"])
def test_users_of_a_megabyte_are_never_held_together(deployment: Deployment, what: str) -> None:
    acme = Mapped(deployment, 30)
    other = deployment.connection("entra", acme.okta.organization)
    database = deployment.gateway.store.database
    with deployment.gateway.store.transaction():
        long = "x" * 1_000_000
        database.run(
            "UPDATE users SET doc = replace(doc, '\"active\":true', ?)", f'"active":true,"title":"{long}"'
        )
    calls: dict[str, tuple[str, str, Any]] = {
        "mapping": ("POST", f"{acme.path}/preview", acme.body()),
        "takeover": ("POST", f"/connections/{other.uid}/takeover", {"from": acme.okta.uid, "match": "email"}),
        "users.csv": ("GET", f"{acme.organization}/users.csv", None),
        "users": ("GET", f"{acme.organization}/users?limit=100", None),
    }
    tracemalloc.start()
    try:
        answer = deployment.admin(*calls[what])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answer.status == 200
    assert "user29@acme.test" in answer.text
    assert peak < 4_000_000


def test_a_killed_server_goes_on_with_a_mapping_after_its_start(deployment: Deployment, audit: Audit) -> None:
    acme = Mapped(deployment)
    users, store = 1200, deployment.gateway.store
    for number in range(users):
        document = {
            "schemas": [USER_URN, SCHEMA],
            "userName": f"user{number}@acme.test",
            "active": True,
            SCHEMA: {"group": "a"},
        }
        deployment.gateway.users.create(
            acme.okta.caller(), document, deployment.trace(acme.okta.organization)
        )
    etag = acme.etag("A")
    server = serve(deployment)
    put = threading.Thread(target=_put, args=(server.port, acme, etag))
    try:
        put.start()
        until = time.monotonic() + 60
        while not store.database.one("SELECT 1 FROM long_changes WHERE done > 0"):
            assert time.monotonic() < until
    finally:
        server.kill()
        put.join(30)
    left = store.database.one("SELECT done, users FROM long_changes")
    assert left is not None
    assert 0 < left[0] < left[1] == users
    server = serve(deployment)
    try:
        until = time.monotonic() + 60
        scim = f"{acme.okta.base}/Users?count=1"
        while get(server.port, f"/admin/v1{acme.path}", ADMIN_TOKEN).get("applying"):
            assert get(server.port, scim, acme.okta.token)["totalResults"] == users
            assert time.monotonic() < until
            time.sleep(0.1)
    finally:
        server.kill()
    assert store.database.all("SELECT source, COUNT(*) FROM grants GROUP BY source") == [("mapping", users)]
    assert len(acme.joined("A")) == len(set(acme.joined("A"))) == users
    audit(deployment)


def _put(port: int, acme: Mapped, etag: str) -> None:
    """A save whose server dies."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        headers = {
            "Authorization": f"Bearer {ADMIN_TOKEN}",
            "If-Match": etag,
            "Content-Type": "application/json",
        }
        with suppress(OSError, http.client.HTTPException):
            connection.request("PUT", f"/admin/v1{acme.path}", json.dumps(acme.body()), headers)
            connection.getresponse().read()
