"""Organizations: the tenants, their seats, and the counters by which changes reserve and conflict."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gateway.scim.errors import NotFound
from gateway.scim.json_text import fold
from gateway.store.engine.base import Database
from gateway.store.engine.statements import RowUpdate, Statement, Step
from gateway.store.events import position
from gateway.store.ids_and_time import new_id, now
from gateway.store.publications import CLOSE
from gateway.store.records import OrganizationRecord

COLUMNS = (
    "o.id, o.uid, o.name, o.plan, o.domains, o.seat_limit, o.seats_used, o.payment, o.billing_url, o.contact_url, "
    "o.sso, o.policy, o.created, o.modified, o.version, o.moves, o.legal_hold, o.outside_domains"
)
#: Organizations that one statement reads when a name is searched.
_AT_ONCE = 500
_EDITABLE = (
    "name",
    "plan",
    "domains",
    "seat_limit",
    "payment",
    "billing_url",
    "contact_url",
    "sso",
    "legal_hold",
    "outside_domains",
)
#: The key of the next organization, never that of a removed one: published numbers and the memory of processes name it.
_NEXT_KEY = (
    "MAX(COALESCE((SELECT MAX(id) FROM organizations), 0),"
    " COALESCE((SELECT MAX(organization_id) FROM publications), 0)) + 1"
)
#: Stands for «no ceiling» where a number is compared.
UNLIMITED = 1 << 62


class Reservation(NamedTuple):
    """What a change needs of an organization: seats (negative when it frees some), and numbers for its events.

    `policy` and `ceiling` are those by which the change was decided; the ceiling counts only if it takes seats.
    """

    organization_id: int
    policy: int
    seats: int
    events: int
    ceiling: int | None = None
    #: How many users it deletes.
    removals: int = 0
    #: How many changes it makes of who is in which group, or of a group's name.
    moves: int = 0

    def step(self, statement: RowUpdate, moves: int = 0) -> Step:
        """Return the statement that reserves it. `moves`: the number that `RESERVE_UNMOVED` compares."""
        ceiling = UNLIMITED if self.ceiling is None or self.seats <= 0 else self.ceiling
        values = {
            "tenant": self.organization_id, "policy": self.policy, "seats": self.seats, "events": self.events,
            "ceiling": ceiling, "removals": self.removals, "moves": self.moves, "moves_before": moves,
        }  # fmt: skip
        return Step(statement, values)


#: Reserves seats and event numbers, and counts what the change does. Returns the number of the last event; no row when
#: the policy is no longer the one that the change was decided by, or the ceiling is too low.
RESERVE = RowUpdate(
    "reserve",
    "organizations",
    (
        ("event_seq", "event_seq + :events"),
        ("seats_used", "seats_used + :seats"),
        ("removals", "removals + :removals"),
        ("moves", "moves + :moves"),
    ),
    "id = :tenant AND policy = :policy AND seats_used + :seats <= :ceiling",
    ("event_seq",),
)
#: The same for a change whose other statements have to see all users that were deleted.
RESERVE_FOR_NEW = RESERVE._replace(fresh=("removals",))
#: The same for a change that names the groups of a user as they were when the organization had made so many moves.
RESERVE_UNMOVED = RESERVE._replace(where=f"{RESERVE.where} AND moves = :moves_before")
_TALLIES = "tallies (organization_id, resource, connection, n)"
_COUNT = " ON CONFLICT (organization_id, resource, connection) DO UPDATE SET n = tallies.n + excluded.n"
_TALLY = Statement(
    "tally", f"INSERT INTO {_TALLIES} SELECT :tenant, :resource, :connection, :by WHERE :go{_COUNT}"
)


def tally_steps(organization_id: int, counts: Mapping[tuple[str, int | None], int]) -> list[Step]:
    """Return the statements that keep the tallies of connections (None: of no connection), by resource type."""
    return [
        Step(
            _TALLY._replace(name=f"tally_{number}") if number else _TALLY,
            {"tenant": organization_id, "resource": resource, "connection": connection_id or 0, "by": by},
        )
        for number, ((resource, connection_id), by) in enumerate(counts.items())
    ]


#: The keys of organizations under a legal hold: nothing of them is pruned.
HELD = "(SELECT id FROM organizations WHERE legal_hold = 1)"


class Organizations:
    """All organizations. What is inside one is reached through it."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, values: Mapping[str, Any]) -> OrganizationRecord:
        """Insert an organization; `values` are given by column name."""
        moment, key = now(), "DEFAULT" if self._db.dialect.counts_keys else _NEXT_KEY
        row = self._db.one(
            "INSERT INTO organizations (id, uid, name, plan, domains, seat_limit, seats_used, payment, billing_url,"
            " contact_url, policy, event_seq, removals, moves, created, modified, version)"
            f" VALUES ({key}, ?, ?, ?, ?, ?, 0, ?, ?, ?, 1, 0, 0, 0, ?, ?, 1) RETURNING id",
            new_id(),
            values["name"],
            values["plan"],
            json.dumps(values["domains"]),
            values["seat_limit"],
            values["payment"],
            values["billing_url"],
            values["contact_url"],
            moment,
            moment,
        )
        assert row is not None
        return self.by_key(row[0])

    def by_key(self, key: int) -> OrganizationRecord:
        """By the key that other rows refer to. Refuses once it was removed."""
        row = self._db.one(f"SELECT {COLUMNS} FROM organizations o WHERE o.id = ?", key)
        if row is None:
            raise NotFound("This organization was removed meanwhile.")
        return OrganizationRecord._make(row)

    def by_id(self, uid: str) -> OrganizationRecord | None:
        """By its public id."""
        row = self._db.one(f"SELECT {COLUMNS} FROM organizations o WHERE o.uid = ?", uid)
        return OrganizationRecord._make(row) if row else None

    def present(self, keys: Sequence[int]) -> set[int]:
        """Those of the keys whose organizations were not removed, and will not be before this transaction ends."""
        rows = self._db.among(
            keys,
            lambda marks: f"SELECT id FROM organizations WHERE id IN ({marks}){self._db.dialect.keep}",
        )
        return {row[0] for row in rows}

    def page(self, after: int, limit: int) -> list[OrganizationRecord]:
        """In the order of making."""
        rows = self._db.all(
            f"SELECT {COLUMNS} FROM organizations o WHERE o.id > ? ORDER BY o.id LIMIT ?", after, limit
        )
        return [OrganizationRecord._make(row) for row in rows]

    def found(self, q: str, after: int, limit: int) -> list[OrganizationRecord]:
        """Organizations whose name holds a text, letter case aside, or whose id it is, in the order of making."""
        key = fold(q)
        matching: list[OrganizationRecord] = []
        while len(matching) < limit:
            rows = self.page(after, _AT_ONCE)
            matching += [row for row in rows if key in fold(row.name) or row.uid == q]
            if len(rows) < _AT_ONCE:
                break
            after = rows[-1].id
        return matching[:limit]

    def names(self, keys: Sequence[int]) -> dict[int, dict[str, str]]:
        """Id and name of each, by the key that other rows refer to."""
        rows = self._db.among(
            keys, lambda marks: f"SELECT id, uid, name FROM organizations WHERE id IN ({marks})"
        )
        return {key: {"id": uid, "name": name} for key, uid, name in rows}

    def edit(self, organization: OrganizationRecord, values: Mapping[str, Any]) -> OrganizationRecord:
        """Change columns. Plugins are asked again afterwards, hence `policy`."""
        columns = [name for name in _EDITABLE if name in values]
        sets = "".join(f"{name} = ?, " for name in columns)
        self._db.run(
            f"UPDATE organizations SET {sets}policy = policy + 1, version = version + 1, modified = ? WHERE id = ?",
            *(json.dumps(values[name]) if name == "domains" else values[name] for name in columns),
            now(),
            organization.id,
        )
        return self.by_key(organization.id)

    def touch_policy(self, organization_id: int) -> int:
        """Make every answer that plugins gave until now stale; the new policy number.

        Also locks the organization against other writers.
        """
        row = self._db.one(
            "UPDATE organizations SET policy = policy + 1 WHERE id = ? RETURNING policy", organization_id
        )
        return row[0] if row else 0

    def reserve(self, reservation: Reservation) -> int | None:
        """Reserve seats and event numbers in one statement, and return the last number. Only for data that is imported.

        None when the policy is no longer that of the reservation, or the ceiling is too low: nothing was changed then.
        """
        row = self._db.run_change([reservation.step(RESERVE)])
        return row[0] if row else None

    def tally(self, organization_id: int, resource: str) -> int:
        """Return the sum of the tallies of all connections and of none."""
        row = self._db.one(
            "SELECT SUM(n) FROM tallies WHERE organization_id = ? AND resource = ?", organization_id, resource
        )
        return int(row[0] or 0) if row else 0

    def count(self, organization_id: int, resource: str, connection_id: int | None, by: int) -> None:
        """Keep the tally of what a connection (or nobody) manages."""
        self._db.run_change(tally_steps(organization_id, {(resource, connection_id): by}))

    def tally_of_connection(self, organization_id: int, resource: str, connection_id: int) -> int:
        """Return how many users or groups a connection manages."""
        row = self._db.one(
            "SELECT n FROM tallies WHERE organization_id = ? AND resource = ? AND connection = ?",
            organization_id,
            resource,
            connection_id,
        )
        return row[0] if row else 0

    def close(self, organization: OrganizationRecord) -> None:
        """Close it before it is removed: no token opens it any longer, and a request that came in before notices."""
        connections = "(SELECT id FROM connections WHERE organization_id = ?)"
        self._db.run(f"DELETE FROM tokens WHERE connection_id IN {connections}", organization.id)
        self._db.run("DELETE FROM admin_tokens WHERE organization_id = ?", organization.id)
        self._db.run("DELETE FROM console_links WHERE organization_id = ?", organization.id)
        self._db.run("DELETE FROM console_sessions WHERE organization_id = ?", organization.id)
        self._db.run("UPDATE connections SET provisioning = 0 WHERE organization_id = ?", organization.id)
        self.touch_policy(organization.id)

    def remove_some(self, organization: OrganizationRecord, most: int) -> int:
        """Remove some of what an organization has very many of: of one table so many rows at most; how many it were."""
        key = organization.id
        for table, column, where, parameters in (
            ("events", "id", "id >= ? AND id < ?", (position(key, 0), position(key + 1, 0))),
            ("activity", "id", "organization_id = ?", (key,)),
            ("emails", "value_key", "organization_id = ?", (key,)),
        ):
            tenant = "organization_id = ? AND " if table == "emails" else ""
            gone = self._db.run(
                f"DELETE FROM {table} WHERE {tenant}{column} IN"
                f" (SELECT {column} FROM {table} WHERE {where} ORDER BY {column} LIMIT ?)",
                *((key,) if tenant else ()),
                *parameters,
                most,
            )
            if gone:
                return gone
        own = "SELECT id FROM webhooks WHERE organization_id = ?"
        attempts = f"SELECT id FROM webhook_attempts WHERE webhook_id IN ({own}) LIMIT ?"
        if gone := self._db.run(f"DELETE FROM webhook_attempts WHERE id IN ({attempts})", key, most):
            return gone
        users = self._db.all("SELECT id FROM users WHERE organization_id = ? LIMIT ?", key, most)
        keys = [row[0] for row in users]
        for table, column in (("grants", "user_id"), ("users", "id")):
            self._db.among(
                keys,
                lambda marks, t=table, c=column: f"DELETE FROM {t} WHERE {c} IN ({marks}) RETURNING 1",  # type: ignore[misc]
            )
        return len(keys)

    def remove(self, organization: OrganizationRecord) -> None:
        """Remove an organization and all that is in it, in the order of the references."""
        connections = "(SELECT id FROM connections WHERE organization_id = ?)"
        users = "(SELECT id FROM users WHERE organization_id = ?)"
        for table, where in (
            ("walks", f"connection_id IN {connections}"),
            ("user_blocks", "organization_id = ?"),
            ("mapping_rules", f"connection_id IN {connections}"),
            ("grants", f"user_id IN {users}"),
            ("emails", "organization_id = ?"),
            ("users", "organization_id = ?"),
            ("groups", "organization_id = ?"),
            ("tokens", f"connection_id IN {connections}"),
            ("connections", "organization_id = ?"),
            # What webhooks of all organizations hold of it. Attempts name no person, and go after some days.
            ("webhook_positions", "organization_id = ?"),
            ("webhook_parked", "organization_id = ?"),
            ("webhooks", "organization_id = ?"),
            ("organizations", "id = ?"),
        ):
            self._db.run(f"DELETE FROM {table} WHERE {where}", organization.id)
        # This row stays, so that no other organization is given the key.
        self._db.run(CLOSE, organization.id)
