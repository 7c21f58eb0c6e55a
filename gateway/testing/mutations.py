"""Mutations of examples: junk at each place of a JSON value, and names in other letter case."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

#: What identity providers, proxies and templates put where another value belongs.
JUNK: tuple[Any, ...] = (None, 3, "x", [], {}, [None])
#: Junk that is not empty: a receiver that acts as if it were absent has dropped it silently.
FULL = (3, "x")
_QUOTED = re.compile(r'("(?:[^"\\]|\\.)*")')
#: The letter cases in which names are tried (RFC 7643, 2.1: they are case insensitive).
CASES: dict[str, Callable[[str], str]] = {"in capitals": str.upper, "in small letters": str.lower}


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a JSON value: the keys and indexes that lead there."""

    keys: tuple[str | int, ...]

    def __str__(self) -> str:
        return ".".join(map(str, self.keys))

    def value(self, whole: Any) -> Any:
        """Return the value at this place."""
        for key in self.keys:
            whole = whole[key]
        return whole

    def replaced(self, whole: Any, value: Any) -> Any:
        """Return a copy with another value at this place."""
        return _rebuild(whole, self.keys, lambda holder, key: {**holder, key: value}, lambda _: [value])

    def removed(self, whole: Any) -> Any:
        """Return a copy without this place."""
        return _rebuild(
            whole,
            self.keys,
            lambda holder, key: {name: held for name, held in holder.items() if name != key},
            lambda _: [],
        )


def places(whole: Any, before: tuple[str | int, ...] = ()) -> Iterator[Place]:
    """Yield each place below the top, the containers too."""
    keyed: Any = (
        whole.items() if isinstance(whole, dict) else enumerate(whole) if isinstance(whole, list) else ()
    )
    for key, value in keyed:
        yield Place((*before, key))
        yield from places(value, (*before, key))


def change_case(whole: Any, case: Callable[[str], str]) -> Any:
    """Return a copy with the names of all its members in another letter case; values stay as they are."""
    if isinstance(whole, dict):
        return {case(name): change_case(value, case) for name, value in whole.items()}
    return [change_case(value, case) for value in whole] if isinstance(whole, list) else whole


def change_operation_case(operation: dict[str, Any], case: Callable[[str], str]) -> dict[str, Any]:
    """Return a PATCH operation with the names in its path and value in another letter case."""
    changed = dict(operation)
    if isinstance(operation.get("path"), str):
        # What is in quotes is a value.
        parts = _QUOTED.split(operation["path"])
        changed["path"] = "".join(part if number % 2 else case(part) for number, part in enumerate(parts))
    if "value" in operation:
        changed["value"] = change_case(operation["value"], case)
    return changed


def _rebuild(
    whole: Any,
    keys: tuple[str | int, ...],
    in_object: Callable[[dict[str, Any], Any], Any],
    in_list: Callable[[Any], list[Any]],
) -> Any:
    key, rest = keys[0], keys[1:]
    if rest:
        inner = _rebuild(whole[key], rest, in_object, in_list)
        if isinstance(whole, dict):
            return {**whole, key: inner}
        return [inner if number == key else held for number, held in enumerate(whole)]
    if isinstance(whole, dict):
        return in_object(whole, key)
    assert isinstance(key, int)
    return [*whole[:key], *in_list(whole[key]), *whole[key + 1 :]]
