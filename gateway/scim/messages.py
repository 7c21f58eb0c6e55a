"""Messages: marshmallow schemas of the envelopes, the parser of searches, the writer of lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from gateway.scim.documents import check_urn
from gateway.scim.errors import ERROR_URN, InvalidCount, InvalidValue
from gateway.scim.schemas import LIST_URN, PATCH_URN, SEARCH_URN

#: How many attributes a search may name: each is looked up again for every resource in the result.
MAX_ATTRIBUTES = 500


def _schemas(urn: str) -> fields.List[str]:
    return fields.List(fields.String(), required=True, metadata={"example": [urn]})


def _optional(field: type[fields.Field[Any]], data_key: str | None = None) -> fields.Field[Any]:
    return field(data_key=data_key, allow_none=True, load_default=None)


def _whole_number(name: str) -> fields.Integer:
    # Within the range of 64-bit integers of the databases.
    small = validate.Range(-(10**18), 10**18)
    return fields.Integer(data_key=name, strict=True, allow_none=True, load_default=None, validate=small)


class ListResponse(Schema):
    """The message of a list (RFC 7644, 3.4.2; RFC 9865, 2)."""

    schemas = _schemas(LIST_URN)
    total_results = fields.Integer(data_key="totalResults", required=True)
    start_index = fields.Integer(data_key="startIndex")
    items_per_page = fields.Integer(data_key="itemsPerPage")
    next_cursor = fields.String(data_key="nextCursor")
    resources = fields.List(fields.Dict(), data_key="Resources")


class Error(Schema):
    """The message of a refusal (RFC 7644, 3.12)."""

    schemas = _schemas(ERROR_URN)
    status = fields.String(required=True)
    scim_type = fields.String(data_key="scimType")
    detail = fields.String()


class Operation(Schema):
    """One operation of a PatchOp message."""

    op = fields.String(required=True, validate=validate.OneOf(["add", "replace", "remove"]))
    path = fields.String()
    value = fields.Raw()


class PatchOp(Schema):
    """The message of a PATCH request (RFC 7644, 3.5.2)."""

    schemas = _schemas(PATCH_URN)
    operations = fields.List(fields.Nested(Operation), data_key="Operations", required=True)


class SearchRequest(Schema):
    """The message of a search by POST (RFC 7644, 3.4.3; RFC 9865, 2)."""

    class Meta:
        unknown = EXCLUDE

    schemas = _schemas(SEARCH_URN)
    filter = _optional(fields.String)
    attributes = fields.List(fields.String(), allow_none=True, load_default=None)
    excluded_attributes = fields.List(
        fields.String(), data_key="excludedAttributes", allow_none=True, load_default=None
    )
    start_index = _whole_number("startIndex")
    count = _whole_number("count")
    sort_by = _optional(fields.String, "sortBy")
    sort_order = _optional(fields.String, "sortOrder")
    cursor = _optional(fields.String)


@dataclass(frozen=True, slots=True)
class Search:
    """The parameters of a search.

    `start` counts from 1; `count` None leaves the page size to the server. `cursor` None asks for pages by `start`,
    an empty text for the first page by cursor (RFC 9865, 2).
    """

    filter: str | None = None
    attributes: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    start: int = 1
    count: int | None = None
    sort_by: str | None = None
    descending: bool = False
    cursor: str | None = None


_NAMES = {
    (field.data_key or name).lower(): field.data_key or name
    for name, field in SearchRequest._declared_fields.items()
}
_SEARCH = SearchRequest()


def read_search(body: Mapping[str, Any]) -> Search:
    """Read a SearchRequest message, its keys in any letter case.

    Raises InvalidSyntax, InvalidValue or, for a bad `count` with a cursor, InvalidCount.
    """
    given = {_NAMES.get(key.lower(), key): value for key, value in body.items()}
    check_urn(given.get("schemas"), SEARCH_URN, body)
    try:
        read = _SEARCH.load(given)
    except ValidationError as error:
        name, reasons = next(iter(_reasons(error).items()))
        kind = InvalidCount if name == "count" and given.get("cursor") is not None else InvalidValue
        raise kind(f"{name} of the search cannot be read: {_sentence(reasons)}") from None
    count = read["count"]
    # RFC 7644, 3.4.2.4: less than one means one for startIndex, less than none means none for count.
    return Search(
        filter=read["filter"],
        attributes=_names("attributes", read["attributes"]),
        excluded=_names("excludedAttributes", read["excluded_attributes"]),
        start=max(1, read["start_index"] or 1),
        count=None if count is None else max(0, count),
        sort_by=read["sort_by"],
        descending=is_descending(read["sort_order"]),
        cursor=read["cursor"],
    )


def _names(what: str, names: Sequence[str] | None) -> tuple[str, ...]:
    """Return each name once, letter case aside, in order. Raises InvalidValue if they are too many."""
    once: dict[str, str] = {}
    for name in names or ():
        once.setdefault(name.lower(), name)
    if len(once) > MAX_ATTRIBUTES:
        raise InvalidValue(
            f"{what} of the search names {len(once)} attributes; at most {MAX_ATTRIBUTES} are read."
        )
    return tuple(once.values())


def is_descending(order: str | None) -> bool:
    """Return True if `sortOrder` is descending; ascending is the default (RFC 7644, 3.4.2.3). Raises InvalidValue."""
    if order and order.lower() not in ("ascending", "descending"):
        raise InvalidValue(f"sortOrder must be ascending or descending, not {order[:40]!r}.")
    return (order or "").lower() == "descending"


def _reasons(error: ValidationError) -> dict[str, Any]:
    return error.messages if isinstance(error.messages, dict) else {"The message": error.messages}


def _sentence(reasons: Any) -> str:
    """Return the first sentence in marshmallow's nested messages."""
    while not isinstance(reasons, str):
        reasons = next(iter(reasons.values() if isinstance(reasons, Mapping) else reasons))
    return reasons


def list_response(
    total: int, start: int | None, resources_json: Sequence[str], next_cursor: str | None = None
) -> str:
    """Encode a ListResponse around resources that are JSON already; they are not parsed again.

    `total` counts all results; `start` is None for a page by cursor, which has no position (RFC 9865, 2).
    """
    position = "" if start is None else f'"startIndex":{start},'
    cursor = f'"nextCursor":"{next_cursor}",' if next_cursor else ""
    return (
        f'{{"schemas":["{LIST_URN}"],"totalResults":{total},{position}{cursor}'
        f'"itemsPerPage":{len(resources_json)},"Resources":[{",".join(resources_json)}]}}'
    )
