"""Explanations as admins read them, and the connections of which every request is explained for a while."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple
from urllib.parse import quote, urlencode

from gateway.provisioning.activity_writer import ActivityWriter
from gateway.provisioning.caller import Caller
from gateway.provisioning.trace import Trace
from gateway.provisioning.unit_of_work import UnitsOfWork
from gateway.scim.errors import Conflict, NotFound
from gateway.scim.json_text import excerpt
from gateway.store import Store
from gateway.store.ids_and_time import DAY, MINUTE, now
from gateway.store.records import ActivityRecord, ConnectionRecord, OrganizationRecord

#: Minutes that a connection is watched at most.
MOST_MINUTES = 240
#: Paths of the admin REST and of the console; all others are of identity providers.
_OF_ADMINS = ("/organizations", "/connections", "/console", "/setup", "/admin-tokens", "/activity")
#: Why a line has no explanation: none are stored here, it is of an admin, it is too old, it was carried out while its
#: connection was not watched, or it is one of very many refusals.
Absence = Literal["off", "admin", "old", "done", "many"]


class NotExplained(NotFound):
    """There is the line, and no explanation of it; `absence` says why."""

    def __init__(self, detail: str, line: ActivityRecord, absence: Absence) -> None:
        super().__init__(detail)
        self.line, self.absence = line, absence


class RequestExplanation(NamedTuple):
    """The explanation of one line of the activity."""

    line: ActivityRecord
    #: `method`, `path`, `query`, `headers` and `body`, without secrets.
    request: dict[str, Any]
    #: `status`, `headers` and `body`.
    response: dict[str, Any]
    #: Each with `step`, `who`, `sentence` and `ms`.
    steps: list[dict[str, Any]]


class RequestExplanations:
    """Reads explanations, and begins and ends the watch of a connection."""

    def __init__(
        self, store: Store, units_of_work: UnitsOfWork, activity_writer: ActivityWriter, days: int
    ) -> None:
        self._store, self._units_of_work, self._activity_writer = store, units_of_work, activity_writer
        #: Days for which explanations are kept; 0: none are stored.
        self.days = days

    def read(self, organization: OrganizationRecord, line: str) -> RequestExplanation:
        """Return the explanation of a line, named by its id or by its request id.

        Raises NotFound where there is no such line, NotExplained with the reason where the line has no explanation.
        """
        self._activity_writer.flush_briefly()
        record = self._store.activity.find_line(organization.id, line)
        if record is None:
            raise NotFound(f"There is no line {excerpt(line)} in the activity of this organization.")
        row = None
        if record.request_id is not None:
            row = self._store.explanations.find(organization.id, record.request_id, record.at)
        if row is None:
            raise self._absence(record)
        return RequestExplanation(
            record, json.loads(row.request), json.loads(row.response), json.loads(row.steps)
        )

    def known(self, organization: OrganizationRecord, lines: Iterable[ActivityRecord]) -> frozenset[str]:
        """Return those request ids of lines that have an explanation."""
        asked = {line.request_id: None for line in lines if line.request_id}
        return self._store.explanations.known(organization.id, list(asked))

    def _absence(self, record: ActivityRecord) -> NotExplained:
        absence: Absence = "done" if record.outcome != "failure" else "many"
        if is_of_admin(record.operation):
            absence = "admin"
        elif not self.days:
            absence = "off"
        elif record.at < now() - self.days * DAY:
            absence = "old"
        return NotExplained(self._sentence(absence), record, absence)

    def _sentence(self, absence: Absence) -> str:
        if absence == "off":
            return "No explanations are stored here: GATEWAY_TRACE_DAYS is 0. An operator can change that."
        if absence == "admin":
            return "Only requests of identity providers are explained, and this one is of an admin."
        if absence == "old":
            return f"This request is older than {self.days} days, and explanations are kept for no longer."
        if absence == "done":
            return (
                "This request was carried out while its connection was not watched, so nothing of its steps was kept."
                " Watch the connection and send it again."
            )
        return (
            "This refusal has no explanation: of many refusals in one minute only the first are explained, and none"
            " that names a person who was erased."
        )

    def request_of(
        self, organization: OrganizationRecord, connection: ConnectionRecord, line: str
    ) -> tuple[str, str, Any]:
        """Return method, path with its query, and body of the request of a line, to be tried again.

        Raises NotFound where it has no explanation, Conflict where it is of another connection or was stored in part.
        """
        explanation = self.read(organization, line)
        if explanation.line.connection_uid != connection.uid:
            raise Conflict("This line is of another connection. Try its request on that one.")
        sent = explanation.request
        if "…" in json.dumps(sent, ensure_ascii=False) or "path" not in sent:
            raise Conflict(
                "Of this request only a part is kept, because it is long or no JSON. Send its method, path and body"
                " instead."
            )
        query = f"?{urlencode(sent['query'])}" if sent.get("query") else ""
        return sent["method"], quote(sent["path"]) + query, sent["body"]

    def record_dry_run(self, caller: Caller, trace: Trace) -> None:
        """Leave the line of a dry run in the activity, which is all that stays of it."""
        trace.status = 200
        with self._units_of_work.open(caller, trace):
            trace.changed = ()

    def watch(self, caller: Caller, minutes: int, trace: Trace) -> int:
        """Explain every request of the caller's connection for so many minutes from now on; return until when.

        Raises Conflict where no explanations are stored.
        """
        if not self.days:
            raise Conflict(
                "No explanations are stored here: GATEWAY_TRACE_DAYS is 0. An operator has to change that first."
            )
        until = now() + minutes * MINUTE
        self._set(caller, until, trace)
        return until

    def end_watch(self, caller: Caller, trace: Trace) -> None:
        """Explain refusals alone again."""
        self._set(caller, 0, trace)

    def _set(self, caller: Caller, until: int, trace: Trace) -> None:
        assert caller.connection is not None
        trace.changed = ["watched_until"]
        with self._units_of_work.open(caller, trace):
            self._store.connections.watch(caller.connection, until)


def is_of_admin(operation: str) -> bool:
    """Return whether an operation of the activity is one of the admin REST or of the console."""
    return operation.partition(" ")[2].startswith(_OF_ADMINS)
