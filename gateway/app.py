"""Builds the application. The only file that knows every room."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, g, request

from gateway.config import Config, load
from gateway.host import PluginHost
from gateway.provisioning import Provisioning
from gateway.store import Store, open_database
from gateway.store.clock import new_id
from gateway.web import admin, errors, health, scim

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def build(config: Config) -> Provisioning:
    """Store, plugins and stories for a configuration, without a web server: what commands use."""
    store = Store(open_database(config.database_url, config.sqlite_synchronous), config.secret_key)
    host = PluginHost(store, config.extension_urn, config.application_name, config.plugins_disabled)
    return Provisioning(config, store, host)


def create_app(overrides: Mapping[str, Any] | None = None) -> Flask:
    """The WSGI application. `overrides` are settings of `gateway.config.Config` that win over all others."""
    from gateway.web.metrics import Metrics  # late: its library looks at the environment once, at its import

    gateway, metrics = build(load(overrides)), Metrics()
    app = Flask("gateway", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = gateway.config.body_limit
    app.extensions["gateway"] = gateway

    @app.before_request
    def begin() -> None:
        g.began = time.perf_counter()
        given = request.headers.get("X-Request-Id", "")
        g.request_id = given if _REQUEST_ID.fullmatch(given) else new_id()

    @app.after_request
    def end(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request_id
        answered = metrics.answering(response.status_code)
        if response.is_streamed and request.method != "HEAD":
            response.call_on_close(answered)
        else:
            answered()
        return response

    errors.install(app)
    admin.install(app)
    app.register_blueprint(scim.blueprint(gateway))
    app.register_blueprint(health.blueprint(gateway, metrics))
    return app
