"""Many write the same thing at once: everybody is answered soon, and no change is lost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from statistics import median
from typing import Any

import pytest

from gateway import hookimpl
from gateway.simulation.api import Answer
from gateway.store import open_database
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import USER
from tests.support.timing import check_seconds

pytestmark = pytest.mark.slow

THREADS = 8
#: A stall of the database shows itself as five seconds or ten; this is far above what any of these takes.
SOON = 1.5
#: On a machine that has other work, every answer takes long; a stall is one among many that are quick.
OUTLIER = 30


def slowest(answers: list[Answer]) -> float:
    """Return the seconds that the slowest answer took."""
    return max(answer.seconds for answer in answers)


def soon(answers: list[Answer]) -> float:
    """Return the seconds above which an answer among these shows a stall."""
    return max(SOON, OUTLIER * median(answer.seconds for answer in answers))


def repeated(seconds: float, act: Callable[[int], Answer]) -> Callable[[], list[Answer]]:
    """A job that acts again and again for a while; what it was answered."""

    def job() -> list[Answer]:
        answers, until = [], time.monotonic() + seconds
        while time.monotonic() < until:
            answers.append(act(len(answers)))
        return answers

    return job


def storm(
    together: Any, deployment: Deployment, seconds: float, act: Callable[[int, int], Answer]
) -> list[Answer]:
    """`act(thread, number)` from all threads for a while."""
    jobs = [repeated(seconds, lambda number, thread=thread: act(thread, number)) for thread in range(THREADS)]
    return [answer for answers in together(deployment, jobs) for answer in answers]


# Conflicts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("idp", ["generic", "okta"])
def test_a_storm_of_conflicts_is_answered_soon(
    deployment: Deployment, together: Any, audit: Any, idp: str
) -> None:
    """A thread that collects garbage while it holds the write lock once stalled all others until the busy timeout."""
    acme = deployment.organization()
    scim = deployment.connection(idp, acme)
    scim.user("taken@acme.test", externalId="taken")

    def create(thread: int, number: int) -> Answer:
        body = {"schemas": [USER], "userName": "taken@acme.test", "active": True}
        if number % 2:
            body |= {"userName": "TAKEN@acme.test", "externalId": "taken"}
        return scim.call("POST", "/Users", body)

    answers = storm(together, deployment, 1.5, create)

    assert {(answer.status, answer.json["scimType"]) for answer in answers} == {(409, "uniqueness")}
    assert len(answers) > 2 * THREADS, "the threads met hardly once"
    check_seconds(slowest(answers), soon(answers))
    assert deployment.used(acme) == 1
    assert len(deployment.activity(acme, outcome="failure")) == len(answers)
    audit(deployment)


def test_of_all_who_create_one_name_at_once_one_does_and_all_others_hear_who_has_it(
    deployment: Deployment, together: Any, audit: Any
) -> None:
    acme = deployment.organization()
    scims = [deployment.connection(idp, acme) for idp in ("generic", "okta")]

    def create(thread: int, number: int) -> Answer:
        name = f"user{number}@acme.test"
        return scims[thread % 2].call("POST", "/Users", {"schemas": [USER], "userName": name, "active": True})

    jobs = [lambda thread=thread: [create(thread, n) for n in range(15)] for thread in range(THREADS)]
    answers = [each for reported in together(deployment, jobs) for each in reported]

    assert Counter(answer.status for answer in answers) == {201: 15, 409: 15 * (THREADS - 1)}
    check_seconds(slowest(answers), soon(answers))
    assert deployment.used(acme) == 15
    audit(deployment)


# Changes of one resource ----------------------------------------------------------------------------------------


def test_members_pushed_from_all_sides_are_all_in(deployment: Deployment, together: Any, audit: Any) -> None:
    acme = deployment.organization()
    scim = deployment.connection("generic", acme)
    people = [scim.user(f"user{number}@acme.test")["id"] for number in range(THREADS * 10)]
    group = scim.group("Sales", tuple(people[:THREADS]))["id"]
    old, new = people[:THREADS], people[THREADS:]

    def push(thread: int) -> list[Answer]:
        """One who was there leaves, nine come, one at a time; one of them goes and comes again."""
        mine = new[thread * 9 : (thread + 1) * 9]
        steps: list[dict[str, Any]] = [
            {"op": "add", "path": "members", "value": [{"value": uid}]} for uid in mine
        ]
        steps.insert(4, {"op": "remove", "path": f'members[value eq "{old[thread]}"]'})
        steps.insert(5, {"op": "remove", "path": f'members[value eq "{mine[0]}"]'})
        steps.append({"op": "add", "path": "members", "value": [{"value": mine[0]}]})
        steps.insert(7, {"op": "replace", "path": "externalId", "value": f"g-{thread}"})
        return [scim.patch(f"/Groups/{group}", step) for step in steps]

    jobs = [lambda thread=thread: push(thread) for thread in range(THREADS)]
    answers = [each for reported in together(deployment, jobs) for each in reported]

    assert Counter(answer.status for answer in answers) == {204: THREADS * 13}
    check_seconds(slowest(answers), soon(answers))
    stored = scim.call("GET", f"/Groups/{group}").json
    assert {member["value"] for member in stored["members"]} == set(new)
    # Whoever follows the events alone comes to the same members.
    followed: set[str] = set()
    for kind, data in deployment.events(acme):
        if kind == "group.members_changed":
            assert not followed & set(data["added"])
            assert followed >= set(data["removed"])
            followed = (followed | set(data["added"])) - set(data["removed"])
    assert followed == set(new)
    audit(deployment)


class Slow:
    """A plugin that takes its time, as one does that asks another server: meanwhile others write."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    @hookimpl
    def gateway_resolve_groups(self) -> None:
        time.sleep(self._seconds)


@pytest.mark.parametrize("seconds", [0, 0.002])
def test_attributes_changed_from_all_sides_are_all_there(
    deployment: Deployment, together: Any, audit: Any, seconds: float
) -> None:
    """Each writes its own attribute of one user: nobody writes over what another one wrote meanwhile."""
    deployment.gateway.plugins.add(Slow(seconds), "slow")
    acme = deployment.organization()
    scim = deployment.connection("generic", acme)
    user = scim.user()["id"]
    attributes = (
        "title", "nickName", "userType", "preferredLanguage", "name.givenName", "name.familyName",
        "name.middleName", "displayName",
    )  # fmt: skip
    assert len(attributes) == THREADS

    def change(path: str) -> list[Answer]:
        return [
            scim.patch(f"/Users/{user}", {"op": "replace", "path": path, "value": f"{path} {number}"})
            for number in range(25)
        ]

    jobs = [lambda path=path: change(path) for path in attributes]
    answers = [each for reported in together(deployment, jobs) for each in reported]

    assert Counter(answer.status for answer in answers) == {200: THREADS * 25}
    check_seconds(slowest(answers), soon(answers))
    stored = scim.call("GET", f"/Users/{user}").json
    for path in attributes:
        top, _, sub = path.partition(".")
        assert (stored[top][sub] if sub else stored[top]) == f"{path} 24"
    assert stored["meta"]["version"] == f'W/"{THREADS * 25 + 1}"'
    audit(deployment)


def test_of_all_who_name_one_version_one_may_write(deployment: Deployment, together: Any) -> None:
    scim = deployment.connection("generic")
    user = scim.user()

    def write(thread: int) -> Answer:
        body = {**user, "title": f"by {thread}"}
        return scim.call("PUT", f"/Users/{user['id']}", body, headers={"If-Match": user["meta"]["version"]})

    answers = together(deployment, [lambda thread=thread: write(thread) for thread in range(THREADS)])
    assert Counter(answer.status for answer in answers) == {200: 1, 412: THREADS - 1}


def test_activated_and_deactivated_from_all_sides_a_user_holds_one_seat_or_none(
    deployment: Deployment, together: Any, audit: Any
) -> None:
    acme = deployment.organization(seats=2)
    scim = deployment.connection("generic", acme)
    user = scim.user()["id"]

    def switch(thread: int, number: int) -> Answer:
        return scim.patch(
            f"/Users/{user}", {"op": "replace", "path": "active", "value": bool((thread + number) % 2)}
        )

    answers = storm(together, deployment, 0.7, switch)
    assert {answer.status for answer in answers} == {200}
    active = scim.call("GET", f"/Users/{user}").json["active"]
    assert deployment.used(acme) == int(active)
    kinds = [kind for kind, _ in deployment.events(acme)][1:]
    assert kinds == [("user.deactivated", "user.reactivated")[n % 2] for n in range(len(kinds))]
    audit(deployment)


# Readers --------------------------------------------------------------------------------------------------------


@contextmanager
def a_writer_elsewhere(scim: Scim) -> Iterator[None]:
    """Somebody else is in the middle of writing everything."""
    other = open_database(scim.deployment.gateway.config.database_url, "NORMAL")
    with suppress(KeyboardInterrupt), other.transaction(organization_id=scim.organization.id):
        other.run("UPDATE users SET doc = '{}'")
        yield
        raise KeyboardInterrupt  # and gives it up
    other.close()


READS = (
    "/Users/{id}",
    '/Users?filter=userName eq "user1@acme.test"',
    '/Users?filter=displayName co "user"',
    "/Users?count=2",
    "/Users?startIndex=3&count=2",
    "/Users?startIndex=5&count=2",
    "/Users?count=0",
    "/Groups?count=1",
    "/Groups",
    "/ServiceProviderConfig",
)


@pytest.mark.parametrize("path", READS)
def test_a_reader_waits_for_no_writer(deployment: Deployment, path: str) -> None:
    """Pages behind a bookmark as well: the bookmark of a client is not worth waiting for."""
    scim = deployment.connection("generic")
    users = [scim.user(f"user{number}@acme.test")["id"] for number in range(6)]
    scim.group("Sales", tuple(users))
    scim.group("Support")
    with a_writer_elsewhere(scim):
        answer = scim.call("GET", path.format(id=users[1]))
    assert answer.status == 200, answer.text
    check_seconds(answer.seconds, SOON)
    assert "user" in answer.text.lower() or path.startswith(("/Groups", "/Service", "/Users?count=0"))
