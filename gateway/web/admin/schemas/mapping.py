"""The shapes of Map to groups and its preview."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from gateway.scim.documents import INDEXED_BYTES
from gateway.scim.json_text import fold
from gateway.web.text_fields import Flag, Name, check_bytes, check_one_line

_VALUE: list[Any] = [validate.Length(min=1, max=1000), check_one_line, check_bytes]
_MOST_RULES = 1000


class Rule(Schema):
    value = fields.String(required=True, validate=_VALUE)
    group = Name(required=True)

    @validates_schema
    def check_pair(self, data: dict[str, Any], **kwargs: Any) -> None:
        """Value and name stand in one row of an index."""
        size = len(data["value"].encode()) + len(fold(data["group"]).encode())
        if size > INDEXED_BYTES:
            raise ValidationError(
                f"Value and name of the group take {size} bytes in UTF-8; at most {INDEXED_BYTES} are kept.",
                "value",
            )


class Applying(Schema):
    done = fields.Integer()
    users = fields.Integer()


class Mapping(Schema):
    enabled = Flag(required=True)
    attribute = fields.String(allow_none=True, validate=_VALUE)
    rules = fields.List(fields.Nested(Rule), validate=validate.Length(max=_MOST_RULES))
    apply_to_existing = Flag(load_default=False)
    applying = fields.Nested(Applying, dump_only=True)


class Move(Schema):
    user = fields.String()
    group = fields.String()


class UnmappedValue(Schema):
    value = fields.String()
    users = fields.Integer()


class Summary(Schema):
    users = fields.Integer()
    joins = fields.Integer()
    leaves = fields.Integer()


class Preview(Schema):
    groups_to_create = fields.List(fields.String())
    joins = fields.List(fields.Nested(Move))
    leaves = fields.List(fields.Nested(Move))
    unmapped = fields.List(fields.Nested(UnmappedValue))
    summary = fields.Nested(Summary)
