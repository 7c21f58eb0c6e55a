"""A page of a list holds so many bytes, about, and ends with the resource that reaches them (RFC 7644, 3.4.2.4):
whoever goes on from there meets everybody."""

import tracemalloc

import pytest

from gateway.testing import Deployment
from gateway.testing.deployment import GROUP, USER

pytestmark = pytest.mark.slow

LIMIT = 100_000
USERS, LARGE = 60, 20_000
MEMBERS = 1500
#: Bytes of an answer: what is stored of small users is a third of what is shown, their groups and locations included.
MOST = 4 * LIMIT


@pytest.fixture(scope="module")
def scim(tmp_path_factory):
    """Users of whom some are large, and groups of which some are: so many members that one fills a page."""
    deployment = Deployment(tmp_path_factory.mktemp("heavy") / "instance", page_bytes=LIMIT)
    scim, store = deployment.connection("generic"), deployment.gateway.store
    tenant = scim.organization.id, scim.connection.id
    with store.transaction():
        for number in range(MEMBERS):
            user = {"schemas": [USER], "userName": f"user{number:04}@acme.test", "active": True}
            if number < USERS:
                user["title"] = "T" * (LARGE if number % 3 else 10)
            made = store.users.add(*tenant, user)
            assert made
        keys = [row[0] for row in store.database.all("SELECT id FROM users ORDER BY id")]
        for number in range(12):
            group = store.groups.add(*tenant, {"schemas": [GROUP], "displayName": f"Group {number:02}"})
            inside = keys if number % 4 == 1 else keys[:2]
            store.memberships.grant(group.id, inside, "push")
            store.groups.add_members(scim.organization.id, group.id, len(inside))
        store.organizations.count(scim.organization.id, "User", scim.connection.id, MEMBERS)
        store.organizations.count(scim.organization.id, "Group", scim.connection.id, 12)
    yield scim
    deployment.close()


def walked(scim, path, query, by, count=1000):
    """Each page of a list."""
    start, cursor, pages = 1, "", []
    while True:
        place = f"startIndex={start}" if by == "startIndex" else f"cursor={cursor}"
        answer = scim.call("GET", f"{path}?count={count}&{place}{query}")
        assert answer.status == 200, answer.text
        page = answer.json
        assert page["itemsPerPage"] == len(page["Resources"])
        pages.append((len(answer.text), page["Resources"]))
        start, cursor = start + len(page["Resources"]), page.get("nextCursor")
        if start > page["totalResults"] if by == "startIndex" else cursor is None:
            assert start == page["totalResults"] + 1
            return pages


QUERIES = ["", "&attributes=userName", "&filter=active%20eq%20true", "&filter=title%20pr%20or%20title%20ne%20null",
           '&filter=userName%20sw%20"user"', "&filter=active%20eq%20true&attributes=userName"]  # fmt: skip


@pytest.mark.parametrize("by", ["startIndex", "cursor"])
@pytest.mark.parametrize("query", QUERIES)
def test_a_page_of_large_users_ends_early_and_the_walk_goes_on(scim, by, query):
    pages = walked(scim, "/Users", query, by)
    found = [user["id"] for _, users in pages for user in users]
    assert len(found) == len(set(found))
    assert len(found) == (USERS if "pr" in query else MEMBERS)
    # By what the documents weigh, whatever is shown of them; the last one may be beyond it.
    assert len(pages) > 7
    assert max(length for length, _ in pages) < MOST


@pytest.mark.parametrize("descending", ["ascending", "descending"])
def test_a_sorted_page_ends_early(scim, descending):
    pages = walked(scim, "/Users", f"&sortBy=userName&sortOrder={descending}", "startIndex")
    names = [user["userName"] for _, users in pages for user in users]
    assert names == sorted(names, reverse=descending == "descending")
    assert len(names) == MEMBERS
    assert max(length for length, _ in pages) < MOST


@pytest.mark.parametrize("by", ["startIndex", "cursor"])
@pytest.mark.parametrize("path", ["/Groups", "/"])
def test_a_page_of_large_groups_ends_early_and_shows_each_whole(scim, by, path):
    pages = walked(scim, path, "", by)
    groups = [each for _, page in pages for each in page if "displayName" in each]
    assert [group["displayName"] for group in groups] == [f"Group {number:02}" for number in range(12)]
    assert [len(group["members"]) for group in groups] == [MEMBERS if n % 4 == 1 else 2 for n in range(12)]
    # One that fills a page is its last one.
    for _, page in pages:
        assert all(len(each.get("members", ())) < MEMBERS for each in page[:-1])


def test_without_their_members_groups_are_small(scim):
    page = scim.call("GET", "/Groups?excludedAttributes=members").json
    assert page["itemsPerPage"] == 12


def test_a_search_by_post_is_bounded_alike(scim):
    asked = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "count": 1000}
    answer = scim.call("POST", "/Users/.search", asked)
    assert answer.json["totalResults"] == MEMBERS
    assert 0 < answer.json["itemsPerPage"] < 10


def test_whoever_goes_while_pages_end_early_shifts_nobody(scim):
    first = scim.call("GET", "/Users?count=1000").json
    assert first["itemsPerPage"] < 10
    gone = scim.user("gone@acme.test")["id"]
    start, met = 1 + first["itemsPerPage"], [user["id"] for user in first["Resources"]]
    assert scim.call("DELETE", f"/Users/{gone}").status == 204
    while start <= MEMBERS:
        page = scim.call("GET", f"/Users?count=1000&startIndex={start}").json
        met += [user["id"] for user in page["Resources"]]
        start += page["itemsPerPage"]
    assert len(met) == len(set(met)) == MEMBERS


def test_what_does_not_fit_is_not_held(scim):
    """The driver of PostgreSQL holds what a statement finds outside of what is measured here: see `fitting`."""
    scim.call("GET", "/Users?count=1000")
    tracemalloc.start()
    try:
        scim.call("GET", "/Users?count=1000&attributes=userName")
        assert tracemalloc.get_traced_memory()[1] < 20 * LARGE + 5 * LIMIT
    finally:
        tracemalloc.stop()
