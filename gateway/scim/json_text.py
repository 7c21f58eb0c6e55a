"""JSON text: decoding of bodies, encoding, case folding, values quoted in error messages, dateTimes."""

from __future__ import annotations

import datetime
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from gateway.scim.errors import InvalidSyntax, InvalidValue, Refusal

Json = dict[str, Any]

SHOWN_LENGTH = 60
PATH_LENGTH = 200
#: Keys in one object of a body. Each is looked up in a schema and may be rewritten by a plugin.
MAX_OBJECT_NAMES = 2_000
#: Combining marks in a row: the stream-safe text format of UAX #15, section 13. Normalizing sorts them, in square time.
MOST_MARKS = 30
#: Beyond the last character that is a combining mark or begins with one when it is decomposed (Unicode 16).
_PAST_MARKS = 0x1F000
#: The planes beyond U+FFFF that hold combining marks.
_ASTRAL = re.compile("[\U00010000-\U0001efff]")
#: A text mapped to one byte a character, 1 for a combining mark.
_LONG_RUN = b"\x01" * (MOST_MARKS + 1)


def fold(text: str) -> str:
    """Return the form of a text that is compared where letter case does not count: lower case, NFC."""
    if text.isascii():
        return text.lower()
    if has_long_run(text):
        # Such a text is refused before it is stored, so it need not equal another spelling of itself.
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


def has_long_run(text: str) -> bool:
    """Return True if more combining marks follow each other than the stream-safe text format allows (UAX #15, 13)."""
    if len(text) <= MOST_MARKS or text.isascii():
        return False
    if _ASTRAL.search(text) is None:
        return _long_run().search(text) is not None
    return _LONG_RUN in bytes(map(_marks().__contains__, text))


@cache
def _marks() -> frozenset[str]:
    """Return the characters that are combining marks or decompose into text that begins with one."""
    every = (chr(code) for code in range(0x300, _PAST_MARKS))
    return frozenset(char for char in every if unicodedata.combining(unicodedata.normalize("NFD", char)[0]))


@cache
def _long_run() -> re.Pattern[str]:
    # A class without characters beyond U+FFFF is a table; with one it is a list, searched for each character.
    marks = "".join(sorted(mark for mark in _marks() if mark <= "\uffff"))
    # Looking back keeps a run from being tried again at each of its marks.
    return re.compile(f"[{marks}](?<![{marks}][{marks}])[{marks}]{{{MOST_MARKS}}}")


def fold_json(text: str) -> str:
    """Return a JSON text with every name and every string in it folded (see `fold`)."""
    # Plain ASCII can be folded whole: an escape is the same in either case. Elsewhere a mark at the beginning of a text
    # could join the escape before it.
    return text.lower() if text.isascii() else dumps(_fold_value(json.loads(text)))


def _fold_value(value: Any) -> Any:
    if isinstance(value, str):
        return fold(value)
    if isinstance(value, dict):
        return {fold(name): _fold_value(held) for name, held in value.items()}
    return [_fold_value(held) for held in value] if isinstance(value, list) else value


# Built once: `json.dumps` builds an encoder on each call.
_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def dumps(document: Any) -> str:
    """Encode a value as compact JSON that can always be encoded as UTF-8; lone surrogates are escaped."""
    text = _compact(document)
    return text if _encodable(text) else json.dumps(document, separators=(",", ":"))


def excerpt(value: Any, length: int = SHOWN_LENGTH) -> str:
    """Return a value as JSON, cut after `length` characters, to be quoted in an error message."""
    text = dumps(value)
    return text if len(text) <= length else f"{text[:length]}…"


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (str, "a text"),
    (bool, "a boolean"),
    ((int, float), "a number"),
    (list, "an array"),
    (Mapping, "an object"),
)


def json_kind(value: Any) -> str:
    """Return the JSON type of a value as an error message names it: "a text", "an array", "null"."""
    return next((words for types, words in _KINDS if isinstance(value, types)), "null")


def read_datetime(text: str) -> datetime.datetime | None:
    """Parse a dateTime (RFC 7643, 2.3.5); return None if it is malformed. Without a zone it is read as UTC."""
    # RFC 7643, 2.3.5: both a date and a time.
    if "T" not in text:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_text(text: str, path: str) -> None:
    """Refuse text that cannot be stored: NUL, a lone surrogate, too many combining marks in a row.

    Raises InvalidValue, which names `path`.
    """
    if "\0" in text:
        raise InvalidValue(f"{path[:PATH_LENGTH]} holds a NUL character, which cannot be stored.")
    if not text.isascii() and not _encodable(text):
        raise InvalidValue(f"{path[:PATH_LENGTH]} holds half a character (a lone surrogate).")
    if has_long_run(text):
        raise InvalidValue(
            f"{path[:PATH_LENGTH]} has more than {MOST_MARKS} combining marks in a row, which no language writes:"
            " send the text without them."
        )


def read_json(data: bytes, *, max_depth: int = 64) -> Json:
    """Decode the JSON object in the body of a request.

    Raises InvalidSyntax for what is no JSON object, has a key twice or is nested deeper than `max_depth` levels, and
    InvalidValue for text or numbers that cannot be stored.
    """
    if not data.strip():
        raise InvalidSyntax("The body is empty; a JSON object was expected.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidSyntax(f"The body is not UTF-8: byte {error.start} cannot be read.") from None
    body = _decode(text, max_depth)
    if not isinstance(body, dict):
        raise InvalidSyntax(f"The body must be a JSON object, but {json_kind(body)} came.")
    # An object or array takes a bracket, so few brackets cannot nest deeply.
    if text.count("{") + text.count("[") > max_depth:
        _refuse_deep(body, max_depth)
    # Raw control characters and surrogates cannot get this far: only escapes can bring them.
    if "\\u" in text or has_long_run(text):
        _refuse_bad_text(body, "")
    return body


def _decode(text: str, max_depth: int) -> Any:
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise InvalidSyntax(
            f"The body is not JSON: {error.msg}, line {error.lineno}, column {error.colno}."
        ) from None
    except RecursionError:
        raise _too_deep(max_depth) from None
    except ValueError:
        # Python refuses to read a whole number of more than 4300 digits.
        raise InvalidValue("The body holds a number with too many digits.") from None


def _too_deep(max_depth: int) -> Refusal:
    return InvalidSyntax(f"The body is nested too deeply; at most {max_depth} levels are read.")


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    if len(pairs) > MAX_OBJECT_NAMES:
        raise InvalidSyntax(
            f"An object of the body has {len(pairs)} names; at most {MAX_OBJECT_NAMES} are read. Send the attributes"
            " that the application keeps."
        )
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InvalidSyntax(f"The key {excerpt(twice)} stands twice in one object.")
    return result


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise InvalidValue(f"The number {text[:SHOWN_LENGTH]} is too large.")
    return number


def _refuse_constant(name: str) -> Any:
    raise InvalidSyntax(f"{name} is not JSON; a number must be finite.")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse_constant)


def _refuse_deep(body: Json, max_depth: int) -> None:
    level: list[Any] = [body]
    for _ in range(max_depth):
        level = [child for item in level for child in _children(item) if isinstance(child, (dict, list))]
        if not level:
            return
    raise _too_deep(max_depth)


def _children(item: Any) -> Iterable[Any]:
    return item.values() if isinstance(item, dict) else item


def _refuse_bad_text(value: Any, path: str) -> None:
    if isinstance(value, str):
        check_text(value, path)
    elif isinstance(value, dict):
        for key, item in value.items():
            check_text(key, f"the name {excerpt(key)}")
            # Cut here: a long name would else be copied once more for each name below it.
            _refuse_bad_text(item, (f"{path}.{key}" if path else key)[:PATH_LENGTH])
    elif isinstance(value, list):
        for item in value:
            _refuse_bad_text(item, path)
