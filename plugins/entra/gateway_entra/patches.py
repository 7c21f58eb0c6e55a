"""The PATCHes of both of Entra's dialects, told as plain RFC 7644 operations.

Both come from one tenant: the flag that asks for the newer one does not hold for provisioning on demand (documented).
So nothing is set anywhere, and each operation is read for what it says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from gateway_entra import values
from gateway_entra.paths import ENTERPRISE, Path, boolean, key_of, leading, read

Json = dict[str, Any]

#: Not written by a path. Without one they are taken or ignored as the core sees fit.
PROTOCOL = frozenset({"id", "meta", "schemas", "groups"})


def map_group(operations: list[Json]) -> list[Json]:
    """A remove of members with a list of them removes those, where the RFC would remove everybody (documented)."""
    return [each for operation in operations for each in _named_members(operation)]


def map_user(operations: list[Json], current: Json, extension_urn: str) -> list[Json]:
    """`current` is the stored user; a private copy, in which is followed what the operations do to lists."""
    patch = _UserPatch(current)
    unfolded = (each for operation in operations for each in _unfolded(operation, extension_urn))
    return [told for each in unfolded for told in patch.told(each)]


def _named_members(operation: Json) -> list[Json]:
    path = read(operation.get("path"))
    is_members = path is not None and path.means("members") and path.whole
    if operation["op"] != "remove" or not is_members or operation.get("value") is None:
        return [operation]
    if operation["value"] == []:
        # Nobody. A change that changes nothing keeps it an operation.
        return [{**operation, "op": "add"}]
    return _removals("members", operation["value"]) or [operation]


def _removals(name: str, named: Any) -> list[Json] | None:
    """A remove for each of the elements that are named; None where one has nothing to know it by."""
    ids = [each.get(key_of(each, "value")) if isinstance(each, Mapping) else each for each in _listed(named)]
    if not all(isinstance(each, str) and each for each in ids):
        return None
    return [{"op": "remove", "path": f"{name}[value eq {json.dumps(each)}]"} for each in dict.fromkeys(ids)]


def _unfolded(operation: Json, extension_urn: str) -> Iterator[Json]:
    """An operation without a path as one for each name in its value, for the names may be paths (documented)."""
    value = operation.get("value")
    if operation.get("path") is not None or operation["op"] == "remove" or not isinstance(value, dict):
        yield operation
        return
    if len({name.lower() for name in value}) != len(value):
        yield operation  # one name twice, in two spellings: the core says so
        return
    schemas = {urn.lower() for urn in (ENTERPRISE, extension_urn) if urn}
    whole = {}
    for name, held in value.items():
        if name.lower() in schemas and isinstance(held, Mapping):
            yield from ({"op": operation["op"], "path": f"{name}:{key}", "value": held[key]} for key in held)
        elif leading(name, held) or (read(name) and ":" not in name and name.lower() not in PROTOCOL):
            yield {"op": operation["op"], "path": name, "value": held}
        else:
            whole[name] = held
    if whole or not value:
        yield {"op": operation["op"], "value": whole}


class _UserPatch:
    """One PATCH of a user. What it did to lists so far is followed, since the next operation may build on it."""

    def __init__(self, current: Json) -> None:
        self._user_name = current.get("userName")
        self._lists = {name: [dict(each) for each in current.get(name, ())] for name in values.LISTS.values()}

    def told(self, operation: Json) -> list[Json]:
        """The same in plain operations: one, or one for each element that a remove names."""
        path = read(operation.get("path"))
        if path is None:
            return [operation]
        if operation["op"] != "remove" and self._is_of_soft_deleted(path, operation.get("value")):
            # No schema knows this path, so the core ignores the operation and names it in the activity.
            return [{**operation, "path": f"{path.name}.softDeleted"}]
        if path.urn is None and (name := values.LISTS.get(path.name.lower())):
            return self._of_list(operation, replace(path, name=name))
        told = {**operation, "path": str(path)}
        if path.means("active") and "value" in told:
            told["value"] = boolean(told["value"])
        elif path.means("manager", ENTERPRISE) and path.whole and operation["op"] != "remove":
            told["value"] = _another_manager(told.get("value"))
        return [told]

    def _is_of_soft_deleted(self, path: Path, value: Any) -> bool:
        """The user principal name may be mapped to an address as well."""
        if path.means("userName") and path.whole:
            return values.is_of_soft_deleted(value, self._user_name)
        return (
            path.means("emails") and (path.sub or "").lower() == "value" and values.is_of_soft_deleted(value)
        )

    def _of_list(self, operation: Json, path: Path) -> list[Json]:
        elements = self._lists[path.name]
        told = {**operation, "path": str(path)}
        if operation["op"] == "remove":
            return self._remove(told, path, elements)
        if path.terms is not None:
            return self._fill(told, path, elements)
        if path.whole:
            if operation["op"] == "replace":
                elements.clear()
            told["value"] = values.entries(path.name, operation.get("value"), elements)
            elements += [dict(each) for each in _listed(told["value"]) if isinstance(each, Mapping)]
        return [told]

    def _remove(self, told: Json, path: Path, elements: list[Json]) -> list[Json]:
        if path.whole and told.get("value") is not None:
            named = values.entries(path.name, told["value"])
            removals = _removals(path.name, named)
            if not removals:
                return [told]
            gone = [each.get("value") if isinstance(each, Mapping) else each for each in _listed(named)]
            elements[:] = [element for element in elements if element.get("value") not in gone]
            return removals
        chosen = [element for element in elements if _holds(element, path.terms or ())]
        if path.sub is None:
            elements[:] = [element for element in elements if element not in chosen]
        for element in chosen:
            element.pop(key_of(element, path.sub or ""), None)
        return [told]

    def _fill(self, told: Json, path: Path, elements: list[Json]) -> list[Json]:
        """Add or replace in the elements that a filter selects. Where there is none, one is made as the filter says.

        RFC 7644, 3.5.2.3, has an error there. Entra counts on the element (documented), and sends several paths with
        the same filter, which fill one.
        """
        value = _value(path, told.get("value"))
        told["value"] = value
        chosen = [element for element in elements if _holds(element, path.terms or ())]
        if path.sub is None and not isinstance(value, Mapping):
            return [told]
        given = {path.sub: value} if path.sub else dict(value)
        for element in chosen:
            element.update({key_of(element, name): held for name, held in given.items()})
        if chosen:
            return [told]
        if all(held in (None, "", [], {}) for held in given.values()):
            return [
                {"op": "remove", "path": str(path)}
            ]  # emptied, and nothing is there: removing it is no error
        made = {**dict(path.terms or ()), **given}
        elements.append(dict(made))
        return [{"op": "add", "path": path.name, "value": [made]}]


def _value(path: Path, value: Any) -> Any:
    """What is written to the elements that a path selects."""
    if path.sub is not None:
        return boolean(value) if path.sub.lower() == "primary" else value
    listed = _listed(value)
    return (
        values.entry(path.name, listed[0]) if len(listed) == 1 and isinstance(listed[0], Mapping) else value
    )


def _another_manager(value: Any) -> Any:
    """A manager that takes the place of another one, whose `$ref` must not stay beside the new id."""
    manager = values.reference(value)
    return {"$ref": None, **manager} if isinstance(manager, dict) and manager else manager


def _holds(element: Json, terms: tuple[tuple[str, Any], ...]) -> bool:
    return all(_same(element.get(key_of(element, name)), value) for name, value in terms)


def _same(one: Any, other: Any) -> bool:
    return one.lower() == other.lower() if isinstance(one, str) and isinstance(other, str) else one == other


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
