"""The shapes of explanations in the admin REST."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from gateway.provisioning.explanations.reading import MOST_MINUTES
from gateway.web.admin.schemas.activity import ActivityLine
from gateway.web.admin.schemas.events import Event
from gateway.web.scim.dry_run import LONGEST_PATH, METHODS


class ExplanationStep(Schema):
    step = fields.String(
        metadata={
            "description": "`admission`, `dialect`, `validation`, `found`, `seats`, `outcome` and others."
        }
    )
    who = fields.String(metadata={"description": "Who decided: a plugin, or `gateway`."})
    sentence = fields.String()
    ms = fields.Float(
        allow_none=True,
        metadata={"description": "Milliseconds since the request began; null if not measured."},
    )


class Explanation(Schema):
    line = fields.Nested(ActivityLine)
    request = fields.Dict(
        metadata={"description": "`method`, `path`, `query`, `headers`, `body`, without secrets."}
    )
    response = fields.Dict(metadata={"description": "`status`, `headers`, `body`, without secrets."})
    steps = fields.List(fields.Nested(ExplanationStep))


class DryRunRequest(Schema):
    method = fields.String(load_default=None, validate=validate.OneOf(METHODS))
    path = fields.String(
        load_default=None,
        validate=validate.Length(1, LONGEST_PATH),
        metadata={"description": "Below the base URL, with its query: `/Users`."},
    )
    body = fields.Dict(load_default=None, allow_none=True, metadata={"description": "As it would be sent."})
    activity = fields.String(
        load_default=None,
        validate=validate.Length(1, 100),
        metadata={"description": "Instead: the `id` or `request_id` of a line that has an explanation."},
    )

    @validates_schema
    def _one_of_both(self, values: dict[str, Any], **_: Any) -> None:
        whole = values.get("method") is not None and values.get("path") is not None
        if whole == (values.get("activity") is not None):
            raise ValidationError("Send either method and path, or activity.")


class DryRunSeats(Schema):
    before = fields.Integer()
    after = fields.Integer()


class DryRun(Schema):
    status = fields.Integer(
        allow_none=True,
        metadata={"description": "null where the request was not run: the last step says why."},
    )
    headers = fields.Dict()
    body = fields.Raw(allow_none=True)
    events = fields.List(
        fields.Nested(Event), metadata={"description": "What would be recorded, 100 at most."}
    )
    seats = fields.Nested(DryRunSeats)
    steps = fields.List(fields.Nested(ExplanationStep))


class Watch(Schema):
    minutes = fields.Integer(
        strict=True,
        load_default=60,
        load_only=True,
        validate=validate.Range(1, MOST_MINUTES),
        metadata={"description": "For how long, from now on."},
    )
    until = fields.String(dump_only=True, metadata={"format": "date-time"})
