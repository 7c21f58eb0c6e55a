"""The shapes of tokens of connections and of the admin REST."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from gateway.provisioning.admin_tokens import SCOPES
from gateway.web.admin.schemas.texts import timestamp
from gateway.web.text_fields import Name


class TokenRequest(Schema):
    # A function, so that the API description has no default which the rule of its length refuses.
    label = Name(load_default=str)
    expires_in_days = fields.Integer(
        strict=True, allow_none=True, load_default=None, validate=validate.Range(1, 3650)
    )


class Token(Schema):
    id = fields.String()
    label = fields.String()
    prefix = fields.String()
    expires_at = timestamp(allow_none=True)
    created_at = timestamp()
    last_used_at = timestamp(allow_none=True)


class NewToken(Token):
    token = fields.String(metadata={"description": "The value. Shown this once."})


class AdminTokenRequest(Schema):
    name = Name(required=True)
    scope = fields.String(
        load_default="full",
        validate=validate.OneOf(SCOPES),
        metadata={"description": "`read`: GET and what only looks; `events`: the feeds of events only."},
    )
    expires_in_days = fields.Integer(
        strict=True, allow_none=True, load_default=None, validate=validate.Range(1, 3650)
    )


class AdminToken(Schema):
    id = fields.String()
    name = fields.String()
    organization = fields.String(
        allow_none=True, metadata={"description": "The only one that it opens; null: an operator's."}
    )
    scope = fields.String(validate=validate.OneOf(SCOPES))
    prefix = fields.String()
    expires_at = timestamp(allow_none=True)
    created_at = timestamp()
    last_used_at = timestamp(allow_none=True)


class NewAdminToken(AdminToken):
    token = fields.String(metadata={"description": "The value. Shown this once."})
