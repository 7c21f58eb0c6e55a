"""Security event tokens that a receiver asks for (RFC 8936), where a webhook has no URL that they are pushed to.

A position moves by acknowledgements: to the last event of an organization before the first one that was neither
acknowledged nor refused. What follows it is returned again, with the same `jti`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from gateway.provisioning.webhooks.messages import OutboundEvent, message_id
from gateway.provisioning.webhooks.security_events import claims, has_token, is_erased
from gateway.provisioning.webhooks.signing_keys import TokenKeys
from gateway.scim.errors import Conflict, NotFound
from gateway.scim.escaping import escape_controls
from gateway.scim.json_text import excerpt
from gateway.store import Store
from gateway.store.erasures import REASON_ERASED
from gateway.store.ids_and_time import now
from gateway.store.polled_streams import PolledStream
from gateway.store.records import EventRecord, OrganizationRecord, WebhookRecord

#: Tokens of one answer, about how many bytes they have, and how many are acknowledged or refused in one request.
MAX_TOKENS, _ANSWER_BYTES, MAX_ACKNOWLEDGED = 100, 2_097_152, 1000
#: Organizations that one request reads, and events of each; what was passed over is stored.
_STREAMS_READ, _EVENTS_READ = 50, 500


class PollAnswer(NamedTuple):
    """Tokens by `jti`, in the order of each organization; `more`: others can be had at once."""

    tokens: dict[str, str]
    more: bool


class Polling:
    """The operation behind `POST …/webhooks/{webhook}/poll`."""

    def __init__(self, store: Store, keys: TokenKeys, issuer: str) -> None:
        self._store, self._keys, self._issuer = store, keys, issuer

    def poll(
        self,
        organization: OrganizationRecord | None,
        uid: str,
        acknowledged: Sequence[str],
        refused: Mapping[str, str],
        most: int,
    ) -> PollAnswer:
        """Move the positions of a webhook by what was acknowledged, and return the next tokens.

        `organization`: whose webhook it must be, None for an operator. `refused`: reasons by `jti`; such an event is
        parked. Raises NotFound, and Conflict for a webhook that is pushed to or not on.
        """
        webhook = self._store.webhooks.by_id(organization, uid)
        if webhook is None:
            raise NotFound(f"There is no webhook with the id {excerpt(uid)} here.")
        if webhook.url:
            raise Conflict(
                "The webhook has a URL, so its messages are sent there. One with the format set and without a URL is"
                " polled."
            )
        if webhook.state not in ("on", "failing"):
            raise Conflict(f"The webhook is {webhook.state}. Resume it, then poll again.")
        epoch = self._store.publications.state().epoch
        self._settle(webhook, epoch, set(acknowledged), refused)
        return self._collect(webhook, epoch, most)

    def _settle(
        self, webhook: WebhookRecord, epoch: int, acknowledged: set[str], refused: Mapping[str, str]
    ) -> None:
        """Move positions over events that were acknowledged, and park those that were refused."""
        settled = acknowledged | refused.keys()
        for organization_uid in sorted({part for jti in settled if (part := _organization_of(jti))}):
            only = webhook.organization_id
            stream = self._store.polled_streams.find(webhook.id, only, organization_uid)
            if stream is None:
                continue
            seq, parked = stream.seq, dict[int, str]()
            for event in self._events(stream, epoch):
                jti = message_id(event)
                if _is_wanted(webhook, event) and jti not in settled:
                    break
                seq = event.seq
                if jti in refused:
                    # It may name a person who was erased since the token was returned.
                    parked[seq] = REASON_ERASED if is_erased(event.data) else escape_controls(refused[jti])
            if seq > stream.seq:
                self._move(webhook, stream, seq, parked)

    def _move(
        self, webhook: WebhookRecord, stream: PolledStream, seq: int, parked: Mapping[int, str]
    ) -> None:
        with self._store.transaction():
            if self._store.polled_streams.move(webhook.id, stream, seq):
                for refused, reason in parked.items():
                    self._store.webhooks.park(webhook.id, stream.organization_id, refused, reason)
                self._store.webhooks.record_successes([(webhook.id, now())])

    def _collect(self, webhook: WebhookRecord, epoch: int, most: int) -> PollAnswer:
        """Return the first tokens behind the positions, and move these over events that have none."""
        tokens, size, moment = dict[str, str](), 0, now()
        streams = self._store.polled_streams.behind(webhook.id, webhook.organization_id, _STREAMS_READ + 1)
        for stream in streams[:_STREAMS_READ]:
            passed, read, first = stream.seq, 0, True
            for event in self._events(stream, epoch):
                read += 1
                if not _is_wanted(webhook, event):
                    passed = event.seq if first else passed
                    continue
                if len(tokens) >= most or size >= _ANSWER_BYTES:
                    return PollAnswer(tokens, True)
                body = claims(event, self._issuer, webhook.uid, moment)
                assert body is not None  # `has_token`
                token = self._keys.sign(body, moment).decode()
                tokens[body["jti"]], size, first = token, size + len(token), False
            if passed > stream.seq:
                self._move(webhook, stream, passed, {})
            if read == _EVENTS_READ:
                return PollAnswer(tokens, True)
        return PollAnswer(tokens, len(streams) > _STREAMS_READ)

    def _events(self, stream: PolledStream, epoch: int) -> Iterator[OutboundEvent]:
        for record in self._store.events.page(stream.organization_id, stream.seq, _EVENTS_READ):
            yield _outbound(stream, epoch, record)


def _is_wanted(webhook: WebhookRecord, event: OutboundEvent) -> bool:
    names = webhook.type_names
    return has_token(event.type, event.data) and (names is None or event.type in names)


def _organization_of(jti: str) -> str | None:
    """Return the organization that a message id names."""
    parts = jti.split("_")
    return parts[1] if len(parts) == 4 and parts[0] == "evt" else None


def _outbound(stream: PolledStream, epoch: int, record: EventRecord) -> OutboundEvent:
    return OutboundEvent(
        stream.organization_uid, epoch, record.seq, record.type, record.at, record.resource,
        record.resource_uid, record.connection_uid, record.data,
    )  # fmt: skip
