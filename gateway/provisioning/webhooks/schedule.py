"""Which event is sent next: the streams that this process leased, in memory, and how well each endpoint answers.

Knows no database and sends nothing; `delivery` does both. All of it is used by one thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gateway.provisioning.webhooks import retries
from gateway.store.delivery_positions import Position
from gateway.store.records import EventRecord
from gateway.store.webhooks import LiveWebhook

#: Lanes: endpoints that answer well, and those that failed or were slow the last time.
FAST, SLOW = 0, 1
#: Messages of a lane that are on their way at once: as many as it has sender threads.
THREADS = (3, 1)
#: Messages of one endpoint that are on their way at once, so that one that begins to hang leaves threads to others.
MOST_OF_ONE = 2
#: Milliseconds of an attempt from which on an endpoint is slow.
SLOW_MS = 1000
#: Microseconds that a lease must still have; else it is renewed.
RENEWAL = 10_000_000


@dataclass(slots=True)
class Stream:
    """One organization's events for one endpoint, leased by this process."""

    position: Position
    #: The uid of the organization, None for the deployment.
    organization: str | None
    #: Those that follow and are wanted, the next one first; it stays there while it is on its way.
    events: deque[EventRecord] = field(default_factory=deque)
    #: The number up to which events were read; those in between that are not in `events` are not wanted.
    read: int = 0
    #: When the last of them were read, in microseconds.
    read_at: int = 0
    #: Whether there may be events behind `read`.
    more: bool = True
    sending: bool = False
    #: Whether it is released with the next write.
    closing: bool = False
    #: Whether the position differs from the stored one.
    moved: bool = False
    #: Whether events were left to the next process when it was closed.
    left: bool = False
    parked: int = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is left to send."""
        return not (self.events or self.more or self.sending)

    @property
    def ends(self) -> bool:
        """Whether it is released now."""
        return (self.closing or self.idle) and not self.sending

    def finish(self) -> None:
        """Move the position behind the next event, which was delivered or parked."""
        event = self.events.popleft()
        seq = event.seq if self.events else self.read
        self.position = self.position._replace(seq=seq, failures=0, retry_at=0)
        self.moved = True

    def forget(self) -> None:
        """Have all that was read and not sent read again."""
        self.events.clear()
        self.read, self.more = self.position.seq, True

    def close(self) -> None:
        """Send nothing more; an event that is on its way ends."""
        self.left = self.left or self.more or len(self.events) > self.sending
        self.closing, self.more = True, False
        while len(self.events) > self.sending:
            self.events.pop()
        self.read = self.events[-1].seq if self.events else self.position.seq


@dataclass(slots=True)
class Endpoint:
    """A webhook, and how it answers this process."""

    webhook: LiveWebhook
    #: Whether it answered this process well before; until then it is sent one event at a time.
    proven: bool = False
    slow: bool = False
    #: In a row, over all organizations.
    failures: int = 0
    failing_since: int | None = None
    #: Nothing is sent before.
    held_until: int = 0
    sending: int = 0
    streams: dict[int, Stream] = field(default_factory=dict)
    #: Organizations whose next event can be sent, in turn.
    ready: deque[int] = field(default_factory=deque)
    #: Whether it is one of those that follow each other.
    queued: bool = False
    #: Whether it was paused, disabled or removed: it is forgotten once its streams are released.
    closed: bool = False

    @property
    def lane(self) -> int:
        """The lane in which it is served."""
        return SLOW if self.slow or self.failures else FAST

    @property
    def most(self) -> int:
        """How many of its messages may be on their way at once."""
        return MOST_OF_ONE if self.proven and self.lane == FAST else 1

    def record_success(self, ms: int) -> None:
        """Note that it took an event, and in which time."""
        self.failures, self.failing_since, self.held_until = 0, None, 0
        self.slow, self.proven = ms > SLOW_MS, True

    def record_failure(self, moment: int, retry_after: int | None, refused: bool) -> None:
        """Note a failure; `refused`: of that event alone, so that those of other organizations follow at once."""
        self.failures += 1
        if self.failing_since is None:
            self.failing_since = self.webhook.failing_since or moment
        if refused:
            return
        if retry_after is not None:
            self.held_until = moment + retries.wait(1, retry_after)
        if self.failures >= retries.PAUSED_AFTER:
            pause = retries.wait(self.failures - retries.PAUSED_AFTER + 1, retry_after)
            self.held_until = max(self.held_until, moment + pause)

    def reset(self) -> None:
        """Forget failures: an admin resumed it or gave it another address."""
        self.failures, self.failing_since, self.held_until, self.slow, self.proven = 0, None, 0, False, False


class Schedule:
    """The streams of this process, and the order in which their events are sent."""

    def __init__(self) -> None:
        self.endpoints: dict[int, Endpoint] = {}
        self._sending = [0, 0]
        #: Endpoints that may have something ready, in turn.
        self._order: deque[int] = deque()
        #: The lane of each message on its way: an endpoint may change its own meanwhile.
        self._lanes: dict[tuple[int, int], int] = {}

    def replace_endpoints(self, webhooks: Sequence[LiveWebhook]) -> list[int]:
        """Take over what is stored; return the keys of endpoints that are new or changed.

        Streams of one that is paused, disabled or removed are closed.
        """
        live = {webhook.id: webhook for webhook in webhooks}
        for key, endpoint in list(self.endpoints.items()):
            if key not in live:
                endpoint.closed = True
                self.close(endpoint)
                self._forget_closed(endpoint)
        changed = []
        for key, webhook in live.items():
            known = self.endpoints.get(key)
            if known is None:
                self.endpoints[key] = Endpoint(webhook)
            elif known.webhook.version == webhook.version:
                continue
            else:
                known.closed = False
                before, known.webhook = known.webhook, webhook
                if before.url != webhook.url or (before.state, webhook.state) == ("failing", "on"):
                    known.reset()
            changed.append(key)
        return changed

    def streams(self) -> Iterator[Stream]:
        """Iterate over all streams."""
        for endpoint in self.endpoints.values():
            yield from endpoint.streams.values()

    def find(self, key: tuple[int, int]) -> tuple[Endpoint | None, Stream | None]:
        """Return the endpoint and the stream of a key."""
        endpoint = self.endpoints.get(key[0])
        return endpoint, endpoint.streams.get(key[1]) if endpoint else None

    def add(self, stream: Stream) -> None:
        """Take over a stream that was leased."""
        endpoint = self.endpoints[stream.position.subscriber]
        endpoint.streams[stream.position.organization_id] = stream
        if not endpoint.proven:
            endpoint.failures = max(endpoint.failures, stream.position.failures)

    def remove(self, stream: Stream) -> None:
        """Forget a stream that was released or lost."""
        endpoint = self.endpoints.get(stream.position.subscriber)
        if endpoint is not None:
            endpoint.streams.pop(stream.position.organization_id, None)
            self._forget_closed(endpoint)

    def _forget_closed(self, endpoint: Endpoint) -> None:
        if endpoint.closed and not endpoint.streams and not endpoint.sending:
            self.endpoints.pop(endpoint.webhook.id, None)

    def close(self, endpoint: Endpoint) -> None:
        """Send nothing more to an endpoint; its streams are released."""
        endpoint.ready.clear()
        for stream in endpoint.streams.values():
            stream.close()

    def make_ready(self, stream: Stream) -> None:
        """Queue the next event of a stream."""
        endpoint = self.endpoints[stream.position.subscriber]
        if not endpoint.queued:
            self._order.append(stream.position.subscriber)
            endpoint.queued = True
        endpoint.ready.append(stream.position.organization_id)

    def next(self, moment: int) -> Stream | None:
        """Return a stream whose next event is to be sent now, marked as such; None if no thread is free for any.

        Endpoints follow each other, and organizations of one endpoint do.
        """
        for _ in range(len(self._order)):
            key = self._order.popleft()
            endpoint = self.endpoints.get(key)
            if endpoint is None:
                continue
            if not endpoint.ready:
                endpoint.queued = False
                continue
            self._order.append(key)
            lane = endpoint.lane
            if (
                self._sending[lane] >= THREADS[lane]
                or endpoint.sending >= endpoint.most
                or endpoint.held_until > moment
            ):
                continue
            stream = endpoint.streams.get(endpoint.ready.popleft())
            if stream is None or stream.closing or stream.sending or not stream.events:
                continue
            stream.sending = True
            endpoint.sending += 1
            self._sending[lane] += 1
            self._lanes[stream.position.stream] = lane
            return stream
        return None

    def is_sending(self, key: tuple[int, int]) -> bool:
        """Return whether a message of a stream is on its way, also of one whose lease was lost meanwhile."""
        return key in self._lanes

    def lane(self, stream: Stream) -> int:
        """Return the lane in which the message of a stream is on its way."""
        return self._lanes[stream.position.stream]

    def end(self, key: tuple[int, int]) -> None:
        """Note that the message of a stream is no longer on its way."""
        self._sending[self._lanes.pop(key)] -= 1
        endpoint, stream = self.find(key)
        if stream is not None:
            stream.sending = False
        if endpoint is not None:
            endpoint.sending -= 1
            self._forget_closed(endpoint)

    def positions_to_write(self, moment: int, until: int) -> list[Position]:
        """Return the positions that moved, and those of leases that are released, end soon, or go on too long.

        `until`: the end of the leases that go on, as they are written. A lease that is released is 0, or ends at
        `moment` where events are left, so that other processes find it among those that have ended.
        """
        written = []
        for stream in self.streams():
            position = stream.position
            if stream.ends:
                due = stream.left and position.retry_at <= moment
                written.append(position._replace(lease_until=moment if due else 0))
            elif stream.moved or position.lease_until < moment + RENEWAL or position.lease_until > until:
                written.append(position._replace(lease_until=until))
        return written

    def confirm_written(self, written: Sequence[Position], held: set[tuple[int, int]]) -> None:
        """Take over what was written; forget the streams that were released, and those whose lease was lost."""
        for position in written:
            _, stream = self.find(position.stream)
            if stream is None:
                continue
            stream.moved = False
            stream.position = stream.position._replace(lease_until=position.lease_until)
            if stream.ends or position.stream not in held:
                self.remove(stream)
