"""The envelope of PATCH: a PatchOp message and its operations, checked for shape (RFC 7644, 3.5.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gateway.scim.documents import check_urn, is_empty
from gateway.scim.errors import InvalidPath, InvalidSyntax, InvalidValue, NoTarget
from gateway.scim.filters import MAX_LENGTH
from gateway.scim.json_text import Json, excerpt
from gateway.scim.schemas import PATCH_URN

MAX_OPERATIONS = 1000
#: The total length of all paths of a PATCH: 131 characters for each of 1000, and far more for a few.
MAX_PATHS_LENGTH = 16 * MAX_LENGTH
TARGET_LENGTH = 120

_OPS = ("add", "replace", "remove")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a PATCH; `has_value` distinguishes a value of null from no value at all."""

    op: Literal["add", "replace", "remove"]
    path: str | None = None
    value: Any = None
    has_value: bool = False

    @classmethod
    def read(cls, raw: Any) -> Operation:
        """Check one operation object; letter case does not count in its keys and in `op`.

        Raises InvalidSyntax, InvalidPath, InvalidValue or NoTarget.
        """
        if not isinstance(raw, Mapping):
            raise InvalidSyntax(f"Each operation must be an object, but one is {excerpt(raw)}.")
        given = _lower_keys(raw, "An operation")
        op = given.get("op")
        # RFC 7644, 3.5.2 has the words in lower case; capitals are common and cannot be misread.
        if not isinstance(op, str) or op.lower() not in _OPS:
            raise InvalidSyntax(f'"op" must be add, replace or remove, but it is {excerpt(op)}.')
        operation = cls(
            op.lower(),  # type: ignore[arg-type]
            given.get("path"),
            given.get("value"),
            "value" in given,
        )
        operation._check()
        return operation

    def _check(self) -> None:
        if self.path is not None and not isinstance(self.path, str):
            raise InvalidPath(f"A path must be a text, but it is {excerpt(self.path)}.")
        if self.op == "remove" and self.path is None:
            # RFC 7644, 3.5.2.2
            raise NoTarget("A remove operation needs a path that says what to remove.")
        if self.op != "remove" and not self.has_value:
            raise InvalidValue(f'The {self.op} operation of {self.target} has no "value".')

    @property
    def target(self) -> str:
        """Return the target of the operation as an error message names it."""
        return "the resource" if self.path is None else self.path[:TARGET_LENGTH]

    def as_dict(self) -> Json:
        """Return the operation as JSON of RFC 7644."""
        raw: Json = {"op": self.op}
        if self.path is not None:
            raw["path"] = self.path
        if self.has_value:
            raw["value"] = self.value
        return raw

    @property
    def removes_by_value(self) -> bool:
        """Return True for a remove operation that lists in its value the entries to remove."""
        return self.op == "remove" and self.value is not None

    def refuse_valued_remove(self) -> None:
        """Refuse a remove operation with a value where the path does not lead to a list of values.

        RFC 7644, 3.5.2.2 defines no value here. At a list, clients name in it the entries to remove; elsewhere it
        would contradict the path or mean nothing. Raises InvalidValue.
        """
        if self.removes_by_value:
            raise InvalidValue(
                f'A remove operation takes no "value" at {self.target}: only at a whole list, such as emails or'
                ' members, it names the entries that go. Say in the path what to remove, as in members[value eq "…"].'
            )

    def refuse_no_entries(self) -> None:
        """Refuse a remove operation whose value names no entry.

        By its value it would remove nothing, by RFC 7644 everything. Raises InvalidValue.
        """
        if is_empty(self.value):
            raise InvalidValue(
                f'The remove operation at {self.target} has a "value" without an entry: {excerpt(self.value)}. Name the'
                ' entries that go, or leave "value" out to remove all.'
            )


def read_operations(body: Mapping[str, Any], may_be_empty: bool = False) -> list[Json]:
    """Return the operations of a PatchOp message as dicts: `op` in lower case, `path` and `value` if given.

    `may_be_empty` accepts a message without operations. Raises InvalidSyntax, InvalidPath, InvalidValue or NoTarget.
    """
    given = _lower_keys(body, "The message")
    check_urn(given.get("schemas"), PATCH_URN, body)
    operations = given.get("operations")
    if not isinstance(operations, list) or not (operations or may_be_empty):
        raise InvalidSyntax('"Operations" must be an array with at least one operation.')
    if len(operations) > MAX_OPERATIONS:
        raise InvalidValue(
            f"The message has {len(operations)} operations; at most {MAX_OPERATIONS} are taken at once."
        )
    read = [Operation.read(raw) for raw in operations]
    length = sum(len(operation.path or "") for operation in read)
    if length > MAX_PATHS_LENGTH:
        raise InvalidPath(
            f"The paths of the message are {length} characters long together; at most {MAX_PATHS_LENGTH} are read."
        )
    return [operation.as_dict() for operation in read]


def _lower_keys(raw: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return the values by their names in lower case. Raises InvalidSyntax if two names are equal."""
    given = {str(key).lower(): value for key, value in raw.items()}
    if len(given) != len(raw):
        # RFC 7643, 2.1: names are case-insensitive, so two spellings are one name twice.
        raise InvalidSyntax(f"{what} has one attribute twice, in two spellings.")
    return given
