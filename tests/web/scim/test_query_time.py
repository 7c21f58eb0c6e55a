"""How long the database may take for a list: what no index answers is ended, and refused with what to do instead."""

import time
from urllib.parse import quote

import pytest

from gateway.store.query.candidates import MAX_TERMS
from gateway.testing import Deployment
from tests.support.timing import check_seconds

pytestmark = pytest.mark.slow

USERS = 3000
#: Some seconds of work for the database: each looks through every title.
LONG = " or ".join(f'title co "{number}{"z" * 40}"' for number in range(MAX_TERMS))

#: No index answers it either, but it is done in time.
BRIEF = "active eq true and externalId eq null"


@pytest.fixture(scope="module")
def scim(tmp_path_factory):
    """Users enough for a filter to take longer than it may."""
    deployment = Deployment(tmp_path_factory.mktemp("slow") / "instance", query_seconds=1)
    scim, store = deployment.connection("generic"), deployment.gateway.store
    document = {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "active": True,
        "title": "T" * 60_000,
    }
    with store.transaction():
        for number in range(USERS):
            user = document | {"userName": f"user{number}@acme.test"}
            store.users.add(scim.organization.id, scim.connection.id, user)
        store.organizations.count(scim.organization.id, "User", scim.connection.id, USERS)
    yield scim
    deployment.close()


@pytest.mark.parametrize(
    "query",
    [
        f"filter={quote(LONG)}",
        f"filter={quote(LONG)}&count=0",
        f"filter={quote(LONG)}&cursor=",
        f"filter={quote(LONG)}&sortBy=title",
        f"filter={quote(LONG)}&startIndex=2000",
    ],
)
@pytest.mark.parametrize("path", ["/Users", "/"])
def test_a_list_that_takes_too_long_is_ended_and_refused_with_what_to_do(scim, path, query):
    began = time.monotonic()
    answer = scim.call("GET", f"{path}?{query}")
    assert (answer.status, answer.json["scimType"]) == (400, "tooMany")
    assert "took longer than 1 s" in answer.json["detail"]
    assert "userName, externalId" in answer.json["detail"]
    # Each look of the engine at the clock, and a slow machine.
    took = time.monotonic() - began
    assert took > 0.9
    check_seconds(took, 4)
    # Whoever asks next on this connection of the database is not cut short.
    assert scim.call("GET", "/Users?count=2").json["totalResults"] == USERS
    found = scim.call("GET", f"/Users?filter={quote(BRIEF)}&count=1")
    assert found.json["totalResults"] == USERS


def test_a_filter_of_too_many_comparisons_is_refused(scim):
    text = LONG.replace("z", "") + ' or title co "one more"'
    answer = scim.call("GET", f"/Users?filter={quote(text)}")
    assert (answer.status, answer.json["scimType"]) == (400, "tooMany")
    assert f"{MAX_TERMS + 1} comparisons" in answer.json["detail"]


@pytest.mark.parametrize("name", ["id", "userName", "externalId", "emails.value", "displayName"])
def test_as_many_as_the_filter_holds_are_looked_up_by_one_attribute(scim, name):
    """Clients ask so for a batch of users."""
    known = scim.deployment.gateway.store.database.all("SELECT uid FROM users ORDER BY id LIMIT 100")
    values = [uid for (uid,) in known] if name == "id" else [f"user{n}@acme.test" for n in range(100)]
    text = " or ".join(f'{name} eq "{value}"' for value in values)
    answer = scim.call("GET", f"/Users?filter={quote(text)}&attributes=id")
    assert answer.status == 200
    assert answer.json["totalResults"] == (100 if name in ("id", "userName") else 0)
