"""`make failover`: what is lost when a node, the primary or a pooler is killed under load. Nothing may be.

Two nodes behind haproxy, a primary with a synchronous standby, once with the nodes' URL naming both servers and once
through a pgbouncer in front of each. Eight writers create users in two organizations, one of them with so few seats
that its writers delete users to go on. A follower of each feed reads along. Writers do as identity providers do: after
an answer that was lost or a 5xx they wait a little, look whether the user is there, and else send it again.

Needs haproxy and pgbouncer. Uses 127.0.0.1 and a temporary folder only; takes some two minutes.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import signal
import sys
import tempfile
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from bench.machines import HOST, WORKERS, Node, Pooler, Postgres, Proxy, until
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import ADMIN_TOKEN, USER
from tests.stories.conftest import OFFENCES

WRITERS, SEATS = 8, 60
#: Seconds: before the first blow and after each, without a failure; a writer's pause after a failure.
CALM, PAUSE = 3.0, 0.1
#: Seconds until a client gives an answer up, and until a blow must be over.
PATIENCE, LONGEST = 30.0, 90.0


@dataclass
class Book:
    """What happened, and when."""

    acknowledged: list[float] = field(default_factory=list)
    failures: list[tuple[float, str]] = field(default_factory=list)
    stored_unanswered: int = 0
    refused: int = 0
    over: threading.Event = field(default_factory=threading.Event)


class Client:
    """Requests over one connection, which is opened anew when it broke."""

    def __init__(self, port: int, token: str, book: Book) -> None:
        self._book, self._token = book, token
        self._connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The status and the JSON; 0 when no answer came. What failed is in the book."""
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
        told = json.loads(text)
    except ValueError:
        return text[:60].decode(errors="replace").split("\n")[0]
    return str(told.get("detail") or told.get("message"))


class Writer(threading.Thread):
    """Creates one user after another, each until it is there."""

    def __init__(self, number: int, scim: Scim, port: int, book: Book) -> None:
        super().__init__(name=f"writer-{number}")
        self._number, self._base, self._book = number, scim.base, book
        self._client = Client(port, scim.token, book)
        self.kept: dict[str, str] = {}
        self.deleted: dict[str, str] = {}
        self.uncertain: set[str] = set()
        self.trouble: BaseException | None = None

    def run(self) -> None:
        """Until the end."""
        try:
            for count in itertools.count():
                if self._book.over.is_set():
                    return
                self._create(f"w{self._number}-{count}@acme.test")
        except BaseException as trouble:  # noqa: BLE001 - told by the main thread
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
        """Whether it was stored, though no answer said so. A lookup is asked until it is answered."""
        query = urllib.parse.quote(f'userName eq "{name}"')
        while not self._book.over.is_set():
            status, answer = self._client.send("GET", f"{self._base}/Users?filter={query}")
            if status == 200:
                return str(answer["Resources"][0]["id"]) if answer["totalResults"] else None
        return None

    def _make_room(self) -> None:
        """No seat is left: the oldest of ours goes."""
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
    """Reads a feed along, as an application does."""

    def __init__(self, organization: str, port: int) -> None:
        super().__init__(name="follower")
        self._path, self.writers_ended = f"/admin/v1/organizations/{organization}/events", threading.Event()
        self._client = Client(port, ADMIN_TOKEN, Book())  # its failures are not those of the writers
        self.seen: list[tuple[int, str, str]] = []

    def run(self) -> None:
        """Until the end, and then to the end of the feed."""
        while True:
            last = self.writers_ended.is_set()
            after = self.seen[-1][0] if self.seen else 0
            status, page = self._client.send("GET", f"{self._path}?after={after}&limit=1000")
            events = page["items"] if status == 200 else []
            self.seen += [(event["id"], event["type"], event["resource_id"]) for event in events]
            if last and status == 200 and not events:
                return
            time.sleep(0.0 if events else 0.1)


class Trial:
    """A set-up with its writers at work."""

    def __init__(self, folder: Path, running: ExitStack, pooled: bool) -> None:
        self.folder, self._running, self._pooled = folder, running, pooled
        self.primary = self._started(Postgres(folder / "primary"))
        self.standby = self._started(Postgres(folder / "standby", self.primary))
        self.primary.wait_for_standby()
        self.poolers = (
            [
                Pooler(folder, f"pgbouncer-{server.data.name}", server)
                for server in (self.primary, self.standby)
            ]
            if pooled
            else []
        )
        for pooler in self.poolers:
            self._served(pooler)
        ports = [each.port for each in self.poolers or (self.primary, self.standby)]
        hosts = ",".join(f"{HOST}:{port}" for port in ports)
        url = f"postgresql://postgres@{hosts}/{'gateway' if pooled else 'postgres'}"
        url += "?target_session_attrs=read-write"
        self.deployment = Deployment(
            folder / "instance", database_url=url, secret_key="a-key-for-tests-only" * 2
        )
        running.callback(self.deployment.close)
        environment = self.deployment.environment
        self.nodes = (Node(folder, "a", environment), Node(folder, "b", environment))
        for node in self.nodes:
            self._served(node)
        self.proxy = Proxy(folder, self.nodes)
        self._served(self.proxy)
        self._fill()

    def _started(self, server: Postgres) -> Postgres:
        self._running.callback(server.stop)
        return server

    def _served(self, service: Any) -> None:
        service.start()
        self._running.callback(service.end, signal.SIGKILL)

    def _fill(self) -> None:
        few = self.deployment.organization("Few seats", seats=SEATS)
        many = self.deployment.organization("No limit")
        self.organizations, self.book = (few, many), Book()
        scims = [self.deployment.connection("generic", organization) for organization in self.organizations]
        self.writers = [
            Writer(number, scims[number % 2], self.proxy.port, self.book) for number in range(WRITERS)
        ]
        self.followers = [Follower(organization.uid, self.proxy.port) for organization in self.organizations]

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While writers write and followers read."""
        for thread in (*self.writers, *self.followers):
            thread.start()
        try:
            time.sleep(CALM)
            yield
        finally:
            self.book.over.set()
            for writer in self.writers:
                writer.join(60)
            for follower in self.followers:
                follower.writers_ended.set()
                follower.join(60)
        for writer in self.writers:
            if writer.trouble:
                raise writer.trouble

    def blow(
        self, what: str, strike: Callable[[], None], mend: Callable[[], None] | None = None
    ) -> dict[str, Any]:
        """Strike, wait until all is well again, mend what the next blow needs."""
        began, failed, written = time.monotonic(), len(self.book.failures), len(self.book.acknowledged)
        strike()
        struck = time.monotonic()
        until(lambda: self._calm(struck), f"all is well again after: {what}", LONGEST)
        failures = self.book.failures[failed:]
        moments = [began, *self.book.acknowledged[written:]]
        row = {
            "blow": what,
            "failed requests": len(failures),
            "last failure after s": round(max((at - began for at, _ in failures), default=0.0), 2),
            "longest without a write s": round(max(b - a for a, b in itertools.pairwise(moments)), 2),
            "acknowledged meanwhile": len(moments) - 1,
            "told": dict(Counter(text for _, text in failures)),
        }
        if mend:
            mend()
            time.sleep(CALM)
        return row

    def _calm(self, since: float) -> bool:
        """No failure for a while, and writes go on."""
        now, failures, acknowledged = time.monotonic(), self.book.failures, self.book.acknowledged
        last = failures[-1][0] if failures else 0.0
        return now - max(since, last) > CALM and bool(acknowledged) and acknowledged[-1] > max(since, last)

    # The blows ------------------------------------------------------------------------------------------------------

    def kill_node(self) -> None:
        """Supervisor and workers."""
        self.nodes[0].end(signal.SIGKILL)

    def kill_primary(self) -> None:
        """The standby is promoted at once, as a watchful program would do after some seconds."""
        self.primary.kill()
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary

    def lose_standby(self) -> None:
        """Commits wait for it, so writes stand still until the primary is told not to wait."""
        self.standby.kill()
        time.sleep(CALM)
        self.primary.wait_for_nobody()

    def join_standby(self) -> None:
        """Another one takes its place, and from then on writes wait for it."""
        self.standby = self._started(Postgres(self.folder / "standby-2", self.primary, self.standby.port))
        self.primary.wait_for_standby()

    def restart_pooler(self) -> None:
        """The one in front of the primary is killed, and started again."""
        pooler = self.poolers[0]
        pooler.end(signal.SIGKILL)
        pooler.start()

    def upgrade(self) -> None:
        """Node after node: no new requests, stop, start, requests again."""
        for name, node in zip("ab", self.nodes, strict=True):
            self.proxy.say(f"set server nodes/{name} state drain")
            until(lambda name=name: self._idle(name), f"node {name} is idle")
            node.end(signal.SIGTERM)
            node.start()
            self.proxy.say(f"set server nodes/{name} state ready")
            until(lambda name=name: " UP " in self._state(name), f"node {name} is back")

    def _state(self, name: str) -> str:
        """`up` by the health check and how many requests are under way."""
        for line in self.proxy.say("show stat -1 4 -1").splitlines():
            columns = line.split(",")
            if columns[:2] == ["nodes", name]:
                return f" {columns[17]} {columns[4]}"
        return ""

    def _idle(self, name: str) -> bool:
        return self._state(name).endswith(" 0")

    # The books ------------------------------------------------------------------------------------------------------

    def _tracebacks(self) -> list[str]:
        """What no node should have met."""
        logs = [(self.folder / f"{node.name}.log").read_text() for node in self.nodes]
        return [text[-3000:] for log in logs for text in log.split("ERROR gateway ")[1:]]

    def audit(self) -> dict[str, Any]:
        """What the database, the feed and the seats say, against what was acknowledged. Raises at the first lie."""
        kept = {uid: name for writer in self.writers for uid, name in writer.kept.items()}
        deleted = {uid: name for writer in self.writers for uid, name in writer.deleted.items()}
        uncertain = {name for writer in self.writers for name in writer.uncertain}
        url = f"postgresql://postgres@{HOST}:{self.primary.port}/postgres"
        with psycopg.connect(url) as connection:
            rows = connection.execute("SELECT uid, user_name, active, deleted FROM users").fetchall()
            offences = {
                offence: found
                for offence, sql in OFFENCES.items()
                if (found := connection.execute(sql).fetchall())
            }
            feeds = {
                uid: connection.execute(
                    "SELECT e.seq, e.type, e.resource_uid FROM events e JOIN organizations o"
                    " ON o.id = e.organization_id WHERE o.uid = %s ORDER BY e.seq", [uid]
                ).fetchall()
                for uid in (organization.uid for organization in self.organizations)
            }  # fmt: skip
            used = connection.execute(
                "SELECT MAX(seats_used) FROM organizations WHERE seat_limit > 0"
            ).fetchone()
        there = {uid: name for uid, name, active, gone in rows if active and not gone}
        lost = [name for uid, name in kept.items() if there.get(uid) != name and name not in uncertain]
        undone = [name for uid, name in deleted.items() if uid in there]
        doubled = [name for name, count in Counter(row[1] for row in rows).items() if count > 1]
        known = set(kept.values()) | set(deleted.values()) | uncertain
        strange = [row[1] for row in rows if row[1] not in known]
        gaps = [
            uid for uid, feed in feeds.items() if [row[0] for row in feed] != list(range(1, len(feed) + 1))
        ]
        unlike = [
            organization.uid
            for organization, follower in zip(self.organizations, self.followers, strict=True)
            if follower.seen != feeds[organization.uid]
        ]
        told = Counter(row[2] for feed in feeds.values() for row in feed if row[1] == "user.created")
        books = {
            "acknowledged": len(self.book.acknowledged),
            "of them stored, answer lost": self.book.stored_unanswered,
            "refused for want of seats": self.book.refused,
            "failed": len(self.book.failures),
            "unexpected": self._tracebacks(),
            "lost": lost,
            "deletes undone": undone,
            "doubled": doubled,
            "stored, never asked for": strange,
            "events": sum(map(len, feeds.values())),
            "feeds with a gap": gaps,
            "followers that saw another feed": unlike,
            "users told twice or never": [row[0] for row in rows if told[row[0]] != 1],
            "seats used of the few": used and used[0],
            "offences": offences,
        }
        wrong = {what: found for what, found in books.items() if isinstance(found, list | dict) and found}
        if wrong or (used and used[0] > SEATS):
            raise AssertionError("\n".join(f"{what}: {found}" for what, found in wrong.items()))
        return {what: 0 if found in ([], {}) else found for what, found in books.items()}


def trial(pooled: bool) -> dict[str, Any]:
    """One set-up, all its blows, and the books at the end."""
    with tempfile.TemporaryDirectory(prefix="gateway-failover-", ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o755)
        with ExitStack() as running:
            setting, rows = Trial(Path(name), running, pooled), []

            def done(row: dict[str, Any]) -> None:
                rows.append(row)
                print(_line(row), flush=True)

            with setting.at_work():
                if pooled:
                    done(setting.blow("pgbouncer kill -9, started again", setting.restart_pooler))
                    done(setting.blow("primary kill -9, standby promoted", setting.kill_primary))
                else:
                    done(setting.blow("node kill -9", setting.kill_node, setting.nodes[0].start))
                    done(
                        setting.blow(
                            f"standby kill -9, not waited for after {CALM:.0f} s", setting.lose_standby
                        )
                    )
                    done(setting.blow("a new standby joins", setting.join_standby))
                    done(setting.blow("primary kill -9, standby promoted", setting.kill_primary))
                    done(setting.blow("nodes restarted one by one", setting.upgrade))
            return {"pooled": pooled, "blows": rows, "books": setting.audit()}


def _line(row: dict[str, Any]) -> str:
    told = "".join(
        f"\n      {count} × {text}" for text, count in sorted(row["told"].items(), key=lambda x: -x[1])[:6]
    )
    figures = ", ".join(f"{what}: {value}" for what, value in row.items() if what not in ("blow", "told"))
    return f"  {row['blow']}\n    {figures}{told}"


def main() -> None:
    """Run both set-ups and print."""
    parser = argparse.ArgumentParser(prog="make failover", description=__doc__)
    parser.add_argument("--only", choices=["direct", "pgbouncer"], help="one set-up of the two")
    parser.add_argument("--json", type=Path, help="write all figures there")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that all it started ends as well
    results = []
    for name in ("direct", "pgbouncer") if given.only is None else (given.only,):
        print(f"{name}: 2 nodes with {WORKERS} workers each, {WRITERS} writers", flush=True)
        results.append(trial(name == "pgbouncer"))
        print(
            "  books: " + ", ".join(f"{what}: {value}" for what, value in results[-1]["books"].items()),
            flush=True,
        )
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    sys.exit(main())
