"""The shapes of the admin REST of what keeps people from being removed by mistake."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from gateway.config import MAX_BRAKE_MINUTES, MAX_PERCENT
from gateway.provisioning.safety.operations import MAX_ALLOW_HOURS
from gateway.provisioning.safety.settings import ALL, REMOVALS
from gateway.provisioning.undo.operations import MOST_PEOPLE, USUAL_PEOPLE
from gateway.provisioning.undo.plans import (
    CHOICES,
    CREATED,
    DEACTIVATED,
    DELETED,
    LEFT_GROUPS,
    REACTIVATE,
    REASONS,
    RESTORE,
    REWRITE,
)
from gateway.web.admin.schemas.texts import timestamp
from gateway.web.text_fields import Flag, Moment, check_bytes, check_one_line

_LABEL: list[Any] = [validate.Length(min=1, max=200), check_one_line, check_bytes]
_MOST = 9_999_999


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
    since = timestamp()
    until = timestamp()
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
    first_at = timestamp()
    last_at = timestamp()
    tries = fields.Integer()
    allowed = fields.Boolean()


class Hold(Schema):
    state = fields.String(metadata={"description": "`none`, `waiting`, `allowed` or `rejected`."})
    since = timestamp(allow_none=True)
    counted = fields.Integer(metadata={"description": "Removals that were made before."})
    limit = fields.Integer()
    by = fields.String(allow_none=True)
    until = timestamp(allow_none=True)
    held = fields.Integer(metadata={"description": "How many are held; the first 100 are listed."})
    items = fields.List(fields.Nested(HeldRemoval))
    after = fields.String(
        metadata={"description": "What to do at the identity provider once they are allowed."}
    )


class UndoRequest(Schema):
    start = Moment(
        required=True,
        data_key="from",
        metadata={"description": "What the connection did since then is undone."},
    )
    end = Moment(
        load_default=None,
        allow_none=True,
        data_key="to",
        metadata={"description": "The end of the period; null or left out: now."},
    )
    what = fields.List(
        fields.String(validate=validate.OneOf(CHOICES)),
        load_default=lambda: [DEACTIVATED, DELETED, LEFT_GROUPS],
        validate=validate.Length(1, 20),
        metadata={"description": "`deactivated`, `deleted` and `left_groups` unless given."},
    )
    limit = fields.Integer(
        strict=True,
        load_default=USUAL_PEOPLE,
        validate=validate.Range(1, MOST_PEOPLE),
        metadata={"description": "How many people at most; `more` says whether there are others."},
    )
    preview = Flag(
        load_default=True, metadata={"description": "false brings them back, with the ETag of the preview."}
    )


class BroughtBack(Schema):
    id = fields.String()
    user_name = fields.String()
    changes = fields.List(
        fields.String(validate=validate.OneOf((REACTIVATE, RESTORE, REWRITE))),
        metadata={"description": "What is done for the account; empty where only memberships come back."},
    )
    attributes = fields.List(fields.String(), metadata={"description": "Names of what changes back."})
    groups = fields.List(fields.String(), metadata={"description": "Names of the groups it is in again."})


class NotBroughtBack(Schema):
    id = fields.String()
    user_name = fields.String()
    what = fields.String(validate=validate.OneOf((*CHOICES, CREATED)))
    reason = fields.String(validate=validate.OneOf(tuple(REASONS)))
    message = fields.String()


class UndoSummary(Schema):
    people = fields.Integer()
    reactivated = fields.Integer()
    restored = fields.Integer()
    attributes = fields.Integer(metadata={"description": "People whose attributes change back."})
    memberships = fields.Integer()
    stays = fields.Integer()
    created = fields.Integer(metadata={"description": "How many of those the connection made in the period."})
    seats_needed = fields.Integer()
    seats_free = fields.Integer(allow_none=True, metadata={"description": "null: no limit."})
    more = fields.Boolean()


class Undo(Schema):
    preview = fields.Boolean()
    start = timestamp(attribute="from", data_key="from")
    end = timestamp(attribute="to", data_key="to")
    people = fields.List(fields.Nested(BroughtBack), metadata={"description": "The first 100."})
    stays = fields.List(fields.Nested(NotBroughtBack), metadata={"description": "The first 100."})
    summary = fields.Nested(UndoSummary)
    paused_until = fields.String(
        allow_none=True,
        metadata={
            "format": "date-time",
            "description": "Until when removals of the connection are paused, so that it repeats none.",
        },
    )
