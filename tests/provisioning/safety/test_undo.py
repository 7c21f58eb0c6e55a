"""Undo: the people of a connection are brought back to where they were, as the preview said, and no one else is."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from gateway.provisioning.undo import acts, operations
from gateway.testing import Deployment, Scim
from tests.support.moments import moment_between

OFF = {"op": "replace", "path": "active", "value": False}
SCHEMA = "urn:calendly:scim:schemas:2.0:User"


@pytest.fixture
def scim(deployment: Deployment) -> Scim:
    return deployment.connection("okta", deployment.organization(seats=100))


class Admin:
    """An admin who undoes what a connection did since a moment."""

    def __init__(self, scim: Scim) -> None:
        self.scim, self.start = scim, moment_between()

    def send(self, etag: str | None = None, **wanted: Any) -> Any:
        body = {"from": self.start, "preview": etag is None} | wanted
        headers = {} if etag is None else {"If_Match": etag}
        return self.scim.deployment.admin("POST", f"/connections/{self.scim.uid}/undo", body, **headers)

    def preview(self, **wanted: Any) -> tuple[dict[str, Any], str]:
        answer = self.send(**wanted)
        assert answer.status == 200, answer.text
        return dict(answer.json), self.scim.deployment.last_headers["ETag"]

    def undo(self, **wanted: Any) -> dict[str, Any]:
        """Do what a preview shows, and see that a second undo finds nothing left."""
        shown, etag = self.preview(**wanted)
        answer = self.send(etag, **wanted)
        assert answer.status == 200, answer.text
        done = dict(answer.json)
        assert done["people"] == shown["people"]
        left, _ = self.preview(**wanted)
        assert (left["people"], left["summary"]["seats_needed"]) == ([], 0)
        return done


def used(scim: Scim) -> int:
    return scim.deployment.used(scim.organization)


def types(scim: Scim) -> Counter[str]:
    return Counter(kind for kind, _ in scim.deployment.events(scim.organization))


def reasons(shown: dict[str, Any]) -> list[tuple[str, str]]:
    return [(stay["what"], stay["reason"]) for stay in shown["stays"]]


def members(scim: Scim, group: str) -> set[str]:
    return {each["value"] for each in scim.call("GET", f"/Groups/{group}").json.get("members", ())}


def test_deactivated_people_are_active_again_with_their_seats(scim: Scim) -> None:
    uids = [scim.user(f"user{number}@acme.test")["id"] for number in range(5)]
    scim.patch(f"/Users/{uids[4]}", OFF)
    admin = Admin(scim)
    for uid in uids[:3]:
        assert scim.patch(f"/Users/{uid}", OFF).status == 200
    shown, _ = admin.preview()
    assert shown["summary"] == {
        "people": 3, "reactivated": 3, "restored": 0, "attributes": 0, "memberships": 0, "stays": 0,
        "created": 0, "seats_needed": 3, "seats_free": 99, "more": False,
    }  # fmt: skip
    assert used(scim) == 1
    done = admin.undo()
    assert [each["id"] for each in done["people"]] == uids[:3]
    assert used(scim) == 4
    assert [scim.call("GET", f"/Users/{uid}").json["active"] for uid in uids] == [True] * 4 + [False]
    assert types(scim)["user.reactivated"] == 3


def test_deleted_people_come_back_with_the_same_id_and_their_groups(scim: Scim) -> None:
    uid, other = scim.user()["id"], scim.user("user2@acme.test")["id"]
    group = scim.group("Sales", (uid, other))["id"]
    admin = Admin(scim)
    scim.patch(f"/Users/{uid}", OFF)
    assert scim.call("DELETE", f"/Users/{uid}").status == 204
    assert scim.call("DELETE", f"/Users/{other}").status == 204
    assert used(scim) == 0
    done = admin.undo()
    assert done["summary"]["restored"] == 2
    assert done["summary"]["memberships"] == 2
    assert used(scim) == 2
    assert members(scim, group) == {uid, other}
    assert scim.call("GET", "/Users").json["totalResults"] == 2
    assert scim.call("GET", f"/Users/{uid}").json["active"] is True
    assert types(scim)["user.restored"] == 2
    events = [kind for kind, _ in scim.deployment.events(scim.organization)][-3:]
    assert events == ["user.restored", "user.restored", "group.members_changed"]


def test_who_was_created_in_the_period_is_said_to_stay(scim: Scim, monkeypatch: pytest.MonkeyPatch) -> None:
    """An admin who undoes a wrong filter reads that the people it brought in are still here."""
    known, back = scim.user()["id"], scim.user("back@acme.test")["id"]
    scim.call("DELETE", f"/Users/{back}")
    admin = Admin(scim)
    new, gone, taken = (scim.user(f"new{number}@acme.test")["id"] for number in range(3))
    assert scim.user("back@acme.test")["id"] == back
    scim.patch(f"/Users/{known}", OFF)
    scim.call("DELETE", f"/Users/{gone}")
    path = f"/organizations/{scim.organization.uid}/users"
    assert scim.deployment.admin("DELETE", f"{path}/{taken}").status == 204
    shown, etag = admin.preview()
    assert [(each["id"], each["reason"]) for each in shown["stays"]] == [
        (new, "created"), (gone, "not_here_before"), (back, "created")
    ]  # fmt: skip
    assert (shown["summary"]["stays"], shown["summary"]["created"], shown["summary"]["people"]) == (3, 3, 1)
    # Somebody who is created meanwhile does not outdate the preview.
    scim.user("later@acme.test")
    monkeypatch.setattr(operations, "LIST_LENGTH", 2)
    done = admin.send(etag).json
    assert (done["summary"]["people"], done["summary"]["created"], len(done["stays"])) == (1, 4, 2)


def test_who_was_inactive_before_comes_back_inactive(scim: Scim) -> None:
    uid = scim.user()["id"]
    scim.patch(f"/Users/{uid}", OFF)
    admin = Admin(scim)
    scim.call("DELETE", f"/Users/{uid}")
    done = admin.undo()
    assert done["summary"]["seats_needed"] == 0
    assert scim.call("GET", f"/Users/{uid}").json["active"] is False


def test_people_are_in_the_groups_again_that_they_were_taken_out_of(scim: Scim) -> None:
    uids = tuple(scim.user(f"user{number}@acme.test")["id"] for number in range(3))
    group = scim.group("Sales", uids)["id"]
    admin = Admin(scim)
    removed = [{"op": "remove", "path": f'members[value eq "{uid}"]'} for uid in uids[:2]]
    assert scim.patch(f"/Groups/{group}", *removed).status in (200, 204)
    assert members(scim, group) == {uids[2]}
    done = admin.undo(what=["left_groups"])
    assert [(each["id"], each["groups"], each["changes"]) for each in done["people"]] == [
        (uids[0], ["Sales"], []), (uids[1], ["Sales"], [])
    ]  # fmt: skip
    assert members(scim, group) == set(uids)
    kind, data = scim.deployment.events(scim.organization)[-1]
    assert (kind, data["added"]) == ("group.members_changed", list(uids[:2]))


def test_attributes_are_as_they_were(scim: Scim) -> None:
    uid = scim.user()["id"]
    before = scim.call("GET", f"/Users/{uid}").json
    admin = Admin(scim)
    change = {"op": "replace", "value": {"displayName": "Wrong", "userName": "wrong@acme.test"}}
    assert scim.patch(f"/Users/{uid}", change).status == 200
    scim.patch(f"/Users/{uid}", OFF)
    assert reasons(admin.preview()[0]) == []
    done = admin.undo(what=["deactivated", "attributes"])
    assert done["people"][0]["attributes"] == ["displayName", "userName"]
    after = scim.call("GET", f"/Users/{uid}").json
    assert {name: after[name] for name in before if name != "meta"} == {
        name: before[name] for name in before if name != "meta"
    }


def test_without_attributes_only_the_account_changes(scim: Scim) -> None:
    uid = scim.user()["id"]
    admin = Admin(scim)
    scim.patch(f"/Users/{uid}", {"op": "replace", "value": {"displayName": "New", "active": False}})
    admin.undo()
    user = scim.call("GET", f"/Users/{uid}").json
    assert (user["displayName"], user["active"]) == ("New", True)


def test_who_was_changed_since_stays(deployment: Deployment, scim: Scim) -> None:
    """An admin decided on the person after the identity provider did."""
    uid = scim.user()["id"]
    admin = Admin(scim)
    scim.patch(f"/Users/{uid}", OFF)
    path = f"/organizations/{scim.organization.uid}/users/{uid}"
    for active in (True, False):
        assert deployment.admin("PATCH", path, {"active": active}).status == 200
    done = admin.undo()
    assert reasons(done) == [("deactivated", "changed_since")]
    assert used(scim) == 0


def test_what_happened_after_the_period_is_not_undone(scim: Scim) -> None:
    uids = [scim.user(f"user{number}@acme.test")["id"] for number in range(2)]
    admin = Admin(scim)
    scim.patch(f"/Users/{uids[0]}", OFF)
    end = moment_between()
    scim.patch(f"/Users/{uids[1]}", OFF)
    done = admin.undo(to=end)
    assert [each["id"] for each in done["people"]] == uids[:1]


def test_who_came_in_the_period_is_not_there_before_it(scim: Scim) -> None:
    admin = Admin(scim)
    uid = scim.user()["id"]
    scim.patch(f"/Users/{uid}", OFF)
    assert admin.preview()[0]["people"] == []


def test_people_of_another_connection_stay(deployment: Deployment, scim: Scim) -> None:
    other = deployment.connection("entra", scim.organization)
    uid = other.user("other@acme.test")["id"]
    admin = Admin(scim)
    other.patch(f"/Users/{uid}", OFF)
    assert admin.preview()[0]["people"] == []
    assert [each["id"] for each in Admin.undo(_since(admin, other))["people"]] == [uid]


def _since(admin: Admin, scim: Scim) -> Admin:
    other = Admin(scim)
    other.start = admin.start
    return other


def test_a_name_that_another_user_has_by_now_is_said(deployment: Deployment, scim: Scim) -> None:
    uid = scim.user()["id"]
    admin = Admin(scim)
    scim.call("DELETE", f"/Users/{uid}")
    path = f"/organizations/{scim.organization.uid}/users"
    assert deployment.admin("POST", path, {"user_name": "USER1@acme.test"}).status == 201
    done = admin.undo()
    assert reasons(done) == [("deleted", "name_taken")]


def test_what_an_erasure_removed_does_not_come_back(deployment: Deployment, scim: Scim) -> None:
    uid = scim.user()["id"]
    admin = Admin(scim)
    scim.call("DELETE", f"/Users/{uid}")
    path = f"/organizations/{scim.organization.uid}/users/{uid}/erase"
    assert deployment.admin("POST", path, {"confirm": "user1@acme.test", "reason": "asked for"}).status in (
        200,
        202,
    )
    done = admin.undo()
    assert (done["people"], reasons(done)) == ([], [("deleted", "not_stored")])


def test_a_group_that_is_gone_is_said(scim: Scim) -> None:
    uid = scim.user()["id"]
    group = scim.group("Sales", (uid,))["id"]
    admin = Admin(scim)
    scim.patch(f"/Groups/{group}", {"op": "remove", "path": f'members[value eq "{uid}"]'})
    scim.call("DELETE", f"/Groups/{group}")
    assert reasons(admin.preview()[0]) == [("left_groups", "group_gone")]


def test_without_seats_for_all_nobody_is_changed(deployment: Deployment) -> None:
    scim = deployment.connection("okta", deployment.organization(seats=2))
    uids = [scim.user(f"user{number}@acme.test")["id"] for number in range(2)]
    admin = Admin(scim)
    for uid in uids:
        scim.patch(f"/Users/{uid}", OFF)
    scim.user("user3@acme.test")
    shown, etag = admin.preview()
    assert (shown["summary"]["seats_needed"], shown["summary"]["seats_free"]) == (2, 1)
    before = deployment.events(scim.organization)
    answer = admin.send(etag)
    assert answer.status == 403
    assert answer.json["message"].startswith("The undo needs 2 seats, and 1 is free: nobody was changed.")
    assert deployment.events(scim.organization) == before
    assert used(scim) == 1
    part, tag = admin.preview(limit=1)
    assert part["summary"]["more"] is True
    assert admin.send(tag, limit=1).status == 200
    assert used(scim) == 2


def test_removals_are_paused_so_that_they_are_not_repeated(scim: Scim) -> None:
    uid = scim.user()["id"]
    admin = Admin(scim)
    scim.patch(f"/Users/{uid}", OFF)
    done = admin.undo()
    assert done["paused_until"] is not None
    answer = scim.patch(f"/Users/{uid}", OFF)
    assert answer.status == 429
    assert "is undone; mend the assignment at the identity provider" in answer.json["detail"]
    assert scim.user("user2@acme.test")["active"] is True


def test_an_undo_under_a_pause_of_all_changes_keeps_that_pause(deployment: Deployment, scim: Scim) -> None:
    uid = scim.user()["id"]
    admin = Admin(scim)
    scim.patch(f"/Users/{uid}", OFF)
    paused = deployment.admin("PUT", f"/connections/{scim.uid}/pause", {"reason": "wrong filter"})
    assert admin.undo()["paused_until"] == paused.json["until"]
    assert types(scim)["connection.paused"] == 1


@pytest.mark.parametrize("decision", [{"action": "allow_all"}, {"action": "allow"}])
def test_removals_that_were_allowed_are_held_again(deployment: Deployment, decision: dict[str, Any]) -> None:
    """After the pause the identity provider repeats what an admin has meanwhile seen to be a mistake."""
    scim = deployment.connection("okta", deployment.organization(seats=100), brake=True)
    uids = [scim.user(f"user{number}@acme.test")["id"] for number in range(12)]
    admin = Admin(scim)
    assert [scim.patch(f"/Users/{uid}", OFF).status for uid in uids] == [200] * 10 + [429] * 2
    if decision["action"] == "allow":
        decision = {**decision, "users": uids[10:]}
    assert deployment.admin("POST", f"/connections/{scim.uid}/hold", decision).status == 200
    admin.undo()
    assert deployment.admin("DELETE", f"/connections/{scim.uid}/pause").status == 204
    answers = [scim.patch(f"/Users/{uid}", OFF).status for uid in uids[::-1]]
    assert answers.count(200) <= 10
    assert answers[0] == (200 if decision["action"] == "allow_all" else 429)
    assert 429 in answers


def test_a_group_that_goes_while_the_undo_runs_is_no_membership_that_came_back(
    deployment: Deployment, scim: Scim, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the preview, which the undo makes once more, and the transaction of the people."""
    uids = tuple(scim.user(f"user{number}@acme.test")["id"] for number in range(2))
    group = scim.group("Sales", uids)["id"]
    admin = Admin(scim)
    scim.patch(f"/Groups/{group}", *({"op": "remove", "path": f'members[value eq "{uid}"]'} for uid in uids))
    scim.patch(f"/Users/{uids[1]}", OFF)
    _, etag = admin.preview()
    safety = deployment.gateway.safety
    pause = safety.pause_undone

    def remove_and_pause(*args: Any) -> Any:
        assert scim.call("DELETE", f"/Groups/{group}").status == 204
        return pause(*args)

    monkeypatch.setattr(safety, "pause_undone", remove_and_pause)
    done = admin.send(etag).json
    assert [(each["id"], each["groups"]) for each in done["people"]] == [(uids[1], [])]
    assert done["summary"]["memberships"] == 0
    assert reasons(done) == [("left_groups", "group_gone")] * 2
    lines = [line.detail for line in deployment.activity(scim.organization) if "/undo" in line.operation]
    assert not any("Sales" in (detail or "") for detail in lines)


def test_an_undo_needs_the_tag_of_its_preview(scim: Scim) -> None:
    uids = [scim.user(f"user{number}@acme.test")["id"] for number in range(2)]
    admin = Admin(scim)
    scim.patch(f"/Users/{uids[0]}", OFF)
    _, etag = admin.preview()
    assert admin.send(None, preview=False).status == 428
    assert admin.send('"another"').status == 412
    scim.patch(f"/Users/{uids[1]}", OFF)
    answer = admin.send(etag)
    assert answer.status == 412
    assert used(scim) == 0


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"what": []}, None),
        ({"what": ["everything"]}, None),
        ({"from": "yesterday"}, None),
        ({"from": "2999-01-01T00:00:00Z"}, "lies in the future"),
        ({"to": "1999-01-01T00:00:00Z"}, "`from` lies before `to`"),
        ({"limit": 0}, None),
    ],
)
def test_what_makes_no_sense_is_refused(scim: Scim, wanted: dict[str, Any], said: str | None) -> None:
    answer = Admin(scim).send(**wanted)
    assert answer.status in (400, 422)
    assert said is None or said in answer.json["message"]


def test_a_period_of_too_many_events_is_refused(scim: Scim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acts, "MOST_EVENTS", 2)
    admin = Admin(scim)
    for number in range(3):
        scim.user(f"user{number}@acme.test")
    answer = admin.send()
    assert answer.status == 422
    assert "Give a later `from`" in answer.json["message"]


def test_a_period_whose_events_are_pruned_is_refused(deployment: Deployment, scim: Scim) -> None:
    admin = Admin(scim)
    uid = scim.user()["id"]
    scim.patch(f"/Users/{uid}", OFF)
    first = deployment.gateway.store.events.page(scim.organization.id, 0, 1)[0]
    deployment.gateway.store.database.run(
        "DELETE FROM events WHERE organization_id = ? AND seq = ?", scim.organization.id, first.seq
    )
    answer = admin.send()
    assert answer.status == 422
    assert "no longer stored" in answer.json["message"]


def test_the_activity_names_each_person_and_the_admin(deployment: Deployment, scim: Scim) -> None:
    uid = scim.user()["id"]
    admin = Admin(scim)
    scim.patch(f"/Users/{uid}", OFF)
    admin.undo()
    lines = [line for line in deployment.activity(scim.organization) if "/undo" in line.operation]
    assert [line.detail for line in lines if line.user == "user1@acme.test"] == ["Undone: reactivated."]
    assert all(line.status == 200 for line in lines)


def test_memberships_of_a_mapping_follow_the_attributes(deployment: Deployment, scim: Scim) -> None:
    """Rules of Map to groups decide on groups that nobody pushes, so attributes bring them back."""
    rule = {"value": "guide", "group": "Guides"}
    rules = {"enabled": True, "attribute": f"{SCHEMA}:group", "rules": [rule]}
    path = f"/connections/{scim.uid}/group-mapping"
    assert deployment.admin("POST", f"{path}/preview", rules).status == 200
    saved = deployment.admin("PUT", path, rules, If_Match=deployment.last_headers["ETag"])
    assert saved.status == 200, saved.text
    uid = scim.user(**{SCHEMA: {"group": "guide"}})["id"]
    assert [each["display"] for each in scim.call("GET", f"/Users/{uid}").json["groups"]] == ["Guides"]
    admin = Admin(scim)
    scim.patch(f"/Users/{uid}", {"op": "replace", "path": f"{SCHEMA}:group", "value": "other"})
    assert "groups" not in scim.call("GET", f"/Users/{uid}").json
    assert reasons(admin.preview()[0]) == [("left_groups", "rules_decide")]
    admin.undo(what=["attributes", "left_groups"])
    assert [each["display"] for each in scim.call("GET", f"/Users/{uid}").json["groups"]] == ["Guides"]


def manual_group(scim: Scim, name: str, *uids: str) -> str:
    """Create a group as an admin does, and put people into it."""
    path = f"/organizations/{scim.organization.uid}/groups"
    uid = str(scim.deployment.admin("POST", path, {"name": name}).json["id"])
    for user in uids:
        assert scim.deployment.admin("PUT", f"{path}/{uid}/members/{user}").status < 300
    return uid


def member_of(scim: Scim, uid: str) -> list[str]:
    return [each["display"] for each in scim.call("GET", f"/Users/{uid}").json.get("groups", ())]


def test_who_was_deleted_twice_is_in_the_groups_again(scim: Scim) -> None:
    """In between the identity provider restored the user, whom it put into no group."""
    uid = scim.user()["id"]
    manual_group(scim, "Sales", uid)
    admin = Admin(scim)
    scim.call("DELETE", f"/Users/{uid}")
    assert scim.user()["id"] == uid
    scim.call("DELETE", f"/Users/{uid}")
    admin.undo()
    assert member_of(scim, uid) == ["Sales"]


def test_whom_the_identity_provider_restored_itself_is_in_the_groups_again(
    deployment: Deployment, scim: Scim, audit: Any
) -> None:
    """What an admin took the person out of since stays."""
    uid, other = scim.user()["id"], scim.user("user2@acme.test")["id"]
    groups = [manual_group(scim, name, uid, other) for name in ("Sales", "Guides")]
    admin = Admin(scim)
    for each in (uid, other):
        scim.call("DELETE", f"/Users/{each}")
    assert (scim.user()["id"], scim.user("user2@acme.test")["id"]) == (uid, other)
    path = f"/organizations/{scim.organization.uid}/groups/{groups[1]}/members/{other}"
    assert deployment.admin("PUT", path).status < 300
    assert deployment.admin("DELETE", path).status < 300
    done = admin.undo()
    assert done["summary"]["memberships"] == 3
    assert (member_of(scim, uid), member_of(scim, other)) == (["Sales", "Guides"], ["Sales"])
    audit(deployment)


@pytest.mark.parametrize("deleted_again", [False, True])
@pytest.mark.parametrize("active", [True, False])
def test_who_was_deleted_restored_and_deactivated_is_as_at_first(
    scim: Scim, active: bool, deleted_again: bool
) -> None:
    uid = scim.user()["id"]
    scim.patch(f"/Users/{uid}", OFF | {"value": active})
    admin = Admin(scim)
    scim.call("DELETE", f"/Users/{uid}")
    assert scim.user()["id"] == uid
    scim.patch(f"/Users/{uid}", OFF)
    if deleted_again:
        scim.call("DELETE", f"/Users/{uid}")
    admin.undo()
    assert scim.call("GET", f"/Users/{uid}").json["active"] is active
    assert used(scim) == int(active)


def test_who_was_deleted_before_the_period_stays_as_it_came_back(scim: Scim) -> None:
    uid = scim.user()["id"]
    scim.call("DELETE", f"/Users/{uid}")
    admin = Admin(scim)
    group = scim.group("Sales")["id"]
    for name in ("New", "Newer"):
        assert scim.user(displayName=name)["id"] == uid
        scim.patch(f"/Groups/{group}", {"op": "add", "path": "members", "value": [{"value": uid}]})
        scim.call("DELETE", f"/Users/{uid}")
    assert scim.user(displayName="Newest")["id"] == uid
    done = admin.undo(what=["deactivated", "deleted", "left_groups", "attributes"])
    assert (done["people"], reasons(done), members(scim, group)) == ([], [("created", "created")], set())


def test_a_group_that_is_pushed_by_now_gets_nobody_whom_it_did_not_push(
    deployment: Deployment, scim: Scim, audit: Any
) -> None:
    uid = scim.user()["id"]
    group = manual_group(scim, "Sales", uid)
    admin = Admin(scim)
    scim.call("DELETE", f"/Users/{uid}")
    other = deployment.connection("entra", scim.organization)
    linked = other.call("PATCH", f"/Groups/{group}", {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "replace", "path": "externalId", "value": "sales"}],
    })  # fmt: skip
    assert linked.status < 300, linked.text
    done = admin.undo()
    assert reasons(done) == [("left_groups", "group_pushed")]
    assert scim.call("GET", f"/Users/{uid}").json["active"] is True
    audit(deployment)


def test_a_group_whose_connection_was_removed_has_its_member_again(
    deployment: Deployment, scim: Scim, audit: Any
) -> None:
    other = deployment.connection("entra", scim.organization)
    path = f"/organizations/{scim.organization.uid}/users"
    uid = str(deployment.admin("POST", path, {"user_name": "user1@acme.test"}).json["id"])
    other.group("Sales", (uid,))
    assert (
        scim.patch(f"/Users/{uid}", {"op": "replace", "path": "displayName", "value": "Adopted"}).status
        == 200
    )
    admin = Admin(scim)
    scim.call("DELETE", f"/Users/{uid}")
    assert deployment.admin("DELETE", f"/connections/{other.uid}").status < 300
    admin.undo()
    assert member_of(scim, uid) == ["Sales"]
    audit(deployment)


def test_what_is_repeated_after_an_undo_is_undone_with_the_same_period(scim: Scim) -> None:
    """When the pause is over the identity provider does again what it did, and nobody else decided otherwise."""
    uids = [scim.user(f"user{number}@acme.test")["id"] for number in range(2)]
    group = scim.group("Sales", tuple(uids))["id"]
    admin = Admin(scim)
    for _ in range(2):
        scim.patch(f"/Groups/{group}", {"op": "remove", "path": f'members[value eq "{uids[0]}"]'})
        scim.patch(f"/Users/{uids[0]}", OFF)
        scim.call("DELETE", f"/Users/{uids[1]}")
        assert used(scim) == 0
        admin.undo()
        assert (used(scim), members(scim, group)) == (2, set(uids))
        assert scim.deployment.admin("DELETE", f"/connections/{scim.uid}/pause").status < 300


def test_one_period_is_undone_in_steps(scim: Scim) -> None:
    uid = scim.user(displayName="Right")["id"]
    admin = Admin(scim)
    scim.patch(f"/Users/{uid}", {"op": "replace", "value": {"displayName": "Wrong"}})
    scim.patch(f"/Users/{uid}", OFF)
    scim.call("DELETE", f"/Users/{uid}")
    admin.undo(what=["deleted"])
    assert scim.call("GET", f"/Users/{uid}").json["active"] is False
    admin.undo(what=["deactivated"])
    assert used(scim) == 1
    admin.undo(what=["attributes"])
    user = scim.call("GET", f"/Users/{uid}").json
    assert (user["displayName"], user["active"]) == ("Right", True)


def prune(scim: Scim) -> None:
    """Remove the events until now, as they are after the days for which they are kept."""
    scim.deployment.gateway.store.database.run(
        "DELETE FROM events WHERE organization_id = ?", scim.organization.id
    )


def test_the_first_event_after_quiet_days_can_be_undone(tmp_path: Any) -> None:
    """All earlier events are pruned, and none of the period is."""
    deployment = Deployment(tmp_path / "instance", event_days=7)
    scim = deployment.connection("okta", deployment.organization())
    uid = scim.user()["id"]
    prune(scim)
    admin = Admin(scim)
    scim.patch(f"/Users/{uid}", OFF)
    admin.undo()
    assert used(scim) == 1
    answer = admin.send(**{"from": "2020-01-01T00:00:00Z"})
    assert (answer.status, "no longer stored" in answer.text) == (422, True)
    deployment.close()


def test_a_period_of_which_nothing_is_stored_is_refused(scim: Scim) -> None:
    uid = scim.user()["id"]
    admin = Admin(scim)
    scim.patch(f"/Users/{uid}", OFF)
    prune(scim)
    answer = admin.send()
    assert answer.status == 422
    assert "no longer stored" in answer.json["message"]
