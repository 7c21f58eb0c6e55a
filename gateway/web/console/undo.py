"""Undo: who would come back of the people whom a connection removed, and the button that does it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import flask

from gateway.provisioning.console_access import PEOPLE
from gateway.provisioning.undo.operations import UndoRequest, UndoResult
from gateway.provisioning.undo.plans import ATTRIBUTES, CHOICES
from gateway.scim.errors import InvalidValue, Refusal
from gateway.store.ids_and_time import HOUR, microseconds, now
from gateway.web.console.blueprint import blueprint, note_refusal, see
from gateway.web.console.context import ConsoleRequest, current_request
from gateway.web.console.forms import Problem
from gateway.web.console.rendering import render

_PATH = "/console/organizations/<organization>/safety/<connection>/undo"


@blueprint.page(_PATH, expensive=True)
def show_undo() -> Any:
    """Show the form, and who would come back where it was filled in."""
    console = current_request()
    if "from" not in flask.request.args:
        hold = console.gateway.safety.hold_of(console.connection).hold
        return _page(console, _minute((hold.since if hold else now()) - HOUR), None, None, None)
    try:
        asked = _asked()
        shown = console.gateway.undo.preview(console.idp_caller, asked)
    except Refusal as refusal:
        return _page(console, flask.request.args["from"], None, None, Problem(note_refusal(refusal), {}))
    return _page(console, flask.request.args["from"], asked, shown, None)


@blueprint.action(_PATH, operation="POST /connections/{connection}/undo", needs=PEOPLE, expensive=True)
def undo_changes() -> Any:
    """Bring the people of the preview back."""
    console, form = current_request(), flask.request.form
    console.trace.status = 200
    try:
        asked = _asked()
        done = console.gateway.undo.run(
            console.caller, console.idp_caller, asked, form.get("etag", ""), console.trace
        )
    except Refusal as refusal:
        problem = Problem(note_refusal(refusal), form)
        shown = (
            None
            if isinstance(refusal, InvalidValue)
            else console.gateway.undo.preview(console.idp_caller, asked)
        )
        return _page(console, flask.request.args.get("from", ""), asked if shown else None, shown, problem)
    count = done.counts.get("people", 0)
    name, paused = console.connection.name, ""
    if done.pause:
        paused = f" Removals of {name} are paused: mend the assignment there before the pause ends, or it repeats them."
    return see("show_safety", f"{count:,} {'person is' if count == 1 else 'people are'} back.{paused}")


def _page(
    console: ConsoleRequest, start: str, asked: UndoRequest | None, shown: UndoResult | None, problem: Problem | None
) -> Any:  # fmt: skip
    page = render(
        "undo.html",
        page="show_safety",
        connection=console.connection,
        query={"from": start, "to": flask.request.args.get("to", "")},
        what=asked.what if asked else frozenset(CHOICES) - {ATTRIBUTES},
        shown=shown,
        result=shown.as_json(preview=True) if shown else None,
        problem=problem,
    )
    return page, problem.refusal.status if problem else 200


def _asked() -> UndoRequest:
    """Return what the query asks for. Raises InvalidValue."""
    query = flask.request.args
    what = frozenset(query.getlist("what"))
    if not what or not what <= set(CHOICES):
        raise InvalidValue("Tick what comes back: at least one of the list.")
    end = query.get("to", "")
    return UndoRequest(_moment(query.get("from", "")), _moment(end) if end else None, what)


def _moment(text: str) -> int:
    """Return a moment that was typed in UTC, in microseconds."""
    try:
        when = datetime.fromisoformat(text[:30])
    except ValueError:
        raise InvalidValue("Give the time as year, month, day, hour and minute, in UTC.") from None
    if when.tzinfo is not None or not 1970 < when.year < 9999:
        raise InvalidValue("Give the time as year, month, day, hour and minute, in UTC.")
    return microseconds(when.replace(tzinfo=UTC))


def _minute(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment / 1_000_000, UTC):%Y-%m-%dT%H:%M}"
