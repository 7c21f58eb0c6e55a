"""Users and groups in filters and sort keys: attributes that have a column, and those that are joined rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from gateway.scim.errors import InvalidFilter
from gateway.scim.json_text import read_datetime
from gateway.store.ids_and_time import microseconds
from gateway.store.records import ListedGroup, ListedUser


@dataclass(frozen=True)
class Column:
    """An attribute that has a column: the SQL that reads it, and the conversion of a filter's value for it."""

    sql: str
    convert: Callable[[Any], Any] | None = None
    nullable: bool = False


def _read_moment(value: Any) -> int:
    from_text = read_datetime(value) if isinstance(value, str) else None
    if from_text is None:
        raise InvalidFilter(f"{value!r} is not a date and time such as 2026-11-24T08:00:00Z.")
    return microseconds(from_text)


def _strip_digest(value: Any) -> Any:
    """Return an entity tag without the digest of groups, which is not stored; only the version is compared."""
    return re.sub(r'^(W/"\d+)-[0-9a-f]+"$', r'\1"', value) if isinstance(value, str) else value


class Reach(IntEnum):
    """The number of resources that may have to be read to answer a filter, ascending."""

    #: No resource can meet the filter.
    EMPTY = 0
    #: The resources with one of the values in the filter, found by an index.
    NAMED = 1
    #: A range of an index, of any length.
    RANGE = 2
    #: All resources that are visible to the connection.
    ALL = 3


@dataclass(frozen=True)
class Lookup:
    """A comparison that an index answers: a SELECT of keys; `{values}` stands for the placeholders of the values."""

    sql: str
    #: Its parameters in their order: organization (key), connection (key), values.
    given: tuple[str, ...] = ("organization", "values")
    reach: Reach = Reach.NAMED
    #: Whether letter case matters.
    exact: bool = False
    #: The only value that the lookup answers, or None for any text.
    constant: bool | None = None
    #: True if the keys are exactly those of the visible resources that meet the comparison.
    answers: bool = False


@dataclass(frozen=True)
class Table:
    """The storage of one resource type."""

    name: str
    columns: str
    record: Any
    alive: str
    by_path: dict[str, Column]
    #: Attributes that are rows of another table: a FROM … WHERE of those visible to the connection (its parameter),
    #: and the SQL of each sub-attribute as it is compared.
    joined: dict[str, tuple[str, dict[str, str]]]
    #: A column that counts the joined rows in a representation, and the approximate bytes of each there.
    counted: tuple[str, int] | None = None
    #: Comparisons that an index answers: by the dotted name alone where it is `eq`, else followed by the operator.
    lookups: dict[str, Lookup] = field(default_factory=dict)


_COMMON = {
    "id": Column("{t}.uid"),
    "externalid": Column("{t}.external_id", nullable=True),
    "meta.created": Column("{t}.created", _read_moment),
    "meta.lastmodified": Column("{t}.modified", _read_moment),
    "meta.version": Column("""('W/"' || {t}.version || '"')""", _strip_digest),
}
_USERS = "SELECT id FROM users WHERE organization_id = ? AND deleted = 0"
# `+`: the range decides which index is used, and the index holds the connection too.
_VISIBLE = f"{_USERS} AND (+connection_id = ? OR +connection_id IS NULL)"


def _modified_lookup(op: str) -> Lookup:
    given = "organization", "connection", "values"
    return Lookup(f"{_VISIBLE} AND modified {op} {{values}}", given, Reach.RANGE, answers=True)


_EMAILS = Lookup("SELECT user_id AS id FROM emails WHERE organization_id = ? AND value_key IN ({values})")
_EXTERNAL = (
    "SELECT id FROM groups WHERE connection_id {} AND external_id IS NOT NULL AND external_id IN ({{values}})"
)
# CROSS JOIN: SQLite goes from the resource that is named to its rows, never the other way.
_BELONGING = Lookup(
    "SELECT r.user_id AS id FROM groups g CROSS JOIN grants r WHERE r.group_id = g.id AND g.uid IN ({values})",
    ("values",),
    Reach.RANGE,
    exact=True,
)
_HOLDING = Lookup(
    "SELECT r.group_id AS id FROM users u CROSS JOIN grants r WHERE r.user_id = u.id AND u.uid IN ({values})",
    ("values",),
    exact=True,
)
USERS = Table(
    name="users",
    columns=", ".join(ListedUser._fields),
    record=ListedUser,
    alive="{t}.deleted = 0",
    by_path=_COMMON
    | {
        "username": Column("{t}.user_name_key"),
        "active": Column("{t}.active"),
        "meta.resourcetype": Column("'User'"),
    },
    joined={
        "groups": (
            "grants r JOIN groups g ON g.id = r.group_id WHERE r.user_id = {t}.id"
            " AND (g.connection_id = ? OR g.connection_id IS NULL)",
            {"value": "g.uid", "display": "g.name_key"},
        )
    },
    lookups={
        "id": Lookup("SELECT id FROM users WHERE uid IN ({values})", ("values",), exact=True),
        "username": Lookup(f"{_USERS} AND user_name_key IN ({{values}})"),
        "externalid": Lookup(
            f"{_USERS} AND external_id IS NOT NULL AND external_id IN ({{values}})", exact=True
        ),
        "displayname": Lookup(f"{_USERS} AND display_key IN ({{values}})"),
        "emails": _EMAILS,
        "emails.value": _EMAILS,
        "groups": _BELONGING,
        "groups.value": _BELONGING,
        "active": Lookup(
            f"{_VISIBLE} AND active = 0",
            ("organization", "connection"),
            Reach.RANGE,
            constant=False,
            answers=True,
        ),
        "meta.lastmodified gt": _modified_lookup(">"),
        "meta.lastmodified ge": _modified_lookup(">="),
    },
)
GROUPS = Table(
    name="groups",
    columns=", ".join(ListedGroup._fields),
    record=ListedGroup,
    alive="TRUE",
    counted=("members", 200),
    by_path=_COMMON | {"displayname": Column("{t}.name_key"), "meta.resourcetype": Column("'Group'")},
    joined={
        "members": (
            "grants r JOIN users u ON u.id = r.user_id WHERE r.group_id = {t}.id AND u.deleted = 0"
            " AND (u.connection_id = ? OR u.connection_id IS NULL)",
            {"value": "u.uid", "display": "u.display_key", "type": "'user'"},
        )
    },
    lookups={
        "id": Lookup("SELECT id FROM groups WHERE uid IN ({values})", ("values",), exact=True),
        "displayname": Lookup("SELECT id FROM groups WHERE organization_id = ? AND name_key IN ({values})"),
        "externalid": Lookup(
            f"{_EXTERNAL.format('= ?')} UNION ALL {_EXTERNAL.format('IS NULL')}",
            ("connection", "values", "values"),
            exact=True,
        ),
        "members": _HOLDING,
        "members.value": _HOLDING,
    },
)


#: A location is the id after a prefix that is the same for all resources of a type.
ONLY_SORTED = {"meta.location": Column("{t}.uid")}
#: The order of joined rows in a representation.
ORDER_IN_REPRESENTATION = {"users": "group_id", "groups": "user_id"}
