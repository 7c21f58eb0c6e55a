"""Health for machines: alive, ready, and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Response, jsonify

from gateway.provisioning import Provisioning
from gateway.scim.errors import Unavailable

if TYPE_CHECKING:
    from gateway.web.metrics import Metrics


def blueprint(gateway: Provisioning, metrics: Metrics) -> Blueprint:
    """Make the routes `/live`, which asks nothing, `/ready`, which asks the database, and `/metrics` for Prometheus."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/live")
    def live() -> Response:
        return jsonify({"status": "alive"})

    @blueprint.get("/ready")
    def ready() -> Response:
        pending = gateway.pending_migrations()
        if pending:
            raise Unavailable(
                f"The database lacks the migrations {', '.join(pending)}; run `gateway migrate`."
            )
        return jsonify({"status": "ready"})

    @blueprint.get("/metrics")
    def numbers() -> Response:
        return Response(metrics.text(), content_type=metrics.content_type)

    return blueprint
