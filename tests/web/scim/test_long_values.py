"""Values as long as an index of PostgreSQL holds, and longer: the same answers on both engines, and never a 5xx."""

from __future__ import annotations

import json
import random
from urllib.parse import quote

import pytest

from gateway.provisioning import group_members
from gateway.provisioning.documents import check_size
from gateway.scim.errors import InvalidValue
from gateway.testing.deployment import GROUP, USER, Deployment

#: What no compression of an index makes shorter.
_noise = random.Random(7)
NOISE = "".join(chr(_noise.randrange(0x4E00, 0x9F00)) for _ in range(9000))
KEPT = NOISE[:680]  # 2,040 bytes in UTF-8


@pytest.fixture
def deployment(shared_deployment):
    return shared_deployment


def user(**attributes):
    return {"schemas": [USER], "userName": "ann@acme.test", **attributes}


def found_by(scim, name, value):
    asked = quote(f'{name} eq "{value}"')
    return scim.call("GET", f"/Users?filter={asked}")


def assert_refused(answer, words):
    assert (answer.status, answer.json.get("scimType")) == (400, "invalidValue"), answer.text
    assert words in answer.json["detail"]


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"externalId": NOISE}, "externalId is 9000 characters long; at most 1024"),
        ({"displayName": NOISE}, "displayName is 9000 characters long; at most 1024"),
        ({"emails": [{"value": NOISE}]}, "emails.value is 9000 characters long; at most 320"),
        ({"userName": NOISE}, "userName is 9000 characters long; at most 320"),
    ],
)
def test_a_value_of_9000_characters_is_refused_in_every_way_that_writes_a_user(scim, attributes, words):
    ((name, value),) = attributes.items()
    assert_refused(scim.call("POST", "/Users", user(**attributes)), words)
    uid = scim.user("bob@acme.test")["id"]
    assert_refused(scim.call("PUT", f"/Users/{uid}", user(**attributes)), words)
    assert_refused(scim.patch(f"/Users/{uid}", {"op": "replace", "path": name, "value": value}), words)
    assert_refused(scim.patch(f"/Users/{uid}", {"op": "replace", "value": attributes}), words)


def test_a_group_and_its_members_are_held_to_the_same_bounds(scim):
    assert_refused(
        scim.call("POST", "/Groups", {"schemas": [GROUP], "displayName": NOISE}), "at most 1024 are kept"
    )
    uid = scim.group("Sales")["id"]
    added = {"op": "add", "path": "members", "value": [{"value": NOISE}]}
    assert_refused(scim.patch(f"/Groups/{uid}", added), "at most 1024 are kept")


def test_values_at_their_bounds_are_kept_and_found(scim):
    made = scim.user(
        NOISE[:320], externalId=KEPT, displayName=KEPT, emails=[{"value": NOISE[1000:1320], "type": "work"}]
    )
    assert made["externalId"] == KEPT
    group = scim.group(KEPT)
    assert (
        scim.patch(
            f"/Groups/{group['id']}", {"op": "add", "path": "members", "value": [{"value": KEPT}]}
        ).status
        == 204
    )
    for name in ("externalId", "displayName"):
        found = found_by(scim, name, KEPT)
        assert (found.status, found.json["totalResults"]) == (200, 1), found.text


@pytest.mark.parametrize("name", ["externalId", "displayName", "userName", "emails.value", "title"])
def test_a_filter_for_a_value_that_nobody_can_have_finds_nobody(scim, name):
    for value in (NOISE[:8000], "a" * 8000):
        found = found_by(scim, name, value)
        assert (found.status, found.json["totalResults"]) == (200, 0), found.text


def test_names_in_a_projection_are_bounded(scim):
    for parameter in ("attributes", "excludedAttributes"):
        names = ",".join(f"a{n}" for n in range(501))
        assert_refused(scim.call("GET", f"/Users?{parameter}={names}"), f"{parameter} names 501 attributes")


def test_a_refused_name_of_many_bytes_leaves_its_line_in_the_activity(scim):
    # 4 bytes each, and 12 when it is normalized.
    assert_refused(scim.call("POST", "/Users", user(userName="\U0001d160" * 320)), "bytes in UTF-8")


def test_a_group_waits_for_so_many_members_and_refuses_more(scim, monkeypatch):
    monkeypatch.setattr(group_members, "MOST_WAITING", 3)
    path = f"/Groups/{scim.group('Sales')['id']}"
    some = {"op": "add", "path": "members", "value": [{"value": f"nobody-{n}"} for n in range(3)]}
    assert scim.patch(path, some).status == 204
    assert scim.patch(path, some).status == 204
    more = {"op": "add", "path": "members", "value": [{"value": "nobody-3"}]}
    assert_refused(scim.patch(path, more), "More than 3 members of the group 'Sales' would wait")
    replaced = {"op": "replace", "path": "members", "value": [{"value": "nobody-3"}]}
    assert scim.patch(path, replaced).status == 204


def test_the_groups_of_a_connection_wait_for_so_many_members_together(scim, monkeypatch):
    monkeypatch.setattr(group_members, "MOST_WAITING_OF_CONNECTION", 3)
    first, second = (f"/Groups/{scim.group(name)['id']}" for name in ("Sales", "Support"))
    two = {"op": "add", "path": "members", "value": [{"value": f"nobody-{n}"} for n in range(2)]}
    assert scim.patch(first, two).status == 204
    assert_refused(scim.patch(second, two), "More than 3 members of this connection's groups would wait")
    one = {"op": "add", "path": "members", "value": [{"value": "nobody-1"}]}
    assert scim.patch(second, one).status == 204


def test_a_line_names_the_first_of_many_members_that_are_not_here(deployment, scim):
    path = f"/Groups/{scim.group('Sales')['id']}"
    many = {"op": "add", "path": "members", "value": [{"value": f"nobody-{n}"} for n in range(500)]}
    assert scim.patch(path, many).status == 204
    line = deployment.activity(scim.organization)[0]
    names = json.loads(line.ignored)
    assert (len(names), names[-1]) == (101, "… and 1 more")
    assert names[0] == 'members[value eq "nobody-0"]'


@pytest.fixture
def small(tmp_path):
    deployment = Deployment(tmp_path / "small", document_limit=4000)
    yield deployment.connection("generic")
    deployment.close()


def test_a_document_beyond_its_limit_is_refused_in_every_way_that_makes_one(small):
    words = "bytes of JSON; at most 4000 are kept, and 'title' takes the most of them"
    assert_refused(small.call("POST", "/Users", user(title="x" * 4000)), words)
    uid = small.user("bob@acme.test", title="x" * 2000)["id"]
    assert_refused(small.call("PUT", f"/Users/{uid}", user(title="x" * 4000)), words)
    added = {"op": "add", "path": "nickName", "value": "é" * 1000}
    assert_refused(small.patch(f"/Users/{uid}", added), words)
    assert "nickName" not in small.call("GET", f"/Users/{uid}").json
    deactivated = {"op": "replace", "path": "active", "value": False}
    assert small.patch(f"/Users/{uid}", deactivated).status == 200


def test_members_do_not_count_to_the_limit_of_a_group(small):
    uid = small.group("Sales")["id"]
    members = [{"value": f"nobody-{n:060}"} for n in range(100)]
    assert small.patch(f"/Groups/{uid}", {"op": "add", "path": "members", "value": members}).status == 204
    whole = {"schemas": [GROUP], "displayName": "Sales", "members": members}
    assert small.call("PUT", f"/Groups/{uid}", whole).status == 200


@pytest.mark.parametrize("before", [5000, 6000])
def test_a_document_that_was_larger_before_may_shrink_and_not_grow(before):
    larger = {"schemas": [USER], "title": "x" * before}
    check_size(larger | {"title": "x" * 4900}, larger, 4000)
    with pytest.raises(InvalidValue, match="at most 4000 are kept"):
        check_size(larger | {"title": "x" * (before + 1)}, larger, 4000)
