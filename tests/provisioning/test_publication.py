"""Publication: each committed event gets one number over all organizations, in the order of its organization."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.provisioning.publication import Publisher, Tail
from gateway.scim.errors import Gone
from gateway.store import publications
from gateway.store.publications import CLOSED, DEPLOYMENT
from gateway.testing import Deployment
from tests.support.statements import record_statements


@pytest.fixture(autouse=True)
def _published_by_tests_alone(deployment: Deployment) -> None:
    deployment.gateway.worker.stop()


def _publish(deployment: Deployment) -> None:
    """Publish all that a new process finds."""
    Publisher(deployment.gateway.store, deployment.gateway.worker).publish()


def _published(deployment: Deployment) -> list[tuple[int, int, int]]:
    """(number, organization, number there) of each published event."""
    return [
        (each.number - (each.last_seq - seq), each.organization_id, seq)
        for each in deployment.gateway.store.publications.ranges(0, 10_000)
        for seq in range(each.first_seq, each.last_seq + 1)
    ]


def _own_events(deployment: Deployment) -> list[tuple[int, str, str]]:
    return [
        (record.seq, record.type, record.resource_uid)
        for record in deployment.gateway.store.events.page(DEPLOYMENT, 0, 1000)
    ]


def test_events_are_published_once_in_the_order_of_their_organization(deployment: Deployment) -> None:
    clients = [deployment.connection("generic"), deployment.connection("generic")]
    for number in range(3):
        for client in clients:
            client.user(f"user{number}@acme.test")
        _publish(deployment)
        _publish(deployment)
    first, second = (client.organization.id for client in clients)
    found = _published(deployment)
    assert [number for number, _, _ in found] == list(range(1, 9))
    assert [(key, seq) for _, key, seq in found] == [
        (DEPLOYMENT, 1), (DEPLOYMENT, 2),
        (first, 1), (second, 1), (first, 2), (second, 2), (first, 3), (second, 3),
    ]  # fmt: skip
    assert deployment.gateway.store.publications.state().published == 8


def test_that_an_organization_was_created_precedes_its_events(deployment: Deployment) -> None:
    client = deployment.connection("generic")
    client.user()
    _publish(deployment)
    assert _own_events(deployment) == [(1, "organization.created", client.organization.uid)]
    assert _published(deployment) == [(1, DEPLOYMENT, 1), (2, client.organization.id, 1)]


def test_a_removed_organization_is_an_event_and_keeps_no_place_in_the_order(deployment: Deployment) -> None:
    client = deployment.connection("generic")
    organization = client.organization
    client.user()
    _publish(deployment)
    client.user("user2@acme.test")
    assert deployment.admin("DELETE", f"/organizations/{organization.uid}").status == 204
    _publish(deployment)
    assert _own_events(deployment)[1:] == [(2, "organization.removed", organization.uid)]
    assert _published(deployment) == [(1, DEPLOYMENT, 1), (2, organization.id, 1), (3, DEPLOYMENT, 2)]
    rows = deployment.gateway.store.database.all(
        "SELECT organization_id FROM publications WHERE seq < ?", CLOSED
    )
    assert rows == [(DEPLOYMENT,)]


def test_organizations_from_before_there_was_an_order_are_introduced_in_batches(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.provisioning.publication.BATCH", 10)
    organizations = [deployment.organization(f"Acme {number}", sso=not number) for number in range(25)]
    client = deployment.connection("generic", organizations[0])
    client.user()
    database = deployment.gateway.store.database
    for sql in (
        "DELETE FROM publications",
        "DELETE FROM published_events",
        "UPDATE feed_state SET seq = 0, published = 0",
        "DELETE FROM events WHERE id < 1000",
    ):
        database.run(sql)
    sizes: list[int] = []
    publish = publications.Publications.publish

    def counting(self: publications.Publications, keys: Any) -> int:
        sizes.append(len(keys))
        return publish(self, keys)

    monkeypatch.setattr(publications.Publications, "publish", counting)
    _publish(deployment)
    assert sizes == [10, 10, 5]
    expected = [
        (number, "organization.created", organization.uid)
        for number, organization in enumerate(organizations, 1)
    ]
    assert _own_events(deployment) == expected
    created = deployment.gateway.store.events.page(DEPLOYMENT, 0, 1)[0]
    assert created.at == organizations[0].created
    numbers = {(key, seq): number for number, key, seq in _published(deployment)}
    assert numbers[DEPLOYMENT, 1] < numbers[organizations[0].id, 1]
    assert sorted(numbers.values()) == list(range(1, len(organizations) + 2))
    _publish(deployment)
    assert _own_events(deployment) == expected


def test_what_could_not_be_published_is_published_in_the_next_round(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = deployment.gateway.publisher
    client = deployment.connection("generic")
    publisher.publish()
    client.user()

    def fail(self: Any, keys: Any) -> int:
        raise OSError("the disk does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(publications.Publications, "publish", fail)
        with pytest.raises(OSError, match="disk"):
            publisher.publish()
    publisher.publish()
    assert _published(deployment)[-1][1:] == (client.organization.id, 1)


def test_a_round_costs_no_statement_while_nothing_changed_and_six_for_100_organizations(
    deployment: Deployment,
) -> None:
    publisher = deployment.gateway.publisher
    publisher.publish()
    with record_statements(deployment) as idle:
        publisher.publish()
    assert idle == []
    keys = [deployment.organization(f"Acme {number}", sso=False).id for number in range(100)]
    publisher.schedule(keys)
    publisher.publish()
    deployment.gateway.store.database.run("UPDATE organizations SET event_seq = 3")
    publisher.schedule(keys)
    with record_statements(deployment) as busy:
        publisher.publish()
    assert len(busy) == 6, busy
    assert {key for _, key, _ in _published(deployment)} == {DEPLOYMENT, *keys}
    publisher.schedule(keys)
    with record_statements(deployment) as published_by_others:
        publisher.publish()
    assert len(published_by_others) == 1


def test_the_tail_names_who_has_news_and_calls_its_subscribers(deployment: Deployment) -> None:
    tail, called = Tail(deployment.gateway.store), list[set[int]]()
    tail.subscribe(called.append)
    assert tail.advance() == set()
    assert called == []
    client = deployment.connection("generic")
    assert tail.advance() == {DEPLOYMENT}
    called.clear()
    client.user()
    _publish(deployment)
    news = {client.organization.id}
    with record_statements(deployment) as sent:
        assert tail.advance() == news
        assert tail.advance() == set()
    assert len(sent) == 2
    assert called == [news]
    assert tail.position == 2


def test_a_tail_without_subscribers_reads_nothing(deployment: Deployment) -> None:
    with record_statements(deployment) as sent:
        Tail(deployment.gateway.store).advance_for_subscribers()
    assert sent == []


def test_a_tail_reads_more_than_one_statement_brings(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.provisioning.publication.TAIL_RANGES", 2)
    tail = Tail(deployment.gateway.store)
    tail.advance()
    clients = [deployment.connection("generic") for _ in range(4)]
    for client in clients:
        client.user()
    _publish(deployment)
    assert tail.advance() == {DEPLOYMENT, *(client.organization.id for client in clients)}


def test_a_tail_begins_anew_in_another_epoch(deployment: Deployment) -> None:
    store, tail = deployment.gateway.store, Tail(deployment.gateway.store)
    client = deployment.connection("generic")
    client.user()
    _publish(deployment)
    tail.advance()
    before = tail.epoch
    store.database.run("DELETE FROM published_events WHERE number = 2")
    store.database.run("UPDATE feed_state SET published = 1")
    with store.transaction():
        assert store.publications.begin_epoch(0) > before
    assert tail.advance() == {DEPLOYMENT}
    assert (tail.epoch, tail.position) == (store.publications.state().epoch, 1)


def test_a_page_of_all_ends_before_events_that_are_not_kept_and_the_next_one_says_so(
    deployment: Deployment,
) -> None:
    clients = [deployment.connection("generic") for _ in range(3)]
    for client in clients:
        client.user()
    _publish(deployment)
    feeds, store = deployment.gateway.event_feeds, deployment.gateway.store
    assert [number for number, _, _ in feeds.of_all(0, 100).events] == [1, 2, 3, 4, 5, 6]
    store.database.run("DELETE FROM events WHERE organization_id = ?", clients[1].organization.id)
    page = feeds.of_all(0, 100)
    assert ([number for number, _, _ in page.events], page.next) == ([1, 2, 3, 4], 4)
    with pytest.raises(Gone, match="after=4 are not kept any more"):
        feeds.of_all(4, 100)
    assert [number for number, _, _ in feeds.of_all(5, 100).events] == [6]


def test_what_an_organization_loses_while_it_is_removed_is_left_out_of_the_page_of_all(
    deployment: Deployment,
) -> None:
    client = deployment.connection("generic")
    client.user()
    _publish(deployment)
    feeds, store, organization = deployment.gateway.event_feeds, deployment.gateway.store, client.organization
    with store.transaction():
        store.publications.close(organization.id, organization.uid, organization.name)
        store.database.run("DELETE FROM events WHERE organization_id = ?", organization.id)
    _publish(deployment)
    page = feeds.of_all(0, 100)
    assert [event.type for _, _, event in page.events] == ["organization.created", "organization.removed"]
    assert page.next == 3


def test_an_organization_is_never_given_the_key_of_a_removed_one(deployment: Deployment) -> None:
    removed = deployment.organization("Acme")
    deployment.connection("generic", removed).user("removed@acme.test")
    _publish(deployment)
    assert deployment.admin("DELETE", f"/organizations/{removed.uid}").status == 204
    follower = deployment.connection("generic", deployment.organization("Other"))
    follower.user("new@acme.test")
    _publish(deployment)
    assert follower.organization.id != removed.id
    page = deployment.gateway.event_feeds.of_all(0, 100)
    assert [(event.type, organization) for _, organization, event in page.events] == [
        ("organization.created", removed.uid),
        ("organization.removed", removed.uid),
        ("organization.created", follower.organization.uid),
        ("user.created", follower.organization.uid),
    ]
