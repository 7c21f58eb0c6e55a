"""Erasures: how far each is, and the statements that find and empty what is stored of a person.

An erasure looks at whole tables of an organization in portions, since no index leads from a person to all that names
it; each portion begins where the one before ended.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from gateway.store.activity import COLUMNS as ACTIVITY_COLUMNS
from gateway.store.engine.base import Database
from gateway.store.events import position
from gateway.store.ids_and_time import now
from gateway.store.records import ActivityRecord, EventRecord, OrganizationRecord, UserRecord
from gateway.store.users import COLUMNS, addresses

#: The parts of an erasure in their order; `DONE` follows the last one.
EVENTS, ACTIVITY, ATTEMPTS, TRACES, IMPORTS, REMAINS = PARTS = (
    "events",
    "activity",
    "attempts",
    "traces",
    "imports",
    "remains",
)
DONE = "done"
#: What stands in place of a receiver's words about an event of an erased person.
REASON_ERASED = "The receiver refused it; the reason was removed with the person."
#: Keys of events, of attempts and of explanations that one portion looks at; lines and rows that it reads.
EVENT_KEYS, ATTEMPT_KEYS, TRACE_KEYS, ROWS = 5000, 20_000, 2000, 200
_COLUMNS = (
    "e.uid, e.organization_id, e.at, e.erased_by, e.reason, e.state, e.progress, e.within, e.texts, e.touched"
)


class Erasure(NamedTuple):
    """An erased user. Of `state`'s rows those up to (`progress`, `within`) are dealt with; `texts` is JSON."""

    uid: str
    organization_id: int
    at: int
    erased_by: str | None
    reason: str
    state: str
    progress: int
    within: int
    texts: str | None
    touched: int

    @property
    def finished(self) -> bool:
        """Return whether nothing is left to be done."""
        return self.state == DONE

    @property
    def wanted(self) -> list[str]:
        """Return the texts that are looked for."""
        texts: list[str] = json.loads(self.texts or "[]")
        return texts


class FoundLine(NamedTuple):
    """What of a line of the activity may name a person; `ignored`, `decisions` and `facts` are JSON."""

    id: int
    at: int
    user_key: str | None
    target_uid: str | None
    detail: str | None
    ignored: str
    decisions: str
    facts: str


class FoundEvent(NamedTuple):
    """An event of a user, or one that is about neither users nor groups."""

    id: int
    type: str
    resource: str
    resource_uid: str
    data: str


class FoundText(NamedTuple):
    """The key of a row, in one or two numbers, and its texts."""

    key: tuple[int, ...]
    user_uid: str | None
    texts: tuple[str | None, ...]


class Erasures:
    """The erasures of all organizations."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # Their rows -----------------------------------------------------------------------------------------------------

    def begin(self, organization_id: int, uid: str, at: int, by: str | None, reason: str, texts: str) -> None:
        """Insert an erasure of which no part is done."""
        self._db.run(
            "INSERT INTO erasures (uid, organization_id, at, erased_by, reason, state, progress, within, texts,"
            " touched) VALUES (?, ?, ?, ?, ?, ?, 0, 0, ?, ?)",
            *(uid, organization_id, at, by, reason, EVENTS, texts, at),
        )

    def find(self, organization_id: int, uid: str) -> Erasure | None:
        """Find the erasure of a user."""
        row = self._db.one(
            f"SELECT {_COLUMNS} FROM erasures e WHERE e.uid = ? AND e.organization_id = ?",
            uid,
            organization_id,
        )
        return Erasure._make(row) if row else None

    def unfinished(self, limit: int) -> list[Erasure]:
        """List erasures that are not done, the oldest first, but of organizations under a legal hold."""
        rows = self._db.all(
            f"SELECT {_COLUMNS} FROM erasures e JOIN organizations o ON o.id = e.organization_id"
            f" WHERE e.state <> '{DONE}' AND o.legal_hold = 0 ORDER BY e.at LIMIT ?",
            limit,
        )
        return [Erasure._make(row) for row in rows]

    def known(self, uids: Sequence[str]) -> set[str]:
        """Return those of the users that are erased, or being erased."""
        rows = self._db.among(uids, lambda marks: f"SELECT uid FROM erasures WHERE uid IN ({marks})")
        return {row[0] for row in rows}

    def page(self, after: str, limit: int) -> list[tuple[str, str, int]]:
        """List erasures behind an id: ids of organization and user, and the moment."""
        rows = self._db.all(
            "SELECT o.uid, e.uid, e.at FROM erasures e JOIN organizations o ON o.id = e.organization_id"
            " WHERE e.uid > ? ORDER BY e.uid LIMIT ?",
            after,
            limit,
        )
        return [(organization, uid, at) for organization, uid, at in rows]

    def advance(self, erasure: Erasure, state: str, progress: int = 0, within: int = 0) -> None:
        """Store how far an erasure is; behind the last portion nothing is looked for any more."""
        self._db.run(
            "UPDATE erasures SET state = ?, progress = ?, within = ?, touched = ?,"
            f" texts = CASE WHEN ? = '{REMAINS}' THEN NULL ELSE texts END WHERE uid = ?",
            *(state, progress, within, now(), state, erasure.uid),
        )

    def look_for(self, erasure: Erasure, texts: Iterable[str]) -> None:
        """Store which texts are looked for."""
        self._db.run(
            "UPDATE erasures SET texts = ? WHERE uid = ?",
            json.dumps(sorted(texts), ensure_ascii=False),
            erasure.uid,
        )

    # Users ----------------------------------------------------------------------------------------------------------

    def user(self, organization_id: int, uid: str) -> tuple[UserRecord, bool] | None:
        """Find a user, and whether it is deleted."""
        row = self._db.one(
            f"SELECT {COLUMNS}, deleted FROM users WHERE organization_id = ? AND uid = ?",
            organization_id,
            uid,
        )
        return (UserRecord._make(row[:-1]), bool(row[-1])) if row else None

    def deleted_before(self, before: int, limit: int) -> list[tuple[str, str]]:
        """List organization and user, by their ids, of users deleted before a moment whose names are stored.

        Those of organizations under a legal hold are left out. The index of organization and time serves it.
        """
        rows = self._db.all(
            "SELECT o.uid, u.uid FROM organizations o JOIN users u ON u.organization_id = o.id"
            " WHERE o.legal_hold = 0 AND u.modified < ? AND u.deleted = 1 AND u.user_name_key <> '' LIMIT ?",
            before,
            limit,
        )
        return [(organization, uid) for organization, uid in rows]

    def empty_user(self, organization_id: int, user: UserRecord) -> bool:
        """Leave of a user its id, deleted and managed by nobody; False if it was changed since it was read."""
        emptied = json.dumps({"id": user.uid, "erased": True, "meta": {}})
        if not self._db.run(
            "UPDATE users SET connection_id = NULL, user_name = '', user_name_key = '', external_id = NULL, active = 0,"
            " display = '', display_key = '', doc = ?, doc_key = '{}', protected = 0, deleted = 1, modified = ?,"
            " version = version + 1 WHERE organization_id = ? AND id = ? AND version = ?",
            *(emptied, now(), organization_id, user.id, user.version),
        ):
            return False
        self._db.run_among(
            sorted(addresses(user.document)),
            lambda marks: (
                f"DELETE FROM emails WHERE organization_id = ? AND user_id = ? AND value_key IN ({marks})"
            ),
            organization_id,
            user.id,
        )
        of_organization = "connection_id IN (SELECT id FROM connections WHERE organization_id = ?)"
        self._db.run(
            "DELETE FROM adoptions WHERE organization_id = ? AND user_id = ?", organization_id, user.id
        )
        self._db.run("DELETE FROM removed_grants WHERE user_id = ?", user.id)
        self._db.run("DELETE FROM waiting_members WHERE user_uid = ?", user.uid)
        self._db.run(
            f"DELETE FROM held_removals WHERE {of_organization} AND resource = 'User' AND uid = ?",
            organization_id,
            user.uid,
        )
        return True

    # Events ---------------------------------------------------------------------------------------------------------

    def events(self, erasure: Erasure, limit: int = ROWS) -> tuple[list[FoundEvent], int | None]:
        """Return events of the person among the next keys, and others that may name it; and where to go on."""
        first, end = position(erasure.organization_id, 0), position(erasure.organization_id + 1, 0)
        after = max(erasure.progress, first)
        last = self._db.one(
            f"SELECT id FROM events WHERE id > ? AND id < ? ORDER BY id LIMIT 1 OFFSET {EVENT_KEYS - 1}",
            after,
            end,
        )
        rows = self._db.all(
            "SELECT id, type, resource, resource_uid, data FROM events WHERE id > ? AND id <= ?"
            " AND (resource_uid = ? OR resource NOT IN ('User', 'Group')) ORDER BY id LIMIT ?",
            *(after, last[0] if last else end - 1, erasure.uid, limit),
        )
        found = [FoundEvent._make(row) for row in rows]
        if len(found) == limit:
            return found, found[-1].id
        return found, last[0] if last else None

    def users_named(self, erasure: Erasure, keys: Iterable[str]) -> set[str]:
        """Return the ids of the other users of the organization that have one of these folded userNames."""
        rows = self._db.among(
            sorted(keys),
            lambda marks: f"SELECT uid FROM users WHERE organization_id = ? AND user_name_key IN ({marks})",
            erasure.organization_id,
        )
        return {uid for (uid,) in rows} - {erasure.uid}

    def rewrite_events(self, rows: Sequence[tuple[str, int]]) -> None:
        """Replace the data of events; pairs of JSON and key."""
        self._db.run_many("UPDATE events SET data = ? WHERE id = ?", rows)

    def events_of(self, organization_id: int, uid: str, after: int) -> tuple[list[EventRecord], int | None]:
        """Return events of a user among the next ones behind a number, and the number to go on behind."""
        start, end = position(organization_id, after), position(organization_id + 1, 0)
        last = self._db.one(
            f"SELECT id, seq FROM events WHERE id > ? AND id < ? ORDER BY id LIMIT 1 OFFSET {EVENT_KEYS - 1}",
            *(start, end),
        )
        rows = self._db.all(
            "SELECT seq, type, at, resource, resource_uid, connection_uid, data FROM events WHERE id > ? AND id <= ?"
            " AND resource_uid = ? ORDER BY id LIMIT ?",
            *(start, last[0] if last else end - 1, uid, ROWS),
        )
        found = [EventRecord._make(row) for row in rows]
        if len(found) == ROWS:
            return found, found[-1].seq
        return found, last[1] if last else None

    # Export ---------------------------------------------------------------------------------------------------------

    def lines_of(
        self, organization_id: int, uid: str, user_key: str, after: tuple[int, int]
    ) -> list[ActivityRecord]:
        """Return the next lines about a user by its id or name, the oldest first, behind a moment and key.

        Lines about another user who had the name before are among them.
        """
        rows = self._db.all(
            f"SELECT {ACTIVITY_COLUMNS} FROM activity WHERE organization_id = ? AND (at, id) > (?, ?)"
            f" AND (target_uid = ? OR user_key = ?) ORDER BY at, id LIMIT {ROWS}",
            *(organization_id, *after, uid, user_key),
        )
        return [ActivityRecord._make(row) for row in rows]

    def rows_about(self, organization_id: int, user: UserRecord) -> dict[str, list[dict[str, Any]]]:
        """Return what holds, adoption and explanations store of a user, by table; at most `ROWS` rows of each."""
        of_organization = "connection_id IN (SELECT id FROM connections WHERE organization_id = ?)"
        queries: dict[str, tuple[Sequence[str], str, tuple[Any, ...]]] = {
            "adoptions": (
                ("found_by", "risk", "first", "last", "tries", "state", "decided_by", "decided"),
                "organization_id = ? AND user_id = ?",
                (organization_id, user.id),
            ),
            "held_removals": (
                ("action", "first", "last", "tries", "allowed"),
                f"{of_organization} AND resource = 'User' AND uid = ?",
                (organization_id, user.uid),
            ),
            "explanations": (
                ("request_id", "at", "connection_uid", "request", "response", "steps"),
                "organization_id = ? AND user_uid = ?",
                (organization_id, user.uid),
            ),
        }
        found = {}
        for name, (columns, where, parameters) in queries.items():
            table = "traces" if name == "explanations" else name
            rows = self._db.all(
                f"SELECT {', '.join(columns)} FROM {table} WHERE {where} LIMIT {ROWS}", *parameters
            )
            found[name] = [dict(zip(columns, row, strict=True)) for row in rows]
        return found

    # Activity -------------------------------------------------------------------------------------------------------

    def lines(self, erasure: Erasure) -> list[FoundLine]:
        """Return the next lines of the organization from before the erasure, in the order of time."""
        rows = self._db.all(
            "SELECT id, at, user_key, target_uid, detail, ignored, decisions, facts FROM activity"
            f" WHERE organization_id = ? AND (at, id) > (?, ?) AND at <= ? ORDER BY at, id LIMIT {ROWS}",
            *(erasure.organization_id, erasure.progress, erasure.within, erasure.at),
        )
        return [FoundLine._make(row) for row in rows]

    def rewrite_lines(self, rows: Sequence[Sequence[Any]], named: bool) -> None:
        """Replace detail, ignored, decisions and facts of lines by their keys; `named`: they keep their user."""
        user = "" if named else "user_name = NULL, user_key = NULL, "
        self._db.run_many(
            f"UPDATE activity SET {user}detail = ?, ignored = ?, decisions = ?, facts = ? WHERE id = ?", rows
        )

    # Others ---------------------------------------------------------------------------------------------------------

    def empty_attempts(self, erasure: Erasure) -> int | None:
        """Remove the answers to events of the person among the next attempts; return the key to go on behind."""
        newest = self._db.one("SELECT MAX(id) FROM webhook_attempts")
        last = (newest and newest[0]) or 0
        until = erasure.progress + ATTEMPT_KEYS
        key = position(erasure.organization_id, 0)
        # An event that was pruned no longer says of whom it was.
        self._db.run(
            "UPDATE webhook_attempts SET response = NULL WHERE id > ? AND id <= ? AND organization_id = ?"
            " AND response IS NOT NULL AND NOT EXISTS (SELECT 1 FROM events e"
            " WHERE e.id = ? + webhook_attempts.seq AND e.resource_uid <> ?)",
            *(erasure.progress, until, erasure.organization_id, key, erasure.uid),
        )
        return until if until < last else None

    def empty_parked(self, erasure: Erasure) -> None:
        """Remove the reasons for which receivers refused events of the person; one who polls gives its own."""
        # An event that was pruned no longer says of whom it was.
        self._db.run(
            "UPDATE webhook_parked SET error = ? WHERE organization_id = ? AND NOT EXISTS (SELECT 1 FROM events e"
            " WHERE e.id = ? + webhook_parked.seq AND e.resource_uid <> ?)",
            *(REASON_ERASED, erasure.organization_id, position(erasure.organization_id, 0), erasure.uid),
        )

    def traces(self, erasure: Erasure) -> tuple[list[FoundText], int | None]:
        """Return explanations of the organization among the next keys, and the key to go on behind."""
        newest = self._db.one("SELECT MAX(id) FROM traces")
        last = (newest and newest[0]) or 0
        until = erasure.progress + TRACE_KEYS
        rows = self._db.all(
            "SELECT id, user_uid, request, response, steps FROM traces"
            f" WHERE id > ? AND id <= ? AND organization_id = ? ORDER BY id LIMIT {ROWS}",
            *(erasure.progress, until, erasure.organization_id),
        )
        found = [FoundText((key,), uid, texts) for key, uid, *texts in rows]  # type: ignore[arg-type]
        if len(found) == ROWS:
            return found, found[-1].key[0]
        return found, until if until < last else None

    def remove_traces(self, keys: Sequence[int]) -> None:
        """Delete explanations."""
        self._db.run_among(keys, lambda marks: f"DELETE FROM traces WHERE id IN ({marks})")

    def import_rows(self, erasure: Erasure) -> list[FoundText]:
        """Return the next rows of imports of the organization."""
        rows = self._db.all(
            "SELECT r.import_id, r.number, r.data, r.reason FROM import_rows r JOIN imports i ON i.id = r.import_id"
            " WHERE i.organization_id = ? AND (r.import_id, r.number) > (?, ?)"
            f" ORDER BY r.import_id, r.number LIMIT {ROWS}",
            *(erasure.organization_id, erasure.progress, erasure.within),
        )
        return [FoundText((key, number), None, (data, reason)) for key, number, data, reason in rows]

    def empty_import_rows(self, keys: Sequence[Sequence[int]]) -> None:
        """Leave of rows of imports their numbers and outcomes."""
        self._db.run_many(
            "UPDATE import_rows SET data = '{}', reason = NULL WHERE import_id = ? AND number = ?", keys
        )

    def is_held(self, organization: OrganizationRecord) -> bool:
        """Return whether an organization is under a legal hold now."""
        row = self._db.one("SELECT legal_hold FROM organizations WHERE id = ?", organization.id)
        return bool(row and row[0])
