"""Calls of identity providers are counted by hour, exactly, and shown by day; so are the seats."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.scim.errors import Unavailable
from gateway.store.hourly_calls import CallCounts, CallsKey
from gateway.store.ids_and_time import HOUR, now
from gateway.store.records import OrganizationRecord
from gateway.testing import Deployment, Scim, engines
from tests.store.engine.test_statements import counted

Together = Callable[[Deployment, Sequence[Callable[[], Any]]], list[Any]]
BULK = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"


@pytest.fixture
def okta(deployment: Deployment) -> Scim:
    """A connection of a customer with two seats; the background worker writes nothing."""
    deployment.gateway.worker.stop()
    return deployment.connection("okta", deployment.organization(seats=2))


def counts(scim: Scim) -> tuple[int, int, int]:
    """Done, in part and refused, of all days, for a test may run at midnight."""
    days = scim.deployment.gateway.history.calls_by_day(scim.organization)
    return sum(day.done for day in days), sum(day.partial for day in days), sum(day.refused for day in days)


def write_hours(
    organization: OrganizationRecord, deployment: Deployment, *rows: Sequence[int | None]
) -> None:
    """Store hours: how many days ago (at noon), done, partial, refused, seats in use, limit."""
    noon = now() // HOUR // 24 * 24 + 12
    deployment.gateway.store.database.insert(
        "hourly_calls (organization_id, hour, done, partial, refused, seats_used, seat_limit)",
        [(organization.id, noon - 24 * (ago or 0), *rest) for ago, *rest in rows],
    )


def test_calls_are_counted_by_outcome(deployment: Deployment, okta: Scim) -> None:
    first = okta.user("user1@acme.test")["id"]
    assert okta.call("GET", f"/Users/{first}").status == 200
    assert counts(okta) == (2, 0, 0)
    okta.group("Sales", (first, "nobody-here"))
    assert counts(okta) == (2, 1, 0)
    assert okta.call("GET", "/Users/nobody").status == 404
    assert {okta.call("GET", "/Users", token="wrong").status for _ in range(3)} == {401}
    assert okta.call("GET", "/Nothing").status == 404
    okta.user("user2@acme.test")
    full = {"schemas": [USER], "userName": "user3@acme.test", "active": True}
    assert okta.call("POST", "/Users", full).status == 403
    assert counts(okta) == (3, 1, 6)


def test_counts_are_those_of_the_lines_that_identity_providers_left(
    deployment: Deployment, okta: Scim
) -> None:
    operations = [
        {"method": "POST", "path": "/Users", "bulkId": name, "data": {"schemas": [USER], "userName": name}}
        for name in ("a@acme.test", "b@acme.test", "c@acme.test")
    ]
    answer = okta.call("POST", "/Bulk", {"schemas": [BULK], "Operations": operations})
    assert [operation["status"] for operation in answer.json["Operations"]] == ["201", "201", "403"]
    lines = [line for line in deployment.activity(okta.organization) if " /" in line.operation]
    by_outcome = [
        sum(line.times for line in lines if line.outcome == outcome)
        for outcome in ("success", "partial", "failure")
    ]
    assert counts(okta) == tuple(by_outcome) == (2, 1, 1)


def test_calls_of_admins_and_of_strangers_are_not_counted(deployment: Deployment, okta: Scim) -> None:
    path = f"/organizations/{okta.organization.uid}"
    assert deployment.admin("POST", f"{path}/groups", {"name": "Sales"}).status == 201
    assert deployment.admin("POST", f"{path}/groups", {"name": "Sales"}).status == 409
    assert deployment.admin("PUT", f"/connections/{okta.uid}/provisioning", {"enabled": True}).status == 200
    assert deployment.admin("POST", f"/connections/{okta.uid}/tokens", {"label": 1}).status == 422
    assert deployment.call("GET", "/scim/v2/okta-nobody/Users", None, {}).status == 401
    assert okta.call("GET", "/ServiceProviderConfig").status == 200
    assert counts(okta) == (0, 0, 0)
    assert deployment.gateway.store.database.all("SELECT * FROM hourly_calls") == []


def test_counts_of_many_threads_and_processes_are_exact(
    deployment: Deployment, okta: Scim, together: Together, tmp_path: Path
) -> None:
    config = deployment.gateway.config
    same = {"database_url": config.database_url, "secret_key": config.secret_key}
    other_process = Deployment(config.instance, **same)
    others = [deployment.connection("entra", deployment.organization(f"Other {n}")) for n in range(3)]
    user = okta.user()["id"]

    def call(number: int) -> None:
        serving = (deployment, other_process)[number % 2]
        for scim in (okta, *others):
            through = Scim(serving, scim.uid, scim.token)
            for _ in range(10):
                assert through.call("GET", f"/Users/{user}").status == (200 if scim is okta else 404)
                serving.gateway.activity_writer.flush_briefly()
            assert through.call("GET", "/Users", token="wrong").status == 401

    try:
        together(deployment, [lambda number=number: call(number) for number in range(8)])  # type: ignore[misc]
        other_process.gateway.activity_writer.flush()
    finally:
        other_process.gateway.close()
    assert counts(okta) == (81, 0, 8)
    for other in others:
        assert counts(other) == (0, 0, 88)


def test_one_flush_writes_the_calls_of_all_organizations_in_one_statement(
    deployment: Deployment, okta: Scim, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [deployment.connection("okta", deployment.organization(f"Other {n}")) for n in range(3)]
    for scim in (okta, *others):
        scim.user("user1@acme.test")
        assert scim.call("GET", "/Users/nobody").status == 404
    with counted(deployment, monkeypatch) as sent:
        deployment.gateway.activity_writer.flush()
    assert len([sql for sql in sent if "INSERT INTO hourly_calls" in sql]) == 1
    with counted(deployment, monkeypatch) as sent:
        deployment.gateway.activity_writer.flush()
    assert sent == []
    assert {counts(scim) for scim in (okta, *others)} == {(1, 0, 1)}


@pytest.mark.sqlite
def test_flush_that_failed_loses_no_calls(deployment: Deployment, okta: Scim) -> None:
    okta.user("user1@acme.test")
    assert okta.call("GET", "/Users/nobody").status == 404
    gateway = deployment.gateway
    with closing(sqlite3.connect(gateway.config.instance / engines.DATABASE)) as other:
        other.execute("BEGIN IMMEDIATE")
        gateway.limit_waits(0.1)
        with pytest.raises(Unavailable):
            gateway.activity_writer.flush()
        gateway.limit_waits(None)
    assert okta.call("GET", "/Users/nobody").status == 404
    assert counts(okta) == (1, 0, 2)


def test_calls_of_a_removed_organization_are_dropped(deployment: Deployment, okta: Scim) -> None:
    gone = deployment.connection("okta", deployment.organization("Gone"))
    for scim in (okta, gone):
        scim.user("user1@acme.test")
    assert deployment.admin("DELETE", f"/organizations/{gone.organization.uid}").status == 204
    deployment.gateway.activity_writer.flush()
    assert counts(okta) == (1, 0, 0)
    rows = deployment.gateway.store.database.all("SELECT organization_id FROM hourly_calls")
    assert rows == [(okta.organization.id,)]


def test_days_without_calls_are_zero_and_seats_are_carried_on(deployment: Deployment, okta: Scim) -> None:
    okta.user("user1@acme.test")
    hours = [(8, 5, 0, 0, 1, 3), (4, 1, 2, 3, 7, 9), (2, 4, 0, 0, 2, 10), (6, 1, 0, 0, 4, None)]
    write_hours(okta.organization, deployment, *hours)
    days = deployment.gateway.history.calls_by_day(okta.organization)
    assert [day[1:] for day in days[:6]] == [(1, 0, 0), (0, 0, 0), (1, 2, 3), (0, 0, 0), (4, 0, 0), (0, 0, 0)]
    assert days[-1].total == days[-1].done == 1
    last = datetime.now(UTC).date()
    assert [day.day for day in days] == [last - timedelta(days=ago) for ago in range(6, -1, -1)]
    seats = deployment.gateway.history.seats_by_day(okta.organization)
    assert [day.day for day in seats] == [day.day for day in days]
    assert [(day.used, day.limit) for day in seats] == [
        (4, None),
        (4, None),
        (7, 9),
        (7, 9),
        (7, 10),
        (2, 10),
        (1, 2),
    ]


def test_seats_are_unknown_before_the_first_call(deployment: Deployment, okta: Scim) -> None:
    write_hours(okta.organization, deployment, (1, 1, 0, 0, 1, 2))
    seats = deployment.gateway.history.seats_by_day(okta.organization, days=3)
    assert [(day.used, day.limit) for day in seats] == [(None, None), (1, 2), (0, 2)]


def test_failing_organizations_have_the_most_refused_first_and_the_full_ones_last(
    deployment: Deployment,
) -> None:
    deployment.gateway.worker.stop()
    quiet, some, most, old = (deployment.organization(name) for name in ("Quiet", "Some", "Most", "Old"))
    full = deployment.connection("okta", deployment.organization("Full", seats=1))
    full.user("user1@acme.test")
    hour, add = now() // HOUR, deployment.gateway.store.hourly_calls.add
    add(
        {
            CallsKey(quiet.id, hour): CallCounts(done=3, partial=1),
            CallsKey(some.id, hour): CallCounts(refused=2),
        }
    )
    add({CallsKey(most.id, hour - back): CallCounts(refused=2) for back in (0, 22)})
    add({CallsKey(old.id, hour - 25): CallCounts(refused=9)})
    history = deployment.gateway.history
    found = [(each.organization.name, each.refused) for each in history.failing_organizations()]
    assert found == [("Most", 4), ("Some", 2), ("Full", 0)]
    assert [each.organization.name for each in history.failing_organizations(limit=1)] == ["Most"]
    assert [each.refused for each in history.failing_organizations(since_hours=48)] == [9, 4, 2, 0]


@pytest.mark.parametrize(("days", "left"), [(90, 1), (0, 251)])
def test_old_hours_are_pruned_some_with_each_flush(tmp_path: Path, days: int, left: int) -> None:
    deployment = Deployment(tmp_path / "instance", activity_days=days)
    try:
        deployment.gateway.worker.stop()
        okta = deployment.connection("okta")
        database = deployment.gateway.store.database
        write_hours(okta.organization, deployment, *((91 + ago, 1, 0, 0, 0, None) for ago in range(250)))
        remaining = []
        for _ in range(4):
            assert okta.call("GET", "/Users/nobody").status == 404
            deployment.gateway.activity_writer.flush()
            remaining.append(len(database.all("SELECT hour FROM hourly_calls")))
        assert remaining == ([151, 51, 1, 1] if days else [251] * 4)
        assert remaining[-1] == left
    finally:
        deployment.close()
