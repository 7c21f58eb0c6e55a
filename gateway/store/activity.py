"""The activity: one line for each request of an identity provider or admin, with its outcome and the reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from gateway.scim.json_text import fold
from gateway.store.engine.base import Database
from gateway.store.engine.statements import Statement, Step
from gateway.store.ids_and_time import DAY, now
from gateway.store.organizations import HELD
from gateway.store.records import ActivityRecord

COLUMNS = (
    "id, at, connection_uid, principal, operation, user_name, status, outcome, detail, ignored,"
    " decisions, request_id, target_uid, facts, times, first_at, organization_id"
)
INTO = (
    "activity (organization_id, at, connection_uid, principal, operation, user_name, user_key, status, outcome, detail,"
    " ignored, decisions, request_id, target_uid, facts)"
)
#: Lines that one request reads at most where no index serves a filter.
WINDOW = 20_000

#: Conditions by outcome, as literals: with a parameter the partial index of failures would not be used.
_OUTCOMES: dict[str | None, tuple[str, ...]] = {
    None: (),
    "success": ("outcome = 'success'",),
    "partial": ("outcome = 'partial'",),
    "failure": ("outcome = 'failure'",),
    # Carried out, at least in part.
    "done": ("outcome <> 'failure'",),
}


class ActivityLine(NamedTuple):
    """One line to be inserted. `ignored` and `decisions` are JSON arrays, `facts` a JSON object."""

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


class ActivityFilter(NamedTuple):
    """Selects lines; None selects all. `since` and `until` are microseconds, `until` excluded."""

    outcome: str | None = None
    user: str | None = None
    connection: str | None = None
    status: int | None = None
    target: str | None = None
    request_id: str | None = None
    since: int | None = None
    until: int | None = None

    def compile(self) -> tuple[str, list[Any]]:
        """Return conditions in SQL, each preceded by AND, and their parameters."""
        conditions = {
            "user_key = ?": _key(self.user) if self.user else None,
            "connection_uid = ?": self.connection,
            "status = ?": self.status,
            "target_uid = ?": self.target,
            "request_id = ?": self.request_id,
            "at >= ?": self.since,
            "at < ?": self.until,
        }
        given = {sql: value for sql, value in conditions.items() if value is not None}
        return "".join(f" AND {sql}" for sql in (*_OUTCOMES[self.outcome], *given)), list(given.values())

    @property
    def scans(self) -> bool:
        """True if no index serves this filter."""
        narrow = self.status is not None or self.target or self.request_id or self.outcome == "partial"
        return bool(narrow) and not self.user


class ActivityPage(NamedTuple):
    """A page of lines. `next_start`: moment and key from which the next page goes on, None at the end.

    A page may be short and have a next one: a request reads `WINDOW` lines at most.
    """

    lines: list[ActivityRecord]
    next_start: tuple[int, int] | None


#: Characters of a user's name that are compared.
USER_LENGTH = 320


class RefusalKey(NamedTuple):
    """The key by which refusals are counted into one line; `minute` since 1970."""

    minute: int
    connection_uid: str
    reason: str


class RefusalCount(NamedTuple):
    """Refusals that share a line: the line of the first one, moments of the first and the last, how many."""

    line: ActivityLine
    first: int
    last: int
    times: int

    def merge(self, later: RefusalCount) -> RefusalCount:
        """Return the sum of both, with the line of this one."""
        first, last = min(self.first, later.first), max(self.last, later.last)
        return self._replace(first=first, last=last, times=self.times + later.times)


_NAMES = tuple(name.strip() for name in INTO[len("activity (") : -1].split(","))
_WRITE = Statement(
    "activity", f"INSERT INTO {INTO} SELECT {', '.join(f':{name}' for name in _NAMES)} WHERE :go"
)


def activity_step(moment: int, line: ActivityLine) -> Step:
    """Return the statement that writes a line in a change."""
    return Step(_WRITE, dict(zip(_NAMES, line_values(moment, line), strict=True)))


class SeatRefusals(NamedTuple):
    """The refusals of one person for want of a seat: moments of the first and the last, how many, by a connection."""

    user_name: str
    connection_uid: str | None
    first: int
    last: int
    times: int


# Decisions are JSON as `Trace.line` writes it; `_` stands for itself and for any other character.
_REFUSED_FOR_SEAT = (
    "SELECT w.user_name, w.connection_uid, w.first_at, w.at, w.times"
    " FROM (SELECT user_key, MAX(user_name) AS user_name, MAX(connection_uid) AS connection_uid,"
    " MIN(COALESCE(first_at, at)) AS first_at, MAX(at) AS at, SUM(times) AS times"
    " FROM (SELECT * FROM activity WHERE organization_id = ? AND outcome = 'failure' AND at >= ?"
    f" ORDER BY at DESC, id DESC LIMIT {WINDOW}) refused WHERE status = 403 AND user_key IS NOT NULL"
    ' AND operation LIKE \'% /Users%\' AND decisions LIKE \'%"check_seats", "verdict": "denied"%\''
    " GROUP BY user_key) w"
    " WHERE NOT EXISTS (SELECT 1 FROM users u WHERE u.organization_id = ? AND u.user_name_key = w.user_key"
    " AND u.deleted = 0 AND u.active = 1)"
    " AND NOT EXISTS (SELECT 1 FROM activity later WHERE later.organization_id = ? AND later.user_key = w.user_key"
    " AND later.at > w.at AND later.outcome <> 'failure' AND later.operation NOT LIKE 'GET %')"
    " ORDER BY w.at DESC, w.user_key LIMIT ?"
)


class ActivityLog:
    """Stored activity lines."""

    def __init__(self, database: Database) -> None:
        self._db = database
        #: Organizations under a legal hold at the last pruning, and the key up to which all lines are theirs.
        self._held: frozenset[int] = frozenset()
        self._held_up_to = 0

    def add(self, lines: Sequence[tuple[int, ActivityLine]]) -> None:
        """Insert lines, each with its moment in microseconds."""
        self._db.insert(INTO, [line_values(moment, line) for moment, line in lines])

    def count(self, key: RefusalKey, count: RefusalCount) -> None:
        """Add refusals to the line of their connection, reason and minute, which another process may have inserted."""
        counter = self._db.one(
            "INSERT INTO gathered_refusals (minute, connection_uid, reason) VALUES (?, ?, ?)"
            " ON CONFLICT (minute, connection_uid, reason) DO UPDATE SET reason = excluded.reason"
            " RETURNING activity_id",
            *key,
        )
        if counter and counter[0]:
            updated = self._db.run(
                "UPDATE activity SET times = times + ?, at = CASE WHEN at < ? THEN ? ELSE at END,"
                " first_at = CASE WHEN first_at > ? THEN ? ELSE first_at END WHERE id = ?",
                *(count.times, count.last, count.last, count.first, count.first, counter[0]),
            )
            if updated:
                return
        values = (*line_values(count.last, count.line), count.times, count.first)
        into = INTO.replace(")", ", times, first_at)")
        inserted = self._db.one(
            f"INSERT INTO {into} VALUES ({','.join('?' * len(values))}) RETURNING id", *values
        )
        assert inserted is not None
        self._db.run(
            "UPDATE gathered_refusals SET activity_id = ? WHERE minute = ? AND connection_uid = ? AND reason = ?",
            inserted[0],
            *key,
        )
        self._db.run("DELETE FROM gathered_refusals WHERE minute < ?", key.minute - 60)

    def refuse_unless_writable(self) -> None:
        """Raise Outage if the database is read-only. Changes nothing."""
        self._db.run("DELETE FROM gathered_refusals WHERE minute < 0")

    def page(
        self, organization_id: int, before: tuple[int, int] | None, limit: int, *, outcome: str | None = None,
        user: str | None = None, connection: str | None = None,
    ) -> list[ActivityRecord]:  # fmt: skip
        """Return lines, the newest first, from the one before `before` (its moment and key) on.

        Ordered by moment, for the lines of reads are written a little after they happened.
        """
        selection = ActivityFilter(outcome, user, connection)
        return self._rows("organization_id = ?", [organization_id], "(at, id)", before, selection, limit)

    def search(
        self,
        organization_id: int | None,
        before: tuple[int, int] | None,
        limit: int,
        selection: ActivityFilter,
    ) -> ActivityPage:
        """Return a page of lines: of an organization the newest first, of all of them (None) the last written first.

        `before` is what the page before has as `next_start`. Filters that no index serves read `WINDOW` lines.
        """
        if organization_id is None:
            where, parameters, order = "1 = 1", [], "(id)"
        else:
            where, parameters, order = "organization_id = ?", [organization_id], "(at, id)"
        end = None
        if selection.scans or (organization_id is None and selection != ActivityFilter()):
            end = self._end_of_window(where, parameters, order, before, selection)
        rows = self._rows(where, parameters, order, before, selection, limit + 1, end)
        if len(rows) > limit:
            last = rows[limit - 1]
            return ActivityPage(rows[:limit], (last.at, last.id))
        return ActivityPage(rows, end)

    def _end_of_window(
        self,
        where: str,
        parameters: list[Any],
        order: str,
        before: tuple[int, int] | None,
        selection: ActivityFilter,
    ) -> tuple[int, int] | None:
        """Return moment and key of the last line of the window; None if the lines end within it."""
        if (
            selection.until is not None
            and order == "(at, id)"
            and (before is None or before[0] > selection.until)
        ):
            before = (selection.until, 0)
        compared, values = _compare_position(order, "<", before)
        found = self._db.one(
            f"SELECT at, id FROM activity WHERE {where}{compared}"
            f" ORDER BY {_descending(order)} LIMIT 1 OFFSET {WINDOW - 1}",
            *parameters,
            *values,
        )
        if found is None or (
            order == "(at, id)" and selection.since is not None and found[0] < selection.since
        ):
            return None
        return found[0], found[1]

    def _rows(
        self, where: str, parameters: list[Any], order: str, before: tuple[int, int] | None, selection: ActivityFilter,
        limit: int, end: tuple[int, int] | None = None,
    ) -> list[ActivityRecord]:  # fmt: skip
        conditions, values = selection.compile()
        above, upper = _compare_position(order, "<", before)
        below, lower = _compare_position(order, ">=", end)
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
        """Return the newest line of a request of the connection's identity provider, not of an admin, or None."""
        return next(iter(self.last_calls(organization_id, connection, 1, outcome)), None)

    def last_calls(
        self, organization_id: int, connection: str, limit: int, outcome: str | None = None
    ) -> list[ActivityRecord]:
        """Return the newest lines of requests of the connection's identity provider, not of admins.

        Of an outcome, reads the newest `WINDOW` lines of the connection at most.
        """
        bound = ""
        values: tuple[Any, ...] = ()
        if outcome is not None:
            bound = (
                " AND at >= COALESCE((SELECT at FROM activity WHERE organization_id = ? AND connection_uid = ?"
                f" ORDER BY at DESC, id DESC LIMIT 1 OFFSET {WINDOW}), 0)"
            )
            values = (organization_id, connection)
        rows = self._db.all(
            f"SELECT {COLUMNS} FROM activity WHERE organization_id = ? AND connection_uid = ?"
            " AND operation LIKE '% /%'"
            " AND operation NOT LIKE '% /organizations%' AND operation NOT LIKE '% /connections%'"
            f"{''.join(f' AND {sql}' for sql in _OUTCOMES[outcome])}{bound} ORDER BY at DESC, id DESC LIMIT ?",
            organization_id,
            connection,
            *values,
            limit,
        )
        return [ActivityRecord._make(row) for row in rows]

    def refused_for_seat(self, organization_id: int, since: int, limit: int) -> list[SeatRefusals]:
        """Return people whom identity providers were refused a seat for since a moment, the last refused first.

        Left out are those who are active by now, or of whom something was changed since. Reads the newest `WINDOW`
        refusals at most.
        """
        rows = self._db.all(
            _REFUSED_FOR_SEAT, organization_id, since, organization_id, organization_id, limit
        )
        return [
            SeatRefusals(name, connection, first, last, int(times))
            for name, connection, first, last, times in rows
        ]

    def find_line(self, organization_id: int, name: str) -> ActivityRecord | None:
        """Return the line of an id, or else the newest of a request id among the newest `WINDOW` lines."""
        if name.isdecimal() and len(name) < 19:
            row = self._db.one(
                f"SELECT {COLUMNS} FROM activity WHERE organization_id = ? AND id = ?",
                organization_id,
                int(name),
            )
            if row:
                return ActivityRecord._make(row)
        selection = ActivityFilter(request_id=name)
        page = self.search(organization_id, None, 1, selection)
        return page.lines[0] if page.lines else None

    def find_deletion(self, organization_id: int, user_name: str, uid: str) -> ActivityRecord | None:
        """Return the newest line of the deletion of a user, or None once it was pruned."""
        row = self._db.one(
            f"SELECT {COLUMNS} FROM activity WHERE organization_id = ? AND user_key = ? AND target_uid = ?"
            " AND status = 204 AND operation LIKE 'DELETE %' ORDER BY at DESC, id DESC LIMIT 1",
            organization_id,
            _key(user_name),
            uid,
        )
        return ActivityRecord._make(row) if row else None

    def prune(self, before: int, most: int = 1000) -> int:
        """Delete at most `most` of the oldest lines from before a moment; return how many were deleted.

        Lines are deleted in the order of insertion. A line whose moment is wrong, because a clock was ahead when it
        was inserted, goes with the lines that were inserted after it.
        """
        held = frozenset(row[0] for row in self._db.all("SELECT id FROM organizations WHERE legal_hold = 1"))
        if held != self._held:
            self._held, self._held_up_to = held, 0
        oldest = self._db.one(
            "SELECT at, id FROM activity WHERE id > ? ORDER BY id LIMIT 1", self._held_up_to
        )
        if oldest is None or most < 1:
            return 0
        at, first = oldest
        if at >= before and (at < now() + DAY or not self._has_older_after(first, before)):
            return 0
        reach = ""
        values: tuple[Any, ...] = ()
        if at < before:
            # Lines are written in the order of their moments, but for a second or so.
            reach, values = " AND at < ?", (before,)
        pruned = self._db.run(
            "DELETE FROM activity WHERE id IN (SELECT id FROM activity WHERE id > ? ORDER BY id LIMIT ?)"
            f" AND organization_id NOT IN {HELD}{reach}",
            self._held_up_to,
            most,
            *values,
        )
        if held:
            self._pass_held(most)
        return pruned

    def _pass_held(self, most: int) -> None:
        """Begin the next pruning behind the oldest lines, as far as they are of organizations under a legal hold."""
        for key, organization_id in self._db.all(
            "SELECT id, organization_id FROM activity WHERE id > ? ORDER BY id LIMIT ?",
            self._held_up_to,
            most,
        ):
            if organization_id not in self._held:
                return
            self._held_up_to = key

    def _has_older_after(self, first: int, before: int) -> bool:
        """Return whether a line inserted after line `first` is from before a moment; reads a few of them."""
        step = 1
        while row := self._db.one("SELECT at FROM activity WHERE id >= ? ORDER BY id LIMIT 1", first + step):
            if row[0] < before:
                return True
            step *= 2
        return False


def _key(user: str) -> str:
    """Return the key by which a user is found: as many folded characters as an index of PostgreSQL holds."""
    return fold(user)[:USER_LENGTH]


def line_values(moment: int, line: ActivityLine) -> tuple[Any, ...]:
    """Return the values of a line in the order of `INTO`; the moment is now if it is 0."""
    user = line.user
    return (
        line.organization_id, moment or now(), line.connection_uid, line.principal, line.operation, user,
        _key(user) if user else None, line.status, line.outcome, line.detail, line.ignored, line.decisions,
        line.request_id, line.target_uid, line.facts,
    )  # fmt: skip


def _descending(order: str) -> str:
    return "at DESC, id DESC" if order == "(at, id)" else "id DESC"


def _compare_position(order: str, sign: str, position: tuple[int, int] | None) -> tuple[str, tuple[int, ...]]:
    """Return the condition that a line is on one side of a position in the order, and its parameters."""
    if position is None:
        return "", ()
    return (
        (f" AND (at, id) {sign} (?, ?)", position)
        if order == "(at, id)"
        else (f" AND id {sign} ?", position[1:])
    )
