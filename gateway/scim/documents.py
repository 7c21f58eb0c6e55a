"""Documents: read from JSON, validated and made canonical by the attribute tables, projected, written.

A canonical document has the names of the schemas, no empty values, and nothing that a client cannot write.
"""

from __future__ import annotations

import binascii
import datetime
import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.scim.errors import InvalidSyntax, InvalidValue, Refusal
from gateway.scim.schemas import Attribute, ResourceType

Json = dict[str, Any]

#: The longest e-mail address that RFC 5321 allows: 64 + 1 + 255.
USER_NAME_LENGTH = 320
SHOWN_LENGTH = 60
IGNORED_LENGTH = 200
IGNORED_COUNT = 100

#: What says something about a value, but is no value by itself.
_LABELS = frozenset({"type", "primary", "display"})
_LITERALS = (bool, int, float)


@dataclass(frozen=True, slots=True)
class Clean:
    """A canonical document, and the paths of what was sent but is not kept (never the values)."""

    document: Json
    ignored: tuple[str, ...] = ()


def fold(text: str) -> str:
    """The form in which text is compared where letter case does not count."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


def dumps(document: Any) -> str:
    """Compact JSON that can always be encoded as UTF-8."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return text if _encodable(text) else json.dumps(document, separators=(",", ":"))


def shown(value: Any, length: int = SHOWN_LENGTH) -> str:
    """A value as a sentence may show it: JSON, cut where it is long."""
    text = dumps(value)
    return text if len(text) <= length else f"{text[:length]}…"


def named(names: Iterable[str]) -> tuple[str, ...]:
    """Names of ignored attributes in order, each once; the first hundred, each cut where it is long."""
    return tuple(name[:IGNORED_LENGTH] for name in dict.fromkeys(names))[:IGNORED_COUNT]


# The JSON door


def read_json(data: bytes, *, max_depth: int = 64) -> Json:
    """The object in the body of a request. Raises InvalidSyntax, or InvalidValue for forbidden text."""
    if not data.strip():
        raise InvalidSyntax("The body is empty; a JSON object was expected.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidSyntax(f"The body is not UTF-8: byte {error.start} cannot be read.") from None
    body = _decode(text, max_depth)
    if not isinstance(body, dict):
        raise InvalidSyntax(f"The body must be a JSON object, but {_kind(body)} came.")
    # An object or array takes a bracket, so few brackets cannot nest deeply.
    if text.count("{") + text.count("[") > max_depth:
        _refuse_deep(body, max_depth)
    # Raw control characters and surrogates cannot get this far: only escapes can bring them.
    if "\\u" in text:
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
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InvalidSyntax(f"The key {shown(twice)} stands twice in one object.")
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
        _check_text(value, path)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key, f"the name {shown(key)}")
            _refuse_bad_text(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for item in value:
            _refuse_bad_text(item, path)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_text(text: str, path: str) -> None:
    if "\0" in text:
        raise InvalidValue(f"{path[:IGNORED_LENGTH]} holds a NUL character, which cannot be stored.")
    if not text.isascii() and not _encodable(text):
        raise InvalidValue(f"{path[:IGNORED_LENGTH]} holds half a character (a lone surrogate).")


# Validation


def clean(resource_type: ResourceType, body: Mapping[str, Any]) -> Clean:
    """Validate a whole resource and make it canonical.

    Read-only attributes and empty values are dropped quietly; attributes that are not kept are dropped and
    named. Raises InvalidValue or InvalidSyntax, naming the attribute.
    """
    _check_schemas(resource_type, body)
    ignored: list[str] = []
    content = _complex(resource_type.root, body, "", ignored)
    urns = [resource_type.schema.id]
    urns += [extension.id for extension in resource_type.extensions if extension.id in content]
    return Clean({"schemas": urns, **content}, named(ignored) if ignored else ())


def is_empty(value: Any) -> bool:
    """Whether a value says «unassigned»: null, or a text, array or object with nothing in it."""
    # RFC 7643, 2.5: null and an empty array are the same as no attribute at all.
    return not value and not isinstance(value, _LITERALS)


def clean_value(attribute: Attribute, value: Any, path: str, ignored: list[str]) -> Any:
    """One value by its attribute, canonical, or None where nothing is left of it."""
    if not value and not isinstance(value, _LITERALS):
        return None
    if attribute.multi or (attribute.one_or_many and isinstance(value, list)):
        return _many(attribute, value, path, ignored) or None
    return _CHECKS[attribute.type](attribute, value, path, ignored)


def _check_schemas(resource_type: ResourceType, body: Mapping[str, Any]) -> None:
    schemas = body.get("schemas")
    if schemas is None:
        schemas = next((value for key, value in body.items() if key.lower() == "schemas"), None)
    check_urn(schemas, resource_type.schema.id)


def check_urn(schemas: Any, urn: str) -> None:
    """Refuse a message whose `schemas` is not a list of strings that names the URN."""
    if not isinstance(schemas, list) or not all(isinstance(item, str) for item in schemas):
        raise InvalidSyntax(f'"schemas" must be an array of texts with {urn} in it.')
    if urn not in schemas and urn.lower() not in (item.lower() for item in schemas):
        raise InvalidValue(f'"schemas" must name {urn}, but it holds {shown(schemas)}.')


def _complex(attribute: Attribute, body: Mapping[str, Any], prefix: str, ignored: list[str]) -> Json:
    result: Json = {}
    table = attribute.table
    for key, value in body.items():
        # `is_empty`, written out: this loop is the hottest of the server.
        if not value and not isinstance(value, _LITERALS):
            continue
        sub = table.get(key) or table.get(key.lower())
        if sub is None:
            ignored.append(prefix + key)
            continue
        if key != sub.name:
            _refuse_doubled(key, body)
        if sub.plain and type(value) is str and value.isascii() and "\0" not in value:
            result[sub.name] = value
            continue
        if sub.mutability == "readOnly":
            continue
        cleaned = clean_value(sub, value, prefix + sub.name, ignored)
        if cleaned is not None:
            result[sub.name] = cleaned
    for name in attribute.needs:
        if name not in result and (not prefix or not all(map(is_empty, body.values()))):
            raise InvalidValue(f"{prefix}{name} is required, but it is missing or empty.")
    return result


def _refuse_doubled(key: str, body: Mapping[str, Any]) -> None:
    # RFC 7643, 2.1: attribute names are case-insensitive, so two spellings are one name twice.
    lowered = key.lower()
    if sum(other.lower() == lowered for other in body) > 1:
        raise InvalidSyntax(f"The attribute {shown(key)} stands twice in one object, in two spellings.")


def _many(attribute: Attribute, value: Any, path: str, ignored: list[str]) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(path, "an array", value)
    if attribute.limit is not None and len(value) > attribute.limit:
        raise InvalidValue(f"{path} has {len(value)} values; at most {attribute.limit} are kept.")
    check = _CHECKS[attribute.type]
    result = []
    for item in value:
        if not item and not isinstance(item, _LITERALS):
            continue
        cleaned = check(attribute, item, path, ignored)
        if cleaned is not None and not (attribute.sub and cleaned.keys() <= _LABELS):
            result.append(cleaned)
    if len(result) > 1 and "primary" in attribute.table:
        _refuse_two_primaries(result, path)
    return result


def _refuse_two_primaries(items: list[Json], path: str) -> None:
    # RFC 7643, 2.4: true may stand at one value at most.
    if sum(item.get("primary") is True for item in items) > 1:
        raise InvalidValue(f"{path} has more than one value with primary true; only one may be.")


def _wrong(path: str, expected: str, value: Any) -> Refusal:
    return InvalidValue(f"{path} must be {expected}, but {_kind(value)} came: {shown(value)}.")


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (str, "a text"),
    (bool, "a boolean"),
    ((int, float), "a number"),
    (list, "an array"),
    (Mapping, "an object"),
)


def _kind(value: Any) -> str:
    return next((words for kind, words in _KINDS if isinstance(value, kind)), "null")


# One check a type (RFC 7643, 2.3). Each gives the canonical value back.


def _check_string(attribute: Attribute, value: Any, path: str, ignored: list[str]) -> Any:
    if not isinstance(value, str):
        raise _wrong(path, "a text", value)
    if "\0" in value or not value.isascii():
        _check_text(value, path)
    if attribute.required and value.isspace():
        raise InvalidValue(f"{path} is required, but it holds nothing but spaces.")
    if attribute.uniqueness == "server" and len(value) > USER_NAME_LENGTH:
        raise InvalidValue(
            f"{path} is {len(value)} characters long; at most {USER_NAME_LENGTH} are kept: {shown(value)}."
        )
    return value


def _check_boolean(attribute: Attribute, value: Any, path: str, ignored: list[str]) -> Any:
    if value is not True and value is not False:
        raise _wrong(path, "true or false, without quotes", value)
    return value


def _check_integer(attribute: Attribute, value: Any, path: str, ignored: list[str]) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(path, "a whole number", value)
    return value


def _check_decimal(attribute: Attribute, value: Any, path: str, ignored: list[str]) -> Any:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _wrong(path, "a number", value)
    return value


def _check_datetime(attribute: Attribute, value: Any, path: str, ignored: list[str]) -> Any:
    if not isinstance(value, str) or read_datetime(value) is None:
        raise _wrong(path, "a date and time such as 2026-01-31T08:00:00Z", value)
    return value


def _check_binary(attribute: Attribute, value: Any, path: str, ignored: list[str]) -> Any:
    try:
        # RFC 7643, 2.3.6
        binascii.a2b_base64(value.encode("ascii"), strict_mode=True)
    except (AttributeError, ValueError):
        raise _wrong(path, "base64 in a text", value) from None
    return value


def _check_complex(attribute: Attribute, value: Any, path: str, ignored: list[str]) -> Any:
    if not isinstance(value, Mapping):
        raise _wrong(path, "an object", value)
    return _complex(attribute, value, path + attribute.prefix[-1], ignored) or None


def read_datetime(text: str) -> datetime.datetime | None:
    """The moment that a dateTime names, or None if it is none. Without a zone it is taken as UTC."""
    # RFC 7643, 2.3.5: both a date and a time.
    if "T" not in text:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


_CHECKS: dict[str, Callable[[Attribute, Any, str, list[str]], Any]] = {
    "string": _check_string,
    "reference": _check_string,
    "boolean": _check_boolean,
    "integer": _check_integer,
    "decimal": _check_decimal,
    "dateTime": _check_datetime,
    "binary": _check_binary,
    "complex": _check_complex,
}


# Projection


def project(
    resource_type: ResourceType,
    document: Mapping[str, Any],
    attributes: Sequence[str],
    excluded: Sequence[str],
) -> Json:
    """The part of a full representation that was asked for (RFC 7644, 3.9). Unknown names are ignored."""
    result = dict(document)
    if attributes:
        result = _only(resource_type, document, attributes)
    for path in excluded:
        _leave_out(resource_type, result, path)
    return result


def _only(resource_type: ResourceType, document: Mapping[str, Any], paths: Sequence[str]) -> Json:
    wanted = [located for path in paths if (located := resource_type.locate(path))]
    result: Json = {}
    for key, value in document.items():
        # RFC 7643, 7: what is returned always is returned, whatever was asked for.
        known = resource_type.root.table.get(key)
        if known is not None and known.returned == "always":
            result[key] = value
            continue
        for extension, attribute, sub in wanted:
            if extension == key and attribute.name in value:
                part = _part(value[attribute.name], sub)
                _merge(result.setdefault(key, {}), attribute.name, part)
            elif extension is None and attribute.name == key:
                _merge(result, key, _part(value, sub))
    return result


def _part(value: Any, sub: Attribute | None) -> Any:
    """A value reduced to one sub-attribute; elements that lack it keep their places as empty objects."""
    if sub is None:
        return value
    if isinstance(value, list):
        return [_part(item, sub) for item in value]
    return {sub.name: value[sub.name]} if sub.name in value else {}


def _merge(box: Json, name: str, part: Any) -> None:
    present = box.get(name)
    if isinstance(present, dict) and isinstance(part, dict):
        part = {**present, **part}
    elif isinstance(present, list) and isinstance(part, list):
        part = [
            {**a, **b} if isinstance(a, dict) and isinstance(b, dict) else b
            for a, b in zip(present, part, strict=True)
        ]
    box[name] = part


def _leave_out(resource_type: ResourceType, result: Json, path: str) -> None:
    located = resource_type.locate(path)
    if located is None:
        return
    extension, attribute, sub = located
    if attribute.returned == "always":
        return
    box = result
    if extension is not None:
        box = result[extension] = dict(result.get(extension, {}))
    if sub is None:
        box.pop(attribute.name, None)
    elif attribute.name in box:
        box[attribute.name] = _without(box[attribute.name], sub.name)
    if extension is not None and not box:
        del result[extension]


def _without(value: Any, name: str) -> Any:
    if isinstance(value, list):
        return [_without(item, name) for item in value]
    return {key: item for key, item in value.items() if key != name}
