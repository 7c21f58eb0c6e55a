"""The activity: what identity providers and admins did and asked for, how it ended, and what mends a refusal."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from flask import request as query

from gateway.store.ids_and_time import microseconds, now
from gateway.web.console.activity_words import describe, join_refusals
from gateway.web.console.blueprint import blueprint
from gateway.web.console.context import current_request
from gateway.web.console.forms import read_text
from gateway.web.console.rendering import render

#: Lines on a page, and connections that are named.
_PAGE, _CONNECTIONS = 50, 1000
#: The choices of the filter: its value, its words, the outcome that is searched.
_CHOICES = (
    ("refused", "Refused", "failure"),
    ("partial", "In part", "partial"),
    ("done", "Done", "success"),
    ("all", "All", None),
)
_OUTCOMES = {value: outcome for value, _, outcome in _CHOICES}


@blueprint.page("/console/organizations/<organization>/activity")
def show_activity() -> str:
    """Show a page of the activity: what was refused, where that is among the newest, else all."""
    request, before = current_request(), _read_bookmark()
    chosen, preselected = read_text("outcome"), False
    day, person, uid, request_id = (read_text(name) for name in ("day", "person", "connection", "request"))
    selection: dict[str, Any] = {"user": person, "connection": uid, "request_id": request_id} | _day(day)
    selection = {name: value for name, value in selection.items() if value}
    if chosen not in _OUTCOMES:
        chosen = "all"
        if not selection:
            newest = _search({}, None)
            preselected = any(line.outcome == "failure" for line in newest.lines)
            chosen = "refused" if preselected else "all"
    found = _search(selection | {"outcome": _OUTCOMES[chosen]}, before)
    connections = request.gateway.queries.connections(request.organization, 0, _CONNECTIONS)
    names = {connection.uid: connection.name for connection in connections}
    explained = request.gateway.explanations.known(request.organization, found.lines)
    asked = {"person": person, "connection": uid, "day": day, "request": request_id}
    return render(
        "activity.html",
        lines=join_refusals([describe(line, names, explained) for line in found.lines], names),
        following=found.next_start and "{}-{}".format(*found.next_start),
        connections=names,
        choices=_CHOICES,
        chosen=chosen,
        preselected=preselected,
        watchable=[
            connection
            for connection in connections
            if len(connections) == 1 or connection.uid == uid or connection.watched_until > now()
        ],
        explains=request.gateway.explanations.days > 0,
        asked={name: value or None for name, value in asked.items()},
    )


def _search(selection: dict[str, Any], before: tuple[int, int] | None) -> Any:
    request = current_request()
    return request.gateway.queries.activity(request.organization, selection, before, _PAGE)


def _read_bookmark() -> tuple[int, int] | None:
    """Return moment and key of the last line of the page before."""
    moment, _, key = query.args.get("before", "").partition("-")
    parts = [int(part) for part in (moment, key) if part.isdecimal() and len(part) < 19]
    return (parts[0], parts[1]) if len(parts) == 2 else None


def _day(text: str) -> dict[str, int]:
    """Return the first moment of a day (UTC) and that of the next one; nothing where it is no day."""
    try:
        day = date.fromisoformat(text)
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        return {"since": microseconds(midnight), "until": microseconds(midnight + timedelta(days=1))}
    except (ValueError, OverflowError):
        return {}
