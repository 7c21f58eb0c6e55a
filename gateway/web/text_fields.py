"""Fields of the admin REST and of forms: texts, URLs, flags, numbers and times, each read strictly."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields, validate

from gateway.scim.documents import INDEXED_BYTES
from gateway.scim.escaping import first_control
from gateway.scim.json_text import fold
from gateway.store.ids_and_time import microseconds


class Name(fields.String):
    """A name that people read: no spaces around it, not empty."""

    def __init__(self, longest: int = 200, **kwargs: Any) -> None:
        super().__init__(validate=validate.Length(min=1, max=longest), **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, *args, **kwargs)
        text = text.strip() if isinstance(text, str) else text
        if isinstance(text, str):
            check_one_line(text)
            check_bytes(text)
        return text


def check_one_line(text: str) -> None:
    """Refuse a text that holds control characters. Raises ValidationError."""
    if control := first_control(text):
        raise ValidationError(f"Holds the control character {control}; it must be one line of plain text.")


def check_bytes(text: str) -> None:
    """Refuse a text of more bytes, folded, than an index holds. Raises ValidationError."""
    if not text.isascii() and (size := len(fold(text).encode())) > INDEXED_BYTES:
        raise ValidationError(f"Takes {size} bytes in UTF-8; at most {INDEXED_BYTES} are kept.")


class Url(fields.String):
    """An http or https URL."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(validate=[validate.Length(max=2000), _check_url], **kwargs)


def _check_url(text: str) -> None:
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc or re.search(r"\s", text):
        raise ValidationError("Not an http or https URL.")


class Flag(fields.Boolean):
    """true or false; nothing that looks like it."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if value is not True and value is not False:
            raise self.make_error("invalid", input=value)
        return value


class Count(fields.Integer):
    """A whole number in a query, in plain digits."""

    def __init__(self, least: int, most: int, **kwargs: Any) -> None:
        super().__init__(validate=validate.Range(least, most), **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not re.fullmatch(r"[0-9]{1,19}", value):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, *args, **kwargs)


class Moment(fields.Field[int]):
    """A time, RFC 3339 with its zone; microseconds since 1970."""

    default_error_messages = {"invalid": "Not a time like 2026-01-31T09:30:00Z."}  # noqa: RUF012

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        # In a query that was not encoded, the plus of a zone arrives as a space.
        if not isinstance(value, str):
            raise self.make_error("invalid")
        try:
            moment = datetime.fromisoformat(value.replace(" ", "+"))
        except ValueError:
            raise self.make_error("invalid") from None
        if moment.tzinfo is None or not 1970 < moment.year < 9999:
            raise self.make_error("invalid")
        return microseconds(moment)
