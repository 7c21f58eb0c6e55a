"""Queries: what an admin is shown, and nothing of it is changed.

Most are one statement. They stand together so that the admin REST need not know which repository holds what, nor who
says what may be shown of a plugin's settings; what is judged before it is shown stands with its operation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gateway.plugin.contracts import SeatRequest
from gateway.plugin.declarations import PluginInfo
from gateway.plugin.manager import PluginManager
from gateway.provisioning.activity_writer import ActivityWriter
from gateway.provisioning.caller import Callers
from gateway.scim.errors import NotFound
from gateway.scim.json_text import excerpt, fold
from gateway.store import Store
from gateway.store.activity import ActivityFilter
from gateway.store.records import (
    ActivityRecord,
    AdminTokenRecord,
    ConnectionRecord,
    GroupRecord,
    OrganizationRecord,
    OutlinedUser,
    TokenRecord,
    UserRecord,
)

AnyUser = UserRecord | OutlinedUser
#: Paths of attributes in a document.
Paths = Sequence[tuple[str, ...]]


class ConnectionDetails(NamedTuple):
    """What is shown of a connection beside its record: `settings` without secrets, and what its admin has to do."""

    base_url: str
    extension_urn: str
    plugin_missing: bool
    settings: Mapping[str, Any]
    setup_steps: Sequence[str]


class GroupMember(NamedTuple):
    """A member of a group, and why it is one."""

    id: int
    uid: str
    user_name: str
    sources: tuple[str, ...]


class FoundActivity(NamedTuple):
    """Lines of the activity; where the next page begins; organizations by their keys, where all were searched."""

    lines: Sequence[ActivityRecord]
    next_start: tuple[int, int] | None
    organizations: Mapping[int, Mapping[str, str]]


class Queries:
    """Reads for admins. `after` and `limit` are those of a page: a key, and how many rows to read."""

    def __init__(
        self, store: Store, plugins: PluginManager, callers: Callers, activity_writer: ActivityWriter
    ) -> None:
        self._store, self._plugins, self._callers, self._activity_writer = (
            store,
            plugins,
            callers,
            activity_writer,
        )

    def installed_plugins(self) -> list[PluginInfo]:
        """Return all plugins with the hooks that they implement."""
        return self._plugins.declared.plugins()

    # Organizations --------------------------------------------------------------------------------------------------

    def organization(self, uid: str, only: int | None) -> OrganizationRecord:
        """Return an organization by its id. `only`: the one that the token opens. Raises NotFound, also for another."""
        found = self._store.organizations.by_id(uid)
        if found is None or only not in (None, found.id):
            raise NotFound(f"There is no organization with the id {excerpt(uid)} here.")
        return found

    def organizations(self, only: int | None, text: str, after: int, limit: int) -> list[OrganizationRecord]:
        """Return organizations whose name holds `text`, or whose id it is; `only` the one that the token opens."""
        store = self._store.organizations
        if only is None:
            return store.found(text, after, limit) if text else store.page(after, limit)
        own = store.by_key(only)
        matches = own.id > after and fold(text) in fold(own.name)
        return [own] if matches or text == own.uid else []

    def organization_names(self, keys: Iterable[int | None]) -> dict[int, dict[str, str]]:
        """Return id and name of organizations by their keys."""
        return self._store.organizations.names(sorted({key for key in keys if key is not None}))

    def admin_tokens(
        self, organization: OrganizationRecord | None, after: int, limit: int
    ) -> list[AdminTokenRecord]:
        """Return the admin tokens of an organization, or of all and of operators."""
        return self._store.admin_tokens.page(organization, after, limit)

    def seat_limit(self, organization: OrganizationRecord) -> tuple[bool, str | None]:
        """Return whether any plugin limits seats, and the sentence for one user more than there are seats."""
        limit = self._plugins.check_seats(self._callers.tenant(organization), SeatRequest("")).result()
        return self._plugins.limits_seats(), limit.sentence if limit else None

    def activity(
        self, organization: OrganizationRecord | None, selection: Mapping[str, Any], before: tuple[int, int] | None,
        limit: int,
    ) -> FoundActivity:  # fmt: skip
        """Search the activity of an organization, or of all, the newest first.

        `selection` has fields of `ActivityFilter`; `before` is the `next_start` of the page before.
        """
        self._activity_writer.flush_briefly()
        key = organization.id if organization else None
        chosen = ActivityFilter(
            **{name: selection[name] for name in ActivityFilter._fields if name in selection}
        )
        lines, next_start = self._store.activity.search(key, before, limit, chosen)
        names = {} if organization else self.organization_names(line.organization_id for line in lines)
        return FoundActivity(lines, next_start, names)

    # Connections ----------------------------------------------------------------------------------------------------

    def connection(self, uid: str, only: int | None) -> tuple[ConnectionRecord, OrganizationRecord]:
        """Return a connection by its id, and its organization. `only` as for `organization`. Raises NotFound."""
        found = self._store.connections.by_id(uid)
        if found is None or only not in (None, found[1].id):
            raise NotFound(f"There is no connection with the id {excerpt(uid)} here.")
        return found

    def connections(self, organization: OrganizationRecord, after: int, limit: int) -> list[ConnectionRecord]:
        """Return connections of an organization."""
        return self._store.connections.page(organization, after, limit)

    def connection_names(self, organization: OrganizationRecord) -> dict[str, str]:
        """Return the names of an organization's connections by their ids, of the first thousand."""
        return {each.uid: each.name for each in self._store.connections.page(organization, 0, 1000)}

    def connection_details(
        self, connection: ConnectionRecord, organization: OrganizationRecord, public_url: str
    ) -> ConnectionDetails:
        """Return what plugins say of a connection, and its base URL."""
        words, declared = self._callers.words(connection, organization, public_url), self._plugins.declared
        return ConnectionDetails(
            words.base_url,
            words.extension_urn,
            declared.of(connection.idp) is None,
            declared.shown_settings(connection.idp, connection.setting_values),
            declared.setup_steps(words),
        )

    def tokens(self, connection: ConnectionRecord, after: int) -> list[TokenRecord]:
        """Return the tokens of a connection."""
        return [token for token in self._store.tokens.by_connection(connection) if token.id > after]

    def managers(
        self, organization: OrganizationRecord, records: Iterable[AnyUser | GroupRecord]
    ) -> dict[int | None, dict[str, str] | None]:
        """Return the manager of each record by the key of its connection; manual ones have none."""
        keys = sorted({record.connection_id for record in records if record.connection_id is not None})
        found = self._store.connections.by_keys(organization, keys)
        return {None: None} | {
            key: {"connection": c.uid, "idp": c.idp, "name": c.name} for key, c in found.items()
        }

    # Users and groups -----------------------------------------------------------------------------------------------

    def user_named(self, organization: OrganizationRecord, user_name: str) -> UserRecord | None:
        """Return the user of a name."""
        return self._store.users.by_name(organization, user_name)

    def users(
        self, organization: OrganizationRecord, paths: Paths, after: int, limit: int
    ) -> list[OutlinedUser]:
        """Return users of an organization, each with the parts of its document at `paths`."""
        return self._store.portions.page(organization.id, paths, after, limit)

    def count_people(self, organization: OrganizationRecord) -> int:
        """Return how many users an organization has, which is stored and not counted."""
        return self._store.organizations.tally(organization.id, "User")

    def users_holding(
        self, organization: OrganizationRecord, text: str, paths: Paths, after: int, limit: int
    ) -> tuple[list[OutlinedUser], int | None]:
        """Return the users whose names hold a text, and where the next page begins."""
        keys, following = self._store.users.search(organization, text, after, limit)
        return self._store.portions.by_keys(organization.id, keys, paths), following

    def all_users(
        self, organization: OrganizationRecord, paths: Paths, rows: int
    ) -> Iterator[list[OutlinedUser]]:
        """Return all users of an organization, `rows` at a time."""
        return self._store.portions.of_organization(organization.id, paths, rows=rows)

    def memberships(
        self, organization: OrganizationRecord, users: Sequence[AnyUser]
    ) -> Mapping[int, Sequence[tuple[str, str, str]]]:
        """Return id, name and source of each membership of users, by the keys of the users."""
        return self._store.memberships.sources_of_many(organization.id, [user.id for user in users])

    def group(self, organization: OrganizationRecord, uid: str) -> GroupRecord:
        """Return a group. Raises NotFound."""
        group = self._store.groups.of(organization, uid)
        if group is None:
            raise NotFound(f"There is no group with the id {excerpt(uid)} here.")
        return group

    def groups(
        self, organization: OrganizationRecord, prefix: str, after: int, limit: int
    ) -> list[GroupRecord]:
        """Return the groups whose name begins with `prefix`."""
        return self._store.groups.page(organization, prefix, after, limit)

    def mapped_groups(self, groups: Iterable[GroupRecord]) -> dict[int, str]:
        """Return the name of a connection whose Map to groups has a rule for a group, by the keys of such groups."""
        return self._store.mapping_rules.connections_using([group.id for group in groups])

    def group_members(
        self, organization: OrganizationRecord, uid: str, after: int, limit: int
    ) -> list[GroupMember]:
        """Return members of a group, whatever they are in it for. Raises NotFound."""
        sources = dict(self._store.memberships.page(self.group(organization, uid), after, limit))
        users = self._store.users.by_keys(organization.id, list(sources))
        return sorted(GroupMember(user.id, user.uid, user.user_name, sources[user.id]) for user in users)
