"""Numbers by day for charts, and the organizations that need somebody's attention. Nothing is changed here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from gateway.provisioning.activity_writer import ActivityWriter
from gateway.store import Store
from gateway.store.hourly_calls import CallCounts, FailingOrganization
from gateway.store.ids_and_time import HOUR, now
from gateway.store.records import HourRecord, OrganizationRecord

#: Days since 1970 are counted from here, in UTC.
_FIRST_DAY = date(1970, 1, 1)
_HOURS = 24


class CallsOfDay(NamedTuple):
    """Calls of identity providers on a day (UTC), by outcome."""

    day: date
    done: int
    partial: int
    refused: int

    @property
    def total(self) -> int:
        """All calls of the day."""
        return self.done + self.partial + self.refused


class SeatsOfDay(NamedTuple):
    """The most seats in use on a day (UTC), None where that is not known, and the limit, None for none."""

    day: date
    used: int | None
    limit: int | None


class History:
    """Reads of what was counted by hour."""

    def __init__(self, store: Store, activity_writer: ActivityWriter) -> None:
        self._store, self._activity_writer = store, activity_writer

    def calls_by_day(self, organization: OrganizationRecord, days: int = 7) -> list[CallsOfDay]:
        """Return the calls of the last `days` days, today included, the oldest first.

        They are the lines of the activity that identity providers left, admins' and successful reads of discovery not
        among them.
        """
        self._activity_writer.flush_briefly()
        first = _today() - days + 1
        counts = [CallCounts()] * days
        for row in self._hours(organization, first):
            if (place := row.hour // _HOURS - first) >= 0:
                counts[place] = counts[place].merge(CallCounts(row.done, row.partial, row.refused))
        return [CallsOfDay(_date(first + place), *by_outcome) for place, by_outcome in enumerate(counts)]

    def seats_by_day(self, organization: OrganizationRecord, days: int = 7) -> list[SeatsOfDay]:
        """Return the seats of the last `days` days, the oldest first; the last one is as of now.

        Seats are noted when an identity provider calls. A day without calls has those that were in use last.
        """
        self._activity_writer.flush_briefly()
        first = _today() - days + 1
        rows, seats = self._hours(organization, first), []
        last: HourRecord | None = None
        for day in range(first, first + days - 1):
            of_day = [row for row in rows if row.hour // _HOURS == day]
            last = next((row for row in reversed(rows) if row.hour // _HOURS < day), None)
            most = max([row.seats_used for row in ([last] if last else []) + of_day], default=None)
            last = of_day[-1] if of_day else last
            seats.append(SeatsOfDay(_date(day), most, last.seat_limit if last else None))
        return [*seats, SeatsOfDay(_date(_today()), organization.seats_used, organization.seat_limit)]

    def refused_calls(self, organization: OrganizationRecord, since_hours: int = 24) -> int:
        """Return how many calls were refused in the last hours, of which the one that has begun is one."""
        self._activity_writer.flush_briefly()
        first = now() // HOUR - since_hours + 1
        rows = self._store.hourly_calls.since(organization.id, first)
        return sum(row.refused for row in rows if row.hour >= first)

    def failing_organizations(self, since_hours: int = 24, limit: int = 50) -> Sequence[FailingOrganization]:
        """Return the organizations with refused calls in the last hours, most first, then those whose seats are full.

        The hour that has begun counts as one.
        """
        self._activity_writer.flush_briefly()
        return self._store.hourly_calls.failing(now() // HOUR - since_hours + 1, limit)

    def _hours(self, organization: OrganizationRecord, first_day: int) -> list[HourRecord]:
        return self._store.hourly_calls.since(organization.id, first_day * _HOURS)


def _today() -> int:
    return (datetime.now(UTC).date() - _FIRST_DAY).days


def _date(days: int) -> date:
    return _FIRST_DAY + timedelta(days)
