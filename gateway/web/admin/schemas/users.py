"""The shapes of users and their erasure."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from gateway.scim.documents import USER_NAME_LENGTH
from gateway.web.admin.pagination import PageQuery
from gateway.web.admin.schemas.texts import ASKED, EMAIL, LABEL, timestamp
from gateway.web.text_fields import Flag, Name


class UserChange(Schema):
    user_name = Name(USER_NAME_LENGTH)
    display_name = fields.String(allow_none=True, validate=LABEL)
    email = fields.String(allow_none=True, validate=EMAIL)
    active = Flag()
    protected = Flag()


class NewUser(UserChange):
    user_name = Name(USER_NAME_LENGTH, required=True)
    active = Flag(load_default=True)


class ErasureRequest(Schema):
    reason = fields.String(
        required=True,
        validate=validate.Length(1, 200),
        metadata={"description": "Why, without the person's name: the activity shows it after the erasure."},
    )
    confirm = fields.String(
        required=True,
        validate=validate.Length(max=USER_NAME_LENGTH),
        metadata={"description": "The userName of the person, as it is shown."},
    )


class Erasure(Schema):
    id = fields.String()
    state = fields.String(
        validate=validate.OneOf(("erasing", "erased")),
        metadata={
            "description": "`erasing` while what names the person is looked for; the same request shows when it ends."
        },
    )
    at = timestamp()
    by = fields.String(allow_none=True)
    reason = fields.String()


class UsersQuery(PageQuery):
    q = fields.String(
        load_default="",
        validate=validate.Length(max=200),
        metadata={"description": "A part of userName or of the name shown, letter case aside."},
    )
    user_name = fields.String(
        validate=ASKED, metadata={"description": "The one of this name, letter case aside."}
    )


class ManagedBy(Schema):
    connection = fields.String()
    idp = fields.String()


class UserGroup(Schema):
    id = fields.String()
    name = fields.String()
    sources = fields.List(fields.String())


class User(Schema):
    id = fields.String()
    user_name = fields.String()
    display_name = fields.String(allow_none=True)
    active = fields.Boolean()
    protected = fields.Boolean()
    managed_by = fields.Nested(ManagedBy, allow_none=True)
    idp_group = fields.List(fields.String())
    groups = fields.List(fields.Nested(UserGroup))
    created_at = timestamp()
    updated_at = timestamp()
