"""Clients that are slow, or never go on: they hold no thread, they are answered in time, and nobody else waits."""

from __future__ import annotations

import json
import time

import pytest

from tests.support.timing import check_seconds

pytestmark = pytest.mark.slow

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
#: More than a worker has threads.
MANY = 12


def person(number):
    name = f"user{number}@acme.test"
    return {"schemas": [USER], "userName": name, "emails": [{"value": name, "primary": True}], "active": True}


def quick(served, scim):
    """The status of a read that comes while others are slow, and how long it took."""
    began = time.monotonic()
    status, _, _ = served.connect().send("GET", f"{scim.base}/Users?count=1", scim.token).answer()
    return status, time.monotonic() - began


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_bodies_that_never_come_hold_nobody_up_and_are_told_408(serve, okta, chunked):
    served = serve(IDLE_SECONDS="1", BODY_SECONDS="2")
    scim = okta(served)
    headers = {"Transfer_Encoding": "chunked"} if chunked else {"Content_Length": "500"}
    slow = [
        served.connect().send("POST", f"{scim.base}/Users", scim.token, b"", **headers) for _ in range(MANY)
    ]
    status, seconds = quick(served, scim)
    assert status == 200
    assert seconds < 0.9

    status, headers, body = slow[0].answer()
    refusal = json.loads(body)
    assert (status, headers["content-type"], refusal["status"]) == (408, "application/scim+json", "408")
    assert "did not come in time" in refusal["detail"]
    assert "Nothing was changed" in refusal["detail"]
    assert {wire.answer()[0] for wire in slow[1:]} == {408}
    assert all(wire.ended(5) for wire in slow)
    time.sleep(1.5)  # they are gathered, like all that may come in storms
    lines = served.deployment.activity(scim.organization, outcome="failure")
    assert [line.status for line in lines] == [408] * MANY


def test_a_body_that_drips_ends_when_its_whole_time_is_over(serve, okta):
    served = serve(IDLE_SECONDS="1", BODY_SECONDS="2")
    scim = okta(served)
    wire = served.connect().send("POST", f"{scim.base}/Users", scim.token, b"", Content_Length="500")
    began = time.monotonic()
    wire.socket.settimeout(0.3)
    while time.monotonic() - began < 10:
        wire.socket.sendall(b" ")
        try:
            answer = wire.socket.recv(65536)
            break
        except TimeoutError:
            continue
    assert answer.startswith(b"HTTP/1.1 408 ")
    took = time.monotonic() - began
    assert took > 1.5
    check_seconds(took, 4)


def test_the_admin_rest_answers_a_late_body_in_its_own_words(serve):
    served = serve(IDLE_SECONDS="1")
    token = served.deployment.gateway.config.admin_token
    slow = [
        served.connect().send("POST", "/admin/v1/organizations", token, b"", Content_Length="500")
        for _ in range(MANY)
    ]
    assert served.connect().send("GET", "/live").answer()[0] == 200
    status, headers, body = slow[-1].answer()
    assert (status, headers["content-type"]) == (408, "application/json")
    assert json.loads(body).keys() == {"code", "status", "message", "errors"}


@pytest.mark.parametrize("path", ["/scim/v2/none/Users", "/admin/v1/organizations"])
def test_no_byte_of_a_strangers_body_is_asked_for(serve, path):
    served = serve()
    wire = served.connect().send("POST", path, "a-stranger", b"", Content_Length="500", Expect="100-continue")
    # The server would say 100 as soon as anybody wants to read.
    assert wire.answer()[0] == 401


def test_a_body_in_pieces_and_a_chunked_one_are_read_whole(serve, okta):
    served = serve()
    scim = okta(served)
    data = json.dumps(person(1)).encode()
    wire = served.connect().send("POST", f"{scim.base}/Users", scim.token, b"", Content_Length=str(len(data)))
    for start in range(0, len(data), 40):
        wire.socket.sendall(data[start : start + 40])
        time.sleep(0.01)
    assert wire.answer()[0] == 201
    # The connection stays open for the next request.
    data = json.dumps(person(2)).encode()
    wire.send("POST", f"{scim.base}/Users", scim.token, b"", Transfer_Encoding="chunked")
    for start in range(0, len(data), 60):
        piece = data[start : start + 60]
        wire.socket.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    wire.socket.sendall(b"0\r\n\r\n")
    assert wire.answer()[0] == 201


def test_a_chunked_body_that_is_too_large_is_refused_when_it_is(serve, okta):
    served = serve(BODY_LIMIT="2000")
    scim = okta(served)
    wire = served.connect().send("POST", f"{scim.base}/Users", scim.token, b"", Transfer_Encoding="chunked")
    wire.socket.sendall(b"bb8\r\n" + b" " * 3000 + b"\r\n")
    assert wire.answer()[0] == 413


def large_group(served, scim):
    """The id of a group with 60,003 members."""
    for number in range(3):
        scim.call("POST", "/Users", person(number))
    group = scim.group("Everybody")
    store = served.deployment.gateway.store
    kept = store.groups.seen(scim.connection, group["id"])
    with store.transaction():
        store.database.run(
            "INSERT INTO users (uid, organization_id, connection_id, user_name, user_name_key, active, deleted,"
            " display, display_key, doc, doc_key, created, modified, version)"
            " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)"
            " SELECT uid || '-' || i, organization_id, connection_id, user_name || i, user_name_key || i, active, 0,"
            " display, display_key, doc, doc_key, created, modified, 1 FROM users, n"
            f" WHERE users.id = (SELECT max(id) FROM users WHERE organization_id = {scim.organization.id})"
        )
        store.database.run(
            f"INSERT INTO grants (group_id, user_id, source) SELECT {kept.id}, id, 'push' FROM users"
            f" WHERE organization_id = {scim.organization.id}"
        )
        store.groups.add_members(scim.organization.id, kept.id, 60_000)
    return group["id"]


def open_unread(served, scim, uid):
    """Read a large group so often, and none of the answers, that the queue of the client is full."""
    return [served.connect().send("GET", f"{scim.base}/Groups/{uid}", scim.token) for _ in range(MANY)]


def test_large_answers_that_nobody_reads_hold_nobody_up_and_are_given_up(serve, okta):
    served = serve(BODY_SECONDS="2")
    scim = okta(served)
    uid = large_group(served, scim)
    _, usual = quick(served, scim)
    slow = open_unread(served, scim, uid)
    status, seconds = quick(served, scim)
    assert status == 200
    assert seconds < usual + 1
    time.sleep(4)
    # What had been sent is there to be read, and then the connection ends in the middle. One that has its turn just
    # now is read to its end, and one that never had it was refused.
    assert any(each.ended(3) for each in slow[:8])
    status, _ = quick(served, scim)
    assert status == 200


def test_changes_of_a_large_group_are_refused_by_a_full_queue_before_they_are_made(serve, okta):
    """The answer is as large as the group, and the refusal says that nothing was changed."""
    served = serve()
    scim = okta(served)
    uid = large_group(served, scim)
    users = scim.deployment.gateway.store.database.all("SELECT uid FROM users ORDER BY id DESC LIMIT 1100")
    document = {
        "schemas": [GROUP],
        "displayName": "Changed",
        "members": [{"value": each} for (each,) in users],
    }
    operation = {"op": "replace", "path": "displayName", "value": "Changed"}
    patch = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [operation]}
    changes = {
        "POST": ("/Groups", document),
        "PUT": (f"/Groups/{uid}", document),
        "PATCH": (f"/Groups/{uid}?attributes=displayName,members", patch),
    }
    open_unread(served, scim, uid)
    time.sleep(1)
    wires = {method: served.connect() for method in changes}
    for method, (path, body) in changes.items():
        wires[method].send(method, f"{scim.base}{path}", scim.token, body)
    assert {method: wire.answer()[0] for method, wire in wires.items()} == dict.fromkeys(changes, 429)
    names = scim.deployment.gateway.store.database.all("SELECT name FROM groups")
    assert names == [("Everybody",)]


def test_idle_connections_are_no_burden(serve, okta):
    served = serve()
    scim = okta(served)
    idle = [served.connect() for _ in range(700)]
    status, seconds = quick(served, scim)
    assert (status, seconds < 1) == (200, True)
    for wire in idle:
        wire.close()


@pytest.mark.sqlite  # PostgreSQL has no one lock of all writers
def test_reads_do_not_wait_for_writers_that_another_process_holds_up(serve, okta):
    served = serve()
    scim = okta(served)
    with served.deployment.gateway.store.transaction():
        writers = [
            served.connect().send("POST", f"{scim.base}/Users", scim.token, person(number))
            for number in range(6)
        ]
        time.sleep(0.5)
        status, seconds = quick(served, scim)
        assert (status, seconds < 0.5) == (200, True)
    assert [wire.answer()[0] for wire in writers] == [201] * 6


def test_a_header_with_an_underscore_is_no_other_header(serve, okta):
    served = serve()
    scim = okta(served)
    wire = served.connect()
    wire.socket.sendall(
        f"GET {scim.base}/Users?count=1 HTTP/1.1\r\nHost: localhost\r\nauthorization_: x\r\ncontent_length: 9\r\n"
        f"Authorization: Bearer {scim.token}\r\n\r\n".encode()
    )
    assert wire.answer()[0] == 200


def test_a_body_that_comes_after_its_refusal_resets_no_connection(serve):
    """As clients send that write headers and body apart: the refusal is read, and the next request is answered."""
    served = serve()
    data = json.dumps(person(1)).encode()
    wire = served.connect()
    for _ in range(3):
        wire.send("POST", "/scim/v2/none/Users", "a-stranger", b"", Content_Length=str(len(data)))
        time.sleep(0.1)
        wire.socket.sendall(data)
        assert wire.answer()[0] == 401
    assert wire.send("GET", "/live").answer()[0] == 200
