"""Safety: pauses and brakes of connections, removals that are held, and what an admin decides on them."""

from __future__ import annotations

from typing import Any, NamedTuple

import flask
from marshmallow import fields, validate

from gateway.provisioning.console_access import CONNECTIONS, PEOPLE
from gateway.provisioning.safety.operations import (
    ALLOW_HOURS,
    MAX_PAUSE_HOURS,
    PAUSE_HOURS,
    REJECT_HOURS,
    HoldView,
)
from gateway.provisioning.safety.settings import Brake, Pause, read_brake, read_pause
from gateway.scim.errors import InvalidValue, Refusal
from gateway.store.ids_and_time import HOUR, now
from gateway.store.records import ConnectionRecord
from gateway.web.console.blueprint import blueprint, note_refusal, see
from gateway.web.console.context import current_request
from gateway.web.console.forms import NAME, Problem, read_form
from gateway.web.console.rendering import render

_PATH = "/console/organizations/<organization>/safety"
_CONNECTION = f"{_PATH}/<connection>"
#: Connections of an organization that the page shows.
_SHOWN = 100


def _number(least: int, most: int) -> fields.Integer:
    return fields.Integer(validate=validate.Range(least, most))


_BRAKE: dict[str, fields.Field[Any]] = {
    "percent": _number(0, 100), "least": _number(0, 9_999_999), "minutes": _number(1, 1440)
}  # fmt: skip
_PAUSE: dict[str, fields.Field[Any]] = {"hours": _number(1, MAX_PAUSE_HOURS), "reason": NAME}


class _State(NamedTuple):
    connection: ConnectionRecord
    brake: Brake | None
    pause: Pause | None
    view: HoldView


@blueprint.page(_PATH)
def show_safety() -> Any:
    """Show what is paused and held, by connection."""
    return _page(None)


def _page(problem: Problem | None) -> Any:
    request = current_request()
    connections = request.gateway.queries.connections(request.organization, 0, _SHOWN)
    states = []
    for connection in connections:
        pause = read_pause(connection.pause)
        shown = pause if pause and pause.covers(removal=True) else None
        view = request.gateway.safety.hold_of(connection)
        states.append(_State(connection, read_brake(connection.brake), shown, view))
    page = render(
        "safety.html",
        page="show_safety",
        states=states,
        problem=problem,
        hours={
            "pause": PAUSE_HOURS,
            "longest": MAX_PAUSE_HOURS,
            "allow": ALLOW_HOURS,
            "reject": REJECT_HOURS,
        },
    )
    return page, problem.refusal.status if problem else 200


def _change(act: Any, done: str) -> Any:
    try:
        act()
    except Refusal as refusal:
        return _page(Problem(note_refusal(refusal), flask.request.form))
    return see("show_safety", done)


@blueprint.action(f"{_CONNECTION}/pause", operation="PUT /connections/{connection}/pause", needs=CONNECTIONS)
def pause_connection() -> Any:
    """Pause a connection."""
    request = current_request()

    def act() -> None:
        values, scope = read_form(_PAUSE), flask.request.form.get("scope", "all")
        if scope not in ("all", "removals"):
            raise InvalidValue("Choose what the pause stops: all changes, or removals.")
        until = now() + values["hours"] * HOUR
        request.gateway.safety.pause(
            request.caller, request.connection, scope, until, values["reason"], request.trace
        )

    return _change(act, f"{request.connection.name} is paused.")


@blueprint.action(
    f"{_CONNECTION}/resume", operation="DELETE /connections/{connection}/pause", needs=CONNECTIONS
)
def resume_connection() -> Any:
    """End a pause."""
    request = current_request()
    after = request.gateway.safety.after_waiting(request.connection)
    return _change(
        lambda: request.gateway.safety.resume(request.caller, request.connection, request.trace),
        f"{request.connection.name} goes on. {after}".strip(),
    )


@blueprint.action(f"{_CONNECTION}/brake", operation="PATCH /connections/{connection}", needs=CONNECTIONS)
def change_brake() -> Any:
    """Change the limit of removals, or take it away."""
    request = current_request()

    def act() -> None:
        brake = read_form(_BRAKE) if flask.request.form.get("limited") == "yes" else None
        request.gateway.setup.edit_connection(
            request.caller, request.connection, {"brake": brake}, request.trace
        )

    return _change(act, f"The limit of {request.connection.name} was changed.")


@blueprint.action(f"{_CONNECTION}/hold", operation="POST /connections/{connection}/hold", needs=PEOPLE)
def decide_hold() -> Any:
    """Allow or reject removals that are held."""
    request, form = current_request(), flask.request.form
    request.trace.status = 200

    def act() -> None:
        action = form.get("action", "")
        if action not in ("allow_all", "allow", "reject"):
            raise InvalidValue(
                "Choose what becomes of the removals: allow all, allow those you tick, or reject."
            )
        users = form.getlist("user")
        if action == "allow" and not users:
            raise InvalidValue("Tick at least one person whose removal you allow.")
        hours = ALLOW_HOURS if action == "allow_all" else None
        request.gateway.safety.decide(
            request.caller,
            request.connection,
            action,
            users if action == "allow" else None,
            hours,
            request.trace,
        )

    after = request.gateway.safety.after_waiting(request.connection)
    rejected = form.get("action") == "reject"
    return _change(act, "The removals are rejected." if rejected else f"They are allowed. {after}".strip())


@blueprint.action(
    "/console/organizations/<organization>/people/<user>/protected",
    operation="PATCH /organizations/{organization}/users/{user}",
    needs=PEOPLE,
)
def protect_person(user: str) -> Any:
    """Protect a person from identity providers, or end that."""
    request = current_request()
    wanted = flask.request.form.get("protected")
    if wanted not in ("yes", "no"):
        raise InvalidValue(
            "The form does not say whether the person is to be protected: nothing was changed."
        )
    stored = request.gateway.safety.protect(request.caller, user, wanted == "yes", request.trace)
    done = "is protected: no identity provider removes or renames this person" if wanted == "yes" else (
        "is protected no longer"
    )  # fmt: skip
    return see("show_person", f"{stored.user_name} {done}.", user=stored.uid)
