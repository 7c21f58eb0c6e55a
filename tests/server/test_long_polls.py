"""Requests that wait for events: no thread for each, woken by events, ended by time, a client that goes, or a stop."""

from __future__ import annotations

import json
import time

import pytest

from gateway.testing.deployment import ADMIN_TOKEN
from tests.support.timing import check_seconds

pytestmark = pytest.mark.slow

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
#: More than the threads of a worker, and what one token may have waiting.
MANY = 20


def create(served, scim, name):
    body = {"schemas": [USER], "userName": name, "emails": [{"value": name, "primary": True}], "active": True}
    wire = served.connect().send("POST", f"{scim.base}/Users", scim.token, body)
    assert wire.answer()[0] == 201


def follow(served, scim, after, wait):
    path = f"/admin/v1/organizations/{scim.organization.uid}/events?after={after}&wait={wait}"
    return served.connect().send("GET", path, ADMIN_TOKEN)


def events(wire):
    status, _, body = wire.answer()
    assert status == 200
    return json.loads(body)["items"]


def test_requests_wait_for_events_and_keep_no_thread(serve, okta):
    served = serve()
    scim = okta(served)
    waiting = [follow(served, scim, 0, 30) for _ in range(MANY - 2)]
    of_all = served.connect().send("GET", "/admin/v1/events?newest=true", ADMIN_TOKEN)
    newest = json.loads(of_all.answer()[2])["next"]
    of_all.send("GET", f"/admin/v1/events?after={newest + 1}&wait=1", ADMIN_TOKEN)
    assert of_all.answer()[0] == 410
    time.sleep(1.0)
    # One more than a token may have waiting is answered at once.
    gone = follow(served, scim, 0, 30)
    last = follow(served, scim, 0, 30)
    time.sleep(0.3)
    began = time.monotonic()
    assert events(follow(served, scim, 0, 30)) == []
    assert served.connect().send("GET", f"{scim.base}/Users?count=1", scim.token).answer()[0] == 200
    check_seconds(time.monotonic() - began, 0.5)
    # One that hangs up leaves its place.
    gone.close()
    time.sleep(0.8)
    again = follow(served, scim, 0, 30)
    began = time.monotonic()
    create(served, scim, "user1@acme.test")
    for wire in (*waiting, last, again):
        assert [event["type"] for event in events(wire)] == ["user.created"]
    check_seconds(time.monotonic() - began, 2.0)


def test_time_over_and_a_stop_answer_requests_that_wait(serve, okta):
    served = serve()
    scim = okta(served)
    began = time.monotonic()
    assert events(follow(served, scim, 0, 1)) == []
    took = time.monotonic() - began
    assert took > 0.9
    check_seconds(took, 2.0)
    # Another organization's events wake nobody.
    waiting = [follow(served, scim, 0, 30) for _ in range(3)]
    other = okta(served)
    create(served, other, "user1@other.test")
    time.sleep(1.2)
    began = time.monotonic()
    served.process.terminate()
    for wire in waiting:
        assert events(wire) == []
    check_seconds(time.monotonic() - began, 3.0)
    served.process.wait(10)
    check_seconds(time.monotonic() - began, 5.0)
