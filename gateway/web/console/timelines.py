"""The timeline of a person: what happened to the account, the newest first."""

from __future__ import annotations

from gateway.web.console.activity_words import describe
from gateway.web.console.blueprint import blueprint
from gateway.web.console.context import current_request
from gateway.web.console.forms import read_text
from gateway.web.console.rendering import render

#: Entries on a page.
_PAGE = 50


@blueprint.page("/console/organizations/<organization>/people/<user>/timeline", expensive=True)
def show_timeline(user: str) -> str:
    """Show a page of the timeline of a person, also of a deleted one."""
    request = current_request()
    timeline = request.gateway.timelines.read(request.organization, user, read_text("before") or None, _PAGE)
    names = request.gateway.queries.connection_names(request.organization)
    lines = {
        entry.line.id: describe(entry.line, names, (entry.line.request_id,) if entry.explained else ())
        for entry in timeline.entries
        if entry.line
    }
    return render("timeline.html", page="show_people", timeline=timeline, lines=lines)
