"""What a webhook sends: the body of an event, its id, and the signatures of Standard Webhooks 1.0 over both."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from gateway.store.ids_and_time import rfc3339

#: Bytes of the largest body that carries the document of its resource; beyond it the body is thin and names a URL.
BODY_LIMIT = 262_144
#: Bytes of a secret: as many as HMAC-SHA256 uses of a key without hashing it first (RFC 2104, 2).
SECRET_BYTES = 32
#: What stands before the base64 of a secret (Standard Webhooks 1.0, "Signature scheme").
SECRET_PREFIX = "whsec_"  # noqa: S105 - the same for all


class OutboundEvent(NamedTuple):
    """An event as it is sent. `organization`: its uid, None for an event of the deployment itself."""

    organization: str | None
    #: Another one after a backup was restored, when numbers are given anew.
    epoch: int
    #: The number in its organization's feed.
    seq: int
    type: str
    #: Microseconds since 1970 of the change.
    at: int
    resource: str
    resource_id: str
    connection: str | None
    #: JSON text.
    data: str


def message_id(event: OutboundEvent) -> str:
    """Return the id by which a receiver drops doubles: the same at each attempt, another one after a restore.

    It has no dot, which separates the parts of what is signed.
    """
    return f"evt_{event.organization or 'deployment'}_{event.epoch}_{event.seq}"


def build(event: OutboundEvent, endpoint_format: str, public_url: str) -> bytes:
    """Return the body of an event as compact JSON, in the format `standard` or `thin`.

    A body of more than `BODY_LIMIT` bytes is thin whatever the format, and `url` names the page of the organization's
    feed that has the event whole. It begins with `public_url`, and is a path where none is set.
    """
    head = {
        "type": event.type,
        "timestamp": rfc3339(event.at),
        "organization": event.organization,
        "epoch": event.epoch,
        "id": event.seq,
        "connection": event.connection,
    }
    if endpoint_format == "standard":
        body = f'{_compact(head)[:-1]},"data":{event.data}}}'.encode()
        if len(body) <= BODY_LIMIT:
            return body
        head["url"] = public_url + event_path(event)
    head |= {"resource": event.resource, "resource_id": event.resource_id}
    return _compact(head).encode()


def event_path(event: OutboundEvent) -> str:
    """Return the path of the page of the feed that begins with the event."""
    feed = f"/organizations/{event.organization}" if event.organization else ""
    return f"/admin/v1{feed}/events?after={event.seq - 1}&limit=1"


def new_secret() -> str:
    """Generate the secret of an endpoint."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signing_secrets(
    secret: str, old_secret: str | None, old_until: int | None, moment: int
) -> tuple[str, ...]:
    """Return the secrets that sign at a moment (microseconds): the current one, and before `old_until` the old one."""
    if old_secret is None or old_until is None or moment >= old_until:
        return (secret,)
    return (secret, old_secret)


def signature_headers(message_id: str, body: bytes, moment_us: int, secrets: Sequence[str]) -> dict[str, str]:
    """Return the headers of Standard Webhooks for the bytes that are sent, with one signature for each secret.

    `moment_us`: of this attempt; verifiers refuse a message that is more than five minutes old.
    """
    from standardwebhooks import Webhook  # late: a deployment without webhooks does not import it

    moment, text = datetime.fromtimestamp(moment_us // 1_000_000, UTC), body.decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(moment_us // 1_000_000),
        "webhook-signature": " ".join(Webhook(secret).sign(message_id, moment, text) for secret in secrets),
    }


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
