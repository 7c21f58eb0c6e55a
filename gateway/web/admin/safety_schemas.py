"""The shapes of the admin REST of what keeps people from being removed by mistake."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from gateway.config import MAX_BRAKE_MINUTES, MAX_PERCENT
from gateway.provisioning.safety.operations import MAX_ALLOW_HOURS
from gateway.provisioning.safety.settings import ALL, REMOVALS
from gateway.web.text_fields import Moment, check_bytes, check_one_line

_LABEL: list[Any] = [validate.Length(min=1, max=200), check_one_line, check_bytes]
_MOST = 9_999_999


def _time(**kwargs: Any) -> fields.String:
    return fields.String(metadata={"format": "date-time"}, **kwargs)


class Brake(Schema):
    """How many removals a connection may make: a share of the people it manages, but at least `least`."""

    percent = fields.Integer(required=True, strict=True, validate=validate.Range(0, MAX_PERCENT))
    least = fields.Integer(required=True, strict=True, validate=validate.Range(0, _MOST))
    minutes = fields.Integer(required=True, strict=True, validate=validate.Range(1, MAX_BRAKE_MINUTES))


class PauseRequest(Schema):
    scope = fields.String(load_default=ALL, validate=validate.OneOf((ALL, REMOVALS)))
    until = Moment(
        load_default=None,
        allow_none=True,
        metadata={"description": "4 hours from now unless given; 7 days at most."},
    )
    reason = fields.String(required=True, validate=_LABEL)


class Pause(Schema):
    scope = fields.String()
    since = _time()
    until = _time()
    reason = fields.String()
    by = fields.String(allow_none=True)


class HoldDecision(Schema):
    action = fields.String(required=True, validate=validate.OneOf(("allow_all", "allow", "reject")))
    users = fields.List(
        fields.String(validate=_LABEL),
        validate=validate.Length(1, 1000),
        metadata={"description": "Ids, for `allow`."},
    )
    hours = fields.Integer(
        strict=True,
        validate=validate.Range(1, MAX_ALLOW_HOURS),
        metadata={"description": "For `allow_all`; 4."},
    )


class HeldRemoval(Schema):
    resource = fields.String(metadata={"description": "`User` or `Group`."})
    id = fields.String()
    name = fields.String()
    action = fields.String(
        metadata={
            "description": "`deactivate`, `delete`, or `leave`: a group would lose most of its members."
        }
    )
    people = fields.Integer()
    first_at = _time()
    last_at = _time()
    tries = fields.Integer()
    allowed = fields.Boolean()


class Hold(Schema):
    state = fields.String(metadata={"description": "`none`, `waiting`, `allowed` or `rejected`."})
    since = _time(allow_none=True)
    counted = fields.Integer(metadata={"description": "Removals that were made before."})
    limit = fields.Integer()
    by = fields.String(allow_none=True)
    until = _time(allow_none=True)
    held = fields.Integer(metadata={"description": "How many are held; the first 100 are listed."})
    items = fields.List(fields.Nested(HeldRemoval))
    after = fields.String(
        metadata={"description": "What to do at the identity provider once they are allowed."}
    )
