"""Pauses of connections, protected users, and the hook by which an application's plugin guards its own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway import Verdict, hookimpl
from gateway.provisioning.safety import operations
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import USER

NEW = {"schemas": [USER], "userName": "new@acme.test"}
OFF = {"op": "replace", "path": "active", "value": False}
RENAME = {"op": "replace", "path": "userName", "value": "other@acme.test"}


@pytest.fixture
def scim(deployment: Deployment) -> Scim:
    return deployment.connection("okta")


def pause(scim: Scim, **values: Any) -> Any:
    body = {"reason": "a migration"} | values
    return scim.deployment.admin("PUT", f"/connections/{scim.uid}/pause", body)


def resume(scim: Scim) -> Any:
    return scim.deployment.admin("DELETE", f"/connections/{scim.uid}/pause")


def kinds(scim: Scim) -> list[str]:
    return [kind for kind, _ in scim.deployment.events(scim.organization)]


def test_a_paused_connection_reads_and_changes_nothing_until_it_goes_on(scim: Scim) -> None:
    uid = scim.user()["id"]
    shown = pause(scim).json
    assert (shown["scope"], shown["reason"]) == ("all", "a migration")
    before = kinds(scim)
    refused = [
        scim.call("POST", "/Users", {"userName": "new@acme.test"}),
        scim.patch(f"/Users/{uid}", OFF),
        scim.call("PUT", f"/Users/{uid}", {"userName": "user1@acme.test"}),
        scim.call("DELETE", f"/Users/{uid}"),
        scim.call("POST", "/Groups", {"displayName": "Sales"}),
    ]
    assert {answer.status for answer in refused} == {429}
    assert re.search(r"is paused until \d+ [A-Z][a-z]{2} \d{4}, \d\d:\d\d UTC: ", refused[0].json["detail"])
    assert "a migration" in refused[0].json["detail"]
    assert scim.call("GET", f"/Users/{uid}").status == 200
    assert scim.call("GET", "/Users").json["totalResults"] == 1
    assert kinds(scim) == before
    assert resume(scim).status == 204
    assert scim.patch(f"/Users/{uid}", OFF).status == 200
    assert [kind for kind in kinds(scim) if kind.startswith("connection")] == [
        "connection.paused",
        "connection.resumed",
    ]
    assert resume(scim).status == 409


def test_a_pause_of_removals_lets_everything_else_pass(scim: Scim) -> None:
    uid = scim.user()["id"]
    pause(scim, scope="removals")
    assert (
        scim.patch(f"/Users/{uid}", {"op": "replace", "path": "name.givenName", "value": "New"}).status == 200
    )
    assert scim.patch(f"/Users/{uid}", OFF).status == 429
    assert scim.call("DELETE", f"/Users/{uid}").status == 429
    scim.user("user2@acme.test")


def test_a_pause_ends_by_itself(scim: Scim) -> None:
    scim.deployment.gateway.worker.stop()
    pause(scim)
    end(scim)
    scim.user()
    assert look(scim.deployment) == [scim.organization.id]
    assert kinds(scim)[-1] == "connection.resumed"
    assert scim.deployment.admin("GET", f"/connections/{scim.uid}").json["pause"] is None


@pytest.mark.parametrize(("hours", "seconds"), [(168, 75_600), (4, 1800), (1, 900), (0.1, 360)])
def test_retry_after_lets_ten_tries_reach_the_end_of_a_pause(scim: Scim, hours: float, seconds: int) -> None:
    until = datetime.now(UTC) + timedelta(hours=hours, seconds=-1)
    assert pause(scim, until=until.isoformat().replace("+00:00", "Z")).status == 200
    assert scim.call("POST", "/Users", {"userName": "new@acme.test"}).status == 429
    assert seconds - 3 <= int(scim.deployment.last_headers["Retry-After"]) <= seconds


def look(deployment: Deployment) -> list[int]:
    """Have the worker look at pauses and holds."""
    deployment.gateway.safety._looked = -1000.0
    return deployment.gateway.safety.run_due()


def end(scim: Scim) -> None:
    """Have the pause of a connection be over."""
    over = json.dumps(json.loads(str(scim.connection.pause)) | {"until": 1})
    scim.deployment.gateway.store.connections.edit(scim.connection, pause=over)


def test_a_pause_that_is_prolonged_while_it_is_ended_goes_on(
    scim: Scim, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = scim.deployment.gateway
    gateway.worker.stop()
    pause(scim)
    end(scim)
    paused = gateway.store.connections.paused

    def prolong_then_return(*args: Any) -> Any:
        found = paused(*args)
        assert pause(scim).status == 200
        return found

    monkeypatch.setattr(gateway.store.connections, "paused", prolong_then_return)
    assert look(scim.deployment) == []
    assert scim.call("POST", "/Users", {"userName": "new@acme.test"}).status == 429
    assert "connection.resumed" not in kinds(scim)


def test_pauses_of_many_connections_end_in_turn(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "_PER_ROUND", 2)
    deployment.gateway.worker.stop()
    scims = [deployment.connection("okta") for _ in range(5)]
    for scim in scims:
        pause(scim)
    end(scims[0])
    end(scims[4])
    ended = [look(deployment) for _ in range(4)]
    assert ended == [[scims[0].organization.id], [], [scims[4].organization.id], []]
    pause(scims[4])
    end(scims[1])
    assert sum(map(len, (look(deployment) for _ in range(3)))) == 1
    assert scims[1].connection.pause is None


def pause_before_the_transaction(scim: Scim, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next change of a user be admitted before a pause, and its transaction begin after it."""
    users = scim.deployment.gateway.users
    judge = users._judge

    def pause_then_judge(*args: Any) -> Any:
        monkeypatch.setattr(users, "_judge", judge)
        assert pause(scim).status == 200
        return judge(*args)

    monkeypatch.setattr(users, "_judge", pause_then_judge)


def test_a_pause_reaches_a_change_that_is_on_its_way(scim: Scim, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = scim.user()["id"]
    pause_before_the_transaction(scim, monkeypatch)
    assert scim.patch(f"/Users/{uid}", OFF).status == 429
    assert scim.call("GET", f"/Users/{uid}").json["active"] is True


def rename(scim: Scim, uid: str) -> Any:
    return scim.patch(f"/Users/{uid}", {"op": "replace", "path": "displayName", "value": "New"})


def create(scim: Scim, uid: str) -> Any:
    return scim.call("POST", "/Users", NEW)


@pytest.mark.parametrize("change", [rename, create])
def test_a_pause_of_all_changes_reaches_one_that_is_no_removal_on_its_way(
    scim: Scim, monkeypatch: pytest.MonkeyPatch, change: Callable[[Scim, str], Any]
) -> None:
    """Its caller was read before the pause, and is kept in the cache of the process."""
    uid = scim.user()["id"]
    before = scim.call("GET", "/Users").json
    pause_before_the_transaction(scim, monkeypatch)
    answer = change(scim, uid)
    assert (answer.status, "is paused until" in answer.json["detail"]) == (429, True)
    assert scim.call("GET", "/Users").json == before


@pytest.mark.parametrize(
    ("scope", "statuses"), [("all", ["429"] * 4), ("removals", ["201", "200", "429", "429"])]
)
def test_each_operation_of_a_bulk_request_meets_the_pause(
    scim: Scim, scope: str, statuses: list[str]
) -> None:
    uids = [scim.user(f"user{number}@acme.test")["id"] for number in range(3)]
    schemas = ["urn:ietf:params:scim:api:messages:2.0:PatchOp"]
    rename = {"op": "replace", "path": "displayName", "value": "New"}
    operations = [
        {"method": "POST", "path": "/Users", "bulkId": "new", "data": NEW},
        {
            "method": "PATCH",
            "path": f"/Users/{uids[0]}",
            "data": {"schemas": schemas, "Operations": [rename]},
        },
        {"method": "PATCH", "path": f"/Users/{uids[1]}", "data": {"schemas": schemas, "Operations": [OFF]}},
        {"method": "DELETE", "path": f"/Users/{uids[2]}"},
    ]
    pause(scim, scope=scope)
    before = kinds(scim)
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations}
    answer = scim.call("POST", "/Bulk", body)
    assert [each["status"] for each in answer.json["Operations"]] == statuses
    assert kinds(scim)[len(before) :] == ([] if scope == "all" else ["user.created", "user.updated"])
    assert scim.call("GET", f"/Users/{uids[1]}").json["active"] is True


@pytest.mark.parametrize(
    "values",
    [{"until": "2020-01-01T00:00:00Z"}, {"until": "2999-01-01T00:00:00Z"}, {"scope": "some"}, {"until": 7}],
)
def test_a_pause_that_cannot_be_is_refused(scim: Scim, values: dict[str, Any]) -> None:
    assert pause(scim, **values).status in (400, 422)
    assert scim.deployment.admin("GET", f"/connections/{scim.uid}").json["pause"] is None


# Protection -----------------------------------------------------------------------------------------------------------


def protect(scim: Scim, uid: str, protected: bool = True) -> Any:
    path = f"/organizations/{scim.organization.uid}/users/{uid}"
    return scim.deployment.admin("PATCH", path, {"protected": protected})


def test_no_identity_provider_removes_or_renames_a_protected_user(scim: Scim) -> None:
    uid = scim.user()["id"]
    assert protect(scim, uid).json["protected"] is True
    for refused in (
        scim.patch(f"/Users/{uid}", OFF),
        scim.patch(f"/Users/{uid}", RENAME),
        scim.call("DELETE", f"/Users/{uid}"),
    ):
        assert refused.status == 403
        assert "user1@acme.test is protected in the application" in refused.json["detail"]
        assert f"/people/{uid}" in refused.json["detail"]
    assert (
        scim.patch(f"/Users/{uid}", {"op": "replace", "path": "name.givenName", "value": "New"}).status == 200
    )
    assert protect(scim, uid, False).json["protected"] is False
    assert scim.call("DELETE", f"/Users/{uid}").status == 204


def test_letter_case_makes_no_other_name_of_a_protected_user(scim: Scim) -> None:
    """No case-exact attribute (RFC 7643, 4.1.1): an identity provider may write it in its own letters."""
    user = scim.user()
    assert protect(scim, user["id"]).status == 200
    sent = {**user, "userName": "User1@Acme.Test", "name": {"givenName": "Owner"}}
    answer = scim.call("PUT", f"/Users/{user['id']}", sent)
    assert answer.status == 200
    assert (answer.json["userName"], answer.json["name"]["givenName"]) == ("User1@Acme.Test", "Owner")


def test_five_users_can_be_protected(scim: Scim) -> None:
    uids = [scim.user(f"user{number}@acme.test")["id"] for number in range(6)]
    assert [protect(scim, uid).status for uid in uids] == [200] * 5 + [409]
    assert protect(scim, uids[0]).status == 200


def test_a_deletion_by_an_admin_ends_the_protection(scim: Scim) -> None:
    uids = [scim.user(f"user{number}@acme.test")["id"] for number in range(6)]
    assert [protect(scim, uid).status for uid in uids[:5]] == [200] * 5
    path = f"/organizations/{scim.organization.uid}/users/{uids[0]}"
    assert scim.deployment.admin("DELETE", path).status == 204
    assert protect(scim, uids[5]).status == 200
    assert scim.user("user0@acme.test")["id"] == uids[0]
    assert scim.deployment.admin("GET", path).json["protected"] is False


def test_protection_reaches_a_change_that_is_on_its_way(scim: Scim, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = scim.user()["id"]
    users = scim.deployment.gateway.users
    judge = users._judge

    def protect_then_judge(*args: Any) -> Any:
        monkeypatch.setattr(users, "_judge", judge)
        assert protect(scim, uid).status == 200
        return judge(*args)

    monkeypatch.setattr(users, "_judge", protect_then_judge)
    assert scim.patch(f"/Users/{uid}", OFF).status == 403


def guarding(scim: Scim, answer: Callable[[Any, str], Any]) -> None:
    class Owners:
        @hookimpl
        def gateway_guard_change(self, user: Any, change: str) -> Any:
            return answer(user, change)

    scim.deployment.gateway.plugins.add(Owners(), "owners")


def test_the_plugin_of_an_application_keeps_its_last_owner(scim: Scim) -> None:
    asked: list[tuple[str, str]] = []

    def answer(user: Any, change: str) -> Any:
        asked.append((user.user_name, change))
        return Verdict(change == "rename", "The last owner stays: make somebody else an owner first.")

    guarding(scim, answer)
    uid = scim.user()["id"]
    assert asked == []
    refused = scim.patch(f"/Users/{uid}", OFF)
    assert (refused.status, refused.json["detail"]) == (
        403,
        "The last owner stays: make somebody else an owner first.",
    )
    assert scim.call("DELETE", f"/Users/{uid}").status == 403
    assert scim.patch(f"/Users/{uid}", RENAME).status == 200
    assert asked == [
        ("user1@acme.test", "deactivate"),
        ("user1@acme.test", "delete"),
        ("user1@acme.test", "rename"),
    ]
    line = scim.deployment.activity(scim.organization, outcome="failure")[0]
    assert '"hook": "guard_change"' in line.decisions
    path = f"/organizations/{scim.organization.uid}/users/{uid}"
    assert scim.deployment.admin("PATCH", path, {"active": False}).status == 200


def test_a_guard_that_fails_lets_nothing_pass(scim: Scim) -> None:
    def fail(user: Any, change: str) -> Any:
        raise RuntimeError

    guarding(scim, fail)
    uid = scim.user()["id"]
    assert scim.patch(f"/Users/{uid}", OFF).status == 503
    assert scim.call("GET", f"/Users/{uid}").json["active"] is True
