"""Feeds of committed events: of one organization by its own numbers, of all by the order of their publication."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from gateway.scim.errors import Gone
from gateway.store import Store
from gateway.store.publications import DEPLOYMENT
from gateway.store.records import EventRecord, OrganizationRecord


class PublishedEvents(NamedTuple):
    """Events as (number over all organizations, id of the organization or None, event); where to go on; the epoch."""

    events: Sequence[tuple[int, str | None, EventRecord]]
    next: int
    epoch: int


class EventFeeds:
    """Reads events for those who follow them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of_organization(
        self, organization: OrganizationRecord, after: int, limit: int, epoch: int | None = None
    ) -> tuple[list[EventRecord], int]:
        """Return the events behind a number, and the epoch of the numbers.

        Raises Gone for a number that was not given out yet, or whose events are not kept any more, and for another
        epoch.
        """
        state = self._store.publications.state()
        snapshot = f"/organizations/{organization.uid}/snapshot"
        _check_epoch(epoch, state.epoch, snapshot)
        # Before the page: numbers have no gap, so a page that lacks what was there by then tells of removed events.
        newest = self._store.events.newest(organization.id)
        rows = self._store.events.page(organization.id, after, limit)
        if not rows and after > newest:
            raise _rewound(after, newest, snapshot)
        if (rows[0].seq if rows else newest + 1) > after + 1:
            raise _no_longer_kept(after, snapshot)
        return rows, state.epoch

    def newest(self, organization: OrganizationRecord | None) -> tuple[int, int]:
        """Return the number of the newest event of an organization, or (None) of all, and the epoch."""
        state = self._store.publications.state()
        if organization is None:
            return state.published, state.epoch
        return self._store.events.newest(organization.id), state.epoch

    def of_all(self, after: int, limit: int, epoch: int | None = None) -> PublishedEvents:
        """Return the published events of all organizations behind a number. Raises Gone as `of_organization` does."""
        state = self._store.publications.state()
        snapshot = "/organizations/{id}/snapshot of each organization"
        _check_epoch(epoch, state.epoch, snapshot)
        if after > state.published:
            raise _rewound(after, state.published, snapshot)
        rows, following, missing = self._store.publications.page(after, limit)
        if missing or (following == after < state.published):
            raise _no_longer_kept(after, snapshot)
        names = self._store.organizations.names([key for _, key, _ in rows])
        # What belongs to an organization that was removed since is left out: its removal is an event further on.
        events = [
            (number, names[key]["id"] if key else _subject(event), event)
            for number, key, event in rows
            if key == DEPLOYMENT or key in names
        ]
        return PublishedEvents(events, following, state.epoch)


def _subject(event: EventRecord) -> str | None:
    """Return the organization that an event of the deployment itself concerns."""
    if event.resource == "Organization":
        return event.resource_uid
    organization: Any = json.loads(event.data).get("organization")
    return organization if isinstance(organization, str) else None


def _check_epoch(expected: int | None, epoch: int, snapshot: str) -> None:
    if expected is not None and expected != epoch:
        raise Gone(
            f"epoch={expected} is over, this is epoch {epoch}: a backup was restored, and event numbers were given"
            f" again. Empty your copy and begin with GET {snapshot}."
        )


def _rewound(after: int, newest: int, snapshot: str) -> Gone:
    return Gone(
        f"after={after} is beyond the newest event, {newest}: the database was restored to an earlier state. Empty your"
        f" copy and begin with GET {snapshot}."
    )


def _no_longer_kept(after: int, snapshot: str) -> Gone:
    return Gone(
        f"The events that follow after={after} are not kept any more. Empty your copy and begin with GET {snapshot}."
    )
