"""What pages read of queries and forms.

Fields of forms are read by the same marshmallow fields as the admin REST reads JSON, and refused in a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from flask import request
from marshmallow import ValidationError, fields, validate

from gateway.scim.documents import USER_NAME_LENGTH
from gateway.scim.errors import InvalidValue, Refusal
from gateway.web.text_fields import Name, check_bytes, check_one_line

#: Characters of a text that somebody searches for.
_LONGEST_TEXT = 200
#: Names that people read, and an e-mail address; the last two may be empty.
NAME = Name()
OPTIONAL_NAME = fields.String(validate=[validate.Length(max=200), check_one_line, check_bytes])
EMAIL = fields.String(validate=[validate.Length(max=USER_NAME_LENGTH), check_one_line, check_bytes])


class _Row(Protocol):
    @property
    def id(self) -> int: ...


Row = TypeVar("Row", bound=_Row)


class Problem(NamedTuple):
    """A refusal beside its form, and what was typed."""

    refusal: Refusal
    typed: Mapping[str, str]


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


def read_text(name: str) -> str:
    """Return a text of the query, "" where there is none."""
    return request.args.get(name, "").strip()[:_LONGEST_TEXT]


def read_after() -> int:
    """Return the key after which a page of a list begins."""
    after = request.args.get("after", "")
    return int(after) if after.isdecimal() and len(after) < 19 else 0


def cut_page(rows: Sequence[Row], length: int) -> tuple[Sequence[Row], int | None]:
    """Return the rows of a page, and where the next one begins: of one row more than a page, None at the end."""
    return rows[:length], rows[length - 1].id if len(rows) > length else None
