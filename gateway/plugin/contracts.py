"""The frozen values that the core and its plugins exchange. No behaviour, no database, no web framework.

`gateway` exports them, together with the refusals that a plugin may raise (`gateway.scim.errors`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from gateway.simulation.api import Simulator

if TYPE_CHECKING:
    import marshmallow

Payment = Literal["card", "invoice"]
ResourceType = Literal["User", "Group"]
#: What an identity provider may be kept from doing to a user.
Change = Literal["deactivate", "delete", "rename"]


@dataclass(frozen=True, slots=True)
class Billing:
    """How an organization pays, and the pages where its people can change plan or seats."""

    payment: Payment
    billing_url: str
    contact_url: str


@dataclass(frozen=True, slots=True)
class Seats:
    """An active user holds one seat. `limit` None means unlimited; `used` may be above a limit that was lowered."""

    limit: int | None
    used: int


@dataclass(frozen=True, slots=True)
class Organization:
    """A customer of the application: the tenant. `sso` is True once its SAML metadata was stored."""

    id: str
    name: str
    plan: str
    sso: bool
    seats: Seats
    billing: Billing
    domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Connection:
    """One identity provider of one organization. `settings` were checked by the schema that its plugin declares."""

    id: str
    slug: str
    idp: str
    name: str
    organization: Organization
    #: Some may be secret, so none is in a repr.
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    base_url: str = ""
    #: The namespace of the application's own attribute `group`.
    extension_urn: str = ""
    #: The attribute path that Map to groups looks at, or None while it is off.
    mapping_attribute: str | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller: a label for the activity, and the id of the token that was presented, if any."""

    label: str
    token_id: str | None = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a caller presented. `secret` is kept out of every repr; never log or store it.

    `own` is the principal of the gateway's own token, where a valid token of this connection was presented; else None.
    """

    scheme: str
    secret: str = field(repr=False)
    own: Principal | None = None


@dataclass(frozen=True, slots=True)
class User:
    """A user as the core is about to store it, or has stored it. `id` is None while it is being created."""

    id: str | None
    user_name: str
    active: bool
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GroupGrant:
    """One membership that a user should have, by the name of an application group of the organization."""

    group: str


@dataclass(frozen=True, slots=True)
class SeatRequest:
    """A request for `seats` seats: a user is about to be created active, restored, or reactivated."""

    user_name: str
    seats: int = 1


@dataclass(frozen=True, slots=True)
class SeatVerdict:
    """How many seats may be in use afterwards, and the sentence of the refusal where that is too few."""

    ceiling: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a feature may be used, or a change be made. A denial needs a sentence, which the admin reads."""

    allowed: bool
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """One committed change. `id` counts up by one within an organization; `data` is what the feed shows.

    Another `epoch` follows when a backup was restored: numbers begin anew then.
    """

    id: int
    type: str
    at: str
    organization: Organization
    connection: str | None
    #: `User`, `Group`, or what else an event is about, as `Connection`.
    resource: str
    resource_id: str
    data: Mapping[str, Any]
    epoch: int = 0


def _no_steps(connection: Connection) -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True)
class RecentCalls:
    """What the requests of a connection's identity provider show: of its last cycle, or of the last hour without one.

    `calls` and `refused` count its newest 10,000 requests at most; requests without a valid token are not among them.
    """

    calls: int
    refused: int
    #: Refused requests of the last 24 hours by method and status, such as `("PATCH", 400)`.
    refusals: Mapping[tuple[str, int], int]
    #: The User-Agent of its last call, and which of `Declaration.url_flags` stood behind the base URL.
    agent: str = ""
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PluginCheck:
    """A finding of a plugin about a connection: what was found, and what to do.

    `name` is a word in lower case by which it is known again. `level`: `note` is worth knowing; `warn`: something is
    lost, or will stop soon.
    """

    name: str
    level: Literal["note", "warn"]
    message: str
    remedy: str = ""


def _no_checks(connection: Connection, recent: RecentCalls) -> Sequence[PluginCheck]:
    return ()


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a plugin declares of itself: title, settings, kept attributes, setup steps, simulator, transcripts.

    `settings` is a marshmallow schema of a connection's settings; a field whose metadata says `secret: True` is never
    shown again. `keeps(settings)` lists the SCIM attribute paths that a connection keeps of a user (None = every
    attribute of the schemas); what is not kept is ignored and named in the activity, and discovery lists what is.
    `setup_steps(connection)` are shown to the admin, one sentence or two a step.
    """

    title: str
    idp: bool = False
    settings: type[marshmallow.Schema] | None = None
    keeps: Callable[[Mapping[str, Any]], Sequence[str] | None] | None = None
    setup_steps: Callable[[Connection], Sequence[str]] = _no_steps
    simulator: Simulator | None = None
    #: The folder of its transcripts, one JSON file each, installed with the plugin.
    transcripts: Path | None = None
    #: Whether a listener that is new to a database receives the events from before its installation, too.
    history: bool = False
    #: Whether a PATCH without any operation is accepted and changes nothing; else it is refused (RFC 7644, 3.5.2).
    empty_patches: bool = False
    #: Where an admin retries at the identity provider what was refused for want of a seat: one sentence.
    retry_step: str = ""
    #: The status that this identity provider answers best by trying again later, for a user who waits until an admin
    #: has confirmed that it may be managed. 409 is final for most; 429 with `Retry-After` where it is known to be kept.
    waiting_status: Literal[409, 429] = 409
    #: Whole seconds of that `Retry-After`, and of the one that a pause or a held removal is answered with.
    waiting_seconds: int = 900
    #: What an admin does at the identity provider after a pause, or once a held change was allowed: one sentence.
    after_waiting: str = ""
    #: How the User-Agent of this identity provider begins, letter case aside: a connection that is set up for another
    #: one is found by it.
    user_agents: Sequence[str] = ()
    #: Parameters without a value that its admins put behind the base URL, and by which it is recognised as well.
    url_flags: Sequence[str] = ()
    #: Seconds between two calls that it makes by itself; 0 where it calls only when something has changed.
    cycle_seconds: int = 0
    #: Checks of its own of what a connection's calls show lately, for the test of the connection.
    checks: Callable[[Connection, RecentCalls], Sequence[PluginCheck]] = _no_checks
