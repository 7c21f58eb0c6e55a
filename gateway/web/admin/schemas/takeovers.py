"""The shapes of takeovers: users who are handed from one connection to another."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from gateway.scim.documents import USER_NAME_LENGTH
from gateway.web.admin.schemas.texts import LABEL
from gateway.web.text_fields import Flag, Name


class TakeoverRequest(Schema):
    source = fields.String(
        required=True,
        data_key="from",
        validate=LABEL,
        metadata={"description": "The connection whose users are taken over; one of the same organization."},
    )
    match = fields.String(
        required=True,
        validate=validate.OneOf(("userName", "email")),
        metadata={"description": "By what the new identity provider will look its users up."},
    )
    users = fields.List(
        Name(USER_NAME_LENGTH),
        allow_none=True,
        load_default=None,
        validate=validate.Length(min=1, max=1000),
        metadata={"description": "Only these, by id or userName; null or left out: everybody."},
    )
    limit = fields.Integer(
        strict=True,
        load_default=10_000,
        validate=validate.Range(1, 10_000),
        metadata={"description": "How many users at most; `more` says whether there are others."},
    )
    preview = Flag(
        load_default=True, metadata={"description": "false moves them, with the ETag of the preview."}
    )


class TakenOver(Schema):
    id = fields.String()
    user_name = fields.String()
    found_by = fields.List(
        fields.String(), metadata={"description": "What the new identity provider finds the user by."}
    )


class NotTakenOver(Schema):
    id = fields.String(allow_none=True)
    user_name = fields.String()
    reason = fields.String(
        validate=validate.OneOf(
            ("not_found", "deleted", "already_managed", "managed_elsewhere", "no_email", "email_taken")
        )
    )
    message = fields.String()


class TakeoverSummary(Schema):
    moves = fields.Integer()
    stays = fields.Integer()
    more = fields.Boolean()


class Takeover(Schema):
    preview = fields.Boolean()
    moves = fields.List(fields.Nested(TakenOver), metadata={"description": "The first 100."})
    stays = fields.List(fields.Nested(NotTakenOver), metadata={"description": "The first 100."})
    summary = fields.Nested(TakeoverSummary)
