"""What admins see and decide of adoption: waiting users, a preview before the first push, approval of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gateway.provisioning.adoption.risks import DIFFERS, PROTECTED, RISKS, addresses, describe, find_risks
from gateway.provisioning.caller import Caller
from gateway.provisioning.previews import check_preview, tag_of
from gateway.provisioning.takeover import EMAIL
from gateway.provisioning.trace import Target, Trace
from gateway.provisioning.unit_of_work import UnitsOfWork, retry_on_conflict
from gateway.scim.errors import Conflict, InvalidValue, NotFound
from gateway.scim.json_text import Json, excerpt
from gateway.store import Store
from gateway.store.adoptions import APPROVED, REJECTED, WAITING, AdoptionRecord, ListedAdoption
from gateway.store.ids_and_time import rfc3339
from gateway.store.records import ConnectionRecord, UserRecord

#: Users of one page of a preview, and names that it may list, at most.
PAGE = 1000
#: Decisions by their names in the admin REST.
DECISIONS: Mapping[str, str] = {"approve": APPROVED, "reject": REJECTED}


@dataclass(frozen=True)
class PreviewRequest:
    """Whom the first push is expected to meet.

    `match`: the attribute (`userName` or `email`) that the identity provider looks people up by. `names`: the values
    that it will look up, None for everybody. `after` is the `next` of the page before.
    """

    match: str
    names: tuple[str, ...] | None
    limit: int
    after: int = 0


class Meeting(NamedTuple):
    """A user whom the first push would meet."""

    user: UserRecord
    found_by: str
    risks: Sequence[str]
    known: AdoptionRecord | None

    @property
    def answer(self) -> str:
        """What is proposed: `approve` where nothing speaks against it, `ask`, or `never`."""
        return "never" if PROTECTED in self.risks else "ask" if self.risks else "approve"

    def as_json(self) -> Json:
        """Return the row of the admin REST."""
        return {
            "user": {
                "id": self.user.uid, "user_name": self.user.user_name, "active": bool(self.user.active)
            },
            "found_by": self.found_by,
            "risks": list(self.risks),
            "proposed": self.answer,
            "state": self.known.state if self.known else None,
        }  # fmt: skip


@dataclass(frozen=True)
class Preview:
    """One page of a preview. `unmanaged`: users of the organization whom no connection manages."""

    meetings: Sequence[Meeting]
    unmanaged: int
    next: int | None
    etag: str

    @property
    def safe(self) -> int:
        """How many of the page may be approved at once."""
        return sum(meeting.answer == "approve" for meeting in self.meetings)

    def as_json(self) -> Json:
        """Return the body of the admin REST."""
        return {
            "items": [meeting.as_json() for meeting in self.meetings],
            "next": self.next,
            "summary": {
                "unmanaged": self.unmanaged, "met": len(self.meetings), "safe": self.safe,
                "ask": sum(meeting.answer == "ask" for meeting in self.meetings),
            },
        }  # fmt: skip


class Adoptions:
    """Operations of admins on the adoptions of one connection."""

    def __init__(self, store: Store, units_of_work: UnitsOfWork) -> None:
        self._store, self._units_of_work = store, units_of_work

    def page(
        self, connection: ConnectionRecord, state: str | None, after: int, limit: int
    ) -> list[ListedAdoption]:
        """Return adoptions that wait or were decided, after a key, with what speaks against each now."""
        return self._as_now(connection, self._store.adoptions.page(connection.id, state, after, limit))

    def _as_now(self, connection: ConnectionRecord, rows: list[ListedAdoption]) -> list[ListedAdoption]:
        """Return the rows with the risks of the users as they are: they may have changed since the last try.

        What the identity provider sent is not stored, so its other address stays as it was found then.
        """
        organization_id = connection.organization_id
        users = self._store.adoptions.users(organization_id, [row.adoption.user_id for row in rows])
        documents = {key: user.document for key, user in users.items()}
        domains = self._store.domains.verified(organization_id) if users else frozenset()
        shared = self._store.adoptions.shared_addresses(
            organization_id, {key: addresses(document) for key, document in documents.items()}
        )
        shown = []
        for row in rows:
            key, sent = row.adoption.user_id, row.adoption.risk.split(",")
            if key not in users:  # removed since
                continue
            document = documents[key]
            risks = {*find_risks(users[key], document, document, domains, key in shared)}
            risks.update({DIFFERS}.intersection(sent))
            ordered = ",".join(risk for risk in RISKS if risk in risks)
            shown.append(row._replace(adoption=row.adoption._replace(risk=ordered)))
        return shown

    def count_unmanaged(self, caller: Caller) -> int:
        """Return how many users of the organization no connection manages."""
        return self._store.adoptions.count_unmanaged(caller.organization.id)

    @retry_on_conflict
    def decide(
        self, caller: Caller, connection: ConnectionRecord, uid: str, decision: str, trace: Trace
    ) -> ListedAdoption:
        """Approve or reject that a connection manages a user; until its next write it can be decided otherwise.

        Raises NotFound, and Conflict for a protected user, whom no connection manages.
        """
        with self._units_of_work.open(caller, trace) as unit:
            unit.outdate()
            found = self._listed(connection, uid)
            user = self._store.users.of(caller.organization, found.user_uid)
            if DECISIONS[decision] == APPROVED and user is not None and user.protected:
                raise Conflict(f"{user.user_name} is protected: end the protection before you approve this.")
            trace.user, trace.target = found.user_name, Target("User", found.user_uid, found.user_name)
            trace.decided = f"Approved for the connection {connection.name!r}."
            if DECISIONS[decision] != APPROVED:
                trace.decided = f"Rejected for the connection {connection.name!r}."
            self._store.adoptions.decide(found.adoption, DECISIONS[decision], trace.principal)
            return self._listed(connection, uid)

    def _listed(self, connection: ConnectionRecord, uid: str) -> ListedAdoption:
        found = self._store.adoptions.listed(connection.id, uid)
        shown = self._as_now(connection, [found]) if found else []
        if not shown:
            raise NotFound(
                f"The connection {connection.name!r} has no open adoption with the id {excerpt(uid)}: the user may have"
                " been adopted or deleted since."
            )
        return shown[0]

    def preview(self, caller: Caller, connection: ConnectionRecord, request: PreviewRequest) -> Preview:
        """Return whom the first push would meet of the users that nobody manages. Changes nothing.

        Its `etag` is what `approve` requires.
        """
        organization_id = caller.organization.id
        users = self._candidates(organization_id, request)
        more = len(users) > request.limit
        users = users[: request.limit]
        domains = self._store.domains.verified(organization_id)
        documents = {user.id: user.document for user in users}
        shared = self._store.adoptions.shared_addresses(
            organization_id, {key: addresses(document) for key, document in documents.items()}
        )
        known = self._store.adoptions.find_many(connection.id, [user.id for user in users])
        meetings = []
        for user in users:
            document = documents[user.id]
            if request.match == EMAIL and not any(entry.get("value") for entry in document.get("emails", ())):
                continue
            risks = find_risks(user, document, document, domains, user.id in shared)
            meetings.append(Meeting(user, request.match, risks, known.get(user.id)))
        return Preview(
            meetings,
            self._store.adoptions.count_unmanaged(organization_id),
            users[-1].id if more else None,
            _etag(connection, request, meetings),
        )

    def _candidates(self, organization_id: int, request: PreviewRequest) -> list[UserRecord]:
        adoptions = self._store.adoptions
        if request.names is None:
            return adoptions.unmanaged(organization_id, request.after, request.limit + 1)
        find = adoptions.unmanaged_addressed if request.match == EMAIL else adoptions.unmanaged_named
        found = sorted(find(organization_id, request.names))
        return [user for user in found if user.id > request.after][: request.limit + 1]

    @retry_on_conflict
    def approve(
        self, caller: Caller, connection: ConnectionRecord, request: PreviewRequest, chosen: Sequence[str] | None,
        if_match: str, trace: Trace,
    ) -> int:  # fmt: skip
        """Approve users of a preview before they are pushed; return how many.

        `chosen` are ids of users; None: all whose proposed answer is `approve`. Raises PreconditionFailed where the
        preview would be another one by now, InvalidValue for a user who is not in it or is protected.
        """
        with self._units_of_work.open(caller, trace) as unit:
            unit.outdate()
            shown = self.preview(caller, connection, request)
            check_preview(
                shown.etag,
                if_match,
                "The people whom the connection would meet have changed since this preview. Look at a new one and"
                " send its ETag.",
            )
            approved = self._choose(shown.meetings, chosen)
            rows = [
                (meeting.user.id, meeting.found_by, ",".join(meeting.risks))
                for meeting in approved
                if meeting.known is None or meeting.known.state != APPROVED
            ]
            self._store.adoptions.approve(caller.organization.id, connection.id, rows, trace.principal)
            trace.target = Target("Connection", connection.uid, connection.name)
            return len(rows)

    def _choose(self, meetings: Sequence[Meeting], chosen: Sequence[str] | None) -> list[Meeting]:
        if chosen is None:
            # What an admin rejected by name is not approved in passing.
            return [
                meeting
                for meeting in meetings
                if meeting.answer == "approve" and (meeting.known is None or meeting.known.state == WAITING)
            ]
        by_uid = {meeting.user.uid: meeting for meeting in meetings}
        for uid in chosen:
            if uid not in by_uid:
                raise InvalidValue(
                    f"The preview has no user with the id {excerpt(uid)}. Choose from its `items`."
                )
            if by_uid[uid].answer == "never":
                raise InvalidValue(
                    f"{by_uid[uid].user.user_name} is protected: no identity provider may manage it. End the protection"
                    " first, or leave it out."
                )
        return [by_uid[uid] for uid in dict.fromkeys(chosen)]


def as_json(listed: ListedAdoption) -> Json:
    """Return an adoption as the admin REST and the console show it."""
    adoption = listed.adoption
    risks = adoption.risk.split(",") if adoption.risk else []
    return {
        "id": adoption.uid,
        "user": {"id": listed.user_uid, "user_name": listed.user_name, "active": bool(listed.active)},
        "found_by": adoption.found_by,
        "risks": risks,
        "message": describe(risks),
        "state": adoption.state,
        "first_at": rfc3339(adoption.first),
        "last_at": rfc3339(adoption.last),
        "tries": adoption.tries,
        "decided_by": adoption.decided_by,
        "decided_at": None if adoption.decided is None else rfc3339(adoption.decided),
    }


def _etag(connection: ConnectionRecord, request: PreviewRequest, meetings: Sequence[Meeting]) -> str:
    rows = [[m.user.uid, m.user.version, m.risks, m.known.state if m.known else None] for m in meetings]
    return tag_of(connection.uid, request.match, request.names, request.limit, request.after, rows)
