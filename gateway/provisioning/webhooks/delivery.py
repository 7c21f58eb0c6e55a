"""Delivers committed events to webhooks: at least once, in the order of each organization, side by side.

One thread of the process does all work of the database: it leases streams, reads their events, and writes positions and
attempts together. Other threads send (`sender_threads`); which event is next, `schedule` says.
"""

from __future__ import annotations

import heapq
import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty

from gateway.config import Config
from gateway.provisioning.outages import Outages
from gateway.provisioning.publication import Tail
from gateway.provisioning.webhooks import retries, schedule, security_events
from gateway.provisioning.webhooks.messages import OutboundEvent, message_id
from gateway.provisioning.webhooks.schedule import Endpoint, Schedule, Stream
from gateway.provisioning.webhooks.sender import Outcome, Sender
from gateway.provisioning.webhooks.sender_threads import Message, Result, SenderThreads
from gateway.provisioning.webhooks.signing_keys import TokenKeys
from gateway.provisioning.webhooks.states import StateChange
from gateway.provisioning.webhooks.unwritten import Unwritten
from gateway.scim.errors import Refusal
from gateway.store import Store
from gateway.store.delivery_positions import DueStream, Position
from gateway.store.engine.base import BRIEF
from gateway.store.engine.failures import Outage
from gateway.store.ids_and_time import now
from gateway.store.publications import DEPLOYMENT
from gateway.store.records import EventRecord
from gateway.store.webhooks import DISABLED, FAILING, FAILURE, ON, SUCCESS, Attempt, LiveWebhook

log = logging.getLogger("gateway.webhooks")

#: Seconds between two rounds, which have one transaction each, at most: streams are leased, positions written.
ROUND_SECONDS = 0.5
#: Seconds between two looks whether there is a webhook, and whether one was changed.
LOOK_SECONDS = 1.0
#: Seconds between two looks at all organizations.
SWEEP_SECONDS = 30.0
#: Seconds for which a stream is leased; renewed at half of them. Longer than an attempt lasts.
LEASE_SECONDS = 20.0
#: Seconds between two looks at the leases of other processes, for what one left that ended.
LEASES_SECONDS = 10.0
#: Seconds that messages on their way have to end when the process stops, and those for which it then keeps the leases
#: of those that did not: it has ended by then.
STOP_SECONDS, LAST_LEASE_SECONDS = 2.0, 5.0
#: Streams of one endpoint, and of all, that this process has at once.
STREAMS_OF_ONE, STREAMS = 200, 1000
#: Events that are read of a stream at once, bytes of them that are kept, and pages of unwanted events in one look.
PAGE, PAGE_BYTES, PAGES = 50, 262_144, 20
#: Seconds after which events that were read and not sent are read again: an erasure may have rewritten them.
FRESH_SECONDS = 2
#: Attempts that are kept while they cannot be written; then nothing more is sent.
MAX_ATTEMPTS = 5000
#: The format of security event tokens (RFC 8935).
SET = "set"


class Deliverer:
    """Delivers to webhooks in a thread of this process; any number of processes do, side by side."""

    def __init__(
        self,
        config: Config,
        store: Store,
        outages: Outages,
        tail: Tail,
        token_keys: TokenKeys,
        clock: Callable[[], int] = now,
    ) -> None:
        self._config, self._store, self._outages, self._tail, self._clock = (
            config,
            store,
            outages,
            tail,
            clock,
        )
        self._token_keys = token_keys
        self._sender = Sender(config.webhook_allow)
        self._threads = SenderThreads(self._sender, config.public_url, schedule.THREADS)
        self._schedule = Schedule()
        self._holder = secrets.token_hex(8)
        self._fingerprint: tuple[int, int] = (0, 0)
        self._looked = self._swept = -SWEEP_SECONDS
        #: Organizations with news, and endpoints of which all organizations are to be looked at.
        self._news: set[int] = set()
        self._news_lock = threading.Lock()
        self._look_at: set[int] = set()
        #: The next look at the leases of other processes.
        self._leases_at = 0
        #: (moment, webhook, organization or None for all): when to look again at what waits.
        self._reminders: list[tuple[int, int, int]] = []
        self._unwritten = Unwritten(config.attempt_days)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        tail_news = self._add_news
        self._subscribe: Callable[[], None] | None = lambda: tail.subscribe(tail_news)

    # The thread -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread in this process, behind the fork."""
        with self._lock:
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name="gateway-deliverer", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End the thread: what was delivered is written, and the streams are released. Takes a few seconds at most."""
        self._stopping.set()
        self._threads.results.put(None)
        if self._thread:
            self._thread.join(timeout=STOP_SECONDS + 3)
        else:
            self._threads.stop()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if not self.run_round():
                    self._stopping.wait(LOOK_SECONDS)
            except Outage as outage:
                self._outages.record(outage)
                self._stopping.wait(LOOK_SECONDS)
            except Refusal as error:
                log.warning("webhooks wait: %s", error.detail)
                self._stopping.wait(ROUND_SECONDS)
            except Exception:  # what fails now must not end the thread: there is no second one
                log.exception("webhooks could not be served")
                self._stopping.wait(LOOK_SECONDS)
        try:
            self._release_all()
        except Refusal as error:
            log.warning("webhooks are released when their leases end: %s", error.detail)
        finally:
            self._store.database.close()

    def run_round(self, seconds: float = ROUND_SECONDS) -> bool:
        """Lease and write what is due, then send for so many seconds; False if there is no webhook.

        Raises Unavailable; what could not be written is written in the next round.
        """
        until = time.monotonic() + seconds
        self._look_at_endpoints()
        if not self._schedule.endpoints:
            return False
        self._synchronize()
        self._send_ready()
        while (left := until - time.monotonic()) > 0 and not self._stopping.is_set():
            try:
                result = self._threads.results.get(timeout=left)
            except Empty:
                break
            if result is not None:
                self._take_result(result)
                self._send_ready()
        return True

    def _release_all(self) -> None:
        """Wait briefly for what is on its way, then write positions and release the leases of all other streams.

        A message that is still on its way keeps its lease for `LAST_LEASE_SECONDS`, and ends with this process.
        """
        until = time.monotonic() + STOP_SECONDS
        for endpoint in self._schedule.endpoints.values():
            self._schedule.close(endpoint)
        while any(s.sending for s in self._schedule.streams()) and (left := until - time.monotonic()) > 0:
            try:
                result = self._threads.results.get(timeout=left)
            except Empty:
                break
            if result is not None:
                self._take_result(result)
        self._threads.stop()
        if any(True for _ in self._schedule.streams()) or self._unwritten:
            self._write([])

    # Endpoints and streams ------------------------------------------------------------------------------------------

    def _look_at_endpoints(self) -> None:
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        fingerprint = self._store.webhooks.fingerprint()
        self._looked = time.monotonic()
        if fingerprint == self._fingerprint:
            return
        if self._subscribe:
            self._subscribe()
            self._subscribe = None
        self._look_at.update(self._schedule.replace_endpoints(self._store.webhooks.live()))
        self._fingerprint = fingerprint

    def _add_news(self, organization_ids: set[int]) -> None:
        with self._news_lock:
            self._news |= organization_ids

    def _synchronize(self) -> None:
        """Write what moved and lease what is due, in one transaction if there is anything; then read events."""
        self._tail.advance()
        with self._news_lock:
            news, self._news = self._news, set()
        # Before the write: a stream with news is not idle, and keeps its lease.
        for stream in self._schedule.streams():
            if stream.position.organization_id in news:
                stream.more = not stream.closing
        try:
            wanted = self._find_due(news)
            taken = self._write(wanted) if self._is_due(wanted) else []
        except BaseException:
            self._add_news(news)
            self._swept = -SWEEP_SECONDS
            raise
        for position, organization, parked in taken:
            self._schedule.add(Stream(position, organization, read=position.seq, parked=parked))
        for stream in list(self._schedule.streams()):
            if stream.more and not stream.events:
                self._read(stream)

    def _find_due(self, news: set[int]) -> list[DueStream]:
        """Find streams that this process can lease."""
        moment, positions = self._clock(), self._store.webhook_positions
        organizations = set(news)
        while self._reminders and self._reminders[0][0] <= moment:
            _, webhook_id, organization_id = heapq.heappop(self._reminders)
            if organization_id < 0:
                self._look_at.add(webhook_id)
            else:
                organizations.add(organization_id)
        if moment >= self._leases_at:
            organizations |= self._find_left(moment)
        swept = time.monotonic() - self._swept >= SWEEP_SECONDS
        if swept:
            self._swept = time.monotonic()
        endpoints, look_at = self._schedule.endpoints, self._look_at
        self._look_at = set()
        left = STREAMS - sum(len(endpoint.streams) for endpoint in endpoints.values())
        found: list[DueStream] = []
        keys, own = sorted(organizations), []
        for key, endpoint in endpoints.items():
            everything, room = swept or key in look_at, min(self._room(endpoint, moment), left)
            if room <= 0:
                self._look_at |= {key} & look_at if left <= 0 else set()
            elif endpoint.webhook.organization_id is not None:
                if everything or endpoint.webhook.organization_id in organizations:
                    own.append(key)
            elif everything or keys:
                due = positions.due(key, None if everything else keys, moment, room)
                if len(due) == room > 1:
                    self._look_at.add(key)
                left -= len(due)
                found += due
        found += positions.due_of_own(own, moment)
        return [each for each in found if not self._schedule.is_sending(each[0].stream)]

    def _find_left(self, moment: int) -> set[int]:
        """Return organizations whose lease of another process has ended; look again when the next one does."""
        ends = self._store.webhook_positions.leases_of_others(
            self._holder, moment - int(3 * LEASES_SECONDS * 1_000_000)
        )
        later = [until for _, until in ends if until > moment]
        self._leases_at = min([moment + int(LEASES_SECONDS * 1_000_000), *later])
        return {organization_id for organization_id, until in ends if until <= moment}

    def _room(self, endpoint: Endpoint, moment: int) -> int:
        """Return how many more streams of an endpoint this process leases now."""
        if endpoint.closed or endpoint.held_until > moment:
            return 0
        most = 1 if endpoint.failures else STREAMS_OF_ONE
        return most - len(endpoint.streams)

    def _read(self, stream: Stream) -> None:
        """Read the next events of a stream, and queue it if one of them is wanted."""
        endpoint = self._schedule.endpoints[stream.position.subscriber]
        key = stream.position.organization_id
        for _ in range(PAGES):
            if stream.closing:
                return
            stream.read_at = self._clock()
            records = self._store.events.page(key, stream.read, PAGE)
            stream.more = len(records) == PAGE
            size = 0
            for record in records:
                size += len(record.data)
                if stream.events and size > PAGE_BYTES:
                    stream.more = True
                    break
                stream.read = record.seq
                if _wants(endpoint, record, key):
                    stream.events.append(record)
            if stream.events:
                self._schedule.make_ready(stream)
                return
            if records:
                stream.position = stream.position._replace(seq=stream.read)
                stream.moved = True
            if not stream.more:
                return

    def _read_again(self, stream: Stream) -> None:
        """Read the events of a stream anew whose next one was about to be sent."""
        self._schedule.end(stream.position.stream)
        stream.forget()
        self._read(stream)

    # Sending --------------------------------------------------------------------------------------------------------

    def _send_ready(self) -> None:
        moment = self._clock()
        while len(self._unwritten.attempts) < MAX_ATTEMPTS and (stream := self._schedule.next(moment)):
            if moment - stream.read_at > FRESH_SECONDS * 1_000_000:
                self._read_again(stream)
                continue
            webhook = self._schedule.endpoints[stream.position.subscriber].webhook
            record = stream.events[0]
            event = OutboundEvent(
                stream.organization,
                self._tail.epoch,
                record.seq,
                record.type,
                record.at,
                record.resource,
                record.resource_uid,
                record.connection_uid,
                record.data,
            )
            message = Message(stream, webhook, event, stream.parked)
            try:
                message = message._replace(token=self._sign(webhook, event, moment))
            except Refusal:
                # The database does not serve: nothing is on its way, so the place in the lane is free again.
                self._schedule.end(stream.position.stream)
                self._schedule.make_ready(stream)
                raise
            except Exception as error:  # what one event does to its token must hold up no other endpoint
                log.exception("the token for webhook %s could not be made", webhook.uid)
                reason = f"The message could not be made: {type(error).__name__}."
                self._threads.results.put(Result(message, Outcome(None, 0, reason, None, None), moment))
                continue
            self._threads.send(self._schedule.lane(stream), message)

    def _sign(self, webhook: LiveWebhook, event: OutboundEvent, moment: int) -> bytes | None:
        """Return the security event token of an event where the endpoint takes these; its key is in the database."""
        if webhook.format != SET:
            return None
        claims = security_events.claims(event, self._config.public_url, webhook.uid, moment)
        return self._token_keys.sign(claims, moment) if claims else None

    def _take_result(self, result: Result) -> None:
        """Note what came of a message, and queue what follows."""
        message, outcome = result.message, result.outcome
        stream: Stream = message.stream
        key, moment = stream.position.stream, self._clock()
        self._schedule.end(key)
        stream.sending = False
        endpoint, current = self._schedule.find(key)
        failures = stream.position.failures
        verdict = retries.judge(outcome.status, failures)
        delivered = verdict is retries.Verdict.DELIVERED
        self._unwritten.attempts.append(
            Attempt(
                key[0],
                key[1],
                message.event.seq,
                message.event.type,
                message_id(message.event),
                result.at,
                SUCCESS if delivered else FAILURE,
                outcome.status,
                outcome.ms,
                outcome.error,
                outcome.response,
            )
        )
        if endpoint is None or current is not stream or not stream.events:
            return  # removed, or its lease was lost meanwhile
        if delivered:
            self._unwritten.record_success(endpoint.webhook, moment)
            if endpoint.failures:
                self._look_at.add(key[0])  # those that waited for it
            endpoint.record_success(outcome.ms)
            stream.finish()
        else:
            self._take_failure(endpoint, stream, result, verdict, moment)
        if stream.closing:
            return
        if stream.events:
            self._schedule.make_ready(stream)
        elif stream.more:
            self._read(stream)

    def _take_failure(
        self, endpoint: Endpoint, stream: Stream, result: Result, verdict: retries.Verdict, moment: int
    ) -> None:
        outcome, webhook = result.outcome, endpoint.webhook
        reason = retries.describe(outcome.status, outcome.error)
        refused = outcome.status in retries.REFUSALS
        endpoint.record_failure(moment, outcome.retry_after, refused)
        if verdict is retries.Verdict.PARK:
            self._unwritten.parked.append((*stream.position.stream, result.message.event.seq, reason))
            stream.parked += 1
            stream.finish()
            log.warning(
                "webhook %s refused event %s for good: %s",
                webhook.uid,
                message_id(result.message.event),
                reason,
            )
        else:
            failures = stream.position.failures + 1
            retry_at = moment + retries.wait(failures, outcome.retry_after)
            stream.position = stream.position._replace(failures=failures, retry_at=retry_at)
            stream.moved = True
            stream.close()
            heapq.heappush(self._reminders, (retry_at, *stream.position.stream))
        if verdict is retries.Verdict.DISABLE or retries.is_given_up(webhook.failing_since, moment):
            if verdict is not retries.Verdict.DISABLE:
                reason = f"It took no event for five days. {reason}"
            self._unwritten.states[webhook.id] = StateChange(
                webhook, DISABLED, reason, endpoint.failing_since
            )
            self._schedule.close(endpoint)
        elif endpoint.failures >= retries.FAILING_AFTER and webhook.state == ON:
            self._unwritten.states[webhook.id] = StateChange(webhook, FAILING, reason, endpoint.failing_since)
        if endpoint.held_until > moment:
            for other in endpoint.streams.values():
                other.close()
            endpoint.ready.clear()
            heapq.heappush(self._reminders, (endpoint.held_until, webhook.id, -1))
        else:
            self._look_at.add(webhook.id)  # other organizations may be delivered

    # Writing --------------------------------------------------------------------------------------------------------

    def _is_due(self, wanted: Sequence[DueStream]) -> bool:
        return bool(wanted or self._unwritten or self._positions_to_write(self._clock()))

    def _lease_end(self, moment: int) -> int:
        seconds = LAST_LEASE_SECONDS if self._stopping.is_set() else LEASE_SECONDS
        return moment + int(seconds * 1_000_000)

    def _positions_to_write(self, moment: int) -> list[Position]:
        return self._schedule.positions_to_write(moment, self._lease_end(moment))

    def _write(self, wanted: Sequence[DueStream]) -> list[DueStream]:
        """Write positions, leases, attempts and states, and lease streams, in one transaction; return those leased."""
        moment, store = self._clock(), self._store
        until, written = self._lease_end(moment), self._positions_to_write(moment)
        with store.transaction(BRIEF):
            held = store.webhook_positions.write(written, self._holder)
            taken = store.webhook_positions.take(
                [due.position for due in wanted], self._holder, moment, until
            )
            states = self._unwritten.write(store, self._stopping.is_set())
        if self._unwritten.states:
            self._looked = -SWEEP_SECONDS  # they have a new version
        self._unwritten.clear()
        for state in states:
            state.log()
        self._schedule.confirm_written(written, held)
        leased = {position.stream: position for position in taken}
        return [
            due._replace(position=leased[due.position.stream])
            for due in wanted
            if due.position.stream in leased
        ]


def _wants(endpoint: Endpoint, record: EventRecord, organization_id: int) -> bool:
    """Return whether an endpoint is sent an event: of its types, and never about itself."""
    webhook = endpoint.webhook
    if webhook.format == SET and not security_events.has_token(record.type, record.data):
        return False
    if organization_id == DEPLOYMENT and record.resource == "Webhook" and record.resource_uid == webhook.uid:
        return False
    return webhook.types is None or record.type in webhook.types
