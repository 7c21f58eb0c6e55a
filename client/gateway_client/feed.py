"""The feed of one organization, or of all: events in order, from a position that the application stores."""

from __future__ import annotations

import logging
import random
import ssl
import threading
import time
from collections.abc import Generator, Iterator
from typing import Any
from urllib.parse import quote

from gateway_client.errors import (
    FeedRewound,
    GatewayError,
    HistoryGone,
    SnapshotIncomplete,
    Unavailable,
    UnexpectedAnswer,
    UnknownOrganization,
)
from gateway_client.events import Event, Position, SnapshotEntry, read_feed_item
from gateway_client.transport import Gone, TooLarge, Transport

#: The longest pause between two requests, unless the gateway asks for a longer one.
_LONGEST_PAUSE = 60.0
_ADVICE = "Begin anew with `snapshot()`."
_NO_PAGE = "The answer is no page of a list: is the URL that of a gateway?"

log = logging.getLogger("gateway_client")


class Feed:
    """Follows the events of one organization, or of all.

    Iterating yields each event and never ends, unless `stop` is called: the network, 5xx and 429 are waited out. Store
    `event.position` in the transaction in which you store what you did, and give it as `position` next time; without
    one the feed begins with the first event. A feed is for one thread; `stop` may be called by any.
    """

    def __init__(
        self,
        url: str,
        token: str,
        organization: str | None = None,
        position: str | None = None,
        *,
        wait: float = 20.0,
        poll_seconds: float = 2.0,
        retry_seconds: float = 1.0,
        page_size: int = 100,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """`url` is that of the gateway, as https://gateway.acme.test; `token` one of its admin tokens.

        `organization`: an id, or None for all organizations. `wait`: seconds that the gateway may keep a request until
        there is an event, at most 30. `poll_seconds`: the pause between requests to a gateway that does not wait.
        `retry_seconds`: the first pause after a failure; it doubles up to a minute. `page_size`: events of one request,
        at most 1000. Raises ValueError.
        """
        if not 0 <= wait <= 30 or poll_seconds < 0 or retry_seconds < 0 or not 1 <= page_size <= 1000:
            raise ValueError(
                "`wait` is from 0 to 30 seconds, a pause is not negative, `page_size` is from 1 to 1000."
            )
        if organization == "":
            raise ValueError("`organization` is empty: give its id, or None for all organizations.")
        self.organization = organization
        self._path = "/admin/v1/events" if organization is None else f"{_path_of(organization)}/events"
        self._transport = Transport(url, token, ssl_context)
        self._wait, self._poll_seconds, self._retry_seconds = wait, poll_seconds, retry_seconds
        self._page_size = page_size
        self._stopped = threading.Event()
        self._position = Position(0, 0, organization)
        if position is not None:
            self.position = position

    def __repr__(self) -> str:
        return (
            f"Feed({self._transport.url!r}, organization={self.organization!r}, position={self.position!r})"
        )

    @property
    def position(self) -> str:
        """Return where the feed goes on; it may be set. An unknown text raises ValueError."""
        return str(self._position)

    @position.setter
    def position(self, text: str) -> None:
        position = Position.parse(text)
        if position.organization != self.organization:
            raise ValueError("This position is one of another organization's feed, or of the feed of all.")
        self._position = position

    def __iter__(self) -> Iterator[Event]:
        """Yield events for ever; `position` is then that of the last one that was yielded."""
        for events, end in self._requests():
            for event in events:
                self._position = Position.parse(event.position)
                yield event
            self._position = end

    def pages(self) -> Iterator[list[Event]]:
        """Yield the events of each request that had some, for ever: for applications that store many at once."""
        for events, end in self._requests():
            self._position = end
            if events:
                yield events

    def read(self, wait: float = 0) -> list[Event]:
        """Return the events of one request: none at the end of the feed.

        In the feed of all a page may be empty before the end, where an organization was removed; the position has moved
        then.
        Raises Unavailable, AccessRefused, UnknownOrganization, FeedRewound, HistoryGone, UnexpectedAnswer.
        """
        events, self._position = self._request(wait)
        return events

    def snapshot(self) -> Iterator[SnapshotEntry]:
        """Yield all users and groups; at its end the feed stands where it goes on from there.

        An entry may be newer than that position: events that follow are whole documents, so a copy that applies them
        ends up with the present state. For all organizations the token must be one that reads their list. Raises what
        `read` raises, and SnapshotIncomplete.
        """
        if self.organization is not None:
            self._position = yield from self._snapshot(self.organization)
            return
        # The position first: what happens while the snapshots are read comes again as an event.
        begin = self._newest()
        for organization in self._organizations():
            try:
                yield from self._snapshot(organization)
            except UnknownOrganization:
                continue  # removed since the list was read: an event will say so
        self._position = begin

    def stop(self) -> None:
        """End the iteration, also while it waits for the gateway or after a failure."""
        self._stopped.set()
        self._transport.abort()

    @property
    def stopped(self) -> bool:
        """Return whether `stop` was called."""
        return self._stopped.is_set()

    def wait_out(self, error: GatewayError, failures: int) -> None:
        """Log a failure and wait, longer the more of them came before it, or until the feed is stopped."""
        if self.stopped:
            return
        pause = self._pause(failures, getattr(error, "retry_after", None))
        log.warning("%s The feed goes on in %.1f seconds.", error, pause)
        self._stopped.wait(pause)

    def close(self) -> None:
        """Close the connection to the gateway."""
        self._transport.close()

    def _newest(self) -> Position:
        """Return the position after the newest event."""
        answer = self._transport.get(self._path, {"newest": "true"})
        try:
            return Position(int(answer["epoch"]), int(answer["next"]), self.organization)
        except (KeyError, TypeError, ValueError):
            raise UnexpectedAnswer(_NO_PAGE) from None

    def _organizations(self) -> Iterator[str]:
        """Yield the ids of all organizations."""
        query: dict[str, Any] = {"limit": 1000}
        while query.get("after", 0) is not None:
            page = self._transport.get("/admin/v1/organizations", query)
            try:
                found, query["after"] = [str(each["id"]) for each in page["items"]], page["next"]
            except (KeyError, TypeError):
                raise UnexpectedAnswer(_NO_PAGE) from None
            yield from found

    def _snapshot(self, organization: str) -> Generator[SnapshotEntry, None, Position]:
        """Yield the entries of one organization and return where its feed goes on."""
        begin: Position | None = None
        complete = False
        try:
            for line in self._transport.stream(f"{_path_of(organization)}/snapshot"):
                if complete:
                    raise UnexpectedAnswer("A snapshot goes on after its last line.")
                if begin is None:
                    begin = Position(int(line["epoch"]), int(line["after"]), organization)
                elif "next" in line:
                    complete = True
                else:
                    yield SnapshotEntry(organization, str(line["resource"]), dict(line["data"]))
        except (KeyError, TypeError, ValueError):
            raise UnexpectedAnswer("A line of the snapshot is not what a gateway sends.") from None
        except Unavailable as error:
            if begin is None:
                raise
            raise SnapshotIncomplete(f"The snapshot broke off. {error}") from None
        if begin is None or not complete:
            raise SnapshotIncomplete("The snapshot ended before its last line: begin it again.")
        return begin

    def _requests(self) -> Iterator[tuple[list[Event], Position]]:
        """Yield what came of each request, and pause between them."""
        failures = 0
        while not self.stopped:
            begun = time.monotonic()
            try:
                events, end = self._request(self._wait)
            except Unavailable as error:
                self.wait_out(error, failures)
                failures += 1
                continue
            failures, moved = 0, end != self._position
            yield events, end
            # A page may be empty before the end of the feed, where an organization was removed.
            if not events and not moved:
                self._stopped.wait(max(0.0, min(self._wait, self._poll_seconds) - (time.monotonic() - begun)))

    def _pause(self, failures: int, retry_after: float | None) -> float:
        if retry_after is not None:
            return retry_after
        longest = min(_LONGEST_PAUSE, self._retry_seconds * 2.0 ** min(failures, 20))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - so that followers do not come back all at once

    def _request(self, wait: float) -> tuple[list[Event], Position]:
        """Return the events after the position, and the position after them."""
        known = self._position
        query: dict[str, Any] = {"after": known.number, "limit": self._page_size}
        query |= {"epoch": known.epoch} if known.epoch else {}
        query |= {"wait": round(wait)} if round(wait) else {}
        try:
            answer = self._transport.get(self._path, query, wait)
        except Gone as gone:
            raise _reason_of(gone) from None
        except TooLarge:
            if self._page_size == 1:
                raise
            self._page_size = max(1, self._page_size // 10)
            return self._request(wait)
        try:
            epoch, after, items = int(answer.get("epoch", 0)), int(answer["next"]), list(answer["items"])
        except (KeyError, TypeError, ValueError):
            raise UnexpectedAnswer(_NO_PAGE) from None
        if known.epoch and known.epoch != epoch:
            raise FeedRewound(f"The gateway was restored from a backup: its epoch is another. {_ADVICE}")
        events = [read_feed_item(item, epoch, self.organization) for item in items]
        return events, Position(epoch, after, self.organization)


def _path_of(organization: str) -> str:
    return f"/admin/v1/organizations/{quote(organization, safe='')}"


def _reason_of(gone: Gone) -> GatewayError:
    """Return the error for a position that the gateway refuses, by the sentence that it gives."""
    sentence = str(gone)
    kind = HistoryGone if "kept" in sentence or "removed" in sentence else FeedRewound
    return kind(f"{sentence} {_ADVICE}")
