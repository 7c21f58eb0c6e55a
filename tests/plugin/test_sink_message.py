"""A consumer of NATS and a receiver of webhooks are sent the same messages with the same ids."""

from __future__ import annotations

import json
from typing import Any

import gateway_nats
import pytest

from gateway import Event
from gateway.provisioning.webhooks import messages
from gateway.store.ids_and_time import rfc3339
from gateway.testing.examples import organization

AT = 1_767_225_600_123_000


@pytest.mark.parametrize(
    "data",
    [{"userName": "user1@acme.test", "displayName": "Zoë"}, {"displayName": "x" * messages.BODY_LIMIT}],
    ids=["whole", "too long"],
)
def test_the_sink_publishes_what_a_webhook_sends(data: dict[str, Any]) -> None:
    sent = messages.OutboundEvent(
        "o1", 7, 3, "user.created", AT, "User", "u1", "c1", json.dumps(data, ensure_ascii=False)
    )
    event = Event(3, "user.created", rfc3339(AT), organization(), "c1", "User", "u1", data, 7)
    assert json.loads(gateway_nats.body_of(event)) == json.loads(messages.build(sent, "standard", ""))
    assert gateway_nats.headers_of(event)["Nats-Msg-Id"] == messages.message_id(sent)
