"""Webhooks in the admin REST: who may, what is refused, what each operation does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from gateway.provisioning.event_types import EVENT_TYPES
from gateway.provisioning.webhooks.endpoints import MOST
from gateway.store.ids_and_time import now
from gateway.store.webhooks import FAILING, FAILURE, SUCCESS, Attempt
from gateway.testing import Deployment
from tests.provisioning.webhooks.conftest import Endpoint, answer
from tests.support.admin import AdminClient

URL = "https://hooks.acme.test/scim"
PAGE = Path(__file__).parents[3] / "docs" / "webhooks.md"


class Admin(AdminClient):
    """An operator's calls about one organization that has two users; `own` is the path of its webhooks."""

    def __init__(self, deployment: Deployment) -> None:
        organization = deployment.organization("Acme")
        super().__init__(deployment, organization.uid)
        self.organization, self.own = organization, f"{self.path}/webhooks"
        self.scim = deployment.connection("generic", organization)
        self.users = [self.scim.user(f"{name}@acme.test") for name in ("ann", "ben")]
        self.store = deployment.gateway.store

    def add(self, path: str = "/webhooks", **values: Any) -> dict[str, Any]:
        return self.post(path, {"url": URL} | values)

    def do(
        self, webhook: dict[str, Any], what: str, body: Any = None, status: int = 200, **headers: str
    ) -> Any:
        return self.call(
            "POST", f"/webhooks/{webhook['id']}/{what}", {} if body is None else body, status, **headers
        )

    def note_failure(self, webhook: dict[str, Any]) -> None:
        """The endpoint is failing since the first event of the organization."""
        found = self.store.webhooks.by_id(None, webhook["id"])
        with self.store.transaction():
            self.store.database.run(
                "UPDATE webhook_positions SET seq = 0, failures = 4 WHERE webhook_id = ? AND organization_id = ?",
                *(found.id, self.organization.id),
            )
            self.store.webhooks.set_state(
                found.id, found.version, FAILING, "The endpoint answered 503.", now()
            )


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint(lambda plain: plain)
    yield made
    made.close()


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[Admin]:
    deployment = Deployment(tmp_path / "instance", webhook_allow=("127.0.0.0/8",))
    yield Admin(deployment)
    deployment.close()


def test_a_webhook_is_made_shown_changed_and_removed(admin: Admin) -> None:
    made = admin.add(organization=admin.organization.uid, types=["user.deleted", "user.created"] * 2)
    assert made["secret"].startswith("whsec_")
    shown = admin.get(f"/webhooks/{made['id']}")
    assert shown | {"secret": made["secret"]} == made
    assert {name: shown[name] for name in ("owner", "state", "format", "reason", "succeeded_at", "lag")} == {
        "owner": "operator", "state": "on", "format": "standard", "reason": None, "succeeded_at": None,
        "lag": {"events": 0, "seconds": 0},
    }  # fmt: skip
    assert (shown["types"], shown["created_by"]) == (["user.created", "user.deleted"], "operator")
    assert admin.get("/webhooks")["items"] == [shown]
    admin.get(f"/webhooks/{made['id']}")
    etag = admin.etag()
    path = f"/webhooks/{made['id']}"
    changed = admin.call("PATCH", path, {"types": None, "format": "thin"}, If_Match=etag)
    assert (changed["types"], changed["format"], changed["url"]) == (None, "thin", URL)
    assert "changed" in admin.call("PATCH", path, {"url": URL}, 412, If_Match=etag)["message"]
    admin.call("DELETE", path, None, 412, If_Match=etag)
    admin.call("DELETE", path, None, 204)
    assert made["id"] in admin.get(path, 404)["message"]
    lines = admin.get(f"{admin.path}/activity?target={made['id']}")["items"]
    assert [
        (line["operation"], line["by"]["name"], line["changed"]) for line in lines if line["status"] < 300
    ] == [
        ("DELETE /webhooks/{webhook}", "operator", []),
        ("PATCH /webhooks/{webhook}", "operator", ["format", "types"]),
        ("POST /webhooks", "operator", []),
    ]
    assert {line["target"]["name"] for line in lines} == {"webhook of the operator"}
    assert made["secret"] not in json.dumps(lines)


def test_an_organization_has_webhooks_of_its_own_where_the_operator_allows_it(admin: Admin) -> None:
    token = admin.post(f"{admin.path}/admin-tokens", {"name": "acme"})["token"]

    def status(path: str, method: str = "GET", body: Any = None) -> int:
        found = admin.deployment.admin(method, path, body, token=token)
        assert found.status < 400 or found.json["message"]
        return found.status

    operators = admin.add()
    given = admin.add(organization=admin.organization.uid)
    by_operator = admin.add(admin.own)
    assert by_operator["owner"] == "organization"
    refused = admin.deployment.admin("GET", admin.own, token=token)
    assert (refused.status, "GATEWAY_ORGANIZATION_WEBHOOKS=on" in refused.json["message"]) == (403, True)
    assert status("/webhooks") == status(f"/webhooks/{given['id']}") == 403
    config = admin.deployment.gateway.config
    object.__setattr__(config, "organization_webhooks", "on")
    assert status(admin.own) == status(f"{admin.own}/{by_operator['id']}") == 200
    assert status(f"{admin.own}/{operators['id']}") == status(f"{admin.own}/{given['id']}") == 404
    assert status(admin.own, "POST", {"url": URL}) == 201
    # Nothing private, whatever operators may reach, and no event of the deployment.
    assert status(admin.own, "POST", {"url": "https://127.0.0.1/"}) == 422
    assert status(admin.own, "POST", {"url": URL, "types": ["organization.created"]}) == 422
    assert status(admin.own, "POST", {"url": URL, "organization": "elsewhere"}) == 404
    assert len(admin.get(admin.own)["items"]) == 2


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"types": ["user.made"]}, f"Choose from: {', '.join(EVENT_TYPES)}."),
        ({"types": []}, "types is empty"),
        ({"format": "xml"}, "Must be one of"),
        ({"format": "set"}, "GATEWAY_PUBLIC_URL"),
        ({"url": "https://10.0.0.1/"}, "GATEWAY_WEBHOOK_ALLOW"),
        ({"url": "https://user@hooks.acme.test/"}, "names a user"),
        ({"url": 7}, "url"),
        ({"url": None}, "format set alone"),
        ({"secret": "mine"}, "Unknown field"),
    ],
)
def test_bad_input_is_refused_in_a_sentence_and_nothing_is_stored(
    admin: Admin, body: dict[str, Any], sentence: str
) -> None:
    assert sentence in admin.post("/webhooks", {"url": URL} | body, 422)["message"]
    assert admin.get("/webhooks")["items"] == []


def test_there_is_a_most_of_webhooks_for_each_owner(admin: Admin) -> None:
    for _ in range(MOST):
        admin.add()
    assert "20 webhooks already" in admin.post("/webhooks", {"url": URL}, 409)["message"]
    assert admin.add(admin.own)["owner"] == "organization"


def test_a_webhook_is_paused_and_resumed_where_it_stopped_or_from_now(admin: Admin) -> None:
    webhook = admin.add()
    assert admin.do(webhook, "pause")["state"] == "paused"
    assert admin.get(f"/webhooks/{webhook['id']}")["reason"] == "Paused by operator."
    admin.scim.user("cleo@acme.test")
    resumed = admin.do(webhook, "resume")
    assert (resumed["state"], resumed["reason"], resumed["lag"]["events"]) == ("on", None, 1)
    assert admin.do(webhook, "resume", {"from": "now"})["lag"]["events"] == 0
    admin.do(webhook, "resume", {"from": "then"}, 422)
    admin.note_failure(webhook)
    assert admin.get(f"/webhooks/{webhook['id']}")["failing_since"]
    again = admin.do(webhook, "resume")
    assert (again["state"], again["failing_since"], again["lag"]["events"]) == ("on", None, 3)


def test_a_rotated_secret_signs_beside_the_old_one_for_a_day(admin: Admin, endpoint: Endpoint) -> None:
    webhook = admin.add(url=f"http://127.0.0.1:{endpoint.port}/hook")
    rotated = admin.do(webhook, "rotate-secret")
    assert rotated["secret"] != webhook["secret"]
    assert admin.do(webhook, "test")["ok"]
    head, body = endpoint.requests[0]
    headers = dict(line.split(": ", 1) for line in head.lower().split("\r\n")[1:])
    signed = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    for secret in (rotated["secret"], webhook["secret"]):
        Webhook(secret).verify(body, headers | {"webhook-signature": _signature(signed)})
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "A" * 44).verify(body, headers | {"webhook-signature": _signature(signed)})
    found = admin.store.webhooks.by_id(None, webhook["id"])
    assert abs(found.old_until - now() - 86_400_000_000) < 60_000_000


def _signature(headers: dict[str, str]) -> str:
    return next(value for name, value in headers.items() if name.lower() == "webhook-signature")


def test_a_test_message_says_what_came_of_it(admin: Admin, endpoint: Endpoint) -> None:
    webhook = admin.add(url=f"http://127.0.0.1:{endpoint.port}/hook", organization=admin.organization.uid)
    endpoint.answers = [answer(200, b"thanks"), answer(503, b"<b>down</b>")]
    sent = admin.do(webhook, "test")
    assert (sent["ok"], sent["status"], sent["error"], sent["response"]) == (True, 200, None, "thanks")
    body = json.loads(endpoint.requests[0][1])
    assert (body["type"], body["id"], body["organization"]) == ("webhook.test", 0, admin.organization.uid)
    failed = admin.do(webhook, "test")
    assert (failed["ok"], failed["status"], failed["response"]) == (False, 503, "<b>down</b>")
    ids = [head.lower().partition("webhook-id: ")[2].split("\r\n")[0] for head, _ in endpoint.requests]
    assert ids[0] != ids[1]
    line = admin.get(f"{admin.path}/activity?target={webhook['id']}")["items"][0]
    assert (line["outcome"], line["detail"]) == ("partial", "The endpoint answered 503.")
    assert admin.get(f"/webhooks/{webhook['id']}")["lag"]["events"] == 0


def test_the_activity_of_an_organization_does_not_say_where_webhooks_of_the_operator_lead(
    admin: Admin,
) -> None:
    inside = "http://localhost.:9/inside"
    webhook = admin.add(url=inside, organization=admin.organization.uid)
    assert "localhost" in admin.do(webhook, "test")["error"]
    own = admin.add(admin.own, url="https://hooks.acme.test.invalid/")
    assert (
        "hooks.acme.test.invalid" in admin.call("POST", f"{admin.own}/{own['id']}/test", None, 200)["error"]
    )
    lines = admin.get(f"{admin.path}/activity?limit=100")["items"]
    assert [line["target"]["name"] for line in lines[:4]] == ["hooks.acme.test.invalid"] * 2 + [
        "webhook of the operator"
    ] * 2
    assert "hooks.acme.test.invalid" in lines[0]["detail"]
    assert "says why" in lines[2]["detail"]
    assert "localhost" not in json.dumps(lines)
    assert "127.0.0." not in json.dumps(lines)


def test_a_url_that_was_corrected_is_tried_at_once(admin: Admin) -> None:
    webhook = admin.add(organization=admin.organization.uid)
    admin.note_failure(webhook)
    failing = admin.store.webhook_replays.failing_streams
    path, found = f"/webhooks/{webhook['id']}", admin.store.webhooks.by_id(None, webhook["id"])
    assert found is not None
    admin.call("PATCH", path, {"types": ["user.created"], "url": URL})
    assert [stream.failures for stream in failing(found, 10)] == [4]
    admin.call("PATCH", path, {"url": f"{URL}/corrected"})
    assert failing(found, 10) == []


def test_attempts_show_what_was_sent_and_answered(admin: Admin) -> None:
    webhook = admin.add()
    found, epoch = admin.store.webhooks.by_id(None, webhook["id"]), admin.store.webhook_replays.epoch()
    key, uid = admin.organization.id, admin.organization.uid
    rows = [
        Attempt(
            found.id, key, seq, "user.created", f"evt_{uid}_{era}_{seq}", now(), outcome, status, 5, None, "<script>"
        )
        for seq, era, outcome, status in (
            (1, epoch, SUCCESS, 204), (2, epoch, FAILURE, 500), (2, epoch - 1, FAILURE, 500), (99, epoch, FAILURE, 500)
        )
    ]  # fmt: skip
    with admin.store.transaction():
        admin.store.webhooks.add_attempts(rows)
    path = f"/webhooks/{webhook['id']}/attempts"
    page = admin.get(f"{path}?limit=3")
    assert [each["event"] for each in page["items"]] == [99, 2, 2]
    (first,) = admin.get(f"{path}?limit=3&after={page['next']}")["items"]
    assert (first["event"], first["outcome"], first["organization"]) == (1, "success", uid)
    assert len(admin.get(f"{path}?outcome=failure")["items"]) == 3
    admin.get(f"{path}?outcome=maybe", 422)
    shown = admin.get(f"{path}/{first['id']}")
    assert json.loads(shown["sent"])["data"]["userName"] == "ann@acme.test"
    assert shown["response"] == "<script>"
    # Of another epoch, and no longer in the feed.
    sent = [admin.get(f"{path}/{each['id']}")["sent"] is not None for each in page["items"]]
    assert sent == [False, False, True]
    for unknown in ("0", "x", str(1 << 80)):
        admin.get(f"{path}/{unknown}", 404)


def test_a_parked_event_is_sent_again_or_forgotten(admin: Admin, endpoint: Endpoint) -> None:
    webhook = admin.add(url=f"http://127.0.0.1:{endpoint.port}/hook")
    found = admin.store.webhooks.by_id(None, webhook["id"])
    with admin.store.transaction():
        for seq in (1, 2, 99):
            admin.store.webhooks.park(found.id, admin.organization.id, seq, "The endpoint answered 422.")
    path = f"/webhooks/{webhook['id']}/parked"
    first, second, gone = admin.get(path)["items"]
    assert (first["event"], first["type"], first["resource_id"]) == (1, "user.created", admin.users[0]["id"])
    assert (gone["event"], gone["type"]) == (99, None)
    assert admin.get(f"{path}?after={first['id']}&limit=1")["items"] == [second]
    endpoint.answers = [answer(422), answer(204)]
    assert not admin.do(webhook, f"parked/{first['id']}/retry")["ok"]
    assert admin.do(webhook, f"parked/{first['id']}/retry")["ok"]
    epoch = admin.store.webhook_replays.epoch()
    assert f"evt_{admin.organization.uid}_{epoch}_1" in endpoint.requests[1][0]
    assert "older than the feed" in admin.do(webhook, f"parked/{gone['id']}/retry", status=409)["message"]
    admin.call("DELETE", f"{path}/{second['id']}", None, 204)
    admin.call("DELETE", f"{path}/{second['id']}", None, 404)
    assert admin.get(path)["items"] == [gone]


def test_a_replay_is_done_as_it_was_previewed(admin: Admin) -> None:
    webhook = admin.add()
    admin.scim.user("cleo@acme.test")
    admin.do(webhook, "resume", {"from": "now"})
    body = {"from": 2, "organization": admin.organization.uid}
    assert "preview" in admin.do(webhook, "replay", body, 428)["message"]
    assert admin.do(webhook, "replay", body | {"preview": True}) == {"organizations": 1, "events": 2}
    etag = admin.etag()
    assert admin.get(f"/webhooks/{webhook['id']}")["lag"]["events"] == 0
    admin.do(webhook, "replay", body | {"from": 1}, 412, If_Match=etag)
    before = admin.store.webhooks.fingerprint()
    assert admin.do(webhook, "replay", body, If_Match=etag) == {"organizations": 1, "events": 2}
    assert admin.store.webhooks.fingerprint() != before, "no process would look at it before the next sweep"
    assert admin.get(f"/webhooks/{webhook['id']}")["lag"]["events"] == 2
    assert "A replay only goes back" in admin.do(webhook, "replay", body, 422, If_Match=etag)["message"]
    admin.do(webhook, "resume", {"from": "now"})
    since = {"at": "2026-01-01T00:00:00Z"}
    # Three of the organization, and organization.created of the deployment.
    assert admin.do(webhook, "replay", since | {"preview": True})["events"] == 4
    etag = admin.etag()
    admin.call("PATCH", f"/webhooks/{webhook['id']}", {"url": URL + "2"})
    assert "changed since the preview" in admin.do(webhook, "replay", since, 412, If_Match=etag)["message"]
    admin.do(webhook, "replay", since | {"preview": True})
    admin.do(webhook, "replay", since, If_Match=admin.etag())
    assert admin.get(f"/webhooks/{webhook['id']}")["lag"]["events"] == 3


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({}, 422, "one of from and at"),
        ({"from": 1, "at": "2026-01-01T00:00:00Z"}, 422, "one of from and at"),
        ({"from": 0}, 422, "from"),
        ({"from": 1}, 422, "name it in organization"),
        ({"from": 1, "organization": "nobody"}, 404, "nobody"),
        ({"from": 3, "own": True}, 422, "not delivered yet"),
        ({"at": "2100-01-01T00:00:00Z"}, 422, "nothing would be sent again"),
        ({"from": 1, "to": 2}, 422, "Unknown field"),
    ],
)
def test_a_replay_that_cannot_be_done_is_refused(
    admin: Admin, body: dict[str, Any], status: int, sentence: str
) -> None:
    webhook = admin.add()
    if body.pop("own", False):
        body["organization"] = admin.organization.uid
    assert sentence in admin.do(webhook, "replay", body | {"preview": True}, status)["message"]


def test_the_event_that_fails_is_skipped_and_parked(admin: Admin) -> None:
    webhook = admin.add(types=["user.created"], organization=admin.organization.uid)
    assert "No event fails" in admin.do(webhook, "skip", {}, 409)["message"]
    admin.note_failure(webhook)
    assert "is 1 by now, not 2" in admin.do(webhook, "skip", {"event": 2}, 409)["message"]
    before = admin.store.webhooks.fingerprint()
    skipped = admin.do(webhook, "skip", {"event": 1})
    assert admin.store.webhooks.fingerprint() != before, "no process would look at it before the next sweep"
    assert skipped == {"organization": admin.organization.uid, "event": 1, "type": "user.created"}
    (parked,) = admin.get(f"/webhooks/{webhook['id']}/parked")["items"]
    assert (parked["event"], parked["error"]) == (1, "Skipped by operator.")
    assert admin.get(f"/webhooks/{webhook['id']}")["lag"]["events"] == 1
    line = admin.get(f"{admin.path}/activity?target={webhook['id']}")["items"][0]
    assert "event 1 (user.created)" in line["detail"]


def test_the_page_names_every_type_of_events() -> None:
    table = PAGE.read_text("utf-8").partition("## Types of events")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`([a-z]+\.[a-z_]+)`", "".join(rows))) == set(EVENT_TYPES)
