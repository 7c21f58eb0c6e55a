"""Adoption: the setting of each connection, people who wait for a decision, and whom the first push would meet."""

from __future__ import annotations

from typing import Any, NamedTuple

import flask
from flask import request

from gateway.provisioning.adoption.review import DECISIONS, Preview, PreviewRequest
from gateway.provisioning.adoption.risks import MODES, describe
from gateway.provisioning.console_access import CONNECTIONS, PEOPLE
from gateway.provisioning.takeover import MATCHES
from gateway.scim.errors import InvalidValue, Refusal
from gateway.store.records import ConnectionRecord
from gateway.web.console.blueprint import blueprint, note_refusal, see
from gateway.web.console.context import ConsoleRequest, current_request
from gateway.web.console.forms import Problem, read_after
from gateway.web.console.rendering import render

_PATH = "/console/organizations/<organization>/adoption"
_CONNECTION = f"{_PATH}/<connection>"
#: Connections, waiting people of each, and people of a preview that a page shows.
_SHOWN, _WAITING, _PREVIEWED = 100, 100, 200


class _State(NamedTuple):
    connection: ConnectionRecord
    adoptions: list[Any]
    more: bool


@blueprint.page(_PATH)
def show_adoption() -> Any:
    """Show what waits, by connection, and how each adopts."""
    return _page(None)


def _page(problem: Problem | None) -> Any:
    console = current_request()
    states = []
    for connection in console.gateway.queries.connections(console.organization, 0, _SHOWN):
        rows = console.gateway.adoptions.page(connection, None, 0, _WAITING + 1)
        states.append(_State(connection, rows[:_WAITING], len(rows) > _WAITING))
    page = render(
        "adoption.html",
        page="show_adoption",
        states=states,
        unmanaged=console.gateway.adoptions.count_unmanaged(console.caller),
        problem=problem,
        describe=describe,
    )
    return page, problem.refusal.status if problem else 200


def _asked() -> PreviewRequest:
    """Return the preview that the query or the form asks for."""
    match = request.values.get("match", MATCHES[0])
    if match not in MATCHES:
        raise InvalidValue(
            "Choose by what the identity provider looks people up: userName or e-mail address."
        )
    return PreviewRequest(match, None, _PREVIEWED, read_after() or 0)


def _show_preview(
    console: ConsoleRequest, asked: PreviewRequest, shown: Preview, problem: Problem | None
) -> Any:
    page = render(
        "adoption_preview.html", page="show_adoption", connection=console.connection, shown=shown, asked=asked,
        problem=problem, describe=describe,
    )  # fmt: skip
    return page, problem.refusal.status if problem else 200


@blueprint.page(f"{_CONNECTION}/preview", expensive=True)
def show_adoption_preview() -> Any:
    """Show whom the first push would meet."""
    console, asked = current_request(), _asked()
    shown = console.gateway.adoptions.preview(console.caller, console.connection, asked)
    return _show_preview(console, asked, shown, None)


@blueprint.action(
    f"{_CONNECTION}/approve",
    operation="POST /connections/{connection}/adoption",
    needs=PEOPLE,
    expensive=True,
)
def approve_previewed() -> Any:
    """Approve people of the preview that was shown."""
    console, asked, form = current_request(), _asked(), request.form
    console.trace.status = 200
    users = None if form.get("approve") == "safe" else form.getlist("user")[:_PREVIEWED]
    try:
        if users is not None and not users:
            raise InvalidValue("Tick at least one person whom the identity provider may manage.")
        count = console.gateway.adoptions.approve(
            console.caller, console.connection, asked, users, form.get("etag", ""), console.trace
        )
    except Refusal as refusal:
        problem = Problem(note_refusal(refusal), form)
        shown = console.gateway.adoptions.preview(console.caller, console.connection, asked)
        return _show_preview(console, asked, shown, problem)
    return see(
        "show_adoption", f"{count} approved: {console.connection.name} manages them from its next write on."
    )


@blueprint.action(
    f"{_CONNECTION}/adoptions/<adoption>",
    operation="POST /connections/{connection}/adoptions/{adoption}",
    needs=PEOPLE,
)
def decide_adoption(adoption: str) -> Any:
    """Approve or reject that a connection manages a person."""
    console, decision = current_request(), flask.request.form.get("decision", "")
    console.trace.status = 200
    try:
        if decision not in DECISIONS:
            raise InvalidValue("Choose whether to approve or to reject.")
        decided = console.gateway.adoptions.decide(
            console.caller, console.connection, adoption, decision, console.trace
        )
    except Refusal as refusal:
        return _page(Problem(note_refusal(refusal), flask.request.form))
    after = console.gateway.safety.after_waiting(console.connection) if decision == "approve" else ""
    return see("show_adoption", f"{decided.user_name} is {decided.adoption.state}. {after}".strip())


@blueprint.action(f"{_CONNECTION}/setting", operation="PATCH /connections/{connection}", needs=CONNECTIONS)
def change_adoption() -> Any:
    """Change how a connection adopts people."""
    console, mode = current_request(), flask.request.form.get("adoption", "")
    try:
        if mode not in MODES:
            raise InvalidValue("Choose what becomes of people who are here already.")
        console.gateway.setup.edit_connection(
            console.caller, console.connection, {"adoption": mode}, console.trace
        )
    except Refusal as refusal:
        return _page(Problem(note_refusal(refusal), flask.request.form))
    return see("show_adoption", f"The setting of {console.connection.name} was changed.")
