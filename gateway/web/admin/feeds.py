"""What can be followed: seats, the events for the application, the activity for the admin."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask import Response

from gateway.store.ids_and_time import rfc3339
from gateway.store.records import ActivityRecord, EventRecord, OrganizationRecord
from gateway.web.admin.blueprint import Blueprint
from gateway.web.admin.context import AdminRequest, current_request
from gateway.web.admin.organizations import seats_json
from gateway.web.admin.schemas.activity import ActivityOfAllPage, ActivityPage, ActivityQuery
from gateway.web.admin.schemas.events import EventPage, EventQuery, PublishedEventPage
from gateway.web.admin.schemas.organizations import SeatsNow
from gateway.web.errors import current_http_request
from gateway.web.long_polls import Waiting

blueprint = Blueprint("feeds", "Seats, events and activity of an organization.")


@blueprint.route("/organizations/<organization>/seats")
@blueprint.response(200, SeatsNow)
def read_seats() -> Any:
    """Seats in use, and the message to the identity provider if one more were wanted than there are."""
    request = current_request()
    enforced, message = request.gateway.queries.seat_limit(request.organization)
    return seats_json(request.organization) | {"enforced": enforced, "message": message}


@blueprint.route("/organizations/<organization>/events", event_feed=True)
@blueprint.arguments(EventQuery, location="query")
@blueprint.response(200, EventPage)
def list_events(query: dict[str, Any]) -> Any:
    """Committed changes in order, without gap or repeat. `next` is always the id to go on from."""
    request, after = current_request(), query["after"]
    if query["newest"]:
        return _newest(request, request.organization)
    rows, epoch = request.gateway.event_feeds.of_organization(
        request.organization, after, query["limit"], query["epoch"]
    )
    if not rows:
        _wait(request, request.organization.id, query["wait"])
    return {
        "items": [event_json(row) for row in rows],
        "next": rows[-1].seq if rows else after,
        "epoch": epoch,
    }


@blueprint.route("/organizations/<organization>/snapshot", event_feed=True, expensive=True)
@blueprint.response(200, {"type": "string"}, content_type="application/x-ndjson")
def export_snapshot() -> Response:
    """All users and groups, a JSON object a line, for a follower that begins in the middle of the events.

    The first line has `epoch` and `after`, the number of the event to go on from; then each `resource` with its `data`
    as events have it, a group with its `members` (further lines of the same group have further members); the last one
    has `next`. Without a last line it is not complete. A line may be newer than `after`: the events that follow lead
    to the same end.
    """
    request = current_request()
    lines = request.gateway.snapshots.lines(request.organization)
    return Response((f"{line}\n".encode() for line in lines), mimetype="application/x-ndjson")


@blueprint.route("/events", event_feed=True)
@blueprint.arguments(EventQuery, location="query")
@blueprint.response(200, PublishedEventPage)
def list_events_of_all(query: dict[str, Any]) -> Any:
    """The same over all organizations, and those that come and go. For operators only.

    Events of one organization follow its commits; `number` counts over all, and `next` is always the number to go on
    from. A page may be empty before the end, where an organization was removed.
    """
    request = current_request()
    request.require_operator("follow the events of all organizations")
    if query["newest"]:
        return _newest(request, None)
    feed = request.gateway.event_feeds.of_all(query["after"], query["limit"], query["epoch"])
    if feed.next == query["after"]:
        _wait(request, None, query["wait"])
    items = [
        {"number": number, "organization": organization} | event_json(event)
        for number, organization, event in feed.events
    ]
    return {"items": items, "next": feed.next, "epoch": feed.epoch}


@blueprint.route("/organizations/<organization>/activity")
@blueprint.arguments(ActivityQuery, location="query")
@blueprint.response(200, ActivityPage)
def list_activity(query: dict[str, Any]) -> Any:
    """What identity providers and admins did, the newest first: outcome, reason, and what was ignored."""
    request = current_request()
    return _activity_page(request, request.organization, query)


@blueprint.route("/activity")
@blueprint.arguments(ActivityQuery, location="query")
@blueprint.response(200, ActivityOfAllPage)
def list_activity_of_all(query: dict[str, Any]) -> Any:
    """The same over all organizations, the last written first. For operators only."""
    request = current_request()
    request.require_operator("see the activity of all organizations")
    return _activity_page(request, None, query)


def _wait(request: AdminRequest, organization_id: int | None, seconds: int) -> None:
    """Suspend a request that found no events, where it asks for that and the server can. Raises Waiting."""
    if seconds and current_http_request().may_wait:
        raise Waiting(organization_id, request.token.uid if request.token else "", seconds)


def _newest(request: AdminRequest, organization: OrganizationRecord | None) -> dict[str, Any]:
    """Return the page behind the newest event, which is empty."""
    number, epoch = request.gateway.event_feeds.newest(organization)
    return {"items": [], "next": number, "epoch": epoch}


def _activity_page(
    request: AdminRequest, organization: OrganizationRecord | None, query: dict[str, Any]
) -> Any:
    page = request.gateway.queries.activity(
        organization, query, _read_bookmark(query["after"]), query["limit"]
    )
    items = [line_json(row) for row in page.lines]
    if organization is None:
        for item, row in zip(items, page.lines, strict=True):
            item["organization"] = page.organizations.get(row.organization_id)
    return {"items": items, "next": page.next_start and "{}-{}".format(*page.next_start)}


def _read_bookmark(after: str) -> tuple[int, int] | None:
    """Moment and key of the last line of the page before."""
    moment, _, key = after.partition("-")
    return (int(moment), int(key)) if key else None


def event_json(event: EventRecord) -> dict[str, Any]:
    """Return an event as it is shown."""
    return {
        "id": event.seq,
        "type": event.type,
        "at": rfc3339(event.at),
        "resource": event.resource,
        "resource_id": event.resource_uid,
        "connection": event.connection_uid,
        "data": json.loads(event.data),
    }


def line_json(line: ActivityRecord) -> dict[str, Any]:
    """Return a line of the activity as it is shown."""
    facts = json.loads(line.facts)
    target = None
    if line.target_uid is not None:
        target = {"type": facts.get("type"), "id": line.target_uid, "name": facts.get("name", line.user)}
    by = None
    if line.principal is not None or "prefix" in facts:
        by = {"name": line.principal or "", "prefix": facts.get("prefix")}
    return {
        "id": str(line.id),
        "at": rfc3339(line.at),
        "connection": line.connection_uid,
        "operation": line.operation,
        "user": line.user,
        "target": target,
        "by": by,
        "changed": facts.get("changed", []),
        "members": _member_counts(facts),
        "restored": facts.get("restored", False),
        "count": line.times,
        "first_at": rfc3339(line.first_at or line.at),
        "status": line.status,
        "outcome": line.outcome,
        "detail": line.detail,
        "ignored": json.loads(line.ignored),
        "decisions": json.loads(line.decisions),
        "request_id": line.request_id,
    }


def _member_counts(facts: Mapping[str, Any]) -> dict[str, int] | None:
    if facts.keys().isdisjoint(("joined", "waiting")):
        return None
    return {name: facts.get(name, 0) for name in ("joined", "left", "waiting")}
