"""What of a request and of its response is stored: no password, certificate or token, and a bounded length."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.scim.json_text import fold

#: Bytes that a stored request or response has at most.
MOST_BYTES = 16_384
#: A longer body is not read for an explanation.
MOST_READ = 262_144
MASK = "***"
_SECRET_NAMES = ("password", "x509certificates", "authorization", "token", "secret")
#: Tokens of the gateway: a kind, and 38 letters and digits.
_TOKEN = re.compile(r"\b[a-z]{2,8}_[0-9A-Za-z]{32,}")
#: A filter that names a secret attribute, in a path (`password[value eq "x"]`) or by itself (`password eq "x"`).
_FILTERED = re.compile(r"(?i)(password|x509certificates)[.\w$-]*[\s\[]")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[^\s\"',]+")
#: Entries of a list and characters of a text that are kept where the whole is too long, from generous to scant.
_SIZES = ((50, 1000), (10, 200), (3, 60))


def mask(value: Any) -> Any:
    """Return a JSON value without what is secret in it."""
    if isinstance(value, Mapping):
        hides_value = any(_is_secret(each) for name, each in value.items() if fold(str(name)) == "path")
        return {
            str(name): MASK
            if _is_secret(name) or (hides_value and fold(str(name)) == "value")
            else mask(each)
            for name, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [mask(each) for each in value]
    return mask_text(value) if isinstance(value, str) else value


def mask_text(text: str) -> str:
    """Return a text without tokens; all of a filter that asks for a secret attribute is left out."""
    if " " in text and _FILTERED.search(text):
        return MASK
    return _BEARER.sub(rf"\1 {MASK}", mask_tokens(text))


def mask_tokens(text: str) -> str:
    """Return a text without tokens of the gateway, as the address of a request may hold one."""
    return _TOKEN.sub(MASK, text)


def _is_secret(name: Any) -> bool:
    """Return whether an attribute or path is secret: `password`, `x509Certificates[primary eq true].value`."""
    if not isinstance(name, str):
        return False
    last = re.split(r"[\[\s]", fold(name), maxsplit=1)[0].rpartition(":")[2]
    return any(secret in part for part in last.split(".") for secret in _SECRET_NAMES)


def dump(parts: Mapping[str, Any], secrets: Sequence[str] = ()) -> str:
    """Return a masked value as JSON of at most `MOST_BYTES` bytes; `secrets` are texts that it must not hold."""
    masked = mask(parts)
    text = _without(to_text(masked), secrets)
    for entries, characters in _SIZES:
        if len(text.encode()) <= MOST_BYTES:
            return text
        text = _without(to_text(_cut(masked, entries, characters)), secrets)
    if len(text.encode()) <= MOST_BYTES:
        return text
    head = {name: each for name, each in masked.items() if name in ("method", "status")}
    return json.dumps(head | {"body": f"… {len(json.dumps(masked))} characters, too long to be kept"})


def to_text(value: Any) -> str:
    """Return a value as JSON that can be stored: halves of characters, which UTF-8 does not have, are escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text)


def _cut(value: Any, entries: int, characters: int) -> Any:
    if isinstance(value, dict):
        kept = {
            name[:characters]: _cut(each, entries, characters) for name, each in list(value.items())[:entries]
        }
        more = len(value) - entries
        return kept | {"…": f"and {more} more"} if more > 0 else kept
    if isinstance(value, list):
        cut = [_cut(each, entries, characters) for each in value[:entries]]
        return [*cut, f"… and {len(value) - entries} more"] if len(value) > entries else cut
    if isinstance(value, str) and len(value) > characters:
        return f"{value[:characters]}… and {len(value) - characters} more characters"
    return value


def _without(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK).replace(json.dumps(secret, ensure_ascii=False)[1:-1], MASK)
    return text


def read_body(data: bytes | str) -> Any:
    """Return a body as it is stored: JSON masked, or a sentence where it is none."""
    if not data:
        return None
    if len(data) > MOST_READ:
        return f"… {len(data)} bytes, too long to be kept"
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return f"… {len(data)} bytes that are no JSON"
