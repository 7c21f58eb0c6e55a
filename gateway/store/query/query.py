"""What is asked for of a list: types, filter, order; and how much of the database it may read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from gateway.scim.filter_ast import Filter
from gateway.scim.schemas import ResourceType
from gateway.scim.sorting import Sort
from gateway.store.query.candidates import Tree, merge_equals, reach
from gateway.store.query.columns import Reach


@dataclass(frozen=True)
class Query:
    """A list: its types in order; a filter (None: all resources); a sort key (None: order of creation)."""

    types: tuple[ResourceType, ...]
    tree: Filter | None = None
    sort: Sort | None = None
    #: True if groups are returned with their members.
    members: bool = True

    @property
    def all_users(self) -> bool:
        """Return True for the list of all users in order of creation."""
        return len(self.types) == 1 and self.types[0].name == "User" and not (self.tree or self.sort)

    @cached_property
    def merged_tree(self) -> Tree | None:
        """Return the filter with its `eq` merged. Raises TooMany for too many comparisons."""
        return None if self.tree is None else merge_equals(self.tree)

    @cached_property
    def reach(self) -> Reach:
        """Return how many resources the engine may have to read for one page, judged by filter and order alone."""
        if self.sort:
            return Reach.ALL
        if self.merged_tree is None:
            return Reach.NAMED
        return max(reach(kind, self.merged_tree) for kind in self.types)

    @property
    def expensive(self) -> bool:
        """Return True if no index answers the query, so that the engine reads all visible resources."""
        return self.reach is Reach.ALL

    @property
    def digest(self) -> str:
        """Return a key of the list that is the same for all of its pages."""
        names = "+".join(kind.name for kind in self.types)
        return hashlib.sha256(f"{names} {self.tree!r}".encode()).hexdigest()[:32] if self.tree else names
