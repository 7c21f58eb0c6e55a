"""The brake: however many removals arrive together, no more than the limit of the connection happen."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gateway.provisioning.safety import removals
from gateway.provisioning.unit_of_work import UnitOfWork
from gateway.store import WriteConflict
from gateway.store.ids_and_time import now
from gateway.testing import Deployment, Scim
from tests.support.statements import record_statements

OFF = {"op": "replace", "path": "active", "value": False}
MINUTE = 60_000_000
#: Threads that remove at once.
WRITERS = 8


@pytest.fixture
def scim(deployment: Deployment) -> Scim:
    """A connection of Okta that may make ten removals an hour."""
    return deployment.connection("okta", deployment.organization(seats=100), brake=True)


def people(scim: Scim, count: int) -> list[str]:
    return [scim.user(f"user{number}@acme.test")["id"] for number in range(count)]


def at_once(act: Callable[[str], Any], uids: Sequence[str]) -> list[Any]:
    """Call a function for each id, eight at a time."""
    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(act, uids))


def deactivate(scim: Scim, uid: str) -> Any:
    return scim.patch(f"/Users/{uid}", OFF)


def active(scim: Scim) -> int:
    return scim.deployment.used(scim.organization)


def types(scim: Scim) -> Counter[str]:
    return Counter(kind for kind, _ in scim.deployment.events(scim.organization))


def decide(scim: Scim, **decision: Any) -> Any:
    answer = scim.deployment.admin("POST", f"/connections/{scim.uid}/hold", decision)
    assert answer.status == 200, answer.json
    return answer.json


def hold(scim: Scim) -> Any:
    return scim.deployment.admin("GET", f"/connections/{scim.uid}/hold").json


def test_of_fifty_deactivations_at_once_ten_happen_and_forty_are_held(scim: Scim) -> None:
    uids = people(scim, 50)
    answers = at_once(lambda uid: deactivate(scim, uid), uids)
    assert Counter(answer.status for answer in answers) == {200: 10, 429: 40}
    assert active(scim) == 40
    held = next(answer for answer in answers if answer.status == 429)
    assert "10 removals were made, and 10 are allowed in 60 minutes" in held.json["detail"]
    assert f"/console/organizations/{scim.organization.uid}/safety" in held.json["detail"]
    assert types(scim)["connection.held"] == 1
    assert types(scim)["user.removal_held"] == 40
    assert types(scim)["user.deactivated"] == 10
    assert (hold(scim)["state"], hold(scim)["held"]) == ("waiting", 40)
    lines = scim.deployment.activity(scim.organization, outcome="failure")
    assert [line.status for line in lines] == [429] * 40


def test_an_answer_says_when_the_identity_provider_tries_again(scim: Scim) -> None:
    for uid in (uids := people(scim, 11)):
        deactivate(scim, uid)
    slug, token = scim.connection.slug, {"Authorization": f"Bearer {scim.token}"}
    client = scim.deployment.app.test_client()
    answer = client.delete(f"/scim/v2/{slug}/Users/{uids[10]}", headers=token)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "900")


def test_what_is_held_is_sent_again_and_told_once(scim: Scim) -> None:
    uids = people(scim, 12)
    for uid in uids:
        deactivate(scim, uid)
    before = types(scim)
    for _ in range(3):
        assert deactivate(scim, uids[11]).status == 429
    assert types(scim) == before
    assert {item["name"]: item["tries"] for item in hold(scim)["items"]} == {
        "user10@acme.test": 1,
        "user11@acme.test": 4,
    }


def test_creates_updates_and_reactivations_pass_while_removals_are_held(scim: Scim) -> None:
    uids = people(scim, 12)
    for uid in uids:
        deactivate(scim, uid)
    assert (
        scim.patch(f"/Users/{uids[11]}", {"op": "replace", "path": "name.givenName", "value": "New"}).status
        == 200
    )
    assert scim.patch(f"/Users/{uids[0]}", OFF | {"value": True}).status == 200
    scim.user("more@acme.test")


def test_once_all_are_allowed_they_pass_when_they_are_sent_again(scim: Scim) -> None:
    uids = people(scim, 30)
    for uid in uids:
        deactivate(scim, uid)
    shown = decide(scim, action="allow_all", hours=1)
    assert (shown["state"], shown["held"]) == ("allowed", 20)
    assert "Retry Selected" in shown["after"]
    assert {answer.status for answer in at_once(lambda uid: deactivate(scim, uid), uids)} == {200}
    assert active(scim) == 0
    assert hold(scim)["held"] == 0


def test_who_is_allowed_must_be_held_or_nobody_is_allowed(scim: Scim) -> None:
    """An answer of 200 would say that the removal of the other one passes from now on."""
    uids = people(scim, 12)
    for uid in uids:
        deactivate(scim, uid)
    path, wanted = f"/connections/{scim.uid}/hold", {"action": "allow", "users": [uids[10], uids[0]]}
    answer = scim.deployment.admin("POST", path, wanted)
    assert answer.status == 422
    assert uids[0] in answer.json["message"]
    assert [each["allowed"] for each in hold(scim)["items"]] == [False, False]
    assert deactivate(scim, uids[10]).status == 429
    decide(scim, action="allow", users=[uids[10]])
    lines = scim.deployment.activity(scim.organization, outcome="success")
    assert [line.detail for line in lines if "/hold" in line.operation] == [
        "Allowed: 1 of the removals that are held."
    ]


def test_those_who_are_allowed_pass_and_the_others_wait(scim: Scim) -> None:
    uids = people(scim, 13)
    for uid in uids:
        deactivate(scim, uid)
    decide(scim, action="allow", users=uids[10:12])
    assert [deactivate(scim, uid).status for uid in uids[10:]] == [200, 200, 429]
    decide(scim, action="allow", users=[uids[12]])
    assert deactivate(scim, uids[12]).status == 200
    assert hold(scim)["state"] == "none"


def test_a_rejection_refuses_them_in_the_name_of_the_admin(scim: Scim) -> None:
    uids = people(scim, 12)
    for uid in uids:
        deactivate(scim, uid)
    decide(scim, action="reject")
    answer = deactivate(scim, uids[11])
    assert answer.status == 403
    assert "rejected the removals of the connection 'Okta'" in answer.json["detail"]
    lines = scim.deployment.admin("GET", f"/organizations/{scim.organization.uid}/activity").json["items"]
    until = r"until \d+ [A-Z][a-z]{2} \d{4}, \d\d:\d\d UTC\."
    assert re.search(f"Removals are rejected {until}", "".join(line["detail"] or "" for line in lines))
    assert re.search(f"they are refused {until}", answer.json["detail"])
    assert active(scim) == 2


def test_a_new_hour_counts_anew_but_ends_no_hold(scim: Scim) -> None:
    database = scim.deployment.gateway.store.database
    uids = people(scim, 25)
    for uid in uids[:9]:
        assert deactivate(scim, uid).status == 200
    database.run("UPDATE brakes SET minute = minute - 59")
    assert [deactivate(scim, uid).status for uid in uids[9:11]] == [200, 429]
    decide(scim, action="allow_all", hours=1)
    database.run("UPDATE holds SET until = 1")
    assert [deactivate(scim, uid).status for uid in uids[11:22]] == [200] * 10 + [429]
    database.run("UPDATE brakes SET minute = minute - 600")
    assert deactivate(scim, uids[22]).status == 429
    assert types(scim)["connection.held"] == 2


def test_each_removal_counts_in_its_own_minute(scim: Scim, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three in three minutes: what was removed in the first of them counts no more from the fourth one on."""
    moment = now() // MINUTE * MINUTE
    clock = [moment]
    monkeypatch.setattr(removals, "now", lambda: clock[0])
    brake = {"percent": 0, "least": 3, "minutes": 3}
    assert scim.deployment.admin("PATCH", f"/connections/{scim.uid}", {"brake": brake}).status == 200
    uids = iter(people(scim, 6))
    answers = []
    for at in (MINUTE - 1, MINUTE, 3 * MINUTE - 1, 3 * MINUTE, 3 * MINUTE, 4 * MINUTE):
        clock[0] = moment + at
        answers.append(deactivate(scim, next(uids)).status)
    assert answers == [200, 200, 200, 200, 429, 429]
    assert hold(scim)["counted"] == 3


def test_a_removal_at_the_end_of_the_window_still_counts(scim: Scim, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = now() // MINUTE * MINUTE
    clock = [moment]
    monkeypatch.setattr(removals, "now", lambda: clock[0])
    uids = people(scim, 11)
    assert {deactivate(scim, uid).status for uid in uids[:10]} == {200}
    clock[0] = moment + 60 * MINUTE - 1
    assert deactivate(scim, uids[10]).status == 429


def test_a_limit_by_share_follows_the_people_of_the_connection(deployment: Deployment) -> None:
    scim = deployment.connection("generic")
    brake = {"percent": 50, "least": 2, "minutes": 60}
    assert deployment.admin("PATCH", f"/connections/{scim.uid}", {"brake": brake}).json["brake"] == brake
    uids = people(scim, 8)
    assert [deactivate(scim, uid).status for uid in uids] == [200] * 4 + [429] * 4
    assert deployment.admin("PATCH", f"/connections/{scim.uid}", {"brake": None}).json["brake"] is None
    assert [deactivate(scim, uid).status for uid in uids] == [200] * 8


def test_deletions_and_large_losses_of_groups_are_held(deployment: Deployment) -> None:
    scim = deployment.connection("generic", brake=True)
    uids = people(scim, 24)
    group = scim.group("Sales", tuple(uids))
    path = f"/Groups/{group['id']}"
    answer = scim.patch(path, {"op": "replace", "path": "members", "value": [{"value": uids[0]}]})
    assert answer.status == 429
    assert scim.call("DELETE", path).status == 429
    assert len(scim.call("GET", path).json["members"]) == 24
    assert scim.call("DELETE", f"/Users/{uids[0]}").status == 429
    assert types(scim)["group.removal_held"] == types(scim)["user.removal_held"] == 1
    # A few members are no removal, nor is a small group.
    few = {"op": "remove", "path": f'members[value eq "{uids[1]}"]'}
    assert scim.patch(path, few).status == 204
    small = scim.group("Few", (uids[2],))
    assert scim.call("DELETE", f"/Groups/{small['id']}").status == 204
    decide(scim, action="allow_all")
    assert scim.call("DELETE", path).status == 204


def test_each_operation_of_a_bulk_request_is_counted(scim: Scim) -> None:
    uids = people(scim, 12)
    operations = [{"method": "DELETE", "path": f"/Users/{uid}"} for uid in uids]
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations}
    answer = scim.call("POST", "/Bulk", body)
    assert Counter(each["status"] for each in answer.json["Operations"]) == {"204": 10, "429": 2}


def test_admins_are_not_limited(scim: Scim) -> None:
    path = f"/organizations/{scim.organization.uid}/users"
    for uid in people(scim, 12):
        assert scim.deployment.admin("PATCH", f"{path}/{uid}", {"active": False}).status == 200
    assert hold(scim)["state"] == "none"


def test_a_hold_on_which_nobody_decides_is_warned_of_each_day(scim: Scim) -> None:
    uids = people(scim, 12)
    for uid in uids:
        deactivate(scim, uid)
    safety, database = scim.deployment.gateway.safety, scim.deployment.gateway.store.database
    scim.deployment.gateway.worker.stop()
    safety._looked = -1000.0
    assert safety.run_due() == []
    database.run("UPDATE holds SET warned = warned - 90000000000")
    safety._looked = -1000.0
    assert safety.run_due() == [scim.organization.id]
    kind, data = scim.deployment.events(scim.organization)[-1]
    assert (kind, data["held"], data["counted"], data["limit"]) == ("connection.held", 2, 10, 10)


def test_two_processes_warn_once(scim: Scim, monkeypatch: pytest.MonkeyPatch) -> None:
    for uid in people(scim, 12):
        deactivate(scim, uid)
    gateway = scim.deployment.gateway
    gateway.worker.stop()
    gateway.store.database.run("UPDATE holds SET warned = warned - 90000000000")
    found = gateway.store.brakes.unwarned(now(), 10)
    monkeypatch.setattr(gateway.store.brakes, "unwarned", lambda *_: found)
    rounds = []
    for _ in range(2):
        gateway.safety._looked = -1000.0
        rounds.append(gateway.safety.run_due())
    assert rounds == [[scim.organization.id], []]
    assert types(scim)["connection.held"] == 2


def in_the_application(scim: Scim, method: str, uid: str, body: Any = None) -> None:
    path = f"/organizations/{scim.organization.uid}/users/{uid}"
    assert scim.deployment.admin(method, path, body).status in (200, 204)


def test_a_removal_that_an_admin_makes_waits_no_more_and_the_last_one_ends_the_hold(scim: Scim) -> None:
    uids = people(scim, 14)
    for uid in uids[:12]:
        deactivate(scim, uid)
    assert scim.call("DELETE", f"/Users/{uids[12]}").status == 429
    safety = scim.deployment.gateway.safety
    scim.deployment.gateway.worker.stop()

    def held() -> list[str]:
        safety._looked = -1000.0
        assert safety.run_due() == []
        return [item["id"] for item in hold(scim)["items"]]

    assert held() == uids[10:13]
    in_the_application(scim, "PATCH", uids[10], {"active": False})
    # Who is only inactive is still to be deleted.
    in_the_application(scim, "PATCH", uids[12], {"active": False})
    assert held() == uids[11:13]
    in_the_application(scim, "PATCH", uids[12], {"protected": True})
    assert (held(), hold(scim)["state"]) == ([uids[11]], "waiting")
    in_the_application(scim, "DELETE", uids[11])
    assert (held(), hold(scim)["state"]) == ([], "none")
    assert deactivate(scim, uids[13]).status == 200


def test_a_removal_of_an_account_that_is_not_to_be_adopted_waits_no_more(scim: Scim) -> None:
    path = f"/connections/{scim.uid}"
    brake = {"percent": 1, "least": 1, "minutes": 60}
    assert scim.deployment.admin("PATCH", path, {"brake": brake, "adoption": "ask"}).status == 200
    assert deactivate(scim, scim.user()["id"]).status == 200
    body = {"user_name": "user2@acme.test"}
    users = f"/organizations/{scim.organization.uid}/users"
    uid = scim.deployment.admin("POST", users, body).json["id"]
    assert deactivate(scim, uid).status == 429
    (asked,) = scim.deployment.admin("GET", f"{path}/adoptions").json["items"]
    for decision, left in (("approve", [uid]), ("reject", [])):
        scim.deployment.admin("POST", f"{path}/adoptions/{asked['id']}", {"decision": decision})
        assert deactivate(scim, uid).status == (429 if left else 409)
        scim.deployment.gateway.safety._looked = -1000.0
        assert scim.deployment.gateway.safety.run_due() == []
        assert [item["id"] for item in hold(scim)["items"]] == left
    assert hold(scim)["state"] == "none"


ON = OFF | {"value": True}


def held(scim: Scim) -> list[str]:
    return [item["id"] for item in hold(scim)["items"]]


def test_a_removal_that_is_taken_back_waits_no_more_and_the_last_one_ends_the_hold(scim: Scim) -> None:
    """It stayed in the list, and an admin who allowed all let somebody be removed whom nobody wanted to remove."""
    uids = people(scim, 14)
    for uid in uids[:13]:
        deactivate(scim, uid)
    assert scim.patch(f"/Users/{uids[10]}", OFF | {"path": "displayName", "value": "New"}).status == 200
    body = scim.call("GET", f"/Users/{uids[10]}").json
    assert scim.call("PUT", f"/Users/{uids[10]}", body | {"active": None, "title": "CTO"}).status == 200
    # Who only changes otherwise is still to be removed.
    assert held(scim) == uids[10:13]
    assert scim.patch(f"/Users/{uids[10]}", {"op": "add", "value": {"active": True}}).status == 200
    kind, data = scim.deployment.events(scim.organization)[-1]
    assert (kind, data["id"], data["active"]) == ("user.removal_withdrawn", uids[10], True)
    assert held(scim) == uids[11:13]
    body = scim.call("GET", f"/Users/{uids[11]}").json
    assert scim.call("PUT", f"/Users/{uids[11]}", body | {"displayName": "New"}).status == 200
    assert held(scim) == uids[12:13]
    assert scim.patch(f"/Users/{uids[12]}", ON).status == 200
    assert (hold(scim)["state"], types(scim)["user.removal_withdrawn"]) == ("none", 3)
    kind, data = scim.deployment.events(scim.organization)[-1]
    assert (kind, data["action"], data["by"]) == ("connection.hold_decided", "withdrawn", None)
    line = scim.deployment.activity(scim.organization)[0]
    assert "taken back by the identity provider" in line.decisions
    # What was removed before counts as it did.
    assert deactivate(scim, uids[13]).status == 429
    assert types(scim)["connection.held"] == 2


def test_what_is_taken_back_ends_no_decision(scim: Scim) -> None:
    uids = people(scim, 12)
    for uid in uids:
        deactivate(scim, uid)
    decide(scim, action="reject")
    assert {scim.patch(f"/Users/{uid}", ON).status for uid in uids[10:]} == {200}
    assert (held(scim), hold(scim)["state"]) == ([], "rejected")
    assert deactivate(scim, uids[11]).status == 403


def test_a_group_that_gets_its_members_again_waits_no_more(deployment: Deployment) -> None:
    scim = deployment.connection("generic", brake=True)
    uids = people(scim, 24)
    group = scim.group("Sales", tuple(uids))
    path = f"/Groups/{group['id']}"
    members = [{"value": uid} for uid in uids]

    def lose() -> None:
        only = {"op": "replace", "path": "members", "value": members[:1]}
        assert scim.patch(path, only).status == 429

    def add(some: list[dict[str, str]]) -> None:
        assert scim.patch(path, {"op": "add", "path": "members", "value": some}).status in (200, 204)

    lose()
    add(members[1:14])
    assert [(item["people"], item["action"]) for item in hold(scim)["items"]] == [(10, "leave")]
    add(members[14:])
    assert (held(scim), types(scim)["group.removal_withdrawn"]) == ([], 1)
    lose()
    assert scim.call("PUT", path, group | {"members": members}).status == 200
    assert held(scim) == []
    assert scim.call("DELETE", path).status == 429
    add(members[:1])
    assert (held(scim), types(scim)["group.removal_withdrawn"]) == ([], 3)


def test_nobody_looks_for_held_removals_while_there_are_none(scim: Scim) -> None:
    uid, group = people(scim, 1)[0], scim.group("Sales")["id"]
    add = {"op": "add", "path": "members", "value": [{"value": uid}]}
    with record_statements(scim.deployment) as sent:
        assert scim.patch(f"/Users/{uid}", ON).status == 200
        assert scim.patch(f"/Users/{uid}", OFF | {"path": "title", "value": "CTO"}).status == 200
        assert scim.patch(f"/Groups/{group}", add).status in (200, 204)
    assert [sql for sql in sent if "held_removals" in sql or "holds WHERE" in sql] == []


@pytest.mark.parametrize("action", ["allow_all", "reject"])
def test_a_decision_that_is_over_is_no_hold(scim: Scim, action: str) -> None:
    uids = people(scim, 12)
    for uid in uids:
        deactivate(scim, uid)
    decide(scim, action=action)
    database = scim.deployment.gateway.store.database
    database.run("UPDATE holds SET until = 1")
    assert (hold(scim)["state"], hold(scim)["items"]) == ("none", [])
    again = scim.deployment.admin("POST", f"/connections/{scim.uid}/hold", {"action": "reject"})
    assert again.status == 409
    assert deactivate(scim, uids[11]).status == 200
    assert database.one("SELECT COUNT(*) FROM held_removals") == (0,)


def test_one_who_is_allowed_narrows_no_decision_that_allows_all(scim: Scim) -> None:
    uids = people(scim, 13)
    for uid in uids:
        deactivate(scim, uid)
    until = decide(scim, action="allow_all")["until"]
    shown = decide(scim, action="allow", users=[uids[10]])
    assert (shown["state"], shown["until"]) == ("allowed", until)
    assert deactivate(scim, uids[12]).status == 200


def test_a_removal_that_was_held_by_a_first_attempt_and_is_made_by_the_second_has_its_own_line(
    scim: Scim, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hold is written, its transaction meets another one, and an admin takes the limit away meanwhile."""
    uids = people(scim, 11)
    for uid in uids[:10]:
        deactivate(scim, uid)
    gateway, finalize, refused = scim.deployment.gateway, UnitOfWork.finalize, []
    units_of_work = gateway.users._units_of_work
    refresh = units_of_work.refresh

    def conflict_once(self: UnitOfWork, *args: Any) -> None:
        if not refused:
            refused.append(self)
            raise WriteConflict
        finalize(self, *args)

    def take_the_limit_away(caller: Any) -> Any:
        gateway.store.connections.edit(scim.connection, brake=None)
        return refresh(caller)

    monkeypatch.setattr(UnitOfWork, "finalize", conflict_once)
    monkeypatch.setattr(units_of_work, "refresh", take_the_limit_away)
    assert deactivate(scim, uids[10]).status == 200
    monkeypatch.undo()
    line = scim.deployment.activity(scim.organization)[0]
    assert (line.status, line.outcome, line.detail) == (200, "success", None)


@pytest.mark.parametrize(
    "body",
    [
        {"action": "open"},
        {"action": "allow"},
        {"action": "reject", "users": ["u1"]},
        {"action": "allow_all", "hours": 25},
        {"action": "allow_all", "users": ["u1"]},
    ],
    ids=json.dumps,
)
def test_a_decision_that_cannot_be_is_refused(scim: Scim, body: dict[str, Any]) -> None:
    for uid in people(scim, 11):
        deactivate(scim, uid)
    assert scim.deployment.admin("POST", f"/connections/{scim.uid}/hold", body).status in (400, 422)
    assert hold(scim)["state"] == "waiting"


def test_without_a_hold_there_is_nothing_to_decide(scim: Scim) -> None:
    answer = scim.deployment.admin("POST", f"/connections/{scim.uid}/hold", {"action": "reject"})
    assert (answer.status, answer.json["message"]) == (
        409,
        "Nothing of the connection 'Okta' is held: there is nothing to decide.",
    )
