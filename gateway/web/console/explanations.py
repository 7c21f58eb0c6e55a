"""Explain: how one request of an identity provider was decided, step by step, and the watch of its connection."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import flask

from gateway.provisioning.console_access import CONNECTIONS
from gateway.provisioning.explanations.reading import NotExplained, RequestExplanation
from gateway.scim.errors import NotFound
from gateway.web.console.activity_words import HOOKS, describe
from gateway.web.console.blueprint import blueprint, see
from gateway.web.console.context import ConsoleRequest, current_request
from gateway.web.console.rendering import render

_CONNECTION = "/console/organizations/<organization>/connections/<connection>"
#: Minutes for which the button watches a connection.
_MINUTES = 60
#: What the steps are called.
_TITLES = {
    "admission": "Who called",
    "dialect": "Dialect of the identity provider",
    "validation": "Validation",
    "found": "Who or what was found",
    "adoption": "Adoption",
    "groups": "Groups",
    "mapping": "Map to groups",
    "seats": "Seats",
    "conflict": "Decided again",
    "events": "Recorded",
    "outcome": "Outcome",
    "explanation": "No more explanations",
}


@blueprint.page("/console/organizations/<organization>/activity/<line>/explain")
def show_explanation(line: str) -> Any:
    """Show the steps of a request, named by the id of its line or by its request id; or why there are none."""
    console = current_request()
    explanation, absent = None, None
    try:
        explanation = console.gateway.explanations.read(console.organization, line)
        record = explanation.line
    except NotExplained as reason:
        absent, record = reason, reason.line
    connection = _connection(console, record.connection_uid)
    names = {connection.uid: connection.name} if connection else {}
    return render(
        "explanation.html",
        page="show_activity",
        line=describe(record, names),
        connection=connection,
        absent=absent,
        watchable=console.gateway.explanations.days > 0 and (absent is None or absent.absence != "admin"),
        **_shown(explanation),
    )


def _shown(explanation: RequestExplanation | None) -> dict[str, Any]:
    if explanation is None:
        return {"explanation": None}
    request, steps = explanation.request, explanation.steps
    query = request.get("query")
    return {
        "explanation": explanation,
        "address": request.get("path", "") + (f"?{urlencode(query)}" if query else ""),
        "steps": [
            (_title(step["step"]), _who(step["who"]), _sentence(step["sentence"]), step["ms"])
            for step in steps
        ],
        "translated": [step for step in steps if step["step"] == "dialect"],
        "timed": any(step["ms"] is not None for step in steps),
    }


def _title(step: str) -> str:
    return _TITLES.get(step) or HOOKS.get(step) or step.replace("_", " ").capitalize()


def _who(who: str) -> str:
    return "the gateway" if who == "gateway" else f"the plugin {who}"


def _sentence(sentence: str) -> str:
    """Return the sentence of a step without the name of the hook, which its title says in words."""
    hook, _, verdict = sentence.partition(": ")
    return verdict[:1].upper() + verdict[1:] if hook in HOOKS else sentence


def _connection(console: ConsoleRequest, uid: str | None) -> Any:
    """Return the connection of a line, None where it was removed."""
    if uid is None:
        return None
    try:
        return console.gateway.queries.connection(uid, console.organization.id)[0]
    except NotFound:
        return None


@blueprint.action(f"{_CONNECTION}/watch", operation="PUT /connections/{connection}/watch", needs=CONNECTIONS)
def watch_connection() -> Any:
    """Explain every request of a connection for an hour."""
    console = current_request()
    console.gateway.explanations.watch(console.idp_caller, _MINUTES, console.trace)
    return _back(f"Every request of {console.connection.name} is explained for an hour from now on.")


@blueprint.action(
    f"{_CONNECTION}/unwatch", operation="DELETE /connections/{connection}/watch", needs=CONNECTIONS
)
def end_watch() -> Any:
    """Explain refusals of a connection alone again."""
    console = current_request()
    console.gateway.explanations.end_watch(console.idp_caller, console.trace)
    return _back(f"Of {console.connection.name} only refusals are explained from now on.")


def _back(notice: str) -> Any:
    """Return to the page whose button was pressed."""
    form, uid = flask.request.form, current_request().connection.uid
    if form.get("page") == "explain" and form.get("line", "").isdecimal():
        return see("show_explanation", notice, line=form["line"])
    if form.get("page") == "set-up":
        return see("show_set_up", notice, connection=uid, _anchor="watch")
    return see("show_activity", notice, connection=uid)
