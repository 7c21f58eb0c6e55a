"""PATCH: operations applied to a copy of a document (RFC 7644, 3.5.2).

Only the shapes of the RFC are known here; dialects of identity providers are translated before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.scim.documents import (
    clean,
    clean_value,
    comparable_value,
    ignored_names,
    is_empty,
    nearest_name,
    refuse_doubled,
)
from gateway.scim.errors import InvalidPath, InvalidValue, Mutability, NoTarget
from gateway.scim.filter_ast import And, AttrPath, Filter, Not, Or, ValueFilter
from gateway.scim.json_text import Json, excerpt
from gateway.scim.matching import check_filter, element_matches
from gateway.scim.operations import MAX_OPERATIONS, Operation
from gateway.scim.paths import PatchPath, parse_path
from gateway.scim.schemas import Attribute, ResourceType, group_type

#: The work that the operations of one PATCH may cost (see `_size`); about half a second.
MAX_WORK = 750_000
_GROUP = group_type()
#: The attributes of a group that a PATCH can change.
_OF_GROUPS = ("displayName", "externalId", "members")


@dataclass(frozen=True, slots=True)
class PatchResult:
    """The canonical document after the operations, and the paths of attributes that are not stored.

    `entries` are the paths of remove operations that removed only the entries in their value.
    """

    document: Json
    ignored: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()


def apply(
    resource_type: ResourceType,
    document: Mapping[str, Any],
    operations: Iterable[Mapping[str, Any] | Operation],
    *,
    resource_id: str | None = None,
) -> PatchResult:
    """Apply the operations, in order, to a copy of a canonical document, and validate the result.

    The document has no `id`, `meta` or `groups`; `resource_id` is the id that a client may repeat as `id`. Membership
    changes of a group are removed beforehand by `split_members`.

    Raises InvalidValue, InvalidPath, InvalidSyntax, InvalidFilter, Mutability or NoTarget; InvalidValue also where
    the operations together exceed `MAX_WORK`.
    """
    work = _Application(resource_type, _copy(document), resource_id)
    for number, raw in enumerate(operations, 1):
        if number > MAX_OPERATIONS:
            # A dialect may translate one operation into many.
            raise InvalidValue(
                f"The message comes to more than {MAX_OPERATIONS} operations, one for each attribute that it names:"
                " send fewer at once."
            )
        operation = raw if isinstance(raw, Operation) else Operation.read(raw)
        work.apply(operation)
    # The operations may have left something required empty, or two values primary.
    return PatchResult(
        clean(resource_type, work.document).document,
        ignored_names(work.ignored),
        tuple(dict.fromkeys(work.entries)),
    )


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copy(item) for item in value]
    return value


@dataclass(slots=True)
class _Application:
    """The state of a document while operations are applied to it."""

    resource_type: ResourceType
    document: Json
    resource_id: str | None
    ignored: list[str] = field(default_factory=list)
    entries: list[str] = field(default_factory=list)
    work: int = 0
    #: The list that the previous operation appended to, for as long as only additions follow.
    appender: _Appender | None = None

    def apply(self, operation: Operation) -> None:
        """Apply one operation."""
        if operation.path is None:
            self._apply_to_resource(operation)
            return
        path = parse_path(operation.path, self.resource_type.urns)
        if path == PatchPath(self.resource_type.schema.id, ""):
            self._apply_to_resource(operation)
            return
        found = self.resource_type.find_top_level(path.urn, path.name)
        if found is None and path.urn is None:
            # Several clients omit the URN of RFC 7644, 3.10: a name that only one extension has is its attribute.
            found = self.resource_type.find_in_extensions(path.name)
        if found is None:
            self._ignore_or_refuse(_path_name(path), path.urn, path.name)
            return
        extension, attribute = found
        path = replace(path, urn=path.urn or extension)
        if attribute.read_only:
            self._refuse_read_only(attribute, operation)
            return
        box = self.document if extension is None else self.document.setdefault(extension, {})
        self._apply_at(box, attribute, path, operation)

    def _spend(self, work: int) -> None:
        self.work += work
        if self.work > MAX_WORK:
            raise InvalidValue(
                "The operations of this PATCH go through too many values, one after the other. Send fewer of them"
                " at once, with shorter filters, or replace all values in one operation."
            )

    def _apply_to_resource(self, operation: Operation) -> None:
        # RFC 7644, 3.5.2.1 and 3.5.2.3: without a path, the value holds attributes of the resource.
        if operation.op == "remove":
            raise NoTarget(f"{operation.target} is the whole resource; name what to remove of it.")
        if not isinstance(operation.value, Mapping):
            raise InvalidValue(
                f'The {operation.op} operation without a path takes an object as "value", '
                f"but {excerpt(operation.value)} came."
            )
        for key, attribute, value in _iterate_attributes(self.resource_type.root, operation.value):
            if attribute is None:
                self._ignore_unknown(key)
            elif not attribute.read_only:
                self._assign(operation.op, self.document, attribute, value, attribute.name)
            elif attribute.name == "id":
                self._check_id(value)
            elif attribute.name != "schemas" and not is_empty(value):
                self.ignored.append(attribute.name)

    def _ignore_unknown(self, key: str) -> None:
        # A path in the place of a name would be dropped silently, although it names an attribute that is stored.
        if self.resource_type.locate(key) is not None:
            raise InvalidPath(f'{excerpt(key)} is a path, not the name of an attribute; put it in "path".')
        self._ignore_or_refuse(key, None, key)

    def _ignore_or_refuse(self, path: str, urn: str | None, name: str, sub: str | None = None) -> None:
        """Record a path as ignored; of a group, refuse one that no schema has.

        Identity providers send many attributes of users that are not stored here. A group has so few attributes that
        any other is a mistake, which would silently leave its members as they were.
        """
        if self.resource_type.name == "Group" and _GROUP.find(urn, name, sub) is None:
            near = None if urn else nearest_name(name, _OF_GROUPS)
            meant = f" The nearest attribute is {near}." if near else ""
            raise InvalidPath(
                f"A group has no {excerpt(path)}.{meant} What can be changed of a group is"
                f" {', '.join(_OF_GROUPS[:-1])} and {_OF_GROUPS[-1]}."
            )
        self.ignored.append(path)

    def _check_id(self, value: Any) -> None:
        if value != self.resource_id:
            raise Mutability(f"The id of a resource cannot be changed to {excerpt(value)}.")

    def _refuse_read_only(self, attribute: Attribute, operation: Operation) -> None:
        if attribute.name == "id" and operation.op != "remove":
            self._check_id(operation.value)
        elif attribute.name != "schemas" or operation.op == "remove":
            raise Mutability(f"{attribute.name} is read-only; it cannot be changed by PATCH.")

    def _apply_at(self, box: Json, attribute: Attribute, path: PatchPath, operation: Operation) -> None:
        """Apply an operation to a writable attribute, to some of its elements, or to a sub-attribute."""
        sub = attribute.table.get(path.sub.lower()) if path.sub is not None else None
        if operation.removes_by_value:
            if path.sub is None and path.filter is None and (attribute.multi or attribute.one_or_many):
                self._remove_entries(box, attribute, path, operation)
                return
            operation.refuse_valued_remove()
        if operation.op == "remove" and attribute.required and path.sub is None and path.filter is None:
            # RFC 7644, 3.5.2.2
            raise Mutability(f"{attribute.name} is required; it cannot be removed.")
        if path.sub is not None and sub is None:
            self._ignore_or_refuse(_path_name(path), path.urn, path.name, path.sub)
        elif sub is not None and sub.read_only:
            raise Mutability(f"{operation.target} is read-only; it cannot be changed by PATCH.")
        elif path.filter is None and (sub is None or not attribute.multi):
            self._apply_to_value(box, attribute, path, sub, operation)
        elif attribute.type != "complex":
            raise InvalidPath(f"{attribute.name} has no values to choose from with a filter.")
        elif not attribute.multi:
            self._apply_if_selected(box, attribute, path, sub, operation)
        else:
            self._apply_to_selected(box, attribute, path, sub, operation)

    def _apply_to_value(
        self, box: Json, attribute: Attribute, path: PatchPath, sub: Attribute | None, operation: Operation
    ) -> None:
        if sub is not None:
            if operation.op == "remove" and attribute.name not in box:
                return
            box, attribute = box.setdefault(attribute.name, {}), sub
        if operation.op == "remove":
            box.pop(attribute.name, None)
        else:
            self._assign(operation.op, box, attribute, operation.value, _path_name(path))

    def _assign(self, op: str, box: Json, attribute: Attribute, value: Any, path: str) -> None:
        """Add or replace one attribute in the object that holds it. An empty value unassigns it."""
        if attribute.multi or attribute.one_or_many:
            self._assign_many(op, box, attribute, value, path)
        elif attribute.type == "complex" and isinstance(value, Mapping):
            self._merge(op, box, attribute, value, path)
        else:
            self._store(box, attribute, clean_value(attribute, value, path, self.ignored))

    def _store(self, box: Json, attribute: Attribute, cleaned: Any) -> None:
        if cleaned is None:
            box.pop(attribute.name, None)
        else:
            box[attribute.name] = cleaned

    def _merge(self, op: str, box: Json, attribute: Attribute, value: Mapping[str, Any], path: str) -> None:
        inner = box.setdefault(attribute.name, {})
        self._fill(op, inner, attribute, value, path)
        if not inner:
            del box[attribute.name]

    def _fill(self, op: str, inner: Json, attribute: Attribute, value: Mapping[str, Any], path: str) -> None:
        # RFC 7644, 3.5.2.3: sub-attributes that are not specified are left unchanged.
        for key, sub, item in _iterate_attributes(attribute, value):
            if sub is None:
                self.ignored.append(path + attribute.prefix[-1] + key)
            elif not sub.read_only:
                self._assign(op, inner, sub, item, path + attribute.prefix[-1] + sub.name)

    def _assign_many(self, op: str, box: Json, attribute: Attribute, value: Any, path: str) -> None:
        if attribute.multi and isinstance(value, Mapping):
            value = [value]
        cleaned = clean_value(attribute, value, path, self.ignored)
        present = box.get(attribute.name)
        single = attribute.one_or_many and not (isinstance(cleaned, list) or isinstance(present, list))
        if op == "replace" or single:
            self._store(box, attribute, cleaned)
        elif cleaned is not None:
            self._append(box, attribute, _as_list(cleaned), path)

    def _append(self, box: Json, attribute: Attribute, added: Sequence[Any], path: str) -> None:
        present = box[attribute.name] = _as_list(box.get(attribute.name))
        if self.appender is None or self.appender.present is not present:
            self._spend(_size(present))
            self.appender = _Appender(attribute, present)
        self.appender.add(added)
        if attribute.limit is not None and len(present) > attribute.limit:
            raise InvalidValue(f"{path} has {len(present)} values; at most {attribute.limit} are kept.")
        if any(isinstance(new, dict) and new.get("primary") is True for new in added):
            # Other values have changed, so their keys in the index may be outdated.
            self.appender = None

    def _apply_to_selected(
        self, box: Json, attribute: Attribute, path: PatchPath, sub: Attribute | None, operation: Operation
    ) -> None:
        """Apply an operation to the elements that the filter selects; without a filter, to all of them."""
        if path.filter is not None:
            check_filter(ValueFilter(AttrPath(path.urn, path.name), path.filter), self.resource_type)
        elements: list[Json] = box.get(attribute.name, [])
        chosen = elements
        if path.filter is not None:
            self._spend(_count_comparisons(path.filter) * _size(elements))
            chosen = [element for element in elements if element_matches(path.filter, element, attribute)]
        self.appender = None
        if operation.op == "remove":
            self._remove(box, attribute, chosen, sub)
            return
        if not chosen:
            raise _no_target(operation)
        self._spend(len(chosen) * (1 + _size(operation.value)))
        for element in chosen:
            self._change(element, attribute, sub, operation, _path_name(path))
        if any(element.get("primary") is True for element in chosen):
            _clear_other_primaries(elements, chosen)

    def _apply_if_selected(
        self, box: Json, attribute: Attribute, path: PatchPath, sub: Attribute | None, operation: Operation
    ) -> None:
        """Apply an operation to the value of a single-valued complex attribute if the filter selects it."""
        assert path.filter is not None
        check_filter(ValueFilter(AttrPath(path.urn, path.name), path.filter), self.resource_type)
        present = box.get(attribute.name)
        if present is not None:
            self._spend(_count_comparisons(path.filter) * _size(present))
            if element_matches(path.filter, present, attribute):
                self._apply_to_value(box, attribute, path, sub, operation)
                return
        if operation.op != "remove":
            raise _no_target(operation)

    def _remove_entries(self, box: Json, attribute: Attribute, path: PatchPath, operation: Operation) -> None:
        """Remove the values that the value of the operation names, and no others.

        An entry is identified by its `value`, and by its `type` if it has one (RFC 7643, 2.4); one without `value` by
        all of its sub-attributes. Raises InvalidValue for an entry that would match every value.
        """
        known: set[Any] = set()
        partial: list[frozenset[tuple[str, Any]]] = []
        operation.refuse_no_entries()
        for entry in _as_list(operation.value):
            cleaned = clean_value(attribute, [entry], _path_name(path), self.ignored)
            if not cleaned:
                raise InvalidValue(
                    f"The remove operation at {operation.target} has an entry that names no value: {excerpt(entry)}."
                    ' Name each by its "value".'
                )
            key = _identity_keys(cleaned[0], attribute)[-1]
            known.add(key)
            if isinstance(key, frozenset):
                partial.append(key)
        elements = _as_list(box.get(attribute.name))
        self._spend((1 + len(partial)) * _size(elements))
        left = [element for element in elements if not _matches_key(element, attribute, known, partial)]
        self.appender = None
        self.entries.append(_path_name(path))
        if len(left) < len(elements):
            self._store(box, attribute, left or None)

    def _remove(self, box: Json, attribute: Attribute, chosen: list[Json], sub: Attribute | None) -> None:
        if sub is not None:
            for element in chosen:
                element.pop(sub.name, None)
            return
        gone = {id(element) for element in chosen}
        left = [element for element in box.get(attribute.name, []) if id(element) not in gone]
        self._store(box, attribute, left or None)

    def _change(
        self, element: Json, attribute: Attribute, sub: Attribute | None, operation: Operation, path: str
    ) -> None:
        if sub is not None:
            self._assign(operation.op, element, sub, operation.value, path)
        elif isinstance(operation.value, Mapping):
            self._fill(operation.op, element, attribute, operation.value, path)
        elif is_empty(operation.value):
            # An element with nothing in it is dropped when the document is validated.
            if operation.op == "replace":
                element.clear()
        else:
            raise InvalidValue(f"{path} takes an object, but {excerpt(operation.value)} came.")


def _no_target(operation: Operation) -> NoTarget:
    # RFC 7644, 3.5.2.3
    return NoTarget(f"{operation.target} selects no value, so there is nothing to {operation.op} there.")


def _matches_key(
    element: Any, attribute: Attribute, known: set[Any], partial: Sequence[frozenset[tuple[str, Any]]]
) -> bool:
    """Return True if one of the keys identifies the value, or if it has all sub-attributes of a partial one."""
    keys = _identity_keys(element, attribute)
    if any(key in known for key in keys):
        return True
    held = keys[-1]
    return isinstance(held, frozenset) and any(part <= held for part in partial)


def _path_name(path: PatchPath) -> str:
    """Return a path without its filter, which may hold personal data."""
    return str(AttrPath(path.urn, path.name, path.sub)) if path.name else str(path.urn)


def _iterate_attributes(
    attribute: Attribute, value: Mapping[str, Any]
) -> Iterator[tuple[str, Attribute | None, Any]]:
    """Yield each key of an object with its attribute, or None, and its value."""
    for key, item in value.items():
        sub = attribute.table.get(key.lower())
        if sub is not None and key != sub.name:
            refuse_doubled(key, value)
        yield key, sub, item


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _size(value: Any) -> int:
    """Return the work to look through a value: the number of values in it, and more for a long text."""
    if isinstance(value, str):
        # Letters beyond ASCII are folded more slowly.
        return 1 + len(value) // (256 if value.isascii() else 32)
    if isinstance(value, Mapping):
        return 1 + sum(map(_size, value.values()))
    return 1 + sum(map(_size, value)) if isinstance(value, list) else 1


def _count_comparisons(node: Filter) -> int:
    """Return the number of comparisons in a filter."""
    if isinstance(node, (And, Or)):
        return sum(map(_count_comparisons, node.operands))
    return _count_comparisons(node.operand) if isinstance(node, Not) else 1


class _Appender:
    """An append to a list of values, with an index of the keys that identify each."""

    def __init__(self, attribute: Attribute, present: list[Any]) -> None:
        self.attribute, self.present = attribute, present
        self._index: dict[Any, Any] = {}
        for element in present:
            self._index_element(element)

    def add(self, added: Sequence[Any]) -> None:
        """Add values; a value that is present already is completed, not duplicated."""
        for new in added:
            twin = self._index.get(_identity_keys(new, self.attribute)[-1])
            if twin is None:
                self.present.append(new)
                self._index_element(new)
            elif isinstance(twin, dict) and "value" in twin:
                # The identifying parts keep their spelling.
                twin.update({**new, **{name: twin[name] for name in ("value", "type") if name in twin}})
            # RFC 7644, 3.5.2: a new primary value takes that place from the old one.
            if isinstance(new, dict) and new.get("primary") is True:
                _clear_other_primaries(self.present, [new if twin is None else twin])

    def _index_element(self, element: Any) -> None:
        *others, own = _identity_keys(element, self.attribute)
        # A value that is present without a type is identified by that key before those with a type.
        if own not in self._index or _identity_keys(self._index[own], self.attribute)[-1] != own:
            self._index[own] = element
        for key in others:
            self._index.setdefault(key, element)


def _identity_keys(element: Any, attribute: Attribute) -> tuple[Any, ...]:
    """Return the keys that identify an element. A value without a type equals that value with any type."""
    if not isinstance(element, dict):
        return (comparable_value(attribute, element),)
    parts = {name: comparable_value(attribute.table.get(name), value) for name, value in element.items()}
    if "value" not in parts:
        return (frozenset(parts.items()),)
    # RFC 7643, 2.4: a pair of type and value stands once at most.
    bare = (parts["value"], None)
    return (bare, (parts["value"], parts["type"])) if "type" in parts else (bare,)


def _clear_other_primaries(elements: Sequence[Any], chosen: Sequence[Any]) -> None:
    kept = {id(element) for element in chosen}
    for element in elements:
        if id(element) not in kept and element.get("primary") is True:
            element["primary"] = False
