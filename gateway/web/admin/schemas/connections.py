"""The shapes of connections and their test."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from gateway.provisioning.adoption.risks import MODES
from gateway.scim.json_text import dumps
from gateway.scim.schemas import TEXT_LENGTH
from gateway.web.admin.schemas.safety import Brake, Pause
from gateway.web.admin.schemas.texts import LABEL, timestamp
from gateway.web.text_fields import Flag, Name


def _check_settings(settings: dict[str, Any]) -> None:
    if (size := len(dumps(settings).encode())) > TEXT_LENGTH:
        raise ValidationError(f"Takes {size} bytes of JSON; at most {TEXT_LENGTH} are kept.")


class ConnectionChange(Schema):
    name = Name()
    brake = fields.Nested(
        Brake, allow_none=True, metadata={"description": "Beyond it removals are held; null for no limit."}
    )
    adoption = fields.String(
        validate=validate.OneOf(MODES),
        metadata={
            "description": "What becomes of users whom nobody manages, once the connection writes to them."
        },
    )
    settings = fields.Dict(
        keys=fields.String(), validate=_check_settings, metadata={"description": "By the plugin; merged."}
    )


class NewConnection(ConnectionChange):
    class Meta:
        exclude = ("adoption",)

    idp = fields.String(required=True, validate=LABEL, metadata={"description": "See GET /plugins."})


class Provisioning(Schema):
    enabled = Flag(required=True)


class Connection(Schema):
    id = fields.String()
    slug = fields.String()
    base_url = fields.String()
    idp = fields.String()
    plugin_missing = fields.Boolean(
        metadata={
            "description": "The plugin of its identity provider is not here: calls are refused with 503."
        }
    )
    name = fields.String()
    settings = fields.Dict()
    provisioning = fields.Nested(Provisioning)
    brake = fields.Nested(Brake, allow_none=True)
    pause = fields.Nested(Pause, allow_none=True)
    adoption = fields.String(validate=validate.OneOf(MODES))
    setup_steps = fields.List(fields.String())
    extension_urn = fields.String()
    created_at = timestamp()
    updated_at = timestamp()


class Check(Schema):
    name = fields.String()
    ok = fields.Boolean()
    level = fields.String(validate=validate.OneOf(("ok", "note", "warn", "broken")))
    message = fields.String()
    remedy = fields.String(
        metadata={"description": "What to do and, where a page of the console is for it, its URL."}
    )
    #: When it was seen last; null: it is so now.
    seen = timestamp(allow_none=True)


class Checkup(Schema):
    ok = fields.Boolean()
    checks = fields.List(fields.Nested(Check))
