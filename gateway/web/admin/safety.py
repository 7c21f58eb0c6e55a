"""Pauses of connections, and removals of theirs that are held until an admin decides."""

from __future__ import annotations

from typing import Any

from gateway.provisioning.safety.operations import HoldView
from gateway.provisioning.undo.operations import UndoRequest
from gateway.scim.errors import InvalidValue
from gateway.store.ids_and_time import rfc3339
from gateway.store.records import HeldRemoval
from gateway.web.admin.blueprint import Blueprint, PreconditionRequired, accepts_if_match
from gateway.web.admin.context import current_request
from gateway.web.admin.schemas import safety as schemas

blueprint = Blueprint("safety", "Pauses of connections, and removals that are held until an admin decides.")

_PAUSE, _HOLD = "/connections/<connection>/pause", "/connections/<connection>/hold"


@blueprint.route(_PAUSE, methods=["PUT"])
@blueprint.arguments(schemas.PauseRequest)
@blueprint.response(200, schemas.Pause)
def pause_connection(values: dict[str, Any]) -> Any:
    """Have all changes of a connection, or its removals, wait: they are answered 429 with `Retry-After`.

    It ends by itself. Reads are answered meanwhile.
    """
    request = current_request()
    pause = request.gateway.safety.pause(
        request.caller, request.connection, values["scope"], values["until"], values["reason"], request.trace
    )
    return pause.as_json()


@blueprint.route(_PAUSE, methods=["DELETE"])
@blueprint.response(204)
def resume_connection() -> None:
    """End a pause. What an admin does at the identity provider then is in `after` of the hold."""
    request = current_request()
    request.gateway.safety.resume(request.caller, request.connection, request.trace)


@blueprint.route(_HOLD)
@blueprint.response(200, schemas.Hold)
def read_hold() -> Any:
    """What is held of a connection, and since when."""
    request = current_request()
    return _hold_json(request.gateway.safety.hold_of(request.connection))


@blueprint.route(_HOLD, methods=["POST"])
@blueprint.arguments(schemas.HoldDecision)
@blueprint.response(200, schemas.Hold)
def decide_hold(values: dict[str, Any]) -> Any:
    """Allow all removals for some hours, allow those of `users`, or reject all for a day.

    What is allowed passes when the identity provider sends it again. A hold ends by itself only
    when nothing waits any more.
    """
    request = current_request()
    request.trace.status = 200
    if (values["action"] == "allow") != ("users" in values):
        raise InvalidValue("users belongs to the action allow, and only to that one.")
    if "hours" in values and values["action"] != "allow_all":
        raise InvalidValue("hours belongs to the action allow_all, and only to that one.")
    view = request.gateway.safety.decide(
        request.caller,
        request.connection,
        values["action"],
        values.get("users"),
        values.get("hours"),
        request.trace,
    )
    return _hold_json(view)


@blueprint.route("/connections/<connection>/undo", methods=["POST"], expensive=True)
@blueprint.arguments(schemas.UndoRequest)
@blueprint.response(200, schemas.Undo)
@accepts_if_match
def undo_changes(values: dict[str, Any]) -> Any:
    """Bring people back to where they were: a preview, or with its ETag in If-Match what it showed.

    Removals of the connection are paused first, so that it does not repeat them.
    """
    request, undo = current_request(), current_request().gateway.undo
    request.trace.status = 200
    asked = UndoRequest(values["start"], values["end"], frozenset(values["what"]), values["limit"])
    if values["preview"]:
        shown = undo.preview(request.idp_caller, asked)
        return shown.as_json(preview=True), {"ETag": shown.etag}
    if request.if_match is None:
        raise PreconditionRequired(
            'Send the ETag of the preview in If-Match: POST the same body with "preview": true first.'
        )
    done = undo.run(request.caller, request.idp_caller, asked, request.if_match, request.trace)
    return done.as_json(preview=False)


def _hold_json(view: HoldView) -> dict[str, Any]:
    hold = view.hold
    if hold is None:
        return {"state": "none", "held": 0, "items": [], "after": view.after}
    return {
        "state": hold.state,
        "since": rfc3339(hold.since),
        "counted": hold.counted,
        "limit": hold.most,
        "by": hold.decided_by,
        "until": None if hold.until is None else rfc3339(hold.until),
        "held": view.total,
        "items": [_removal_json(each) for each in view.removals],
        "after": view.after,
    }


def _removal_json(removal: HeldRemoval) -> dict[str, Any]:
    return {
        "resource": removal.resource,
        "id": removal.uid,
        "name": removal.name,
        "action": removal.action,
        "people": removal.people,
        "first_at": rfc3339(removal.first),
        "last_at": rfc3339(removal.last),
        "tries": removal.tries,
        "allowed": bool(removal.allowed),
    }
