"""A snapshot: all users and groups of an organization, for a follower that begins in the middle of its events.

It is not of one moment: that would be one transaction for as long as a client reads, which keeps PostgreSQL from
cleaning up and lets the journal of SQLite grow. It names the number of an event that came before everything it holds.
What it says of a resource may be newer, and since events carry whole documents, the events behind that number lead to
the same end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from gateway.provisioning.rendering import group_json, users_json
from gateway.store import Store
from gateway.store.records import GroupRecord, MemberRecord, OrganizationRecord

#: Groups that one statement reads.
_GROUPS = 100


class Snapshots:
    """Reads the users and groups of an organization, line by line."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def lines(self, organization: OrganizationRecord) -> Iterator[str]:
        """Return the lines of a snapshot, each one JSON object; the last one has `next`, and nothing else has.

        Nothing stays open between two lines. Raises NotFound where the organization is removed meanwhile.
        """
        # Before the first line is sent: what fails here is a refusal.
        epoch = self._store.publications.state().epoch
        after = self._store.events.newest(organization.id)
        begin = {"organization": organization.uid, "epoch": epoch, "after": after}
        return self._lines(organization, json.dumps(begin), after)

    def _lines(self, organization: OrganizationRecord, begin: str, after: int) -> Iterator[str]:
        yield begin
        for users in self._store.portions.documents(organization.id):
            sources = self._store.memberships.sources_of_many(organization.id, [key for key, _, _ in users])
            groups = {
                key: tuple(dict.fromkeys(MemberRecord(uid, name) for uid, name, _ in reasons))
                for key, reasons in sources.items()
            }
            for text in users_json(users, groups, None):
                yield f'{{"resource":"User","data":{text}}}'
        key = 0
        while page := self._store.groups.page(organization, "", key, _GROUPS):
            for group in page:
                yield from self._group_lines(organization, group)
            key = page[-1].id
        # A removal has emptied the tables that were read.
        self._store.organizations.by_key(organization.id)
        yield json.dumps({"next": after})

    def _group_lines(self, organization: OrganizationRecord, group: GroupRecord) -> Iterator[str]:
        """Yield a group with its first members, and once more for each further page of them."""
        for members in self._store.memberships.all_member_pages(organization.id, group):
            yield f'{{"resource":"Group","data":{group_json(group, members, None)}}}'
