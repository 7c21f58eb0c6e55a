"""Explanations of requests: what was sent, what was answered, and each step between; the table `traces`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.store.engine.base import Database
from gateway.store.organizations import HELD

_COLUMNS = "organization_id, request_id, at, connection_uid, user_uid, request, response, steps"


class ExplanationRow(NamedTuple):
    """An explanation. `at` is the moment of its line in the activity, or later; the last three are JSON."""

    organization_id: int
    request_id: str
    at: int
    connection_uid: str | None
    user_uid: str | None
    request: str
    response: str
    steps: str


class Explanations:
    """The stored explanations."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, rows: Sequence[ExplanationRow]) -> None:
        """Insert explanations."""
        if rows:
            self._db.insert(f"traces ({_COLUMNS})", rows)

    def find(self, organization_id: int, request_id: str, at: int) -> ExplanationRow | None:
        """Return the explanation of a request id, the nearest to a moment: operations of a bulk request share it."""
        row = self._db.one(
            f"SELECT {_COLUMNS} FROM traces WHERE organization_id = ? AND request_id = ?"
            " ORDER BY ABS(at - ?), id LIMIT 1",
            organization_id,
            request_id,
            at,
        )
        return ExplanationRow._make(row) if row else None

    def known(self, organization_id: int, request_ids: Sequence[str]) -> frozenset[str]:
        """Return those of the requests that have an explanation."""
        rows = self._db.among(
            request_ids,
            lambda marks: (
                f"SELECT request_id FROM traces WHERE organization_id = ? AND request_id IN ({marks})"
            ),
            organization_id,
        )
        return frozenset(row[0] for row in rows)

    def prune(self, before: int, most: int) -> int:
        """Delete at most `most` of the oldest explanations from before a moment, none of a legal hold."""
        return self._db.run(
            "DELETE FROM traces WHERE id IN"
            f" (SELECT id FROM traces WHERE at < ? AND organization_id NOT IN {HELD} ORDER BY at LIMIT ?)",
            before,
            most,
        )

    def erase(self, organization_id: int, user_uid: str, names: Sequence[str]) -> int:
        """Delete the explanations of a user's requests, and all in which one of its names stands; return how many."""
        gone = self._db.run(
            "DELETE FROM traces WHERE organization_id = ? AND user_uid = ?", organization_id, user_uid
        )
        for text in (user_uid, *names):
            pattern = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
            gone += self._db.run(
                "DELETE FROM traces WHERE organization_id = ? AND (request LIKE ? ESCAPE '\\'"
                " OR response LIKE ? ESCAPE '\\' OR steps LIKE ? ESCAPE '\\')",
                organization_id,
                pattern,
                pattern,
                pattern,
            )
        return gone
