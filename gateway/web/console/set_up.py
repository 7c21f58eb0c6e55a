"""Set up: the identity provider, single sign-on, the switch, base URL and token, and a test that shows calls arrive."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from flask import request
from marshmallow import ValidationError

from gateway.provisioning.console_access import CONNECTIONS, SSO
from gateway.provisioning.overview import ConnectionState, Overview
from gateway.scim.errors import InvalidValue, Refusal
from gateway.store.ids_and_time import now
from gateway.store.records import ActivityRecord
from gateway.web.console.blueprint import blueprint, note_refusal, see
from gateway.web.console.context import current_request
from gateway.web.console.forms import NAME, OPTIONAL_NAME, read_form
from gateway.web.console.rendering import render, render_fragment
from gateway.web.console.tokens import EXPIRIES, USUAL_EXPIRY, take_new_tokens

#: Calls that the test shows, and microseconds for which it looks for new ones by itself.
_CALLS, _LOOKS_FOR = 5, 600_000_000
_OUTCOMES = {"success": "done", "partial": "done, but something was left out", "failure": "refused"}
#: Forms that show a refusal.
_FORMS = ("sso", "connection", "provisioning", "name")
#: Checks by what they are called on the page.
_CHECKS = {
    "single_sign_on": "Single sign-on",
    "waiting_members": "Members of groups",
    "last_partial": "Last call that left something out",
    "last_failure": "Last refused call",
}
#: How the page calls the levels of checks.
_LEVELS = {"ok": "in order", "note": "note", "warn": "warning", "broken": "not in order"}


class Call(NamedTuple):
    """A line of the test: a call of the identity provider, and what became of it."""

    at: int
    #: Whether it came after the page was opened.
    new: bool
    sentence: str
    detail: str | None


# The page -------------------------------------------------------------------------------------------------------------


@blueprint.page("/console/organizations/<organization>/set-up")
def show_set_up() -> Any:
    """Show the steps of setting up a connection, by default the first one."""
    return _page(request.args.get("connection"))


def _page(uid: str | None, errors: dict[str, Refusal] | None = None) -> Any:
    """Render the page, with refusals beside their forms by name."""
    console_request, errors = current_request(), errors or {}
    gateway, organization = console_request.gateway, console_request.organization
    overview = gateway.overviews.of(organization)
    state = None if uid == "new" else overview.state_of(uid)
    if state is None and uid and uid != "new":
        # One that the overview has no place for, or none.
        connection, _ = gateway.queries.connection(uid, organization.id)
        (state,) = gateway.overviews.of(organization, connection).connections
    values: dict[str, Any] = {
        "overview": overview,
        "state": state,
        "steps": overview.steps(state),
        "adding": uid == "new" and bool(overview.connections),
        "errors": dict.fromkeys(_FORMS) | errors,
        "typed": request.form,
        "explains": gateway.explanations.days > 0,
        "idps": [plugin for plugin in gateway.queries.installed_plugins() if plugin.idp],
    }
    if state is not None:
        connection = state.connection
        values |= _panel(overview, state, now())
        values["details"] = gateway.queries.connection_details(
            connection, organization, console_request.public_url
        )
        values["new_tokens"] = take_new_tokens(connection)
        values |= {"expiries": EXPIRIES, "usual_expiry": USUAL_EXPIRY, "levels": _LEVELS}
        checks = gateway.diagnostics.of(organization, connection) if "check" in request.args else []
        values["checks"] = [
            (_CHECKS.get(check.name, check.name.replace("_", " ").capitalize()), check) for check in checks
        ]
    page = render("set_up.html", **values)
    return page, max((refusal.status for refusal in errors.values()), default=200)


# The test -------------------------------------------------------------------------------------------------------------


@blueprint.page("/console/organizations/<organization>/connections/<connection>/calls")
def show_calls() -> Any:
    """Show the calls of an identity provider that arrived, for the test; nothing where nothing has changed."""
    console_request = current_request()
    overview = console_request.gateway.overviews.of(console_request.organization, console_request.connection)
    (state,) = overview.connections
    since = request.args.get("since", "")
    panel = _panel(overview, state, int(since) if since.isdecimal() and len(since) < 17 else 0)
    if panel["looking"] and panel["known"] == request.args.get("known"):
        return "", 204
    return render_fragment(
        "set_up_calls.html",
        overview=overview,
        state=state,
        steps=overview.steps(state),
        fragment=True,
        **panel,
    )


def _panel(overview: Overview, state: ConnectionState, since: int) -> dict[str, Any]:
    """Return what the test shows to a page that was opened at `since`."""
    gateway = current_request().gateway
    lines = gateway.overviews.last_calls(state.connection, _CALLS)
    done = [step.done for step in overview.steps(state)]
    looks = repr((done, [(line.id, line.at, line.times) for line in lines]))
    return {
        "since": since,
        "known": hashlib.blake2b(looks.encode(), digest_size=8).hexdigest(),
        "looking": now() - since < _LOOKS_FOR,
        "calls": _calls(lines, state.title, since),
    }


def _calls(lines: Sequence[ActivityRecord], title: str, since: int) -> list[Call]:
    return [
        Call(line.at, line.at >= since, _sentence(line, title), line.detail if line.outcome != "success" else None)
        for line in lines
    ]  # fmt: skip


def _sentence(line: ActivityRecord, title: str) -> str:
    who = title if line.principal is not None else "Somebody without a valid token"
    whom = f" for {line.user}" if line.user else ""
    times = f" {line.times:,} times" if line.times > 1 else ""
    return f"{who} called {line.operation}{whom}{times} — {_OUTCOMES.get(line.outcome, line.outcome)}"


# Forms ----------------------------------------------------------------------------------------------------------------


@blueprint.action(
    "/console/organizations/<organization>/sso", operation="PUT /organizations/{organization}/sso", needs=SSO
)
def set_sso() -> Any:
    """Set up single sign-on from metadata, or replace it."""
    console_request = current_request()
    connection = request.form.get("connection")
    try:
        console_request.gateway.setup.set_sso(
            console_request.caller, request.form.get("metadata_xml", ""), console_request.trace
        )
    except InvalidValue as refusal:
        return _page(connection, {"sso": note_refusal(refusal)})
    return see("show_set_up", "Single sign-on is set up.", connection=connection, _anchor="sso")


@blueprint.action(
    "/console/organizations/<organization>/connections",
    operation="POST /organizations/{organization}/connections",
    needs=CONNECTIONS,
)
def add_connection() -> Any:
    """Add a connection for the identity provider that was chosen, with its settings as they are by themselves."""
    console_request, setup = current_request(), current_request().gateway.setup
    idp = request.form.get("idp", "")
    try:
        settings = _default_settings(idp)
        name = read_form({"name": OPTIONAL_NAME})["name"] or None
        added = setup.add_connection(console_request.caller, idp, name, settings, console_request.trace)
    except InvalidValue as refusal:
        return _page("new", {"connection": note_refusal(refusal)})
    return see("show_set_up", f"{added.name} was added.", connection=added.uid)


@blueprint.action(
    "/console/organizations/<organization>/connections/<connection>/provisioning",
    operation="PUT /connections/{connection}/provisioning",
    needs=CONNECTIONS,
)
def set_provisioning() -> Any:
    """Turn provisioning on or off."""
    console_request, enabled = current_request(), request.form.get("enabled") == "on"
    uid = console_request.connection.uid
    try:
        console_request.gateway.setup.set_provisioning(
            console_request.idp_caller, enabled, console_request.trace
        )
    except Refusal as refusal:
        return _page(uid, {"provisioning": note_refusal(refusal)})
    notice = "SCIM provisioning is turned on." if enabled else "SCIM provisioning is turned off."
    return see("show_set_up", notice, connection=uid, _anchor="provisioning")


@blueprint.action(
    "/console/organizations/<organization>/connections/<connection>/name",
    operation="PATCH /connections/{connection}",
    needs=CONNECTIONS,
)
def rename_connection() -> Any:
    """Rename a connection."""
    console_request = current_request()
    connection = console_request.connection
    try:
        console_request.gateway.setup.edit_connection(
            console_request.caller, connection, read_form({"name": NAME}), console_request.trace
        )
    except Refusal as refusal:
        return _page(connection.uid, {"name": note_refusal(refusal)})
    return see("show_set_up", "The name was changed.", connection=connection.uid)


@blueprint.page("/console/organizations/<organization>/connections/<connection>/remove")
def show_removal() -> str:
    """Ask whether a connection is to be removed, and say what happens then."""
    return render("remove_connection.html", connection=current_request().connection)


@blueprint.action(
    "/console/organizations/<organization>/connections/<connection>/remove",
    operation="DELETE /connections/{connection}",
    needs=CONNECTIONS,
)
def remove_connection() -> Any:
    """Remove a connection. Its users and groups stay."""
    console_request = current_request()
    connection = console_request.connection
    console_request.gateway.setup.remove_connection(console_request.caller, connection, console_request.trace)
    return see("show_set_up", f"{connection.name} was removed. Its people and groups stay.")


def _default_settings(idp: str) -> dict[str, Any]:
    try:
        return current_request().gateway.setup.checked_settings(idp, {})
    except ValidationError as error:
        names = ", ".join(map(str, error.messages)) if isinstance(error.messages, dict) else str(error)
        raise InvalidValue(
            f"This identity provider needs settings that the console does not ask for: {names}. Ask the operator of"
            " the application to make the connection."
        ) from None
