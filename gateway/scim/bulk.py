"""Bulk requests: the envelope, the order of operations by their references, the response (RFC 7644, 3.7).

What an operation does is not known here.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.scim.documents import check_urn
from gateway.scim.errors import Conflict, InvalidSyntax, InvalidValue, PayloadTooLarge
from gateway.scim.json_text import Json, dumps, excerpt
from gateway.scim.schemas import BULK_REQUEST_URN, BULK_RESPONSE_URN

MAX_OPERATIONS = 1000

_METHODS = ("POST", "PUT", "PATCH", "DELETE")
_REFERENCE = "bulkId:"


class Circular(Conflict):
    """The refusal of operations that refer to each other in a circle (RFC 7644, 3.7.1)."""

    # RFC 7644, 3.7.1 defines the status; the keyword says that a value has to be corrected.
    scim_type = "invalidValue"


@dataclass(frozen=True, slots=True)
class BulkOperation:
    """One operation: `collection` is its path up to the id (`/Users`), `uid` the id or None."""

    method: str
    collection: str
    uid: str | None = None
    bulk_id: str | None = None
    data: Json | None = None
    version: str | None = None

    @property
    def references(self) -> frozenset[str]:
        """Return the bulkIds that the operation refers to, in its path and anywhere in its data."""
        return frozenset(
            text[len(_REFERENCE) :] for text in _iterate_texts([self.uid, self.data]) if _is_reference(text)
        )

    def resolve(self, ids: Mapping[str, str]) -> BulkOperation:
        """Return the operation with ids in the place of references (RFC 7644, 3.7.2).

        `ids` are the ids by bulkId. Raises InvalidValue for a reference that is not among them.
        """
        # RFC 7644, 3.7.2
        if missing := sorted(self.references - ids.keys()):
            raise InvalidValue(
                f"{_REFERENCE}{excerpt(missing[0])} stands for nothing: no POST of this request has that bulkId,"
                " or the one that has it failed."
            )
        return replace(self, uid=_substitute(self.uid, ids), data=_substitute(self.data, ids))


@dataclass(frozen=True, slots=True)
class BulkRequest:
    """A bulk request; `fail_on_errors` is the number of errors after which the rest is not executed, or None."""

    operations: Sequence[BulkOperation]
    fail_on_errors: int | None = None

    def order(self) -> tuple[list[int], list[int]]:
        """Return the positions of the operations in execution order, and the positions of those in a circle.

        An operation comes after those that it refers to. Otherwise the order of the request stays, so that operations
        that depend on it silently (delete one, create another of that name) keep their meaning.
        """
        waiting = self._dependencies()
        followers: dict[int, list[int]] = {}
        for number, sources in enumerate(waiting):
            for source in sources:
                followers.setdefault(source, []).append(number)
        ready = [number for number, sources in enumerate(waiting) if not sources]
        order: list[int] = []
        while ready:
            order.append(done := heapq.heappop(ready))
            for number in followers.get(done, ()):
                waiting[number].discard(done)
                if not waiting[number]:
                    heapq.heappush(ready, number)
        return order, [number for number, sources in enumerate(waiting) if sources]

    def _dependencies(self) -> list[set[int]]:
        """Return for each operation the positions of the operations that it refers to."""
        creates = {
            operation.bulk_id: number
            for number, operation in enumerate(self.operations)
            if operation.method == "POST"
        }
        return [{creates[name] for name in each.references if name in creates} for each in self.operations]


def read_bulk(body: Mapping[str, Any]) -> BulkRequest:
    """Read a BulkRequest message, its keys in any letter case.

    Raises InvalidSyntax, InvalidValue or, for more than `MAX_OPERATIONS` operations, PayloadTooLarge.
    """
    given = _lower_keys(body, "The bulk request")
    check_urn(given.get("schemas"), BULK_REQUEST_URN, body)
    fail_on_errors, raw = given.get("failonerrors"), given.get("operations")
    if fail_on_errors is not None and (type(fail_on_errors) is not int or fail_on_errors < 1):
        raise InvalidSyntax(
            f'"failOnErrors" must be a whole number from 1 on, not {excerpt(fail_on_errors)}.'
        )
    if not isinstance(raw, list) or not raw:
        raise InvalidSyntax('"Operations" must be an array with at least one operation.')
    if len(raw) > MAX_OPERATIONS:
        # RFC 7644, 3.7.4
        raise PayloadTooLarge(
            f"The bulk request has {len(raw)} operations, more than maxOperations ({MAX_OPERATIONS}). Send it in parts."
        )
    operations = [_read_operation(number, each) for number, each in enumerate(raw, 1)]
    _refuse_doubled_ids(operations)
    return BulkRequest(operations, fail_on_errors)


def _read_operation(number: int, raw: Any) -> BulkOperation:
    given = _lower_keys(raw, f"Operation {number}")
    texts = {name: _read_text(number, name, given) for name in ("method", "path", "bulkId", "version")}
    method = (texts["method"] or "").upper()
    if method not in _METHODS:
        raise InvalidSyntax(
            f'"method" of operation {number} must be POST, PUT, PATCH or DELETE, not {excerpt(texts["method"])}.'
        )
    if method == "POST" and not texts["bulkId"]:
        raise InvalidSyntax(f'Operation {number} is a POST and needs a "bulkId".')
    data = _read_data(number, method, given.get("data"))
    return BulkOperation(method, *_split_path(number, texts["path"]), texts["bulkId"], data, texts["version"])


def _read_text(number: int, name: str, given: Mapping[str, Any]) -> str | None:
    value = given.get(name.lower())
    if value is not None and not isinstance(value, str):
        raise InvalidSyntax(f'"{name}" of operation {number} must be a text, not {excerpt(value)}.')
    return value


def _read_data(number: int, method: str, data: Any) -> Json | None:
    # RFC 7644, 3.7: DELETE has no data; if there is any, it is ignored.
    if method == "DELETE":
        return None
    if not isinstance(data, dict):
        raise InvalidSyntax(f'"data" of operation {number} must be an object, not {excerpt(data)}.')
    return data


def _split_path(number: int, path: str | None) -> tuple[str, str | None]:
    if not path or not path.startswith("/"):
        raise InvalidSyntax(
            f'"path" of operation {number} must be like /Users or /Users/<id>, not {excerpt(path)}.'
        )
    name, slash, uid = path[1:].partition("/")
    return f"/{name}", uid if slash else None


def _lower_keys(raw: Any, what: str) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        raise InvalidSyntax(f"{what} must be an object, but it is {excerpt(raw)}.")
    given = {key.lower(): value for key, value in raw.items()}
    if len(given) != len(raw):
        raise InvalidSyntax(f"{what} has one attribute twice, in two spellings.")
    return given


def _refuse_doubled_ids(operations: Sequence[BulkOperation]) -> None:
    seen: set[str | None] = set()
    for operation in operations:
        if operation.method == "POST" and operation.bulk_id in seen:
            raise InvalidSyntax(f"Two operations have the bulkId {excerpt(operation.bulk_id)}.")
        if operation.method == "POST":
            seen.add(operation.bulk_id)


def bulk_response(answers: Sequence[Json]) -> str:
    """Encode a BulkResponse with the responses of its operations (RFC 7644, 3.7.3)."""
    return dumps({"schemas": [BULK_RESPONSE_URN], "Operations": list(answers)})


def _is_reference(text: str) -> bool:
    return text.startswith(_REFERENCE) and len(text) > len(_REFERENCE)


def _iterate_texts(value: Any) -> Iterator[str]:
    """Yield every string in a value, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _iterate_texts(item)


def _substitute(value: Any, ids: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return ids[value[len(_REFERENCE) :]] if _is_reference(value) else value
    if isinstance(value, list):
        return [_substitute(item, ids) for item in value]
    if isinstance(value, dict):
        return {key: _substitute(item, ids) for key, item in value.items()}
    return value
