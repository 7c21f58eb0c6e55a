"""Members of a very large group are moved in several transactions, and the whole is as if it had been one."""

import json

import pytest

from gateway.provisioning import group_members
from gateway.scim.errors import Unavailable
from gateway.testing import Deployment
from gateway.testing.deployment import GROUP

pytestmark = pytest.mark.slow

PORTION = 3


@pytest.fixture
def scim(tmp_path, monkeypatch):
    monkeypatch.setattr(group_members, "PORTION", PORTION)
    deployment = Deployment(tmp_path / "instance")
    yield deployment.connection("generic")
    deployment.close()


@pytest.fixture
def uids(scim):
    return [scim.user(f"user{number}@acme.test")["id"] for number in range(12)]


def group_of(uids, **attributes):
    members = [{"value": uid} for uid in uids]
    return {"schemas": [GROUP], "displayName": "Everyone", "members": members, **attributes}


def members(scim, group_id):
    answer = scim.call("GET", f"/Groups/{group_id}")
    assert answer.status == 200, answer.text
    return {member["value"] for member in answer.json.get("members", ())}


def moved(scim):
    """What the events say of members: the numbers of those who came and of those who left, for each event."""
    events = scim.deployment.events(scim.organization)
    return [
        (len(data["added"]), len(data["removed"])) for kind, data in events if kind == "group.members_changed"
    ]


def changes(scim):
    """The activity's lines of all that was not read, the newest first."""
    lines = scim.deployment.activity(scim.organization)
    return [line for line in lines if not line.operation.startswith("GET")]


def last_line(scim):
    return changes(scim)[0]


def facts(scim):
    return json.loads(last_line(scim).facts)


def test_a_create_moves_its_members_in_portions_and_says_once_what_it_did(scim, uids):
    lines = len(changes(scim))
    answer = scim.call("POST", "/Groups", group_of(uids[:8]))
    assert answer.status == 201
    assert members(scim, answer.json["id"]) == set(uids[:8])
    assert moved(scim) == [(3, 0), (3, 0), (2, 0)]
    assert len(changes(scim)) == lines + 1
    assert last_line(scim).outcome == "success"
    assert facts(scim)["joined"] == 8
    assert answer.json["meta"]["version"] == scim.deployment.last_headers["ETag"]
    assert scim.call("GET", f"/Groups/{answer.json['id']}").json["meta"] == answer.json["meta"]


def test_a_replacement_moves_those_alone_who_differ(scim, uids):
    group_id = scim.group("Everyone", tuple(uids[:8]))["id"]
    before = len(moved(scim))
    answer = scim.call("PUT", f"/Groups/{group_id}", group_of(uids[7:], externalId="00g1"))
    assert answer.status == 200
    assert members(scim, group_id) == set(uids[7:])
    assert answer.json["externalId"] == "00g1"
    assert moved(scim)[before:] == [(0, 3), (0, 3), (0, 1), (3, 0), (1, 0)]
    assert (facts(scim)["joined"], facts(scim)["left"]) == (4, 7)
    assert scim.call("PUT", f"/Groups/{group_id}", group_of(uids[7:], externalId="00g1")).status == 200
    assert len(moved(scim)) == before + 5


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "replace", "path": "members", "value": []}],
        [{"op": "remove", "path": "members"}],
        [{"op": "remove", "path": 'members[display co "user"]'}],
    ],
)
def test_all_members_leave_by_a_patch(scim, uids, operations):
    group_id = scim.group("Everyone", tuple(uids[:7]))["id"]
    before = len(moved(scim))
    answer = scim.patch(f"/Groups/{group_id}", *operations)
    assert answer.status == 204, answer.text
    assert members(scim, group_id) == set()
    assert moved(scim)[before:] == [(0, 3), (0, 3), (0, 1)]


def test_the_operations_of_a_patch_keep_their_order(scim, uids):
    group_id = scim.group("Everyone")["id"]
    some = [{"value": uid} for uid in uids[:5]]
    answer = scim.patch(
        f"/Groups/{group_id}",
        {"op": "add", "path": "members", "value": some},
        {"op": "remove", "path": f'members[value eq "{uids[0]}"]'},
    )
    assert answer.status == 204
    assert members(scim, group_id) == set(uids[1:5])


def test_who_is_not_here_is_waited_for(scim, uids):
    strangers = [f"nobody-{number}" for number in range(5)]
    answer = scim.call("POST", "/Groups", group_of([*uids[:4], *strangers]))
    assert answer.status == 201
    assert last_line(scim).outcome == "partial"
    assert "5 members are not here" in last_line(scim).detail
    assert scim.call("PUT", f"/Groups/{answer.json['id']}", group_of(uids[:8])).status == 200
    assert last_line(scim).outcome == "success"
    assert not scim.deployment.gateway.store.database.all("SELECT * FROM waiting_members")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_too_many_who_would_wait_are_refused_before_anything_is_stored(scim, uids, monkeypatch, method):
    monkeypatch.setattr(group_members, "MOST_WAITING", 5)
    group_id = scim.group("Old", tuple(uids[:1]))["id"]
    reported = len(scim.deployment.events(scim.organization))
    strangers = [f"nobody-{number}" for number in range(6)]
    if method == "PATCH":
        named = [{"value": uid} for uid in [*uids, *strangers]]
        answer = scim.patch(f"/Groups/{group_id}", {"op": "add", "path": "members", "value": named})
    else:
        path = "/Groups" if method == "POST" else f"/Groups/{group_id}"
        answer = scim.call(method, path, group_of([*uids, *strangers], displayName="New"))
    assert answer.status == 400
    assert "nobody-0" in answer.json["detail"]
    assert len(scim.deployment.events(scim.organization)) == reported
    assert members(scim, group_id) == set(uids[:1])
    assert last_line(scim).outcome == "failure"


def test_a_replacement_by_as_many_waiting_members_as_before_is_taken(scim, monkeypatch):
    monkeypatch.setattr(group_members, "MOST_WAITING", 5)
    monkeypatch.setattr(group_members, "MOST_WAITING_OF_CONNECTION", 5)
    strangers = [f"nobody-{number}" for number in range(5)]
    group_id = scim.group("Everyone", tuple(strangers))["id"]
    assert scim.call("PUT", f"/Groups/{group_id}", group_of(strangers)).status == 200
    others = [f"other-{number}" for number in range(5)]
    assert scim.call("PUT", f"/Groups/{group_id}", group_of(others)).status == 200
    waiting = scim.deployment.gateway.store.database.all("SELECT user_uid FROM waiting_members")
    assert {row[0] for row in waiting} == set(others)


def test_a_request_that_was_broken_off_is_finished_by_the_next_one(scim, uids, monkeypatch):
    group_id = scim.group("Everyone", tuple(uids[:6]))["id"]
    memberships = scim.deployment.gateway.store.memberships
    add_pushes, calls = memberships.add_pushes, []

    def broken(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise Unavailable("The database does not answer. Try again later.")
        return add_pushes(*arguments)

    monkeypatch.setattr(memberships, "add_pushes", broken)
    answer = scim.call("PUT", f"/Groups/{group_id}", group_of(uids[6:]))
    assert answer.status == 503
    assert "9 of its members were moved" in answer.json["detail"]
    assert "othing was changed" not in answer.json["detail"]
    assert members(scim, group_id) == set(uids[6:9])
    assert last_line(scim).outcome == "failure"
    assert scim.call("PUT", f"/Groups/{group_id}", group_of(uids[6:])).status == 200
    assert members(scim, group_id) == set(uids[6:])


@pytest.mark.parametrize("version", ["that it has", "an old one"])
def test_a_large_group_is_emptied_before_it_is_removed(scim, uids, version):
    group = scim.group("Everyone", tuple(uids[:8]))
    scim.patch(f"/Groups/{group['id']}", {"op": "add", "path": "members", "value": [{"value": uids[8]}]})
    tag = scim.call("GET", f"/Groups/{group['id']}").json["meta"]["version"]
    before = len(moved(scim))
    answer = scim.call(
        "DELETE", f"/Groups/{group['id']}", headers={"If-Match": tag if version == "that it has" else 'W/"1"'}
    )
    if version == "an old one":
        assert answer.status == 412
        assert members(scim, group["id"]) == set(uids[:9])
        return
    assert answer.status == 204
    assert scim.call("GET", f"/Groups/{group['id']}").status == 404
    assert moved(scim)[before:] == [(0, 3), (0, 3), (0, 3)]
    assert scim.deployment.events(scim.organization)[-1][0] == "group.deleted"
    assert not scim.deployment.gateway.store.database.all("SELECT * FROM grants")


def test_a_create_that_was_broken_off_names_the_group_that_is_there(scim, uids, monkeypatch):
    def broken(*arguments):
        raise Unavailable("The database does not answer. Nothing was changed; try again later.")

    reported = []
    monkeypatch.setattr(scim.deployment.gateway.store.memberships, "add_pushes", broken)
    monkeypatch.setattr(scim.deployment.gateway.activity_writer, "_on_change", reported.append)
    answer = scim.call("POST", "/Groups", group_of(uids))
    assert answer.status == 503
    (group,) = scim.call("GET", '/Groups?filter=displayName eq "Everyone"').json["Resources"]
    assert group["id"] in answer.json["detail"]
    assert "0 of its members were moved" in answer.json["detail"]
    assert len(reported) == 1, "listeners are not told of what is stored"


def test_a_removal_that_was_broken_off_says_so(scim, uids, monkeypatch):
    group = scim.group("Everyone", tuple(uids[:8]))
    memberships = scim.deployment.gateway.store.memberships
    expel, calls = memberships.expel, []

    def broken(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise RuntimeError
        return expel(*arguments)

    monkeypatch.setattr(memberships, "expel", broken)
    answer = scim.call("DELETE", f"/Groups/{group['id']}")
    assert answer.status == 500
    assert "an unknown part of it was done" in answer.json["detail"]
    assert members(scim, group["id"]) == set(uids[3:8])
    assert scim.call("DELETE", f"/Groups/{group['id']}").status == 204


def test_a_removal_that_fails_behind_its_portions_does_not_promise_that_nothing_was_changed(
    scim, uids, monkeypatch
):
    def broken(*arguments):
        raise Unavailable("The database does not answer. Nothing was changed; try again later.")

    group = scim.group("Everyone", tuple(uids[:8]))
    with monkeypatch.context() as patched:
        patched.setattr(scim.deployment.gateway.store.groups, "remove", broken)
        answer = scim.call("DELETE", f"/Groups/{group['id']}")
    assert answer.status == 503
    assert "8 of its members were moved" in answer.json["detail"]
    assert "othing was changed" not in answer.json["detail"]
    assert members(scim, group["id"]) == set()
    assert scim.call("DELETE", f"/Groups/{group['id']}").status == 204


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_it_moves_to_the_queue_of_expensive_requests_before_anything_is_stored(
    scim, uids, monkeypatch, method
):
    group_id = scim.group("Old", tuple(uids[:6]))["id"]
    reported, queue = (
        len(scim.deployment.events(scim.organization)),
        scim.deployment.app.extensions["dispatcher"].queues["expensive"],
    )
    alone, found = queue.run_alone, []

    def counted():
        found.append(len(scim.deployment.events(scim.organization)))
        return alone()

    monkeypatch.setattr(queue, "run_alone", counted)
    if method == "PATCH":
        operation = {"op": "add", "path": "members", "value": [{"value": uid} for uid in uids]}
        answer = scim.patch(f"/Groups/{group_id}", operation)
    else:
        path = "/Groups" if method == "POST" else f"/Groups/{group_id}"
        answer = scim.call(method, path, None if method == "DELETE" else group_of(uids))
    assert answer.status < 300
    assert found == [reported]


def test_members_who_wait_already_are_counted_once(scim, monkeypatch):
    monkeypatch.setattr(group_members, "MOST_WAITING", 5)
    monkeypatch.setattr(group_members, "MOST_WAITING_OF_CONNECTION", 5)
    strangers = [f"nobody-{number}" for number in range(5)]
    group_id = scim.group("Everyone", tuple(strangers))["id"]
    operation = {"op": "add", "path": "members", "value": [{"value": uid} for uid in strangers]}
    assert scim.patch(f"/Groups/{group_id}", operation).status == 204
