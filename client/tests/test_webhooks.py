"""Webhooks: what is verified, what is refused, and the event that comes of it."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from gateway_client import InvalidSignature, UnexpectedAnswer, verify
from standardwebhooks import Webhook
from werkzeug.datastructures import Headers

from gateway.provisioning.webhooks import messages

SECRET, OLD, OTHER = (
    "whsec_c2VjcmV0LW9mLXRoZXNlLXRlc3Rz",
    "whsec_b2xkLW9uZS1vZi10aGVzZS10ZXN0cw==",
    "whsec_b3RoZXI=",
)
BODY = {
    "type": "user.deactivated",
    "timestamp": "2026-11-28T10:00:00.000Z",
    "organization": "org-1",
    "epoch": 7,
    "id": 12,
    "connection": "c1",
    "data": {"id": "u1", "userName": "user1@acme.test", "active": False},
}


def message(body=BODY, secret=SECRET, age=timedelta(0), message_id="evt_org-1_7_12"):
    text = body if isinstance(body, str) else json.dumps(body)
    at = datetime.now(UTC) - age
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, at, text),
    }
    return text.encode(), headers


def test_a_signed_message_is_its_event():
    body, headers = message()
    event = verify(body, headers, SECRET)
    assert (event.type, event.id, event.epoch, event.organization) == ("user.deactivated", 12, 7, "org-1")
    assert (event.resource, event.resource_id, event.connection) == ("User", "u1", "c1")
    assert event.at == datetime(2026, 11, 28, 10, tzinfo=UTC)
    assert event.data == BODY["data"]
    assert event.key == headers["webhook-id"]
    assert event.position == "7-12-org-1"


def test_headers_of_frameworks_in_any_letter_case_will_do():
    body, headers = message()
    assert verify(body, Headers({name.title(): value for name, value in headers.items()}), SECRET).id == 12


def test_a_thin_message_has_no_data_but_names_its_resource():
    thin = {name: value for name, value in BODY.items() if name != "data"} | {
        "resource": "User",
        "resource_id": "u1",
    }
    event = verify(*message(thin), SECRET)
    assert (event.data, event.resource, event.resource_id) == (None, "User", "u1")


def test_an_event_of_the_deployment_has_no_organization():
    event = verify(
        *message(BODY | {"type": "organization.removed", "organization": None, "data": {"id": "o"}}), SECRET
    )
    assert (event.organization, event.resource, event.key) == (None, "Organization", "evt_deployment_7_12")


@pytest.mark.parametrize(("kind", "size"), [("standard", 1), ("thin", 1), ("standard", 300_000)])
def test_what_the_gateway_sends_is_what_verify_reads(kind, size):
    data = {"id": "u1", "userName": "ä@acme.test", "displayName": "x" * size}
    text = json.dumps(data, ensure_ascii=False)
    at = 1_795_860_000_000_000
    sent = messages.OutboundEvent("org-1", 7, 12, "user.updated", at, "User", "u1", "c1", text)
    body, moment = messages.build(sent, kind, "https://gateway.acme.test"), int(time.time() * 1_000_000)
    headers = messages.signature_headers(messages.message_id(sent), body, moment, [SECRET, OLD])
    event = verify(body, headers, OLD)
    assert (event.key, event.resource, event.resource_id) == (headers["webhook-id"], "User", "u1")
    assert event.data == (data if (kind, size) == ("standard", 1) else None)


@pytest.mark.parametrize("signed", [SECRET, OLD])
def test_while_a_secret_is_replaced_both_are_good(signed):
    assert verify(*message(secret=signed), [SECRET, OLD]).id == 12


def test_two_signatures_in_one_header_are_good_for_either_secret():
    body, headers = message()
    _, old = message(secret=OLD)
    headers["webhook-signature"] += " " + old["webhook-signature"]
    assert verify(body, headers, OLD).id == verify(body, headers, SECRET).id == 12


@pytest.mark.parametrize(
    "change",
    [
        lambda body, headers: (body.replace(b"user1", b"user2"), headers),
        lambda body, headers: (body + b"\xff", headers),
        lambda body, headers: (body, headers | {"webhook-id": "evt_org-1_7_13"}),
        lambda body, headers: (
            body,
            headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)},
        ),
        lambda body, headers: (body, headers | {"webhook-timestamp": "yesterday"}),
        lambda body, headers: (body, headers | {"webhook-signature": "v1"}),
        lambda body, headers: (body, headers | {"webhook-signature": "v1,a,b"}),
        lambda body, headers: (body, headers | {"webhook-signature": "v1,ä"}),
        lambda body, headers: (
            body,
            headers | {"webhook-signature": headers["webhook-signature"].replace("v1", "v0")},
        ),
        lambda body, headers: (body, {}),
    ],
)
def test_what_was_changed_is_refused(change):
    with pytest.raises(InvalidSignature):
        verify(*change(*message()), SECRET)


@pytest.mark.parametrize("age", [timedelta(minutes=6), timedelta(minutes=-6)])
def test_an_old_message_and_one_of_the_future_are_refused(age):
    with pytest.raises(InvalidSignature, match=r"too (old|new)"):
        verify(*message(age=age), SECRET)
    assert verify(*message(age=age * 0.5), SECRET).id == 12


def test_another_secret_is_refused_and_no_error_shows_one():
    with pytest.raises(
        InvalidSignature, match=r"^This is no message of the gateway: no matching signature found\.$"
    ):
        verify(*message(), [OTHER, OLD])


@pytest.mark.parametrize("secrets", ["", "whsec_", "whsec_ä", [], ["whsec_"]])
def test_what_is_no_secret_is_named_without_its_value(secrets):
    with pytest.raises(ValueError, match=r"^(A webhook secret begins|No secret is given)"):
        verify(*message(), secrets)


@pytest.mark.parametrize(
    "body", ["[]", "{}", '{"type": "user.created"}', "no JSON", json.dumps(BODY | {"data": 1})]
)
def test_a_signed_body_that_is_no_event_is_named(body):
    with pytest.raises(UnexpectedAnswer):
        verify(*message(body), SECRET)
