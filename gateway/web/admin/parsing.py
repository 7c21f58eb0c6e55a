"""How requests of the admin REST are read: JSON by the reader of SCIM, what a schema refuses as a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from flask import Request
from marshmallow import RAISE, Schema, ValidationError
from webargs.flaskparser import FlaskParser

from gateway.scim.errors import UnsupportedMediaType
from gateway.scim.json_text import read_json
from gateway.web.encodings import too_large
from gateway.web.errors import Unprocessable

_MOST_SENTENCES = 5
_LONGEST_PATH = 100


class StrictParser(FlaskParser):
    """The parser of webargs, made strict: a body must be declared as JSON, an unknown parameter is an error."""

    DEFAULT_UNKNOWN_BY_LOCATION = {**FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION, "query": RAISE}  # noqa: RUF012

    def load_json(self, req: Request, schema: Schema) -> Any:
        """Return the object in the body. Raises UnsupportedMediaType, PayloadTooLarge and InvalidSyntax."""
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
        """Return the parameters that have a value: `?user=` is the same as none."""
        return {name: value for name, value in req.args.items() if value}

    def handle_error(
        self, error: ValidationError, req: Request, schema: Schema, *, error_status_code: int | None,
        error_headers: Mapping[str, str] | None,
    ) -> NoReturn:  # fmt: skip
        """Refuse what the schema refused. Raises Unprocessable."""
        raise unprocessable(error)


def unprocessable(error: ValidationError) -> Unprocessable:
    """Make a refusal of what marshmallow refused: its nested messages, as they are and as a sentence."""
    errors = _with_text_keys(error.messages)
    sentences = [f"{path}: {text}" if path else text for path, text in _sentences(errors)]
    more = f" And {len(sentences) - _MOST_SENTENCES} more." if len(sentences) > _MOST_SENTENCES else ""
    return Unprocessable(" ".join(sentences[:_MOST_SENTENCES]) + more, errors)


def _with_text_keys(messages: Any) -> Any:
    """The same with every key a short text: marshmallow numbers the entries of a list."""
    if isinstance(messages, Mapping):
        return {str(key)[:_LONGEST_PATH]: _with_text_keys(held) for key, held in messages.items()}
    return messages


def _sentences(errors: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(errors, Mapping):
        for key, held in errors.items():
            inner = path if key in ("json", "query", "_schema") else f"{path}.{key}" if path else key
            yield from _sentences(held, inner)
    else:
        for text in errors if isinstance(errors, list) else [errors]:
            yield path, str(text)
