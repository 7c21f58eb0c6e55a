"""Rows as provisioning reads them: immutable, without access to the database. The field order is the column order."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache, wraps
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


class OrganizationRecord(NamedTuple):
    """A tenant; `policy` counts changes that plugins may judge by, `moves` changes of the groups shown with users."""

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
    #: 1: nothing of it is pruned or erased.
    legal_hold: int = 0
    #: What becomes of a user whose address is in none of its verified domains: `allow` or `refuse`.
    outside_domains: str = "allow"

    @property
    def sso_values(self) -> dict[str, Any] | None:
        """Return entity id, sign-on URL and the last day of the certificate, or None before SSO is set up."""
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
    #: JSON `{"percent", "least", "minutes"}`; None where removals are not limited.
    brake: str | None = None
    #: JSON `{"scope", "since", "until", "reason", "by"}`; None while it is not paused.
    pause: str | None = None
    #: `automatic`, `verified` or `ask`: what becomes of a user whom no connection manages.
    adoption: str = "automatic"
    #: Microseconds until which all its requests are explained.
    watched_until: int = 0
    #: 1 if removals of its are held, or were until lately.
    holds_removals: int = 0

    def __repr__(self) -> str:
        """Leave out the settings, some of which may be secret."""
        return f"ConnectionRecord(uid={self.uid!r}, slug={self.slug!r}, idp={self.idp!r})"

    @property
    def setting_values(self) -> MappingProxyType[str, Any]:
        """Return the settings of its plugin."""
        return MappingProxyType(json.loads(self.settings))


class DomainRecord(NamedTuple):
    """A domain of an organization, by its A-labels."""

    id: int
    organization_id: int
    name: str
    #: `unverified`, `verified`, or `lost`: verified before, and its record has been missing for days.
    state: str
    #: Stands in the DNS; public.
    token: str
    #: `dns` or `operator`; None before it was verified.
    verified_by: str | None
    verified: int | None
    #: 0 before the first look-up.
    checked: int
    #: The first look-up that did not find the record of a verified domain.
    lost_since: int | None
    #: The sentence of the last look-up that found no record.
    problem: str | None
    created: int


class UserRecord(NamedTuple):
    """A user: its representation without groups, and the account state."""

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
    #: 1: no identity provider deactivates, deletes, renames or adopts it.
    protected: int = 0

    @property
    def document(self) -> dict[str, Any]:
        """Return the canonical document: without id, meta and groups."""
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
    protected: int
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


class HoldRecord(NamedTuple):
    """The hold of a connection; times in microseconds. `counted` removals of `most` were made when it began."""

    connection_id: int
    since: int
    counted: int
    most: int
    #: `waiting`: all removals are held; `allowed`: none, until `until`; `rejected`: all are refused, until `until`.
    state: str
    decided_by: str | None
    until: int | None
    warned: int


class HeldRemoval(NamedTuple):
    """A removal that is held: of a user, of a group, or of very many members of one."""

    resource: str
    uid: str
    name: str
    #: deactivate, delete, leave.
    action: str
    people: int
    first: int
    last: int
    tries: int
    allowed: int


class ListedUser(NamedTuple):
    """The columns of a user in a list, without its groups."""

    id: int
    uid: str
    doc: str


class ListedGroup(NamedTuple):
    """The columns of a group in a list, without its members."""

    id: int
    uid: str
    doc: str
    created: int
    modified: int
    version: int
    members: int


class TokenRecord(NamedTuple):
    """A connection's token without its value, which is not stored."""

    id: int
    uid: str
    owner_id: int
    label: str
    prefix: str
    created: int
    expires: int | None
    last_used: int | None


class AdminTokenRecord(NamedTuple):
    """An admin token without its value; `organization_id` is None for an operator's."""

    id: int
    uid: str
    organization_id: int | None
    name: str
    prefix: str
    created: int
    expires: int | None
    last_used: int | None
    #: `full`; `read`: GET and operations that change nothing; `events`: the feeds of events only.
    scope: str


class ConsoleLinkRecord(NamedTuple):
    """A link that opens the console once, without its secret; times in microseconds."""

    id: int
    uid: str
    organization_id: int
    #: `setup`: for a stranger, by mail; `console`: for somebody who is signed in to the application.
    kind: str
    email: str | None
    person: str
    role: str
    #: JSON: names of rights.
    rights: str
    return_url: str | None
    created: int
    created_by: str | None
    expires: int
    used: int | None
    used_from: str | None
    revoked: int | None

    @property
    def right_names(self) -> list[str]:
        """Return the rights that the link gives."""
        names: list[str] = json.loads(self.rights)
        return names

    def state(self, moment: int) -> str:
        """Return `revoked`, `used`, `expired` or `open`."""
        if self.revoked is not None:
            return "revoked"
        if self.used is not None:
            return "used"
        return "expired" if self.expires <= moment else "open"


class ConsoleSessionRecord(NamedTuple):
    """A session of the console, and what its link or token allows now; times in microseconds."""

    id: int
    uid: str
    #: None for an operator's, which opens all organizations.
    organization_id: int | None
    link_id: int | None
    admin_token_id: int | None
    #: `link`, `token`, `configured <digest>` or `oidc <issuer>`.
    source: str
    person: str
    role: str
    rights: str
    return_url: str | None
    created: int
    seen: int
    expires: int
    ended: int | None
    address: str | None
    #: When its link was revoked; the scope and the end of its admin token.
    link_revoked: int | None
    token_scope: str | None
    token_expires: int | None


class WebhookRecord(NamedTuple):
    """An endpoint that committed events are sent to; times in microseconds, secrets encrypted."""

    id: int
    uid: str
    #: None: of all organizations.
    organization_id: int | None
    #: `operator` or `organization`.
    owner: str
    url: str
    #: `standard`, `set` or `thin`.
    format: str
    #: JSON; None for all.
    types: str | None
    #: `on`, `paused`, `failing` or `disabled`.
    state: str
    reason: str | None
    secret: str
    old_secret: str | None
    old_until: int | None
    failing_since: int | None
    succeeded: int | None
    created: int
    created_by: str | None
    modified: int
    version: int
    organization_uid: str | None
    organization_name: str | None

    def __repr__(self) -> str:
        """Leave out the secrets and the URL, which may hold one."""
        return f"WebhookRecord(uid={self.uid!r}, owner={self.owner!r}, state={self.state!r})"

    @property
    def type_names(self) -> list[str] | None:
        """Return the types of events that it receives; None for all."""
        return None if self.types is None else list(json.loads(self.types))


class AttemptRecord(NamedTuple):
    """An attempt to deliver an event to a webhook."""

    id: int
    organization_id: int
    seq: int
    type: str
    message_id: str
    at: int
    #: `success` or `failure`.
    outcome: str
    status: int | None
    ms: int
    error: str | None
    response: str | None

    @property
    def organization_uid(self) -> str | None:
        """Return the organization of the event, which may have been removed since; None: the deployment's own."""
        uid = self.message_id.split("_")[1]
        return None if uid == "deployment" else uid

    @property
    def epoch(self) -> int:
        """Return the epoch of the event's number."""
        return int(self.message_id.split("_")[2])


class ParkedRecord(NamedTuple):
    """An event that a webhook refused for good; its type and resource are None once the event was removed."""

    #: The event's primary key.
    id: int
    organization_id: int
    organization_uid: str | None
    seq: int
    since: int
    error: str
    type: str | None
    resource: str | None
    resource_uid: str | None


class MemberRecord(NamedTuple):
    """One member of a group, or one group of a user: public id and display name."""

    uid: str
    display: str


def cache_short(longest: int) -> Callable[[F], F]:
    """Cache a function of the groups of a user, its first argument, because very many users have the same few.

    Lists of more than `longest` groups are not cached, so that the cache takes some megabytes at most.
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


class HourRecord(NamedTuple):
    """Calls of an organization's identity providers in one hour since 1970, and the seats at the end of it."""

    hour: int
    done: int
    partial: int
    refused: int
    seats_used: int
    seat_limit: int | None


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


class TroubleRecord(NamedTuple):
    """What a connection is warned of, by its cause, since when, and when it ends by itself (0: it does not)."""

    connection_uid: str
    connection_name: str
    cause: str
    since: int
    until: int = 0


class ImportRecord(NamedTuple):
    """A file that was uploaded; `columns` and `summary` are JSON, `done` rows of `row_count` have their outcome."""

    id: int
    uid: str
    created: int
    created_by: str | None
    expires: int
    state: str
    absent: str
    columns: str
    row_count: int
    done: int
    summary: str
    version: int

    @property
    def is_preview(self) -> bool:
        """Whether it was not applied yet."""
        return self.state == "preview"


class ImportRow(NamedTuple):
    """A row of a file: its cells, and its outcome, "" while it has none."""

    number: int
    cells: tuple[str, ...]
    outcome: str
    reason: str | None
