"""The shapes of webhooks in the admin REST."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from gateway.provisioning.webhooks.endpoints import ATTEMPT_OUTCOMES, FORMATS
from gateway.web.admin.pagination import PageQuery
from gateway.web.admin.schemas.texts import timestamp
from gateway.web.text_fields import Flag, Moment, Name

_MOST_TYPES = 100
_LARGEST = (1 << 62) - 1


def _types(**kwargs: Any) -> fields.List[str]:
    return fields.List(
        fields.String(validate=validate.Length(max=100)),
        allow_none=True,
        validate=validate.Length(max=_MOST_TYPES),
        metadata={"description": "null: all of them."},
        **kwargs,
    )


def _number(**kwargs: Any) -> fields.Integer:
    return fields.Integer(strict=True, validate=validate.Range(1, _LARGEST), **kwargs)


class WebhookChange(Schema):
    url = fields.String(validate=validate.Length(min=1, max=2000))
    types = _types()
    format = fields.String(validate=validate.OneOf(FORMATS))


class NewWebhook(WebhookChange):
    url = fields.String(
        required=True,
        allow_none=True,
        validate=validate.Length(min=1, max=2000),
        metadata={"description": "null, for security event tokens: they are polled, and nothing is sent."},
    )
    organization = fields.String(
        allow_none=True,
        load_default=None,
        validate=validate.Length(max=100),
        metadata={
            "description": "For operators: whose events it receives. null: those of all organizations."
        },
    )
    types = _types(load_default=None)
    format = fields.String(load_default="standard", validate=validate.OneOf(FORMATS))


class Lag(Schema):
    events = fields.Integer(metadata={"description": "Committed and not delivered, of all types."})
    seconds = fields.Integer(metadata={"description": "Since the oldest of them was committed."})


class Webhook(Schema):
    id = fields.String()
    url = fields.String(allow_none=True)
    organization = fields.String(allow_none=True)
    owner = fields.String(validate=validate.OneOf(("operator", "organization")))
    types = _types()
    format = fields.String(validate=validate.OneOf(FORMATS))
    state = fields.String(validate=validate.OneOf(("on", "paused", "failing", "disabled")))
    reason = fields.String(allow_none=True)
    failing_since = timestamp(allow_none=True)
    succeeded_at = timestamp(allow_none=True)
    lag = fields.Nested(Lag)
    created_at = timestamp()
    created_by = fields.String(allow_none=True)
    updated_at = timestamp()


class WebhookWithSecret(Webhook):
    secret = fields.String(metadata={"description": "Signs messages. Shown this once."})


class Resume(Schema):
    start = fields.String(
        data_key="from",
        load_default="position",
        validate=validate.OneOf(("position", "now")),
        metadata={
            "description": "position: where it stopped. now: what was committed meanwhile is left out."
        },
    )


class Sent(Schema):
    ok = fields.Boolean()
    status = fields.Integer(allow_none=True)
    ms = fields.Integer()
    error = fields.String(allow_none=True)
    response = fields.String(
        allow_none=True, metadata={"description": "At most 1 KiB of the answer, as text."}
    )


class AttemptsQuery(PageQuery):
    outcome = fields.String(validate=validate.OneOf(ATTEMPT_OUTCOMES))


class Attempt(Schema):
    id = fields.String()
    at = timestamp()
    organization = fields.String(
        allow_none=True, metadata={"description": "null: an event of the deployment."}
    )
    event = fields.Integer()
    type = fields.String()
    message_id = fields.String()
    outcome = fields.String(validate=validate.OneOf(ATTEMPT_OUTCOMES))
    status = fields.Integer(allow_none=True)
    ms = fields.Integer()
    error = fields.String(allow_none=True)
    response = fields.String(
        allow_none=True, metadata={"description": "At most 1 KiB of the answer, as text."}
    )


class AttemptWithBody(Attempt):
    sent = fields.String(
        allow_none=True, metadata={"description": "The body, null if the event is no longer in the feed."}
    )


class Parked(Schema):
    id = fields.String()
    organization = fields.String(allow_none=True)
    event = fields.Integer()
    type = fields.String(allow_none=True)
    resource = fields.String(allow_none=True)
    resource_id = fields.String(allow_none=True)
    since = timestamp()
    error = fields.String()


class ReplayRequest(Schema):
    number = _number(
        data_key="from", metadata={"description": "The number of the first event to send again."}
    )
    at = Moment(
        metadata={"type": "string", "format": "date-time", "description": "Events since then are sent again."}
    )
    organization = fields.String(
        validate=validate.Length(max=100),
        metadata={"description": "Of a webhook of all organizations: the one whose events are sent again."},
    )
    preview = Flag(load_default=False)

    @validates_schema
    def _one_start(self, values: dict[str, Any], **_: Any) -> None:
        if ("number" in values) == ("at" in values):
            raise ValidationError("Give one of from and at.", "from")


class Replay(Schema):
    organizations = fields.Integer()
    events = fields.Integer(metadata={"description": "Of all types; those of the webhook's types are sent."})


class SkipRequest(Schema):
    organization = Name(100, metadata={"description": "Needed where events of several organizations fail."})
    event = _number(metadata={"description": "Its number; 409 if another event fails by now."})


class Skipped(Schema):
    organization = fields.String(allow_none=True)
    event = fields.Integer()
    type = fields.String()
