"""The first page of an organization: how it stands, and the one thing to do next."""

from __future__ import annotations

from gateway.web.console.blueprint import blueprint
from gateway.web.console.rendering import render


@blueprint.page("/console/organizations/<organization>/")
def show_home() -> str:
    """Show how an organization stands."""
    return render("home.html")
