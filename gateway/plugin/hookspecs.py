"""The hooks: what the core asks its plugins, and what it notifies them of. The docstrings are the contract.

The name of a hook that returns something is a verb in the imperative; a past participle is a notification. Every
argument is a frozen value of `gateway.plugin.contracts` or plain JSON that belongs to the plugin for the length of
the call. None means «not mine». A refusal is raised (`gateway.Refusal` and its kinds), never returned. An
implementation takes the arguments it needs, by name. No behaviour rests on the order in which plugins were found.

*Narrowed* hooks are asked only of the plugin of the connection's identity provider and of the core's own defaults.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from gateway.plugin.contracts import (
    Change,
    Connection,
    Credentials,
    Declaration,
    Event,
    GroupGrant,
    Organization,
    Principal,
    ResourceType,
    SeatRequest,
    SeatVerdict,
    User,
    Verdict,
)
from gateway.scim.json_text import Json

hookspec = pluggy.HookspecMarker("gateway")
hookimpl = pluggy.HookimplMarker("gateway")
"""Mark a function as the implementation of the hook of the same name in this module."""


# At start -----------------------------------------------------------------------------------------------------------


@hookspec
def gateway_declare() -> Declaration:  # type: ignore[empty-body]
    """Say what this plugin is: its title, whether it is an identity provider, its settings, what it keeps.

    Asked once, at start, of every plugin; a plugin that is no identity provider may leave it out. The name of the
    entry point is the name of the plugin, and of the identity provider where it is one.
    """


# While a request of an identity provider is served ------------------------------------------------------------------


@hookspec(firstresult=True)
def gateway_authenticate(connection: Connection, credentials: Credentials) -> Principal | None:
    """Identify the caller who presented these credentials at this connection.

    Narrowed. Stops at the first answer. The core's default knows the bearer tokens that an admin made for the
    connection; a plugin adds another way (a signed token of its identity provider, for example).

    :param connection: the connection whose base URL was called.
    :param credentials: scheme (`bearer`, `basic` or empty) and secret, as presented. Never log the secret.
    :returns: the principal, or None for credentials that are not of this plugin's kind.
    :raises gateway.AuthenticationFailed: to refuse at once, with a sentence. When nobody answers, the answer is 401.
    """


@hookspec(firstresult=True)
def gateway_map_resource(connection: Connection, resource_type: ResourceType, document: Json) -> Json | None:
    """Translate a user or group from the dialect of this identity provider to the canonical SCIM document.

    Narrowed. Stops at the first answer. The default takes the document as it is. The result is validated like any
    stranger's input: types, required attributes and what the connection keeps are checked afterwards.

    :param connection: the connection that received the document, with its settings.
    :param resource_type: `User` or `Group`.
    :param document: the body as parsed; a private copy that may be changed and returned.
    :returns: the canonical document, or None to leave the body as it is.
    :raises gateway.InvalidValue: for a value that an admin of the identity provider must mend.
    """


@hookspec(firstresult=True)
def gateway_map_patch(
    connection: Connection, resource_type: ResourceType, operations: list[Json], current: Json
) -> list[Json] | None:
    """Translate the operations of a PATCH to plain RFC 7644 operations.

    Narrowed. Stops at the first answer. The default takes the operations as they are.

    :param connection: the connection that received them, with its settings.
    :param resource_type: `User` or `Group`.
    :param operations: the `Operations` of the message, each with lower-case `op`; a private copy.
    :param current: the stored document (of a group: without its members), so that «add if missing» can be said.
    :returns: the canonical operations, or None to leave them as they are.
    """


@hookspec(firstresult=True)
def gateway_map_filter(connection: Connection, resource_type: ResourceType, filter: str) -> str | None:
    """Translate the filter of a list to a plain RFC 7644 filter.

    Narrowed. Stops at the first answer. The default takes the filter as it is. The result is parsed and checked like
    any stranger's filter. Not asked about a filter that is too long to be read, nor about a list of several types.

    :param connection: the connection that was asked for the list, with its settings.
    :param resource_type: `User` or `Group`.
    :param filter: the text as it came, at most 8,192 characters; it may be no filter at all.
    :returns: the canonical filter, or None to leave it as it is.
    """


@hookspec
def gateway_resolve_groups(connection: Connection, user: User) -> Iterable[GroupGrant] | None:
    """List the application groups that this user should be in because of its attributes.

    Asked of every plugin except those of other identity providers; the answers are united, and recomputed whole on
    each write of the user: a group that is no longer listed is left. The default answers by the connection's Map to
    groups. A group that the organization does not have is not made: the line in the activity is `partial` and names it.

    :param connection: the connection that manages the user.
    :param user: the user as it will be stored.
    :returns: grants, or None.
    """


@hookspec
def gateway_check_entitlement(organization: Organization, feature: str) -> Verdict | None:
    """Judge whether the organization may use a feature of the gateway. Today's only feature is `scim`.

    Asked of every plugin. Any denial wins, and its sentence is shown to the admin; no answer allows. A crash refuses
    the request with 503, so that the identity provider tries again.

    :param organization: with its plan, billing and seats.
    :param feature: the name of the feature.
    :returns: a verdict, or None.
    """


@hookspec
def gateway_check_seats(organization: Organization, request: SeatRequest) -> SeatVerdict | None:
    """Judge how many seats the organization may have in use once this request was granted.

    Asked of every plugin, before the transaction; the core then takes the seat in one statement that holds the lowest
    ceiling, so the count is exact however many requests arrive together. No answer means no limit. A crash refuses
    the request with 503, so that the identity provider tries again. The same question gets the same answer.

    :param organization: with its seats (`used` is what was in use when it was read) and billing.
    :param request: who is about to take how many seats.
    :returns: the ceiling and the sentence for when it is too low, or None.
    """


@hookspec
def gateway_guard_change(organization: Organization, user: User, change: Change) -> Verdict | None:
    """Judge whether an identity provider may take this from a user: a last owner, for example, must stay.

    Asked of every plugin, before the transaction, and only where a request would deactivate, delete or rename a user
    who is here. Any denial wins, and its sentence is shown to the admin of the identity provider with 403; no answer
    allows. A crash refuses the request with 503, so that the identity provider tries again. Admins of the application
    are not asked about.

    :param organization: with its plan, billing and seats.
    :param user: the user as it is stored.
    :param change: `deactivate`, `delete` or `rename` (another userName).
    :returns: a verdict, or None.
    """


# After a change was committed ---------------------------------------------------------------------------------------


@hookspec
def gateway_provisioned(event: Event) -> None:
    """Handle one committed change. Events arrive in the order of their organization, each at least once.

    Each plugin is called separately, after the transaction and apart from the request; when it raises, the event is
    delivered again later, and the identity provider is not affected.

    :param event: the change, the same that the events feed shows.
    """
