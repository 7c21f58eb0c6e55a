"""Removals of connections counted by minute, and those that are held until an admin decides."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.store.engine.base import Database
from gateway.store.engine.statements import RowUpdate, Step
from gateway.store.records import HeldRemoval, HoldRecord

#: Counts removals in the open minute of a connection; no row when that is another minute, or they would be too many.
#: Every removal locks the row of its organization before, so no two of them wait for each other here.
COUNT_REMOVALS = RowUpdate(
    "brake",
    "brakes",
    (("n", "n + :people"),),
    "connection_id = :brake_connection AND minute = :minute AND n + :people <= most AND :go",
    ("n",),
)

#: States of a hold.
WAITING, ALLOWED, REJECTED = "waiting", "allowed", "rejected"


_HOLD = "connection_id, since, counted, most, state, decided_by, until, warned"
#: A held removal `h` of what is gone, inactive, protected or of another connection by now, or not to be adopted by this
#: one, so that it is made no more.
_OBSOLETE = (
    "CASE WHEN h.resource = 'User' THEN NOT EXISTS (SELECT 1 FROM users u WHERE u.uid = h.uid AND u.deleted = 0"
    " AND u.protected = 0 AND (u.connection_id IS NULL OR u.connection_id = h.connection_id)"
    " AND (u.active = 1 OR h.action <> 'deactivate') AND NOT EXISTS (SELECT 1 FROM adoptions a"
    " WHERE a.connection_id = h.connection_id AND a.user_id = u.id AND a.state = 'rejected'))"
    " ELSE NOT EXISTS (SELECT 1 FROM groups g WHERE g.uid = h.uid"
    " AND (g.connection_id IS NULL OR g.connection_id = h.connection_id)) END"
)
_HELD = "resource, uid, name, action, people, first, last, tries, allowed"


class Brakes:
    """Counts the removals of connections."""

    def __init__(self, database: Database) -> None:
        self._db = database

    @staticmethod
    def step(connection_id: int, minute: int, people: int) -> Step:
        """Return the statement that counts removals, as one of a change."""
        return Step(COUNT_REMOVALS, {"brake_connection": connection_id, "minute": minute, "people": people})

    def count(self, connection_id: int, minute: int, people: int, minutes: int, limit: int) -> int | None:
        """Count removals in a transaction that holds the organization's lock, unless they would be too many.

        `limit` is how many there may be in so many `minutes`. Returns None, or how many there were before that.
        """
        row = self._db.one("SELECT minute, n, most FROM brakes WHERE connection_id = ?", connection_id)
        if row is None:
            self._db.run(
                "INSERT INTO brakes (connection_id, minute, n, most) VALUES (?, ?, 0, ?)",
                connection_id,
                minute,
                limit,
            )
            row = (minute, 0, limit)
        opened, n, _ = row
        # The clock of another node may be ahead.
        minute = max(minute, opened)
        if opened < minute and n:
            self._db.run(
                "INSERT INTO removals (connection_id, minute, n) VALUES (?, ?, ?)"
                " ON CONFLICT (connection_id, minute) DO UPDATE SET n = removals.n + excluded.n",
                connection_id,
                opened,
                n,
            )
        if opened < minute:
            n = 0
            self._db.run(
                "DELETE FROM removals WHERE connection_id = ? AND minute <= ?",
                connection_id,
                minute - minutes,
            )
        before = self._earlier(connection_id)
        most = max(0, limit - before)
        counted = n + people <= most
        self._db.run(
            "UPDATE brakes SET minute = ?, n = ?, most = ? WHERE connection_id = ?",
            minute,
            n + people if counted else n,
            most,
            connection_id,
        )
        return None if counted else before + n

    def _earlier(self, connection_id: int) -> int:
        row = self._db.one("SELECT SUM(n) FROM removals WHERE connection_id = ?", connection_id)
        return int(row[0] or 0) if row else 0

    def close(self, connection_id: int) -> None:
        """Have every removal ask for the hold: none is counted in the open minute any more."""
        self._db.run("UPDATE brakes SET most = 0 WHERE connection_id = ?", connection_id)

    def clear(self, connection_id: int) -> None:
        """Forget the removals of a connection and its hold: counting begins anew."""
        for table in ("brakes", "removals", "holds", "held_removals"):
            self._db.run(f"DELETE FROM {table} WHERE connection_id = ?", connection_id)
        self._mark(connection_id, 0)

    def _mark(self, connection_id: int, holds: int) -> None:
        """Note whether a connection holds removals in its own row, which each of its requests reads."""
        self._db.run(
            "UPDATE connections SET holds_removals = ? WHERE id = ? AND holds_removals <> ?",
            holds,
            connection_id,
            holds,
        )

    # Holds ----------------------------------------------------------------------------------------------------------

    def hold(self, connection_id: int, moment: int) -> HoldRecord | None:
        """Return the hold of a connection; None where it has none, or the decision on it is over at `moment`."""
        row = self._db.one(
            f"SELECT {_HOLD} FROM holds WHERE connection_id = ? AND (until IS NULL OR until > ?)",
            connection_id,
            moment,
        )
        return HoldRecord._make(row) if row else None

    def end_decision(self, connection_id: int, moment: int) -> None:
        """Clear what is stored of a connection where the decision on its hold is over at `moment`."""
        row = self._db.one(
            "SELECT 1 FROM holds WHERE connection_id = ? AND until <= ?", connection_id, moment
        )
        if row:
            self.clear(connection_id)

    def withdraw_permission(self, connection_id: int, moment: int) -> None:
        """End what an admin allowed: all removals are counted anew, or those that were chosen wait again."""
        hold = self.hold(connection_id, moment)
        if hold and hold.state == ALLOWED:
            self.clear(connection_id)
        elif hold:
            self._db.run("UPDATE held_removals SET allowed = 0 WHERE connection_id = ?", connection_id)

    def open_hold(self, connection_id: int, moment: int, counted: int, most: int) -> None:
        """Begin a hold of all removals."""
        self._db.run(
            f"INSERT INTO holds ({_HOLD}) VALUES (?, ?, ?, ?, '{WAITING}', NULL, NULL, ?)",
            connection_id,
            moment,
            counted,
            most,
            moment,
        )

    def decide(self, connection_id: int, state: str, decided_by: str | None, until: int | None) -> None:
        """Store what an admin decided on a hold."""
        self._db.run(
            "UPDATE holds SET state = ?, decided_by = ?, until = ? WHERE connection_id = ?",
            state,
            decided_by,
            until,
            connection_id,
        )

    def unwarned(self, before: int, limit: int) -> list[tuple[int, int, HoldRecord]]:
        """Return holds that wait and were warned of before a moment: organization, connection, hold."""
        rows = self._db.all(
            f"SELECT c.organization_id, c.id, {', '.join(f'h.{name}' for name in _HOLD.split(', '))} FROM holds h"
            f" JOIN connections c ON c.id = h.connection_id WHERE h.state = '{WAITING}' AND h.warned < ?"
            " ORDER BY h.warned LIMIT ?",
            before,
            limit,
        )
        return [(row[0], row[1], HoldRecord._make(row[2:])) for row in rows]

    def note_warning(self, hold: HoldRecord, moment: int) -> bool:
        """Note that a hold was warned of, unless it was since it was read, or was decided on; return whether."""
        changed = self._db.run(
            f"UPDATE holds SET warned = ? WHERE connection_id = ? AND warned = ? AND state = '{WAITING}'",
            moment,
            hold.connection_id,
            hold.warned,
        )
        return changed > 0

    # Held removals ----------------------------------------------------------------------------------------------------

    def held(self, connection_id: int, resource: str, uid: str) -> HeldRemoval | None:
        """Return the held removal of a user or group."""
        row = self._db.one(
            f"SELECT {_HELD} FROM held_removals WHERE connection_id = ? AND resource = ? AND uid = ?",
            connection_id,
            resource,
            uid,
        )
        return HeldRemoval._make(row) if row else None

    def keep(self, connection_id: int, removal: HeldRemoval) -> None:
        """Store a held removal, or that it was tried again."""
        self._db.run(
            f"INSERT INTO held_removals (connection_id, {_HELD}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, 0)"
            " ON CONFLICT (connection_id, resource, uid) DO UPDATE SET tries = held_removals.tries + 1,"
            " last = excluded.last, action = excluded.action, people = excluded.people, name = excluded.name",
            connection_id,
            *removal[:7],
        )
        self._mark(connection_id, 1)

    def drop(self, connection_id: int, resource: str, uid: str) -> None:
        """Forget a held removal."""
        self._db.run(
            "DELETE FROM held_removals WHERE connection_id = ? AND resource = ? AND uid = ?",
            connection_id,
            resource,
            uid,
        )

    def lower(self, connection_id: int, resource: str, uid: str, people: int) -> None:
        """Count a held removal for so many people less."""
        self._db.run(
            "UPDATE held_removals SET people = people - ? WHERE connection_id = ? AND resource = ? AND uid = ?",
            people,
            connection_id,
            resource,
            uid,
        )

    def end_hold(self, connection_id: int) -> None:
        """Forget a hold of which nothing waits any more: what was removed before it still counts."""
        self._db.run("DELETE FROM holds WHERE connection_id = ?", connection_id)
        self._mark(connection_id, 0)

    def outdated(self, limit: int) -> list[tuple[int, int]]:
        """Return organization and connection of holds with removals that are made no more, or that wait for none."""
        return self._db.all(
            "SELECT DISTINCT c.organization_id, c.id FROM holds w JOIN connections c ON c.id = w.connection_id"
            " LEFT JOIN held_removals h ON h.connection_id = w.connection_id"
            f" WHERE CASE WHEN h.uid IS NULL THEN w.state = '{WAITING}' ELSE {_OBSOLETE} END LIMIT ?",
            limit,
        )

    def drop_obsolete(self, connection_id: int) -> None:
        """Forget held removals of users and groups that are removed already, or no longer of the connection."""
        self._db.run(
            f"DELETE FROM held_removals AS h WHERE h.connection_id = ? AND {_OBSOLETE}", connection_id
        )

    def allow(self, connection_id: int, uids: Sequence[str]) -> set[str]:
        """Let held removals pass when they are tried again; return which of those are held."""
        rows = self._db.among(
            uids,
            lambda marks: (
                f"UPDATE held_removals SET allowed = 1 WHERE connection_id = ? AND uid IN ({marks}) RETURNING uid"
            ),
            connection_id,
        )
        return {row[0] for row in rows}

    def count_held(self, connection_id: int, allowed: int | None = None) -> int:
        """Return how many removals are held, or how many of those are allowed (1) or not (0)."""
        condition = "" if allowed is None else f" AND allowed = {int(allowed)}"
        row = self._db.one(
            f"SELECT COUNT(*) FROM held_removals WHERE connection_id = ?{condition}", connection_id
        )
        return int(row[0]) if row else 0

    def page(self, connection_id: int, limit: int) -> list[HeldRemoval]:
        """Return held removals, the first ones first."""
        rows = self._db.all(
            f"SELECT {_HELD} FROM held_removals WHERE connection_id = ? ORDER BY first, uid LIMIT ?",
            connection_id,
            limit,
        )
        return [HeldRemoval._make(row) for row in rows]
