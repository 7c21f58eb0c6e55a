"""RFC 8936: a receiver without a URL asks for security event tokens, and acknowledges or refuses them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from gateway.provisioning import Trace
from gateway.provisioning.webhooks import polling
from gateway.provisioning.webhooks.messages import new_secret
from gateway.scim.errors import InvalidValue
from gateway.store.records import WebhookRecord
from gateway.testing import Deployment

ISSUER = "https://scim.acme.test"


class World:
    """A deployment with two organizations and a webhook of the operator that is polled."""

    def __init__(self, instance: Path) -> None:
        self.deployment = Deployment(instance, public_url=ISSUER)
        self.acme, self.other = (self.deployment.organization(name) for name in ("Acme", "Other"))
        self.webhook = self.add()

    def add(self, organization: Any = None, types: Any = None, url: str = "") -> WebhookRecord:
        store = self.deployment.gateway.store
        owner = "organization" if organization else "operator"
        return store.webhooks.add(organization, owner, url, "set", types, new_secret(), None)

    def add_user(self, organization: Any, name: str) -> str:
        person = {"user_name": f"{name}@acme.test", "display_name": name}
        answer = self.deployment.admin("POST", f"/organizations/{organization.uid}/users", person)
        assert answer.status == 201
        uid: str = answer.json["id"]
        return uid

    def poll(self, webhook: WebhookRecord | None = None, below: Any = None, **body: Any) -> Any:
        path = f"/webhooks/{(webhook or self.webhook).uid}/poll"
        if below:
            path = f"/organizations/{below.uid}{path}"
        return self.deployment.admin("POST", path, body)

    def claims(self, answer: Any) -> list[dict[str, Any]]:
        shown = self.deployment.app.test_client().get("/.well-known/jwks.json").json
        keys = KeySet.import_key_set(shown)
        found = [jwt.decode(token, keys, algorithms=["ES256"]) for token in answer.json["sets"].values()]
        assert [token.claims["jti"] for token in found] == list(answer.json["sets"])
        assert {token.header["typ"] for token in found} <= {"secevent+jwt"}
        return [token.claims for token in found]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "instance")
    yield made
    made.deployment.close()


def test_tokens_come_until_they_are_acknowledged_in_the_order_of_each_organization(world: World):
    users = [world.add_user(world.acme, name) for name in ("a", "b", "c")]
    elsewhere = world.add_user(world.other, "d")
    answer = world.poll()
    claims = world.claims(answer)
    assert answer.json["moreAvailable"] is False
    assert [claim["sub_id"]["uri"] for claim in claims] == [f"/Users/{uid}" for uid in [*users, elsewhere]]
    assert {claim["organization"] for claim in claims} == {world.acme.uid, world.other.uid}
    assert {claim["aud"] for claim in claims} == {f"{ISSUER}/admin/v1/webhooks/{world.webhook.uid}"}
    first, second, third, fourth = answer.json["sets"]

    assert list(world.poll().json["sets"]) == [first, second, third, fourth]
    # The second one was not acknowledged, so it comes again, and what follows it too.
    assert list(world.poll(ack=[first, third, fourth]).json["sets"]) == [second, third]
    assert world.poll(ack=[second, third]).json == {"sets": {}, "moreAvailable": False}
    assert world.deployment.gateway.store.polled_streams.behind(world.webhook.id, None, 10) == []


def test_an_answer_has_as_many_tokens_as_were_asked_for(world: World, monkeypatch: pytest.MonkeyPatch):
    for name in ("a", "b", "c"):
        world.add_user(world.acme, name)
    answer = world.poll(maxEvents=2)
    assert (len(answer.json["sets"]), answer.json["moreAvailable"]) == (2, True)
    last = world.poll(maxEvents=2, ack=list(answer.json["sets"]))
    assert (len(last.json["sets"]), last.json["moreAvailable"]) == (1, False)
    assert world.poll(maxEvents=0, ack=list(last.json["sets"])).json == {"sets": {}, "moreAvailable": False}
    # And about as many bytes as one answer has at most.
    world.add_user(world.acme, "d")
    world.add_user(world.acme, "e")
    monkeypatch.setattr(polling, "_ANSWER_BYTES", 10)
    answer = world.poll()
    assert (len(answer.json["sets"]), answer.json["moreAvailable"]) == (1, True)


def test_a_token_that_is_refused_is_parked_with_its_reason(world: World):
    world.add_user(world.acme, "a")
    world.add_user(world.acme, "b")
    first, second = world.poll().json["sets"]
    refused = {first: {"err": "invalid_request", "description": "no such attribute"}}
    assert list(world.poll(setErrs=refused).json["sets"]) == [second]
    [parked] = world.deployment.gateway.store.webhooks.parked(world.webhook, 0, 10)
    assert (parked.seq, parked.error) == (1, "invalid_request: no such attribute")


def test_a_reason_has_no_control_characters_and_a_parked_token_is_not_sent(world: World):
    world.add_user(world.acme, "a")
    [first] = world.poll().json["sets"]
    world.poll(setErrs={first: {"err": "<b>\x1b[2J", "description": "\u202e\u0007"}})
    [parked] = world.deployment.gateway.store.webhooks.parked(world.webhook, 0, 10)
    assert parked.error == r"<b>\x1b[2J: \u202e\x07"
    path = f"/webhooks/{world.webhook.uid}/parked/{parked.id}/retry"
    refused = world.deployment.admin("POST", path)
    assert (refused.status, "is polled" in refused.json["message"]) == (409, True)
    assert world.deployment.gateway.store.webhooks.parked(world.webhook, 0, 10) == [parked]


def test_of_an_erased_person_no_token_and_no_reason_of_a_receiver_is_left(world: World):
    """Also of a receiver that asked for tokens before the erasure and refuses them after it, and in a replay."""
    uid = world.add_user(world.acme, "zq7mark")
    world.add_user(world.acme, "b")
    first, second = world.poll().json["sets"]
    path = f"/organizations/{world.acme.uid}/users/{uid}"
    assert world.deployment.admin("PATCH", path, {"active": False}).status == 200
    erasure = {"reason": "Asked for by letter.", "confirm": "zq7mark@acme.test"}
    assert world.deployment.admin("POST", f"{path}/erase", erasure).status == 200
    refused = {first: {"err": "invalid_request", "description": "zq7mark has no account"}}
    left = world.poll(ack=[second], setErrs=refused)
    [parked] = world.deployment.gateway.store.webhooks.parked(world.webhook, 0, 10)
    assert (parked.seq, "zq7mark" in parked.error) == (1, False)
    world.poll(ack=list(left.json["sets"]))
    replay, target = {"at": "2020-01-01T00:00:00Z"}, f"/webhooks/{world.webhook.uid}/replay"
    assert world.deployment.admin("POST", target, replay | {"preview": True}).status == 200
    tag = world.deployment.last_headers["ETag"]
    assert world.deployment.admin("POST", target, replay, If_Match=tag).status == 200
    again = world.claims(world.poll())
    assert [next(iter(claim["events"])).rpartition(":")[2] for claim in again] == ["full", "delete", "delete"]
    assert "zq7mark" not in json.dumps(again)


def test_a_change_is_checked_against_the_webhook_as_it_is_stored(world: World):
    endpoints, trace = world.deployment.gateway.webhook_endpoints, Trace("PATCH", "request")
    pushed = "https://hooks.acme.test/"
    endpoints.edit(world.webhook, {"url": pushed, "format": "standard"}, trace, None)
    # Somebody read it before, as a webhook that is polled.
    with pytest.raises(InvalidValue, match="for the format set alone"):
        endpoints.edit(world.webhook, {"url": ""}, trace, None)
    found = endpoints.find(None, world.webhook.uid)
    assert (found.url, found.format) == (pushed, "standard")


def test_events_that_have_no_token_or_are_not_wanted_are_passed_over(world: World):
    wanted = world.add(types=["user.deactivated"])
    for name in ("a", "b"):
        uid = world.add_user(world.acme, name)
    answer = world.poll(wanted)
    assert answer.json == {"sets": {}, "moreAvailable": False}
    stream = world.deployment.gateway.store.polled_streams.find(wanted.id, None, world.acme.uid)
    assert stream is not None
    assert stream.seq == 2
    path = f"/organizations/{world.acme.uid}/users/{uid}"
    assert world.deployment.admin("PATCH", path, {"active": False}).status == 200
    [claim] = world.claims(world.poll(wanted))
    assert list(claim["events"]) == [
        f"urn:ietf:params:scim:event:prov:{name}" for name in ("deactivate", "put:full")
    ]


def test_ids_that_are_none_of_the_webhooks_change_nothing(world: World):
    own = world.add(world.acme)
    world.add_user(world.acme, "a")
    world.add_user(world.other, "b")
    _, foreign = world.poll().json["sets"]
    [first] = world.poll(own, world.acme).json["sets"]
    epoch = first.split("_")[2]
    odd = [foreign, "x", "evt_a_b", first.replace(epoch, "1"), f"evt_{world.acme.uid}_{epoch}_99", "evt____"]
    assert list(world.poll(own, world.acme, ack=odd).json["sets"]) == [first]


def test_who_may_poll_which_webhook(world: World):
    own, pushed = world.add(world.acme), world.add(url="https://hooks.acme.test/")
    assert world.poll(own, world.acme).status == 200
    assert world.poll(own, world.other).status == 404
    assert world.poll(world.webhook, world.acme).status == 404
    refused = world.poll(pushed)
    assert refused.status == 409
    assert "has a URL" in refused.json["message"]
    world.deployment.gateway.store.webhooks.change(world.webhook, state="paused")
    assert "Resume it" in world.poll().json["message"]
    # A token that only follows events polls, one that only reads does not acknowledge.
    for scope, status in (("events", 200), ("read", 403), ("full", 200)):
        body = {"name": scope, "scope": scope}
        token = world.deployment.admin("POST", f"/organizations/{world.acme.uid}/admin-tokens", body).json[
            "token"
        ]
        path = f"/organizations/{world.acme.uid}/webhooks/{own.uid}/poll"
        assert world.deployment.admin("POST", path, {}, token=token).status == status
        assert world.deployment.admin("POST", f"/webhooks/{own.uid}/poll", {}, token=token).status == 403


@pytest.mark.parametrize(
    "body",
    [{"maxEvents": -1}, {"maxEvents": "2"}, {"ack": "x"}, {"ack": ["x"] * 1001}, {"ack": ["x" * 201]},
     {"setErrs": ["x"]}, {"setErrs": {"x": {}}}, {"setErrs": {"x": "no"}}, {"more": 1}],
)  # fmt: skip
def test_a_request_of_another_form_is_refused(world: World, body: dict[str, Any]):
    answer = world.poll(**body)
    assert answer.status == 422, json.dumps(answer.json)
