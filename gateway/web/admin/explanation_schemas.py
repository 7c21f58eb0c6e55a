"""The shapes of explanations in the admin REST."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from gateway.provisioning.explanations.reading import MOST_MINUTES
from gateway.web.admin.schemas import ActivityLine


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


class Watch(Schema):
    minutes = fields.Integer(
        strict=True,
        load_default=60,
        load_only=True,
        validate=validate.Range(1, MOST_MINUTES),
        metadata={"description": "For how long, from now on."},
    )
    until = fields.String(dump_only=True, metadata={"format": "date-time"})
