"""The shapes of the admin REST of imports of people."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from gateway.provisioning.imports.imports import ABSENT_CHOICES, IMPORT_STATES
from gateway.web.admin.schemas.texts import timestamp


class ImportQuery(Schema):
    absent = fields.String(
        load_default="keep",
        validate=validate.OneOf(ABSENT_CHOICES),
        metadata={"description": "What happens to active people of no connection who are not in the file."},
    )


class ImportedRow(Schema):
    row = fields.Integer()
    user_name = fields.String()
    outcome = fields.String()
    reason = fields.String(allow_none=True)
    changed = fields.List(fields.String())


class Import(Schema):
    id = fields.String()
    state = fields.String(validate=validate.OneOf(IMPORT_STATES))
    absent = fields.String(validate=validate.OneOf(ABSENT_CHOICES))
    rows = fields.Integer()
    done = fields.Integer()
    created_at = timestamp()
    created_by = fields.String(allow_none=True)
    expires_at = timestamp()
    create = fields.Integer()
    update = fields.Integer()
    same = fields.Integer()
    skip = fields.Integer()
    wrong = fields.Integer()
    deactivate = fields.Integer(metadata={"description": "People who are not in the file."})
    partial_rows = fields.Integer(
        attribute="partial",
        data_key="partial",
        metadata={"description": "Rows of which something is left out."},
    )
    seats_needed = fields.Integer()
    seats_free = fields.Integer(allow_none=True, metadata={"description": "null: no limit."})
    first = fields.List(fields.Nested(ImportedRow))
    outcomes = fields.Dict(keys=fields.String(), values=fields.Integer())
