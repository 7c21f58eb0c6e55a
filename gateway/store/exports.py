"""Exports of an organization: which tables and columns belong to it, and their rows in portions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gateway.store.engine.base import Database
from gateway.store.events import position
from gateway.store.ids_and_time import rfc3339

#: Rows that one statement reads.
ROWS = 1000

_OWN = "organization_id = :key"
_OF_CONNECTIONS = "connection_id IN (SELECT id FROM connections WHERE organization_id = :key)"
_OF_GROUPS = "group_id IN (SELECT id FROM groups WHERE organization_id = :key)"


@dataclass(frozen=True)
class ExportedTable:
    """A table of which the rows of one organization are exported, in the order of `key`.

    `json` names the columns that hold JSON, `moments` those of microseconds, which are exported as RFC 3339.
    """

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...] = ("id",)
    where: str = _OWN
    json: frozenset[str] = frozenset()
    moments: frozenset[str] = frozenset()


def _table(
    name: str, columns: str, key: str = "id", where: str = _OWN, json: str = "", moments: str = ""
) -> ExportedTable:
    return ExportedTable(
        name,
        tuple(columns.split()),
        tuple(key.split()),
        where,
        frozenset(json.split()),
        frozenset(moments.split()),
    )


#: In the order in which they refer to each other.
TABLES = (
    _table(
        "organizations",
        "id uid name plan domains seat_limit seats_used payment billing_url contact_url sso event_seq legal_hold"
        " outside_domains created modified version",
        where="id = :key",
        json="domains sso",
        moments="created modified",
    ),
    _table(
        "connections",
        "id uid slug idp name settings provisioning mapping_enabled mapping_attribute brake pause adoption"
        " watched_until created modified version",
        json="settings brake pause",
        moments="created modified watched_until",
    ),
    _table(
        "tokens",
        "uid connection_id label prefix created expires last_used",
        "id",
        _OF_CONNECTIONS,
        moments="created expires last_used",
    ),
    _table(
        "admin_tokens",
        "uid name prefix scope created expires last_used",
        moments="created expires last_used",
    ),
    _table(
        "console_links",
        "uid kind email person role rights return_url created created_by expires used used_from revoked",
        moments="created expires used revoked",
    ),
    _table(
        "users",
        "id uid connection_id user_name external_id active deleted protected display doc created modified version",
        json="doc",
        moments="created modified",
    ),
    _table(
        "groups",
        "id uid connection_id name external_id members doc created modified version",
        json="doc",
        moments="created modified",
    ),
    _table("grants", "group_id user_id source", "group_id user_id source", _OF_GROUPS),
    _table("waiting_members", "group_id user_uid", "group_id user_uid", _OF_GROUPS),
    _table("mapping_rules", "id connection_id value group_id", "id", _OF_CONNECTIONS),
    _table(
        "removed_grants",
        "user_id group_id source at",
        "user_id group_id source",
        moments="at",
    ),
    _table(
        "holds",
        "connection_id since counted most state decided_by until warned",
        "connection_id",
        _OF_CONNECTIONS,
        moments="since until warned",
    ),
    _table(
        "held_removals",
        "connection_id resource uid name action people first last tries allowed",
        "connection_id resource uid",
        _OF_CONNECTIONS,
        moments="first last",
    ),
    _table(
        "adoptions",
        "uid connection_id user_id found_by risk first last tries state decided_by decided",
        moments="first last decided",
    ),
    _table(
        "domains",
        "name state token verified_by verified checked lost_since problem created",
        moments="verified checked lost_since created",
    ),
    _table(
        "erasures",
        "uid at erased_by reason state",
        "uid",
        moments="at",
    ),
    _table(
        "connection_warnings",
        "connection_id cause since recorded",
        "connection_id cause",
        _OF_CONNECTIONS,
        moments="since recorded",
    ),
    _table(
        "connection_clients", "connection_id agent flags at", "connection_id", _OF_CONNECTIONS, moments="at"
    ),
    _table(
        "webhooks",
        "id uid owner url format types state reason failing_since succeeded created created_by modified version",
        moments="failing_since succeeded created modified",
    ),
    _table(
        "webhook_attempts",
        "webhook_id seq type message_id at outcome status ms error response",
        moments="at",
    ),
    _table(
        "imports",
        "uid created created_by expires state absent columns row_count done summary",
        json="columns summary",
        moments="created expires",
    ),
    _table("hourly_calls", "hour done partial refused seats_used seat_limit", "hour"),
    _table(
        "events",
        "seq type at resource resource_uid connection_uid data",
        where="id > :first AND id < :last",
        json="data",
        moments="at",
    ),
    _table(
        "activity",
        "at connection_uid principal operation user_name status outcome detail ignored decisions request_id"
        " target_uid facts times first_at",
        "at id",
        json="ignored decisions facts",
        moments="at first_at",
    ),
    _table(
        "traces",
        "request_id at connection_uid user_uid request response steps",
        json="request response steps",
        moments="at",
    ),
)

_DERIVED = "computed from what is exported"
_PROCESSES = "the state of processes of this deployment"
_SHORT = "gone within a day"
#: Tables of which nothing is exported, and why.
NOT_EXPORTED = {
    "brakes": _SHORT,
    "console_sessions": _SHORT,
    "deliveries": _PROCESSES,
    "emails": _DERIVED,
    "feed_state": _PROCESSES,
    "gathered_refusals": _DERIVED,
    "import_rows": _SHORT,
    "listeners": _PROCESSES,
    "long_changes": _PROCESSES,
    "publications": _PROCESSES,
    "published_events": _PROCESSES,
    "removals": _SHORT,
    "revoked_tokens": "digests of tokens",
    "schema_migration": _PROCESSES,
    "signing_keys": "private keys of the deployment",
    "tallies": _DERIVED,
    "user_blocks": _DERIVED,
    "walks": _SHORT,
    "webhook_parked": _PROCESSES,
    "webhook_positions": _PROCESSES,
}


class Exports:
    """Reads the rows of one organization."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def count(self, organization_id: int, table: ExportedTable) -> int:
        """Return how many rows a table has of an organization."""
        where, parameters = _condition(organization_id, table)
        row = self._db.one(f"SELECT COUNT(*) FROM {table.name} WHERE {where}", *parameters)
        return int(row[0]) if row else 0

    def rows(self, organization_id: int, table: ExportedTable) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows of a table as JSON objects, in portions; each is a statement of its own."""
        where, parameters = _condition(organization_id, table)
        keys, marks = ", ".join(table.key), ", ".join("?" * len(table.key))
        read = f"SELECT {keys}, {', '.join(table.columns)} FROM {table.name} WHERE {where}"
        behind: tuple[Any, ...] = ()
        while True:
            after = f" AND ({keys}) > ({marks})" if behind else ""
            found = self._db.all(f"{read}{after} ORDER BY {keys} LIMIT {ROWS}", *parameters, *behind)
            if found:
                yield [_row_json(table, row[len(table.key) :]) for row in found]
            if len(found) < ROWS:
                return
            behind = found[-1][: len(table.key)]


def _condition(organization_id: int, table: ExportedTable) -> tuple[str, tuple[int, ...]]:
    if ":first" in table.where:
        parameters = position(organization_id, 0), position(organization_id + 1, 0)
        return table.where.replace(":first", "?").replace(":last", "?"), parameters
    return table.where.replace(":key", "?"), (organization_id,)


def _row_json(table: ExportedTable, values: tuple[Any, ...]) -> dict[str, Any]:
    row = dict(zip(table.columns, values, strict=True))
    for name in table.json:
        if row[name] is not None:
            row[name] = json.loads(row[name])
    for name in table.moments:
        if row[name] is not None:
            row[name] = rfc3339(row[name])
    return row
