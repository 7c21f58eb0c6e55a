"""JSON that is passed to plugins and returned by them: read-only views, copies, checks."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from types import MappingProxyType
from typing import Any

_DEEPEST = 64


class NotPlainJson(Exception):
    """An answer that cannot be used; says what it is, never what it holds."""


def freeze(value: Any) -> Any:
    """JSON that nobody can change: mappings are read-only views, lists are tuples."""
    if isinstance(value, Mapping):
        return MappingProxyType({key: freeze(held) for key, held in value.items()})
    if isinstance(value, list | tuple):
        return tuple(freeze(held) for held in value)
    return value


def copy_json(value: Any) -> Any:
    """JSON for somebody who may do with it what they like."""
    if isinstance(value, dict):
        return {key: copy_json(held) for key, held in value.items()}
    if isinstance(value, list):
        return [copy_json(held) for held in value]
    return value


def check_plain(value: Any, left: int = _DEEPEST) -> None:
    """Raise NotPlainJson unless what a plugin answered is JSON through and through."""
    if isinstance(value, str) or value is None or isinstance(value, bool | int):
        return
    if left == 0:
        raise NotPlainJson(f"is nested more than {_DEEPEST} levels deep")
    if isinstance(value, dict):
        for key, held in value.items():
            if not isinstance(key, str):
                raise NotPlainJson(f"holds a key that is a {type(key).__name__}, not a text")
            check_plain(held, left - 1)
    elif isinstance(value, list):
        for held in value:
            check_plain(held, left - 1)
    elif not isinstance(value, float) or not isfinite(value):
        raise NotPlainJson(f"holds a {type(value).__name__}, which is no JSON")
