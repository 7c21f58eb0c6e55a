"""The sessions of the console: who is signed in, and the button that ends a session."""

from __future__ import annotations

from typing import Any

from gateway.web.console.blueprint import blueprint, see
from gateway.web.console.context import current_request
from gateway.web.console.rendering import render


@blueprint.page("/console/sessions", operator=True)
def show_sessions() -> str:
    """Show the newest sessions of all organizations."""
    return _sessions_page()


@blueprint.page("/console/organizations/<organization>/sessions")
def show_sessions_of_organization() -> str:
    """Show the newest sessions of an organization."""
    return _sessions_page()


@blueprint.action("/console/sessions/<session>/end", operation="POST /console/sessions/{session}/end")
def end_session(session: str) -> Any:
    """End a session of those that the own one sees: a viewer ends no other."""
    request = current_request()
    request.gateway.console_access.end_by_id(request.signed_in, session, request.trace)
    if request.is_operator:
        return see("show_sessions", "The session has ended.")
    return see("show_start", "The session has ended.")


def _sessions_page() -> str:
    request = current_request()
    sessions = request.gateway.console_access.sessions(request.signed_in, request.found_organization)
    return render("sessions.html", sessions=sessions)
