"""Connections, their switch, their tokens, and the check of whether they work."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from marshmallow import ValidationError

from gateway.provisioning.diagnostics import Check
from gateway.provisioning.safety.settings import read_pause
from gateway.provisioning.takeover import TakeoverRequest
from gateway.store.ids_and_time import in_days, rfc3339
from gateway.store.records import ConnectionRecord, TokenRecord
from gateway.web.admin.blueprint import Blueprint, PreconditionRequired, accepts_if_match, with_etag
from gateway.web.admin.context import AdminRequest, current_request
from gateway.web.admin.pagination import Pagination
from gateway.web.admin.parsing import unprocessable
from gateway.web.admin.schemas import connections as schemas
from gateway.web.admin.schemas import takeovers
from gateway.web.admin.schemas.tokens import NewToken, Token, TokenRequest

blueprint = Blueprint(
    "connections", "Identity providers of organizations: what they reach, and by which tokens."
)


def _connection_json(request: AdminRequest, connection: ConnectionRecord) -> dict[str, Any]:
    pause = read_pause(connection.pause)
    details = request.gateway.queries.connection_details(connection, request.organization, request.public_url)
    return {
        "id": connection.uid,
        "slug": connection.slug,
        "base_url": details.base_url,
        "idp": connection.idp,
        "name": connection.name,
        "plugin_missing": details.plugin_missing,
        "settings": details.settings,
        "provisioning": {"enabled": bool(connection.provisioning)},
        "brake": json.loads(connection.brake) if connection.brake else None,
        "pause": pause.as_json() if pause and pause.covers(removal=True) else None,
        "adoption": connection.adoption,
        "setup_steps": details.setup_steps,
        "extension_urn": details.extension_urn,
        "created_at": rfc3339(connection.created),
        "updated_at": rfc3339(connection.modified),
    }


def _token_json(token: TokenRecord) -> dict[str, Any]:
    return {
        "id": token.uid,
        "label": token.label,
        "prefix": token.prefix,
        "expires_at": rfc3339(token.expires) if token.expires is not None else None,
        "created_at": rfc3339(token.created),
        "last_used_at": rfc3339(token.last_used) if token.last_used is not None else None,
    }


def _connections_json(request: AdminRequest, connections: Sequence[ConnectionRecord]) -> list[dict[str, Any]]:
    return [_connection_json(request, connection) for connection in connections]


def _tokens_json(_: AdminRequest, tokens: Sequence[TokenRecord]) -> list[dict[str, Any]]:
    return [_token_json(token) for token in tokens]


@blueprint.route("/organizations/<organization>/connections", methods=["POST"])
@blueprint.arguments(schemas.NewConnection)
@blueprint.response(201, schemas.Connection)
def add_connection(values: dict[str, Any]) -> Any:
    """Make a connection for an identity provider that a plugin brings. Provisioning is off at first."""
    request, setup, idp = current_request(), current_request().gateway.setup, values["idp"]
    try:
        settings = setup.checked_settings(idp, values.get("settings", {}))
    except ValidationError as error:
        raise _settings_refusal(error) from None
    added = setup.add_connection(request.caller, idp, values.get("name"), settings, request.trace)
    return with_etag(_connection_json(request, added), added)


@blueprint.route("/organizations/<organization>/connections")
@blueprint.paginate(schemas.Connection, _connections_json)
def list_connections(pagination: Pagination) -> Any:
    """The connections of an organization, in the order of making."""
    request = current_request()
    return request.gateway.queries.connections(request.organization, pagination.after, pagination.fetch)


@blueprint.route("/connections/<connection>")
@blueprint.response(200, schemas.Connection)
def read_connection() -> Any:
    """A connection, with the steps that its admin takes at the identity provider."""
    request = current_request()
    return with_etag(_connection_json(request, request.connection), request.connection)


@blueprint.route("/connections/<connection>", methods=["PATCH"])
@blueprint.arguments(schemas.ConnectionChange)
@blueprint.response(200, schemas.Connection)
@accepts_if_match
def change_connection(values: dict[str, Any]) -> Any:
    """Change the name, or the settings that are named; null puts a setting back to what it is by itself."""
    request, setup = current_request(), current_request().gateway.setup
    try:
        edited = setup.edit_connection(
            request.caller, request.connection, values, request.trace, request.if_match
        )
    except ValidationError as error:
        raise _settings_refusal(error) from None
    return with_etag(_connection_json(request, edited), edited)


@blueprint.route("/connections/<connection>", methods=["DELETE"])
@blueprint.response(204)
@accepts_if_match
def remove_connection() -> None:
    """Remove a connection with its tokens and rules. Its users and groups stay, managed by nobody."""
    request = current_request()
    request.gateway.setup.remove_connection(
        request.caller, request.connection, request.trace, request.if_match
    )


@blueprint.route("/connections/<connection>/provisioning", methods=["PUT"])
@blueprint.arguments(schemas.Provisioning)
@blueprint.response(200, schemas.Provisioning)
def set_provisioning(values: dict[str, bool]) -> Any:
    """Switch provisioning on or off. 409 with the reason while the plan or single sign-on is missing."""
    request = current_request()
    request.gateway.setup.set_provisioning(request.idp_caller, values["enabled"], request.trace)
    return values


@blueprint.route("/connections/<connection>/takeover", methods=["POST"], expensive=True)
@blueprint.arguments(takeovers.TakeoverRequest)
@blueprint.response(200, takeovers.Takeover)
@accepts_if_match
def take_over(values: dict[str, Any]) -> Any:
    """Take over users of another connection: a preview, or with its ETag in If-Match what it showed."""
    request, takeover = current_request(), current_request().gateway.takeover
    request.trace.status = 200
    source = takeover.find_source(request.connection, values["source"])
    users = values["users"]
    takeover_request = TakeoverRequest(
        values["match"], None if users is None else tuple(dict.fromkeys(users)), values["limit"]
    )
    if values["preview"]:
        shown = takeover.preview(request.caller, request.connection, source, takeover_request)
        return shown.as_json(preview=True), {"ETag": shown.etag}
    if request.if_match is None:
        raise PreconditionRequired(
            'Send the ETag of the preview in If-Match: POST the same body with "preview": true first.'
        )
    done = takeover.run(
        request.caller, request.connection, source, takeover_request, request.if_match, request.trace
    )
    return done.as_json(preview=False)


@blueprint.route("/connections/<connection>/tokens", methods=["POST"])
@blueprint.arguments(TokenRequest)
@blueprint.response(201, NewToken)
def add_token(values: dict[str, Any]) -> Any:
    """Make a token. Several may live at once, so that one can be changed without a gap."""
    request, expires = current_request(), in_days(values["expires_in_days"])
    added, value = request.gateway.setup.add_token(
        request.idp_caller, values["label"], expires, request.trace, request.token and request.token.expires
    )
    return _token_json(added) | {"token": value}


@blueprint.route("/connections/<connection>/tokens")
@blueprint.paginate(Token, _tokens_json)
def list_tokens(pagination: Pagination) -> Any:
    """The tokens of a connection, without their values; expired ones stay until they are deleted."""
    request = current_request()
    return request.gateway.queries.tokens(request.connection, pagination.after)


@blueprint.route("/connections/<connection>/tokens/<token>", methods=["DELETE"])
@blueprint.response(204)
def revoke_token(token: str) -> None:
    """Revoke a token, at once."""
    request = current_request()
    request.gateway.setup.revoke_token(request.idp_caller, token, request.trace)


@blueprint.route("/connections/<connection>/test", methods=["POST"], read_only=True)
@blueprint.response(200, schemas.Checkup)
def test_connection() -> Any:
    """Check whether the connection can work and does, in plain words. Changes nothing."""
    request = current_request()
    checks = request.gateway.diagnostics.of(request.organization, request.connection)
    return {
        "ok": all(check.ok for check in checks),
        "checks": [_check_json(request, each) for each in checks],
    }


def _check_json(request: AdminRequest, check: Check) -> dict[str, Any]:
    return {
        "name": check.name,
        "ok": check.ok,
        "level": check.level,
        "message": check.sentence,
        "remedy": check.describe_remedy(request.public_url, request.organization.uid, request.connection.uid),
        "seen": rfc3339(check.seen) if check.seen is not None else None,
    }


def _settings_refusal(error: ValidationError) -> Exception:
    """What the plugin's schema refused, at its place in the body."""
    return unprocessable(ValidationError({"json": {"settings": error.messages}}))
