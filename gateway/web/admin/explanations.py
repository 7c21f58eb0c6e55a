"""How a request was decided: the steps of one line of the activity, and the watch of a connection."""

from __future__ import annotations

from typing import Any

from flask import current_app

from gateway.store.ids_and_time import rfc3339
from gateway.web.admin.blueprint import Blueprint
from gateway.web.admin.context import current_request
from gateway.web.admin.feeds import event_json, line_json
from gateway.web.admin.schemas import explanations as schemas

blueprint = Blueprint("explanations", "How requests of identity providers were decided, step by step.")


@blueprint.route("/organizations/<organization>/activity/<line>/explanation")
@blueprint.response(200, schemas.Explanation)
def read_explanation(line: str) -> Any:
    """The request, the response and each step between, of a line named by its `id` or its `request_id`.

    Refusals of identity providers have one, and while a connection is watched all of its requests. Secrets are masked.
    """
    request = current_request()
    explanation = request.gateway.explanations.read(request.organization, line)
    return explanation._asdict() | {"line": line_json(explanation.line)}


@blueprint.route("/connections/<connection>/watch", methods=["PUT"])
@blueprint.arguments(schemas.Watch)
@blueprint.response(200, schemas.Watch)
def watch_connection(values: dict[str, int]) -> Any:
    """Explain every request of a connection for a while, not its refusals alone."""
    request = current_request()
    until = request.gateway.explanations.watch(request.idp_caller, values["minutes"], request.trace)
    return {"until": rfc3339(until)}


@blueprint.route("/connections/<connection>/explain", methods=["POST"])
@blueprint.arguments(schemas.DryRunRequest)
@blueprint.response(200, schemas.DryRun)
def explain_request(values: dict[str, Any]) -> Any:
    """Try a request of an identity provider: the answer, the events and seats that it would take, and nothing done.

    Either `method`, `path` and `body`, or with `activity` the request of a line that has an explanation.
    """
    request = current_request()
    if line := values["activity"]:
        method, path, body = request.gateway.explanations.request_of(
            request.organization, request.connection, line
        )
    else:
        method, path, body = values["method"], values["path"], values["body"]
    answer = current_app.extensions["dry_runs"].run(
        request.organization, request.connection, request.public_url, method, path, body
    )
    request.gateway.explanations.record_dry_run(request.idp_caller, request.trace)
    outcome = answer.outcome
    return {
        "status": answer.status,
        "headers": answer.headers,
        "body": answer.body,
        "events": [event_json(event) for event in outcome.events],
        "seats": {"before": outcome.seats_before, "after": outcome.seats_after},
        "steps": [step._asdict() for step in outcome.steps],
    }


@blueprint.route("/connections/<connection>/watch", methods=["DELETE"])
@blueprint.response(204)
def end_watch() -> None:
    """Explain the refusals of a connection alone again."""
    request = current_request()
    request.gateway.explanations.end_watch(request.idp_caller, request.trace)
