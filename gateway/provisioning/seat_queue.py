"""People who wait for a seat: their identity provider was refused, and has not got them in since."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.plugin.manager import PluginManager
from gateway.provisioning.activity_writer import ActivityWriter
from gateway.store import Store
from gateway.store.ids_and_time import DAY, now
from gateway.store.records import ConnectionRecord, OrganizationRecord

#: People that are counted at most.
MOST = 1000
#: How far back refusals are read, in microseconds.
_REACH = 30 * DAY


class WaitingPerson(NamedTuple):
    """A person who waits for a seat: when the first and the last call was refused, and how many were."""

    user_name: str
    first: int
    last: int
    times: int


class Retry(NamedTuple):
    """Where an assignment is retried: the name of the connection, and the plugin's words, "" where it has none."""

    connection: str
    step: str


class SeatQueue(NamedTuple):
    """People who wait, the last refused first, `MOST` at most; what they lack, and where to retry."""

    people: Sequence[WaitingPerson]
    #: Seats to be added before all of them have one.
    missing: int
    #: Whether a seat is free now.
    has_free_seat: bool
    retries: Sequence[Retry]

    @property
    def is_cut(self) -> bool:
        """Whether there may be more people than are counted."""
        return len(self.people) >= MOST


class SeatQueues:
    """Reads who waits for a seat."""

    def __init__(self, store: Store, plugins: PluginManager, activity_writer: ActivityWriter) -> None:
        self._store, self._plugins, self._activity_writer = store, plugins, activity_writer

    def of(self, organization: OrganizationRecord) -> SeatQueue:
        """Return the people of an organization who were refused a seat in the last 30 days and have none since."""
        self._activity_writer.flush_briefly()
        found = self._store.activity.refused_for_seat(organization.id, now() - _REACH, MOST)
        uids = {each.connection_uid for each in found}
        connections = [
            each for each in self._store.connections.page(organization, 0, MOST) if each.uid in uids
        ] if found else []  # fmt: skip
        limit, used = organization.seat_limit, organization.seats_used
        return SeatQueue(
            [WaitingPerson(each.user_name, each.first, each.last, each.times) for each in found],
            0 if limit is None else max(0, len(found) + used - limit),
            limit is None or used < limit,
            [self._retry(connection) for connection in connections],
        )

    def _retry(self, connection: ConnectionRecord) -> Retry:
        declaration = self._plugins.declared.of(connection.idp)
        return Retry(connection.name, declaration.retry_step if declaration else "")
