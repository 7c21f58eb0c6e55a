"""The feed of all organizations under many writers: each event once, in the order of its organization, none skipped.

`GATEWAY_EVENTS_SECONDS=110 pytest tests/system/test_feed_of_all.py -s` writes for longer than every run does, and says
how much it was; `make events-soak` does so on both engines.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.provisioning.publication import Publisher
from gateway.provisioning.unit_of_work import UnitsOfWork
from gateway.store.publications import DEPLOYMENT
from gateway.store.records import OrganizationRecord
from gateway.testing import Deployment

SECONDS = float(os.environ.get("GATEWAY_EVENTS_SECONDS", "1.0"))
ORGANIZATIONS, WRITERS, PUBLISHERS, FOLLOWERS = 4, 8, 2, 3
#: Seconds for which one writer holds a transaction open after its event has a number in its organization.
HELD = 0.05


@dataclass
class Run:
    """One deployment that is written to and followed."""

    deployment: Deployment
    publishers: list[Publisher]
    organizations: list[OrganizationRecord]
    written: threading.Event = field(default_factory=threading.Event)
    published: threading.Event = field(default_factory=threading.Event)
    #: How often events of others were published while a transaction was held open.
    overtaken: int = 0

    def write(self, number: int) -> None:
        """Write events until the time is over. The last writer reports no change, as a process that ends does."""
        store, randomly = self.deployment.gateway.store, random.Random(number)
        units, callers = UnitsOfWork(store, self.deployment.gateway.callers), self.deployment.gateway.callers
        organization = self.organizations[number % ORGANIZATIONS]
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            with store.transaction(organization_id=organization.id):
                trace = self.deployment.trace(organization)
                with units.open(callers.admin(organization), trace, line=False) as change:
                    for _ in range(randomly.randint(1, 3)):
                        change.record_event("group.updated", "Group", "acme", json.dumps({"by": number}))
                if number == 0:
                    before = store.publications.state().published
                    time.sleep(HELD)
                    self.overtaken += store.publications.state().published > before
            if number < WRITERS - 1:
                self.publishers[number % PUBLISHERS].schedule([organization.id])
            time.sleep(randomly.uniform(0, 0.01))

    def publish(self, publisher: Publisher) -> None:
        """Run rounds as the worker of a process does; the last one begins after all is written."""
        over = False
        while not over:
            over = self.written.is_set()
            publisher.publish()
            time.sleep(0.01)

    def follow(self, number: int) -> list[tuple[int, int, int]]:
        """Read pages of random size until the end; at times stop, and go on from what was stored."""
        randomly, events = random.Random(number), list[tuple[int, int, int]]()
        keys = {each.uid: each.id for each in self.organizations}
        stored, over = 0, False
        while True:
            over = self.published.is_set()
            page = self.deployment.gateway.event_feeds.of_all(stored, randomly.choice((1, 2, 7, 50, 1000)))
            events += [
                (position, DEPLOYMENT if event.resource == "Organization" else keys[str(uid)], event.seq)
                for position, uid, event in page.events
            ]
            if over and page.next == stored:
                return events
            stored = page.next
            if not over and randomly.random() < 0.2:
                time.sleep(randomly.uniform(0, 0.1))


def test_followers_of_all_read_each_event_once_in_order_while_many_write(
    deployment: Deployment,
    together: Callable[[Deployment, list[Callable[[], Any]]], list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway = deployment.gateway
    gateway.worker.stop()
    monkeypatch.setattr("gateway.provisioning.publication.SWEEP_SECONDS", 0.2)
    publishers = [Publisher(gateway.store, gateway.worker) for _ in range(PUBLISHERS)]
    run = Run(deployment, publishers, [deployment.organization(f"Acme {n}") for n in range(ORGANIZATIONS)])
    writing = [WRITERS]
    counting = threading.Lock()

    def write(number: int) -> None:
        try:
            run.write(number)
        finally:
            with counting:
                writing[0] -= 1
                if not writing[0]:
                    run.written.set()

    publishing = [PUBLISHERS]

    def publish(publisher: Publisher) -> None:
        try:
            run.publish(publisher)
        finally:
            with counting:
                publishing[0] -= 1
                if not publishing[0]:
                    # What nobody reported is found by the next look at all.
                    Publisher(gateway.store, gateway.worker).publish()
                    run.published.set()

    jobs: list[Callable[[], Any]] = [lambda n=n: write(n) for n in range(WRITERS)]  # type: ignore[misc]
    jobs += [lambda p=p: publish(p) for p in publishers]  # type: ignore[misc]
    jobs += [lambda n=n: run.follow(n) for n in range(FOLLOWERS)]  # type: ignore[misc]
    followed = together(deployment, jobs)[-FOLLOWERS:]

    newest = {each.id: gateway.store.events.newest(each.id) for each in run.organizations}
    total = sum(newest.values()) + ORGANIZATIONS
    for events in followed:
        assert [number for number, _, _ in events] == list(range(1, total + 1))
        for key, last in {**newest, DEPLOYMENT: ORGANIZATIONS}.items():
            assert [seq for _, organization, seq in events if organization == key] == list(range(1, last + 1))
    assert min(newest.values()) > 0
    if gateway.store.database.held:  # on SQLite nothing is committed beside a transaction that is open
        assert run.overtaken
    sys.stderr.write(f"\n{total} events, {run.overtaken} transactions overtaken by others, each event once\n")
