"""What the checks of a connection read beside its own row. All of it is bounded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gateway.store.engine.base import Database
from gateway.store.ids_and_time import HOUR
from gateway.store.records import TroubleRecord

#: Newest requests of a connection, refused requests of its organization, and different rows that one check reads.
CALLS, REFUSALS, DIFFERENT = 10_000, 2_000, 500
# What admins did to the connection has its id as well.
_BY_IDP = (
    "operation LIKE '% /%' AND operation NOT LIKE '% /organizations%' AND operation NOT LIKE '% /connections%'"
    " AND principal IS NOT NULL"
)


class Client(NamedTuple):
    """The client that called last with a valid token: its User-Agent, flags behind the base URL, hours since 1970."""

    agent: str
    flags: tuple[str, ...]
    hour: int


class RefusedRequest(NamedTuple):
    """A refused request of a connection, or several of one reason without a valid token."""

    at: int
    principal: str | None
    operation: str
    user: str | None
    target_uid: str | None
    status: int
    detail: str | None
    facts: str
    times: int


class CallGroup(NamedTuple):
    """Requests of a connection with a valid token that have these in common; `ignored` is a JSON array of names."""

    outcome: str
    #: Whether they are of the last cycle, and whether they are writes.
    recent: int
    write: int
    ignored: str
    n: int
    newest: int


class Warned(NamedTuple):
    """A cause that was warned of: since when it lasts, 0 once it is over, and when that was recorded last."""

    since: int
    recorded: int


#: The row that says when a connection was checked last: no cause has this name.
_CHECK = ""


class ConnectionHealth:
    """Reads for the checks of connections, and the clients that call them."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def record_clients(self, clients: Mapping[str, Client]) -> None:
        """Store the clients that called, by the public ids of their connections."""
        # In one order: nodes that update the same rows at once would otherwise deadlock.
        rows = [
            (client.agent, " ".join(client.flags), client.hour * HOUR, uid)
            for uid, client in sorted(clients.items())
        ]
        self._db.run_many(
            "INSERT INTO connection_clients (connection_id, agent, flags, at)"
            " SELECT id, ?, ?, ? FROM connections WHERE uid = ?"
            " ON CONFLICT (connection_id) DO UPDATE SET agent = excluded.agent, flags = excluded.flags,"
            " at = excluded.at",
            rows,
        )

    def client(self, connection_id: int) -> Client | None:
        """Return the client that called last, None before the first call."""
        row = self._db.one(
            "SELECT agent, flags, at FROM connection_clients WHERE connection_id = ?", connection_id
        )
        return Client(row[0], tuple(row[1].split()), row[2] // HOUR) if row else None

    def refusals(self, organization_id: int, connection_uid: str, since: int) -> list[RefusedRequest]:
        """Return refused requests of a connection since a moment, the newest first.

        Reads the newest `REFUSALS` of the organization.
        """
        columns = "at, principal, operation, user_name, target_uid, status, detail, facts, times"
        rows = self._db.all(
            f"SELECT {columns} FROM (SELECT {columns}, id, connection_uid FROM activity WHERE organization_id = ?"
            f" AND outcome = 'failure' AND at >= ? ORDER BY at DESC, id DESC LIMIT {REFUSALS}) refused"
            " WHERE connection_uid = ? AND operation LIKE '% /%' AND operation NOT LIKE '% /organizations%'"
            " AND operation NOT LIKE '% /connections%' ORDER BY at DESC, id DESC",
            organization_id,
            since,
            connection_uid,
        )
        return [RefusedRequest._make(row) for row in rows]

    def calls(
        self, organization_id: int, connection_uid: str, since: int, cycle_since: int
    ) -> list[CallGroup]:
        """Count the newest `CALLS` requests of a connection since a moment, grouped; `cycle_since`: its last cycle."""
        rows = self._db.all(
            "SELECT outcome, recent, is_write, ignored, CAST(SUM(times) AS BIGINT), MAX(at) FROM (SELECT outcome,"
            " CASE WHEN at >= ? THEN 1 ELSE 0 END AS recent,"
            " CASE WHEN operation LIKE 'GET %' THEN 0 ELSE 1 END AS is_write, ignored, times, at FROM activity"
            f" WHERE organization_id = ? AND connection_uid = ? AND at >= ? AND {_BY_IDP}"
            f" ORDER BY at DESC, id DESC LIMIT {CALLS}) newest"
            f" GROUP BY outcome, recent, is_write, ignored ORDER BY 5 DESC LIMIT {DIFFERENT}",
            cycle_since,
            organization_id,
            connection_uid,
            since,
        )
        return [CallGroup._make(row) for row in rows]

    def lost_domains(self, organization_id: int, limit: int) -> list[tuple[str, int | None]]:
        """Return domains of an organization whose proof was lost, and since when, by name."""
        rows = self._db.all(
            "SELECT name, lost_since FROM domains WHERE organization_id = ? AND state = 'lost' ORDER BY name LIMIT ?",
            organization_id,
            limit,
        )
        return [(name, since) for name, since in rows]

    # Warnings that are recorded as events ---------------------------------------------------------------------------

    def due(self, before: int, limit: int) -> list[int]:
        """Return the keys of connections that are on, were made before a moment, and were not checked since."""
        rows = self._db.all(
            "SELECT c.id FROM connections c LEFT JOIN connection_warnings w ON w.connection_id = c.id AND w.cause = ?"
            " WHERE c.provisioning = 1 AND c.created < ? AND COALESCE(w.recorded, 0) < ?"
            " ORDER BY COALESCE(w.recorded, 0), c.id LIMIT ?",
            *(_CHECK, before, before, limit),
        )
        return [row[0] for row in rows]

    def note_check(self, connection_id: int, moment: int) -> None:
        """Note when a connection was checked."""
        self.store_warning(connection_id, _CHECK, Warned(0, moment))

    def warnings(self, connection_id: int) -> dict[str, Warned]:
        """Return what was warned of, by cause."""
        rows = self._db.all(
            "SELECT cause, since, recorded FROM connection_warnings WHERE connection_id = ? AND cause <> ?",
            connection_id,
            _CHECK,
        )
        return {cause: Warned(since, recorded) for cause, since, recorded in rows}

    def troubles(self, organization_id: int, moment: int, limit: int) -> list[TroubleRecord]:
        """Return what an organization's connections are warned of, and what waits for an admin at `moment`.

        `removals_held` is there for each connection with held removals, `removals_rejected` for one whose removals are
        refused, `adoption_waiting` for that of the adoption that has waited longest. The oldest first; of connections
        that are switched on.
        """
        rows = self._db.all(
            "SELECT uid, name, cause, since, until FROM"
            " (SELECT c.uid, c.name, w.cause, w.since, 0 AS until FROM connections c"
            " JOIN connection_warnings w ON w.connection_id = c.id"
            " WHERE c.organization_id = ? AND c.provisioning = 1 AND w.cause <> ? AND w.since > 0"
            " UNION ALL SELECT c.uid, c.name, CASE h.state WHEN 'waiting' THEN 'removals_held'"
            " ELSE 'removals_rejected' END, h.since, COALESCE(h.until, 0)"
            " FROM connections c JOIN holds h ON h.connection_id = c.id"
            " WHERE c.organization_id = ? AND c.provisioning = 1"
            " AND (h.state = 'waiting' OR h.state = 'rejected' AND h.until > ?)"
            " UNION ALL SELECT c.uid, c.name, 'adoption_waiting', a.first, 0 FROM adoptions a"
            " JOIN connections c ON c.id = a.connection_id WHERE c.provisioning = 1 AND a.id ="
            " (SELECT MIN(id) FROM adoptions WHERE organization_id = ? AND state = 'waiting')) troubles"
            " ORDER BY since, uid, cause LIMIT ?",
            organization_id,
            _CHECK,
            organization_id,
            moment,
            organization_id,
            limit,
        )
        return [TroubleRecord._make(row) for row in rows]

    def store_warning(self, connection_id: int, cause: str, warned: Warned | None) -> None:
        """Store the row of a cause, or delete it (None)."""
        if warned is None:
            self._db.run(
                "DELETE FROM connection_warnings WHERE connection_id = ? AND cause = ?", connection_id, cause
            )
            return
        self._db.run(
            "INSERT INTO connection_warnings (connection_id, cause, since, recorded) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (connection_id, cause) DO UPDATE SET since = excluded.since, recorded = excluded.recorded",
            connection_id,
            cause,
            *warned,
        )
