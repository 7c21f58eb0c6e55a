"""The PATCHes of both of Entra's dialects, told as plain RFC 7644 operations.

Both come from one tenant: the flag that asks for the newer one does not hold for provisioning on demand (documented).
So nothing is set anywhere, and each operation is read for what it says.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
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
    told = [told for each in unfolded for told in patch.told(each)]
    # A remove of somebody else, and nothing beside it: a change that changes nothing keeps it an operation.
    return told or ([{"op": "add", "value": {}}] if operations else [])


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
        enterprise = current.get(key_of(current, ENTERPRISE)) or {}
        self._manager = (enterprise.get("manager") or {}).get("value")
        self._lists = {name: Elements(current.get(name, ())) for name in values.LISTS.values()}

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
        elif path.means("manager", ENTERPRISE):
            return self._of_manager(told, path)
        return [told]

    def _of_manager(self, told: Json, path: Path) -> list[Json]:
        """A single value, of which Entra names the one to remove, by a filter or by a value, as it does of lists."""
        if told["op"] == "remove" and path.sub is None:
            named = self._named_manager(told, path)
            if named is not None and named != self._manager:
                return []
            if named is not None:
                told = {"op": "remove", "path": str(replace(path, terms=None))}
            self._manager = None
        elif path.whole:
            told["value"] = _another_manager(told.get("value"))
            self._manager = _value_of(told["value"]) if isinstance(told["value"], Mapping) else None
        elif path.terms is None and (path.sub or "").lower() == "value":
            self._manager = told.get("value") if told["op"] != "remove" else None
        return [told]

    @staticmethod
    def _named_manager(told: Json, path: Path) -> str | None:
        """The id of the manager that a remove names; None where it names nobody in a way that is known."""
        if path.terms is not None:
            ((name, named), *others) = path.terms
            return named if not others and name.lower() == "value" and isinstance(named, str) else None
        manager = values.reference(told.get("value"))
        return (_value_of(manager) or None) if isinstance(manager, Mapping) else None

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
            for each in _listed(told["value"]):
                if isinstance(each, dict) and key_of(each, "value") not in each:
                    elements.make(each)
                elif isinstance(each, Mapping):
                    elements.append(dict(each))
        return [told]

    def _remove(self, told: Json, path: Path, elements: Elements) -> list[Json]:
        elements.settle()
        if path.whole and told.get("value") is not None:
            named = values.entries(path.name, told["value"])
            removals = _removals(path.name, named)
            if not removals:
                return [told]
            gone = {_value_of(each) for each in _listed(named)}
            elements.drop([element for element in elements if _value_of(element) in gone])
            return removals
        chosen = elements.chosen(path.terms or ())
        if path.sub is None:
            elements.drop(chosen)
        for element in chosen:
            elements.write(element, {path.sub or "": None})
        return [told]

    def _fill(self, told: Json, path: Path, elements: Elements) -> list[Json]:
        """Add or replace in the elements that a filter selects. Where there is none, one is made as the filter says.

        RFC 7644, 3.5.2.3, has an error there. Entra counts on the element (documented), and sends several paths with
        the same filter, which fill one, in any order: `type` may come before `value`. So they are put into the one
        operation that makes it, and an element that ends without a value is dropped with that.
        """
        value = _value(path, told.get("value"))
        told["value"] = value
        chosen = elements.chosen(path.terms or ())
        if path.sub is None and not isinstance(value, Mapping):
            return [told]
        given = {path.sub: value} if path.sub else dict(value)
        made_here = bool(chosen) and all(elements.is_made(element) for element in chosen)
        for element in chosen:
            elements.write(element, given)
        if chosen:
            return [] if made_here else [told]
        if all(held in (None, "", [], {}) for held in given.values()):
            return [
                {"op": "remove", "path": str(path)}
            ]  # emptied, and nothing is there: removing it is no error
        made = dict(path.terms or ())
        made.update({key_of(made, name): held for name, held in given.items()})
        elements.make(made)
        return [{"op": "add", "path": path.name, "value": [made]}]


class Elements:
    """The elements of a list as they are after the operations so far, found by what they hold.

    Those that `make` was told of are parts of an operation already: what is written to one is written there.
    """

    def __init__(self, stored: Iterable[Mapping[str, Any]]) -> None:
        self._all: dict[int, Json] = {}
        self._made: set[int] = set()
        #: By the name of a sub-attribute in lower case, then by its value: keys of elements. Kept for names asked for.
        self._index: dict[str, dict[Any, dict[int, None]]] = {}
        for each in stored:
            self.append(dict(each))

    def __iter__(self) -> Iterator[Json]:
        return iter(list(self._all.values()))

    def append(self, element: Json) -> None:
        """One more."""
        self._all[id(element)] = element
        for name, index in self._index.items():
            index.setdefault(_key(element.get(key_of(element, name))), {})[id(element)] = None

    def make(self, element: Json) -> None:
        """One more, which is part of an operation."""
        self.append(element)
        self._made.add(id(element))

    def is_made(self, element: Json) -> bool:
        """Whether what is written to an element reaches the operation that makes it."""
        return id(element) in self._made

    def settle(self) -> None:
        """From here on the order of operations matters: nothing reaches those before any more."""
        for key in self._made:
            if (element := self._all.get(key)) is not None:
                self.drop([element])
                self.append(dict(element))
        self._made = set()

    def clear(self) -> None:
        """None is left."""
        self._all, self._made, self._index = {}, set(), {}

    def drop(self, elements: Iterable[Json]) -> None:
        """All but these are left."""
        for element in elements:
            for name, index in self._index.items():
                index.get(_key(element.get(key_of(element, name))), {}).pop(id(element), None)
            self._all.pop(id(element), None)

    def write(self, element: Json, given: Mapping[str, Any]) -> None:
        """Put values into an element, where one of None removes."""
        for name, value in given.items():
            key, index = key_of(element, name), self._index.get(name.lower())
            if index is not None:
                index.get(_key(element.get(key)), {}).pop(id(element), None)
                index.setdefault(_key(value), {})[id(element)] = None
            if value is None:
                element.pop(key, None)
            else:
                element[key] = value

    def chosen(self, terms: tuple[tuple[str, Any], ...]) -> list[Json]:
        """Those that hold all terms of a filter; all where it has none."""
        if not terms:
            return list(self)
        (name, value), *others = terms
        index = self._index.get(name.lower())
        if index is None:
            index = self._index[name.lower()] = {}
            for element in self:
                index.setdefault(_key(element.get(key_of(element, name))), {})[id(element)] = None
        found = [self._all[key] for key in index.get(_key(value), ())]
        return [element for element in found if _holds(element, tuple(others))] if others else found


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


def _key(value: Any) -> Any:
    """What values are found by: equal for those that `_same` takes for the same. What no filter names is None."""
    if isinstance(value, bool):
        return value
    return value.lower() if isinstance(value, str) else None


def _value_of(element: Any) -> str | None:
    """The text that an element is known by; an element may be that text itself."""
    value = element.get(key_of(element, "value")) if isinstance(element, Mapping) else element
    return value if isinstance(value, str) else None


def _same(one: Any, other: Any) -> bool:
    return one.lower() == other.lower() if isinstance(one, str) and isinstance(other, str) else one == other


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
