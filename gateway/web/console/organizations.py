"""The start: an operator's list of organizations; everybody else is led to the organization of the session."""

from __future__ import annotations

from typing import Any

from flask import redirect, request

from gateway.web.console.blueprint import blueprint, find_session
from gateway.web.console.context import current_request
from gateway.web.console.entry import enter_path, show_sign_in
from gateway.web.console.rendering import render

#: Organizations on a page.
_PAGE = 50


@blueprint.page("/console/", signed_in=False)
def show_start() -> Any:
    """Show the organizations to an operator, the sign-in page to a browser that is not signed in."""
    session = find_session()
    if session is None:
        return show_sign_in()
    if session.only_organization is not None:
        return redirect(enter_path(session), 303)
    text, after = request.args.get("q", "")[:200], request.args.get("after", "0")
    rows = current_request().gateway.queries.organizations(
        None, text, int(after) if after.isdecimal() and len(after) < 16 else 0, _PAGE + 1
    )
    following = rows[_PAGE - 1].id if len(rows) > _PAGE else None
    return render("organizations.html", organizations=rows[:_PAGE], following=following, q=text)
