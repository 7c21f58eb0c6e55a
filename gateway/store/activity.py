"""The activity: one line for each request of an identity provider or admin, its outcome, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from gateway.scim.json_text import fold
from gateway.store.engine.base import Database
from gateway.store.ids_and_time import now
from gateway.store.records import ActivityRecord

COLUMNS = (
    "id, at, connection_uid, principal, operation, user_name, status, outcome, detail, ignored,"
    " decisions, request_id, target_uid, facts, times, first_at, organization_id"
)
INTO = (
    "activity (organization_id, at, connection_uid, principal, operation, user_name, user_key, status, outcome, detail,"
    " ignored, decisions, request_id, target_uid, facts)"
)
#: Lines that one request looks at, at most, where no index serves a filter.
WINDOW = 20_000

#: The outcome in words of SQL: as a parameter it would not find the index of failures.
_OUTCOMES: dict[str | None, tuple[str, ...]] = {
    None: (),
    "success": ("outcome = 'success'",),
    "partial": ("outcome = 'partial'",),
    "failure": ("outcome = 'failure'",),
    # What was done, if not all of it.
    "done": ("outcome <> 'failure'",),
}
_DAY = 86_400_000_000


class Line(NamedTuple):
    """One line as it is handed to the store. `ignored` and `decisions` are JSON arrays, `facts` a JSON object."""

    organization_id: int
    connection_uid: str | None
    principal: str | None
    operation: str
    user: str | None
    status: int
    outcome: str
    detail: str | None
    ignored: str
    decisions: str
    request_id: str | None
    target_uid: str | None = None
    facts: str = "{}"


class Wanted(NamedTuple):
    """Which lines: None where all are. `since` and `until` are microseconds, `until` excluded."""

    outcome: str | None = None
    user: str | None = None
    connection: str | None = None
    status: int | None = None
    target: str | None = None
    request_id: str | None = None
    since: int | None = None
    until: int | None = None

    def conditions(self) -> tuple[str, list[Any]]:
        """SQL that begins with AND, and its parameters."""
        wanted = {
            "user_key = ?": _key(self.user) if self.user else None,
            "connection_uid = ?": self.connection,
            "status = ?": self.status,
            "target_uid = ?": self.target,
            "request_id = ?": self.request_id,
            "at >= ?": self.since,
            "at < ?": self.until,
        }
        given = {sql: value for sql, value in wanted.items() if value is not None}
        return "".join(f" AND {sql}" for sql in (*_OUTCOMES[self.outcome], *given)), list(given.values())

    @property
    def scans(self) -> bool:
        """Whether no index leads to the lines that are wanted."""
        narrow = self.status is not None or self.target or self.request_id or self.outcome == "partial"
        return bool(narrow) and not self.user


class Found(NamedTuple):
    """A page of lines. `following`: the moment and key to go on from, None at the end. A page may be short of lines
    and have more behind it: a request looks at `WINDOW` lines at most."""

    lines: list[ActivityRecord]
    following: tuple[int, int] | None


#: Characters of a user's name that are looked for.
USER_LENGTH = 320


class Reason(NamedTuple):
    """What refusals of strangers are counted by; the minute since 1970."""

    minute: int
    connection_uid: str
    word: str


class Gathered(NamedTuple):
    """Refusals that one line stands for: the first line, the moments of the first and the last, how many."""

    line: Line
    first: int
    last: int
    times: int

    def together(self, later: Gathered) -> Gathered:
        """Both in one line, that of the earlier ones."""
        first, last = min(self.first, later.first), max(self.last, later.last)
        return self._replace(first=first, last=last, times=self.times + later.times)


class ActivityLog:
    """Lines of organizations."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, lines: Sequence[tuple[int, Line]]) -> None:
        """Write lines, each with its moment."""
        self._db.insert(INTO, [row(moment, line) for moment, line in lines])

    def count(self, reason: Reason, held: Gathered) -> None:
        """Count refusals in the line of their connection, reason and minute, whichever process wrote it."""
        found = self._db.one(
            "INSERT INTO gathered_refusals (minute, connection_uid, reason) VALUES (?, ?, ?)"
            " ON CONFLICT (minute, connection_uid, reason) DO UPDATE SET reason = excluded.reason"
            " RETURNING activity_id",
            *reason,
        )
        if found and found[0]:
            counted = self._db.run(
                "UPDATE activity SET times = times + ?, at = CASE WHEN at < ? THEN ? ELSE at END,"
                " first_at = CASE WHEN first_at > ? THEN ? ELSE first_at END WHERE id = ?",
                *(held.times, held.last, held.last, held.first, held.first, found[0]),
            )
            if counted:
                return
        values = (*row(held.last, held.line), held.times, held.first)
        into = INTO.replace(")", ", times, first_at)")
        made = self._db.one(
            f"INSERT INTO {into} VALUES ({','.join('?' * len(values))}) RETURNING id", *values
        )
        assert made is not None
        self._db.run(
            "UPDATE gathered_refusals SET activity_id = ? WHERE minute = ? AND connection_uid = ? AND reason = ?",
            made[0],
            *reason,
        )
        self._db.run("DELETE FROM gathered_refusals WHERE minute < ?", reason.minute - 60)

    def refuse_unless_writable(self) -> None:
        """Raise Outage where the database only reads. Changes nothing."""
        self._db.run("DELETE FROM gathered_refusals WHERE minute < 0")

    def page(
        self, organization_id: int, before: tuple[int, int] | None, limit: int, *, outcome: str | None = None,
        user: str | None = None, connection: str | None = None,
    ) -> list[ActivityRecord]:  # fmt: skip
        """The newest first, from the one before `before` (its moment and key) on.

        By the moment, for reads are written a little after they happened.
        """
        wanted = Wanted(outcome, user, connection)
        return self._rows("organization_id = ?", [organization_id], "(at, id)", before, wanted, limit)

    def search(
        self, organization_id: int | None, before: tuple[int, int] | None, limit: int, wanted: Wanted
    ) -> Found:
        """A page of an organization's lines, the newest first; of all organizations with None, the last written first.

        `before` is what the page before called `following`. Filters that no index serves look at `WINDOW` lines.
        """
        if organization_id is None:
            where, parameters, order = "1 = 1", [], "(id)"
        else:
            where, parameters, order = "organization_id = ?", [organization_id], "(at, id)"
        end = None
        if wanted.scans or (organization_id is None and wanted != Wanted()):
            end = self._end_of_window(where, parameters, order, before, wanted)
        rows = self._rows(where, parameters, order, before, wanted, limit + 1, end)
        if len(rows) > limit:
            last = rows[limit - 1]
            return Found(rows[:limit], (last.at, last.id))
        return Found(rows, end)

    def _end_of_window(
        self, where: str, parameters: list[Any], order: str, before: tuple[int, int] | None, wanted: Wanted
    ) -> tuple[int, int] | None:
        """Moment and key of the last line of the window; None where the lines end in it."""
        if wanted.until is not None and order == "(at, id)" and (before is None or before[0] > wanted.until):
            before = (wanted.until, 0)
        compared, values = _behind(order, "<", before)
        found = self._db.one(
            f"SELECT at, id FROM activity WHERE {where}{compared}"
            f" ORDER BY {_descending(order)} LIMIT 1 OFFSET {WINDOW - 1}",
            *parameters,
            *values,
        )
        if found is None or (order == "(at, id)" and wanted.since is not None and found[0] < wanted.since):
            return None
        return found[0], found[1]

    def _rows(
        self, where: str, parameters: list[Any], order: str, before: tuple[int, int] | None, wanted: Wanted,
        limit: int, end: tuple[int, int] | None = None,
    ) -> list[ActivityRecord]:  # fmt: skip
        conditions, values = wanted.conditions()
        above, upper = _behind(order, "<", before)
        below, lower = _behind(order, ">=", end)
        rows = self._db.all(
            f"SELECT {COLUMNS} FROM activity WHERE {where}{conditions}{above}{below}"
            f" ORDER BY {_descending(order)} LIMIT ?",
            *parameters,
            *values,
            *upper,
            *lower,
            limit,
        )
        return [ActivityRecord._make(row) for row in rows]

    def last_call(
        self, organization_id: int, connection: str, outcome: str | None = None
    ) -> ActivityRecord | None:
        """The newest line of a connection that its identity provider left, not an admin who worked at it."""
        row = self._db.one(
            f"SELECT {COLUMNS} FROM activity WHERE organization_id = ? AND connection_uid = ?"
            " AND operation LIKE '% /%'"
            " AND operation NOT LIKE '% /organizations%' AND operation NOT LIKE '% /connections%'"
            f"{''.join(f' AND {sql}' for sql in _OUTCOMES[outcome])} ORDER BY at DESC, id DESC LIMIT 1",
            organization_id,
            connection,
        )
        return ActivityRecord._make(row) if row else None

    def deletion(self, organization_id: int, user_name: str, uid: str) -> ActivityRecord | None:
        """The newest line of the user's deletion, as long as the activity has it."""
        row = self._db.one(
            f"SELECT {COLUMNS} FROM activity WHERE organization_id = ? AND user_key = ? AND target_uid = ?"
            " AND status = 204 AND operation LIKE 'DELETE %' ORDER BY at DESC, id DESC LIMIT 1",
            organization_id,
            _key(user_name),
            uid,
        )
        return ActivityRecord._make(row) if row else None

    def prune(self, before: int, most: int = 1000) -> int:
        """Forget the oldest lines from before a moment, `most` at a time; how many.

        Lines are forgotten in the order of writing. A line whose moment is wrong, for a clock was ahead when it was
        written, goes with the lines that were written after it.
        """
        oldest = self._db.one("SELECT at, id FROM activity ORDER BY id LIMIT 1")
        if oldest is None or most < 1:
            return 0
        at, first = oldest
        if at >= before and (at < now() + _DAY or not self._older_behind(first, before)):
            return 0
        reach = ""
        values: tuple[Any, ...] = ()
        if at < before:
            # Lines are written in the order of their moments, but for a second or so.
            reach, values = " AND at < ?", (before,)
        return self._db.run(
            f"DELETE FROM activity WHERE id IN (SELECT id FROM activity ORDER BY id LIMIT ?){reach}",
            most,
            *values,
        )

    def _older_behind(self, first: int, before: int) -> bool:
        """Whether a line that was written later than line `first` is from before a moment; looks at a few of them."""
        step = 1
        while row := self._db.one("SELECT at FROM activity WHERE id >= ? ORDER BY id LIMIT 1", first + step):
            if row[0] < before:
                return True
            step *= 2
        return False


def _key(user: str) -> str:
    """What a user is found by: as many characters as an index of PostgreSQL holds, whatever folding made of them."""
    return fold(user)[:USER_LENGTH]


def row(moment: int, line: Line) -> tuple[Any, ...]:
    """A line as it is written."""
    user = line.user
    return (
        line.organization_id, moment or now(), line.connection_uid, line.principal, line.operation, user,
        _key(user) if user else None, line.status, line.outcome, line.detail, line.ignored, line.decisions,
        line.request_id, line.target_uid, line.facts,
    )  # fmt: skip


def _descending(order: str) -> str:
    return "at DESC, id DESC" if order == "(at, id)" else "id DESC"


def _behind(order: str, sign: str, place: tuple[int, int] | None) -> tuple[str, tuple[int, ...]]:
    """The condition that a line lies on one side of a place in the order."""
    if place is None:
        return "", ()
    return (
        (f" AND (at, id) {sign} (?, ?)", place) if order == "(at, id)" else (f" AND id {sign} ?", place[1:])
    )
