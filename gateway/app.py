"""Builds the application. The only file that knows every room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.config import Config, load
from gateway.plugin.manager import PluginManager
from gateway.provisioning import Provisioning
from gateway.store import Store, open_database
from gateway.web import admin, console, health, well_known
from gateway.web.dispatch import Dispatcher
from gateway.web.errors import Errors
from gateway.web.flask_app import FlaskApp
from gateway.web.queues import RequestQueue, request_queues
from gateway.web.scim.dry_run import DryRuns
from gateway.web.scim.wsgi import ScimApp

if TYPE_CHECKING:
    from gateway.web.metrics import Metrics


def build(config: Config) -> Provisioning:
    """Build store, plugins and operations for a configuration, without a web server, as commands use them."""
    database = open_database(config.database_url, config.sqlite_synchronous)
    store = Store(database, config.secret_key, config.query_seconds, config.page_bytes, config.secret_key_old)
    plugins = PluginManager(
        store,
        config.extension_urn,
        config.application_name,
        config.plugins_disabled,
        config.plugin_seconds,
    )
    return Provisioning(config, store, plugins)


@dataclass(frozen=True)
class Parts:
    """What the applications of SCIM and of Flask share in a process, and the one of SCIM."""

    gateway: Provisioning
    metrics: Metrics
    errors: Errors
    queues: dict[str, RequestQueue]
    scim: ScimApp


def make_parts(overrides: Mapping[str, Any] | None = None) -> Parts:
    """Make the operations and the application of SCIM, which serve by themselves what identity providers send."""
    from gateway.web.metrics import Metrics  # late: its library looks at the environment once, at its import

    gateway = build(load(overrides))
    metrics, errors, queues = (
        Metrics(gateway.plugins.call_stats, gateway.webhook_gauges.read),
        Errors(gateway),
        request_queues(),
    )
    return Parts(gateway, metrics, errors, queues, ScimApp(gateway, metrics, errors, queues))


def make_flask_app(parts: Parts) -> FlaskApp:
    """Make the WSGI application of parts: Flask's, which has two hundred routes, with that of SCIM before it."""
    gateway, errors = parts.gateway, parts.errors
    app = FlaskApp(gateway, parts.metrics, errors, parts.queues)
    admin.install(app, errors)
    console.install(app, errors)
    app.find_client = lambda request: (
        admin.admin_key(gateway, request) or console.client_key(gateway, request)
    )
    app.register_blueprint(health.blueprint(gateway, parts.metrics))
    app.register_blueprint(well_known.blueprint(gateway))
    app.extensions["dry_runs"] = DryRuns(gateway)
    dispatcher = Dispatcher(app, parts.scim, parts.queues)
    app.extensions["dispatcher"] = app.wsgi_app = dispatcher  # type: ignore[method-assign]
    return app


def create_app(overrides: Mapping[str, Any] | None = None) -> FlaskApp:
    """Make the WSGI application. `overrides` are settings of `gateway.config.Config` that win over all others."""
    return make_flask_app(make_parts(overrides))
