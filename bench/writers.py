"""The clients of `make failover`: writers, which behave like identity providers, and followers of a feed."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import Any

from bench.machines import HOST
from gateway.testing import Scim
from gateway.testing.deployment import ADMIN_TOKEN, USER

#: Seconds of a writer's pause after a failure; seconds that a client waits for an answer.
PAUSE, PATIENCE = 0.1, 30.0


@dataclass
class Book:
    """The record of a run: acknowledged changes and failures with their times."""

    acknowledged: list[float] = field(default_factory=list)
    failures: list[tuple[float, str]] = field(default_factory=list)
    stored_unanswered: int = 0
    refused: int = 0
    over: threading.Event = field(default_factory=threading.Event)


class Client:
    """Sends requests over one connection, which it opens again after a failure."""

    def __init__(self, port: int, token: str, book: Book) -> None:
        self._book, self._token = book, token
        self._connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request; return status and JSON, status 0 without an answer. Failures are recorded in the book."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/scim+json"}
        try:
            self._connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = self._connection.getresponse()
            status, text = answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            status, text = 0, type(error).__name__.encode()
        if status >= 500 or status == 0:
            self._book.failures.append((time.monotonic(), f"{method} {status} {_sentence(text)}"))
            time.sleep(PAUSE)
            return status, None
        return status, json.loads(text) if text else None


def _sentence(text: bytes) -> str:
    try:
        found = json.loads(text)
    except ValueError:
        return text[:60].decode(errors="replace").split("\n")[0]
    return str(found.get("detail") or found.get("message"))


class Writer(threading.Thread):
    """Creates one user after another, and repeats each until it is stored."""

    def __init__(self, number: int, scim: Scim, port: int, book: Book) -> None:
        super().__init__(name=f"writer-{number}")
        self._number, self._base, self._book = number, scim.base, book
        self._client = Client(port, scim.token, book)
        self.kept: dict[str, str] = {}
        self.deleted: dict[str, str] = {}
        self.uncertain: set[str] = set()
        self.trouble: BaseException | None = None

    def run(self) -> None:
        """Create users until the run is over."""
        try:
            for count in itertools.count():
                if self._book.over.is_set():
                    return
                self._create(f"w{self._number}-{count}@acme.test")
        except BaseException as trouble:  # noqa: BLE001 - raised by the main thread
            self.trouble = trouble

    def _create(self, name: str) -> None:
        body = {"schemas": [USER], "userName": name, "externalId": name, "active": True}
        body |= {"emails": [{"value": name, "type": "work", "primary": True}]}
        while not self._book.over.is_set():
            status, answer = self._client.send("POST", f"{self._base}/Users", body)
            if status == 201:
                self.uncertain.discard(name)
                self._keep(answer["id"], name)
                return
            if status == 403:
                self._book.refused += 1
                self._make_room()
                continue
            if status and status < 500 and status != 409:
                raise AssertionError(f"{status} {answer}")
            self.uncertain.add(name)
            if found := self._found(name):
                self.uncertain.discard(name)
                self._book.stored_unanswered += 1
                self._keep(found, name)
                return

    def _keep(self, uid: str, name: str) -> None:
        self.kept[uid] = name
        self._book.acknowledged.append(time.monotonic())

    def _found(self, name: str) -> str | None:
        """Return the id of a user that was stored without an answer, None if it was not; repeats the lookup."""
        query = urllib.parse.quote(f'userName eq "{name}"')
        while not self._book.over.is_set():
            status, answer = self._client.send("GET", f"{self._base}/Users?filter={query}")
            if status == 200:
                return str(answer["Resources"][0]["id"]) if answer["totalResults"] else None
        return None

    def _make_room(self) -> None:
        """Delete the oldest user of this writer, since no seat is left."""
        if not self.kept:
            time.sleep(PAUSE)
            return
        uid = next(iter(self.kept))
        while not self._book.over.is_set():
            status, answer = self._client.send("DELETE", f"{self._base}/Users/{uid}")
            if status in (204, 404):
                self.deleted[uid] = self.kept.pop(uid)
                self._book.acknowledged.append(time.monotonic())
                return
            if status and status < 500:
                raise AssertionError(f"{status} {answer}")
            self.uncertain.add(self.kept[uid])


class Follower(threading.Thread):
    """Follows a feed of events, as an application does."""

    def __init__(self, organization: str, port: int) -> None:
        super().__init__(name="follower")
        self._path, self.writers_ended = f"/admin/v1/organizations/{organization}/events", threading.Event()
        self._client = Client(port, ADMIN_TOKEN, Book())  # its failures are not those of the writers
        self.seen: list[tuple[int, str, str]] = []

    def run(self) -> None:
        """Follow the feed until the writers have ended, and then to its end."""
        while True:
            last = self.writers_ended.is_set()
            after = self.seen[-1][0] if self.seen else 0
            status, page = self._client.send("GET", f"{self._path}?after={after}&limit=1000")
            events = page["items"] if status == 200 else []
            self.seen += [(event["id"], event["type"], event["resource_id"]) for event in events]
            if last and status == 200 and not events:
                return
            time.sleep(0.0 if events else 0.1)
