"""The state of the deployment and its plugins, for operators."""

from __future__ import annotations

from gateway.web.console.blueprint import blueprint
from gateway.web.console.context import current_request
from gateway.web.console.rendering import render


@blueprint.page("/console/plugins", operator=True)
def show_plugins() -> str:
    """Show the plugins of this deployment."""
    return render("plugins.html", plugins=current_request().gateway.queries.installed_plugins())


@blueprint.page("/console/deployment", operator=True)
def show_deployment() -> str:
    """Show what is as it should be, and what needs an operator."""
    gateway = current_request().gateway
    core = next(plugin for plugin in gateway.queries.installed_plugins() if plugin.name == "generic")
    return render(
        "deployment.html", findings=gateway.deployment_state.findings(), version=core.version,
        troubled=gateway.webhook_endpoints.troubled(None),
    )  # fmt: skip
