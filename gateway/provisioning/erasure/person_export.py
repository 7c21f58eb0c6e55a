"""The export of one person: everything that an erasure would remove, as one JSON object in pieces.

Rows are read in portions, so that a person with many events needs no more memory than another one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from gateway.provisioning.activity_writer import ActivityWriter
from gateway.provisioning.caller import Caller
from gateway.provisioning.trace import Target, Trace
from gateway.scim.errors import NotFound
from gateway.scim.json_text import excerpt, fold
from gateway.store import Store
from gateway.store.activity import USER_LENGTH
from gateway.store.ids_and_time import now, rfc3339
from gateway.store.records import ActivityRecord, EventRecord, UserRecord

#: Columns that hold microseconds since 1970.
_TIMES = ("first", "last", "decided", "at")


class PersonExport:
    """Exports users of organizations, deleted ones too."""

    def __init__(self, store: Store, activity_writer: ActivityWriter) -> None:
        self._store, self._activity_writer = store, activity_writer

    def pieces(self, caller: Caller, uid: str, trace: Trace) -> Iterator[str]:
        """Return the pieces of the export of a user. Raises NotFound, also for one who is erased."""
        self._activity_writer.flush_briefly()
        found = self._store.erasures.user(caller.organization.id, uid)
        if found is None or not found[0].user_name:
            raise NotFound(
                f"There is no user with the id {excerpt(uid)} here, or nothing but the id is left of it."
            )
        user, deleted = found
        trace.user, trace.target = user.user_name, Target("User", uid, None)
        return self._pieces(caller.organization.id, user, deleted)

    def _pieces(self, organization_id: int, user: UserRecord, deleted: bool) -> Iterator[str]:
        groups = self._store.memberships.sources_of_many(organization_id, [user.id]).get(user.id, [])
        head = {
            "exported_at": rfc3339(now()),
            "user": json.loads(user.doc),
            "deleted": deleted,
            "protected": bool(user.protected),
            "groups": [{"id": uid, "name": name, "source": source} for uid, name, source in groups],
            **{
                table: [_with_times(row) for row in rows]
                for table, rows in self._store.erasures.rows_about(organization_id, user).items()
            },
        }
        yield json.dumps(head, ensure_ascii=False)[:-1]
        yield from _listed("events", self._events(organization_id, user.uid))
        yield from _listed("activity", self._lines(organization_id, user))
        yield "}"

    def _events(self, organization_id: int, uid: str) -> Iterator[dict[str, Any]]:
        after: int | None = 0
        while after is not None:
            events, after = self._store.erasures.events_of(organization_id, uid, after)
            yield from map(_event_json, events)

    def _lines(self, organization_id: int, user: UserRecord) -> Iterator[dict[str, Any]]:
        after, key = (0, 0), fold(user.user_name)[:USER_LENGTH]
        while lines := self._store.erasures.lines_of(organization_id, user.uid, key, after):
            yield from (_line_json(line) for line in lines if not _is_about_another(line, user.uid))
            after = lines[-1].at, lines[-1].id


def _listed(name: str, items: Iterator[dict[str, Any]]) -> Iterator[str]:
    yield f', "{name}": ['
    for number, item in enumerate(items):
        yield f"{', ' if number else ''}{json.dumps(item, ensure_ascii=False)}"
    yield "]"


def _event_json(event: EventRecord) -> dict[str, Any]:
    return {
        "id": event.seq, "type": event.type, "at": rfc3339(event.at), "connection": event.connection_uid,
        "data": json.loads(event.data),
    }  # fmt: skip


def _with_times(row: dict[str, Any]) -> dict[str, Any]:
    """Return a stored row with its times as text."""
    return {
        name: rfc3339(value) if name in _TIMES and value is not None else value for name, value in row.items()
    }


def _is_about_another(line: ActivityRecord, uid: str) -> bool:
    """Return whether a line names another user, who had this name before or has it by now."""
    return bool(line.target_uid) and line.target_uid != uid and json.loads(line.facts).get("type") == "User"


def _line_json(line: ActivityRecord) -> dict[str, Any]:
    return {
        "at": rfc3339(line.at), "connection": line.connection_uid, "by": line.principal, "operation": line.operation,
        "user": line.user, "status": line.status, "outcome": line.outcome, "detail": line.detail,
        "ignored": json.loads(line.ignored), "decisions": json.loads(line.decisions),
        "facts": json.loads(line.facts), "request_id": line.request_id,
    }  # fmt: skip
