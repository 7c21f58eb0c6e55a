"""NATS for the provisioning gateway: publishes each committed change to JetStream, as the message that webhooks send.

The hooks and the settings; `sink` has the connection.
"""

from __future__ import annotations

import json
import os
import re

from gateway import Declaration, Event, Json, hookimpl
from gateway_nats.sink import Sink

#: Bytes. A longer message is published without `data`, as webhooks do; NATS itself refuses 1 MiB.
LONGEST = 256 * 1024


def _read_name(variable: str, default: str, pattern: str) -> str:
    name = os.environ.get(variable) or default
    if not re.fullmatch(pattern, name, re.ASCII):
        raise ValueError(
            f"{variable} is {name!r}. Write letters, digits, - and _, in a subject also dots between them."
        )
    return name


SERVERS = os.environ.get("GATEWAY_NATS_URL", "").split(",")
STREAM = _read_name("GATEWAY_NATS_STREAM", "gateway", r"[\w-]+")
SUBJECT = _read_name("GATEWAY_NATS_SUBJECT", "gateway.events", r"[\w-]+(\.[\w-]+)*")


@hookimpl
def gateway_declare() -> Declaration:
    return Declaration(title="NATS")


# Without an address the plugin does not listen, so that its position passes over no event.
if any(SERVERS):
    sink = Sink(SERVERS, STREAM, f"{SUBJECT}.*")

    @hookimpl
    def gateway_provisioned(event: Event) -> None:
        # What raises is not known to be stored: the gateway delivers the event again.
        sink.publish(f"{SUBJECT}.{event.organization.id}", body_of(event), headers_of(event))


def headers_of(event: Event) -> dict[str, str]:
    """Return the id by which JetStream drops what it has stored already, and the type for filters of consumers."""
    message_id = f"evt_{event.organization.id}_{event.epoch}_{event.id}"
    return {"Nats-Msg-Id": message_id, "Gateway-Event-Type": event.type}


def body_of(event: Event) -> bytes:
    """Return the message in JSON, the same that a webhook sends."""
    message: Json = {
        "type": event.type,
        "timestamp": event.at,
        "organization": event.organization.id,
        "epoch": event.epoch,
        "id": event.id,
        "connection": event.connection,
    }
    whole = _encode(message | {"data": event.data})
    if len(whole) <= LONGEST:
        return whole
    message["url"] = f"/admin/v1/organizations/{event.organization.id}/events?after={event.id - 1}&limit=1"
    return _encode(message | {"resource": event.resource, "resource_id": event.resource_id})


def _encode(message: Json) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
