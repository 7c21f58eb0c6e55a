"""Imports of people: the rows of a file, until each has its outcome, and the people whom the rows may meet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gateway.store.engine.base import Database, WriteConflict
from gateway.store.ids_and_time import DAY, new_id, now
from gateway.store.records import ImportRecord, ImportRow, OrganizationRecord, UserRecord
from gateway.store.users import COLUMNS as USER_COLUMNS

#: States of an import: it can be looked at; its rows are being applied; all rows have their outcome.
PREVIEW, APPLYING, DONE = STATES = ("preview", "applying", "done")
#: How long an import is stored after it was uploaded, in microseconds.
STORED = DAY
#: The summary of an import whose upload was not completed: its preview is still to come, or a process was killed.
_UNFINISHED = "{}"
_FOUND = f"summary <> '{_UNFINISHED}' AND (expires > ? OR state = ?)"
_COLUMNS = "id, uid, created, created_by, expires, state, absent, columns, row_count, done, summary, version"
#: Users of a connection are not written, so their documents are not read.
_PEOPLE = USER_COLUMNS.replace(" doc,", " CASE WHEN connection_id IS NULL THEN doc ELSE '' END,")


class AbsentPerson(NamedTuple):
    """Somebody whom no connection manages and who is active."""

    id: int
    user_name: str
    user_name_key: str


class NamedGroup(NamedTuple):
    """A group that was found by its folded name."""

    id: int
    name_key: str
    connection_id: int | None


class Imports:
    """Stored imports."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(
        self, organization_id: int, created_by: str | None, absent: str, columns: Sequence[str],
        rows: Sequence[ImportRow],
    ) -> ImportRecord:  # fmt: skip
        """Insert an import and its rows; it is found once its summary is set."""
        moment = now()
        row = self._db.one(
            "INSERT INTO imports (uid, organization_id, created, created_by, expires, state, absent, columns,"
            " row_count, done, summary, version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, 1)"
            f" RETURNING {_COLUMNS}",
            new_id(),
            organization_id,
            moment,
            created_by,
            moment + STORED,
            PREVIEW,
            absent,
            json.dumps(columns),
            len(rows),
            _UNFINISHED,
        )
        assert row is not None
        record = ImportRecord._make(row)
        self._insert_rows(record, rows)
        return record

    def _insert_rows(self, record: ImportRecord, rows: Sequence[ImportRow]) -> None:
        if rows:
            self._db.insert(
                "import_rows (import_id, number, data, outcome, reason)",
                [
                    (
                        record.id,
                        row.number,
                        json.dumps(row.cells, ensure_ascii=False),
                        row.outcome,
                        row.reason,
                    )
                    for row in rows
                ],
            )

    def set_summary(self, record: ImportRecord, summary: str) -> None:
        """Store how many rows have each outcome, as JSON."""
        self._db.run("UPDATE imports SET summary = ? WHERE id = ?", summary, record.id)

    def of(self, organization: OrganizationRecord, uid: str) -> ImportRecord | None:
        """Find an import of an organization that is not over."""
        row = self._db.one(
            f"SELECT {_COLUMNS} FROM imports WHERE organization_id = ? AND uid = ? AND {_FOUND}",
            organization.id,
            uid,
            now(),
            APPLYING,
        )
        return ImportRecord._make(row) if row else None

    def page(self, organization: OrganizationRecord, after: int, limit: int) -> list[ImportRecord]:
        """Return imports of an organization in the order of their upload, after a key."""
        rows = self._db.all(
            f"SELECT {_COLUMNS} FROM imports WHERE organization_id = ? AND id > ? AND {_FOUND} ORDER BY id LIMIT ?",
            organization.id,
            after,
            now(),
            APPLYING,
            limit,
        )
        return [ImportRecord._make(row) for row in rows]

    def rows(self, record: ImportRecord, after: int, limit: int) -> list[ImportRow]:
        """Return rows of an import in their order, after a number."""
        rows = self._db.all(
            "SELECT number, data, outcome, reason FROM import_rows WHERE import_id = ? AND number > ?"
            " ORDER BY number LIMIT ?",
            record.id,
            after,
            limit,
        )
        width = len(json.loads(record.columns))
        return [
            _erased_row(number, width, outcome)
            if data == "{}"
            else ImportRow(number, tuple(json.loads(data)), outcome, why)
            for number, data, outcome, why in rows
        ]

    def count_outcomes(self, record: ImportRecord) -> dict[str, int]:
        """Return how many rows have each outcome, and under `partial` how many of the others have a reason."""
        rows = self._db.all(
            "SELECT outcome, COUNT(*), COUNT(reason) FROM import_rows WHERE import_id = ? GROUP BY outcome",
            record.id,
        )
        counts = {outcome: number for outcome, number, _ in rows if outcome}
        partial = sum(why for outcome, _, why in rows if outcome in ("created", "updated", "same"))
        return counts | ({"partial": partial} if partial else {})

    def begin(self, record: ImportRecord, absent: Sequence[ImportRow]) -> None:
        """Have the rows applied, and with them those of absent people. Raises WriteConflict when it began before."""
        if not self._db.run(
            "UPDATE imports SET state = ?, row_count = row_count + ?, version = version + 1"
            " WHERE id = ? AND state = ?",
            APPLYING,
            len(absent),
            record.id,
            PREVIEW,
        ):
            raise WriteConflict
        self._insert_rows(record, absent)

    def advance(self, record: ImportRecord, outcomes: Iterable[tuple[int, str, str | None]]) -> None:
        """Store the outcomes of rows: number, outcome, reason."""
        rows = list(outcomes)
        self._db.run_many(
            "UPDATE import_rows SET outcome = ?, reason = ? WHERE import_id = ? AND number = ?",
            [(outcome, reason, record.id, number) for number, outcome, reason in rows],
        )
        self._db.run("UPDATE imports SET done = done + ? WHERE id = ?", len(rows), record.id)

    def end(self, record: ImportRecord) -> None:
        """All rows have their outcome."""
        self._db.run("UPDATE imports SET state = ?, version = version + 1 WHERE id = ?", DONE, record.id)

    def remove(self, organization: OrganizationRecord, record: ImportRecord) -> bool:
        """Delete an import with its rows unless it is being applied; return whether it was deleted."""
        return (
            self._db.run(
                "DELETE FROM imports WHERE organization_id = ? AND id = ? AND state <> ?",
                organization.id,
                record.id,
                APPLYING,
            )
            > 0
        )

    def prune(self) -> int:
        """Delete one import that is over; return how many were."""
        return self._db.run(
            "DELETE FROM imports WHERE id IN (SELECT id FROM imports WHERE expires <= ? AND state <> ? LIMIT 1)",
            now(),
            APPLYING,
        )

    # People ---------------------------------------------------------------------------------------------------------

    def people_named(self, organization_id: int, names: Sequence[str]) -> dict[str, UserRecord]:
        """Find users by their folded userNames, of any connection; a managed one without its document."""
        rows = self._db.among(
            names,
            lambda marks: (
                f"SELECT {_PEOPLE}, user_name_key FROM users"
                f" WHERE organization_id = ? AND deleted = 0 AND user_name_key IN ({marks})"
            ),
            organization_id,
        )
        return {row[-1]: UserRecord._make(row[:-1]) for row in rows}

    def names_of(self, organization_id: int, uids: Sequence[str]) -> dict[str, str]:
        """Return the userNames of users by their ids."""
        rows = self._db.among(
            uids,
            lambda marks: (
                f"SELECT uid, user_name FROM users WHERE +organization_id = ? AND deleted = 0 AND uid IN ({marks})"
            ),
            organization_id,
        )
        return dict(rows)

    def active_people(self, organization_id: int, after: int, limit: int) -> list[AbsentPerson]:
        """Return active people whom no connection manages and who are not protected, after a key."""
        rows = self._db.all(
            "SELECT id, user_name, user_name_key FROM users WHERE organization_id = ? AND connection_id IS NULL"
            " AND deleted = 0 AND active = 1 AND protected = 0 AND id > ? ORDER BY id LIMIT ?",
            organization_id,
            after,
            limit,
        )
        return [AbsentPerson._make(row) for row in rows]

    def groups_named(self, organization_id: int, names: Sequence[str]) -> list[NamedGroup]:
        """Find groups by their folded names; manual ones come last."""
        rows = self._db.among(
            names,
            lambda marks: (
                "SELECT id, name_key, connection_id FROM groups"
                f" WHERE organization_id = ? AND name_key IN ({marks})"
            ),
            organization_id,
        )
        return sorted(map(NamedGroup._make, rows), key=lambda group: (group.connection_id is None, group.id))


def _erased_row(number: int, width: int, outcome: str) -> ImportRow:
    """Return a row whose person was erased: it was emptied, and does nothing any more."""
    done = outcome not in ("", "deactivate")
    return ImportRow(
        number, ("",) * width, outcome if done else "wrong", "The person of this row was erased."
    )
