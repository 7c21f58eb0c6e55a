"""Users and groups as filters and sort keys see them: which attribute has a column, and which is rows elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.scim.documents import read_datetime
from gateway.scim.errors import InvalidFilter
from gateway.store.clock import microseconds
from gateway.store.records import ListedGroup, ListedUser


@dataclass(frozen=True)
class Column:
    """An attribute that has a column: the SQL that reads it, how a value is turned into what it holds."""

    sql: str
    convert: Callable[[Any], Any] | None = None
    nullable: bool = False


def _moment(value: Any) -> int:
    from_text = read_datetime(value) if isinstance(value, str) else None
    if from_text is None:
        raise InvalidFilter(f"{value!r} is not a date and time such as 2026-11-24T08:00:00Z.")
    return microseconds(from_text)


def _tag(value: Any) -> Any:
    """Without the digest of groups, which is not stored: whoever asks for that tag finds the version it names."""
    return re.sub(r'^(W/"\d+)-[0-9a-f]+"$', r'\1"', value) if isinstance(value, str) else value


@dataclass(frozen=True)
class Table:
    """How one resource type is stored."""

    name: str
    columns: str
    record: Any
    alive: str
    by_path: dict[str, Column]
    #: Attributes that are rows elsewhere: a FROM … WHERE that joins those that the connection (its one parameter) sees,
    #: and the SQL of each sub-attribute as it is compared.
    joined: dict[str, tuple[str, dict[str, str]]]


_COMMON = {
    "id": Column("{t}.uid"),
    "externalid": Column("{t}.external_id", nullable=True),
    "meta.created": Column("{t}.created", _moment),
    "meta.lastmodified": Column("{t}.modified", _moment),
    "meta.version": Column("""('W/"' || {t}.version || '"')""", _tag),
}
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
)
GROUPS = Table(
    name="groups",
    columns=", ".join(ListedGroup._fields),
    record=ListedGroup,
    alive="TRUE",
    by_path=_COMMON | {"displayname": Column("{t}.name_key"), "meta.resourcetype": Column("'Group'")},
    joined={
        "members": (
            "grants r JOIN users u ON u.id = r.user_id WHERE r.group_id = {t}.id AND u.deleted = 0"
            " AND (u.connection_id = ? OR u.connection_id IS NULL)",
            {"value": "u.uid", "display": "u.display_key", "type": "'user'"},
        )
    },
)


#: A location is the id behind a text that is the same for all of a type.
ONLY_SORTED = {"meta.location": Column("{t}.uid")}
#: By what the rows elsewhere are ordered where they are shown.
SHOWN_BY = {"users": "group_id", "groups": "user_id"}
