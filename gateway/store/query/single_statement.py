"""What is done most, in one statement of PostgreSQL: a page of all users, the making of one, and its new state.

Each is told elsewhere as well, one statement after the other. There every statement is a turn to the server, and turns
cost more than what is done; while a change takes its turns, others wait for the organization besides.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from gateway.scim.json_text import Json
from gateway.store.activity import INTO as ACTIVITY
from gateway.store.activity import ActivityLine, line_values
from gateway.store.engine.base import Database
from gateway.store.events import INTO as EVENTS
from gateway.store.events import position
from gateway.store.memberships import Groups, groups_by_user
from gateway.store.organizations import AVAILABLE, COUNT, TALLIES, Reservation
from gateway.store.query.columns import USERS
from gateway.store.query.page_bookmarks import FRESH_BOOKMARK
from gateway.store.records import ConnectionRecord, UserRecord
from gateway.store.users import UserRewrite, Users, addresses, visible

_HALF = (
    f"SELECT {USERS.columns} FROM users WHERE organization_id = ? AND connection_id {{owner}} AND deleted = 0"
    " AND id > ? ORDER BY id LIMIT {count}"
)
_TALLY = "(SELECT n FROM tallies WHERE organization_id = ? AND resource = 'User' AND connection = {whose})"
# The first row tells of the page, the others are the page; each branch has the columns of a listed user. Without
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
    """How many of a type nobody manages, and how many a connection does; behind which key the page goes on that
    follows a first one, if that was noted lately."""

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
    """`count` users at most, behind a key, in the order of making; their documents if all of them have `size` bytes at
    most. `note`: the parameters of a fresh note."""
    organization, seen = connection.organization_id, (connection.organization_id, connection.id)
    # The number stands in the statement: what the planner does not know it takes for a tenth of all.
    (_, told, _), *users = database.all(
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
    of_nobody, of_connection, noted, groups = json.loads(told)
    fits = not users or users[0][2] is not None
    return Found(Tally(of_nobody or 0, of_connection or 0, noted), users, groups_by_user(groups or ()), fits)


# The organization comes first, so that others wait for it and not for one another. Where it refuses, no part has a row
# to be made of. Where the user cannot be added, for its name is taken or somebody is to be restored, the statement
# gives itself up; also where others share its externalId, whom the line has to name. It sees the users as they were
# before it waited: had one been deleted since, `removals` would have moved.
_USER = f"""
    WITH settled AS (
        UPDATE organizations SET event_seq = event_seq + 1, seats_used = seats_used + ? WHERE {AVAILABLE}
        RETURNING event_seq, removals
    ), added AS (
        {{insert}}
    ), addresses AS (
        INSERT INTO emails (organization_id, value_key, user_id)
        SELECT ?, key, added.id FROM added, unnest(?::text[]) AS key
    ), counted AS (
        INSERT INTO {TALLIES} SELECT ?, 'User', ?, 1 FROM added{COUNT}
    ), told AS (
        INSERT INTO {EVENTS} SELECT ? + event_seq, ?, event_seq, 'user.created', ?, 'User', ?, ?, ? FROM settled
    ), noted AS (
        INSERT INTO {ACTIVITY} SELECT {{line}} FROM settled
    )
    SELECT COALESCE(CASE WHEN NOT added.shared THEN added.id END,
        ('not free, or to be restored: asked again after event ' || event_seq)::bigint)
    FROM settled LEFT JOIN added ON TRUE"""
_ADDED = "FROM settled WHERE removals = (SELECT o.removals FROM organizations o WHERE o.id = {id:d}) AND"


def new_user(
    database: Database,
    users: Users,
    connection: ConnectionRecord,
    reservation: Reservation,
    document: Json,
    line: ActivityLine,
) -> UserRecord | None:
    """A user of a connection, with what is due for it, its event and its line; None where there is more to its story:
    then nothing was written."""
    tenant = reservation.organization_id
    insert, values, user = users.addition(tenant, connection.id, document, _ADDED.format(id=tenant))
    written = line_values(user.created, line._replace(target_uid=user.uid))
    made = database.whole(
        _USER.format(insert=insert, line=",".join("?" * len(written))),
        reservation.seats,
        *reservation.conditions,
        *values,
        *(tenant, sorted(addresses(document))),
        *(tenant, connection.id),
        *(position(tenant, 0), tenant, user.created, user.uid, connection.uid, user.doc),
        *written,
    )
    return user._replace(id=made[0]) if made else None


# The same for a user who is there already. Its version tells of any other change of it, `moves` of any of its groups.
_REWRITTEN = f"""
    WITH settled AS (
        UPDATE organizations SET event_seq = event_seq + 1, seats_used = seats_used + ? WHERE {AVAILABLE} AND moves = ?
        RETURNING event_seq
    ), written AS (
        {UserRewrite.statement("FROM settled")}
    ), gone AS (
        DELETE FROM emails USING written
        WHERE organization_id = ? AND value_key = ANY(?::text[]) AND user_id = written.id
    ), addresses AS (
        INSERT INTO emails (organization_id, value_key, user_id)
        SELECT ?, key, written.id FROM written, unnest(?::text[]) AS key
    ), shown AS (
        UPDATE groups SET modified = ?, version = version + 1 WHERE ? = 1 AND organization_id = ?
        AND id IN (SELECT group_id FROM grants WHERE user_id = (SELECT id FROM written))
    ), told AS (
        INSERT INTO {EVENTS} SELECT ? + event_seq, ?, event_seq, ?, ?, 'User', ?, ?, ? FROM settled
    ), noted AS (
        INSERT INTO {ACTIVITY} SELECT {{line}} FROM settled
    )
    SELECT COALESCE(written.id, ('changed meanwhile: asked again after event ' || event_seq)::bigint)
    FROM settled LEFT JOIN written ON TRUE"""


def new_state(
    database: Database, connection: ConnectionRecord, reservation: Reservation, moves: int, rewriting: UserRewrite,
    event: tuple[str, str], line: ActivityLine,
) -> bool:  # fmt: skip
    """A user's new state, with what is due for it, its event (type and data) and its line. False where there is more to
    its story, or where the organization has made other moves than so many, and its groups may not be those that the
    event names: nothing was written then."""
    tenant, user, (kind, data) = reservation.organization_id, rewriting.user, event
    written = line_values(user.modified, line)
    return bool(
        database.whole(
            _REWRITTEN.format(line=",".join("?" * len(written))),
            reservation.seats,
            *reservation.conditions,
            moves,
            *rewriting.parameters,
            *(tenant, sorted(rewriting.gone)),
            *(tenant, sorted(rewriting.come)),
            *(user.modified, rewriting.renamed, tenant),
            *(position(tenant, 0), tenant, kind, user.modified, user.uid, connection.uid, data),
            *written,
        )
    )
