"""Operations of admins on the events of a webhook: try one, look at what was sent, replay, skip, send a parked one."""

from __future__ import annotations

import json
from typing import NamedTuple

from gateway.config import Config
from gateway.provisioning.event_types import TEST_TYPE
from gateway.provisioning.previews import check_preview, tag_of
from gateway.provisioning.trace import Trace
from gateway.provisioning.webhooks import messages, retries, security_events
from gateway.provisioning.webhooks.endpoints import WebhookEndpoints, name_target
from gateway.provisioning.webhooks.messages import OutboundEvent
from gateway.provisioning.webhooks.sender import Outcome, Sender
from gateway.provisioning.webhooks.signing_keys import TokenKeys
from gateway.scim.errors import Conflict, InvalidValue, NotFound
from gateway.scim.json_text import excerpt
from gateway.store import Store
from gateway.store.ids_and_time import new_id, now, rfc3339
from gateway.store.records import AttemptRecord, EventRecord, OrganizationRecord, ParkedRecord, WebhookRecord
from gateway.store.webhook_replays import FailingStream, ReplayCount
from gateway.store.webhooks import OPERATOR

#: Seconds that a message has which somebody waits for.
TEST_SECONDS = 5.0
#: Events that are read at once to find the next one that a webhook wants, and how often.
_PAGE, _PAGES = 1000, 20


class Replay(NamedTuple):
    """Where a replay begins: the number of the first event of one organization, or a time in microseconds."""

    organization: OrganizationRecord | None
    number: int | None
    at: int | None


class SkippedEvent(NamedTuple):
    """An event that a webhook will not receive, unless it is sent again from the parked ones."""

    organization_uid: str | None
    seq: int
    type: str


class WebhookReplays:
    """Sends single messages now, and moves positions."""

    def __init__(
        self, store: Store, endpoints: WebhookEndpoints, config: Config, token_keys: TokenKeys
    ) -> None:
        self._store, self._endpoints, self._config, self._token_keys = store, endpoints, config, token_keys
        self._sender = Sender(config.webhook_allow, TEST_SECONDS)

    # Single messages ------------------------------------------------------------------------------------------------

    def send_test(self, webhook: WebhookRecord, trace: Trace) -> Outcome:
        """Send a message of the type `webhook.test` now and return what came of it; whatever state the webhook has.

        It is no event: it has an id of its own, the number 0, and no place in the order. Raises Conflict for a webhook
        of security event tokens, of which none is a test.
        """
        if webhook.format == "set":
            raise Conflict(
                "There is no test of a webhook of security event tokens: each token says that a user or group was"
                " changed. Change one, and look at the attempts."
            )
        organization = webhook.organization_uid
        event = OutboundEvent(
            organization, self._store.webhook_replays.epoch(), 0, TEST_TYPE, now(), "Webhook", webhook.uid, None,
            json.dumps({"id": webhook.uid}),
        )  # fmt: skip
        outcome = self._post(webhook, event, f"test_{new_id()}")
        self._note(webhook, outcome, trace)
        with self._endpoints.changing(self._endpoints.organization_of(webhook), trace):
            name_target(webhook, trace)
        return outcome

    def retry_parked(self, webhook: WebhookRecord, key: str, trace: Trace) -> Outcome:
        """Send a parked event now, after those that followed it; it is no longer parked if the webhook takes it.

        Raises NotFound, and Conflict if the event was removed from the feed or the webhook is polled.
        """
        parked = self._find_parked(webhook, key)
        if not webhook.url:
            raise Conflict(
                "The webhook is polled, so nothing is sent to it. Replay from this event: then it is polled again."
            )
        record = self._event(parked.organization_id, parked.seq)
        if record is None:
            raise Conflict(
                "The event is older than the feed: it cannot be sent again. Remove it from the parked ones."
            )
        event = self._outbound(parked.organization_uid, self._store.webhook_replays.epoch(), record)
        outcome = self._post(webhook, event, messages.message_id(event))
        taken = self._note(webhook, outcome, trace)
        with self._endpoints.changing(self._endpoints.organization_of(webhook), trace):
            name_target(webhook, trace)
            if taken:
                self._store.webhooks.remove_parked(webhook.id, parked.organization_id, parked.seq)
        return outcome

    def remove_parked(self, webhook: WebhookRecord, key: str, trace: Trace) -> None:
        """Forget a parked event. Raises NotFound."""
        parked = self._find_parked(webhook, key)
        with self._endpoints.changing(self._endpoints.organization_of(webhook), trace):
            name_target(webhook, trace)
            self._store.webhooks.remove_parked(webhook.id, parked.organization_id, parked.seq)

    def attempt(self, webhook: WebhookRecord, key: str) -> tuple[AttemptRecord, str | None]:
        """Return an attempt and the body that was sent, built again; None if the event is no longer there.

        Of a security event token the claims. Raises NotFound.
        """
        found = self._store.webhooks.attempt(webhook, _number(key)) if _number(key) else None
        if found is None:
            raise NotFound(f"There is no attempt with the id {excerpt(key)} here.")
        if found.epoch != self._store.webhook_replays.epoch():
            return found, None
        record = self._event(found.organization_id, found.seq)
        if record is None or record.type != found.type:
            return found, None
        event = self._outbound(found.organization_uid, found.epoch, record)
        if webhook.format == "set":
            claims = security_events.claims(event, self._config.public_url, webhook.uid, found.at)
            return found, json.dumps(claims, ensure_ascii=False) if claims else None
        return found, messages.build(event, webhook.format, self._config.public_url).decode()

    def _post(self, webhook: WebhookRecord, event: OutboundEvent, message_id: str) -> Outcome:
        private_allowed, moment = webhook.owner == OPERATOR, now()
        if webhook.format == "set":
            claims = security_events.claims(event, self._config.public_url, webhook.uid, moment)
            if claims is None:
                return Outcome(
                    None, 0, "There is no security event token of this type of events.", None, None
                )
            token = self._token_keys.sign(claims, moment)
            return self._sender.post(webhook.url, token, security_events.PUSH_HEADERS, private_allowed)
        live = self._store.webhooks.open(webhook)
        if not live.secrets:
            return Outcome(None, 0, "No secret key of this deployment opens the secret.", None, None)
        body = messages.build(event, webhook.format, self._config.public_url)
        headers = messages.signature_headers(message_id, body, moment, live.secrets)
        return self._sender.post(webhook.url, body, headers, private_allowed)

    def _note(self, webhook: WebhookRecord, outcome: Outcome, trace: Trace) -> bool:
        """Return whether the webhook took a message, and note it where it did not."""
        taken = retries.judge(outcome.status, 0) is retries.Verdict.DELIVERED
        if not taken:
            # What keeps a connection from being made names addresses of the operator's network.
            hidden = webhook.owner == OPERATOR and outcome.error is not None
            trace.left_out.append(
                "The message was not taken; the answer to the operator says why."
                if hidden
                else retries.describe(outcome.status, outcome.error)
            )
        return taken

    def _find_parked(self, webhook: WebhookRecord, key: str) -> ParkedRecord:
        found = self._store.webhooks.find_parked(webhook, _number(key))
        if found is None:
            raise NotFound(f"There is no parked event with the id {excerpt(key)} here.")
        return found

    def _event(self, organization_id: int, seq: int) -> EventRecord | None:
        page = self._store.events.page(organization_id, seq - 1, 1)
        return page[0] if page and page[0].seq == seq else None

    @staticmethod
    def _outbound(organization_uid: str | None, epoch: int, record: EventRecord) -> OutboundEvent:
        return OutboundEvent(
            organization_uid, epoch, record.seq, record.type, record.at, record.resource, record.resource_uid,
            record.connection_uid, record.data,
        )  # fmt: skip

    # Replay ---------------------------------------------------------------------------------------------------------

    def preview(self, webhook: WebhookRecord, replay: Replay) -> tuple[ReplayCount, str]:
        """Return what a replay would send again, and the entity tag that it needs.

        The tag stands for where the replay begins and for the webhook as it is; newer events do not change it. Raises
        InvalidValue where nothing would be sent again.
        """
        key = self._organization_key(webhook, replay)
        if replay.at is not None:
            count = self._store.webhook_replays.count_since(webhook, key, replay.at)
        else:
            assert replay.number is not None
            assert key is not None
            position = self._store.webhook_replays.position(webhook, key)
            self._check_number(replay.number, key, position)
            count = ReplayCount(1, position - replay.number + 1)
        if not count.events:
            raise InvalidValue(
                f"Nothing was delivered since {rfc3339(replay.at or 0)}, so nothing would be sent again."
            )
        return count, _etag(webhook, key, replay, self._store.webhook_replays.epoch())

    def run(self, webhook: WebhookRecord, replay: Replay, if_match: str, trace: Trace) -> ReplayCount:
        """Move positions back, as it was previewed; return what is sent again, with the same ids.

        Raises PreconditionFailed.
        """
        count, etag = self.preview(webhook, replay)
        check_preview(
            etag,
            if_match,
            "The webhook has changed since the preview, or another replay was previewed. Preview it again.",
        )
        key, moves = self._organization_key(webhook, replay), self._store.webhook_replays
        trace.changed = ["position"]
        with self._endpoints.changing(self._endpoints.organization_of(webhook), trace):
            name_target(webhook, trace)
            if replay.at is not None:
                moves.move_back_to(webhook, key, replay.at)
            elif key is not None and replay.number is not None:
                moves.move_back(webhook, key, replay.number - 1)
            self._touch(webhook)
        return count

    def _organization_key(self, webhook: WebhookRecord, replay: Replay) -> int | None:
        """Return the key of the organization that a replay is of; None for all. Raises InvalidValue."""
        wanted = replay.organization
        if webhook.organization_id is not None:
            if wanted is not None and wanted.id != webhook.organization_id:
                raise InvalidValue("The webhook receives no events of that organization.")
            return webhook.organization_id
        if wanted is None and replay.number is not None:
            raise InvalidValue(
                "from is the number of an event in one organization: name it in organization, or begin with a time in"
                " at."
            )
        return None if wanted is None else wanted.id

    def _check_number(self, number: int, organization_id: int, position: int) -> None:
        if number > position:
            raise InvalidValue(
                f"The event {number} was not delivered yet: the last one was {position}. A replay only goes back."
            )
        first = self._store.events.page(organization_id, number - 1, 1)
        if not first or first[0].seq != number:
            oldest = f": the oldest one there is {first[0].seq}" if first else ""
            raise InvalidValue(f"The feed no longer has the event {number}{oldest}.")

    # Skip -----------------------------------------------------------------------------------------------------------

    def failing_streams(self, webhook: WebhookRecord) -> list[FailingStream]:
        """Return organizations whose next event fails, the first hundred."""
        return self._store.webhook_replays.failing_streams(webhook, 100)

    def skip(
        self,
        webhook: WebhookRecord,
        organization: OrganizationRecord | None,
        number: int | None,
        trace: Trace,
    ) -> SkippedEvent:
        """Park the event that a webhook fails to take, so that the next ones follow; return it.

        `number` is that of the event, for a caller who knows it. Raises Conflict where none fails, several do, or it is
        another one.
        """
        stream = self._failing_stream(webhook, organization)
        event = self._next_wanted(webhook, stream)
        if event is None:
            raise Conflict(
                "The event that failed is no longer in the feed, and the webhook goes on behind it."
            )
        if number is not None and number != event.seq:
            raise Conflict(f"The event that fails is {event.seq} by now, not {number}. Nothing was skipped.")
        named = stream.organization_uid or "deployment"
        trace.left_out.append(f"The event {event.seq} ({event.type}) of {named} was skipped; it is parked.")
        with self._endpoints.changing(self._endpoints.organization_of(webhook), trace):
            name_target(webhook, trace)
            if not self._store.webhook_replays.skip(webhook, stream.organization_id, stream.seq, event.seq):
                raise Conflict("The event was delivered meanwhile. Nothing was skipped.")
            self._store.webhooks.park(
                webhook.id, stream.organization_id, event.seq, f"Skipped by {trace.principal}."
            )
            self._touch(webhook)
        return SkippedEvent(stream.organization_uid, event.seq, event.type)

    def _touch(self, webhook: WebhookRecord) -> None:
        """Give a webhook a new version, so that each process looks at its positions within a second."""
        # False where it has another version since: then they look too.
        self._store.webhooks.change(self._endpoints.find(None, webhook.uid))

    def _failing_stream(
        self, webhook: WebhookRecord, organization: OrganizationRecord | None
    ) -> FailingStream:
        streams = self._store.webhook_replays.failing_streams(webhook, 100)
        if organization is not None:
            streams = [stream for stream in streams if stream.organization_id == organization.id]
        if not streams:
            raise Conflict("No event fails at this webhook now, so there is none to skip.")
        if len(streams) > 1:
            raise Conflict(
                f"Events of {len(streams)} organizations fail here. Name in organization whose event to skip."
            )
        return streams[0]

    def _next_wanted(self, webhook: WebhookRecord, stream: FailingStream) -> EventRecord | None:
        types, after = webhook.type_names, stream.seq
        for _ in range(_PAGES):
            page = self._store.events.page(stream.organization_id, after, _PAGE)
            for event in page:
                if (types is None or event.type in types) and (
                    webhook.format != "set" or security_events.has_token(event.type, event.data)
                ):
                    return event
            if len(page) < _PAGE:
                return None
            after = page[-1].seq
        return None


def _number(key: str) -> int:
    """Return a key from a path; 0, which nothing has, for another text."""
    return int(key) if key.isascii() and key.isdigit() and len(key) < 19 else 0


def _etag(webhook: WebhookRecord, key: int | None, replay: Replay, epoch: int) -> str:
    return tag_of(webhook.uid, webhook.version, key, replay.number, replay.at, epoch)
