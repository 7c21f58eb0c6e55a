"""Positions in the list of all users: the key at any of them, at the same cost however many there are.

`startIndex` counts positions, and an index counts none. So the list of a connection is counted once, in blocks: how
many users that it sees have keys up to which. A create adds no block, for new users are behind all others; whoever is
deleted or restored changes the number of its block. What is behind the last block is counted when somebody asks for it.
"""

from __future__ import annotations

from contextlib import suppress

from gateway.scim.errors import Unavailable
from gateway.store.engine.base import BRIEF, Database
from gateway.store.records import ConnectionRecord

#: Users of a block when it is counted.
BLOCK = 1000
#: Users that are counted in one transaction: other writers of the organization wait for some hundredths of a second.
_AT_ONCE = 50 * BLOCK

_HALF = (
    "SELECT * FROM (SELECT id FROM users WHERE organization_id = ? AND connection_id {owner} AND deleted = 0 AND id > ?"
    " ORDER BY id LIMIT {count}) half"
)
#: So many users that a connection sees, behind a key, in the order of making.
_SEEN = (
    f"SELECT id FROM ({_HALF.format(owner='= ?', count='{count}')} UNION ALL"
    f" {_HALF.format(owner='IS NULL', count='{count}')}) halves ORDER BY id LIMIT {{count}}"
)
_COUNT = f"""
    INSERT INTO user_blocks (connection_id, organization_id, until, n)
    SELECT CAST(? AS BIGINT), CAST(? AS BIGINT), MAX(id), COUNT(*) FROM (
        SELECT id, (ROW_NUMBER() OVER (ORDER BY id) - 1) / {BLOCK} AS block FROM ({_SEEN.format(count=_AT_ONCE)}) part
    ) numbered GROUP BY block HAVING COUNT(*) = {BLOCK}"""


class PagePositions:
    """Positions in the lists of users that connections see."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def behind(self, connection: ConnectionRecord, after: int, offset: int) -> int | None:
        """The key of the last of `offset` users behind a key; None where there are not so many."""
        counted = 0
        while after == counted == 0 and offset > BLOCK:
            key, users = self._block(connection, offset)
            if offset - users <= 2 * BLOCK or not self._extended(connection):
                after, counted = key, users
                break
        if offset == counted:
            return after
        row = self._db.one(
            f"{_SEEN.format(count=offset - counted)} OFFSET {offset - counted - 1}",
            *_seen_by(connection, after),
        )
        return row[0] if row else None

    def _block(self, connection: ConnectionRecord, offset: int) -> tuple[int, int]:
        """The last block that ends at this position at the latest: its last key, and how many users there are until
        there."""
        row = self._db.one(
            "SELECT until, seen FROM (SELECT until, SUM(n) OVER (ORDER BY until) AS seen FROM user_blocks"
            " WHERE connection_id = ?) blocks WHERE seen <= ? ORDER BY until DESC LIMIT 1",
            connection.id,
            offset,
        )
        return (row[0], int(row[1])) if row else (0, 0)

    def _extended(self, connection: ConnectionRecord) -> bool:
        """Count what is behind the last block, a part of it at a time; whether any block was added."""
        with suppress(Unavailable), self._db.transaction(BRIEF, connection.organization_id):
            row = self._db.one(
                "SELECT COALESCE(MAX(until), 0) FROM user_blocks WHERE connection_id = ?", connection.id
            )
            after = row[0] if row else 0
            tenant = connection.id, connection.organization_id
            return self._db.run(_COUNT, *tenant, *_seen_by(connection, after)) > 0
        return False

    def shift(self, organization_id: int, connection_id: int | None, user_id: int, by: int) -> None:
        """A user of a connection (None: of nobody, whom all connections see) is listed from now on (1), or not (-1).

        Part of the transaction that does it, which holds the organization.
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
        """Users changed their manager: who sees them is counted anew when somebody asks."""
        self._db.run("DELETE FROM user_blocks WHERE organization_id = ?", organization_id)


def _seen_by(connection: ConnectionRecord, after: int) -> tuple[int, ...]:
    return connection.organization_id, connection.id, after, connection.organization_id, after
