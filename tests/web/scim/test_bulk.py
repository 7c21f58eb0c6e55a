"""Bulk requests over HTTP: many operations in one request, each answered as if it had come by itself."""

import json

import pytest

from gateway import hookimpl
from gateway.scim.schemas import BULK_REQUEST_URN, BULK_RESPONSE_URN, ENTERPRISE_URN
from gateway.testing import Deployment
from gateway.testing.deployment import GROUP, PATCH, USER

pytestmark = pytest.mark.slow


def send(scim, *operations, **more):
    """Send these operations; the answer."""
    return scim.call("POST", "/Bulk", {"schemas": [BULK_REQUEST_URN], "Operations": list(operations)} | more)


def bulk(scim, *operations, **more):
    """Send these operations; what became of each."""
    answer = send(scim, *operations, **more)
    assert (answer.status, answer.json["schemas"]) == (200, [BULK_RESPONSE_URN]), answer.text
    return answer.json["Operations"]


def user(bulk_id, name=None, **attributes):
    data = {"schemas": [USER], "userName": f"{name or bulk_id}@acme.test"} | attributes
    return {"method": "POST", "path": "/Users", "bulkId": bulk_id, "data": data}


def group(bulk_id, name, *members):
    data = {"schemas": [GROUP], "displayName": name, "members": [{"value": member} for member in members]}
    return {"method": "POST", "path": "/Groups", "bulkId": bulk_id, "data": data}


def patch(path, *operations, **more):
    data = {"schemas": [PATCH], "Operations": list(operations)}
    return {"method": "PATCH", "path": path, "data": data} | more


def statuses(answers):
    return [answer["status"] for answer in answers]


def uid(answer):
    return answer["location"].rsplit("/", 1)[1]


def members(scim, answer):
    shown = scim.call("GET", f"/Groups/{uid(answer)}").json
    return [member["value"] for member in shown.get("members", ())]


# Operations ---------------------------------------------------------------------------------------------------------


def test_each_method_is_answered_with_what_it_left(scim):
    kept, gone = scim.user("kept@acme.test"), scim.user("gone@acme.test")
    document = {"schemas": [USER], "userName": "kept@acme.test", "displayName": "KeptAttributes"}
    answers = bulk(
        scim,
        user("new"),
        {"method": "PUT", "path": f"/Users/{kept['id']}", "bulkId": "p", "data": document},
        patch(f"/Users/{kept['id']}", {"op": "replace", "path": "displayName", "value": "Patched"}),
        {"method": "DELETE", "path": f"/Users/{gone['id']}"},
    )
    assert [(each["method"], each.get("bulkId"), each["status"]) for each in answers] == [
        ("POST", "new", "201"), ("PUT", "p", "200"), ("PATCH", None, "200"), ("DELETE", None, "204"),
    ]  # fmt: skip
    base = kept["meta"]["location"].rsplit("/Users/", 1)[0]
    new = scim.call("GET", f"/Users/{uid(answers[0])}").json
    assert new["userName"] == "new@acme.test"
    assert [each["location"] for each in answers] == [
        f"{base}/Users/{each}" for each in (new["id"], kept["id"], kept["id"], gone["id"])
    ]
    now = scim.call("GET", f"/Users/{kept['id']}").json
    assert now["displayName"] == "Patched"
    assert (answers[0]["version"], answers[2]["version"]) == (new["meta"]["version"], now["meta"]["version"])
    assert "version" not in answers[3]
    assert not any("response" in each for each in answers)
    assert scim.call("GET", f"/Users/{gone['id']}").status == 404


@pytest.mark.parametrize("user_first", [True, False])
def test_a_group_has_a_member_made_in_the_same_request(scim, user_first):
    operations = [user("alice"), group("staff", "Staff", "bulkId:alice")]
    answers = bulk(scim, *(operations if user_first else reversed(operations)))
    found = {answer["bulkId"]: answer for answer in answers}
    assert list(found) == (["alice", "staff"] if user_first else ["staff", "alice"])
    assert statuses(answers) == ["201", "201"]
    assert members(scim, found["staff"]) == [uid(found["alice"])]


def test_a_manager_made_later_in_the_same_request_is_referred_to_by_id(scim):
    report = user("report", **{ENTERPRISE_URN: {"manager": {"value": "bulkId:boss"}}})
    report["data"]["schemas"].append(ENTERPRISE_URN)
    made, boss = bulk(scim, report, user("boss"))
    assert scim.call("GET", f"/Users/{uid(made)}").json[ENTERPRISE_URN]["manager"]["value"] == uid(boss)


def test_what_is_made_can_be_changed_filled_and_removed_in_the_same_request(scim):
    answers = bulk(
        scim,
        patch("/Groups/bulkId:g", {"op": "add", "path": "members", "value": [{"value": "bulkId:a"}]}),
        {"method": "delete", "path": "/Users/bulkId:b"},
        group("g", "Staff"),
        user("a"),
        user("b"),
    )
    assert statuses(answers) == ["204", "204", "201", "201", "201"]
    assert answers[1]["method"] == "DELETE"
    assert answers[0]["location"] == answers[2]["location"]
    assert members(scim, answers[2]) == [uid(answers[3])]
    assert scim.call("GET", f"/Users/{uid(answers[4])}").status == 404


def test_a_name_that_is_freed_first_can_be_taken(scim):
    old = scim.group("Staff")
    answers = bulk(scim, {"method": "DELETE", "path": f"/Groups/{old['id']}"}, group("new", "Staff"))
    assert statuses(answers) == ["204", "201"]


def test_a_wrong_version_stops_its_operation_only(scim):
    one, two = scim.user("one@acme.test"), scim.user("two@acme.test")
    name = {"op": "replace", "path": "displayName", "value": "New"}
    wrong, right, gone = bulk(
        scim,
        patch(f"/Users/{one['id']}", name, version='W/"0"'),
        patch(f"/Users/{two['id']}", name, version=two["meta"]["version"]),
        {"method": "DELETE", "path": f"/Users/{one['id']}", "version": 'W/"0"'},
    )
    assert (wrong["status"], wrong["location"]) == ("412", one["meta"]["location"])
    assert (right["status"], gone["status"]) == ("200", "412")
    shown = [scim.call("GET", f"/Users/{each['id']}").json["displayName"] for each in (one, two)]
    assert shown == ["one", "New"]


def test_the_dialect_of_the_connection_is_spoken(deployment):
    okta = deployment.connection("okta")
    bad, good = bulk(okta, user("a") | {"data": {"schemas": [USER], "userName": "no-address"}}, user("b"))
    assert (bad["status"], bad["response"]["scimType"], good["status"]) == ("400", "invalidValue", "201")
    assert "Application username format" in bad["response"]["detail"]
    (line,) = deployment.activity(okta.organization, outcome="failure")
    assert line.user == "no-address"
    off = patch(good["location"].split(okta.base)[1], {"op": "replace", "value": {"active": False}})
    assert statuses(bulk(okta, off)) == ["200"]
    assert deployment.used(okta.organization) == 0


# Seats, events, activity -----------------------------------------------------------------------------------------


def test_over_capacity_in_the_middle_leaves_the_others_standing(deployment):
    acme = deployment.organization(seats=2)
    scim = deployment.connection("generic", acme)
    answers = bulk(
        scim, user("a"), user("b"), user("c"), user("d", active=False), group("g", "Staff", "bulkId:a")
    )
    assert statuses(answers) == ["201", "201", "403", "201", "201"]
    refused = answers[2]
    assert refused.keys() == {"method", "bulkId", "status", "response"}
    assert refused["response"]["detail"].startswith("You're over capacity: Acme")
    assert deployment.used(acme) == 2
    assert [kind for kind, _ in deployment.events(acme)] == [
        "user.created", "user.created", "user.created", "group.created", "group.members_changed",
    ]  # fmt: skip


def test_a_seat_freed_by_one_operation_is_taken_by_the_next(deployment):
    acme = deployment.organization(seats=1)
    scim = deployment.connection("generic", acme)
    old = scim.user("old@acme.test")
    assert statuses(bulk(scim, {"method": "DELETE", "path": f"/Users/{old['id']}"}, user("new"))) == [
        "204",
        "201",
    ]
    assert deployment.used(acme) == 1


def test_each_operation_leaves_a_line_of_its_own(deployment, scim):
    old = scim.user("old@acme.test")
    before = len(deployment.activity(scim.organization))
    path = f"/Users/{old['id']}"
    bulk(
        scim,
        user("a", title="x", shoeSize=46),
        user("b", name="a"),
        patch(path),
        {"method": "DELETE", "path": path},
    )
    lines = deployment.activity(scim.organization)[: -before or None]
    assert sorted((line.operation, line.status, line.user) for line in lines) == [
        ("DELETE /Users/{id} (bulk)", 204, "old@acme.test"),
        ("PATCH /Users/{id} (bulk)", 400, None),
        ("POST /Bulk", 200, None),
        ("POST /Users (bulk)", 201, "a@acme.test"),
        ("POST /Users (bulk)", 409, "a@acme.test"),
    ]
    assert len({line.request_id for line in lines}) == 1
    assert {line.principal for line in lines} == {"test"}
    made = next(line for line in lines if line.status == 201)
    assert json.loads(made.ignored) == ["shoeSize"]


def test_a_listener_hears_of_each_change_in_order(deployment, scim):
    bulk(
        scim,
        user("a"),
        user("b"),
        patch("/Users/bulkId:a", {"op": "replace", "path": "active", "value": False}),
    )
    reported = [(kind, data["userName"]) for kind, data in deployment.events(scim.organization)]
    assert reported == [
        ("user.created", "a@acme.test"), ("user.created", "b@acme.test"), ("user.deactivated", "a@acme.test"),
    ]  # fmt: skip


# Errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fail_on_errors", "attempted"),
    [(None, ["201", "409", "201", "404", "201"]), (3, ["201", "409", "201", "404", "201"]),
     (2, ["201", "409", "201", "404"]), (1, ["201", "409"])],
)  # fmt: skip
def test_so_many_errors_end_the_request(deployment, scim, fail_on_errors, attempted):
    operations = (
        user("a"),
        user("again", name="a"),
        user("b"),
        {"method": "DELETE", "path": "/Users/0"},
        user("c"),
    )
    answers = bulk(scim, *operations, failOnErrors=fail_on_errors)
    assert statuses(answers) == attempted
    assert deployment.used(scim.organization) == attempted.count("201")
    assert len(deployment.activity(scim.organization, outcome="failure")) == len(attempted) - attempted.count(
        "201"
    )


def test_what_depends_on_a_failed_operation_fails_too(scim):
    scim.user("taken@acme.test")
    answers = bulk(scim, group("g", "Staff", "bulkId:taken"), user("taken"), group("h", "Others"))
    assert statuses(answers) == ["400", "409", "201"]
    assert answers[0]["response"]["scimType"] == "invalidValue"
    assert 'bulkId:"taken" stands for nothing' in answers[0]["response"]["detail"]
    assert scim.call("GET", "/Groups").json["totalResults"] == 1


def test_a_circle_is_a_conflict_and_the_rest_is_done(scim):
    operations = (
        group("a", "A", "bulkId:b"),
        group("b", "B", "bulkId:a"),
        group("c", "C", "bulkId:c"),
        user("d"),
    )
    answers = bulk(scim, *operations)
    assert statuses(answers) == ["409", "409", "409", "201"]
    assert {answer["response"]["scimType"] for answer in answers[:3]} == {"invalidValue"}
    assert "circle" in answers[0]["response"]["detail"]
    assert scim.call("GET", "/Groups").json["totalResults"] == 0


REFUSED = [
    ({"method": "POST", "path": "/Bulk", "bulkId": "n",
      "data": {"schemas": [BULK_REQUEST_URN], "Operations": [group("x", "X", "bulkId:y")]}}, "400", "invalidValue"),
    (user("a") | {"path": "/Me"}, "404", None),
    (user("a") | {"path": "/Users/.search"}, "405", None),
    (user("a") | {"path": "/users"}, "404", None),
    (user("a") | {"path": "/"}, "404", None),
    (user("a") | {"path": "/Users/"}, "404", None),
    (user("a") | {"path": "/Users/1"}, "405", None),
    ({"method": "DELETE", "path": "/Users"}, "405", None),
    ({"method": "DELETE", "path": "/Users/1/2"}, "404", None),
    ({"method": "DELETE", "path": "/Users/bulkId:"}, "404", None),
    ({"method": "DELETE", "path": "/Users/bulkId:nobody"}, "400", "invalidValue"),
    ({"method": "DELETE", "path": "/ServiceProviderConfig"}, "404", None),
    (group("g", "G", "bulkId:nobody"), "400", "invalidValue"),
    (user("a") | {"data": {}}, "400", "invalidSyntax"),
    (user("a") | {"data": {"schemas": [USER]}}, "400", "invalidValue"),
    (user("a", active="bulkId:good"), "400", "invalidValue"),
    (patch("/Users/0", {"op": "replace", "path": "active", "value": True}), "404", None),
    (patch("/Users/bulkId:good", {"op": "jump"}), "400", "invalidSyntax"),
    (patch("/Users/bulkId:good", {"op": "add", "path": "emails[", "value": 1}), "400", "invalidPath"),
    (patch("/Groups/bulkId:good", {"op": "add", "path": "members", "value": []}), "404", None),
    ({"method": "PUT", "path": "/Users/" + "9" * 5000, "data": {"schemas": [USER], "userName": "x@y.z"}}, "404", None),
]  # fmt: skip


@pytest.mark.parametrize(("operation", "status", "scim_type"), REFUSED)
def test_what_cannot_be_done_is_answered_in_its_place(deployment, scim, operation, status, scim_type):
    refused, good = bulk(scim, operation, user("good"))
    assert (refused["status"], refused["response"].get("scimType")) == (status, scim_type), refused
    assert refused["response"]["status"] == status
    assert refused["response"]["detail"]
    # RFC 7644, 3.7: whatever failed has its location, but for a POST and for what was never made.
    assert "bulkId:" not in refused.get("location", "")
    assert ("location" in refused) <= (refused["method"] != "POST")
    if operation["path"] == "/Users/bulkId:good":
        assert refused["location"] == good["location"]
    assert good["status"] == "201"
    assert [line.status for line in deployment.activity(scim.organization, outcome="failure")] == [
        int(status)
    ]
    assert [kind for kind, _ in deployment.events(scim.organization)] == ["user.created"]


ENVELOPES = {
    "no JSON": (b"{", 400, "invalidSyntax"),
    "an array": (b"[]", 400, "invalidSyntax"),
    "nothing": ({}, 400, "invalidSyntax"),
    "another message": ({"schemas": [USER], "Operations": [user("a")]}, 400, "invalidValue"),
    "no operations": ({"schemas": [BULK_REQUEST_URN]}, 400, "invalidSyntax"),
    "the second is no operation": (
        {"schemas": [BULK_REQUEST_URN], "Operations": [user("a"), 1]}, 400, "invalidSyntax",
    ),
    "a bulkId twice": (
        {"schemas": [BULK_REQUEST_URN], "Operations": [user("a"), user("a", name="b")]}, 400, "invalidSyntax",
    ),
    "half a character as bulkId": (
        {"schemas": [BULK_REQUEST_URN], "Operations": [user("\ud83d", name="a")]}, 400, "invalidValue",
    ),
    "one operation too many": (
        {"schemas": [BULK_REQUEST_URN], "Operations": [{"method": "DELETE", "path": "/Users/1"}] * 1001}, 413, None,
    ),
    "a byte too many": (b" " * 1_048_577, 413, None),
}  # fmt: skip


@pytest.mark.parametrize(("body", "status", "scim_type"), ENVELOPES.values(), ids=ENVELOPES)
def test_a_request_that_is_no_bulk_request_does_nothing(deployment, scim, body, status, scim_type):
    answer = scim.call("POST", "/Bulk", body)
    assert (answer.status, answer.json.get("scimType")) == (status, scim_type), answer.text
    if status == 413:
        assert "1000" in answer.json["detail"] or "1048576" in answer.json["detail"]
    assert deployment.events(scim.organization) == []
    refused = deployment.activity(scim.organization, outcome="failure")
    assert [line.operation for line in refused] == ["POST /Bulk"]


def test_discovery_tells_the_limits_in_force(tmp_path):
    deployment = Deployment(tmp_path / "small", body_limit=2000)
    scim = deployment.connection("generic")
    reported = scim.call("GET", "/ServiceProviderConfig").json["bulk"]
    assert reported == {"supported": True, "maxOperations": 1000, "maxPayloadSize": 2000}
    assert statuses(bulk(scim, user("a", title="x" * 1500))) == ["201"]
    assert send(scim, user("b", title="x" * 2000)).status == 413
    deployment.close()


# Authentication ---------------------------------------------------------------------------------------------------


def test_nobody_comes_in_without_a_token(scim):
    assert scim.call("POST", "/Bulk", {"schemas": [BULK_REQUEST_URN]}, token="wrong").status == 401


def test_a_bulk_request_counts_once_against_the_rate_limit(tmp_path):
    deployment = Deployment(tmp_path / "slow", rate_limit=1, workers=1)
    scim = deployment.connection("generic")
    assert set(statuses(bulk(scim, *(user(str(number)) for number in range(20))))) == {"201"}
    deployment.close()


def test_one_connection_does_not_reach_the_users_of_another(deployment):
    one, two = (
        deployment.connection("generic"),
        deployment.connection("generic", deployment.organization("Other")),
    )
    theirs = two.user()
    answers = bulk(one, {"method": "DELETE", "path": f"/Users/{theirs['id']}"})
    assert statuses(answers) == ["404"]
    assert two.call("GET", f"/Users/{theirs['id']}").status == 200


class SwitchesOff:
    """A plugin in whose sight, as soon as a seat is asked for, an admin switches provisioning off."""

    def __init__(self, scim):
        self._scim = scim
        scim.deployment.gateway.plugins.add(self, "meanwhile")

    @hookimpl
    def gateway_check_seats(self):
        self._scim.deployment.gateway.store.connections.edit(self._scim.connection, provisioning=0)


def test_what_is_switched_off_meanwhile_is_off_for_the_operations_that_follow(scim):
    SwitchesOff(scim)
    first, second = bulk(scim, user("a"), user("b"))
    assert (first["status"], second["status"]) == ("201", "403")
    assert "Provisioning is switched off" in second["response"]["detail"]


def test_an_operation_that_changes_nothing_leaves_its_line_as_well(deployment, scim):
    old = scim.user("old@acme.test")
    events = deployment.events(scim.organization)
    same = {"schemas": [USER], "userName": "old@acme.test", "displayName": "old"}
    (answer,) = bulk(scim, {"method": "PUT", "path": f"/Users/{old['id']}", "data": same})
    assert (answer["status"], answer["version"]) == ("200", old["meta"]["version"])
    assert deployment.events(scim.organization) == events
    lines = [line.operation for line in deployment.activity(scim.organization)]
    assert lines.count("PUT /Users/{id} (bulk)") == 1


def test_a_failure_that_nobody_foresaw_does_not_claim_that_nothing_was_changed(deployment, scim, monkeypatch):
    users = deployment.gateway.store.users
    addition = users.addition

    def broken(organization_id, connection_id, document, *where):
        if "emails" in document:
            raise RuntimeError("Nobody foresaw this.")
        return addition(organization_id, connection_id, document, *where)

    monkeypatch.setattr(users, "addition", broken)
    answer = send(scim, user("a"), user("b", emails=[{"value": "b@acme.test"}]), user("c"))
    assert (answer.status, "nothing was changed" in answer.json["detail"]) == (500, False)
    assert [data["userName"] for _, data in deployment.events(scim.organization)] == ["a@acme.test"]
    (line,) = deployment.activity(scim.organization, outcome="failure")
    assert (line.operation, line.status) == ("POST /Bulk", 500)


class Listens:
    """A plugin that wants to hear what was committed."""

    def __init__(self):
        self.heard = []

    @hookimpl
    def gateway_provisioned(self, event):
        self.heard.append((event.type, event.data["userName"]))


def test_plugins_hear_of_the_operations_at_once_and_not_at_the_next_sweep(deployment, scim):
    listener, relay = Listens(), deployment.gateway.event_relay
    deployment.gateway.plugins.add(listener, "listens")
    scim.user("first@acme.test")
    relay.deliver()
    bulk(scim, user("a"), user("b"))
    relay.deliver()
    assert listener.heard == [("user.created", f"{name}@acme.test") for name in ("first", "a", "b")]
