"""Seats: an active user holds one. However many ask at once, nobody gets one that is not there, and nobody is
refused one that is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway import hookimpl
from gateway.provisioning.mapping_preview import MappingDefinition
from gateway.scim.errors import PreconditionFailed
from gateway.store.records import OrganizationRecord
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import USER

pytestmark = pytest.mark.slow

GROUP_ATTRIBUTE = "urn:calendly:scim:schemas:2.0:User:group"
SENTENCE = "You're over capacity: Acme has "


def person(name: str, **attributes: Any) -> dict[str, Any]:
    """A user with an address, an externalId and a group of the identity provider."""
    emails = [{"value": f"{name}@acme.test", "type": "work", "primary": True}]
    extension, attribute = GROUP_ATTRIBUTE.rsplit(":", 1)
    known = {"schemas": [USER, extension], "userName": f"{name}@acme.test", "externalId": f"x-{name}"}
    return known | {"emails": emails, "active": True, extension: {attribute: "Sales"}} | attributes


def map_sales(scim: Scim, group: str = "Sellers", apply: bool = False) -> int:
    """Save a mapping of «Sales» to a group, previewed as often as it takes; how often that was."""
    mapping = scim.deployment.gateway.mapping
    definition = MappingDefinition(True, GROUP_ATTRIBUTE, (("Sales", group),), apply)
    for attempt in range(1, 1000):
        caller = scim.caller()
        _, tag = mapping.preview(caller, definition)
        try:
            mapping.save(caller, definition, tag, scim.deployment.trace(scim.organization))
            return attempt
        except PreconditionFailed:
            continue
    raise AssertionError("a mapping could not be saved beside the creates")


def limit(deployment: Deployment, organization: OrganizationRecord, seats: int | None) -> None:
    """Set the seat limit as an admin does."""
    caller = deployment.gateway.callers.admin(deployment.gateway.store.organizations.by_key(organization.id))
    deployment.gateway.setup.edit_organization(caller, {"seat_limit": seats}, deployment.trace(organization))


def active(scim: Scim) -> int:
    """Active users, counted in a list."""
    return int(scim.call("GET", "/Users?filter=active eq true&count=0").json["totalResults"])


def rows(deployment: Deployment) -> dict[str, int]:
    """How many rows each table has that a create writes to, and the sum of the tallies."""
    tables = ("users", "emails", "grants", "events")
    database = deployment.gateway.store.database
    # The deployment's own events have the organization 0.
    counted = {
        table: database.one(
            f"SELECT COUNT(*) FROM {table}{' WHERE organization_id > 0' if table == 'events' else ''}"
        )[0]
        for table in tables
    }
    return counted | {"tallies": database.one("SELECT SUM(n) FROM tallies WHERE resource = 'User'")[0]}


def create(scim: Scim, number: int) -> Callable[[], Any]:
    """A job that creates a user."""
    return lambda: scim.call("POST", "/Users", person(f"rush{number}"))


# One seat, many requests ----------------------------------------------------------------------------------------


def test_of_fifty_who_want_the_last_seat_one_gets_it_and_nothing_is_left_of_the_others(
    deployment: Deployment, together: Any, audit: Any
) -> None:
    acme = deployment.organization(seats=3)
    scim = deployment.connection("generic", acme)
    map_sales(scim)
    for name in ("first", "second"):
        assert scim.call("POST", "/Users", person(name)).status == 201
    before = rows(deployment)

    answers = together(deployment, [create(scim, number) for number in range(50)])

    assert Counter(answer.status for answer in answers) == {201: 1, 403: 49}
    refused = [answer.json for answer in answers if answer.status == 403]
    assert all(
        body["detail"].startswith(f"{SENTENCE}3 seats and all of them are in use.") for body in refused
    )
    assert {body["status"] for body in refused} == {"403"}
    # One user with one address in one group, with two events: who came, and whom the group won.
    grown = {"users": 1, "emails": 1, "grants": 1, "events": 2, "tallies": 1}
    assert rows(deployment) == {table: number + grown[table] for table, number in before.items()}
    assert deployment.used(acme) == active(scim) == 3
    assert len(deployment.activity(acme, outcome="failure")) == 49
    audit(deployment)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_of_fifty_reactivations_one_gets_the_last_seat(
    deployment: Deployment, together: Any, audit: Any, method: str
) -> None:
    acme = deployment.organization(seats=2)
    scim = deployment.connection("generic", acme)
    scim.user("there@acme.test")
    users = [scim.user(f"user{n}@acme.test", active=False) for n in range(50)]
    assert deployment.used(acme) == 1

    def reactivate(user: dict[str, Any]) -> Callable[[], Any]:
        path = f"/Users/{user['id']}"
        if method == "PUT":
            return lambda: scim.call("PUT", path, {**user, "active": True, "title": "Back"})
        return lambda: scim.patch(path, {"op": "replace", "path": "active", "value": True})

    answers = together(deployment, [reactivate(user) for user in users])

    assert Counter(answer.status for answer in answers) == {200: 1, 403: 49}
    assert all(SENTENCE in answer.json["detail"] for answer in answers if answer.status == 403)
    assert deployment.used(acme) == active(scim) == 2
    # Refused means refused whole: the title of a refused PUT is not there either.
    assert scim.call("GET", '/Users?filter=title eq "Back"').json["totalResults"] == (method == "PUT")
    assert Counter(kind for kind, _ in deployment.events(acme)) == {"user.created": 51, "user.reactivated": 1}
    audit(deployment)


@pytest.mark.slow
def test_many_processes_share_the_seats_exactly(deployment: Deployment, audit: Any) -> None:
    acme = deployment.organization(seats=20)
    scim = deployment.connection("generic", acme)
    script = (
        "import json, sys; from gateway.app import create_app\n"
        "base, token, user, number = sys.argv[1:]\n"
        "app = create_app(); client = app.test_client()\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "def create(n):\n"
        "    body = {'schemas': [user], 'userName': f'user{number}-{n}@acme.test', 'active': True}\n"
        "    return client.post(base + '/Users', json=body, headers={'Authorization': f'Bearer {token}'}).status_code\n"
        "print(json.dumps([create(n) for n in range(15)]))\n"
        "app.extensions['gateway'].close()\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, scim.base, scim.token, USER, str(number)],
            env=deployment.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number in range(4)
    ]  # fmt: skip
    assert [process.stdout.readline() for process in processes if process.stdout] == ["ready\n"] * 4
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    reported = [process.communicate(timeout=60)[0] for process in processes]

    assert [process.returncode for process in processes] == [0] * 4
    assert Counter(status for text in reported for status in json.loads(text)) == {201: 20, 403: 40}
    assert deployment.used(acme) == active(scim) == 20
    audit(deployment)


# What takes a seat, what frees one ------------------------------------------------------------------------------


def test_deactivating_and_deleting_free_a_seat_and_coming_back_takes_one(
    deployment: Deployment, audit: Any
) -> None:
    acme = deployment.organization(seats=1)
    scim = deployment.connection("generic", acme)

    def refused(method: str, path: str, body: dict[str, Any]) -> None:
        answer = scim.call(method, path, body)
        assert (answer.status, deployment.used(acme)) == (403, 1)
        assert answer.json["detail"].startswith(f"{SENTENCE}1 seat and it is in use.")

    first = scim.user("first@acme.test", externalId="1")
    refused("POST", "/Users", person("second"))
    assert scim.patch(f"/Users/{first['id']}", {"op": "replace", "value": {"active": False}}).status == 200
    assert deployment.used(acme) == 0

    second = scim.user("second@acme.test", externalId="2")
    refused("PUT", f"/Users/{first['id']}", {**first, "active": True})
    assert scim.call("DELETE", f"/Users/{second['id']}").status == 204
    assert deployment.used(acme) == 0

    assert scim.call("PUT", f"/Users/{first['id']}", {**first, "active": True}).status == 200
    refused("POST", "/Users", person("second", externalId="2"))  # a restore wants a seat as well
    assert scim.call("DELETE", f"/Users/{first['id']}").status == 204
    restored = scim.user("second@acme.test", externalId="2")
    assert (restored["id"], deployment.used(acme)) == (second["id"], 1)
    # Whoever holds no seat gives none back.
    inactive = scim.user("third@acme.test", active=False)
    assert scim.call("DELETE", f"/Users/{inactive['id']}").status == 204
    assert deployment.used(acme) == active(scim) == 1
    audit(deployment)


def test_an_inactive_user_needs_no_seat_and_an_active_one_none_for_an_update(deployment: Deployment) -> None:
    acme = deployment.organization(seats=0)
    scim = deployment.connection("generic", acme)
    assert scim.call("POST", "/Users", person("first")).json["detail"].startswith(f"{SENTENCE}no seats.")
    user = scim.user("first@acme.test", active=False)
    assert scim.call("PUT", f"/Users/{user['id']}", {**user, "title": "Guest"}).status == 200
    limit(deployment, acme, 1)
    assert (
        scim.patch(f"/Users/{user['id']}", {"op": "replace", "path": "active", "value": True}).status == 200
    )
    limit(deployment, acme, 0)
    again = scim.patch(
        f"/Users/{user['id']}",
        {"op": "replace", "path": "active", "value": True},
        {"op": "replace", "path": "title", "value": "Member"},
    )
    assert (again.status, again.json["title"], deployment.used(acme)) == (200, "Member", 1)


def test_a_user_without_active_is_active_and_leaves_one_line_in_the_activity(deployment: Deployment) -> None:
    acme = deployment.organization(seats=1)
    scim = deployment.connection("generic", acme)
    made = scim.call("POST", "/Users", {"schemas": [USER], "userName": "first@acme.test"})
    assert (made.status, made.json["active"], deployment.used(acme)) == (201, True, 1)
    assert len(deployment.activity(acme, user="first@acme.test")) == 1


def test_lowering_the_limit_evicts_nobody_and_lets_nobody_in(deployment: Deployment, audit: Any) -> None:
    acme = deployment.organization(seats=5)
    scim = deployment.connection("generic", acme)
    users = [scim.user(f"user{n}@acme.test") for n in range(5)]
    limit(deployment, acme, 2)
    assert (deployment.used(acme), active(scim)) == (5, 5)
    renamed = scim.call("PUT", f"/Users/{users[0]['id']}", {**users[0], "displayName": "Still here"})
    assert (renamed.status, renamed.json["active"]) == (200, True)
    for leaving in users[:3]:
        assert scim.call("POST", "/Users", person("late")).status == 403
        assert (
            scim.patch(f"/Users/{leaving['id']}", {"op": "replace", "value": {"active": False}}).status == 200
        )
    assert deployment.used(acme) == 2
    assert scim.call("POST", "/Users", person("late")).status == 403
    assert scim.call("DELETE", f"/Users/{users[4]['id']}").status == 204
    assert scim.call("POST", "/Users", person("late")).status == 201
    limit(deployment, acme, None)
    assert [scim.call("POST", "/Users", person(f"more{n}")).status for n in range(5)] == [201] * 5
    audit(deployment)


# What is said ---------------------------------------------------------------------------------------------------


def test_who_pays_by_invoice_is_sent_to_support_and_who_pays_by_card_to_the_billing_page(
    tmp_path: Path,
) -> None:
    urls = {"contact_url": "https://app.acme.test/help", "billing_url": "https://app.acme.test/billing"}
    deployment = Deployment(tmp_path / "instance", **urls)
    try:
        reported = {}
        for payment in ("invoice", "card"):
            scim = deployment.connection("okta", deployment.organization(seats=0, payment=payment))
            answer = scim.call("POST", "/Users", person("user1"))
            assert (answer.status, answer.json["status"], "scimType" in answer.json) == (403, "403", False)
            reported[payment] = answer.json["detail"]
    finally:
        deployment.close()
    assert "contact support by opening a new request at https://app.acme.test/help" in reported["invoice"]
    assert "add seats on the Billing page at https://app.acme.test/billing" in reported["card"]
    assert "Billing page" not in reported["invoice"]
    assert "support" not in reported["card"]
    assert all(
        text.startswith("You're over capacity: Acme") and "user1@acme.test" in text
        for text in reported.values()
    )


def test_without_the_billing_plugin_nothing_limits_seats(tmp_path: Path, together: Any, audit: Any) -> None:
    deployment = Deployment(tmp_path / "instance", plugins_disabled=("billing",))
    try:
        acme = deployment.organization(seats=1)
        scim = deployment.connection("generic", acme)
        answers = together(deployment, [create(scim, number) for number in range(12)])
        assert [answer.status for answer in answers] == [201] * 12
        assert deployment.used(acme) == active(scim) == 12
        assert deployment.admin("GET", f"/organizations/{acme.uid}/seats").json["enforced"] is False
        audit(deployment)
    finally:
        deployment.close()


# What was judged moves meanwhile --------------------------------------------------------------------------------


class Meanwhile:
    """A plugin during whose answer somebody else does something: between what is judged by and what is stored."""

    def __init__(self, deployment: Deployment, act: Callable[[], Any]) -> None:
        self._acts = [act]
        deployment.gateway.plugins.add(self, "meanwhile")

    @hookimpl
    def gateway_check_seats(self) -> None:
        if self._acts:
            self._acts.pop()()


@pytest.mark.parametrize(
    ("before", "meanwhile", "status"), [(1, 2, 201), (2, 1, 403), (2, None, 201), (None, 1, 403)]
)
def test_the_limit_in_force_when_a_user_is_stored_decides(
    deployment: Deployment, before: int | None, meanwhile: int | None, status: int
) -> None:
    acme = deployment.organization(seats=before)
    scim = deployment.connection("generic", acme)
    scim.user("first@acme.test")
    Meanwhile(deployment, lambda: limit(deployment, acme, meanwhile))
    answer = scim.call("POST", "/Users", person("second"))
    assert (answer.status, deployment.used(acme)) == (status, 1 + (status == 201))
    if status == 403:
        assert answer.json["detail"].startswith(f"{SENTENCE}1 seat and it is in use.")


def test_the_rules_in_force_when_a_user_is_stored_decide(deployment: Deployment, audit: Any) -> None:
    scim = deployment.connection("generic", deployment.organization())
    map_sales(scim, "Old")
    Meanwhile(deployment, lambda: map_sales(scim, "New"))
    user = scim.call("POST", "/Users", person("first"))
    assert (user.status, [group["display"] for group in user.json["groups"]]) == (201, ["New"])
    assert [kind for kind, _ in deployment.events(scim.organization)].count("user.created") == 1
    audit(deployment)


def test_a_connection_that_is_removed_meanwhile_creates_nobody(deployment: Deployment, audit: Any) -> None:
    acme = deployment.organization()
    scim = deployment.connection("generic", acme)
    base = scim.base
    Meanwhile(deployment, lambda: deployment.admin("DELETE", f"/connections/{scim.uid}"))
    answer = deployment.call(
        "POST", f"{base}/Users", person("first"), {"Authorization": f"Bearer {scim.token}"}
    )
    assert answer.status in (401, 404), answer.text
    assert deployment.used(acme) == 0
    assert rows(deployment) == {"users": 0, "emails": 0, "grants": 0, "events": 0, "tallies": None}
    audit(deployment)


def test_a_limit_raised_while_creates_run_refuses_nobody_wrongly_and_lets_nobody_over(
    deployment: Deployment, together: Any, audit: Any
) -> None:
    acme = deployment.organization(seats=2)
    scim = deployment.connection("generic", acme)
    now = {"limit": 2}
    finished, refused = threading.Event(), threading.Event()

    def raise_it() -> None:
        # On a slow machine all raises could be over before the seats of one limit are used up.
        assert refused.wait(30)
        for seats in range(3, 31):
            limit(deployment, acme, seats)
            now["limit"] = seats
            time.sleep(0.01)
        finished.set()

    def come_until_it_is_over(name: int) -> list[tuple[int, int, int]]:
        refusals, number = [], 0
        while not finished.is_set():
            number, known = number + 1, now["limit"]
            answer = scim.call("POST", "/Users", person(f"rush{name}-{number}"))
            assert answer.status in (201, 403), answer.text
            if answer.status == 403:
                reported = re.search(r"has (\d+) seats", answer.json["detail"])
                assert reported, answer.text
                refusals.append((known, int(reported[1]), deployment.used(acme)))
                refused.set()
        return refusals

    jobs: list[Callable[[], Any]] = [raise_it]
    jobs += [lambda name=name: come_until_it_is_over(name) for name in range(6)]
    refusals = [each for reported in together(deployment, jobs) if reported for each in reported]

    # Judged by a limit no older than the one in force when the request was sent, and that limit was used up.
    assert [each for each in refusals if not each[0] <= each[1] <= each[2]] == []
    assert refusals
    for number in range(30 - deployment.used(acme)):
        assert scim.call("POST", "/Users", person(f"fill{number}")).status == 201
    assert scim.call("POST", "/Users", person("over")).status == 403
    assert deployment.used(acme) == active(scim) == 30
    audit(deployment)


def test_rules_changed_while_creates_run_leave_nobody_in_the_old_group(
    deployment: Deployment, together: Any, audit: Any
) -> None:
    acme = deployment.organization()
    scim = deployment.connection("generic", acme)
    map_sales(scim, "Old")

    def come(name: int) -> list[int]:
        return [scim.call("POST", "/Users", person(f"rush{name}-{number}")).status for number in range(15)]

    def change() -> int:
        return sum(map_sales(scim, group, apply=True) for group in ("Between", "New") for _ in "xx")

    statuses = together(deployment, [change, *(lambda name=name: come(name) for name in range(4))])[1:]

    assert Counter(status for each in statuses for status in each) == {201: 60}
    users = scim.call("GET", "/Users?count=100").json["Resources"]
    assert Counter(tuple(group["display"] for group in user["groups"]) for user in users) == {("New",): 60}
    audit(deployment)
