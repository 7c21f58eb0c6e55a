"""Imports of people: uploaded, previewed, applied in portions that any process can resume, and deleted after a day.

The preview is made anew whenever it is looked at, and applying names the one that was approved. Each row is decided
once more in the transaction that writes it, so that its outcome is what happened.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from gateway.plugin.contracts import SeatRequest
from gateway.plugin.manager import PluginManager
from gateway.plugin.results import SeatLimit
from gateway.provisioning.caller import Caller, Callers
from gateway.provisioning.imports.csv_files import MOST_ROWS, USER_NAME, WRONG, UnusableFile, read_people
from gateway.provisioning.imports.portions import Portion
from gateway.provisioning.imports.row_plans import (
    CREATE,
    DEACTIVATE,
    SAME,
    SKIP,
    UPDATE,
    ImportPreview,
    RowPlan,
    RowPlanner,
)
from gateway.provisioning.long_changes import LongChangeRunner, pause_between_portions
from gateway.provisioning.previews import check_preview
from gateway.provisioning.trace import Target, Trace
from gateway.provisioning.unit_of_work import UnitOfWork, UnitsOfWork, retry_on_conflict
from gateway.scim.errors import Conflict, InvalidValue, NotFound, Refusal
from gateway.scim.json_text import Json, excerpt, fold
from gateway.store import Store, WriteConflict
from gateway.store.ids_and_time import rfc3339
from gateway.store.imports import APPLYING, PREVIEW, STATES
from gateway.store.long_changes import IMPORT, LongChange
from gateway.store.records import ImportRecord, ImportRow, OrganizationRecord

#: The states of an import, in their order.
IMPORT_STATES = STATES
#: What happens to active people of no connection who are not in the file.
KEEP, ABSENT_CHOICES = "keep", ("keep", "deactivate")
#: Rows of one transaction, and rows that are looked up together.
ROWS_PER_PORTION, _ROWS_PER_LOOKUP = 200, 50
#: Imports of an organization that are stored at once.
MOST_STORED = 10
#: Seconds that a request applies rows itself; the worker goes on with the others.
APPLY_SECONDS = 2.0
#: Seconds between two searches of a process for imports that are over.
_PRUNE_INTERVAL = 300.0
#: Outcomes of rows, by what a plan says; a row that no seat is left for is `REFUSED`.
REFUSED = "refused"
_OUTCOMES = {
    CREATE: "created", UPDATE: "updated", SAME: "same", SKIP: "skipped", WRONG: WRONG, DEACTIVATE: "deactivated"
}  # fmt: skip


class Imports:
    """Use cases of imports."""

    def __init__(
        self, store: Store, plugins: PluginManager, units_of_work: UnitsOfWork, callers: Callers,
        long_changes: LongChangeRunner, document_limit: int,
    ) -> None:  # fmt: skip
        self._store, self._plugins, self._units_of_work = store, plugins, units_of_work
        self._callers, self._long_changes, self._document_limit = callers, long_changes, document_limit
        self._pruned = -_PRUNE_INTERVAL
        long_changes.register_whole(IMPORT, self._apply_portion)

    # Upload and preview ---------------------------------------------------------------------------------------------

    def add(
        self, caller: Caller, data: bytes, absent: str, trace: Trace
    ) -> tuple[ImportRecord, ImportPreview]:
        """Store a file and preview it; nobody is changed.

        `absent` is one of `ABSENT_CHOICES`. Raises UnusableFile, PayloadTooLarge, InvalidValue and Conflict.
        """
        if absent not in ABSENT_CHOICES:
            raise InvalidValue(f"`absent` is {excerpt(absent)}; it is {' or '.join(ABSENT_CHOICES)}.")
        file = read_people(data)
        record = self._store_file(caller, file.columns, file.rows, absent, trace)
        trace.written = False  # its line comes with the summary
        try:
            preview = self.preview(caller.organization, record)
            self._complete(caller, record, preview, trace)
        except Refusal:
            self._store.imports.remove(caller.organization, record)
            raise
        return record, preview

    @retry_on_conflict
    def _store_file(
        self, caller: Caller, columns: tuple[str, ...], rows: Sequence[ImportRow], absent: str, trace: Trace
    ) -> ImportRecord:
        with self._units_of_work.open(caller, trace, line=False):
            self._check_room(caller.organization)
            return self._store.imports.add(caller.organization.id, trace.principal, absent, columns, rows)

    @retry_on_conflict
    def _complete(self, caller: Caller, record: ImportRecord, preview: ImportPreview, trace: Trace) -> None:
        """Make a stored file an import, which is found and listed from now on."""
        with self._units_of_work.open(caller, trace):
            # Others may have been uploaded since the file was stored.
            self._check_room(caller.organization)
            trace.target = Target("Import", record.uid, None)
            self._store.imports.set_summary(record, json.dumps(preview.as_json() | {"first": []}))

    def _check_room(self, organization: OrganizationRecord) -> None:
        if len(self._store.imports.page(organization, 0, MOST_STORED)) == MOST_STORED:
            raise Conflict(
                f"{MOST_STORED} imports are stored for this organization, as many as may be. Delete one first; each is"
                " deleted by itself 24 hours after its upload."
            )

    def find(self, organization: OrganizationRecord, uid: str) -> ImportRecord:
        """Return an import. Raises NotFound."""
        record = self._store.imports.of(organization, uid)
        if record is None:
            raise NotFound(
                f"There is no import with the id {excerpt(uid)} here; an import is stored for 24 hours."
            )
        return record

    def page(self, organization: OrganizationRecord, after: int, limit: int) -> list[ImportRecord]:
        """Return the stored imports of an organization, after a key."""
        return self._store.imports.page(organization, after, limit)

    def preview(self, organization: OrganizationRecord, record: ImportRecord) -> ImportPreview:
        """Return what applying an import would do now. Raises UnusableFile where too many people are absent."""
        preview = ImportPreview(self._free_seats(organization))
        planner = self._planner(organization, record)
        place = json.loads(record.columns).index(USER_NAME)
        names: set[str] = set()
        began = time.monotonic()
        for rows in self._portions(record):
            for plan in planner.plan(rows):
                preview.add(plan)
            names.update(fold(row.cells[place]) for row in rows)
            pause_between_portions(began)
            began = time.monotonic()
        if record.absent != KEEP:
            for row in self._absent_rows(organization, record, names):
                preview.absent.append(row)
                preview.add(RowPlan(row.number, row.cells[place], DEACTIVATE, seat=-1))
        return preview

    def _portions(self, record: ImportRecord) -> Iterator[list[ImportRow]]:
        after = 0
        while rows := self._store.imports.rows(record, after, _ROWS_PER_LOOKUP):
            yield rows
            after = rows[-1].number

    def _absent_rows(
        self, organization: OrganizationRecord, record: ImportRecord, names: set[str]
    ) -> Iterator[ImportRow]:
        """Yield a row for everybody who would be deactivated, numbered after those of the file."""
        columns = json.loads(record.columns)
        number, after = record.row_count, 0
        while people := self._store.imports.active_people(organization.id, after, 1000):
            after = people[-1].id
            for person in people:
                if person.user_name_key in names:
                    continue
                number += 1
                if number > record.row_count + MOST_ROWS:
                    raise UnusableFile(
                        f"More than {MOST_ROWS} people are not in the file and would be deactivated. Upload a file of"
                        " all of them, or leave `absent` out."
                    )
                cells = tuple(person.user_name if column == USER_NAME else "" for column in columns)
                yield ImportRow(number, cells, DEACTIVATE, None)

    def _free_seats(self, organization: OrganizationRecord) -> int | None:
        """Return how many seats are free, None without a limit."""
        limit = self._plugins.check_seats(self._callers.tenant(organization), SeatRequest("")).result()
        return max(0, limit.ceiling - organization.seats_used) if limit else None

    def _planner(self, organization: OrganizationRecord, record: ImportRecord) -> RowPlanner:
        return RowPlanner(self._store, organization, json.loads(record.columns), self._document_limit)

    # Shown ----------------------------------------------------------------------------------------------------------

    def as_json(self, record: ImportRecord, preview: ImportPreview | None = None) -> Json:
        """Return an import for admins: what it would do (as of its upload without a `preview`), and how far it is."""
        summary = preview.as_json() if preview else json.loads(record.summary)
        outcomes = self._store.imports.count_outcomes(record) if record.state != PREVIEW else {}
        return {
            "id": record.uid,
            "state": record.state,
            "absent": record.absent,
            "rows": record.row_count,
            "done": record.done,
            "created_at": rfc3339(record.created),
            "created_by": record.created_by,
            "expires_at": rfc3339(record.expires),
            **summary,
            "outcomes": {name: n for name, n in sorted(outcomes.items()) if name != DEACTIVATE},
        }

    def result_rows(self, record: ImportRecord) -> Iterator[list[tuple[str, ...]]]:
        """Yield the lines of the result file in portions: the columns of the file, outcome and reason."""
        yield [(*json.loads(record.columns), "outcome", "reason")]
        for rows in self._portions(record):
            yield [
                (*row.cells, "waiting" if row.outcome in ("", DEACTIVATE) else row.outcome, row.reason or "")
                for row in rows
            ]

    # Applying -------------------------------------------------------------------------------------------------------

    def apply(
        self, caller: Caller, uid: str, if_match: str, trace: Trace, seconds: float | None = APPLY_SECONDS,
        report: Callable[[ImportRecord], None] = lambda record: None,
    ) -> ImportRecord:  # fmt: skip
        """Apply an import as it was previewed, in portions; rows left after `seconds` are the worker's.

        `if_match` holds the entity tag of the preview, `report` is called after each portion. Raises
        PreconditionFailed when the import would do something else by now, Conflict when it was applied before.
        """
        long_change = self._begin(caller, uid, if_match, trace)
        self._long_changes.finish(
            long_change, trace, seconds, lambda: report(self.find(caller.organization, uid))
        )
        return self.find(caller.organization, uid)

    @retry_on_conflict
    def _begin(self, caller: Caller, uid: str, if_match: str, trace: Trace) -> str:
        """Have the rows of an import applied; return the id of the long change."""
        organization = caller.organization
        record = self.find(organization, uid)
        if record.state != PREVIEW:
            done = "is being applied" if record.state == APPLYING else "was applied"
            raise Conflict(
                f"This import {done} already: look at its result. Upload the file again to repeat it."
            )
        # The preview reads everybody of the file, so it runs outside of the transaction; each row is decided again.
        preview = self.preview(organization, record)
        check_preview(
            preview.etag,
            if_match,
            "Applying this import would now do something else than the preview showed: people, groups or free seats"
            " have changed since. Look at the preview again and send its ETag.",
        )
        with self._units_of_work.open(caller, trace) as unit:
            if self._store.long_changes.find(organization.id, None) is not None:
                raise Conflict(
                    "Another import of this organization is being applied, or it is being removed. Wait for that."
                )
            trace.target, unit.depends_on_policy = Target("Import", record.uid, None), True
            self._store.imports.begin(record, preview.absent)
            self._store.imports.set_summary(record, json.dumps(preview.as_json() | {"first": []}))
            return self._store.long_changes.begin_import(
                organization.id,
                uid,
                record.row_count + len(preview.absent),
                trace.principal,
                trace.request_id,
            )

    @retry_on_conflict
    def _apply_portion(self, caller: Caller, long_change: LongChange, trace: Trace) -> bool | None:
        """Apply the next rows in one transaction; return whether any may be left, None when it was finished before."""
        current = self._store.long_changes.by_id(long_change.uid)
        record = self._store.imports.of(caller.organization, long_change.path) if current else None
        if current is None or record is None:
            return None
        rows = self._store.imports.rows(record, current.after, ROWS_PER_PORTION)
        limits = self._ask_for_seats(caller, record, rows, trace)
        with self._units_of_work.open(caller, trace, line=False) as unit:
            again = self._store.long_changes.by_id(long_change.uid)
            if again is None:
                return None
            if again.after != current.after:
                raise WriteConflict
            if not rows:
                self._store.imports.end(record)
                self._store.long_changes.end(current)
                return False
            unit.depends_on_policy = True
            outcomes = self._write_rows(caller, record, rows, limits, unit)
            self._store.imports.advance(record, outcomes)
            self._store.long_changes.advance(current, rows[-1].number, len(rows))
        return True

    def _ask_for_seats(
        self, caller: Caller, record: ImportRecord, rows: Sequence[ImportRow], trace: Trace
    ) -> dict[int, SeatLimit | Refusal | None]:
        """Ask plugins for the ceiling of each row that may take a seat, before the transaction."""
        place = json.loads(record.columns).index(USER_NAME)
        limits: dict[int, SeatLimit | Refusal | None] = {}
        for row in rows:
            if row.outcome:
                continue
            answered = self._plugins.check_seats(caller.tenant, SeatRequest(row.cells[place]))
            if answered.refusal is not None and answered.refusal.status >= 500:
                raise answered.refusal
            limits[row.number] = answered.refusal or answered.value
        return limits

    def _write_rows(
        self, caller: Caller, record: ImportRecord, rows: Sequence[ImportRow],
        limits: Mapping[int, SeatLimit | Refusal | None], unit: UnitOfWork,
    ) -> list[tuple[int, str, str | None]]:  # fmt: skip
        """Write what the rows do to people, under the lock of the organization; return the outcome of each."""
        organization = self._store.organizations.by_key(caller.organization.id)
        planner, portion = self._planner(organization, record), Portion(self._store, organization, unit)
        outcomes = []
        for start in range(0, len(rows), _ROWS_PER_LOOKUP):
            for plan in planner.plan(rows[start : start + _ROWS_PER_LOOKUP]):
                refused = portion.write(plan, limits.get(plan.number))
                outcomes.append(
                    (plan.number, REFUSED, refused)
                    if refused
                    else (plan.number, _OUTCOMES[plan.outcome], plan.reason)
                )
        portion.record_events()
        return outcomes

    # Deleting -------------------------------------------------------------------------------------------------------

    @retry_on_conflict
    def remove(self, caller: Caller, uid: str, trace: Trace) -> None:
        """Delete an import with its rows; the people stay. Raises Conflict while it is being applied."""
        record = self.find(caller.organization, uid)
        with self._units_of_work.open(caller, trace):
            trace.target = Target("Import", record.uid, None)
            if not self._store.imports.remove(caller.organization, record):
                raise Conflict(
                    "This import is being applied: delete it when all its rows have their outcome."
                )

    def prune(self) -> None:
        """Delete imports that are over, one in a call while there are any."""
        if time.monotonic() - self._pruned < _PRUNE_INTERVAL:
            return
        if not self._store.imports.prune():
            self._pruned = time.monotonic()
