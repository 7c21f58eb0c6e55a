"""Queries over HTTP: users and groups together, sorted lists, and pages by cursor (RFC 7644, 3.4.2; RFC 9865)."""

import base64
import time
from urllib.parse import urlencode

import pytest

from gateway.provisioning.cursors import LIFETIME, Cursors
from gateway.scim.schemas import ENTERPRISE_URN, SEARCH_URN
from gateway.testing import Deployment
from gateway.testing.deployment import GROUP, USER


@pytest.fixture(scope="module")
def deployment(tmp_path_factory):
    """One for all tests here: each makes organizations of its own."""
    deployment = Deployment(tmp_path_factory.mktemp("query") / "instance", page_limit=20)
    yield deployment
    deployment.close()


@pytest.fixture
def scim(deployment):
    """Five users and three groups, whose names cross when they are sorted."""
    scim = deployment.connection("generic")
    ids = [scim.user(f"{name}@acme.test", displayName=name.upper()) for name in ("e", "b", "d", "a", "c")]
    scim.group("Beta", (ids[0]["id"], ids[1]["id"])), scim.group("alpha"), scim.group("Gamma")
    return scim


def ask(scim, path="/", way="GET", **asked):
    """One page, by query parameters or by a search; both say the same."""
    if way == "GET":
        return scim.call("GET", f"{path}?{urlencode(asked)}")
    place = f"{path.rstrip('/')}/.search"
    numbers = {name: int(asked[name]) for name in ("startIndex", "count") if name in asked}
    lists = {name: asked[name].split(",") for name in ("attributes", "excludedAttributes") if name in asked}
    return scim.call("POST", place, {"schemas": [SEARCH_URN]} | asked | numbers | lists)


def names(answer):
    assert answer.status == 200, answer.text
    return [r.get("userName", r.get("displayName", "")).split("@")[0] for r in answer.json["Resources"]]


WAYS = pytest.mark.parametrize("way", ["GET", "POST"])
ALL = ["e", "b", "d", "a", "c", "Beta", "alpha", "Gamma"]

# Users and groups together ---------------------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize(
    ("asked", "found", "total"),
    [
        ({}, ALL, 8),
        ({"count": 0}, [], 8),
        ({"count": 6}, ALL[:6], 8),
        ({"startIndex": 4, "count": 3}, ALL[3:6], 8),
        ({"startIndex": 6}, ALL[5:], 8),
        ({"startIndex": 7, "count": 1}, ALL[6:7], 8),
        ({"startIndex": 9}, [], 8),
        ({"filter": 'meta.resourceType eq "User"'}, ALL[:5], 5),
        ({"filter": 'meta.resourceType eq "Group"', "startIndex": 2}, ALL[6:], 3),
        ({"filter": 'userName sw "a" or displayName eq "ALPHA"'}, ["a", "alpha"], 2),
        ({"filter": "not (userName pr)"}, ALL[5:], 3),
        ({"filter": "members pr"}, ["Beta"], 1),
        ({"filter": 'userName ne "a@acme.test"', "startIndex": 3, "count": 3}, ["d", "c", "Beta"], 7),
        ({"filter": "unknown pr"}, [], 0),
    ],
)
def test_one_query_finds_users_and_then_groups(scim, way, asked, found, total):
    answer = ask(scim, way=way, **asked)
    assert (names(answer), answer.json["totalResults"]) == (found, total)
    assert answer.json["startIndex"] == asked.get("startIndex", 1)


def test_the_root_is_served_without_its_slash_too(scim):
    assert names(scim.call("GET", "")) == names(scim.call("GET", "/")) == ALL


@WAYS
def test_what_is_shown_can_be_chosen_for_both_at_once(scim, way):
    shown = ask(scim, way=way, attributes="userName,members.display").json["Resources"]
    assert shown[0].keys() == {"schemas", "id", "userName"}
    assert shown[5]["members"] == [{"display": "E"}, {"display": "B"}]
    shown = ask(scim, way=way, excludedAttributes="members,displayName").json["Resources"]
    assert not any(resource.keys() & {"members", "displayName"} for resource in shown)
    assert ask(scim, way=way).json["Resources"][0]["groups"][0]["display"] == "Beta"


def test_a_walk_over_both_misses_nobody_while_users_go_and_come(scim):
    first = ask(scim, count=3)
    for resource in first.json["Resources"][:2]:
        assert scim.call("DELETE", f"/Users/{resource['id']}").status == 204
    second = ask(scim, startIndex=4, count=3)
    scim.user("f@acme.test")
    third = ask(scim, startIndex=7, count=3)
    assert names(first) + names(second) + names(third) == ALL


def test_others_stay_hidden_in_a_query_over_both(deployment, scim):
    beside = deployment.connection("generic", scim.organization)
    beside.user("theirs@acme.test"), beside.group("Theirs")
    assert sorted(names(ask(scim, filter='id pr and displayName ne "x"', sortBy="id"))) == sorted(ALL)
    assert names(ask(beside)) == ["theirs", "Theirs"]
    assert names(ask(deployment.connection("generic"))) == []


def test_a_query_over_both_stands_in_the_activity(deployment, scim):
    ask(scim), ask(scim, way="POST")
    reported = [line.operation for line in deployment.activity(scim.organization)[:2]]
    assert reported == ["POST /.search", "GET /"]


# Sorting ---------------------------------------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize(
    ("path", "asked", "found"),
    [
        ("/Users", {"sortBy": "userName"}, "a b c d e"),
        ("/Users", {"sortBy": "userName", "sortOrder": "Descending"}, "e d c b a"),
        ("/Users", {"sortBy": "displayname", "startIndex": 2, "count": 2}, "b c"),
        ("/Users", {"sortBy": "userName", "filter": 'userName gt "b@acme.test"'}, "c d e"),
        ("/Users", {"sortBy": "meta.created", "sortOrder": "descending"}, "c a d b e"),
        ("/Users", {"sortBy": "title"}, "e b d a c"),
        ("/Users", {"sortBy": "groups.display"}, "e b d a c"),
        ("/Users", {"sortBy": "groups.display", "sortOrder": "descending"}, "d a c e b"),
        ("/Users", {"sortBy": ""}, "e b d a c"),
        ("/Users", {"sortOrder": "descending"}, "e b d a c"),
        ("/Users", {"sortBy": "urn:acme:2.0:User:badge"}, "e b d a c"),
        ("/Groups", {"sortBy": "displayName"}, "alpha Beta Gamma"),
        ("/Groups", {"sortBy": "displayName", "sortOrder": "descending"}, "Gamma Beta alpha"),
        ("/Groups", {"sortBy": "userName"}, "Beta alpha Gamma"),
        ("/", {"sortBy": "displayName"}, "a alpha b Beta c d e Gamma"),
        ("/", {"sortBy": "displayName", "startIndex": 3, "count": 3}, "b Beta c"),
        ("/", {"sortBy": "userName"}, "a b c d e Beta alpha Gamma"),
        ("/", {"sortBy": "userName", "sortOrder": "descending"}, "Beta alpha Gamma e d c b a"),
        ("/", {"sortBy": "meta.resourceType"}, "Beta alpha Gamma e b d a c"),
    ],
)
def test_a_list_is_sorted(scim, way, path, asked, found):
    """RFC 7644, 3.4.2.3: whoever has no value comes last, first in descending order; equals in order of making."""
    assert names(ask(scim, path, way, **asked)) == found.split()


def test_the_case_of_letters_counts_where_the_schema_says_so(scim):
    for name, external in (("x", "b"), ("y", "B"), ("z", "a")):
        scim.user(f"{name}@acme.test", externalId=external, title=external)
    only = {"path": "/Users", "filter": "externalId pr"}
    assert names(ask(scim, sortBy="externalId", **only)) == ["y", "z", "x"]
    assert names(ask(scim, sortBy="title", **only)) == ["z", "x", "y"]


def test_of_several_values_the_primary_one_is_compared_or_else_the_first(scim):
    emails = {"x": [("c", False), ("a", True)], "y": [("b", False), ("0", False)], "z": [("aa", False)]}
    for name, held in emails.items():
        scim.user(f"{name}@acme.test", emails=[{"value": v, "primary": p} for v, p in held])
    for path in ("emails", "emails.value"):
        assert names(ask(scim, "/Users", filter="emails pr", sortBy=path)) == ["x", "z", "y"]


def test_sorting_by_what_nobody_keeps_is_named_in_the_activity(deployment, scim):
    ask(scim, sortBy="shoe.size")
    assert "sortBy shoe.size" in deployment.activity(scim.organization)[0].ignored


def test_a_sorted_walk_shows_everybody_once(scim):
    pages = [ask(scim, sortBy="title", startIndex=start, count=3) for start in (1, 4, 7)]
    assert [name for page in pages for name in names(page)] == ALL
    assert {page.json["totalResults"] for page in pages} == {8}


def test_what_is_no_list_heeds_no_order_and_no_page(scim):
    """A change that is done must not be answered by a refusal of what only lists read."""
    body = {"schemas": [USER], "userName": "new@acme.test"}
    asked = "?sortOrder=up&count=ten&startIndex=x&cursor=y&attributes=userName"
    made = scim.call("POST", f"/Users{asked}", body)
    assert (made.status, made.json["userName"]) == (201, "new@acme.test")
    assert scim.call("GET", f"/Users/{made.json['id']}{asked}").status == 200
    assert scim.call("POST", f"/Groups{asked}", {"schemas": [GROUP], "displayName": "New"}).status == 201


# Cursors ---------------------------------------------------------------------------------------------------------


def read_pages(scim, path="/", way="GET", **asked):
    """All pages by cursor: their names, and the last answer."""
    pages, cursor = [], ""
    while cursor is not None:
        answer = ask(scim, path, way, cursor=cursor, **asked)
        pages.append(names(answer))
        cursor = answer.json.get("nextCursor")
    return pages, answer.json


@WAYS
@pytest.mark.parametrize(
    ("path", "asked", "found"),
    [
        ("/Users", {"count": 2}, [["e", "b"], ["d", "a"], ["c"]]),
        ("/Users", {"count": 5}, [["e", "b", "d", "a", "c"]]),
        ("/Users", {"count": 2, "filter": 'userName gt "a@acme.test"'}, [["e", "b"], ["d", "c"]]),
        ("/Users", {"filter": "title pr"}, [[]]),
        ("/Groups", {"count": 2}, [["Beta", "alpha"], ["Gamma"]]),
        ("/", {"count": 3}, [ALL[:3], ALL[3:6], ALL[6:]]),
        ("/", {"count": 5}, [ALL[:5], ALL[5:]]),
        ("/", {"count": 20}, [ALL]),
        ("/", {}, [ALL]),
        ("/", {"startIndex": 1, "count": 7}, [ALL[:7], ALL[7:]]),
        ("/Users", {"sortBy": "unknown", "count": 4}, [["e", "b", "d", "a"], ["c"]]),
    ],
)
def test_a_list_is_walked_by_cursor(scim, way, path, asked, found):
    pages, last = read_pages(scim, path, way, **asked)
    assert pages == found
    assert (last["totalResults"], last["itemsPerPage"]) == (sum(map(len, found)), len(found[-1]))
    assert not last.keys() & {"startIndex", "nextCursor"}


def test_a_page_by_position_offers_no_cursor(scim):
    assert "nextCursor" not in ask(scim, count=2).json


def test_a_cursor_misses_nobody_and_shows_nobody_twice_whoever_goes_or_comes(scim):
    first = ask(scim, count=4, cursor="")
    for resource in first.json["Resources"][1:]:
        assert scim.call("DELETE", f"/Users/{resource['id']}").status == 204
    scim.user("f@acme.test")
    second = ask(scim, count=20, cursor=first.json["nextCursor"])
    assert names(second) == ["c", "f", "Beta", "alpha", "Gamma"]


def test_a_cursor_may_be_used_again_and_pages_may_change_their_size(scim):
    cursor = ask(scim, count=2, cursor="").json["nextCursor"]
    assert names(ask(scim, count=1, cursor=cursor)) == ["d"]
    assert names(ask(scim, count=6, cursor=cursor)) == ALL[2:]


def refused(answer, kind):
    assert (answer.status, answer.json.get("scimType")) == (400, kind), answer.text


@pytest.mark.parametrize("way", ["GET", "POST"])
@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/Groups", {}),
        ("/", {}),
        ("/Users", {"filter": "userName pr"}),
        ("/Users", {"filter": 'meta.resourceType eq "User"'}),
    ],
)
def test_a_cursor_is_good_for_its_own_query_only(scim, way, path, more):
    cursor = ask(scim, "/Users", count=2, cursor="").json["nextCursor"]
    refused(ask(scim, path, way, cursor=cursor, **more), "invalidCursor")


def test_a_cursor_is_good_for_its_own_connection_only(deployment, scim):
    cursor = ask(scim, "/Users", count=2, cursor="").json["nextCursor"]
    for other in (deployment.connection("generic", scim.organization), deployment.connection("generic")):
        refused(ask(other, "/Users", cursor=cursor), "invalidCursor")


def test_a_cursor_that_was_changed_anywhere_is_refused(scim):
    cursor = ask(scim, count=2, cursor="").json["nextCursor"]
    sealed = base64.urlsafe_b64decode(cursor)
    for place in range(len(sealed)):
        changed = bytes((*sealed[:place], sealed[place] ^ 1, *sealed[place + 1 :]))
        refused(ask(scim, cursor=base64.urlsafe_b64encode(changed).decode()), "invalidCursor")


@WAYS
@pytest.mark.parametrize(
    "cursor", ["1", "x" * 96, "=" * 96, "A" * 96, "ä" * 96, " " * 96, "A" * 5000, "null", "🙂" * 24]
)
def test_what_is_no_cursor_is_refused(scim, way, cursor):
    refused(ask(scim, way=way, cursor=cursor), "invalidCursor")


@WAYS
@pytest.mark.parametrize("count", [0, -1, -99999])
@pytest.mark.parametrize(("path", "total"), [("/", 8), ("/Users", 5), ("/Groups", 3)])
def test_a_cursor_with_a_count_of_none_tells_the_total_alone(scim, way, path, total, count):
    """RFC 9865, 2: less than none is none."""
    later = ask(scim, path, count=1, cursor="").json["nextCursor"]
    for cursor in ("", later):
        reported = ask(scim, path, way, cursor=cursor, count=count).json
        assert (reported["totalResults"], reported["itemsPerPage"], reported["Resources"]) == (total, 0, [])
        assert not reported.keys() & {"startIndex", "nextCursor"}
    refused(ask(scim, path, way, cursor="none", count=count), "invalidCursor")


def test_every_cursor_that_is_not_good_here_is_refused_in_the_same_words(deployment, scim):
    """RFC 9865, 5.2: made up, damaged, of another query, of another connection, of another deployment."""
    good = ask(scim, "/Users", count=2, cursor="").json["nextCursor"]
    beside = deployment.connection("generic", scim.organization)
    strange = Cursors("another key").seal(scim.connection, "User", first_key(scim))
    answers = [
        ask(scim, "/Users", cursor="made up"),
        ask(scim, "/Users", cursor=("B" if good[0] == "A" else "A") + good[1:]),
        ask(scim, "/Groups", cursor=good),
        ask(scim, "/Users", cursor=good, filter="userName pr"),
        ask(beside, "/Users", cursor=good),
        ask(scim, "/Users", cursor=strange),
    ]
    assert names(ask(scim, "/Users", cursor=good)) == ["d", "a", "c"]
    assert len({(answer.status, answer.text) for answer in answers}) == 1


def first_key(scim):
    """The number of the first user's row, after which a cursor may go on."""
    database = scim.deployment.gateway.store.database
    return database.all("SELECT MIN(id) FROM users WHERE organization_id = ?", scim.organization.id)[0][0]


def test_a_cursor_of_another_deployment_is_refused(scim):
    strange = Cursors("another key").seal(scim.connection, "User", first_key(scim))
    refused(ask(scim, "/Users", cursor=strange), "invalidCursor")
    known = Cursors(scim.deployment.gateway.config.secret_key).seal(scim.connection, "User", first_key(scim))
    assert names(ask(scim, "/Users", cursor=known)) == ["b", "d", "a", "c"]


@pytest.mark.parametrize(("age", "good"), [(LIFETIME - 10, True), (LIFETIME + 10, False)])
def test_a_cursor_is_good_for_an_hour(scim, age, good):
    then = time.time_ns() // 1000 - age * 1_000_000
    secret = scim.deployment.gateway.config.secret_key
    cursor = Cursors(secret, lambda: then).seal(scim.connection, "User", first_key(scim))
    answer = ask(scim, "/Users", cursor=cursor)
    assert names(answer) == ["b", "d", "a", "c"] if good else refused(answer, "expiredCursor") is None


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("cursor=&count=21", "invalidCount"),
        ("cursor=&count=ten", "invalidCount"),
        ("cursor=&count=1.5", "invalidCount"),
        ("cursor=&startIndex=2", "invalidValue"),
        ("cursor=&sortBy=userName", "invalidValue"),
    ],
)
def test_what_does_not_go_with_a_cursor_is_refused(scim, query, kind):
    refused(scim.call("GET", f"/?{query}"), kind)


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"count": 21}, "invalidCount"),
        ({"count": "ten"}, "invalidCount"),
        ({"startIndex": 2}, "invalidValue"),
        ({"sortBy": "userName"}, "invalidValue"),
    ],
)
def test_a_search_by_cursor_is_held_to_the_same(scim, more, kind):
    refused(scim.call("POST", "/.search", {"schemas": [SEARCH_URN], "cursor": ""} | more), kind)


def test_discovery_says_how_lists_are_paged(scim):
    config = scim.call("GET", "/ServiceProviderConfig").json
    assert config["sort"] == {"supported": True}
    assert config["pagination"] == {
        "cursor": True,
        "index": True,
        "defaultPaginationMethod": "index",
        "defaultPageSize": 20,
        "maxPageSize": 20,
        "cursorTimeout": LIFETIME,
    }


# Which attributes are shown --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/Users", "/Users/{uid}"])
@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("attributes=userName&attributes=displayName", {"userName": "x@acme.test", "displayName": "X"}),
        ("attributes=userName&attributes=displayName,title", {"userName": "x@acme.test", "displayName": "X"}),
        ("attributes=userName&excludedAttributes=id&attributes=", {"userName": "x@acme.test"}),
        ("attributes=name,userName&excludedAttributes=name&excludedAttributes=userName", {}),
        (f"attributes={ENTERPRISE_URN}:manager.displayName", {}),
        (f"attributes={ENTERPRISE_URN}:manager.value", {ENTERPRISE_URN: {"manager": {"value": "m1"}}}),
        (f"attributes={ENTERPRISE_URN}%3Amanager.displayName,userName", {"userName": "x@acme.test"}),
        ("attributes=name.middleName,emails.display", {}),
        ("attributes=emails.type", {"emails": [{"type": "work"}]}),
    ],
)
def test_a_list_of_attributes_may_come_in_parts(scim, path, query, shown):
    """RFC 7644, 3.9; what is empty without the rest is left out."""
    body = {
        "schemas": [USER, ENTERPRISE_URN],
        "userName": "x@acme.test",
        "displayName": "X",
        "name": {"givenName": "Given1"},
        "emails": [{"value": "x@acme.test", "type": "work"}, {"value": "y@acme.test"}],
        ENTERPRISE_URN: {"department": "Tours", "manager": {"value": "m1"}},
    }
    uid = scim.call("POST", "/Users", body).json["id"]
    answer = scim.call("GET", path.format(uid=uid) + f"?{query}").json
    found = next(each for each in answer.get("Resources", [answer]) if each["id"] == uid)
    assert {name: value for name, value in found.items() if name not in ("id", "schemas")} == shown


def test_quotes_in_a_query_need_not_be_percent_encoded(scim):
    assert names(scim.call("GET", '/Users?filter=userName+eq+"A@acme.test"')) == ["a"]
    assert names(scim.call("GET", '/Users?filter=emails[type+eq+"work"]+or+userName+eq+"b@acme.test"')) == [
        "b"
    ]
