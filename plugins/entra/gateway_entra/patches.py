"""Translates the PATCHes of both of Entra's dialects to RFC 7644.

Both come from one tenant: the flag that asks for the newer one does not hold for provisioning on demand (documented).
So the dialect is no setting; each operation is recognized by its form.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from gateway import ENTERPRISE_URN, Json, get, key_of, read_boolean
from gateway_entra import values
from gateway_entra.paths import Path, parse_name, parse_path

#: Attributes that no path may name. Without a path the core takes or ignores them.
PROTOCOL = frozenset({"id", "meta", "schemas", "groups"})


def translate_group_patch(operations: list[Json]) -> list[Json]:
    """Translate removals of members that list them, where the RFC would remove all members (documented)."""
    return [each for operation in operations for each in _translate_member_removal(operation)]


def translate_user_patch(operations: list[Json], current: Json, extension_urn: str) -> list[Json]:
    """Translate the operations of one PATCH of a user.

    `current` is the stored user; a private copy, on which the effects of the operations on lists are applied.
    """
    patch = _UserPatch(current)
    unfolded = (each for operation in operations for each in _unfold(operation, extension_urn))
    translated = [plain for each in unfolded for plain in patch.translate(each)]
    # Only a removal of another manager: an operation without effect stays in its place.
    return translated or ([{"op": "add", "value": {}}] if operations else [])


def _translate_member_removal(operation: Json) -> list[Json]:
    path = parse_path(operation.get("path"))
    is_members = path is not None and path.is_attribute("members") and path.whole
    if operation["op"] != "remove" or not is_members or operation.get("value") is None:
        return [operation]
    if operation["value"] == []:
        # Nobody. An operation without effect stays in its place.
        return [{**operation, "op": "add"}]
    return _build_removals("members", operation["value"]) or [operation]


def _build_removals(name: str, elements: Any) -> list[Json] | None:
    """Return a removal for each of the elements; None where one has no value that identifies it."""
    ids = [get(each, "value") if isinstance(each, Mapping) else each for each in _as_list(elements)]
    if not all(isinstance(each, str) and each for each in ids):
        return None
    return [{"op": "remove", "path": f"{name}[value eq {json.dumps(each)}]"} for each in dict.fromkeys(ids)]


def _unfold(operation: Json, extension_urn: str) -> Iterator[Json]:
    """Split an operation without a path into one for each name in its value: names may be paths (documented)."""
    value = operation.get("value")
    if operation.get("path") is not None or operation["op"] == "remove" or not isinstance(value, dict):
        yield operation
        return
    if len({name.lower() for name in value}) != len(value):
        yield operation  # one name twice, in two spellings: the core refuses it
        return
    schemas = {urn.lower() for urn in (ENTERPRISE_URN, extension_urn) if urn}
    whole = {}
    for name, part in value.items():
        if name.lower() in schemas and isinstance(part, Mapping):
            yield from ({"op": operation["op"], "path": f"{name}:{key}", "value": part[key]} for key in part)
        elif parse_name(name, part) or (
            parse_path(name) and ":" not in name and name.lower() not in PROTOCOL
        ):
            yield {"op": operation["op"], "path": name, "value": part}
        else:
            whole[name] = part
    if whole or not value:
        yield {"op": operation["op"], "value": whole}


class _UserPatch:
    """One PATCH of a user. It applies each operation to its copy of the lists, since the next may build on it."""

    def __init__(self, current: Json) -> None:
        self._user_name = current.get("userName")
        enterprise = get(current, ENTERPRISE_URN) or {}
        self._manager = (enterprise.get("manager") or {}).get("value")
        self._lists = {name: Elements(current.get(name, ())) for name in values.LISTS.values()}

    def translate(self, operation: Json) -> list[Json]:
        """Return the plain operations: usually one, or one for each element that a removal lists."""
        path = parse_path(operation.get("path"))
        if path is None:
            return [operation]
        if operation["op"] != "remove" and self._is_soft_deleted(path, operation.get("value")):
            # No schema knows this path, so the core ignores the operation and names it in the activity.
            return [{**operation, "path": f"{path.name}.softDeleted"}]
        if path.urn is None and (name := values.LISTS.get(path.name.lower())):
            return self._translate_list(operation, replace(path, name=name))
        plain = {**operation, "path": str(path)}
        if path.is_attribute("active") and "value" in plain:
            plain["value"] = read_boolean(plain["value"])
        elif path.is_attribute("manager", ENTERPRISE_URN):
            return self._translate_manager(plain, path)
        return [plain]

    def _translate_manager(self, plain: Json, path: Path) -> list[Json]:
        """Translate a change of the manager: a single value, whose removal names it by filter or value as in lists."""
        if plain["op"] == "remove" and path.sub is None:
            removed = self._find_removed_manager(plain, path)
            if removed is not None and removed != self._manager:
                return []
            if removed is not None:
                plain = {"op": "remove", "path": str(replace(path, terms=None))}
            self._manager = None
        elif path.whole:
            plain["value"] = _replace_manager(plain.get("value"))
            self._manager = _value_of(plain["value"]) if isinstance(plain["value"], Mapping) else None
        elif path.terms is None and (path.sub or "").lower() == "value":
            self._manager = plain.get("value") if plain["op"] != "remove" else None
        return [plain]

    @staticmethod
    def _find_removed_manager(plain: Json, path: Path) -> str | None:
        """Return the id of the manager that a removal names; None where it names nobody in a known form."""
        if path.terms is not None:
            ((name, value), *others) = path.terms
            return value if not others and name.lower() == "value" and isinstance(value, str) else None
        manager = values.make_reference(plain.get("value"))
        return (_value_of(manager) or None) if isinstance(manager, Mapping) else None

    def _is_soft_deleted(self, path: Path, value: Any) -> bool:
        """Return whether the value is the name of a soft-deleted user; it may be mapped to an address as well."""
        if path.is_attribute("userName") and path.whole:
            return values.is_of_soft_deleted(value, self._user_name)
        return (
            path.is_attribute("emails")
            and (path.sub or "").lower() == "value"
            and values.is_of_soft_deleted(value)
        )

    def _translate_list(self, operation: Json, path: Path) -> list[Json]:
        elements = self._lists[path.name]
        plain = {**operation, "path": str(path)}
        if operation["op"] == "remove":
            return self._remove(plain, path, elements)
        if path.terms is not None:
            return self._fill(plain, path, elements)
        if path.whole:
            if operation["op"] == "replace":
                elements.clear()
            plain["value"] = values.translate_elements(path.name, operation.get("value"), elements)
            for each in _as_list(plain["value"]):
                if isinstance(each, dict) and key_of(each, "value") not in each:
                    elements.append_new(each)
                elif isinstance(each, Mapping):
                    elements.append(dict(each))
        return [plain]

    def _remove(self, plain: Json, path: Path, elements: Elements) -> list[Json]:
        elements.detach_new()
        if path.whole and plain.get("value") is not None:
            listed = values.translate_elements(path.name, plain["value"])
            removals = _build_removals(path.name, listed)
            if not removals:
                return [plain]
            removed = {_value_of(each) for each in _as_list(listed)}
            elements.drop([element for element in elements if _value_of(element) in removed])
            return removals
        selected = elements.select(path.terms or ())
        if path.sub is None:
            elements.drop(selected)
        for element in selected:
            elements.write(element, {path.sub or "": None})
        return [plain]

    def _fill(self, plain: Json, path: Path, elements: Elements) -> list[Json]:
        """Add or replace in the elements that a filter selects. Where none matches, add one that matches the filter.

        RFC 7644, 3.5.2.3, has an error there. Entra relies on the element (documented), and sends several paths with
        the same filter, which fill one element, in any order: `type` may come before `value`. So they are put into the
        one operation that adds it, and an element that ends without a value is dropped with that.
        """
        value = _translate_value(path, plain.get("value"))
        plain["value"] = value
        selected = elements.select(path.terms or ())
        if path.sub is None and not isinstance(value, Mapping):
            return [plain]
        given = {path.sub: value} if path.sub else dict(value)
        all_new = bool(selected) and all(elements.is_new(element) for element in selected)
        for element in selected:
            elements.write(element, given)
        if selected:
            return [] if all_new else [plain]
        if all(part in (None, "", [], {}) for part in given.values()):
            # Emptied, and nothing is there: a removal of nothing is no error.
            return [{"op": "remove", "path": str(path)}]
        new = dict(path.terms or ())
        new.update({key_of(new, name): part for name, part in given.items()})
        elements.append_new(new)
        return [{"op": "add", "path": path.name, "value": [new]}]


class Elements:
    """The elements of a list after the operations so far, indexed by the values of their sub-attributes.

    A new element (`append_new`) is shared with the operation that adds it: a value written to it changes the operation.
    """

    def __init__(self, stored: Iterable[Mapping[str, Any]]) -> None:
        self._all: dict[int, Json] = {}
        self._new: set[int] = set()
        #: By sub-attribute in lower case, then by its value: keys of elements. Built for a name when it is first asked.
        self._index: dict[str, dict[Any, dict[int, None]]] = {}
        for each in stored:
            self.append(dict(each))

    def __iter__(self) -> Iterator[Json]:
        return iter(list(self._all.values()))

    def append(self, element: Json) -> None:
        """Append an element."""
        self._all[id(element)] = element
        for name, index in self._index.items():
            index.setdefault(_index_key(get(element, name)), {})[id(element)] = None

    def append_new(self, element: Json) -> None:
        """Append an element that an operation of this PATCH adds."""
        self.append(element)
        self._new.add(id(element))

    def is_new(self, element: Json) -> bool:
        """Return whether a value written to the element changes the operation that adds it."""
        return id(element) in self._new

    def detach_new(self) -> None:
        """Detach new elements from their operations: after a removal the order of operations matters."""
        for key in self._new:
            if (element := self._all.get(key)) is not None:
                self.drop([element])
                self.append(dict(element))
        self._new = set()

    def clear(self) -> None:
        """Remove all elements."""
        self._all, self._new, self._index = {}, set(), {}

    def drop(self, elements: Iterable[Json]) -> None:
        """Remove these elements."""
        for element in elements:
            for name, index in self._index.items():
                index.get(_index_key(get(element, name)), {}).pop(id(element), None)
            self._all.pop(id(element), None)

    def write(self, element: Json, given: Mapping[str, Any]) -> None:
        """Write values to an element. A value of None removes the sub-attribute."""
        for name, value in given.items():
            key, index = key_of(element, name), self._index.get(name.lower())
            if index is not None:
                index.get(_index_key(element.get(key)), {}).pop(id(element), None)
                index.setdefault(_index_key(value), {})[id(element)] = None
            if value is None:
                element.pop(key, None)
            else:
                element[key] = value

    def select(self, terms: tuple[tuple[str, Any], ...]) -> list[Json]:
        """Return the elements that match all terms of a filter; all where it has none."""
        if not terms:
            return list(self)
        (name, value), *others = terms
        index = self._index.get(name.lower())
        if index is None:
            index = self._index[name.lower()] = {}
            for element in self:
                index.setdefault(_index_key(get(element, name)), {})[id(element)] = None
        found = [self._all[key] for key in index.get(_index_key(value), ())]
        return [element for element in found if _matches(element, tuple(others))] if others else found


def _translate_value(path: Path, value: Any) -> Any:
    """Translate the value that is written to the elements that a path selects."""
    if path.sub is not None:
        return read_boolean(value) if path.sub.lower() == "primary" else value
    listed = _as_list(value)
    return (
        values.translate_element(path.name, listed[0])
        if len(listed) == 1 and isinstance(listed[0], Mapping)
        else value
    )


def _replace_manager(value: Any) -> Any:
    """Return a manager that replaces another one and its `$ref`, which must not stay beside the new id."""
    manager = values.make_reference(value)
    return {"$ref": None, **manager} if isinstance(manager, dict) and manager else manager


def _matches(element: Json, terms: tuple[tuple[str, Any], ...]) -> bool:
    return all(_equal(get(element, name), value) for name, value in terms)


def _index_key(value: Any) -> Any:
    """Return the index key of a value, equal for values that `_equal` equates; None for what no filter names."""
    if isinstance(value, bool):
        return value
    return value.lower() if isinstance(value, str) else None


def _value_of(element: Any) -> str | None:
    """Return the value that identifies an element, which may be that text itself; None where it is no text."""
    value = get(element, "value") if isinstance(element, Mapping) else element
    return value if isinstance(value, str) else None


def _equal(one: Any, other: Any) -> bool:
    return one.lower() == other.lower() if isinstance(one, str) and isinstance(other, str) else one == other


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
