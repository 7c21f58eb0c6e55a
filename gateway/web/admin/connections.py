"""Connections, their switch, their tokens, and the check of whether they work."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError

from gateway.provisioning.takeover import Wish
from gateway.store.ids_and_time import in_days, rfc3339
from gateway.store.records import ConnectionRecord, TokenRecord
from gateway.web.admin import schemas
from gateway.web.admin.auth import (
    AdminRequest,
    PreconditionRequired,
    Resource,
    here,
    tagged,
    versioned,
)
from gateway.web.admin.parsing import Paging, page, unprocessable

blueprint = Resource(
    "connections", "Identity providers of organizations: what they reach, and by which tokens."
)


@blueprint.route("/organizations/<organization>/connections", methods=["POST"])
@blueprint.arguments(schemas.NewConnection)
@blueprint.response(201, schemas.Connection)
def add_connection(values: dict[str, Any]) -> Any:
    """Make a connection for an identity provider that a plugin brings. Provisioning is off at first."""
    visit, setup, idp = here(), here().gateway.setup, values["idp"]
    try:
        settings = setup.checked_settings(idp, values.get("settings", {}))
    except ValidationError as error:
        raise _unprocessable(error) from None
    name = values["name"] if "name" in values else visit.gateway.plugins.declared.title(idp)
    added = setup.add_connection(visit.caller, idp, name, settings, visit.trace)
    return tagged(_shown(visit, added), added)


@blueprint.route("/organizations/<organization>/connections")
@blueprint.arguments(Paging, location="query")
@blueprint.response(200, schemas.page_of(schemas.Connection))
def list_connections(asked: dict[str, int]) -> Any:
    """The connections of an organization, in the order of making."""
    visit = here()
    rows = visit.gateway.store.connections.page(visit.organization, asked["after"], asked["limit"] + 1)
    return page(rows, asked["limit"], lambda shown: [_shown(visit, row) for row in shown])


@blueprint.route("/connections/<connection>")
@blueprint.response(200, schemas.Connection)
def read_connection() -> Any:
    """A connection, with the steps that its admin takes at the identity provider."""
    visit = here()
    return tagged(_shown(visit, visit.connection), visit.connection)


@blueprint.route("/connections/<connection>", methods=["PATCH"])
@blueprint.arguments(schemas.ConnectionChange)
@blueprint.response(200, schemas.Connection)
@versioned
def change_connection(values: dict[str, Any]) -> Any:
    """Change the name, or the settings that are named; null puts a setting back to what it is by itself."""
    visit, setup = here(), here().gateway.setup
    try:
        edited = setup.edit_connection(visit.caller, visit.connection, values, visit.trace, visit.if_match)
    except ValidationError as error:
        raise _unprocessable(error) from None
    return tagged(_shown(visit, edited), edited)


@blueprint.route("/connections/<connection>", methods=["DELETE"])
@blueprint.response(204)
@versioned
def remove_connection() -> None:
    """Remove a connection with its tokens and rules. Its users and groups stay, managed by nobody."""
    visit = here()
    visit.gateway.setup.remove_connection(visit.caller, visit.connection, visit.trace, visit.if_match)


@blueprint.route("/connections/<connection>/provisioning", methods=["PUT"])
@blueprint.arguments(schemas.Provisioning)
@blueprint.response(200, schemas.Provisioning)
def set_provisioning(values: dict[str, bool]) -> Any:
    """Switch provisioning on or off. 409 with the reason while the plan or single sign-on is missing."""
    visit = here()
    visit.gateway.setup.set_provisioning(visit.idp_caller, values["enabled"], visit.trace)
    return values


@blueprint.route("/connections/<connection>/takeover", methods=["POST"])
@blueprint.arguments(schemas.TakeoverRequest)
@blueprint.response(200, schemas.Takeover)
@versioned
def take_over(values: dict[str, Any]) -> Any:
    """Take over users of another connection: a preview, or with its ETag in If-Match what it showed."""
    visit, takeover = here(), here().gateway.takeover
    visit.trace.status = 200
    source = takeover.source(visit.connection, values["source"])
    users = values["users"]
    wish = Wish(values["match"], None if users is None else tuple(dict.fromkeys(users)), values["limit"])
    if values["preview"]:
        shown = takeover.preview(visit.caller, visit.connection, source, wish)
        return shown.as_json(preview=True), {"ETag": shown.etag}
    if visit.if_match is None:
        raise PreconditionRequired(
            'Send the ETag of the preview in If-Match: POST the same body with "preview": true first.'
        )
    done = takeover.run(visit.caller, visit.connection, source, wish, visit.if_match, visit.trace)
    return done.as_json(preview=False)


@blueprint.route("/connections/<connection>/tokens", methods=["POST"])
@blueprint.arguments(schemas.TokenRequest)
@blueprint.response(201, schemas.NewToken)
def add_token(values: dict[str, Any]) -> Any:
    """Make a token. Several may live at once, so that one can be changed without a gap."""
    visit, expires = here(), in_days(values["expires_in_days"])
    added, value = visit.gateway.setup.add_token(
        visit.idp_caller, values["label"], expires, visit.trace, visit.token
    )
    return _shown_token(added) | {"token": value}


@blueprint.route("/connections/<connection>/tokens")
@blueprint.arguments(Paging, location="query")
@blueprint.response(200, schemas.page_of(schemas.Token))
def list_tokens(asked: dict[str, int]) -> Any:
    """The tokens of a connection, without their values; expired ones stay until they are deleted."""
    visit = here()
    rows = [t for t in visit.gateway.store.tokens.of(visit.connection) if t.id > asked["after"]]
    return page(rows, asked["limit"], lambda shown: [_shown_token(row) for row in shown])


@blueprint.route("/connections/<connection>/tokens/<token>", methods=["DELETE"])
@blueprint.response(204)
def revoke_token(token: str) -> None:
    """Revoke a token, at once."""
    visit = here()
    visit.gateway.setup.revoke_token(visit.idp_caller, token, visit.trace)


@blueprint.route("/connections/<connection>/test", methods=["POST"], only_looks=True)
@blueprint.response(200, schemas.Checkup)
def test_connection() -> Any:
    """Check whether the connection can work and does, in plain words. Changes nothing."""
    visit = here()
    checks = visit.gateway.diagnostics.of(visit.organization, visit.connection)
    return {"ok": all(check.ok for check in checks), "checks": checks}


def _unprocessable(error: ValidationError) -> Exception:
    """What the plugin's schema refused, at its place in the body."""
    return unprocessable(ValidationError({"json": {"settings": error.messages}}))


def _shown(visit: AdminRequest, connection: ConnectionRecord) -> dict[str, Any]:
    plugins = visit.gateway.plugins
    words = visit.gateway.callers.words(connection, visit.organization, visit.public_url)
    return {
        "id": connection.uid,
        "slug": connection.slug,
        "base_url": words.base_url,
        "idp": connection.idp,
        "name": connection.name,
        "plugin_missing": plugins.declared.of(connection.idp) is None,
        "settings": plugins.declared.shown_settings(connection.idp, connection.setting_values),
        "provisioning": {"enabled": bool(connection.provisioning)},
        "setup_steps": plugins.declared.setup_steps(words),
        "extension_urn": words.extension_urn,
        "created_at": rfc3339(connection.created),
        "updated_at": rfc3339(connection.modified),
    }


def _shown_token(token: TokenRecord) -> dict[str, Any]:
    return {
        "id": token.uid,
        "label": token.label,
        "prefix": token.prefix,
        "expires_at": rfc3339(token.expires) if token.expires is not None else None,
        "created_at": rfc3339(token.created),
        "last_used_at": rfc3339(token.last_used) if token.last_used is not None else None,
    }
