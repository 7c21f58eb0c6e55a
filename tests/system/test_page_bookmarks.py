"""A client reads a list by startIndex while users come and go: it meets all who were there all along, once.

`startIndex` counts positions, and positions shift with every user that goes. An identity provider that imports its
users so, and misses some, takes them for gone.

At the end many writers, several readings and two nodes come together. `GATEWAY_WALK` in the environment is
the number of users, where the few hundred of an ordinary run are not enough; `pytest -rP` shows the figures.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gateway.provisioning.rendering import user_json
from gateway.provisioning.unit_of_work import UnitsOfWork
from gateway.store.engine.base import BRIEF, unavailable
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import USER

pytestmark = pytest.mark.slow


def add(scim: Scim, number: int, **attributes: Any) -> str:
    """A user; quicker than through HTTP, and by the same operation."""
    document = {"schemas": [USER], "userName": f"user{number:04}@acme.test", "active": True, **attributes}
    trace = scim.deployment.trace(scim.organization)
    scim.deployment.gateway.users.create(scim.caller(), document, trace)
    return str(document["userName"])


def people(scim: Scim, number: int, **attributes: Any) -> list[str]:
    """That many users, by name in the order of their making."""
    return [add(scim, each, **attributes) for each in range(number)]


def remove(scim: Scim, name: str) -> None:
    """Delete a user."""
    found = scim.deployment.gateway.store.users.by_name(scim.organization, name)
    assert found
    scim.deployment.gateway.users.delete(scim.caller(), found.uid, scim.deployment.trace(scim.organization))


def page(
    scim: Scim, start: int, count: int | str = 100, query: str = "", path: str = "/Users"
) -> dict[str, Any]:
    """One page; it says of itself what is true."""
    answer = scim.call("GET", f"{path}?startIndex={start}&count={count}{query}")
    assert answer.status == 200, answer.text
    body: dict[str, Any] = answer.json
    assert body["startIndex"] == max(start, 1)
    assert body["itemsPerPage"] == len(body["Resources"])
    return body


def names(body: dict[str, Any]) -> list[str]:
    """Who is on a page."""
    return [resource.get("userName") or resource["displayName"] for resource in body["Resources"]]


def read_pages(
    scim: Scim,
    count: int = 100,
    query: str = "",
    between: Callable[[int], None] = lambda page: None,
    by: str = "sent",
) -> Iterator[list[str]]:
    """The pages of one reading, as clients ask for them: 1, 101, 201, … until the total is reached or a page is empty.

    `by`: some go on by the count they sent, others by the number of resources they were given.
    """
    start, number = 1, 0
    while True:
        body = page(scim, start, count, query)
        if not body["Resources"]:
            return
        yield names(body)
        start += count if by == "sent" else len(body["Resources"])
        if start > body["totalResults"]:
            return
        number += 1
        between(number)


def together(pages: Iterator[list[str]]) -> list[str]:
    """All pages as one list."""
    return [name for names in pages for name in names]


# While others come and go ---------------------------------------------------------------------------------------


def test_a_walk_at_rest_meets_everybody_in_the_order_of_their_making_on_every_run(scim: Scim) -> None:
    everybody = people(scim, 250)
    assert [len(names) for names in read_pages(scim)] == [100, 100, 50]
    for count in (100, 7, 250, 249, 251, 50):
        assert together(read_pages(scim, count)) == everybody
    # Changes do not move anybody.
    for name in (everybody[0], everybody[120]):
        found = scim.deployment.gateway.store.users.by_name(scim.organization, name)
        assert found
        assert scim.patch(f"/Users/{found.uid}", {"op": "replace", "value": {"title": "x"}}).status == 200
    assert together(read_pages(scim)) == everybody


@pytest.mark.parametrize("by", ["sent", "given"])
@pytest.mark.parametrize("where", ["behind", "ahead", "anywhere", "at the seam"])
def test_nobody_who_stays_is_missed_or_met_twice_while_others_are_deleted(
    scim: Scim, where: str, by: str
) -> None:
    everybody = people(scim, 250)
    present, chance = list(everybody), random.Random(1)

    def between(number: int) -> None:
        last = everybody.index(met[-1])
        places = {
            "behind": [each for each in present if everybody.index(each) < last],
            "ahead": [each for each in present if everybody.index(each) > last + 1],
            "anywhere": present,
            "at the seam": [each for each in present if abs(everybody.index(each) - last) < 5],
        }[where]
        for name in chance.sample(places, min(20, len(places))):
            present.remove(name)
            remove(scim, name)

    met: list[str] = []
    for names in read_pages(scim, between=between, by=by):
        met += names
    assert len(met) == len(set(met))
    assert set(present) <= set(met)
    assert met == sorted(met)


def test_nobody_who_stays_is_missed_or_met_twice_while_others_come(scim: Scim) -> None:
    """Newcomers are last in the order, so the reading meets them, too."""
    everybody = people(scim, 150)

    def between(number: int) -> None:
        if number < 4:
            everybody.extend(add(scim, number * 1000 + each) for each in range(60))

    assert together(read_pages(scim, between=between)) == everybody


def test_coming_and_going_at_once(scim: Scim) -> None:
    everybody = people(scim, 230)
    present, chance = list(everybody), random.Random(2)

    def between(number: int) -> None:
        for name in chance.sample(present, 30):
            present.remove(name)
            remove(scim, name)
        if number < 3:
            present.extend(add(scim, number * 1000 + each) for each in range(30))

    met = together(read_pages(scim, 50, between=between))
    assert len(met) == len(set(met))
    assert set(present) <= set(met)


def test_who_comes_back_while_a_client_walks_is_met_at_most_once(scim: Scim) -> None:
    """A restored user has its old place: a reading that went past it has met it, or does not meet it."""
    everybody = people(scim, 120)
    for name in (everybody[5], everybody[90]):
        remove(scim, name)

    def between(number: int) -> None:
        if number == 1:
            add(scim, 5)
            add(scim, 90)

    met = together(read_pages(scim, 50, between=between))
    assert len(met) == len(set(met))
    assert set(everybody) - {everybody[5]} <= set(met)


def test_a_walk_through_a_filter_misses_nobody(scim: Scim) -> None:
    """Those who stop matching are like those who go."""
    everybody = people(scim, 150, title="Sales")
    present, query = list(everybody), '&filter=title eq "Sales"'

    def between(number: int) -> None:
        for name in present[:20]:
            found = scim.deployment.gateway.store.users.by_name(scim.organization, name)
            assert found
            scim.patch(f"/Users/{found.uid}", {"op": "replace", "value": {"title": "Support"}})
        del present[:20]

    met = together(read_pages(scim, 40, query, between))
    assert len(met) == len(set(met))
    assert set(present) <= set(met)
    assert together(read_pages(scim, 40, query)) == present


def test_two_clients_who_walk_one_list_do_not_mislead_each_other(scim: Scim) -> None:
    """Both see everybody; where their pages cannot be distinguished, one may see somebody twice."""
    everybody = people(scim, 200)
    present = list(everybody)
    readings = [read_pages(scim, 50), read_pages(scim, 50)]
    met: list[list[str]] = [[], []]
    met[0] += next(readings[0])
    for name in present[:10]:
        remove(scim, name)
    del present[:10]
    met[1] += next(readings[1])
    going = {0, 1}
    while going:
        for each in sorted(going):
            if names := next(readings[each], None):
                met[each] += names
            else:
                going.remove(each)
    assert [set(present) - set(each) for each in met] == [set(), set()]


def test_a_walk_right_after_another_misses_nobody(scim: Scim) -> None:
    """The last page of the one before may still be asked for again, so somebody may be met twice on that page."""
    present = people(scim, 130)
    for _ in range(3):
        assert set(present) - set(together(read_pages(scim, 50))) == set()
        remove(scim, present.pop(0))
        remove(scim, present.pop(60))


def test_walks_of_other_connections_and_other_filters_are_apart(deployment: Deployment) -> None:
    acme = deployment.organization()
    scims = [deployment.connection("generic", acme) for _ in range(2)]
    own = [[add(scim, 1000 * n + each) for each in range(60)] for n, scim in enumerate(scims)]
    readings = [
        read_pages(scims[0], 25),
        read_pages(scims[1], 25),
        read_pages(scims[0], 25, "&filter=active eq true"),
    ]
    met: list[list[str]] = [[], [], []]
    for turn in range(4):
        for number, pages in enumerate(readings):
            met[number] += next(pages, [])
        if turn == 0:
            remove(scims[0], own[0].pop(0))
            remove(scims[1], own[1].pop(0))
    assert [set(own[0]) - set(met[0]), set(own[1]) - set(met[1]), set(own[0]) - set(met[2])] == [set()] * 3
    assert [len(each) for each in met] == [60, 60, 60]


def test_a_page_that_is_asked_for_again_is_the_same_page(scim: Scim) -> None:
    """An answer may be lost on its way: whoever asks again goes on from where it was, not from where that is now."""
    everybody = people(scim, 120)
    first = names(page(scim, 1, 50))
    remove(scim, everybody[0])
    second = names(page(scim, 51, 50))
    remove(scim, everybody[1])
    assert names(page(scim, 51, 50)) == second
    third = names(page(scim, 101, 50))
    assert first + second + third == everybody


@pytest.mark.parametrize("lost", [{1}, {2}, {3}, {2, 3}, {2, 3, 4}])
def test_a_note_that_could_not_be_written_misleads_nobody(scim: Scim, lost: set[int]) -> None:
    """The database was busy when a page was handed out; those who go from the first page shift nothing."""
    everybody = people(scim, 250)
    present, database = list(everybody), scim.deployment.gateway.store.database
    transaction, number = database.transaction, 1

    def busy(patience: float = 5.0, **how: Any) -> Any:
        if patience == BRIEF and number in lost:
            raise unavailable("the database is busy")
        return transaction(patience, **how)

    def between(page: int) -> None:
        nonlocal number
        number = page + 1
        if page > 1:
            for name in everybody[(page - 2) * 10 : (page - 1) * 10]:
                present.remove(name)
                remove(scim, name)

    database.transaction = busy  # type: ignore[method-assign]
    met = together(read_pages(scim, 50, between=between))
    assert set(present) - set(met) == set()
    assert len(met) == len(set(met))


def test_groups_are_walked_alike(scim: Scim) -> None:
    ids = [scim.group(f"Group {number:02}")["id"] for number in range(24)]
    first = page(scim, 1, 10, path="/Groups")
    for uid in ids[:3]:
        assert scim.call("DELETE", f"/Groups/{uid}").status == 204
    rest = [page(scim, start, 10, path="/Groups") for start in (11, 21)]
    met = [group["id"] for body in (first, *rest) for group in body["Resources"]]
    assert met == ids
    assert first["totalResults"] == 24


# Totals ---------------------------------------------------------------------------------------------------------


def test_a_total_never_ends_a_walk_early(scim: Scim) -> None:
    """While pages follow, the total is at least what was handed out and one more."""
    everybody = people(scim, 130)
    start, handed_out = 1, 0
    while True:
        body = page(scim, start, 20)
        handed_out += len(body["Resources"])
        assert body["totalResults"] >= handed_out
        more = names(body)[-1] != everybody[-1]
        assert not more or body["totalResults"] > start - 1 + len(body["Resources"])
        if not more:
            break
        for name in everybody[:15]:
            remove(scim, name)
        everybody = everybody[15:]
        start += 20
    # Whoever asks afresh is answered how many there are.
    assert page(scim, 1, 5)["totalResults"] == len(everybody)


# Edges of pages -------------------------------------------------------------------------------------------------


def test_count_zero_tells_the_total_alone(scim: Scim) -> None:
    people(scim, 5)
    for query in ("", '&filter=userName sw "user"', "&attributes=userName"):
        for start in (1, 3, 99):
            body = page(scim, start, 0, query)
            assert (body["totalResults"], body["Resources"]) == (5, [])
    assert page(scim, 1, 0, '&filter=userName eq "nobody@acme.test"')["totalResults"] == 0
    assert page(scim, 1, -7)["Resources"] == []  # RFC 7644, 3.4.2.4: negative means 0


def test_behind_the_end_there_is_nothing_and_the_total_still_holds(scim: Scim) -> None:
    people(scim, 5)
    for start in (6, 7, 1000, 10**15):
        body = page(scim, start)
        assert (body["totalResults"], body["Resources"]) == (5, [])
    assert page(scim, 5)["Resources"]


@pytest.mark.parametrize("start", [0, -1, -(10**9)])
def test_before_the_beginning_is_the_beginning(scim: Scim, start: int) -> None:
    everybody = people(scim, 3)
    assert names(page(scim, start, 2)) == everybody[:2]


def test_one_at_a_time(scim: Scim) -> None:
    everybody = people(scim, 12)

    def between(number: int) -> None:
        if number == 4:
            remove(scim, everybody[1])
            remove(scim, everybody[7])

    met = together(read_pages(scim, 1, between=between))
    assert met == [name for name in everybody if name != everybody[7]]


def test_a_page_holds_no_more_than_its_limit(tmp_path: Any) -> None:
    deployment = Deployment(tmp_path / "instance", page_limit=20)
    try:
        scim = deployment.connection("generic")
        everybody = people(scim, 50)
        for count in (21, 1000, 10**15):
            body = page(scim, 1, count)
            assert (names(body), body["totalResults"]) == (everybody[:20], 50)
        assert together(read_pages(scim, 1000, by="given")) == everybody
        config = scim.call("GET", "/ServiceProviderConfig").json
        assert config["filter"]["maxResults"] == 20
    finally:
        deployment.close()


def test_without_a_count_a_page_holds_a_hundred(scim: Scim) -> None:
    everybody = people(scim, 110)
    body = scim.call("GET", "/Users").json
    assert (names(body), body["totalResults"]) == (everybody[:100], 110)
    assert names(scim.call("GET", "/Users?startIndex=101").json) == everybody[100:]


@pytest.mark.parametrize(
    "query", ["count=ten", "startIndex=first", "count=1.5", "startIndex=1e3", "count=9" + "9" * 30]
)
def test_what_is_no_number_is_refused(scim: Scim, query: str) -> None:
    answer = scim.call("GET", f"/Users?{query}")
    assert (answer.status, answer.json["scimType"]) == (400, "invalidValue")


# At large: many writers, several readings, two nodes ---------------------------------------------------------------

USERS = int(os.environ.get("GATEWAY_WALK", "300"))
WRITERS = 8
#: So many writes come between two pages, at least.
WRITES_A_PAGE = 6


def person(number: int, name: str = "user") -> dict[str, Any]:
    """A user as it is sent and as it is stored."""
    address = f"{name}{number:06}@acme.test"
    return {
        "schemas": [USER], "userName": address, "externalId": f"x-{name}{number}", "active": True,
        "displayName": f"{name.title()} {number}", "emails": [{"value": address, "primary": True}],
    }  # fmt: skip


def settle(scim: Scim, documents: list[dict[str, Any]]) -> list[str]:
    """Users put into the store in one change for all, which saves minutes; their ids."""
    store, caller, connection = scim.deployment.gateway.store, scim.caller(), scim.connection
    uids = []
    units_of_work = UnitsOfWork(store, scim.deployment.gateway.callers)
    with units_of_work.open(caller, scim.deployment.trace(caller.organization)) as unit:
        for document in documents:
            added = store.users.add(connection.organization_id, connection.id, document)
            assert added
            user, _ = added
            unit.record_event("user.created", "User", user.uid, user_json(user, (), None))
            uids.append(user.uid)
        unit.seats = len(documents)
        store.organizations.count(connection.organization_id, "User", connection.id, len(documents))
    return uids


#: What a create leaves behind, but for ids and moments.
STORED = {
    "users": "user_name, user_name_key, external_id, active, deleted, display, display_key, doc_key, version",
    "emails": "value_key, 0",
    "tallies": "resource, n",
    "events": "seq, type, resource",
}


def test_users_that_are_put_into_the_store_are_as_requests_make_them(deployment: Deployment) -> None:
    """The control of what follows."""
    database, documents = deployment.gateway.store.database, [person(number) for number in range(5)]
    kept = []
    for way in ("requests", "store"):
        scim = deployment.connection("generic")
        if way == "store":
            settle(scim, documents)
        for document in documents if way == "requests" else ():
            assert scim.call("POST", "/Users", document).status == 201
        acme = scim.organization
        rows = {
            table: database.all(
                f"SELECT {columns} FROM {table} WHERE organization_id = ? ORDER BY 1, 2", acme.id
            )
            for table, columns in STORED.items()
        }
        reported = [{**data, "id": "", "meta": ""} for _, data in deployment.events(acme)]
        shown = [{**user, "id": "", "meta": ""} for user in scim.call("GET", "/Users").json["Resources"]]
        assert len(rows["users"]) == len(reported) == len(shown) == 5
        kept.append((rows, reported, shown, acme.seats_used))
    assert kept[0] == kept[1]


@dataclass
class Walker:
    """One client on its way, and what it met."""

    by: str
    count: int
    query: str = ""
    met: list[str] = field(default_factory=list)
    there: set[str] = field(default_factory=set)
    seconds: list[float] = field(default_factory=list)
    took: float = 0

    def go(self, town: Town) -> None:
        """From the first page to the last: each from the other node, some writes after the one before."""
        begun, start, cursor = time.perf_counter(), 1, ""
        while True:
            place = f"cursor={cursor}" if self.by == "cursor" else f"startIndex={start}"
            scim = town.nodes[len(self.seconds) % 2]
            answer = scim.call("GET", f"/Users?{place}&count={self.count}{self.query}")
            assert answer.status == 200, answer.text
            body, page = answer.json, [user["id"] for user in answer.json["Resources"]]
            self.seconds.append(answer.seconds)
            self.met += page
            self.there.update(page)
            start, cursor = start + self.count, body.get("nextCursor", "")
            if not page or (not cursor if self.by == "cursor" else start > body["totalResults"]):
                break
            town.wait_for_writes()
        self.took = time.perf_counter() - begun

    def __str__(self) -> str:
        first, last = (statistics.median(part) * 1000 for part in (self.seconds[:20], self.seconds[-20:]))
        return (
            f"by {self.by}, {self.count} a page, {'filtered' if self.query else 'all'}: {len(self.seconds)} pages of"
            f" {len(self.met)} users in {self.took:.1f} s; p50 of the first pages {first:.1f} ms, of the last"
            f" {last:.1f} ms"
        )


class Town:
    """Two nodes on one database. A third of the users come and go; the others, who may change, stay all along."""

    def __init__(self, folder: Path) -> None:
        self.deployments = [Deployment(folder / "first")]
        config = self.deployments[0].gateway.config
        same = {"database_url": config.database_url, "secret_key": config.secret_key}
        self.deployments.append(Deployment(folder / "second", **same))
        scim = self.deployments[0].connection("generic")
        self.nodes = [Scim(deployment, scim.uid, scim.token) for deployment in self.deployments]
        uids = settle(scim, [person(number) for number in range(USERS)])
        self.guests = {number: uid for number, uid in enumerate(uids) if number % 3 == 1}
        self.residents = {number: uid for number, uid in enumerate(uids) if number % 3 != 1}
        self.walkers: list[Walker] = []
        self.writes: Counter[str] = Counter()
        #: Those who went when the first reading was past them already: each shifts the positions that follow.
        self.behind = 0
        self.written, self.over = threading.Condition(), threading.Event()
        self.failures: list[BaseException] = []

    def close(self) -> None:
        for deployment in reversed(self.deployments):
            deployment.close()

    def wait_for_writes(self) -> None:
        """Until some more were answered."""
        with self.written:
            wanted = self.writes.total() + WRITES_A_PAGE
            assert self.written.wait_for(lambda: self.failures or self.writes.total() >= wanted, 60)

    def write(self, number: int) -> None:
        """Until the readings have ended: somebody goes, somebody comes or comes back, somebody is changed."""
        chance, scim = random.Random(number), self.nodes[number % 2]
        here = {f"user{n}": (person(n), uid) for n, uid in self.guests.items() if n % WRITERS == number}
        gone: dict[str, tuple[dict[str, Any], str]] = {}
        residents = [each for each in self.residents.items() if each[0] % WRITERS == number]
        for turn in range(1 << 30):
            if self.over.is_set():
                return
            act = chance.choice(("delete", "delete", "create", "restore", "rename", "switch"))
            if act == "delete":
                name = chance.choice(list(here))
                document, uid = gone[name] = here.pop(name)
                answer, status = scim.call("DELETE", f"/Users/{uid}"), 204
                self.behind += uid in self.walkers[0].there
            elif act in ("create", "restore"):
                name = chance.choice(list(gone)) if gone and act == "restore" else f"new{number}-{turn}"
                document, uid = gone.pop(name, (person(turn, f"new{number}-"), ""))
                answer, status = scim.call("POST", "/Users", document), 201
                here[name] = document, str(answer.json.get("id"))
                assert uid in ("", here[name][1])
            else:
                resident, uid = chance.choice(residents)
                value: Any = {"userName": f"renamed{resident}-{turn}@acme.test"}
                value = value if act == "rename" else {"active": turn % 2 == 0}
                answer, status = scim.patch(f"/Users/{uid}", {"op": "replace", "value": value}), 200
            assert answer.status == status, answer.text
            with self.written:
                self.writes[act] += 1
                self.written.notify_all()

    def run(self, *walkers: Walker) -> None:
        """All writers and readers at once, until the last reading has ended."""
        self.walkers = list(walkers)
        writers = [self._thread(self.write, number) for number in range(WRITERS)]
        walking = [self._thread(walker.go, self) for walker in walkers]
        for thread in walking:
            thread.join(1800)
            assert not thread.is_alive(), "a reading does not end"
        self.over.set()
        for thread in writers:
            thread.join(60)
            assert not thread.is_alive(), "a writer hangs"
        if self.failures:
            raise self.failures[0]

    def _thread(self, job: Callable[[Any], None], argument: Any) -> threading.Thread:
        def work() -> None:
            try:
                job(argument)
            except BaseException as failure:  # noqa: BLE001 - raised in the thread of the test
                with self.written:
                    self.failures.append(failure)
                    self.written.notify_all()
                self.over.set()
            finally:
                for deployment in self.deployments:
                    deployment.gateway.store.database.close()

        thread = threading.Thread(target=work)
        thread.start()
        return thread


@pytest.mark.parametrize("by", ["startIndex", "cursor"])
def test_whoever_stays_is_met_just_once_by_every_walk_while_many_write_on_two_nodes(
    tmp_path: Path, audit: Callable[[Deployment], None], by: str
) -> None:
    town = Town(tmp_path)
    try:
        walkers = [Walker(by, 100), Walker(by, 97, "&filter=" + quote('userName co "@acme.test"'))]
        town.run(*walkers)
        reported = []
        for walker in walkers:
            times = Counter(walker.met)
            missed = [uid for uid in town.residents.values() if uid not in times]
            repeated = [uid for uid, number in times.items() if number > 1]
            reported.append(f"{walker}; missed {len(missed)}, repeated {len(repeated)}")
        writes = f"{town.writes.total()} writes meanwhile, {dict(town.writes)}; {town.behind} went behind the first"
        sys.stdout.write("\n".join([f"{USERS} users", *reported, writes, ""]))
        assert [each for each in reported if not each.endswith("missed 0, repeated 0")] == []
        # Positions did shift: a reading that counted them would have missed somebody.
        assert town.behind > 0
        audit(town.deployments[0])
    finally:
        town.close()
