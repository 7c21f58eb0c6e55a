"""Slips in a base URL: a slash too many is passed over, what cannot be meant is a 404 that says what is wrong."""

import pytest

from gateway.testing.deployment import GROUP, USER


@pytest.fixture
def deployment(shared_deployment):
    return shared_deployment


def newest(scim):
    return scim.deployment.activity(scim.organization)[0]


@pytest.mark.parametrize("place", ["//Users", "/Users/", "//Users/", "///Users//"])
def test_a_slash_too_many_is_passed_over(scim, place):
    made = scim.call("POST", place, {"schemas": [USER], "userName": "a@acme.test"})
    assert made.status == 201
    assert made.json["meta"]["location"].endswith(f"{scim.base}/Users/{made.json['id']}")
    found = scim.call("GET", f'{place}?filter=userName eq "a@acme.test"')
    assert (found.status, found.json["totalResults"]) == (200, 1)
    assert (newest(scim).operation, newest(scim).status) == ("GET /Users", 200)
    path = f"{place.rstrip('/')}/{made.json['id']}/"
    assert scim.patch(path, {"op": "replace", "path": "active", "value": False}).json["active"] is False
    assert scim.call("DELETE", path).status == 204


@pytest.mark.parametrize("place", ["", "/", "//"])
def test_the_root_is_served_with_any_number_of_slashes(scim, place):
    assert scim.call("GET", place).status == 200


def test_groups_and_discovery_likewise(scim):
    assert scim.call("POST", "//Groups/", {"schemas": [GROUP], "displayName": "Sales"}).status == 201
    assert scim.call("GET", "//ServiceProviderConfig/").status == 200
    assert scim.call("GET", f"//Schemas/{USER}/").status == 200


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "path",
    [
        "/Users/Users",
        "/Users//Users",
        "/users/Users",
        "/Users/Groups",
        "/Users/ServiceProviderConfig",
        "/Groups/Users/x",
    ],
)
def test_a_base_url_that_ends_in_an_endpoint_is_told_so(scim, method, path):
    answer = scim.call(method, path, {} if method in ("POST", "PUT", "PATCH") else None)
    assert answer.status == 404
    assert f"the base URL ends in /{path.split('/')[1]}. Enter it without that" in answer.json["detail"]
    line = newest(scim)
    assert (line.status, line.detail) == (404, answer.json["detail"])


@pytest.mark.parametrize("path", ["/scim/v2/{slug}/Users", "/scim/v2/Users", "//SCIM/v2/Users/1"])
def test_a_prefix_that_stands_there_twice_is_told_so(scim, path):
    path = path.format(slug=scim.connection.slug)
    for method in ("GET", "POST"):
        answer = scim.call(method, path, {} if method == "POST" else None)
        assert answer.status == 404
        assert "/scim/v2 stands in it twice" in answer.json["detail"]
        assert newest(scim).detail == answer.json["detail"]


def test_a_prefix_before_the_slug_twice_is_told_so_too(scim):
    answer = scim.deployment.call("GET", f"/scim/v2{scim.base}/Users", None, {})
    assert (answer.status, "stands in it twice" in answer.json["detail"]) == (404, True)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing/here", 404), ("DELETE", "/Users", 405)]
)
def test_whatever_is_below_a_slug_stands_in_the_activity_of_its_connection(scim, method, path, status):
    answer = scim.call(method, path)
    assert answer.status == status
    line = newest(scim)
    assert (line.operation, line.status, line.detail) == (f"{method} {path}", status, answer.json["detail"])


def test_an_unknown_slug_is_answered_alike_and_leaves_no_line(scim):
    before = len(scim.deployment.activity(scim.organization))
    answer = scim.deployment.call("GET", "/scim/v2/unknown/Users/Users", None, {})
    assert answer.status == 404
    assert len(scim.deployment.activity(scim.organization)) == before
