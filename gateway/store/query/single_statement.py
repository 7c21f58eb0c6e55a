"""A page of all users in one statement of PostgreSQL.

`search` reads it with several statements where that is no more than a call; there each would be a round trip.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from gateway.store.engine.base import Database
from gateway.store.memberships import Groups, groups_by_user
from gateway.store.query.columns import USERS
from gateway.store.query.page_bookmarks import FRESH_BOOKMARK
from gateway.store.records import ConnectionRecord
from gateway.store.users import visible

_HALF = (
    f"SELECT {USERS.columns} FROM users WHERE organization_id = ? AND connection_id {{owner}} AND deleted = 0"
    " AND id > ? ORDER BY id LIMIT {count}"
)
_TALLY = "(SELECT n FROM tallies WHERE organization_id = ? AND resource = 'User' AND connection = {whose})"
# The first row describes the page, the others are the page; each branch has the columns of a listed user. Without
# LATERAL, OFFSET and `+` the planner would go through all grants, or all groups that are seen, to save a hundred looks.
_PAGE = f"""
    WITH page AS MATERIALIZED (
        SELECT * FROM (({_HALF.format(owner="= ?", count="{count}")}) UNION ALL
            ({_HALF.format(owner="IS NULL", count="{count}")})) halves ORDER BY id LIMIT {{count}}
    ), belonging AS (
        SELECT g.id, g.uid, g.name, r.keys FROM (
            SELECT group_id, string_agg(page.id::text, ',') AS keys FROM page,
            LATERAL (SELECT group_id FROM grants WHERE user_id = page.id OFFSET 0) granted GROUP BY group_id
        ) r JOIN groups g ON g.id = r.group_id WHERE {visible("+g.")}
    )
    SELECT NULL::bigint AS id, json_build_array(
        {_TALLY.format(whose="0")}, {_TALLY.format(whose="?")}, ({FRESH_BOOKMARK}),
        (SELECT json_agg(json_build_array(id, uid, name, keys) ORDER BY id) FROM belonging))::text AS uid, NULL AS doc
    UNION ALL SELECT id, uid, CASE WHEN (SELECT SUM(octet_length(doc)) FROM page) <= {{size}} THEN doc END FROM page"""


class Tally(NamedTuple):
    """The number of rows of a type without connection, and of a connection.

    `noted` is the row after which the page that follows a first one begins, if its bookmark is fresh.
    """

    of_nobody: int = 0
    of_connection: int = 0
    noted: int | None = None

    @property
    def total(self) -> int:
        """How many there are in all."""
        return self.of_nobody + self.of_connection


class Found(NamedTuple):
    """(key, id, document) of each user, and the groups of each by its key."""

    tally: Tally
    users: list[tuple[Any, ...]]
    groups: Groups
    #: Whether the documents were read; else the users are without.
    fits: bool


def users_page(
    database: Database, connection: ConnectionRecord, after: int, count: int, note: tuple[Any, ...], size: int
) -> Found:
    """Return at most `count` users after a key, in order of creation, with their groups.

    The documents are included only if they have at most `size` bytes together. `note` are the parameters of the fresh
    bookmark.
    """
    organization, seen = connection.organization_id, (connection.organization_id, connection.id)
    # The number stands in the statement: what the planner does not know it takes for a tenth of all.
    (_, description, _), *users = database.all(
        _PAGE.format(count=int(count), size=int(size)),
        *seen,
        after,
        organization,
        after,
        *seen,
        organization,
        *seen,
        *note,
    )
    of_nobody, of_connection, noted, groups = json.loads(description)
    fits = not users or users[0][2] is not None
    return Found(Tally(of_nobody or 0, of_connection or 0, noted), users, groups_by_user(groups or ()), fits)
