"""Documents: resources validated and made canonical by the attribute tables of `scim.schemas`.

A canonical document has the attribute names of the schemas, no empty values and no read-only attributes.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any
from urllib.parse import unquote

from gateway.scim.errors import InvalidSyntax, InvalidValue, Refusal
from gateway.scim.escaping import check_line
from gateway.scim.json_text import (
    PATH_LENGTH,
    Json,
    check_text,
    excerpt,
    fold,
    json_kind,
    read_datetime,
)
from gateway.scim.schemas import ADDRESS_LENGTH, TEXT_LENGTH, Attribute, ResourceType

USER_NAME_LENGTH = ADDRESS_LENGTH
#: Bytes of UTF-8, folded, of a value that an index holds: PostgreSQL's rows of an index take 2,704 with all columns.
INDEXED_BYTES = 2048
IGNORED_COUNT = 100
#: The longest name that is compared with others to suggest a correction.
NEAR_LENGTH = 80

#: Sub-attributes that label a value; an element with no others is empty.
_LABELS = frozenset({"type", "primary", "display"})
#: The sub-attributes that identify an element (RFC 7643, 2.4).
_PAIR = frozenset({"value", "type"})
_LITERALS = (bool, int, float)
#: How an error message names a value of each type (RFC 7643, 2.3).
_EXPECTED = {
    "string": "a text",
    "reference": "a text",
    "boolean": "true or false, without quotes",
    "integer": "a whole number",
    "decimal": "a number",
    "dateTime": "a date and time such as 2026-01-31T08:00:00Z",
    "binary": "base64 in a text",
    "complex": "an object",
}


@dataclass(frozen=True, slots=True)
class CleanDocument:
    """A canonical document, and the paths of attributes that were sent but are not stored (never their values)."""

    document: Json
    ignored: tuple[str, ...] = ()


def ignored_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the first hundred distinct names of ignored attributes in order, each cut after 200 characters."""
    return tuple(name[:PATH_LENGTH] for name in dict.fromkeys(names))[:IGNORED_COUNT]


def clean(resource_type: ResourceType, body: Mapping[str, Any]) -> CleanDocument:
    """Validate a whole resource and make it canonical.

    Read-only attributes and empty values are dropped silently; attributes that no schema has are dropped and listed
    in `ignored`. Raises InvalidValue or InvalidSyntax, which name the attribute.
    """
    _check_schemas(resource_type, body)
    ignored: list[str] = []
    content = _clean_complex(resource_type.root, body, "", ignored)
    urns = [resource_type.schema.id]
    urns += [extension.id for extension in resource_type.extensions if extension.id in content]
    return CleanDocument({"schemas": urns, **content}, ignored_names(ignored) if ignored else ())


def is_empty(value: Any) -> bool:
    """Return True if a value means «unassigned»: null, or an empty text, array or object (RFC 7643, 2.5)."""
    # RFC 7643, 2.5: null and an empty array are the same as no attribute at all.
    return not value and not isinstance(value, _LITERALS)


def clean_value(attribute: Attribute, value: Any, path: str, ignored: list[str]) -> Any:
    """Validate one value by its attribute; return it in canonical form, or None if nothing is left of it.

    `path` is named in errors; paths of attributes that are not stored are appended to `ignored`. Raises InvalidValue
    or InvalidSyntax.
    """
    if not value and not isinstance(value, _LITERALS):
        refuse_wrong_empty(attribute, value, path)
        return None
    if attribute.multi or (attribute.one_or_many and isinstance(value, list)):
        return _clean_many(attribute, value, path, ignored) or None
    return _CHECKS[attribute.type](attribute, value, path, ignored)


def refuse_wrong_empty(attribute: Attribute, value: Any, path: str) -> None:
    """Refuse an empty array or object where the attribute could not hold a full one.

    RFC 7643, 2.5 lets null and an empty array say "unassigned"; an empty array in the place of a boolean is a mistake
    that would pass for the default. An empty text counts as null for every type: identity providers send it for
    attributes without a value. Raises InvalidValue.
    """
    if value is None or isinstance(value, str):
        return
    if isinstance(value, list):
        wrong = not (attribute.multi or attribute.one_or_many)
    else:
        wrong = attribute.multi or attribute.type != "complex"
    if wrong:
        raise _wrong_type(path, _shape(attribute), value)


def _shape(attribute: Attribute) -> str:
    """Describe the values that an attribute takes, for an error message."""
    if not (attribute.multi and attribute.sub):
        return "an array" if attribute.multi else _EXPECTED[attribute.type]
    if "value" in attribute.table:
        return 'an array of objects with "value", as in [{"value": "…"}]'
    return f'an array of objects, as in [{{"{attribute.sub[0].name}": "…"}}]'


def _check_schemas(resource_type: ResourceType, body: Mapping[str, Any]) -> None:
    schemas = body.get("schemas")
    if schemas is None:
        schemas = next((value for key, value in body.items() if key.lower() == "schemas"), None)
    check_urn(schemas, resource_type.schema.id, body)


def check_urn(schemas: Any, urn: str, message: Iterable[str] = ()) -> None:
    """Refuse a message whose `schemas` is not a list of strings that contains `urn`.

    `message` are the keys of the message; if `schemas` is missing, the error names a key that resembles it. Raises
    InvalidSyntax or InvalidValue.
    """
    if schemas is None and (near := nearest_name("schemas", message)) is not None:
        raise InvalidSyntax(
            f'"schemas" is missing, but {excerpt(near)} is there. Spell the key "schemas"; it takes an array of texts'
            f" with {urn} in it."
        )
    if not isinstance(schemas, list) or not all(isinstance(item, str) for item in schemas):
        raise InvalidSyntax(f'"schemas" must be an array of texts with {urn} in it.')
    if urn not in schemas and urn.lower() not in (item.lower() for item in schemas):
        raise InvalidValue(f'"schemas" must name {urn}, but it holds {excerpt(schemas)}.')


def _clean_complex(attribute: Attribute, body: Mapping[str, Any], prefix: str, ignored: list[str]) -> Json:
    result: Json = {}
    table = attribute.table
    for key, value in body.items():
        # `is_empty`, inlined: this loop is the most executed of the server.
        if not value and not isinstance(value, _LITERALS):
            empty = value not in (None, "") and (table.get(key) or table.get(key.lower()))
            if empty and empty.mutability != "readOnly":
                refuse_wrong_empty(empty, value, prefix + empty.name)
            continue
        sub = table.get(key) or table.get(key.lower())
        if sub is None:
            ignored.append(prefix + key)
            continue
        if key != sub.name:
            refuse_doubled(key, body)
        if (
            sub.plain
            and type(value) is str
            and len(value) <= sub.bound
            and value.isascii()
            and "\0" not in value
        ):
            result[sub.name] = value
            continue
        if sub.mutability == "readOnly":
            continue
        cleaned = clean_value(sub, value, prefix + sub.name, ignored)
        if cleaned is not None:
            result[sub.name] = cleaned
    for name in attribute.needs:
        if name == "value" and name not in result and "$ref" in result:
            # RFC 7643, 2.4: the reference says as much as the id in it.
            result[name] = id_in_reference(result["$ref"])
        if name not in result and (not prefix or not all(map(is_empty, body.values()))):
            raise InvalidValue(f"{prefix}{name} is required, but it is missing or empty.")
    return result


def refuse_doubled(key: str, body: Mapping[str, Any]) -> None:
    """Refuse an object that has the attribute `key` a second time in another spelling (RFC 7643, 2.1).

    Raises InvalidSyntax.
    """
    # RFC 7643, 2.1: attribute names are case-insensitive, so two spellings are one name twice.
    lowered = key.lower()
    if sum(other.lower() == lowered for other in body) > 1:
        raise InvalidSyntax(f"The attribute {excerpt(key)} stands twice in one object, in two spellings.")


def _clean_many(attribute: Attribute, value: Any, path: str, ignored: list[str]) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong_type(path, _shape(attribute), value)
    if attribute.limit is not None and len(value) > attribute.limit:
        raise InvalidValue(f"{path} has {len(value)} values; at most {attribute.limit} are kept.")
    check = _CHECKS[attribute.type]
    result = []
    for item in value:
        if attribute.sub and item and not isinstance(item, Mapping):
            raise _wrong_type(path, _shape(attribute), item, "came in it")
        if not item and not isinstance(item, _LITERALS):
            if isinstance(item, (list, Mapping)) and isinstance(item, Mapping) != bool(attribute.sub):
                raise _wrong_type(path, _shape(attribute), item, "came in it")
            continue
        cleaned = check(attribute, item, path, ignored)
        if cleaned is not None and not (attribute.sub and cleaned.keys() <= _LABELS):
            result.append(cleaned)
    if len(result) > 1 and attribute.sub:
        result = _merge_duplicates(attribute, result, path, ignored)
        if "primary" in attribute.table:
            _refuse_two_primaries(result, path)
    return result


def _merge_duplicates(attribute: Attribute, items: list[Json], path: str, ignored: list[str]) -> list[Json]:
    """Merge elements with the same `type` and `value`, so that each pair stands once (RFC 7643, 2.4).

    A later duplicate completes the first, as an `add` of a PATCH would. Where they contradict each other the later
    one wins, and the path of the value that was overwritten is appended to `ignored`.
    """
    value, kind_of = attribute.table.get("value"), attribute.table.get("type")
    once: dict[Any, Json] = {}
    for item in items:
        pair: Any = id(item)  # a postal address has no `value`, so it equals no other
        if "value" in item:
            pair = (comparable_value(value, item["value"]), comparable_value(kind_of, item.get("type")))
        first = once.setdefault(pair, item)
        if first is not item:
            later = {name: part for name, part in item.items() if name not in _PAIR}
            ignored += [f"{path}.{name}" for name, part in later.items() if first.get(name, part) != part]
            first.update(later)
    return list(once.values())


def comparable_value(attribute: Attribute | None, value: Any) -> Any:
    """Return a value in the form in which it is compared: folded unless the attribute is caseExact (RFC 7643, 2.2)."""
    exact = attribute is None or attribute.case_exact or not isinstance(value, str)
    return value if exact else fold(value)


def _refuse_two_primaries(items: list[Json], path: str) -> None:
    # RFC 7643, 2.4: true may stand at one value at most.
    if sum(item.get("primary") is True for item in items) > 1:
        raise InvalidValue(f"{path} has more than one value with primary true; only one may be.")


def id_in_reference(reference: str) -> str:
    """Return the id at the end of the URI of a user or group, absolute or relative. Raises InvalidValue."""
    kind_of, _, uid = reference.rstrip("/").rpartition("/")
    if not uid or kind_of.rpartition("/")[2].lower() not in ("users", "groups"):
        raise InvalidValue(
            f'A "$ref" must end in /Users/ and the id of a user, but it is {excerpt(reference)}.'
        )
    return unquote(uid)


def nearest_name(name: str, among: Iterable[str]) -> str | None:
    """Return the name in `among` that a misspelt one probably meant, letter case aside, or None."""
    words = {word.lower(): word for word in among if len(word) <= NEAR_LENGTH}
    found = get_close_matches(name[:NEAR_LENGTH].lower(), list(words)[:IGNORED_COUNT], 1, 0.7)
    return words[found[0]] if found else None


def _wrong_type(path: str, expected: str, value: Any, came: str = "came") -> Refusal:
    return InvalidValue(f"{path} must be {expected}, but {json_kind(value)} {came}: {excerpt(value)}.")


# One check for each type (RFC 7643, 2.3); each returns the canonical value.


def _check_string(attribute: Attribute, value: Any, path: str, ignored: list[str]) -> Any:
    if not isinstance(value, str):
        raise _wrong_type(path, _EXPECTED["string"], value)
    if "\0" in value or not value.isascii():
        check_text(value, path)
    if attribute.required and value.isspace():
        raise InvalidValue(f"{path} is required, but it holds nothing but spaces.")
    check_length(value, path, attribute.bound, indexed=attribute.bound < TEXT_LENGTH)
    if attribute.uniqueness == "server":
        check_line(value, path)
    return value


def check_length(value: str, path: str, bound: int, *, indexed: bool) -> None:
    """Refuse a text with more characters than `bound`, or with more UTF-8 bytes than an index takes if `indexed`.

    Raises InvalidValue.
    """
    if len(value) > bound:
        raise InvalidValue(
            f"{path} is {len(value)} characters long; at most {bound} are kept: {excerpt(value)}."
        )
    if indexed and not value.isascii() and (size := len(fold(value).encode())) > INDEXED_BYTES:
        raise InvalidValue(
            f"{path} takes {size} bytes in UTF-8; at most {INDEXED_BYTES} are kept: {excerpt(value)}."
        )


def _check_boolean(attribute: Attribute, value: Any, path: str, ignored: list[str]) -> Any:
    if value is not True and value is not False:
        raise _wrong_type(path, _EXPECTED["boolean"], value)
    return value


def _check_integer(attribute: Attribute, value: Any, path: str, ignored: list[str]) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(path, _EXPECTED["integer"], value)
    return value


def _check_decimal(attribute: Attribute, value: Any, path: str, ignored: list[str]) -> Any:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _wrong_type(path, _EXPECTED["decimal"], value)
    return value


def _check_datetime(attribute: Attribute, value: Any, path: str, ignored: list[str]) -> Any:
    if not isinstance(value, str) or read_datetime(value) is None:
        raise _wrong_type(path, _EXPECTED["dateTime"], value)
    return value


def _check_binary(attribute: Attribute, value: Any, path: str, ignored: list[str]) -> Any:
    try:
        # RFC 7643, 2.3.6: the padding may be left out, but not a part of it.
        padding = "" if value.endswith("=") else "=" * (-len(value) % 4)
        binascii.a2b_base64((value + padding).encode("ascii"), strict_mode=True)
    except (AttributeError, ValueError):
        raise _wrong_type(path, _EXPECTED["binary"], value) from None
    return value


def _check_complex(attribute: Attribute, value: Any, path: str, ignored: list[str]) -> Any:
    if not isinstance(value, Mapping):
        raise _wrong_type(path, _EXPECTED["complex"], value)
    return _clean_complex(attribute, value, path + attribute.prefix[-1], ignored) or None


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
