"""Users some at a time: portions bounded in rows and in bytes, of which only those parts of a document are read that
are asked for. Each portion is a statement that has ended before its rows are handed out, so no cursor and no
transaction stays open between two of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gateway.store.engine.base import Database
from gateway.store.records import ConnectionRecord, OutlinedUser

#: Users of a portion, and bytes of their documents, at most. One user is a portion however large it is.
ROWS, BYTES = 200, 1 << 20
#: The way down into a document: names of attributes as documents have them.
Path = tuple[str, ...]


class Portions:
    """Reads users in portions."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def of_organization(
        self, organization_id: int, paths: Sequence[Path], after: int = 0, rows: int = ROWS
    ) -> Iterator[list[OutlinedUser]]:
        """All users of an organization that are not deleted, in the order of making."""
        return self._portions("organization_id = ?", (organization_id,), paths, after, rows)

    def of_connection(
        self, connection: ConnectionRecord, paths: Sequence[Path], after: int = 0, rows: int = ROWS
    ) -> Iterator[list[OutlinedUser]]:
        """The same of those that a connection manages."""
        tenant = connection.organization_id, connection.id
        return self._portions("organization_id = ? AND connection_id = ?", tenant, paths, after, rows)

    def newest(self, connection: ConnectionRecord, paths: Sequence[Path], rows: int) -> list[OutlinedUser]:
        """The users that a connection manages who were made last, at most `rows`, and as many as a portion weighs."""
        tenant = connection.organization_id, connection.id
        weights = self._db.all(
            f"SELECT id, {self._db.dialect.octets('doc')} FROM users WHERE organization_id = ? AND connection_id = ?"
            " AND deleted = 0 ORDER BY id DESC LIMIT ?",
            *tenant,
            rows,
        )
        keys = next(_bounded(weights), None)
        if keys is None:
            return []
        return self._outlined(
            "organization_id = ? AND connection_id = ? AND id >= ?", (*tenant, keys[-1]), paths, len(keys)
        )

    def page(self, organization_id: int, paths: Sequence[Path], after: int, limit: int) -> list[OutlinedUser]:
        """Users of an organization behind a key, for a list whose length is asked for."""
        return self._outlined("organization_id = ? AND id > ?", (organization_id, after), paths, limit)

    def of_keys(self, organization_id: int, keys: Sequence[int], paths: Sequence[Path]) -> list[OutlinedUser]:
        """Users of an organization by their keys, deleted ones too, in the order of making."""
        rows = self._db.among(
            keys,
            lambda marks: (
                f"SELECT {self._columns(paths)} FROM users WHERE organization_id = ? AND id IN ({marks}) ORDER BY id"
            ),
            organization_id,
        )
        return sorted(map(_outlined, rows))

    def split(self, organization_id: int, keys: Sequence[int], rows: int = ROWS) -> Iterator[list[int]]:
        """Keys of users in the order given, in portions whose documents can be held at once."""
        for start in range(0, len(keys), rows):
            chunk = list(keys[start : start + rows])
            sizes = dict(
                self._db.among(
                    chunk,
                    lambda marks: (
                        f"SELECT id, {self._db.dialect.octets('doc')} FROM users"
                        f" WHERE organization_id = ? AND id IN ({marks})"
                    ),
                    organization_id,
                )
            )
            yield from _bounded((key, sizes.get(key, 0)) for key in chunk)

    def _portions(
        self, tenant: str, parameters: tuple[Any, ...], paths: Sequence[Path], after: int, rows: int
    ) -> Iterator[list[OutlinedUser]]:
        # First what they weigh, so that a statement never reads more than can be held.
        weigh = (
            f"SELECT id, {self._db.dialect.octets('doc')} FROM users WHERE {tenant} AND deleted = 0 AND id > ?"
            " ORDER BY id LIMIT ?"
        )
        more = True
        while more:
            weights = self._db.all(weigh, *parameters, after, rows)
            more = len(weights) == rows
            for keys in _bounded(weights):
                bounds = *parameters, after, keys[-1]
                after = keys[-1]
                if users := self._outlined(f"{tenant} AND id > ? AND id <= ?", bounds, paths, rows):
                    yield users

    def _outlined(
        self, where: str, parameters: tuple[Any, ...], paths: Sequence[Path], limit: int
    ) -> list[OutlinedUser]:
        rows = self._db.all(
            f"SELECT {self._columns(paths)} FROM users WHERE {where} AND deleted = 0 ORDER BY id LIMIT ?",
            *parameters,
            limit,
        )
        return list(map(_outlined, rows))

    def _columns(self, paths: Sequence[Path]) -> str:
        parts = "".join(f", {self._db.dialect.part('doc', path)}" for path in paths)
        return f"id, uid, connection_id, user_name, active, created, modified{parts}"


def _outlined(row: tuple[Any, ...]) -> OutlinedUser:
    width = len(OutlinedUser._fields) - 1
    return OutlinedUser._make((*row[:width], row[width:]))


def _bounded(weights: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
    """Keys in portions that weigh `BYTES` at most, or hold one."""
    portion: list[int] = []
    held = 0
    for key, weight in weights:
        if portion and held + weight > BYTES:
            yield portion
            portion, held = [], 0
        portion.append(key)
        held += weight
    if portion:
        yield portion
