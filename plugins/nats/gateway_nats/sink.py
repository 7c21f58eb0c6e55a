"""A connection to JetStream for callers without an event loop: nats-py has one here, in a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property

import nats
from nats.aio.client import Client
from nats.js.errors import NotFoundError

#: Seconds for which a stream remembers ids of messages. The gateway waits up to 300 before it delivers an event again.
DUPLICATE_WINDOW = 900.0


class Sink:
    """Publishes messages one at a time. It connects with the first one, and anew with the next after a failure."""

    def __init__(self, servers: Sequence[str], stream: str, subjects: str, seconds: float = 5.0) -> None:
        """:param seconds: for connecting, making the stream and the acknowledgement together."""
        self._servers, self._stream, self._subjects = list(servers), stream, subjects
        self._seconds = seconds
        self._client: Client | None = None

    def publish(self, subject: str, body: bytes, headers: dict[str, str]) -> None:
        """Publish one message and return once the stream has acknowledged it.

        :raises nats.errors.Error, OSError, TimeoutError: it may not be stored, and has to be published again.
        """
        asyncio.run_coroutine_threadsafe(self._publish(subject, body, headers), self._loop).result()

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        # Not before the first message: a server that forks would leave the thread behind.
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, name="gateway-nats", daemon=True).start()
        return loop

    async def _publish(self, subject: str, body: bytes, headers: dict[str, str]) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                stream = (await self._connect()).jetstream(timeout=self._seconds)
                await stream.publish(subject, body, stream=self._stream, headers=headers)
        except (nats.errors.Error, OSError):
            # Whatever was wrong with this connection, the next attempt makes another one.
            client, self._client = self._client, None
            if client is not None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(client.close(), 1)
            raise

    async def _connect(self) -> Client:
        """Return the connection; where there is none, connect and make the stream unless it exists."""
        if self._client is None or not self._client.is_connected:
            # Trying again is left to the gateway, which knows how long to wait and keeps what is not published.
            self._client = Client()
            await self._client.connect(
                self._servers, _log, allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0
            )
            streams = self._client.jsm(timeout=self._seconds)
            try:
                await streams.stream_info(self._stream)
            except NotFoundError:
                await streams.add_stream(
                    name=self._stream, subjects=[self._subjects], duplicate_window=DUPLICATE_WINDOW
                )
        return self._client


async def _log(error: Exception) -> None:
    logging.getLogger("gateway.nats").warning("NATS: %r", error)
