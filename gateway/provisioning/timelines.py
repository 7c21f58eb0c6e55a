"""The timeline of a user: requests, admin acts, events, holds and adoption in one order, over renames."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gateway.provisioning.activity_writer import ActivityWriter
from gateway.scim.errors import InvalidValue, NotFound
from gateway.scim.json_text import excerpt
from gateway.store import Store
from gateway.store.records import ActivityRecord, OrganizationRecord, UserRecord
from gateway.store.timelines import UserEvent

#: Entries of one moment are shown in the order of these: what was asked for stands above what came of it.
_EVENT, _HOLD, _ADOPTION, _LINE = range(4)
_END = 1 << 62
_EVENTS = {
    "user.created": "The account was made",
    "user.updated": "The account was changed",
    "user.deactivated": "The account was deactivated",
    "user.reactivated": "The account is active again",
    "user.restored": "The deleted account came back",
    "user.deleted": "The account was deleted",
    "user.removal_held": "A removal was held back",
    "user.removal_withdrawn": "The identity provider took back a removal that was held",
    "user.adoption_waiting": "The identity provider wants to manage the account: an admin has to confirm it",
    "user.adopted": "The identity provider manages the account from now on",
}
_HELD = {"deactivate": "deactivate", "delete": "delete"}


class Entry(NamedTuple):
    """One thing that happened. `kind`: request, admin, event, hold or adoption."""

    at: int
    rank: int
    key: int
    kind: str
    who: str | None
    what: str
    #: The line of the activity, for requests and admin acts.
    line: ActivityRecord | None = None
    #: Whether the steps of the request are stored.
    explained: bool = False

    @property
    def place(self) -> str:
        """Return what the next page is asked for with, where this is the last entry of a page."""
        return f"{self.at}.{self.rank}.{self.key}"


class Timeline(NamedTuple):
    """A page of entries, the newest first; `next` begins the next page, None at the end."""

    user: UserRecord
    deleted: bool
    entries: list[Entry]
    next: str | None


class TimelineReader:
    """Reads timelines of users, deleted ones too."""

    def __init__(self, store: Store, activity_writer: ActivityWriter) -> None:
        self._store, self._activity_writer = store, activity_writer

    def read(self, organization: OrganizationRecord, uid: str, before: str | None, limit: int) -> Timeline:
        """Return a page. `before`: the `next` of the page before. Raises NotFound, and InvalidValue for `before`.

        Events are those among the newest 20,000 of the organization; lines of the activity are as old as it is stored.
        """
        self._activity_writer.flush_briefly()
        found = self._store.erasures.user(organization.id, uid)
        if found is None or not found[0].user_name:
            raise NotFound(f"There is no user with the id {excerpt(uid)} here.")
        user, deleted = found
        place, timelines = _read_place(before), self._store.timelines
        events = timelines.events(organization.id, uid)
        names = [user.user_name, *(json.loads(event.user_name) for event in events if event.user_name)]
        at, rank, key = place
        bound = at, key if rank == _LINE else _END if rank > _LINE else 0
        lines = timelines.lines(organization.id, uid, list(dict.fromkeys(names)), bound, limit + 1)
        connections = {each.uid: each.name for each in self._store.connections.page(organization, 0, 1000)}
        entries = [_of_line(line, connections) for line in lines]
        entries += [_of_event(event, connections) for event in events]
        entries += self._of_decisions(organization.id, user, connections)
        entries = sorted((entry for entry in entries if entry[:3] < place), reverse=True, key=_order)
        page, following = entries[:limit], None
        if len(entries) > limit:
            following = page[-1].place
        return Timeline(user, deleted, self._explained(organization.id, page), following)

    def _of_decisions(
        self, organization_id: int, user: UserRecord, connections: Mapping[str, str]
    ) -> Iterator[Entry]:
        timelines = self._store.timelines
        for number, held in enumerate(timelines.held_removals(organization_id, user.uid)):
            who = connections.get(held.connection_uid)
            times = f", {held.tries} times" if held.tries > 1 else ""
            state = "was allowed by an admin" if held.allowed else "is held back"
            asked = _HELD.get(held.action, held.action)
            yield Entry(
                held.last, _HOLD, number, "hold", who, f"Asked to {asked} the account{times}: this {state}"
            )
        for each in timelines.adoptions(organization_id, user):
            who = connections.get(each.connection_uid)
            yield Entry(each.first, _ADOPTION, 2 * each.id, "adoption", who, "Asked to manage the account")
            if each.decided is not None:
                decided = "may manage" if each.state == "approved" else "may not manage"
                what = f"Decided that {who or 'a connection'} {decided} the account"
                yield Entry(each.decided, _ADOPTION, 2 * each.id + 1, "adoption", each.decided_by, what)

    def _explained(self, organization_id: int, page: list[Entry]) -> list[Entry]:
        asked = [entry.line.request_id for entry in page if entry.line and entry.line.request_id]
        known = self._store.explanations.known(organization_id, asked)
        return [
            entry._replace(explained=bool(entry.line and entry.line.request_id in known)) for entry in page
        ]


def _order(entry: Entry) -> tuple[int, int, int]:
    return entry.at, entry.rank, entry.key


def _read_place(text: str | None) -> tuple[int, int, int]:
    if text is None:
        return _END, _LINE + 1, 0
    parts = text.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 19 for part in parts):
        raise InvalidValue(f"There is no page {excerpt(text)}: give the `next` of the page before.")
    return int(parts[0]), int(parts[1]), int(parts[2])


def _of_event(event: UserEvent, connections: Mapping[str, str]) -> Entry:
    who = connections.get(event.connection_uid or "", "an admin" if event.connection_uid is None else None)
    return Entry(
        event.at,
        _EVENT,
        event.seq,
        "event",
        who,
        f"{_EVENTS.get(event.type, event.type)} (event {event.seq})",
    )


def _of_line(line: ActivityRecord, connections: Mapping[str, str]) -> Entry:
    of_admin = "/organizations" in line.operation or "/connections" in line.operation
    who = line.principal if of_admin else connections.get(line.connection_uid or "", line.principal)
    outcome = {"success": "done", "partial": "done in part"}.get(line.outcome, f"refused with {line.status}")
    times = f", {line.times} times" if line.times > 1 else ""
    detail = f": {line.detail}" if line.detail else ""
    what = f"{line.operation} was {outcome}{times}{detail}"
    return Entry(line.at, _LINE, line.id, "admin" if of_admin else "request", who, what, line)
