"""The shapes of installed plugins."""

from __future__ import annotations

from marshmallow import Schema, fields


class Plugin(Schema):
    name = fields.String()
    version = fields.String()
    idp = fields.Boolean()
    hooks = fields.List(fields.String())


class Plugins(Schema):
    items = fields.List(fields.Nested(Plugin))
