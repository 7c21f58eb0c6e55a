"""Old events are removed in pieces, never one that a subscriber waits for, and followers are shown where to begin."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.provisioning import event_pruning
from gateway.provisioning.event_pruning import EventPruning
from gateway.provisioning.publication import Publisher
from gateway.store.ids_and_time import now
from gateway.store.publications import DEPLOYMENT
from gateway.testing import Deployment, Scim
from tests.support.admin import AdminClient
from tests.support.statements import record_statements

DAY = 86_400_000_000
HOUR = 3_600_000_000


class History:
    """Organizations whose events are moved into the past, and what is left of them."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment, self.store = deployment, deployment.gateway.store
        self.moment = now()

    def publish(self) -> None:
        Publisher(self.store, self.deployment.gateway.worker).publish()

    def age(self, days: int, client: Scim, up_to: int) -> None:
        """Let the first events of an organization be so many days old."""
        with self.store.transaction():
            self.store.database.run(
                "UPDATE events SET at = ? WHERE organization_id = ? AND seq <= ?",
                self.moment - days * DAY, client.organization.id, up_to,
            )  # fmt: skip

    def age_deployment(self, days: int) -> None:
        with self.store.transaction():
            self.store.database.run(
                "UPDATE events SET at = ? WHERE organization_id = ?", self.moment - days * DAY, DEPLOYMENT
            )

    def prune(self, days: int = 10, rounds: int = 12) -> EventPruning:
        """Run the rounds of an hour."""
        task = EventPruning(self.store, self.deployment.gateway.plugins, days, lambda: self.moment)
        for _ in range(rounds):
            task.prune()
        return task

    def left(self, client: Scim) -> list[int]:
        return [record.seq for record in self.store.events.page(client.organization.id, 0, 10_000)]

    def ranges(self) -> list[int]:
        return [each.number for each in self.store.publications.ranges(0, 10_000)]

    def run(self, sql: str, *parameters: Any) -> None:
        with self.store.transaction():
            self.store.database.run(sql, *parameters)


@pytest.fixture
def history(deployment: Deployment) -> History:
    deployment.gateway.worker.stop()
    return History(deployment)


def _client(history: History, users: int) -> Scim:
    client = history.deployment.connection("generic")
    for number in range(users):
        client.user(f"user{number}@acme.test")
        history.publish()
    return client


def test_events_are_removed_when_they_are_older_than_the_days(history: History) -> None:
    client, other = _client(history, 5), _client(history, 2)
    history.age(11, client, 3)
    history.prune(days=0)
    assert history.left(client) == [1, 2, 3, 4, 5]
    history.prune()
    assert (history.left(client), history.left(other)) == ([4, 5], [1, 2])
    client.user("late@acme.test")
    assert history.left(client) == [4, 5, 6]


def test_a_follower_of_pruned_events_is_shown_the_snapshot(history: History) -> None:
    client = _client(history, 5)
    api, path = AdminClient(history.deployment, client.organization.uid), f"{client.organization.uid}"
    numbers = {
        each["id"]: each["number"] for each in api.get("/events")["items"] if each["resource"] == "User"
    }
    history.age(11, client, 3)
    history.age_deployment(11)
    history.prune()
    assert [event["id"] for event in api.get(f"{api.path}/events?after=3")["items"]] == [4, 5]
    for after in (0, 2):
        assert (
            f"/organizations/{path}/snapshot" in api.get(f"{api.path}/events?after={after}", 410)["message"]
        )
    assert [event["id"] for event in api.get(f"/events?after={numbers[3]}")["items"]] == [4, 5]
    for after in (0, numbers[2]):
        assert "snapshot" in api.get(f"/events?after={after}", 410)["message"]
    assert history.ranges() == [numbers[4], numbers[5]]


def test_numbers_go_on_when_all_events_are_removed(history: History) -> None:
    client = _client(history, 3)
    api = AdminClient(history.deployment, client.organization.uid)
    newest = api.get("/events?newest=true")["next"]
    history.age(11, client, 3)
    history.age_deployment(11)
    history.prune()
    assert (history.left(client), history.ranges()) == ([], [])
    assert api.get(f"{api.path}/events?after=3")["items"] == api.get(f"/events?after={newest}")["items"] == []
    api.get(f"{api.path}/events?after=2", 410)
    api.get(f"/events?after={newest - 1}", 410)
    client.user("late@acme.test")
    history.publish()
    assert [event["id"] for event in api.get(f"{api.path}/events?after=3")["items"]] == [4]
    assert [event["number"] for event in api.get(f"/events?after={newest}")["items"]] == [newest + 1]


def test_what_is_not_published_is_kept(history: History) -> None:
    client = _client(history, 2)
    client.user("late@acme.test")
    history.age(11, client, 3)
    history.prune()
    assert history.left(client) == [3]
    history.publish()
    history.prune()
    assert history.left(client) == []


def test_events_of_an_absent_listener_wait_thirty_days(history: History) -> None:
    client = _client(history, 4)
    history.run("INSERT INTO listeners (plugin, since) VALUES ('absent', 0)")
    history.age(11, client, 4)
    history.prune()
    assert history.left(client) == [1, 2, 3, 4]
    history.run(
        "INSERT INTO deliveries (plugin, organization_id, seq, failures, retry_at) VALUES ('absent', ?, 2, 0, 0)",
        client.organization.id,
    )
    history.prune()
    assert history.left(client) == [3, 4]
    history.age(31, client, 4)
    history.prune()
    assert history.left(client) == []


@pytest.mark.parametrize(
    ("state", "url", "modified", "kept"),
    [
        ("on", "https://acme.test/hooks", 40, [3, 4]),
        ("failing", "https://acme.test/hooks", 40, [3, 4]),
        ("paused", "https://acme.test/hooks", 29, [3, 4]),
        ("paused", "https://acme.test/hooks", 31, []),
        ("disabled", "https://acme.test/hooks", 31, []),
        ("on", "", 29, [3, 4]),
        ("on", "", 31, []),
    ],
)
def test_events_wait_for_a_webhook_that_works_or_did_so_lately(
    history: History, state: str, url: str, modified: int, kept: list[int]
) -> None:
    client = _client(history, 4)
    moment = history.moment - modified * DAY
    history.run(
        "INSERT INTO webhooks (uid, organization_id, owner, url, format, state, secret, created, modified, version)"
        " VALUES ('hook', ?, 'operator', ?, 'set', ?, '', ?, ?, 1)",
        client.organization.id, url, state, moment, moment,
    )  # fmt: skip
    history.run(
        "INSERT INTO webhook_positions (webhook_id, organization_id, seq, failures, retry_at, lease_until)"
        " SELECT id, organization_id, 2, 0, 0, 0 FROM webhooks"
    )
    history.age(60, client, 4)
    history.prune()
    assert history.left(client) == kept


def test_a_round_removes_so_many_events_and_asks_so_many_statements(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_pruning, "MOST", 4)
    clients = [_client(history, 6), _client(history, 3)]
    for client in clients:
        history.age(11, client, 6)
    task = EventPruning(history.store, history.deployment.gateway.plugins, 10, lambda: history.moment)
    left, counts = [], []
    for _ in range(6):
        with record_statements(history.deployment) as statements:
            task.prune()
        counts.append(len(statements))
        left.append([len(history.left(client)) for client in clients])
    assert left[:3] == [[2, 3], [0, 1], [0, 0]]
    assert max(counts) <= 9
    for _ in range(6):
        task.prune()
    with record_statements(history.deployment) as statements:
        task.prune()
    assert statements == []
    history.moment += HOUR
    with record_statements(history.deployment) as statements:
        task.prune()
    assert statements


@pytest.mark.sqlite  # the planner of PostgreSQL depends on statistics
def test_no_statement_looks_through_all_events(history: History) -> None:
    """SQLite says of each whether it searches or scans."""
    client = _client(history, 3)
    history.age(11, client, 2)
    database = history.store.database
    with record_statements(history.deployment) as statements:
        history.prune()
    asked = [text for text in map(str, statements) if "events" in text and not text.startswith("UPDATE")]
    assert asked
    for text in asked:
        plan = database.all(f"EXPLAIN QUERY PLAN {text}", *([0] * text.count("?")))
        assert not [row for row in plan if "SCAN e" in row[-1] or "SCAN events" in row[-1]], plan
