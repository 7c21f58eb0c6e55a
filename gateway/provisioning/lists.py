"""Lists of users, groups or both: filtered, sorted and paginated (RFC 7644, 3.4.2; RFC 9865)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from gateway.plugin.manager import PluginManager
from gateway.provisioning.caller import IdpCaller
from gateway.provisioning.cursors import Cursors
from gateway.provisioning.rendering import group_json, group_pieces, user_json, users_json
from gateway.provisioning.trace import Trace
from gateway.scim.errors import InvalidCount, InvalidValue
from gateway.scim.filter_ast import Compare, Filter
from gateway.scim.filters import MAX_LENGTH, parse_filter
from gateway.scim.matching import check_filter
from gateway.scim.messages import Search, list_response
from gateway.scim.schemas import ResourceType
from gateway.scim.selection import project_texts, selects
from gateway.scim.sorting import Sort, read_sort
from gateway.store import Store
from gateway.store.memberships import MEMBERS_AT_ONCE, Groups, Seen
from gateway.store.query.query import Query
from gateway.store.query.search import Page
from gateway.store.records import ListedGroup, ListedUser

#: How many resources a page holds when the client does not say.
PAGE = 100
#: A filter of more characters takes milliseconds to read alone.
LONG_FILTER = 1000
#: A page of more is expensive.
LARGE_PAGE = 200


class Lists:
    """Answers the searches of identity providers."""

    def __init__(self, store: Store, plugins: PluginManager, page_limit: int, cursors: Cursors) -> None:
        self._store, self._plugins, self._page_limit, self._cursors = store, plugins, page_limit, cursors

    @property
    def usual(self) -> int:
        """The number of resources of a page when the client does not say."""
        return min(self._page_limit, PAGE)

    def answer(
        self,
        caller: IdpCaller,
        types: tuple[ResourceType, ...],
        asked: Search,
        trace: Trace,
        expensive: Callable[[], None],
    ) -> str:
        """Return the ListResponse to a search; of several types those of the first one come first.

        `expensive` is called before a search that takes long. Raises InvalidFilter, InvalidValue, InvalidCount,
        InvalidCursor, ExpiredCursor and TooMany.
        """
        if asked.filter and len(asked.filter) > LONG_FILTER:
            expensive()
        tree, sort = self._read_filter(caller, asked, types, trace), _read_sort(asked, types, trace)
        query = Query(types, tree, sort, selects("members", asked))
        count = self.usual if asked.count is None else min(self._page_limit, asked.count)
        looks_up = asked.cursor is None and asked.start == 1 and count > 0
        found = self._look_up(caller, query) if looks_up else None
        if trace.steps is not None:
            trace.explain("found", "gateway", _describe_search(asked, found))
        if found is not None and len(found) <= 1:
            shown = [user_json(user, groups, caller.words.base_url) for user, groups in found]
            return list_response(len(found), 1, project_texts(caller.kept.user, shown, asked))
        if count > LARGE_PAGE or query.expensive:
            expensive()
        if asked.cursor is not None:
            return self._page_by_cursor(caller, query, asked, asked.cursor)
        page = self._store.search.page(caller.connection, query, asked.start, max(0, count))
        return list_response(page.total, asked.start, self._resources_json(caller, types, page, asked))

    def _read_filter(
        self, caller: IdpCaller, asked: Search, types: tuple[ResourceType, ...], trace: Trace
    ) -> Filter | None:
        """Return the filter, translated from the dialect of the connection, then validated like any other."""
        text = asked.filter
        if text is None:
            return None
        if len(types) == 1 and len(text) <= MAX_LENGTH:
            text = trace.record(self._plugins.map_filter(caller.words, types[0].name, text))
        tree = parse_filter(text)
        for resource in types:
            check_filter(tree, resource)
        if isinstance(tree, Compare) and tree.path.name.lower() == "username" and isinstance(tree.value, str):
            trace.user = tree.value[:320]
        return tree

    def _look_up(self, caller: IdpCaller, query: Query) -> Sequence[Seen] | None:
        """Find a user by userName or externalId, which identity providers ask before each create, in one statement.

        Return None for any other query: the general way answers those, and would answer this one alike.
        """
        tree = query.tree
        if not isinstance(tree, Compare) or tree.op != "eq" or query.types != (caller.kept.user,):
            return None
        path, value = tree.path, tree.value
        if path.urn or path.sub or not isinstance(value, str):
            return None
        memberships, name = self._store.memberships, path.name.lower()
        if name == "username":
            return memberships.users_named(caller.connection, value)
        if name == "externalid" and caller.kept.user.find(None, name, None):
            return memberships.users_known_as(caller.connection, value)
        return None

    def _page_by_cursor(self, caller: IdpCaller, query: Query, asked: Search, cursor: str) -> str:
        if asked.start > 1:
            raise InvalidValue("A list is paged by cursor or by startIndex, not by both.")
        if query.sort:
            # A place in the order of making says nothing of a place in another order.
            raise InvalidValue("A sorted list has no cursors: page it by startIndex, or leave sortBy out.")
        # RFC 9865, 2: less than none is none, and none asks for the total alone.
        count = self.usual if asked.count is None else max(0, asked.count)
        if count > self._page_limit:
            # RFC 9865, 2.1: unlike with startIndex, a count beyond the limit is an error.
            raise InvalidCount(f"With a cursor, count must be {self._page_limit} at most.")
        after = self._cursors.open(caller.connection, query.digest, cursor)
        if count == 0:
            return list_response(self._store.search.page(caller.connection, query, 1, 0).total, None, ())
        page = self._store.search.page_after(caller.connection, query, after, count)
        more = None
        if page.next is not None:
            more = self._cursors.seal(caller.connection, query.digest, page.next)
        return list_response(page.total, None, self._resources_json(caller, query.types, page, asked), more)

    def _resources_json(
        self, caller: IdpCaller, types: tuple[ResourceType, ...], page: Page, asked: Search
    ) -> list[str]:
        """Return the resources as JSON in their order; members and groups are read once for all of a type."""
        records = page.records
        if types == (caller.kept.user,):
            return project_texts(caller.kept.user, self._users_json(caller, records, page.groups), asked)
        users = [record for record in records if isinstance(record, ListedUser)]
        groups = [record for record in records if isinstance(record, ListedGroup)]
        of_users = iter(project_texts(caller.kept.user, self._users_json(caller, users), asked))
        of_groups = iter(project_texts(caller.kept.group, self._groups_json(caller, groups, asked), asked))
        return [next(of_users if isinstance(record, ListedUser) else of_groups) for record in records]

    def _users_json(
        self, caller: IdpCaller, users: Sequence[ListedUser], groups: Groups | None = None
    ) -> list[str]:
        if groups is None:
            groups = self._store.memberships.groups_of_many(
                caller.organization.id, caller.connection.id, [user.id for user in users]
            )
        return users_json(users, groups, caller.words.base_url)

    def _groups_json(self, caller: IdpCaller, groups: Sequence[ListedGroup], asked: Search) -> list[str]:
        base, memberships = caller.words.base_url, self._store.memberships
        if not selects("members", asked):
            return [group_json(group, None, base) for group in groups]
        seen = caller.organization.id, caller.connection.id
        small = [group.id for group in groups if group.members <= MEMBERS_AT_ONCE]
        members = memberships.members_of_many(*seen, small)
        # Of a large group the text is held, never all of its members.
        return [
            group_json(group, members.get(group.id, ()), base)
            if group.members <= MEMBERS_AT_ONCE
            else "".join(group_pieces(group, memberships.member_pages(*seen, group), base))
            for group in groups
        ]


def _describe_search(asked: Search, found: Sequence[Seen] | None) -> str:
    if found is None:
        return f"A {'search' if asked.filter else 'list'} of all that this connection sees."
    if not found:
        return "No user that this connection sees has this name: an identity provider creates it then."
    names = ", ".join(repr(user.user_name) for user, _ in found[:3])
    return f"Looked up by the filter's name: {names}."


def _read_sort(asked: Search, types: Iterable[ResourceType], trace: Trace) -> Sort | None:
    if not asked.sort_by:
        return None
    sort = read_sort(asked.sort_by, asked.descending, types)
    if sort is None:
        # As everywhere: what this connection does not keep is named in the activity.
        trace.ignored.append(f"sortBy {asked.sort_by[:320]}")
    return sort
