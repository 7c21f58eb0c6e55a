"""Membership changes of a group, separated from the other operations of a PATCH.

Memberships are rows that are changed by delta; a member list is never read, changed and written back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.scim.documents import check_length, id_in_reference, refuse_doubled
from gateway.scim.errors import InvalidValue, Mutability
from gateway.scim.filter_ast import AttrPath, Compare, Filter
from gateway.scim.json_text import Json, excerpt
from gateway.scim.operations import Operation
from gateway.scim.paths import PatchPath, parse_path
from gateway.scim.schemas import GROUP_URN, NAME_LENGTH


@dataclass(frozen=True, slots=True)
class MemberChange:
    """One membership change of a group.

    By `kind`: `add`, `remove` and `replace` name the `ids` that join, leave or are all members afterwards; `clear`
    removes all members, `remove_where` the members that `filter` selects.
    """

    kind: Literal["add", "remove", "replace", "clear", "remove_where"]
    ids: tuple[str, ...] = ()
    filter: Filter | None = None
    #: True if a remove operation names the members in its value, not in its path.
    by_value: bool = field(default=False, compare=False)


def split_members(
    operations: Iterable[Mapping[str, Any] | Operation],
) -> tuple[list[MemberChange], list[Json]]:
    """Return the membership changes and the remaining operations of a PATCH of a group, each in order.

    Raises a Refusal: Mutability for a change within a member, InvalidValue, InvalidPath or InvalidSyntax for a
    malformed one.
    """
    changes: list[MemberChange] = []
    others: list[Json] = []
    for raw in operations:
        operation = raw if isinstance(raw, Operation) else Operation.read(raw)
        path = _core_path(operation)
        if path is not None and path.name.lower() == "members":
            changes += _changes_at_path(operation, path)
        elif path == _WHOLE and operation.op != "remove" and isinstance(operation.value, Mapping):
            _split_object(operation, operation.value, changes, others)
        else:
            others.append(operation.as_dict())
    return changes, others


#: The group itself: the target of an operation without a path.
_WHOLE = PatchPath(GROUP_URN, "")


def _core_path(operation: Operation) -> PatchPath | None:
    """Return the path of an operation on the core schema, or None if it is one of an extension."""
    if operation.path is None:
        return _WHOLE
    path = parse_path(operation.path, (GROUP_URN,))
    return path if path.urn is None or path.urn.lower() == GROUP_URN.lower() else None


def _split_object(
    operation: Operation, value: Mapping[str, Any], changes: list[MemberChange], others: list[Json]
) -> None:
    rest = {key: item for key, item in value.items() if key.lower() != "members"}
    for key, item in value.items():
        if key.lower() == "members":
            refuse_doubled(key, value)
            changes += _assignment(operation.op, item)
    if rest or not value:
        others.append({**operation.as_dict(), "value": rest})


def _changes_at_path(operation: Operation, path: PatchPath) -> list[MemberChange]:
    if path.sub is not None or (path.filter is not None and operation.op != "remove"):
        # RFC 7643, 4.2: the parts of a member are immutable.
        raise Mutability(
            f"{operation.target} would change a member in place. Remove the member and add another."
        )
    if operation.op != "remove":
        return _assignment(operation.op, operation.value)
    if path.filter is not None:
        operation.refuse_valued_remove()
        return [_removal(path.filter)]
    if operation.removes_by_value:
        # RFC 7644, 3.5.2.2 defines no value here and would remove all members.
        operation.refuse_no_entries()
        return [MemberChange("remove", member_ids(operation.value), by_value=True)]
    # RFC 7644, 3.5.2.2: without a filter, all values are removed.
    return [MemberChange("clear")]


def _removal(filter: Filter) -> MemberChange:
    if isinstance(filter, Compare) and filter.op == "eq" and isinstance(filter.value, str):
        path = filter.path
        if path == AttrPath(None, path.name) and path.name.lower() == "value":
            return MemberChange("remove", (filter.value,))
        if path == AttrPath(None, path.name) and path.name.lower() == "$ref":
            return MemberChange("remove", (id_in_reference(filter.value),))
    return MemberChange("remove_where", filter=filter)


def _assignment(op: str, value: Any) -> list[MemberChange]:
    if op == "replace":
        return [MemberChange("clear") if value is None else MemberChange("replace", member_ids(value))]
    ids = member_ids([] if value is None else value)
    return [MemberChange("add", ids)] if ids else []


def member_ids(value: Any) -> tuple[str, ...]:
    """Return the ids in a list of member objects, or in a single one; each once, in order. Raises InvalidValue."""
    entries = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(_member_id(entry) for entry in entries))


def _member_id(entry: Any) -> str:
    given = entry if isinstance(entry, Mapping) else {}
    found = next((item for key, item in given.items() if key.lower() == "value"), None)
    if not found:
        # RFC 7643, 2.4: the reference identifies the member as well as its id.
        reference = next((item for key, item in given.items() if key.lower() == "$ref"), None)
        found = id_in_reference(reference) if isinstance(reference, str) and reference else found
    if not isinstance(found, str) or not found:
        raise InvalidValue(
            'Each member must be an object with its id as "value", as in "members": [{"value": "…"}], but one is'
            f" {excerpt(entry)}."
        )
    if len(found) > NAME_LENGTH or not found.isascii():
        check_length(found, "The value of a member", NAME_LENGTH, indexed=True)
    return found
