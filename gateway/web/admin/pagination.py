"""Pages of lists: the query that asks for one, and the wrapper of views that `Blueprint.paginate` puts around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from typing import Any, NamedTuple, Protocol

from marshmallow import Schema, fields

from gateway.web.text_fields import Count


class _Row(Protocol):
    @property
    def id(self) -> int: ...


class LimitQuery(Schema):
    """How much of a list is asked for."""

    limit = Count(1, 1000, load_default=100)


class PageQuery(LimitQuery):
    """A page of a list: `after` is the `next` of the page before."""

    after = Count(0, (1 << 63) - 1, load_default=0)


class Page(NamedTuple):
    """Rows of a page whose end the view knows; `next` is the `after` of the next page."""

    rows: Sequence[Any]
    next: int | None = None


class Pagination:
    """Which page is asked for, and in `query` what else of the list."""

    def __init__(self, query: dict[str, Any]) -> None:
        self.query = query
        self.after: int = query["after"]
        self.limit: int = query["limit"]

    @property
    def fetch(self) -> int:
        """How many rows to read: one more than the page holds, so that its end is known."""
        return self.limit + 1

    def page(self, rows: Sequence[_Row]) -> Page:
        """Cut off what is not of the page."""
        page = rows[: self.limit]
        return Page(page, page[-1].id if len(rows) > self.limit else None)


def paginated(view: Callable[..., Any], to_json: Callable[[Any], list[dict[str, Any]]]) -> Callable[..., Any]:
    """Wrap a view that returns rows from behind `after` on, at best `fetch` of them, or a `Page`."""

    @wraps(view)
    def paged(query: dict[str, Any], **arguments: Any) -> dict[str, Any]:
        pagination = Pagination(query)
        found = view(pagination, **arguments)
        page = found if isinstance(found, Page) else pagination.page(found)
        return {"items": to_json(page.rows), "next": page.next}

    return paged


@lru_cache(maxsize=64)
def page_of(item: type[Schema]) -> type[Schema]:
    """Return the schema of a page; `next` is the `after` of the next page, null at the end."""
    items: dict[str, Any] = {
        "items": fields.List(fields.Nested(item)),
        "next": fields.Integer(allow_none=True),
    }
    return Schema.from_dict(items, name=f"{item.__name__}Page")
