"""Fields of forms: read by the same marshmallow fields as the admin REST reads JSON, refused in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import request
from marshmallow import ValidationError, fields, validate

from gateway.scim.documents import USER_NAME_LENGTH
from gateway.scim.errors import InvalidValue
from gateway.web.text_fields import Name, check_bytes, check_one_line

#: A name that people read, and an e-mail address, which may be empty.
NAME = Name()
EMAIL = fields.String(validate=[validate.Length(max=USER_NAME_LENGTH), check_one_line, check_bytes])


def read_form(known: Mapping[str, fields.Field[Any]]) -> dict[str, Any]:
    """Return the fields of a form that are known; one that is missing is empty.

    Raises InvalidValue, whose sentence names the field.
    """
    values = {}
    for name, field in known.items():
        try:
            values[name] = field.deserialize(request.form.get(name, "").strip())
        except ValidationError as error:
            sentences = error.messages if isinstance(error.messages, list) else [str(error.messages)]
            raise InvalidValue(f"{name.replace('_', ' ').capitalize()}: {' '.join(sentences)}") from None
    return values
