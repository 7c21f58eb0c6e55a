"""How the admin REST reads: bodies through the same JSON door as SCIM, refusals in sentences, lists in pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn, Protocol, TypeVar
from urllib.parse import urlsplit

from flask import Request
from marshmallow import RAISE, Schema, ValidationError, fields, validate
from webargs.flaskparser import FlaskParser

from gateway.scim.documents import INDEXED_BYTES, fold, read_json
from gateway.scim.errors import UnsupportedMediaType
from gateway.scim.escaping import control_in
from gateway.store.ids_and_time import microseconds
from gateway.web.encodings import too_large
from gateway.web.errors import Unprocessable


class _Stored(Protocol):
    @property
    def id(self) -> int: ...


Row = TypeVar("Row", bound=_Stored)
_TOLD = 5
_LONGEST_PATH = 100


class Reader(FlaskParser):
    """webargs, made strict: a body is JSON and says so, a parameter that nobody knows is an error."""

    DEFAULT_UNKNOWN_BY_LOCATION = {**FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION, "query": RAISE}  # noqa: RUF012

    def load_json(self, req: Request, schema: Schema) -> Any:
        """The object in the body."""
        if req.mimetype and req.mimetype != "application/json" and not req.mimetype.endswith("+json"):
            raise UnsupportedMediaType(
                f"The body is {req.mimetype!r} by its Content-Type; send application/json."
            )
        data = req.get_data()
        limit = req.max_content_length
        if limit is not None and req.content_length is None and len(data) >= limit:
            # Sent in chunks: werkzeug cuts such a body off at the limit without a word.
            raise too_large(limit)
        return read_json(data)

    def load_querystring(self, req: Request, schema: Schema) -> Any:
        """The parameters that hold anything: `?user=` is the same as none."""
        return {name: value for name, value in req.args.items() if value}

    def handle_error(
        self, error: ValidationError, req: Request, schema: Schema, *, error_status_code: int | None,
        error_headers: Mapping[str, str] | None,
    ) -> NoReturn:  # fmt: skip
        """Refuse what the schema refused."""
        raise unprocessable(error)


def unprocessable(error: ValidationError) -> Unprocessable:
    """Explain what marshmallow refused: its nest of messages, as it is and as a sentence."""
    errors = _named(error.messages)
    told = [f"{path}: {text}" if path else text for path, text in _leaves(errors)]
    more = f" And {len(told) - _TOLD} more." if len(told) > _TOLD else ""
    return Unprocessable(" ".join(told[:_TOLD]) + more, errors)


def _named(messages: Any) -> Any:
    """The same with every key a short text: marshmallow numbers the entries of a list."""
    if isinstance(messages, Mapping):
        return {str(key)[:_LONGEST_PATH]: _named(held) for key, held in messages.items()}
    return messages


def _leaves(errors: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(errors, Mapping):
        for key, held in errors.items():
            inner = path if key in ("json", "query", "_schema") else f"{path}.{key}" if path else key
            yield from _leaves(held, inner)
    else:
        for text in errors if isinstance(errors, list) else [errors]:
            yield path, str(text)


# Fields -----------------------------------------------------------------------------------------------------


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
    if control := control_in(text):
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
    """A time in a query, RFC 3339 with its zone; microseconds since 1970."""

    default_error_messages = {"invalid": "Not a time like 2026-01-31T09:30:00Z."}  # noqa: RUF012

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        # In a query that was not encoded, the plus of a zone arrives as a space.
        try:
            moment = datetime.fromisoformat(value.replace(" ", "+"))
        except ValueError:
            raise self.make_error("invalid") from None
        if moment.tzinfo is None or not 1970 < moment.year < 9999:
            raise self.make_error("invalid")
        return microseconds(moment)


# Pages ------------------------------------------------------------------------------------------------------


class Limited(Schema):
    """How much of a list."""

    limit = Count(1, 1000, load_default=100)


class Paging(Limited):
    """And from where on: `after` is the `next` of the page before."""

    after = Count(0, (1 << 63) - 1, load_default=0)


def page(rows: Sequence[Row], limit: int, show: Callable[[Sequence[Row]], list[Any]]) -> Any:
    """A page of rows of which one more than `limit` was asked for, so that its end is known."""
    shown = rows[:limit]
    return {"items": show(shown), "next": shown[-1].id if len(rows) > limit else None}
