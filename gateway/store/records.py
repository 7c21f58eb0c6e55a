"""Rows as the stories see them: immutable, without a way back to the database. The field order is the column order."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache, wraps
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


class OrganizationRecord(NamedTuple):
    """A tenant. `policy` counts up with whatever plugins judge by, `moves` with whatever users show of their groups."""

    id: int
    uid: str
    name: str
    plan: str
    domains: str
    seat_limit: int | None
    seats_used: int
    payment: str
    billing_url: str | None
    contact_url: str | None
    sso: str | None
    policy: int
    created: int
    modified: int
    version: int
    moves: int

    @property
    def sso_values(self) -> dict[str, Any] | None:
        """Entity id, sign-on URL and the certificate's last day, or None before SSO is set up."""
        return json.loads(self.sso) if self.sso else None


class ConnectionRecord(NamedTuple):
    """One identity provider of one organization."""

    id: int
    uid: str
    slug: str
    organization_id: int
    idp: str
    name: str
    settings: str
    provisioning: int
    mapping_enabled: int
    mapping_attribute: str | None
    created: int
    modified: int
    version: int

    def __repr__(self) -> str:
        """Without the settings, some of which may be secret."""
        return f"ConnectionRecord(uid={self.uid!r}, slug={self.slug!r}, idp={self.idp!r})"

    @property
    def setting_values(self) -> MappingProxyType[str, Any]:
        """The settings that its plugin understands."""
        return MappingProxyType(json.loads(self.settings))


class UserRecord(NamedTuple):
    """A user: what is shown of it, whoever looks, and the account state."""

    id: int
    uid: str
    connection_id: int | None
    user_name: str
    external_id: str | None
    active: int
    doc: str
    created: int
    modified: int
    version: int

    @property
    def document(self) -> dict[str, Any]:
        """The canonical document: without id, meta and groups."""
        document: dict[str, Any] = json.loads(self.doc)
        del document["id"], document["meta"]
        return document


class OutlinedUser(NamedTuple):
    """A user without its document. `parts` are JSON texts, None where the document has no such part."""

    id: int
    uid: str
    connection_id: int | None
    user_name: str
    active: int
    created: int
    modified: int
    parts: tuple[str | None, ...]


class GroupRecord(NamedTuple):
    """An application group: canonical document without id and meta; its members are grants."""

    id: int
    uid: str
    connection_id: int | None
    name: str
    external_id: str | None
    members: int
    doc: str
    created: int
    modified: int
    version: int


class ListedUser(NamedTuple):
    """What a list shows of a user, but for its groups."""

    id: int
    uid: str
    doc: str


class ListedGroup(NamedTuple):
    """What a list shows of a group, but for its members."""

    id: int
    uid: str
    doc: str
    created: int
    modified: int
    version: int
    members: int


class TokenRecord(NamedTuple):
    """A connection's token without its value, which is not kept."""

    id: int
    uid: str
    owner_id: int
    label: str
    prefix: str
    created: int
    expires: int | None
    last_used: int | None


class AdminTokenRecord(NamedTuple):
    """An admin token without its value. `organization_id` None: of an operator, for all organizations."""

    id: int
    uid: str
    organization_id: int | None
    name: str
    prefix: str
    created: int
    expires: int | None
    last_used: int | None
    #: `full`; `read`: GET and what only looks; `events`: the feeds of events only.
    scope: str


class MemberRecord(NamedTuple):
    """One member of a group, or one group of a user: id as seen from outside, and the name to show."""

    uid: str
    display: str


def remembered(longest: int) -> Callable[[F], F]:
    """Keeps what a function makes of the groups of a user, its first argument: very many users are in the same few.

    What is longer is worked out each time, so that a process keeps some megabytes at most.
    """

    def decorate(function: F) -> F:
        kept = lru_cache(maxsize=1024)(function)

        @wraps(function)
        def called(groups: Any, *rest: Any) -> Any:
            return kept(groups, *rest) if len(groups) <= longest else function(groups, *rest)

        return cast(F, called)

    return decorate


class EventRecord(NamedTuple):
    """One committed change."""

    seq: int
    type: str
    at: int
    resource: str
    resource_uid: str
    connection_uid: str | None
    data: str


class ActivityRecord(NamedTuple):
    """One request, its outcome, and why. `ignored` and `decisions` are JSON arrays, `facts` is a JSON object.

    `times` is 1, or how many refused requests it stands for: then `first_at` is the first, `at` the last.
    """

    id: int
    at: int
    connection_uid: str | None
    principal: str | None
    operation: str
    user: str | None
    status: int
    outcome: str
    detail: str | None
    ignored: str
    decisions: str
    request_id: str | None
    target_uid: str | None
    facts: str
    times: int
    first_at: int | None
    organization_id: int
