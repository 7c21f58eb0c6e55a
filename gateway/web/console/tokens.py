"""Tokens of connections: make, replace without a gap, revoke. A value is shown once, on the page after it was made."""

from __future__ import annotations

from typing import Any

from flask import request

from gateway.provisioning.console_access import CONNECTIONS
from gateway.provisioning.token_rotation import TokenState, rotation_step, token_states
from gateway.scim.errors import InvalidValue, NotFound, Refusal
from gateway.scim.json_text import excerpt
from gateway.store.ids_and_time import in_days
from gateway.store.records import ConnectionRecord
from gateway.web.console.blueprint import blueprint, note_refusal, see
from gateway.web.console.context import current_request
from gateway.web.console.forms import OPTIONAL_NAME, read_form
from gateway.web.console.rendering import render

#: What can be chosen for the life of a token: its value in the form, the words, days.
EXPIRIES = (
    ("90", "In 90 days", 90),
    ("365", "In 1 year", 365),
    ("730", "In 2 years", 730),
    ("never", "Never", None),
)
USUAL_EXPIRY = "365"
_DAYS = {value: days for value, _, days in EXPIRIES}


@blueprint.page("/console/organizations/<organization>/tokens")
def show_tokens() -> Any:
    """Show the tokens of all connections, or of the one that is asked for."""
    console_request, uid = current_request(), request.args.get("connection")
    if uid is None:
        return _page(None)
    return _page(console_request.gateway.queries.connection(uid, console_request.organization.id)[0])


def _page(only: ConnectionRecord | None, refusal: Refusal | None = None) -> Any:
    """Render the page, with a refusal beside the form of the one connection that it shows."""
    console_request = current_request()
    overview = console_request.gateway.overviews.of(console_request.organization, only)
    sections = []
    for state in overview.connections:
        states = token_states(state.tokens)
        sections.append((state, states, rotation_step(states), take_new_tokens(state.connection)))
    page = render(
        "tokens.html", sections=sections, expiries=EXPIRIES, usual_expiry=USUAL_EXPIRY, typed=request.form,
        only=only, refusal=refusal,
    )  # fmt: skip
    return page, refusal.status if refusal else 200


@blueprint.action(
    "/console/organizations/<organization>/connections/<connection>/tokens",
    operation="POST /connections/{connection}/tokens",
    needs=CONNECTIONS,
)
def make_token() -> Any:
    """Make a token. Its value waits for the next page, which shows it once."""
    console_request = current_request()
    connection, session = console_request.connection, console_request.signed_in
    try:
        token, value = console_request.gateway.setup.add_token(
            console_request.idp_caller, read_form({"label": OPTIONAL_NAME})["label"], in_days(_chosen_days()),
            console_request.trace, session.record.token_expires,
        )  # fmt: skip
    except Refusal as refusal:
        return _page(connection, note_refusal(refusal))
    made = {"value": value, "prefix": token.prefix}
    console_request.gateway.console_access.leave(session, _place(connection), made)
    if request.form.get("page") == "set-up":
        return see("show_set_up", connection=connection.uid, _anchor="token")
    return see("show_tokens", _anchor=f"connection-{connection.uid}")


@blueprint.page("/console/organizations/<organization>/connections/<connection>/tokens/<token>/revoke")
def show_revocation(token: str) -> str:
    """Ask whether a token is to be revoked, and say what happens then."""
    connection = current_request().connection
    states = _states(connection)
    found = next((state for state in states if state.token.uid == token), None)
    if found is None:
        raise NotFound(f"There is no token with the id {excerpt(token)} here.")
    others = [state for state in states if state.live and state is not found]
    return render("revoke_token.html", connection=connection, state=found, others=others)


@blueprint.action(
    "/console/organizations/<organization>/connections/<connection>/tokens/<token>/revoke",
    operation="DELETE /connections/{connection}/tokens/{token}",
    needs=CONNECTIONS,
)
def revoke_token(token: str) -> Any:
    """Revoke a token, at once."""
    console_request = current_request()
    console_request.gateway.setup.revoke_token(console_request.idp_caller, token, console_request.trace)
    return see("show_tokens", "The token was revoked.")


def take_new_tokens(connection: ConnectionRecord) -> list[dict[str, str]]:
    """Return the tokens of a connection that were made just now, once; two tabs may have made one each."""
    return current_request().take(_place(connection)) if request.method == "GET" else []


def _place(connection: ConnectionRecord) -> str:
    return f"token {connection.uid}"


def _states(connection: ConnectionRecord) -> list[TokenState]:
    return token_states(current_request().gateway.queries.tokens(connection, 0))


def _chosen_days() -> int | None:
    """Return the days until a new token ends, None for never. Raises InvalidValue."""
    chosen = request.form.get("expires", "")
    if chosen not in _DAYS:
        raise InvalidValue("Choose when the token expires.")
    return _DAYS[chosen]
