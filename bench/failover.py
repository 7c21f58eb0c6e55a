"""`make failover`: kills a node, the primary and a pooler under load, and checks that no acknowledged change is lost.

Two nodes behind haproxy, a primary with a synchronous standby, once with the nodes' URL naming both servers and once
through a pgbouncer in front of each. Eight writers create users in two organizations, one of them with so few seats
that its writers delete users to go on. A follower of each feed reads along. Writers do as identity providers do: after
an answer that was lost or a 5xx they wait a little, look whether the user is there, and else send it again.

Needs haproxy and pgbouncer. Uses 127.0.0.1 and a temporary folder only; takes some two minutes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from bench.machines import HOST, WORKERS, Node, Pooler, Postgres, Proxy, until
from bench.writers import Book, Follower, Writer
from gateway.testing import Deployment
from tests.oracles.invariants import OFFENCES

WRITERS, SEATS = 8, 60
#: Seconds before the first fault and after each, without a failure; until requests must succeed again.
CALM, LONGEST = 3.0, 90.0


class Trial:
    """A set-up with its writers and followers."""

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
            folder / "instance", database_url=url, secret_key="a-key-for-tests-only" * 2, brake="off"
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
        """Run writers and followers for the time of a `with` block."""
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

    def inject(
        self, what: str, fault: Callable[[], None], restore: Callable[[], None] | None = None
    ) -> dict[str, Any]:
        """Inject a fault, wait until requests succeed again, and restore what the next fault needs; return a row."""
        began, failed, written = time.monotonic(), len(self.book.failures), len(self.book.acknowledged)
        fault()
        injected = time.monotonic()
        until(lambda: self._calm(injected), f"all is well again after: {what}", LONGEST)
        failures = self.book.failures[failed:]
        moments = [began, *self.book.acknowledged[written:]]
        row = {
            "fault": what,
            "failed requests": len(failures),
            "last failure after s": round(max((at - began for at, _ in failures), default=0.0), 2),
            "longest without a write s": round(max(b - a for a, b in itertools.pairwise(moments)), 2),
            "acknowledged meanwhile": len(moments) - 1,
            "answers": dict(Counter(text for _, text in failures)),
        }
        if restore:
            restore()
            time.sleep(CALM)
        return row

    def _calm(self, since: float) -> bool:
        """Return whether no request has failed for a while, and writes succeed."""
        now, failures, acknowledged = time.monotonic(), self.book.failures, self.book.acknowledged
        last = failures[-1][0] if failures else 0.0
        return now - max(since, last) > CALM and bool(acknowledged) and acknowledged[-1] > max(since, last)

    # Faults ---------------------------------------------------------------------------------------------------------

    def kill_node(self) -> None:
        """Kill supervisor and workers of a node."""
        self.nodes[0].end(signal.SIGKILL)

    def kill_primary(self) -> None:
        """Kill the primary, and promote the standby at once, as a monitor would do after some seconds."""
        self.primary.kill()
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary

    def lose_standby(self) -> None:
        """Kill the standby: commits wait until the primary is set not to wait for it."""
        self.standby.kill()
        time.sleep(CALM)
        self.primary.wait_for_nobody()

    def join_standby(self) -> None:
        """Start another standby; from then on commits wait for it."""
        self.standby = self._started(Postgres(self.folder / "standby-2", self.primary, self.standby.port))
        self.primary.wait_for_standby()

    def restart_pooler(self) -> None:
        """Kill the pooler in front of the primary, and start it again."""
        pooler = self.poolers[0]
        pooler.end(signal.SIGKILL)
        pooler.start()

    def upgrade(self) -> None:
        """Restart node after node: drain it, stop it, start it, send requests again."""
        for name, node in zip("ab", self.nodes, strict=True):
            self.proxy.say(f"set server nodes/{name} state drain")
            until(partial(self._idle, name), f"node {name} is idle")
            node.end(signal.SIGTERM)
            node.start()
            self.proxy.say(f"set server nodes/{name} state ready")
            until(partial(self._up, name), f"node {name} is back")

    def _up(self, name: str) -> bool:
        return " UP " in self._state(name)

    def _state(self, name: str) -> str:
        """Return the state of a node by the health check, and the number of its open requests."""
        for line in self.proxy.say("show stat -1 4 -1").splitlines():
            columns = line.split(",")
            if columns[:2] == ["nodes", name]:
                return f" {columns[17]} {columns[4]}"
        return ""

    def _idle(self, name: str) -> bool:
        return self._state(name).endswith(" 0")

    # Audit ----------------------------------------------------------------------------------------------------------

    def _tracebacks(self) -> list[str]:
        """Return the errors with tracebacks in the logs of the nodes."""
        logs = [(self.folder / f"{node.name}.log").read_text() for node in self.nodes]
        return [text[-3000:] for log in logs for text in log.split("ERROR gateway ")[1:]]

    def audit(self) -> dict[str, Any]:
        """Compare database, feeds and seats with the acknowledged changes. Raises AssertionError for a difference."""
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
        counts = Counter(row[2] for feed in feeds.values() for row in feed if row[1] == "user.created")
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
            "users created by two events or none": [row[0] for row in rows if counts[row[0]] != 1],
            "seats used of the few": used and used[0],
            "offences": offences,
        }
        wrong = {what: found for what, found in books.items() if isinstance(found, list | dict) and found}
        if wrong or (used and used[0] > SEATS):
            raise AssertionError("\n".join(f"{what}: {found}" for what, found in wrong.items()))
        return {what: 0 if found in ([], {}) else found for what, found in books.items()}


def trial(pooled: bool) -> dict[str, Any]:
    """Run one set-up with all its faults, and audit it at the end."""
    with tempfile.TemporaryDirectory(prefix="gateway-failover-", ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o755)
        with ExitStack() as running:
            setting, rows = Trial(Path(name), running, pooled), []

            def done(row: dict[str, Any]) -> None:
                rows.append(row)
                print(_line(row), flush=True)

            with setting.at_work():
                if pooled:
                    done(setting.inject("pgbouncer kill -9, started again", setting.restart_pooler))
                    done(setting.inject("primary kill -9, standby promoted", setting.kill_primary))
                else:
                    done(setting.inject("node kill -9", setting.kill_node, setting.nodes[0].start))
                    done(
                        setting.inject(
                            f"standby kill -9, not waited for after {CALM:.0f} s", setting.lose_standby
                        )
                    )
                    done(setting.inject("a new standby joins", setting.join_standby))
                    done(setting.inject("primary kill -9, standby promoted", setting.kill_primary))
                    done(setting.inject("nodes restarted one by one", setting.upgrade))
            return {"pooled": pooled, "faults": rows, "books": setting.audit()}


def _line(row: dict[str, Any]) -> str:
    counts = "".join(
        f"\n      {count} × {text}" for text, count in sorted(row["answers"].items(), key=lambda x: -x[1])[:6]
    )
    figures = ", ".join(f"{what}: {value}" for what, value in row.items() if what not in ("fault", "answers"))
    return f"  {row['fault']}\n    {figures}{counts}"


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
    main()
