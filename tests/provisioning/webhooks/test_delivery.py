"""Delivery to endpoints that answer, fail, hang and refuse, over a real HTTP server, on both engines.

Rounds are run by the test; the clock is an argument.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from standardwebhooks import Webhook

from gateway.provisioning.webhooks import delivery, messages
from gateway.provisioning.webhooks.delivery import Deliverer
from gateway.store.events import position as event_position
from gateway.store.ids_and_time import now
from gateway.store.records import OrganizationRecord, WebhookRecord
from gateway.testing import Deployment
from tests.support.receiver import Receiver
from tests.support.statements import record_statements
from tests.support.timing import check_seconds

MINUTE, DAY = 60_000_000, 86_400_000_000


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


class Clock:
    """The time of a deliverer: the real one and what was added."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> int:
        return now() + self.ahead


class Process:
    """The deliverer of one process, whose rounds the test runs."""

    def __init__(self, deployment: Deployment) -> None:
        gateway = deployment.gateway
        self.clock, self.store = Clock(), gateway.store
        config = gateway.config.__class__(
            **{
                **vars(gateway.config),
                "webhook_allow": ("127.0.0.0/8",),
                "public_url": "https://scim.acme.test",
            }
        )
        self.deliverer = Deliverer(
            config, gateway.store, gateway.outages, gateway.tail, gateway.token_keys, self.clock
        )

    def run(self, until: Callable[[], bool] | None = None) -> None:
        """Run rounds until a condition holds, at most ten seconds, and some more, which write what came of it.

        A request that its receiver has may not be answered yet: it is waited for, unless the receiver keeps it.
        """
        deadline = time.monotonic() + 10
        while until and not until() and time.monotonic() < deadline:
            self._run_round(0.02)
        deadline = time.monotonic() + 1
        while (
            any(stream.sending for stream in self.deliverer._schedule.streams())
            and time.monotonic() < deadline
        ):
            self._run_round(0.02)
        for _ in range(3):
            self._run_round(0.02)

    def _run_round(self, seconds: float) -> None:
        self.deliverer._looked = self.deliverer._swept = -1000.0
        self.deliverer.run_round(seconds)

    def pass_time(self, microseconds: int) -> None:
        self.clock.ahead += microseconds


@pytest.fixture
def process(deployment: Deployment) -> Iterator[Process]:
    deployment.gateway.worker.stop()  # its thread; what is published is published here
    made = Process(deployment)
    yield made
    made.deliverer.stop()


def hook(
    deployment: Deployment, url: str, organization: OrganizationRecord | None = None, owner: str = "operator",
    types: list[str] | None = None, format: str = "standard",
) -> WebhookRecord:  # fmt: skip
    with deployment.gateway.store.transaction():
        store = deployment.gateway.store
        webhook = store.webhooks.add(organization, owner, url, format, types, messages.new_secret(), None)
        store.webhook_replays.move_to_newest(webhook)
        return webhook


def state(deployment: Deployment, webhook: WebhookRecord) -> tuple[str, str | None]:
    found = deployment.gateway.store.webhooks.by_id(None, webhook.uid)
    assert found
    return found.state, found.reason


def position(deployment: Deployment, webhook: WebhookRecord, organization_id: int) -> tuple[Any, ...]:
    row = deployment.gateway.store.database.one(
        "SELECT seq, failures, lease_until FROM webhook_positions WHERE webhook_id = ? AND organization_id = ?",
        webhook.id,
        organization_id,
    )
    return row or ()


def attempts(deployment: Deployment, webhook: WebhookRecord) -> list[tuple[int, str, int | None]]:
    found = deployment.gateway.store.webhooks.attempts(webhook, None, None, 100)
    return [(each.seq, each.outcome, each.status) for each in reversed(found)]


def test_without_a_webhook_a_round_is_one_statement_a_second(deployment: Deployment) -> None:
    process = Process(deployment)
    assert not process.deliverer.run_round(1.0)
    with record_statements(deployment) as counted:
        for _ in range(5):
            assert not process.deliverer.run_round(1.0)
    assert len(counted) == 0
    process.deliverer._looked = -1000.0
    with record_statements(deployment) as counted:
        assert not process.deliverer.run_round(1.0)
    assert len(counted) == 1


def test_events_are_delivered_signed_in_order_and_a_new_endpoint_begins_at_the_present(
    deployment: Deployment, process: Process, receiver: Receiver
) -> None:
    scim = deployment.connection("generic")
    scim.user("before@acme.test")
    webhook = hook(deployment, f"{receiver.url}/", scim.organization)
    for number in range(3):
        scim.user(f"user{number}@acme.test")
    process.run(lambda: len(receiver.got) >= 3)
    assert receiver.numbers() == [2, 3, 4]
    _, headers, body = receiver.got[-1]
    epoch = deployment.gateway.store.publications.state().epoch
    assert (body["type"], body["organization"], body["epoch"]) == (
        "user.created",
        scim.organization.uid,
        epoch,
    )
    assert headers["webhook-id"] == f"evt_{scim.organization.uid}_{epoch}_4"
    secret = deployment.gateway.store.webhooks.open(webhook).secrets[0]
    assert Webhook(secret).verify(receiver.raw, headers)["data"]["userName"] == "user2@acme.test"
    process.run()
    assert position(deployment, webhook, scim.organization.id) == (4, 0, 0)
    assert attempts(deployment, webhook) == [(number, "success", 204) for number in (2, 3, 4)]


def test_an_event_that_comes_as_its_stream_is_released_is_sent_at_once(
    deployment: Deployment, process: Process, receiver: Receiver
) -> None:
    scim = deployment.connection("generic")
    hook(deployment, f"{receiver.url}/", scim.organization)
    scim.user("user0@acme.test")
    deployment.gateway.publisher.publish()
    process.run(lambda: bool(receiver.got))
    # From here on without a look at all organizations, which would find what news did not.
    for number in (2, 3):
        scim.user(f"user{number}@acme.test")
        deployment.gateway.publisher.publish()
        deadline = time.monotonic() + 5
        # A round ends as soon as its event is received: what came of it is written in the round of the next event.
        while len(receiver.got) < number and time.monotonic() < deadline:
            process.deliverer.run_round(0.05)
    assert receiver.numbers() == [1, 2, 3]


def test_tokens_that_cannot_be_made_hold_up_no_other_endpoint(
    deployment: Deployment, process: Process, receiver: Receiver
) -> None:
    """An event that no token can be made of; more endpoints fail than there are sender threads."""
    scim = deployment.connection("generic")
    failing = [hook(deployment, f"{receiver.url}/{n}", scim.organization, format="set") for n in range(5)]
    hook(deployment, f"{receiver.url}/works", scim.organization)
    scim.user("user0@acme.test")
    deployment.gateway.store.database.run("UPDATE events SET data = '[]' WHERE organization_id > 0")
    deployment.gateway.publisher.publish()
    process.run(lambda: bool(receiver.got) and all(attempts(deployment, each) for each in failing))
    assert [path for path, _, _ in receiver.got] == ["/works"]
    for webhook in failing:
        assert attempts(deployment, webhook)[0] == (1, "failure", None)
        assert position(deployment, webhook, scim.organization.id)[0] == 0


def test_a_receiver_of_security_event_tokens_is_pushed_one_that_its_keys_verify(
    deployment: Deployment, process: Process, receiver: Receiver
) -> None:
    from joserfc import jwt
    from joserfc.jwk import KeySet

    scim = deployment.connection("generic")
    hook(deployment, f"{receiver.url}/", scim.organization, format="set")
    receiver.answer = lambda path, body: 202
    user = scim.user("user0@acme.test")
    deployment.gateway.publisher.publish()
    process.run(lambda: bool(receiver.got))
    _, headers, _ = receiver.got[0]
    assert headers["content-type"] == "application/secevent+jwt"
    keys = KeySet.import_key_set({"keys": list(deployment.gateway.token_keys.public_keys(now()))})
    claims = jwt.decode(receiver.raw, keys, algorithms=["ES256"]).claims
    assert claims["sub_id"]["uri"] == f"/Users/{user['id']}"
    assert list(claims["events"]) == ["urn:ietf:params:scim:event:prov:create:full"]


def test_metrics_say_how_many_webhooks_there_are_and_how_far_they_are_behind(deployment: Deployment) -> None:
    def gauges() -> list[str]:
        text = deployment.app.test_client().get("/metrics").get_data(as_text=True)
        return [line for line in text.splitlines() if line.startswith("gateway_webhook")]

    assert gauges() == []
    scim = deployment.connection("generic")
    hook(deployment, "https://one.acme.test/", scim.organization, "organization")
    scim.user()
    hook(deployment, "https://two.acme.test/")
    scim.user("user2@acme.test")
    deployment.gateway.webhook_gauges._read_at = -1000.0
    assert gauges() == [
        *(f'gateway_webhook_endpoints{{state="{state}"}} {number}.0' for state, number in
          [("on", 2), ("failing", 0), ("paused", 0), ("disabled", 0)]),
        *(f'gateway_webhook_lag_events{{quantile="{part}"}} {events}.0' for part, events in
          [(0.5, 1), (0.9, 2), (1.0, 2)]),
    ]  # fmt: skip


def test_types_that_are_not_wanted_are_passed_over(
    deployment: Deployment, process: Process, receiver: Receiver
) -> None:
    scim = deployment.connection("generic")
    webhook = hook(deployment, f"{receiver.url}/", None, types=["user.deactivated"])
    user = scim.user()
    scim.patch(f"/Users/{user['id']}", {"op": "replace", "path": "active", "value": False})
    scim.user("user2@acme.test")
    process.run(lambda: bool(receiver.got))
    process.run()
    assert [body["type"] for _, _, body in receiver.got] == ["user.deactivated"]
    newest = deployment.gateway.store.events.newest(scim.organization.id)
    assert position(deployment, webhook, scim.organization.id)[0] == newest


def test_an_operators_endpoint_gets_all_organizations_and_the_deployments_own_events(
    deployment: Deployment, process: Process, receiver: Receiver
) -> None:
    hook(deployment, f"{receiver.url}/all")
    organizations = [deployment.connection("generic") for _ in range(3)]
    hook(deployment, f"{receiver.url}/one", organizations[0].organization)
    for scim in organizations:
        scim.user()
        scim.user("user2@acme.test")
    deployment.gateway.publisher.publish()
    process.run(lambda: len(receiver.got) >= 11)
    by_organization: dict[str | None, list[int]] = {}
    for path, _, body in receiver.got:
        if path == "/all":
            by_organization.setdefault(body["organization"], []).append(body["id"])
    assert all(by_organization[scim.organization.uid] == [1, 2] for scim in organizations)
    assert len(by_organization[None]) == 3
    assert receiver.numbers("/one") == [1, 2]


def test_a_failed_event_is_sent_again_after_a_wait_with_the_same_id_and_the_rest_follows_in_order(
    deployment: Deployment, process: Process, receiver: Receiver
) -> None:
    scim = deployment.connection("generic")
    webhook = hook(deployment, f"{receiver.url}/", scim.organization)
    receiver.answer = lambda path, body: 500 if len(receiver.got) == 1 else 200
    scim.user()
    scim.user("user2@acme.test")
    process.run(lambda: bool(receiver.got))
    process.run()
    assert receiver.numbers() == [1]
    assert position(deployment, webhook, scim.organization.id) == (0, 1, 0)
    process.pass_time(7_000_000)
    process.run(lambda: len(receiver.got) >= 3)
    assert receiver.numbers() == [1, 1, 2]
    assert receiver.got[0][1]["webhook-id"] == receiver.got[1][1]["webhook-id"]
    assert attempts(deployment, webhook) == [(1, "failure", 500), (1, "success", 200), (2, "success", 200)]


def test_a_failing_endpoint_is_reported_to_others_and_so_is_its_recovery(
    deployment: Deployment, process: Process, receiver: Receiver
) -> None:
    scim = deployment.connection("generic")
    webhook = hook(deployment, f"{receiver.url}/", scim.organization)
    hook(deployment, f"{receiver.url}/operator", None, types=["webhook.failing", "webhook.recovered"])
    receiver.answer = lambda path, body: 503 if path == "/" else 200
    scim.user()
    for tries in range(1, 5):
        process.run(lambda tries=tries: len(receiver.numbers()) >= tries)  # type: ignore[misc]
        assert len(receiver.numbers()) == tries
        process.pass_time(8 * MINUTE)
    process.run(lambda: bool(receiver.numbers("/operator")))
    assert state(deployment, webhook) == ("failing", "The endpoint answered 503.")
    receiver.answer = lambda path, body: 200
    process.pass_time(30 * MINUTE)
    process.run(lambda: len(receiver.numbers("/operator")) > 1)
    assert state(deployment, webhook) == ("on", None)
    reported = [body for path, _, body in receiver.got if path == "/operator"]
    assert [body["type"] for body in reported] == ["webhook.failing", "webhook.recovered"]
    assert reported[0]["data"] == {
        "id": webhook.uid, "organization": scim.organization.uid, "url_host": "127.0.0.1",
        "reason": "The endpoint answered 503.",
    }  # fmt: skip
    lines = deployment.activity(scim.organization)
    # The reason may name addresses of the operator's network, of which an organization learns nothing.
    assert [(line.operation, line.detail) for line in lines if line.target_uid == webhook.uid] == [
        ("webhook recovered", None),
        ("webhook failing", "It is a webhook of the operator, who sees the reason there."),
    ]


def test_gone_disables_at_once_and_five_days_without_success_do(
    deployment: Deployment, process: Process, receiver: Receiver
) -> None:
    scim, other = deployment.connection("generic"), deployment.connection("generic")
    gone = hook(deployment, f"{receiver.url}/gone", scim.organization)
    dead = hook(deployment, f"{receiver.url}/dead", other.organization)
    receiver.answer = lambda path, body: 410 if path == "/gone" else 500
    for each in (scim, other):
        each.user()
        each.user("user2@acme.test")
    process.run(lambda: len(receiver.got) >= 2)
    process.run()
    assert state(deployment, gone) == ("disabled", "The endpoint answered 410: it wants no more events.")
    assert receiver.numbers("/gone") == [1]
    for tries in range(2, 6):
        process.pass_time(30 * MINUTE)
        process.run(lambda tries=tries: len(receiver.numbers("/dead")) >= tries)  # type: ignore[misc]
    assert state(deployment, dead)[0] == "failing"
    process.pass_time(5 * DAY)
    process.run(lambda: len(receiver.numbers("/dead")) >= 6)
    process.run()
    assert state(deployment, dead) == (
        "disabled",
        "It took no event for five days. The endpoint answered 500.",
    )
    process.pass_time(DAY)
    process.run()
    assert receiver.numbers("/dead") == [1] * 6


def test_an_event_that_is_refused_ten_times_is_parked_and_the_next_message_says_so(
    deployment: Deployment, process: Process, receiver: Receiver
) -> None:
    scim = deployment.connection("generic")
    webhook = hook(deployment, f"{receiver.url}/", scim.organization)
    receiver.answer = lambda path, body: 422 if body["id"] == 1 else 200
    scim.user()
    scim.user("user2@acme.test")
    for tries in range(1, 11):
        process.run(lambda tries=tries: len(receiver.got) >= tries)  # type: ignore[misc]
        if tries < 10:
            assert receiver.numbers() == [1] * tries
            process.pass_time(20 * MINUTE)
    process.run(lambda: len(receiver.got) >= 11)
    assert receiver.numbers() == [1] * 10 + [2]
    assert receiver.got[-1][1]["webhook-parked"] == "1"
    parked = deployment.gateway.store.webhooks.find_parked(webhook, event_position(scim.organization.id, 1))
    assert parked
    assert parked.error == "The endpoint answered 422."
    assert position(deployment, webhook, scim.organization.id)[0] == 2


def test_a_dead_endpoint_and_a_slow_one_hold_up_nobody_else(
    deployment: Deployment, process: Process, receiver: Receiver
) -> None:
    release = threading.Event()

    def answer(path: str, body: dict[str, Any]) -> int:
        if path == "/slow":
            release.wait(20)
        return 204

    receiver.answer = answer
    organizations = [deployment.connection("generic") for _ in range(4)]
    hook(deployment, f"{receiver.url}/slow", organizations[0].organization)
    hook(deployment, "http://127.0.0.1:9/", organizations[1].organization)
    for number, scim in enumerate(organizations[2:]):
        hook(deployment, f"{receiver.url}/{number}", scim.organization)
    for scim in organizations:
        for number in range(3):
            scim.user(f"user{number}@acme.test")
    began = time.monotonic()
    process.run(lambda: len(receiver.numbers("/0")) == len(receiver.numbers("/1")) == 3)
    check_seconds(time.monotonic() - began, 5)
    assert receiver.numbers("/0") == receiver.numbers("/1") == [1, 2, 3]
    assert receiver.numbers("/slow") == [1]
    release.set()
    process.run(lambda: len(receiver.numbers("/slow")) == 3)
    assert receiver.numbers("/slow") == [1, 2, 3]


def test_two_processes_share_the_work_and_what_one_leased_the_other_leaves(
    deployment: Deployment, process: Process, receiver: Receiver
) -> None:
    release = threading.Event()
    receiver.answer = lambda path, body: 204 if release.wait(20) else 500
    scim = deployment.connection("generic")
    webhook = hook(deployment, f"{receiver.url}/", scim.organization)
    scim.user()
    process.run(lambda: bool(receiver.got))
    other = Process(deployment)
    other.run()
    assert receiver.numbers() == [1]
    # The first one stalls until its lease is over, and another process takes the stream; then it goes on.
    other.pass_time(int((delivery.LEASE_SECONDS + 1) * 1_000_000))
    release.set()
    scim.user("user2@acme.test")
    other.run(lambda: len(receiver.got) >= 3)
    assert receiver.numbers() == [1, 1, 2]
    assert position(deployment, webhook, scim.organization.id)[0] == 2
    process.run()
    assert receiver.numbers() == [1, 1, 2]
    assert position(deployment, webhook, scim.organization.id)[0] == 2
    other.deliverer.stop()


def test_another_process_goes_on_as_soon_as_the_lease_of_a_killed_one_ends(
    deployment: Deployment, process: Process, receiver: Receiver
) -> None:
    release = threading.Event()
    receiver.answer = lambda path, body: 204 if release.wait(20) else 500
    scim = deployment.connection("generic")
    hook(deployment, f"{receiver.url}/", scim.organization)
    other = Process(deployment)
    scim.user()
    process.run(lambda: bool(receiver.got))
    other.run()  # it looked at all organizations just now, and would again after SWEEP_SECONDS alone
    release.set()
    for passed in (delivery.LEASE_SECONDS - 1, 0):
        other.pass_time(int(passed * 1_000_000))
        other.deliverer.run_round(0.05)
        assert receiver.numbers() == [1]
    other.pass_time(2_000_000)
    deadline = time.monotonic() + 5
    while len(receiver.got) < 2 and time.monotonic() < deadline:
        other.deliverer.run_round(0.05)
    assert receiver.numbers() == [1, 1]
    other.deliverer.stop()


def test_a_process_that_stops_while_an_answer_is_awaited_leaves_a_lease_of_seconds(
    deployment: Deployment, process: Process, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "STOP_SECONDS", 0.05)
    release = threading.Event()
    receiver.answer = lambda path, body: 204 if release.wait(20) else 500
    scim = deployment.connection("generic")
    webhook = hook(deployment, f"{receiver.url}/", scim.organization)
    scim.user()
    process.run(lambda: bool(receiver.got))
    process.deliverer._stopping.set()
    process.deliverer._release_all()
    seq, failures, lease_until = position(deployment, webhook, scim.organization.id)
    assert (seq, failures) == (0, 0)
    assert 0 < lease_until - now() <= delivery.LAST_LEASE_SECONDS * 1_000_000
    release.set()


def test_another_process_soon_sends_what_a_stopped_one_left(
    deployment: Deployment, process: Process, receiver: Receiver
) -> None:
    release = threading.Event()
    receiver.answer = lambda path, body: 204 if release.wait(20) else 500
    scim = deployment.connection("generic")
    hook(deployment, f"{receiver.url}/", scim.organization)
    other = Process(deployment)
    scim.user()
    scim.user("user2@acme.test")
    process.run(lambda: bool(receiver.got))
    other.run()
    process.deliverer._stopping.set()
    release.set()
    process.deliverer._release_all()
    assert receiver.numbers() == [1]
    other.pass_time(int(delivery.LEASES_SECONDS * 1_000_000))
    deadline = time.monotonic() + 5
    while len(receiver.got) < 2 and time.monotonic() < deadline:
        other.deliverer.run_round(0.05)
    assert receiver.numbers() == [1, 2]
    other.deliverer.stop()


def test_a_paused_endpoint_gets_nothing_more_and_goes_on_where_it_stopped(
    deployment: Deployment, process: Process, receiver: Receiver
) -> None:
    scim = deployment.connection("generic")
    webhook = hook(deployment, f"{receiver.url}/", scim.organization)
    scim.user()
    process.run(lambda: bool(receiver.got))
    store = deployment.gateway.store
    found = store.webhooks.by_id(None, webhook.uid)
    assert found
    assert store.webhooks.change(found, state="paused")
    scim.user("user2@acme.test")
    process.run()
    assert receiver.numbers() == [1]
    found = store.webhooks.by_id(None, webhook.uid)
    assert found
    assert store.webhooks.change(found, state="on")
    process.run(lambda: len(receiver.got) >= 2)
    assert receiver.numbers() == [1, 2]


def test_stop_writes_what_was_delivered_and_releases_the_rest_within_seconds(
    deployment: Deployment, receiver: Receiver
) -> None:
    deployment.gateway.worker.stop()
    process = Process(deployment)
    scim = deployment.connection("generic")
    webhook = hook(deployment, f"{receiver.url}/", scim.organization)
    scim.user()
    process.deliverer.start()
    deadline = time.monotonic() + 10
    while not receiver.got and time.monotonic() < deadline:
        time.sleep(0.01)
    began = time.monotonic()
    process.deliverer.stop()
    check_seconds(time.monotonic() - began, 4)
    assert position(deployment, webhook, scim.organization.id) == (1, 0, 0)


# Erasure ------------------------------------------------------------------------------------------------------------


def test_what_was_read_before_an_erasure_is_read_again_before_it_is_sent(
    deployment: Deployment, process: Process, receiver: Receiver
) -> None:
    """A slow endpoint has the next fifty events waiting in memory; a person of them is erased meanwhile."""
    scim = deployment.connection("generic")
    webhooks = [
        hook(deployment, f"{receiver.url}/{name}", scim.organization) for name in ("slow", "replayed")
    ]
    arrived, gate = threading.Event(), threading.Event()

    def answer(path: str, body: dict[str, Any]) -> int:
        if path == "/slow" and body["type"] == "user.created" and not gate.is_set():
            arrived.set()
            gate.wait(10)
        return 204

    receiver.answer = answer
    scim.user("first@acme.test")
    uid = scim.user("zq7mark@acme.test")["id"]
    assert scim.call("DELETE", f"/Users/{uid}").status == 204
    scim.user("last@acme.test")
    process.run(lambda: arrived.is_set() and len(receiver.numbers("/replayed")) == 4)
    assert arrived.is_set()

    confirm = {"reason": "Asked for by letter.", "confirm": "zq7mark@acme.test"}
    path = f"/organizations/{scim.organization.uid}"
    assert deployment.admin("POST", f"{path}/users/{uid}/erase", confirm).status == 200
    seen = len(receiver.got)
    process.pass_time(delivery.FRESH_SECONDS * 1_000_000 + 1)
    gate.set()
    process.run(lambda: len(receiver.numbers("/slow")) == 5)

    assert receiver.numbers("/slow") == [1, 2, 3, 4, 5]
    assert "zq7mark" not in json.dumps(receiver.got[seen:])

    # Nor is it in a replay, from a number or from a time.
    for replay in ({"from": 1, "organization": scim.organization.uid}, {"at": "2020-01-01T00:00:00Z"}):
        seen = len(receiver.got)
        target = f"/webhooks/{webhooks[1].uid}/replay"
        previewed = deployment.admin("POST", target, replay | {"preview": True})
        assert previewed.status == 200, previewed.json
        tag = deployment.last_headers["ETag"]
        assert deployment.admin("POST", target, replay, If_Match=tag).status == 200
        process.run(lambda: len(receiver.got) >= seen + 5)  # noqa: B023
        assert [body["id"] for _, _, body in receiver.got[seen:]] == [1, 2, 3, 4, 5]
        assert "zq7mark" not in json.dumps(receiver.got[seen:])
