"""Erases people: their rows at once, then in portions whatever else names them.

The first transaction empties the user and records `user.erased`. The worker goes through the organization's events,
activity, attempts, explanations and imports, each portion a transaction of its own; a killed process loses none, since
the row in `erasures` says how far it is. An erasure is an admin's act and never one of SCIM's DELETE, which identity
providers also send for a changed assignment.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from gateway.provisioning.activity_writer import ActivityWriter
from gateway.provisioning.caller import Caller, Callers
from gateway.provisioning.erasure.kept_list import KeptErasure, KeptList
from gateway.provisioning.erasure.texts import Eraser, identifying_texts
from gateway.provisioning.long_changes import pause_between_portions
from gateway.provisioning.trace import Target, Trace
from gateway.provisioning.unit_of_work import UnitsOfWork, retry_on_conflict
from gateway.scim.errors import Conflict, InvalidValue, NotFound
from gateway.scim.json_text import excerpt, fold
from gateway.store import Store, WriteConflict
from gateway.store.activity import USER_LENGTH
from gateway.store.erasures import ACTIVITY, ATTEMPTS, DONE, EVENTS, IMPORTS, REMAINS, TRACES, Erasure
from gateway.store.ids_and_time import DAY, HOUR, SECOND, now
from gateway.store.records import OrganizationRecord, UserRecord

log = logging.getLogger("gateway")

#: The type of the event.
ERASED = "user.erased"
#: Seconds after the events were rewritten before lines and attempts are looked at. Processes buffer lines until then,
#: and a message that had been read before has been sent, answered for 15 seconds at most, and noted.
SETTLING_SECONDS = 20
#: Seconds that the request itself, and a round of the worker, spend on portions; seconds between two rounds.
REQUEST_SECONDS, ROUND_SECONDS, ROUND_INTERVAL = 1.0, 1.0, 2.0
#: Erasures that one round looks at, and users deleted long ago that it begins to erase.
MOST = 20
#: Texts of one person that are looked for at most.
MOST_TEXTS = 500


class Erasures:
    """Erases users of organizations."""

    def __init__(
        self, store: Store, units_of_work: UnitsOfWork, callers: Callers, activity_writer: ActivityWriter,
        kept: KeptList, deleted_days: int, clock: Callable[[], int] = now,
    ) -> None:  # fmt: skip
        """`deleted_days`: after so many days deleted users are erased, 0 for never. `clock` returns microseconds."""
        self._store, self._units_of_work, self._callers = store, units_of_work, callers
        self._activity_writer, self._kept, self._days, self._clock = (
            activity_writer,
            kept,
            deleted_days,
            clock,
        )
        self._searched = -ROUND_INTERVAL
        #: The hour in which all users that were deleted long ago had been found.
        self._hour = 0
        #: What is left of the list beside the key, which is read once after a start; None at its end.
        self._listed: Iterator[KeptErasure] | None = self._kept.read()

    # Operations -----------------------------------------------------------------------------------------------------

    def erase(self, caller: Caller, uid: str, reason: str, confirm: str, trace: Trace) -> Erasure:
        """Erase a user who is deleted, or inactive and managed by nobody; return how far that is.

        `confirm` is the userName. A user that is erased already is left as it is. Raises NotFound, Conflict (for one
        whom an identity provider would bring back, and under a legal hold) and InvalidValue.
        """
        self._activity_writer.flush_briefly()
        erasure = self._begin(caller, uid, reason, confirm, trace)
        return self._run(erasure, time.monotonic() + REQUEST_SECONDS)

    def describe(self, caller: Caller, uid: str) -> tuple[str, bool] | None:
        """Return the userName of a user, and whether it is deleted; None where it is unknown or erased."""
        found = self._store.erasures.user(caller.organization.id, uid)
        if found is None or not found[0].user_name:
            return None
        return found[0].user_name, found[1]

    @retry_on_conflict
    def _begin(self, caller: Caller, uid: str, reason: str, confirm: str, trace: Trace) -> Erasure:
        organization = caller.organization
        with self._units_of_work.open(caller, trace) as unit, self._store.database.overwriting():
            trace.target, trace.reason = Target("User", uid, None), None
            done = self._store.erasures.find(organization.id, uid)
            if done is not None:
                return done
            found = self._store.erasures.user(organization.id, uid)
            if found is None:
                raise NotFound(f"There is no user with the id {excerpt(uid)} here.")
            user, deleted = found
            self._check(organization, user, deleted)
            if confirm != user.user_name:
                raise InvalidValue(
                    "`confirm` is not the userName of this person. Nothing was erased: give it as it is shown."
                )
            texts = identifying_texts(user.document)
            if Eraser(texts).finds(reason):
                raise InvalidValue(
                    "`reason` names the person, and it stays after the erasure. Give a reason without the name."
                )
            trace.reason = reason
            if not deleted:
                unit.count("User", user.connection_id, -1)
                unit.record_event("user.deleted", "User", uid, _erased_data(uid, active=False))
            unit.record_event(ERASED, "User", uid, _erased_data(uid))
            erasure = self._empty(organization, user, deleted, trace.principal, reason)
        self._kept.add(organization.uid, uid, erasure.at)
        return erasure

    def _check(self, organization: OrganizationRecord, user: UserRecord, deleted: bool) -> None:
        if self._store.erasures.is_held(organization):
            raise Conflict(
                f"{organization.name} is under a legal hold: nothing of it is erased. An operator of the application"
                " ends the hold."
            )
        if deleted:
            return
        if user.connection_id is not None:
            found = self._store.connections.by_key(user.connection_id)
            by = found[0].name if found else "an identity provider"
            raise Conflict(
                f"This person is managed by {by}, which would bring the person back. Take the assignment away there,"
                " and erase the person once it is deleted."
            )
        if user.active:
            raise Conflict("This person is active. Deactivate the person first, then erase it.")

    def _empty(
        self, organization: OrganizationRecord, user: UserRecord, deleted: bool, by: str | None, reason: str
    ) -> Erasure:
        """Empty a user in an open transaction, and insert its erasure."""
        store = self._store
        if not store.erasures.empty_user(organization.id, user):
            raise WriteConflict
        if not deleted:
            store.memberships.drop_user(organization.id, user.id)
            store.page_positions.shift(organization.id, user.connection_id, user.id, -1)
        texts = json.dumps(sorted(identifying_texts(user.document)), ensure_ascii=False)
        at = self._clock()
        store.erasures.begin(organization.id, user.uid, at, by, reason, texts)
        return Erasure(user.uid, organization.id, at, by, reason, EVENTS, 0, 0, texts, at)

    # The worker -----------------------------------------------------------------------------------------------------

    def resume(self) -> list[int]:
        """Run portions of erasures for about a second, and begin those that are due; the keys of organizations."""
        if time.monotonic() - self._searched < ROUND_INTERVAL:
            return []
        self._searched = time.monotonic()
        changed = self._begin_listed() + self._begin_due()
        open_erasures = self._store.erasures.unfinished(MOST)
        if not open_erasures:
            return changed
        with self._store.database.only_one("erasures") as mine:
            if mine:
                until = time.monotonic() + ROUND_SECONDS
                self._finish([self._run(erasure, until) for erasure in open_erasures])
        return changed

    def _begin_due(self) -> list[int]:
        """Begin to erase users who were deleted longer ago than the deployment keeps them."""
        moment = self._clock()
        if not self._days or moment // HOUR == self._hour:
            return []
        due = self._store.erasures.deleted_before(moment - self._days * DAY, MOST)
        if len(due) < MOST:
            self._hour = moment // HOUR
        reason = f"Deleted for more than {self._days} days."
        return [key for each in due if (key := self._begin_unasked(KeptErasure(*each), reason, True))]

    def _begin_listed(self) -> list[int]:
        """Begin again to erase whom a restored backup has brought back."""
        if self._listed is None:
            return []
        portion = list(islice(self._listed, 500))
        if len(portion) < 500:
            self._listed = None
        known = self._store.erasures.known([each.user for each in portion])
        absent = [each for each in portion if each.user not in known]
        reason = "Erased before a backup was restored."
        return [key for each in absent if (key := self._begin_unasked(each, reason, False))]

    def _begin_unasked(self, listed: KeptErasure, reason: str, list_it: bool) -> int | None:
        """Begin an erasure that no admin asks for now; return the organization's key, None where there is none."""
        organization = self._store.organizations.by_id(listed.organization)
        if organization is None:
            return None
        trace = Trace("erasure", "", organization.id)
        at = self._begin_for_gateway(self._callers.admin(organization), listed.user, reason, trace)
        if at is None:
            return None
        if list_it:
            self._kept.add(organization.uid, listed.user, at)
        return organization.id

    @retry_on_conflict
    def _begin_for_gateway(self, caller: Caller, uid: str, reason: str, trace: Trace) -> int | None:
        organization = caller.organization
        with (
            self._units_of_work.open(caller, trace, line=False) as unit,
            self._store.database.overwriting(),
        ):
            found = self._store.erasures.user(organization.id, uid)
            if found is None or self._store.erasures.find(organization.id, uid):
                return None
            if self._store.erasures.is_held(organization):
                log.warning(
                    "user %s is not erased: organization %s is under a legal hold", uid, organization.uid
                )
                return None
            user, deleted = found
            if not deleted:
                unit.seats = -user.active
                unit.count("User", user.connection_id, -1)
                unit.record_event("user.deleted", "User", uid, _erased_data(uid, active=False))
            unit.record_event(ERASED, "User", uid, _erased_data(uid))
            return self._empty(organization, user, deleted, None, reason).at

    # Portions -------------------------------------------------------------------------------------------------------

    def _run(self, erasure: Erasure, until: float) -> Erasure:
        """Run portions until a moment of the monotonic clock, and as far as the buffers of processes let it."""
        while erasure.state in _PORTIONS and time.monotonic() < until:
            if self._is_settling(erasure):
                break
            began = time.monotonic()
            with (
                self._store.database.overwriting(),
                self._store.transaction(organization_id=erasure.organization_id),
            ):
                current = self._store.erasures.find(erasure.organization_id, erasure.uid)
                if current is not None and current.state in _PORTIONS:
                    _PORTIONS[current.state](self, current)
                    current = self._store.erasures.find(erasure.organization_id, erasure.uid)
            if current is None:
                break
            erasure = current
            pause_between_portions(began)
        return erasure

    def _is_settling(self, erasure: Erasure) -> bool:
        """Return whether processes may still have to write what they knew before the events were rewritten."""
        rewritten = (erasure.state, erasure.progress, erasure.within) == (ACTIVITY, 0, 0)
        return rewritten and self._clock() - erasure.touched < SETTLING_SECONDS * SECOND

    def _finish(self, erasures: list[Erasure]) -> None:
        """Leave nothing of people in the files of the database, and end erasures of which no portion is left."""
        last = [erasure for erasure in erasures if erasure.state == REMAINS]
        if last and self._store.database.remove_remains():
            with self._store.transaction():
                for erasure in last:
                    self._store.erasures.advance(erasure, DONE)

    def _erase_events(self, erasure: Erasure) -> None:
        """Leave of the person's events number and type, and note the names that the person had before."""
        found, following = self._store.erasures.events(erasure)
        texts, rows = set(erasure.wanted), []
        for event in found:
            data = json.loads(event.data)
            if (event.resource, event.resource_uid) == ("User", erasure.uid):
                if data.get("erased"):
                    continue
                texts |= set(islice(identifying_texts(data), MOST_TEXTS - len(texts)))
                rows.append((_erased_data(erasure.uid), event.id))
            elif Eraser(texts).finds(event.data):
                rows.append((Eraser(texts).cut_json(event.data), event.id))
        self._store.erasures.rewrite_events(rows)
        if texts != set(erasure.wanted):
            self._store.erasures.look_for(erasure, texts)
        if following is None:
            self._store.erasures.advance(erasure, ACTIVITY)
        else:
            self._store.erasures.advance(erasure, EVENTS, following)

    def _erase_lines(self, erasure: Erasure) -> None:
        """Cut the person out of lines about it and about others; what was done, by whom and when stays."""
        eraser, keys = Eraser(erasure.wanted), {fold(text)[:USER_LENGTH] for text in erasure.wanted}
        own: list[tuple[Any, ...]] = []
        others: list[tuple[Any, ...]] = []
        lines = self._store.erasures.lines(erasure)
        # Whoever has one of the names by now keeps what is about itself.
        heirs = self._store.erasures.users_named(erasure, keys)
        for line in lines:
            about = line.target_uid == erasure.uid or (line.user_key in keys and line.target_uid not in heirs)
            if not about and not any(
                eraser.finds(text) for text in (line.detail, line.ignored, line.decisions, line.facts)
            ):
                continue
            detail = eraser.cut_all(line.detail) if about else eraser.cut(line.detail)
            rest = [eraser.cut_json(text, about) for text in (line.ignored, line.decisions, line.facts)]
            if about:
                facts = json.loads(rest[2])
                rest[2] = json.dumps({name: value for name, value in facts.items() if name != "name"})
            (own if about else others).append((detail, *rest, line.id))
        self._store.erasures.rewrite_lines(own, named=False)
        self._store.erasures.rewrite_lines(others, named=True)
        if lines:
            self._store.erasures.advance(erasure, ACTIVITY, lines[-1].at, lines[-1].id)
        else:
            self._store.erasures.advance(erasure, ATTEMPTS)

    def _erase_attempts(self, erasure: Erasure) -> None:
        """Remove what receivers answered to events of the person, for it may name it."""
        if not erasure.progress:
            self._store.erasures.empty_parked(erasure)
        following = self._store.erasures.empty_attempts(erasure)
        self._store.erasures.advance(erasure, TRACES if following is None else ATTEMPTS, following or 0)

    def _erase_traces(self, erasure: Erasure) -> None:
        """Delete explanations of requests that were about the person or name it."""
        eraser = Eraser(erasure.wanted)
        found, following = self._store.erasures.traces(erasure)
        about = [
            each.key[0]
            for each in found
            if each.user_uid == erasure.uid
            or any(text and (erasure.uid in text or eraser.finds(text)) for text in each.texts)
        ]
        self._store.erasures.remove_traces(about)
        self._store.erasures.advance(erasure, IMPORTS if following is None else TRACES, following or 0)

    def _erase_import_rows(self, erasure: Erasure) -> None:
        """Empty the rows of imports that hold the person."""
        eraser = Eraser(erasure.wanted)
        rows = self._store.erasures.import_rows(erasure)
        self._store.erasures.empty_import_rows(
            [row.key for row in rows if any(eraser.finds(text) for text in row.texts)]
        )
        if rows:
            self._store.erasures.advance(erasure, IMPORTS, *rows[-1].key)
        else:
            self._store.erasures.advance(erasure, REMAINS)


_PORTIONS: dict[str, Callable[[Erasures, Erasure], None]] = {
    EVENTS: Erasures._erase_events,
    ACTIVITY: Erasures._erase_lines,
    ATTEMPTS: Erasures._erase_attempts,
    TRACES: Erasures._erase_traces,
    IMPORTS: Erasures._erase_import_rows,
}


def _erased_data(uid: str, **more: bool) -> str:
    return json.dumps({"id": uid, **more, "erased": True})
