"""The shapes of the feeds of events."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from gateway.provisioning.event_types import EVENT_TYPES, ORGANIZATION_TYPES
from gateway.web.admin.pagination import LimitQuery
from gateway.web.admin.schemas.texts import timestamp
from gateway.web.text_fields import Count


class EventQuery(LimitQuery):
    """Events behind a number; `epoch`, that of the numbers, refuses numbers that were given again after a restore."""

    after = Count(0, (1 << 63) - 1, load_default=0)
    epoch = Count(0, (1 << 63) - 1, load_default=None)
    wait = Count(
        0,
        30,
        load_default=0,
        metadata={
            "description": "Seconds to wait for an event where there is none; the answer may come sooner."
        },
    )
    newest = fields.Boolean(
        truthy={"true"},
        falsy={"false"},
        load_default=False,
        metadata={
            "description": "No events, but the `next` of the newest one: to begin now. `after` is not looked at."
        },
    )


class Event(Schema):
    id = fields.Integer()
    type = fields.String(validate=validate.OneOf(ORGANIZATION_TYPES))
    at = timestamp()
    resource = fields.String(validate=validate.OneOf(("User", "Group")))
    resource_id = fields.String()
    connection = fields.String(allow_none=True)
    data = fields.Dict()


class EventPage(Schema):
    items = fields.List(fields.Nested(Event))
    next = fields.Integer()
    epoch = fields.Integer()


class PublishedEvent(Event):
    #: The place in the order over all organizations.
    number = fields.Integer()
    organization = fields.String(allow_none=True)
    type = fields.String(validate=validate.OneOf(EVENT_TYPES))
    resource = fields.String(validate=validate.OneOf(("User", "Group", "Organization", "Webhook")))


class PublishedEventPage(Schema):
    items = fields.List(fields.Nested(PublishedEvent))
    next = fields.Integer()
    epoch = fields.Integer()
