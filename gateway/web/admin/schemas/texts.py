"""Texts that several shapes have: times as they are shown, labels, addresses, and what a list is asked for."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from gateway.scim.documents import USER_NAME_LENGTH
from gateway.web.text_fields import check_bytes, check_one_line

LABEL: list[Any] = [validate.Length(min=1, max=200), check_one_line, check_bytes]
EMAIL: list[Any] = [validate.Length(min=1, max=USER_NAME_LENGTH), check_one_line, check_bytes]
#: Of what a list is asked for.
ASKED = validate.Length(max=1000)


def timestamp(**kwargs: Any) -> fields.String:
    """Return a field that shows a moment as RFC 3339 has it."""
    return fields.String(metadata={"format": "date-time"}, **kwargs)
