"""Who waits for a seat: those whose last call was refused for one, until they are in or something else was done."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.provisioning.seat_queue import SeatQueue
from gateway.store.activity import _REFUSED_FOR_SEAT
from gateway.store.records import OrganizationRecord
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import USER

DAY = 86_400_000_000


@pytest.fixture
def deployment(shared_deployment: Deployment) -> Deployment:
    """The deployment of the module; each test makes an organization of its own."""
    return shared_deployment


@pytest.fixture
def okta(deployment: Deployment) -> Scim:
    """A connection of an organization with one seat, which is taken."""
    scim = deployment.connection("okta", deployment.organization(seats=1))
    scim.user("user0@acme.test")
    return scim


def create(scim: Scim, user_name: str, status: int = 403, **attributes: Any) -> Any:
    answer = scim.call(
        "POST", "/Users", {"schemas": [USER], "userName": user_name, "active": True} | attributes
    )
    assert answer.status == status, answer.text
    return answer.json


def queue(scim: Scim) -> SeatQueue:
    gateway = scim.deployment.gateway
    return gateway.seat_queues.of(gateway.store.organizations.by_key(scim.organization.id))


def names(scim: Scim) -> list[str]:
    return [person.user_name for person in queue(scim).people]


def set_seats(scim: Scim, seats: int | None) -> None:
    gateway = scim.deployment.gateway
    caller = gateway.callers.admin(gateway.store.organizations.by_key(scim.organization.id))
    gateway.setup.edit_organization(caller, {"seat_limit": seats}, scim.deployment.trace(scim.organization))


def test_refused_people_wait_the_last_one_first(okta: Scim) -> None:
    for user_name in ("user1@acme.test", "user2@acme.test", "USER1@acme.test"):
        create(okta, user_name)
    found = queue(okta)
    assert [(person.user_name.lower(), person.times) for person in found.people] == [
        ("user1@acme.test", 2), ("user2@acme.test", 1),
    ]  # fmt: skip
    assert found.people[0].first < found.people[1].first < found.people[0].last
    assert (found.missing, found.has_free_seat) == (2, False)


def test_seats_that_are_missing_are_counted_from_what_is_free(okta: Scim) -> None:
    for number in range(1, 5):
        create(okta, f"user{number}@acme.test")
    set_seats(okta, 3)
    assert (queue(okta).missing, queue(okta).has_free_seat) == (2, True)
    set_seats(okta, 0)
    assert (queue(okta).missing, queue(okta).has_free_seat) == (5, False)
    set_seats(okta, None)
    assert (queue(okta).missing, queue(okta).has_free_seat) == (0, True)


def test_person_who_came_in_waits_no_longer(okta: Scim) -> None:
    create(okta, "user1@acme.test")
    set_seats(okta, 2)
    create(okta, "user1@acme.test", status=201)
    assert names(okta) == []


def test_person_who_is_to_be_active_again_waits(okta: Scim) -> None:
    user = create(okta, "user1@acme.test", status=201, active=False)
    activate = {"op": "replace", "path": "active", "value": True}
    assert okta.patch(f"/Users/{user['id']}", activate).status == 403
    assert names(okta) == ["user1@acme.test"]
    # Unassigned meanwhile.
    assert okta.call("DELETE", f"/Users/{user['id']}").status == 204
    assert names(okta) == []


def test_reading_a_person_does_not_end_the_wait(okta: Scim) -> None:
    create(okta, "user1@acme.test")
    okta.call("GET", '/Users?filter=userName eq "user1@acme.test"')
    assert names(okta) == ["user1@acme.test"]


def test_person_who_is_active_by_an_admin_waits_no_longer(okta: Scim) -> None:
    user = create(okta, "user1@acme.test", status=201, active=False)
    okta.patch(f"/Users/{user['id']}", {"op": "replace", "path": "active", "value": True})
    set_seats(okta, 2)
    gateway = okta.deployment.gateway
    caller = gateway.callers.admin(gateway.store.organizations.by_key(okta.organization.id))
    gateway.users.set_active(caller, user["id"], True, okta.deployment.trace(okta.organization))
    assert names(okta) == []


def test_other_refusals_are_no_wait(okta: Scim) -> None:
    okta.call("POST", "/Users", {"schemas": [USER], "userName": "user0@acme.test"})
    okta.call("POST", "/Users", {"schemas": [USER], "userName": ""})
    assert names(okta) == []


def test_refusal_of_an_admin_is_no_wait(okta: Scim) -> None:
    path = f"/organizations/{okta.organization.uid}/users"
    assert okta.deployment.admin("POST", path, {"user_name": "user1@acme.test"}).status == 403
    assert names(okta) == []


def test_refusals_older_than_thirty_days_are_forgotten(okta: Scim) -> None:
    create(okta, "user1@acme.test")
    database = okta.deployment.gateway.store.database
    for days, waiting in ((29, ["user1@acme.test"]), (2, [])):
        assert names(okta)
        database.run(
            f"UPDATE activity SET at = at - {days * DAY} WHERE organization_id = ? AND status = 403",
            okta.organization.id,
        )
        assert names(okta) == waiting


def test_waiting_people_of_others_are_not_seen(deployment: Deployment, okta: Scim) -> None:
    other = deployment.connection("okta", deployment.organization("Other", seats=0))
    create(other, "user1@acme.test")
    assert names(okta) == []
    assert names(other) == ["user1@acme.test"]


def test_plugin_says_where_to_retry(deployment: Deployment) -> None:
    organization: OrganizationRecord = deployment.organization(seats=0)
    for idp in ("okta", "onelogin"):
        create(deployment.connection(idp, organization), f"{idp}@acme.test", email="")
    okta = deployment.gateway.seat_queues.of(organization).retries
    assert [retry.connection for retry in okta] == ["Okta", "Onelogin"]
    assert "Retry Selected" in okta[0].step
    assert okta[1].step == ""


@pytest.mark.sqlite
def test_read_is_one_statement_with_an_index_for_each_table(deployment: Deployment) -> None:
    """A long activity is not read through: refusals by time, later lines and users by name."""
    database = deployment.gateway.store.database
    plan = " ".join(row[3] for row in database.all(f"EXPLAIN QUERY PLAN {_REFUSED_FOR_SEAT}", 1, 0, 1, 1, 10))
    assert "activity_failures" in plan
    assert "activity_of_user" in plan
    assert "users_name" in plan
    assert "SCAN activity" not in plan
