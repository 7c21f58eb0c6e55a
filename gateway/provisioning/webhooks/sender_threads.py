"""The threads that send messages: HTTP alone, no database. Each takes messages of one lane."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any, NamedTuple

from gateway.provisioning.webhooks import messages, security_events
from gateway.provisioning.webhooks.messages import OutboundEvent
from gateway.provisioning.webhooks.sender import Outcome, Sender
from gateway.store.ids_and_time import now
from gateway.store.webhooks import OPERATOR, LiveWebhook

log = logging.getLogger("gateway.webhooks")


class Message(NamedTuple):
    """One event for one endpoint. `stream` is returned with the outcome; `parked`: events that it refused before.

    `token`: the security event token that is sent in the place of a signed body.
    """

    stream: Any
    webhook: LiveWebhook
    event: OutboundEvent
    parked: int
    token: bytes | None = None


class Result(NamedTuple):
    """What came of a message, and when it was sent."""

    message: Message
    outcome: Outcome
    at: int


class SenderThreads:
    """Threads of several lanes, started with the first message of each; `threads`: how many a lane has."""

    def __init__(self, sender: Sender, public_url: str, threads: Sequence[int]) -> None:
        self._sender, self._public_url, self._threads = sender, public_url, threads
        self._queues: list[SimpleQueue[Message | None]] = [SimpleQueue() for _ in threads]
        self._started: list[threading.Thread] = []
        self._lanes: set[int] = set()
        self.results: SimpleQueue[Result | None] = SimpleQueue()

    def send(self, lane: int, message: Message) -> None:
        """Send a message in a thread of the lane; its result follows in `results`."""
        if lane not in self._lanes:
            self._lanes.add(lane)
            for _ in range(self._threads[lane]):
                thread = threading.Thread(
                    target=self._run, args=(self._queues[lane],), name="gateway-webhook", daemon=True
                )
                self._started.append(thread)
                thread.start()
        self._queues[lane].put(message)

    def stop(self) -> None:
        """End the threads after the message that each is at."""
        for queue, number in zip(self._queues, self._threads, strict=True):
            for _ in range(number):
                queue.put(None)

    def _run(self, queue: SimpleQueue[Message | None]) -> None:
        while (message := queue.get()) is not None:
            at = now()
            try:
                outcome = self._post(message, at)
            except (
                Exception
            ) as error:  # a message that cannot be made must not end the thread, nor stay on its way
                log.exception("the message for webhook %s could not be made", message.webhook.uid)
                outcome = Outcome(
                    None, 0, f"The message could not be made: {type(error).__name__}.", None, None
                )
            self.results.put(Result(message, outcome, at))

    def _post(self, message: Message, at: int) -> Outcome:
        webhook, event = message.webhook, message.event
        if message.token is not None:
            return self._sender.post(
                webhook.url, message.token, security_events.PUSH_HEADERS, webhook.owner == OPERATOR
            )
        if not webhook.secrets:
            return Outcome(None, 0, "No secret key of this deployment opens the secret.", None, None)
        body = messages.build(event, webhook.format, self._public_url)
        headers = messages.signature_headers(messages.message_id(event), body, at, webhook.secrets)
        if message.parked:
            headers["webhook-parked"] = str(message.parked)
        return self._sender.post(webhook.url, body, headers, webhook.owner == OPERATOR)
