"""The admin REST: flask-smorest blueprints, one file a resource.

They share `blueprint` (their base class), `auth`, `context` (the current request), `parsing`, `pagination`
and `schemas`. Each view reads, calls an operation of `gateway.provisioning`, and shows its result. Its docstring is its
documentation: OpenAPI 3.1 at `/admin/v1/openapi.json`, Swagger UI at `/admin/v1/docs`, which loads nothing from
outside.
"""

from __future__ import annotations

from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import flask_smorest
import flask_swagger_ui
from flask import Blueprint, Flask, Response, request
from flask.json.provider import DefaultJSONProvider
from werkzeug.exceptions import HTTPException

from gateway.web.admin import (
    admin_tokens,
    adoptions,
    connections,
    console_links,
    domains,
    explanations,
    feeds,
    groups,
    imports,
    mapping,
    organizations,
    plugins,
    safety,
    timelines,
    users,
    webhook_polls,
    webhooks,
)
from gateway.web.admin.auth import admin_key
from gateway.web.admin.context import PREFIX
from gateway.web.errors import Errors

if TYPE_CHECKING:
    from apispec import APISpec

__all__ = ["admin_key", "install"]

_ASSETS = f"{PREFIX}/docs/assets/"
_SETTINGS: dict[str, Any] = {
    "API_TITLE": "Admin REST of the provisioning gateway",
    "API_VERSION": "v1",
    "OPENAPI_VERSION": "3.1.0",
    "OPENAPI_URL_PREFIX": PREFIX,
    "OPENAPI_JSON_PATH": "openapi.json",
    "OPENAPI_SWAGGER_UI_PATH": "docs",
    "OPENAPI_SWAGGER_UI_URL": _ASSETS,
    # Swagger UI would send the address of the document to a validator of its makers.
    "OPENAPI_SWAGGER_UI_CONFIG": {"validatorUrl": None},
    "API_SPEC_OPTIONS": {
        "info": {
            "description": "Organizations, their connections to identity providers, users, groups and feeds."
            " Every refusal is an `Error` whose `message` says what was wrong and what to do."
        },
        "servers": [{"url": "/", "description": "The gateway that serves this document."}],
        "security": [{"token": []}],
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    },
}


class Api(flask_smorest.Api):
    """The API of flask-smorest, with the errors of the gateway.

    Resources are documented when somebody asks for the document: that takes a quarter of the time that the application
    takes to start, and most processes are never asked.
    """

    def __init__(self, app: Flask, errors: Errors) -> None:
        self._errors = errors
        self._undocumented: list[flask_smorest.Blueprint] = []
        self._documenting = RLock()
        super().__init__(app)

    def register_blueprint(self, blueprint: flask_smorest.Blueprint) -> None:
        """Serve a resource, and document it later."""
        self._app.extensions["flask-smorest"]["blp_name_to_api"][blueprint.name] = self
        self._app.register_blueprint(blueprint)
        self._undocumented.append(blueprint)

    def _register_responses(self) -> None:
        # Of every status code of HTTP: `spec` does it when the document is asked for.
        self._without_responses = True

    @property
    def spec(self) -> APISpec:
        """The OpenAPI document, with every resource that is served."""
        with self._documenting:
            if self._undocumented and self._without_responses:
                self._without_responses = False
                # It asks for `spec` itself, and what refers to the responses comes behind them.
                resources, self._undocumented = self._undocumented, []
                super()._register_responses()
                self._undocumented = resources
            while self._undocumented:
                blueprint = self._undocumented.pop(0)
                blueprint.register_views_in_doc(
                    self, self._app, self._spec, name=blueprint.name, parameters=None
                )
                self._spec.tag({"name": blueprint.name, "description": blueprint.description})
            return self._spec

    @spec.setter
    def spec(self, spec: APISpec) -> None:
        self._spec = spec

    def handle_http_exception(self, error: HTTPException) -> Response:
        """Render an error in the JSON of the gateway instead of flask-smorest's."""
        return self._errors.http_response(error)


def install(app: Flask, errors: Errors) -> None:
    """Serve the admin REST and its documentation."""
    app.config.update(_SETTINGS)
    if isinstance(app.json, DefaultJSONProvider):
        app.json.sort_keys = False  # answers read as they are written here
    api = Api(app, errors)
    resources = (
        organizations, connections, mapping, users, groups, feeds, admin_tokens, console_links, webhooks, plugins,
        webhook_polls, explanations, imports, safety, adoptions, domains, timelines,
    )  # fmt: skip
    for resource in resources:
        api.register_blueprint(resource.blueprint)
    app.register_blueprint(_assets())

    @app.after_request
    def keep_inside(response: Response) -> Response:
        if request.path == f"{PREFIX}/docs":
            response.headers["Content-Security-Policy"] = (
                "default-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
            )
        return response


def _assets() -> Blueprint:
    """Style and scripts of Swagger UI, as its distribution brings them."""
    folder = Path(flask_swagger_ui.__file__).with_name("dist")
    return Blueprint("admin_docs", __name__, static_folder=str(folder), static_url_path=_ASSETS.rstrip("/"))
