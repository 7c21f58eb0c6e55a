"""The console: pages for the customers' IT admins and for operators, rendered on the server.

A page is a file here and a template. They share `blueprint` (sign-in, rights, refusals), `context` (the current
request), `browser` (cookies, requests of other sites, headers) and `rendering`. Every form works without script;
`static/console.js` and htmx only save clicks.
"""

from __future__ import annotations

from flask import Flask

from gateway.web.console import (
    activity,
    adoptions,
    deployment,
    domains,
    entry,
    explanations,
    groups,
    home,
    imports,
    mapping,
    oidc,
    organizations,
    people,
    safety,
    seats,
    sessions,
    set_up,
    setup_links,
    timelines,
    tokens,
    undo,
    webhooks,
)
from gateway.web.console.blueprint import blueprint
from gateway.web.console.browser import client_key
from gateway.web.console.rendering import install_filters
from gateway.web.errors import Errors
from gateway.web.scim.rate_limit import RateLimit

__all__ = ["client_key", "install"]

#: Pages of the console, for their side effect of registering routes.
PAGES = (
    entry,
    oidc,
    home,
    organizations,
    setup_links,
    sessions,
    deployment,
    mapping,
    set_up,
    tokens,
    people,
    groups,
    activity,
    explanations,
    seats,
    safety,
    undo,
    adoptions,
    webhooks,
    domains,
    imports,
    timelines,
)
#: Failed redemptions and sign-ins a second of one address; ten times as many may come at once.
WRONG_CODES = 1


def install(app: Flask, errors: Errors) -> None:
    """Serve the console."""
    workers = app.extensions["gateway"].config.workers
    app.extensions["wrong_codes"] = RateLimit(WRONG_CODES, workers)
    app.extensions["errors"] = errors
    install_filters(app)
    oidc.install(app)
    app.register_blueprint(blueprint)
