"""Schemas of adoption in the admin REST."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from gateway.provisioning.adoption.review import DECISIONS, PAGE
from gateway.provisioning.adoption.risks import RISKS
from gateway.provisioning.takeover import MATCHES
from gateway.scim.documents import USER_NAME_LENGTH
from gateway.web.admin.pagination import PageQuery
from gateway.web.text_fields import Name

_STATES = ("waiting", "approved", "rejected")


class AdoptionQuery(PageQuery):
    """A page of adoptions."""

    state = fields.String(load_default=None, validate=validate.OneOf(_STATES))


class AdoptionUser(Schema):
    id = fields.String()
    user_name = fields.String()
    active = fields.Boolean()


class Adoption(Schema):
    id = fields.String()
    user = fields.Nested(AdoptionUser)
    found_by = fields.String(metadata={"description": "By what the identity provider names the user."})
    risks = fields.List(
        fields.String(validate=validate.OneOf(RISKS)), metadata={"description": "What speaks against it."}
    )
    message = fields.String(metadata={"description": "The risks in words."})
    state = fields.String(validate=validate.OneOf(_STATES))
    first_at = fields.String(metadata={"format": "date-time"})
    last_at = fields.String(metadata={"format": "date-time"})
    tries = fields.Integer(metadata={"description": "How many writes have waited; 0: approved beforehand."})
    decided_by = fields.String(allow_none=True)
    decided_at = fields.String(allow_none=True, metadata={"format": "date-time"})


class AdoptionDecision(Schema):
    decision = fields.String(required=True, validate=validate.OneOf(tuple(DECISIONS)))


class AdoptionPreviewRequest(Schema):
    match = fields.String(
        load_default="userName",
        validate=validate.OneOf(MATCHES),
        metadata={"description": "By what the identity provider will look people up."},
    )
    names = fields.List(
        Name(USER_NAME_LENGTH),
        data_key="list",
        allow_none=True,
        load_default=None,
        validate=validate.Length(min=1, max=PAGE),
        metadata={"description": "The values that it will look up; null or left out: everybody."},
    )
    limit = fields.Integer(strict=True, load_default=100, validate=validate.Range(1, PAGE))
    after = fields.Integer(strict=True, load_default=0, validate=validate.Range(0, (1 << 63) - 1))


class _Choice(fields.Field[Any]):
    """`safe`, or a list of ids of users."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if value == "safe":
            return value
        listed = isinstance(value, list) and 0 < len(value) <= PAGE
        if not listed or not all(isinstance(uid, str) and 0 < len(uid) <= 100 for uid in value):
            raise self.make_error("choice")
        return value

    default_error_messages = {  # noqa: RUF012 - as marshmallow has it
        "choice": f'Either "safe" or a list of 1 to {PAGE} ids of users, as the preview shows them.'
    }


class AdoptionApproval(AdoptionPreviewRequest):
    approve = _Choice(
        required=True,
        metadata={
            "oneOf": [
                {"type": "string", "enum": ["safe"]},
                {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": PAGE},
            ],
            "description": "`safe`: all that are proposed; or ids of users of the preview.",
        },
    )


class AdoptionMeeting(Schema):
    user = fields.Nested(AdoptionUser)
    found_by = fields.String(validate=validate.OneOf(MATCHES))
    risks = fields.List(fields.String(validate=validate.OneOf(RISKS)))
    proposed = fields.String(validate=validate.OneOf(("approve", "ask", "never")))
    state = fields.String(
        allow_none=True, metadata={"description": "What was decided already; null: nothing."}
    )


class AdoptionSummary(Schema):
    unmanaged = fields.Integer(metadata={"description": "Users of the organization whom nobody manages."})
    met = fields.Integer(metadata={"description": "Those of this page whom the connection would meet."})
    safe = fields.Integer()
    ask = fields.Integer()


class AdoptionPreview(Schema):
    items = fields.List(fields.Nested(AdoptionMeeting))
    next = fields.Integer(allow_none=True)
    summary = fields.Nested(AdoptionSummary)


class ApprovedAdoptions(Schema):
    approved = fields.Integer()
