"""Warnings of connections as events, so that an application can tell its admins: a task of the worker."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import NamedTuple

from gateway.provisioning.caller import Callers
from gateway.provisioning.diagnostics import Diagnostics
from gateway.provisioning.diagnostics.checks import Check
from gateway.provisioning.trace import Trace
from gateway.provisioning.unit_of_work import UnitOfWork, UnitsOfWork
from gateway.scim.errors import Refusal
from gateway.store import Store, WriteConflict
from gateway.store.connection_health import Warned
from gateway.store.engine.failures import Outage
from gateway.store.ids_and_time import DAY, HOUR, now
from gateway.store.records import ConnectionRecord, OrganizationRecord, TroubleRecord

log = logging.getLogger("gateway")

#: Seconds between two looks for connections that are due, unless there were more of them than one round checks.
LOOK_SECONDS = 10.0
#: Connections that one round checks.
AT_ONCE = 2
#: Held removals, decisions on them and pauses have events of their own, at once.
_OWN_EVENTS = frozenset({"removals_held", "removals_rejected", "paused"})


class Decision(NamedTuple):
    """What becomes of a cause: the event that is recorded, None for none, and its row, None where it is deleted."""

    cause: str
    #: `connection.warning` or `connection.well`.
    event: str | None
    row: Warned | None


def decide(found: Mapping[str, Check], stored: Mapping[str, Warned], moment: int) -> list[Decision]:
    """Return what to do about each cause that is found or stored: at most one warning of it a day.

    A row outlives its cause for a day, with `since` 0, so that one that comes and goes is no warning each time.
    """
    decisions = []
    for cause in sorted(found.keys() | stored.keys()):
        check, row = found.get(cause), stored.get(cause)
        if check is None:
            assert row is not None
            if row.since:
                decisions.append(Decision(cause, "connection.well", Warned(0, row.recorded)))
            elif row.recorded <= moment - DAY:
                decisions.append(Decision(cause, None, None))
            continue
        lasts = row is not None and row.since > 0
        wait = check.every * DAY if lasts else DAY
        if row is None or row.recorded <= moment - wait:
            decisions.append(
                Decision(cause, "connection.warning", Warned(row.since if row and lasts else moment, moment))
            )
    return decisions


class ConnectionWarnings:
    """Checks the connections whose provisioning is on, each once an hour, and records what has changed.

    One made less than an hour ago is being set up, and is not checked.
    """

    def __init__(
        self, store: Store, units_of_work: UnitsOfWork, callers: Callers, diagnostics: Diagnostics, public_url: str
    ) -> None:  # fmt: skip
        self._store, self._units_of_work, self._callers = store, units_of_work, callers
        self._diagnostics, self._public_url = diagnostics, public_url
        self._looked = -LOOK_SECONDS

    def current(self, organization: OrganizationRecord, limit: int) -> list[TroubleRecord]:
        """Return what the last checks of an organization's connections warn of, and what waits for an admin."""
        return self._store.connection_health.troubles(organization.id, now(), limit)

    def run_due(self) -> list[int]:
        """Check a few connections that are due; return the organizations with new events. Raises Outage."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return []
        due = self._store.connection_health.due(now() - HOUR, AT_ONCE)
        if len(due) < AT_ONCE:
            self._looked = time.monotonic()
        if not due:
            return []
        changed = []
        with self._store.database.only_one("connection-warnings") as mine:
            for connection_id in due if mine else ():
                found = self._store.connections.by_key(connection_id)
                if found is not None and self.check(*found, now()):
                    changed.append(found[1].id)
        return changed

    def check(self, connection: ConnectionRecord, organization: OrganizationRecord, moment: int) -> bool:
        """Check a connection and record what has changed since; return whether that was anything."""
        health = self._store.connection_health
        checks = self._diagnostics.of(organization, connection)
        found = {each.name: each for each in checks if each.is_warning and each.name not in _OWN_EVENTS}
        decisions = decide(found, health.warnings(connection.id), moment)
        trace = Trace("check of a connection (gateway)", "", organization.id, connection.uid)
        try:
            caller = self._callers.admin(organization, connection)
            with self._units_of_work.open(caller, trace, line=False) as change:
                health.note_check(connection.id, moment)
                for decision in decisions:
                    health.store_warning(connection.id, decision.cause, decision.row)
                    if decision.event:
                        self._record(change, connection, organization, decision, found.get(decision.cause))
        except Outage:
            raise
        except (Refusal, WriteConflict) as error:  # somebody else changed it in this moment
            log.info("check of connection %s: %s", connection.uid, error)
            return False
        return any(decision.event for decision in decisions)

    def _record(
        self, change: UnitOfWork, connection: ConnectionRecord, organization: OrganizationRecord,
        decision: Decision, check: Check | None,
    ) -> None:  # fmt: skip
        data = {"id": connection.uid, "name": connection.name, "cause": decision.cause}
        if check is not None:
            # Without the example, which may name people.
            remedy = check.describe_remedy(self._public_url, organization.uid, connection.uid)
            data |= {"level": check.level, "message": check.message, "remedy": remedy}
        text = json.dumps(data, ensure_ascii=False)
        change.record_event(str(decision.event), "Connection", connection.uid, text)
