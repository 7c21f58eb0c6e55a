"""The plugins of this deployment."""

from __future__ import annotations

from typing import Any

from gateway.web.admin.blueprint import Blueprint
from gateway.web.admin.context import current_request
from gateway.web.admin.schemas import plugins as schemas

blueprint = Blueprint("plugins", "What this deployment knows of identity providers, billing and the like.")


@blueprint.route("/plugins")
@blueprint.response(200, schemas.Plugins)
def list_plugins() -> Any:
    """All plugins with the hooks that they implement, the core's `generic` included."""
    return {"items": current_request().gateway.queries.installed_plugins()}
