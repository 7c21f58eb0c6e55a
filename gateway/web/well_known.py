"""What anybody may read at well-known paths (RFC 8615): the public keys of security event tokens."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from gateway.provisioning import Provisioning
from gateway.store.ids_and_time import now

#: Seconds that a receiver may keep the keys; a new key is shown a day before it signs.
KEPT_SECONDS = 300


def blueprint(gateway: Provisioning) -> Blueprint:
    """Make the route `/.well-known/jwks.json`, which asks the database once a minute however often it is called."""
    blueprint = Blueprint("well_known", __name__)

    @blueprint.get("/.well-known/jwks.json")
    def keys() -> Response:
        found = gateway.token_keys.public_keys(now())
        response = jsonify({"keys": found})
        response.content_type = "application/jwk-set+json"  # RFC 7517, 8.5
        # Where there is none yet, the first may be made at any moment.
        response.headers["Cache-Control"] = f"public, max-age={KEPT_SECONDS}" if found else "no-store"
        return response

    return blueprint
