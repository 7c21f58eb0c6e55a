"""The shapes of the activity."""

from __future__ import annotations

import re

from marshmallow import Schema, ValidationError, fields, validate

from gateway.web.admin.pagination import LimitQuery
from gateway.web.admin.schemas.texts import ASKED, timestamp
from gateway.web.text_fields import Count, Moment

#: In the words of ECMA-262, as OpenAPI has them.
_LINE = "^(0|[0-9]{1,18}-[0-9]{1,18})$"


def _check_line(text: str) -> None:
    if not re.fullmatch(_LINE[1:-1], text):
        raise ValidationError("Not a `next` of this list.")


class ActivityQuery(LimitQuery):
    after = fields.String(
        load_default="0",
        validate=_check_line,
        metadata={"pattern": _LINE},
    )
    outcome = fields.String(load_default=None, validate=validate.OneOf(("success", "partial", "failure")))
    status = Count(100, 599, load_default=None, metadata={"description": "The status of the answer."})
    target = fields.String(
        load_default=None,
        validate=ASKED,
        metadata={"description": "The id of a user, group, connection or token."},
    )
    request_id = fields.String(
        load_default=None, validate=ASKED, metadata={"description": "The X-Request-Id of the answer."}
    )
    since = Moment(load_default=None, metadata={"description": "Not before this time."})
    until = Moment(load_default=None, metadata={"description": "Before this time."})
    user = fields.String(
        load_default=None, validate=ASKED, metadata={"description": "A userName, letter case aside."}
    )
    connection = fields.String(
        load_default=None, validate=ASKED, metadata={"description": "The id of a connection."}
    )


class Decision(Schema):
    plugin = fields.String()
    hook = fields.String()
    verdict = fields.String()


class ActivityTarget(Schema):
    type = fields.String(
        validate=validate.OneOf(("User", "Group", "Connection", "Token", "AdminToken", "Organization"))
    )
    id = fields.String()
    name = fields.String(allow_none=True)


class ActivityBy(Schema):
    name = fields.String(metadata={"description": "The label of the token, or `operator`."})
    prefix = fields.String(allow_none=True, metadata={"description": "How the token begins."})


class ActivityMembers(Schema):
    joined = fields.Integer()
    left = fields.Integer()
    waiting = fields.Integer(
        metadata={"description": "Members that are not there: the group waits for them."}
    )


class ActivityLine(Schema):
    id = fields.String()
    at = timestamp()
    first_at = timestamp()
    count = fields.Integer(
        metadata={
            "description": "1, or how many refused requests of one minute or outage the line stands for."
        }
    )
    connection = fields.String(allow_none=True)
    operation = fields.String()
    user = fields.String(allow_none=True)
    target = fields.Nested(ActivityTarget, allow_none=True)
    by = fields.Nested(ActivityBy, allow_none=True)
    changed = fields.List(
        fields.String(), metadata={"description": "Names of what a change moved, without values."}
    )
    members = fields.Nested(ActivityMembers, allow_none=True)
    restored = fields.Boolean(metadata={"description": "A create brought a deleted user back."})
    status = fields.Integer()
    outcome = fields.String()
    detail = fields.String(allow_none=True)
    ignored = fields.List(fields.String())
    decisions = fields.List(fields.Nested(Decision))
    request_id = fields.String(allow_none=True)


class ActivityPage(Schema):
    items = fields.List(fields.Nested(ActivityLine))
    next = fields.String(allow_none=True)


class OrganizationName(Schema):
    id = fields.String()
    name = fields.String()


class ActivityOfAllLine(ActivityLine):
    organization = fields.Nested(OrganizationName, allow_none=True)


class ActivityOfAllPage(Schema):
    items = fields.List(fields.Nested(ActivityOfAllLine))
    next = fields.String(allow_none=True)
