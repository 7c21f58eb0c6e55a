"""Page positions: the key at any position in the list of all users, at the same cost however many there are.

`startIndex` counts positions, and an index counts none. So the list of a connection is counted once, in blocks: the
number of visible users up to a key. A create changes no block, because new users come last; a delete or restore
changes the count of its block. Users after the last block are counted on demand.
"""

from __future__ import annotations

from contextlib import suppress

from gateway.scim.errors import Unavailable
from gateway.store.engine.base import BRIEF, Database
from gateway.store.records import ConnectionRecord

#: Users in a block when it is counted.
BLOCK = 1000
#: Users counted in one transaction, which blocks other writers of the organization for some hundredths of a second.
_AT_ONCE = 50 * BLOCK

_HALF = (
    "SELECT * FROM (SELECT id FROM users WHERE organization_id = ? AND connection_id {owner} AND deleted = 0 AND id > ?"
    " ORDER BY id LIMIT {count}) half"
)
#: A number of users visible to a connection, after a key, in order of creation.
_VISIBLE = (
    f"SELECT id FROM ({_HALF.format(owner='= ?', count='{count}')} UNION ALL"
    f" {_HALF.format(owner='IS NULL', count='{count}')}) halves ORDER BY id LIMIT {{count}}"
)
_COUNT = f"""
    INSERT INTO user_blocks (connection_id, organization_id, until, n)
    SELECT CAST(? AS BIGINT), CAST(? AS BIGINT), MAX(id), COUNT(*) FROM (
        SELECT id, (ROW_NUMBER() OVER (ORDER BY id) - 1) / {BLOCK} AS block
        FROM ({_VISIBLE.format(count=_AT_ONCE)}) part
    ) numbered GROUP BY block HAVING COUNT(*) = {BLOCK}"""


class PagePositions:
    """The blocks of the lists of users that connections see."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def key_at(self, connection: ConnectionRecord, after: int, offset: int) -> int | None:
        """Return the key of the last of `offset` users after the key `after`, or None if there are fewer."""
        counted = 0
        while after == counted == 0 and offset > BLOCK:
            key, users = self._block(connection, offset)
            if offset - users <= 2 * BLOCK or not self._count_more(connection):
                after, counted = key, users
                break
        if offset == counted:
            return after
        row = self._db.one(
            f"{_VISIBLE.format(count=offset - counted)} OFFSET {offset - counted - 1}",
            *_visible_parameters(connection, after),
        )
        return row[0] if row else None

    def _block(self, connection: ConnectionRecord, offset: int) -> tuple[int, int]:
        """Return the last key of the last block within `offset` users, and the number of users up to it."""
        row = self._db.one(
            "SELECT until, seen FROM (SELECT until, SUM(n) OVER (ORDER BY until) AS seen FROM user_blocks"
            " WHERE connection_id = ?) blocks WHERE seen <= ? ORDER BY until DESC LIMIT 1",
            connection.id,
            offset,
        )
        return (row[0], int(row[1])) if row else (0, 0)

    def _count_more(self, connection: ConnectionRecord) -> bool:
        """Count the users after the last block, in part; return True if blocks were added."""
        with suppress(Unavailable), self._db.transaction(BRIEF, connection.organization_id):
            row = self._db.one(
                "SELECT COALESCE(MAX(until), 0) FROM user_blocks WHERE connection_id = ?", connection.id
            )
            after = row[0] if row else 0
            tenant = connection.id, connection.organization_id
            return self._db.run(_COUNT, *tenant, *_visible_parameters(connection, after)) > 0
        return False

    def shift(self, organization_id: int, connection_id: int | None, user_id: int, by: int) -> None:
        """Add `by` (1 or -1) to the block of a user that was restored or deleted.

        `connection_id` None means a user without connection, whom all connections see. Must run in the transaction of
        the change, which holds the organization.
        """
        whose, owner = ("", ()) if connection_id is None else (" AND connection_id = ?", (connection_id,))
        self._db.run(
            f"UPDATE user_blocks SET n = n + ? WHERE organization_id = ?{whose} AND until = (SELECT MIN(b.until)"
            " FROM user_blocks b WHERE b.connection_id = user_blocks.connection_id AND b.until >= ?)",
            by,
            organization_id,
            *owner,
            user_id,
        )

    def forget(self, organization_id: int) -> None:
        """Delete the blocks of an organization whose users changed their connection; they are counted on demand."""
        self._db.run("DELETE FROM user_blocks WHERE organization_id = ?", organization_id)


def _visible_parameters(connection: ConnectionRecord, after: int) -> tuple[int, ...]:
    return connection.organization_id, connection.id, after, connection.organization_id, after
