"""The shapes of groups and their members."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from gateway.web.admin.pagination import PageQuery
from gateway.web.admin.schemas.texts import ASKED, timestamp
from gateway.web.admin.schemas.users import ManagedBy
from gateway.web.text_fields import Name


class GroupChange(Schema):
    name = Name()


class NewGroup(Schema):
    name = Name(required=True)


class GroupsQuery(PageQuery):
    q = fields.String(
        load_default="", validate=ASKED, metadata={"description": "How the name begins, letter case aside."}
    )


class Group(Schema):
    id = fields.String()
    name = fields.String()
    source = fields.String(validate=validate.OneOf(("manual", "push")))
    managed_by = fields.Nested(ManagedBy, allow_none=True)
    members = fields.Integer()
    created_at = timestamp()
    updated_at = timestamp()


class Member(Schema):
    id = fields.String()
    user_name = fields.String()
    sources = fields.List(fields.String())
