"""The timeline of a user: what happened to it, from all that is stored."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from gateway.provisioning.timelines import Entry
from gateway.store.ids_and_time import rfc3339
from gateway.web.admin.blueprint import Blueprint
from gateway.web.admin.context import PREFIX, current_request
from gateway.web.admin.pagination import LimitQuery

blueprint = Blueprint("timelines", "What happened to a user, in one order.")

_KINDS = ("request", "admin", "event", "hold", "adoption")


class TimelineQuery(LimitQuery):
    """A page of a timeline: `before` is the `next` of the page before."""

    before = fields.String(load_default=None, validate=validate.Length(max=60))


class TimelineEntry(Schema):
    """One thing that happened."""

    at = fields.String(metadata={"format": "date-time"})
    kind = fields.String(validate=validate.OneOf(_KINDS))
    who = fields.String(allow_none=True)
    what = fields.String(metadata={"description": "One sentence."})
    request_id = fields.String(allow_none=True)
    explanation = fields.String(
        allow_none=True, metadata={"description": "The path of the request's steps, where they are stored."}
    )


class TimelinePage(Schema):
    """A page of entries, the newest first."""

    items = fields.List(fields.Nested(TimelineEntry))
    next = fields.String(allow_none=True)


@blueprint.route("/organizations/<organization>/users/<user>/timeline", expensive=True)
@blueprint.arguments(TimelineQuery, location="query")
@blueprint.response(200, TimelinePage)
def read_timeline(query: dict[str, Any], user: str) -> Any:
    """What happened to a user, over renames, the newest first: requests, admin acts, events, holds, adoption."""
    request = current_request()
    timeline = request.gateway.timelines.read(request.organization, user, query["before"], query["limit"])
    path = f"{PREFIX}/organizations/{request.organization.uid}/activity"
    return {"items": [_entry_json(entry, path) for entry in timeline.entries], "next": timeline.next}


def _entry_json(entry: Entry, path: str) -> dict[str, Any]:
    line = entry.line
    return {
        "at": rfc3339(entry.at),
        "kind": entry.kind,
        "who": entry.who,
        "what": entry.what,
        "request_id": line.request_id if line else None,
        "explanation": f"{path}/{line.id}/explanation" if line and entry.explained else None,
    }
