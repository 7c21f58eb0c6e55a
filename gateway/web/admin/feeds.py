"""What can be followed: seats, the events for the application, the activity for the admin."""

from __future__ import annotations

import json
from typing import Any

from gateway.contracts import SeatRequest
from gateway.store.clock import rfc3339
from gateway.store.records import ActivityRecord, EventRecord
from gateway.web.admin import schemas
from gateway.web.admin.arguments import Paging
from gateway.web.admin.door import Resource, here
from gateway.web.admin.organizations import seats_of

blueprint = Resource("feeds", "Seats, events and activity of an organization.")


@blueprint.route("/organizations/<organization>/seats")
@blueprint.response(200, schemas.SeatsNow)
def read_seats() -> Any:
    """Seats in use, and what the identity provider would be told if one more were wanted than there are."""
    visit, host = here(), here().gateway.host
    limit = host.check_seats(visit.caller.tenant, SeatRequest(""), [])
    return seats_of(visit.organization) | {
        "enforced": host.limits_seats(),
        "message": limit.sentence if limit else None,
    }


@blueprint.route("/organizations/<organization>/events")
@blueprint.arguments(Paging, location="query")
@blueprint.response(200, schemas.page_of(schemas.Event))
def list_events(asked: dict[str, int]) -> Any:
    """Committed changes in order, without gap or repeat. `next` is always the id to go on from."""
    visit = here()
    rows = visit.gateway.store.events.page(visit.organization.id, asked["after"], asked["limit"])
    return {"items": [_event(row) for row in rows], "next": rows[-1].seq if rows else asked["after"]}


@blueprint.route("/organizations/<organization>/activity")
@blueprint.arguments(schemas.ActivityAsked, location="query")
@blueprint.response(200, schemas.ActivityPage)
def list_activity(asked: dict[str, Any]) -> Any:
    """What identity providers and admins did, the newest first: outcome, reason, and what was ignored."""
    visit, limit, after = here(), asked["limit"], asked["after"]
    visit.gateway.recorder.flush()
    rows = visit.gateway.store.activity.page(
        visit.organization.id,
        _before(after),
        limit + 1,
        outcome=asked["outcome"],
        user=asked["user"],
        connection=asked["connection"],
    )
    following = f"{rows[limit - 1].at}-{rows[limit - 1].id}" if len(rows) > limit else None
    return {"items": [_line(row) for row in rows[:limit]], "next": following}


def _before(after: str) -> tuple[int, int] | None:
    """Moment and key of the last line of the page before."""
    moment, _, key = after.partition("-")
    return (int(moment), int(key)) if key else None


def _event(event: EventRecord) -> dict[str, Any]:
    return {
        "id": event.seq,
        "type": event.type,
        "at": rfc3339(event.at),
        "resource": event.resource,
        "resource_id": event.resource_uid,
        "connection": event.connection_uid,
        "data": json.loads(event.data),
    }


def _line(line: ActivityRecord) -> dict[str, Any]:
    return {
        "id": str(line.id),
        "at": rfc3339(line.at),
        "connection": line.connection_uid,
        "operation": line.operation,
        "user": line.user,
        "status": line.status,
        "outcome": line.outcome,
        "detail": line.detail,
        "ignored": json.loads(line.ignored),
        "decisions": json.loads(line.decisions),
        "request_id": line.request_id,
    }
