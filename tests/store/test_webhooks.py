"""Endpoints of webhooks as stored: secrets, states, attempts, parked events, positions."""

from __future__ import annotations

import pytest

from gateway.store import Store
from gateway.store.ids_and_time import now
from gateway.store.records import OrganizationRecord, WebhookRecord
from gateway.store.secret_values import SecretValues, UnreadableSecret
from gateway.store.webhooks import (
    DISABLED,
    FAILING,
    FAILURE,
    ON,
    OPERATOR,
    ORGANIZATION,
    PAUSED,
    SUCCESS,
    Attempt,
    Webhooks,
)
from gateway.testing import Deployment

URL = "https://hooks.acme.test/scim"


@pytest.fixture
def store(deployment: Deployment) -> Store:
    return deployment.gateway.store


def add(
    store: Store,
    organization: OrganizationRecord | None = None,
    owner: str = OPERATOR,
    secret: str = "whsec_one",
) -> WebhookRecord:
    with store.transaction():
        webhook = store.webhooks.add(organization, owner, URL, "standard", None, secret, "ann")
        store.webhook_replays.move_to_newest(webhook)
    return webhook


def again(store: Store, webhook: WebhookRecord) -> WebhookRecord:
    found = store.webhooks.by_id(None, webhook.uid)
    assert found
    return found


def attempt(webhook: WebhookRecord, seq: int, outcome: str = SUCCESS, at: int = 0) -> Attempt:
    message_id = f"evt_0198c0de-0000-7000-8000-000000000001_1764000000_{seq}"
    return Attempt(
        webhook.id, 1, seq, "user.created", message_id, at or now(), outcome, 204, 12, None, "thanks"
    )


def test_a_sealed_secret_is_bound_to_its_owner_and_opens_under_older_keys() -> None:
    values = SecretValues("first key " * 4)
    sealed = values.seal("owner", "whsec_value")
    assert "whsec" not in sealed
    assert values.seal("owner", "whsec_value") != sealed
    assert tuple(values.open("owner", sealed)) == ("whsec_value", False)
    renewed = SecretValues("second key " * 4, ["first key " * 4])
    assert tuple(renewed.open("owner", sealed)) == ("whsec_value", True)
    damaged = sealed[:-5] + ("AAAA=" if sealed[-5:] != "AAAA=" else "BBBB=")
    for owner, text, reader in (
        ("other", sealed, values),
        ("owner", sealed, SecretValues("second key " * 4)),
        ("owner", damaged, values),
        ("owner", sealed[3:], values),
        ("owner", "s1.AAAA", values),
        ("owner", "s1.ä", values),
    ):
        with pytest.raises(UnreadableSecret, match="GATEWAY_SECRET_KEY_OLD"):
            reader.open(owner, text)


def test_a_secret_is_stored_encrypted_and_shown_in_no_repr(store: Store) -> None:
    webhook = add(store)
    (row,) = store.database.all("SELECT * FROM webhooks WHERE id = ?", webhook.id)
    assert not any("whsec_one" in str(value) for value in row)
    live = store.webhooks.open(webhook)
    assert live.secrets == ("whsec_one",)
    assert "whsec" not in repr(live)
    assert webhook.secret not in repr(webhook)


def test_the_old_secret_stays_for_its_time(store: Store) -> None:
    webhook = add(store)
    with store.transaction():
        assert store.webhooks.rotate_secret(webhook, "whsec_two", now() + 60_000_000)
    rotated = again(store, webhook)
    assert store.webhooks.open(rotated).secrets == ("whsec_two", "whsec_one")
    assert store.webhooks.open(rotated._replace(old_until=now() - 1)).secrets == ("whsec_two",)


def test_a_secret_under_an_older_key_is_stored_under_the_newest(store: Store) -> None:
    webhook = add(store)
    key = store.webhooks._secrets._secret_keys[0]
    newer = Webhooks(store.database, "another key " * 4, [key])
    assert [live.secrets for live in newer.live() if live.id == webhook.id] == [("whsec_one",)]
    assert Webhooks(store.database, "another key " * 4).open(again(store, webhook)).secrets == ("whsec_one",)
    assert store.webhooks.open(again(store, webhook)).secrets == ()


def test_an_organization_finds_its_own_endpoints_alone(deployment: Deployment, store: Store) -> None:
    acme, other = deployment.organization("Acme"), deployment.organization("Other")
    own, theirs = add(store, acme, ORGANIZATION), add(store, other, ORGANIZATION)
    given, every = add(store, acme), add(store)
    assert [w.uid for w in store.webhooks.page(acme, 0, 10)] == [own.uid]
    assert [w.uid for w in store.webhooks.page(None, own.id - 1, 10)] == [
        own.uid,
        theirs.uid,
        given.uid,
        every.uid,
    ]
    assert store.webhooks.by_id(acme, own.uid) == own
    for foreign in (theirs, given, every):
        assert store.webhooks.by_id(acme, foreign.uid) is None
    assert (store.webhooks.count(acme), store.webhooks.count(None)) == (1, 2)
    assert (own.organization_uid, own.organization_name, every.organization_uid) == (acme.uid, "Acme", None)


def test_a_change_holds_for_the_version_that_was_read(store: Store) -> None:
    webhook = add(store)
    before = store.webhooks.fingerprint()
    with store.transaction():
        assert store.webhooks.change(webhook, types=["user.created"], state=PAUSED)
        assert not store.webhooks.change(webhook, state=ON)
        assert not store.webhooks.remove(webhook)
    changed = again(store, webhook)
    assert (changed.type_names, changed.state, changed.version) == (["user.created"], PAUSED, 2)
    assert store.webhooks.fingerprint() != before
    with store.transaction():
        # The deliverer does not end a pause that it has not read.
        assert not store.webhooks.set_state(webhook.id, changed.version, FAILING, "it is down", now())
        assert store.webhooks.remove(changed)


def test_states_say_which_endpoints_are_live_and_which_are_troubled(store: Store) -> None:
    webhooks = {state: add(store) for state in (ON, PAUSED, FAILING, DISABLED)}
    with store.transaction():
        assert store.webhooks.set_state(webhooks[FAILING].id, 1, FAILING, "503", 5)
        assert not store.webhooks.set_state(webhooks[FAILING].id, 1, DISABLED, "503", 5)
        assert store.webhooks.set_state(webhooks[DISABLED].id, 1, DISABLED, "410", 5)
        assert store.webhooks.change(webhooks[PAUSED], state=PAUSED)
    live = {each.id: each.state for each in store.webhooks.live()}
    assert live == {webhooks[ON].id: ON, webhooks[FAILING].id: FAILING}
    assert {each.id for each in store.webhooks.troubled(None, 10)} == {
        webhooks[FAILING].id, webhooks[DISABLED].id
    }  # fmt: skip
    assert store.webhooks.count_states() == {ON: 1, PAUSED: 1, FAILING: 1, DISABLED: 1}


def test_a_success_is_recorded_without_a_new_version(store: Store) -> None:
    webhook = add(store)
    with store.transaction():
        store.webhooks.record_successes([(20, webhook.id)])
        store.webhooks.record_successes([(10, webhook.id)])
    found = again(store, webhook)
    assert (found.succeeded, found.version) == (20, webhook.version)


def test_attempts_are_listed_newest_first_by_outcome_and_pruned_by_age(store: Store) -> None:
    webhook, gone = add(store), add(store)
    with store.transaction():
        assert store.webhooks.remove(gone)
        rows = [attempt(webhook, seq, FAILURE if seq % 2 else SUCCESS, at=seq) for seq in range(1, 6)]
        store.webhooks.add_attempts([*rows, attempt(gone, 9)])
        store.webhooks.add_attempts([])
    listed = store.webhooks.attempts(webhook, None, None, 10)
    assert [each.seq for each in listed] == [5, 4, 3, 2, 1]
    assert [each.seq for each in store.webhooks.attempts(webhook, FAILURE, listed[0].id, 10)] == [3, 1]
    first = listed[0]
    assert store.webhooks.attempt(webhook, first.id) == first
    assert (first.organization_uid, first.epoch) == ("0198c0de-0000-7000-8000-000000000001", 1764000000)
    with store.transaction():
        assert store.webhooks.prune_attempts(4, 2) == 2
        assert store.webhooks.prune_attempts(4, 2) == 1
        assert store.webhooks.remove_attempts(webhook, 1) == 1
    assert len(store.webhooks.attempts(webhook, None, None, 10)) == 1


def test_parked_events_are_listed_and_removed(deployment: Deployment, store: Store) -> None:
    acme = deployment.organization("Acme")
    scim = deployment.connection("generic", acme)
    user = scim.user("ann@acme.test")
    webhook = add(store)
    with store.transaction():
        for key in (webhook.id, webhook.id, 1 << 30):
            store.webhooks.park(key, acme.id, 1, "400 Bad Request")
        store.webhooks.park(webhook.id, acme.id, 900, "422")
    first, second = store.webhooks.parked(webhook, 0, 10)
    assert (first.type, first.resource_uid, first.organization_uid) == ("user.created", user["id"], acme.uid)
    assert (second.seq, second.type) == (900, None)
    assert store.webhooks.parked(webhook, first.id, 10) == [second]
    assert store.webhooks.find_parked(webhook, second.id) == second
    assert store.webhooks.count_parked(webhook.id) == 2
    with store.transaction():
        assert store.webhooks.remove_parked(webhook.id, acme.id, 900)
        assert not store.webhooks.remove_parked(webhook.id, acme.id, 900)


def test_an_endpoint_begins_with_what_is_committed_from_now_on(deployment: Deployment, store: Store) -> None:
    acme, other = deployment.organization("Acme"), deployment.organization("Other")
    scim, strange = deployment.connection("generic", acme), deployment.connection("generic", other)
    scim.user("ann@acme.test")
    strange.user("ann@other.test")
    webhook, every = add(store, acme, ORGANIZATION), add(store)
    assert store.webhook_replays.lag(webhook).events == store.webhook_replays.lag(every).events == 0
    scim.user("ben@acme.test")
    strange.user("ben@other.test")
    (first,) = store.events.page(acme.id, 1, 1)
    assert tuple(store.webhook_replays.lag(webhook)) == (1, first.at)
    assert store.webhook_replays.lag(every).events == 2
    with store.transaction():
        store.webhook_replays.move_to_newest(webhook)
    assert tuple(store.webhook_replays.lag(webhook)) == (0, None)
    assert store.webhook_replays.lag(every).events == 2


def test_a_removed_organization_leaves_nothing_in_webhooks(deployment: Deployment, store: Store) -> None:
    acme = deployment.organization("Acme")
    deployment.connection("generic", acme).user("ann@acme.test")
    own, every = add(store, acme, ORGANIZATION), add(store)
    with store.transaction():
        store.webhooks.park(every.id, acme.id, 1, "400")
        store.webhooks.add_attempts([attempt(own, 1)])
    assert deployment.admin("DELETE", f"/organizations/{acme.uid}").status == 204
    assert [each.uid for each in store.webhooks.page(None, 0, 10)] == [every.uid]
    assert store.webhooks.count_parked(every.id) == 0
    for table in ("webhook_positions", "webhook_attempts"):
        assert store.database.all(f"SELECT 1 FROM {table} WHERE organization_id = ?", acme.id) == []


def test_a_replay_moves_positions_back_only_and_takes_the_lease(deployment: Deployment, store: Store) -> None:
    acme, other = deployment.organization("Acme"), deployment.organization("Other")
    scim, strange = deployment.connection("generic", acme), deployment.connection("generic", other)
    for name in "abcd":
        scim.user(f"{name}@acme.test")
    strange.user("a@other.test")
    webhook, replays = add(store), store.webhook_replays
    events = store.events.page(acme.id, 0, 10)
    with store.transaction():
        store.database.run("UPDATE events SET at = at + seq * 1000000 WHERE organization_id = ?", acme.id)
        store.database.run("UPDATE webhook_positions SET lease_until = 9, lease_holder = 'x', failures = 2")
    (second,) = store.events.page(acme.id, 1, 1)
    assert tuple(replays.count_since(webhook, None, second.at)) == (1, 3)
    assert tuple(replays.count_since(webhook, other.id, second.at)) == (0, 0)
    # With the deployment's own two: both organizations were made.
    assert tuple(replays.count_since(webhook, None, 0)) == (3, 7)
    assert [stream.organization_uid for stream in replays.failing_streams(webhook, 10)][-2:] == [
        acme.uid,
        other.uid,
    ]
    with store.transaction():
        replays.move_back_to(webhook, None, second.at)
        assert not replays.move_back(webhook, acme.id, 2)
    assert (replays.position(webhook, acme.id), replays.position(webhook, other.id)) == (1, 1)
    held = "SELECT failures, lease_until, lease_holder FROM webhook_positions WHERE organization_id = ?"
    assert store.database.all(held, acme.id) == [(0, 0, None)]
    assert store.database.all(held, other.id) == [(2, 9, "x")]
    with store.transaction():
        assert not replays.skip(webhook, acme.id, 3, 4)
        assert replays.skip(webhook, acme.id, 1, 2)
        replays.end_failures(webhook)
    assert replays.position(webhook, acme.id) == 2
    assert replays.failing_streams(webhook, 10) == []
    assert len(events) == 4
