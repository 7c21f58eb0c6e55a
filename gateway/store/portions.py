"""Portions: users read in batches that are bounded in rows and in bytes, with only the requested parts of documents.

Each portion is a statement that has ended before its rows are returned, so no cursor and no transaction stays open
between two of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gateway.store.engine.base import Database
from gateway.store.records import ConnectionRecord, OutlinedUser

#: The most users of a portion, and bytes of their documents. A larger single user is a portion too.
ROWS, BYTES = 200, 1 << 20
#: The keys that lead to a part of a document.
Path = tuple[str, ...]


class Portions:
    """A reader of users in portions."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def of_organization(
        self, organization_id: int, paths: Sequence[Path], after: int = 0, rows: int = ROWS
    ) -> Iterator[list[OutlinedUser]]:
        """Yield all users of an organization that are not deleted, in order of creation.

        `paths` name the parts of the documents to read, `after` is a key, `rows` the largest portion.
        """
        return self._portions("organization_id = ?", (organization_id,), paths, after, rows)

    def documents(self, organization_id: int) -> Iterator[list[tuple[int, str, str]]]:
        """Yield all users of an organization as `of_organization` does: key, id and stored document of each."""
        for weights, bounds in self._bounds("organization_id = ?", (organization_id,), 0, ROWS):
            if users := self._db.all(
                "SELECT id, uid, doc FROM users WHERE organization_id = ? AND id > ? AND id <= ? AND deleted = 0"
                " ORDER BY id LIMIT ?",
                *bounds,
                len(weights),
            ):
                yield [(key, uid, doc) for key, uid, doc in users]

    def of_connection(
        self, connection: ConnectionRecord, paths: Sequence[Path], after: int = 0, rows: int = ROWS
    ) -> Iterator[list[OutlinedUser]]:
        """Yield all users that a connection manages and that are not deleted, as `of_organization` does."""
        tenant = connection.organization_id, connection.id
        return self._portions("organization_id = ? AND connection_id = ?", tenant, paths, after, rows)

    def find_newest(
        self, connection: ConnectionRecord, paths: Sequence[Path], rows: int
    ) -> list[OutlinedUser]:
        """Return the newest users that a connection manages, at most `rows` and one portion."""
        tenant = connection.organization_id, connection.id
        weights = self._db.all(
            f"SELECT id, {self._db.dialect.octets('doc')} FROM users WHERE organization_id = ? AND connection_id = ?"
            " AND deleted = 0 ORDER BY id DESC LIMIT ?",
            *tenant,
            rows,
        )
        keys = next(_split_by_weight(weights), None)
        if keys is None:
            return []
        return self._outline(
            "organization_id = ? AND connection_id = ? AND id >= ?", (*tenant, keys[-1]), paths, len(keys)
        )

    def page(self, organization_id: int, paths: Sequence[Path], after: int, limit: int) -> list[OutlinedUser]:
        """Return the first `limit` users of an organization after a key."""
        return self._outline("organization_id = ? AND id > ?", (organization_id, after), paths, limit)

    def by_keys(self, organization_id: int, keys: Sequence[int], paths: Sequence[Path]) -> list[OutlinedUser]:
        """Return users of an organization by their keys, also deleted ones, in order of creation."""
        rows = self._db.among(
            keys,
            lambda marks: (
                f"SELECT {self._columns(paths)} FROM users WHERE organization_id = ? AND id IN ({marks}) ORDER BY id"
            ),
            organization_id,
        )
        return sorted(map(_outline, rows))

    def split(self, organization_id: int, keys: Sequence[int], rows: int = ROWS) -> Iterator[list[int]]:
        """Split keys of users into portions, in the given order, so that the documents of each fit in memory."""
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
            yield from _split_by_weight((key, sizes.get(key, 0)) for key in chunk)

    def _portions(
        self, tenant: str, parameters: tuple[Any, ...], paths: Sequence[Path], after: int, rows: int
    ) -> Iterator[list[OutlinedUser]]:
        for _, bounds in self._bounds(tenant, parameters, after, rows):
            if users := self._outline(f"{tenant} AND id > ? AND id <= ?", bounds, paths, rows):
                yield users

    def _bounds(
        self, tenant: str, parameters: tuple[Any, ...], after: int, rows: int
    ) -> Iterator[tuple[list[int], tuple[Any, ...]]]:
        """Yield the keys of each portion, and the parameters of a statement that reads the users between its ends."""
        # Weights first, so that no statement reads more than fits in memory.
        weigh = (
            f"SELECT id, {self._db.dialect.octets('doc')} FROM users WHERE {tenant} AND deleted = 0 AND id > ?"
            " ORDER BY id LIMIT ?"
        )
        more = True
        while more:
            weights = self._db.all(weigh, *parameters, after, rows)
            more = len(weights) == rows
            for keys in _split_by_weight(weights):
                bounds = *parameters, after, keys[-1]
                after = keys[-1]
                yield keys, bounds

    def _outline(
        self, where: str, parameters: tuple[Any, ...], paths: Sequence[Path], limit: int
    ) -> list[OutlinedUser]:
        rows = self._db.all(
            f"SELECT {self._columns(paths)} FROM users WHERE {where} AND deleted = 0 ORDER BY id LIMIT ?",
            *parameters,
            limit,
        )
        return list(map(_outline, rows))

    def _columns(self, paths: Sequence[Path]) -> str:
        parts = "".join(f", {self._db.dialect.part('doc', path)}" for path in paths)
        return f"id, uid, connection_id, user_name, active, created, modified, protected{parts}"


def _outline(row: tuple[Any, ...]) -> OutlinedUser:
    width = len(OutlinedUser._fields) - 1
    return OutlinedUser._make((*row[:width], row[width:]))


def _split_by_weight(weights: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
    """Yield keys in portions that weigh at most `BYTES`, or hold one key."""
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
