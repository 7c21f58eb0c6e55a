"""What connections are warned of, in words, each with the page of the console where it is mended."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from flask import url_for

from gateway.store.records import TroubleRecord


class ShownTrouble(NamedTuple):
    """A warning as it is shown. `url`: where it is mended; `check_url`: where the connection is checked again.

    `connection` is its name, None where the warning is about the organization.
    """

    since: int
    connection: str | None
    words: str
    url: str
    check_url: str


class _Words(NamedTuple):
    words: str
    #: The page where it is mended, "" where the check says what to do; and the place on it.
    endpoint: str = ""
    place: str | None = None


#: By the name of the check.
_CAUSES = {
    "plan": _Words("The plan has no provisioning", "show_set_up", "plan"),
    "single_sign_on": _Words("The single sign-on certificate is missing or ends", "show_set_up", "sso"),
    "provisioning": _Words("The plugin of the identity provider is missing"),
    "token": _Words("There is no token, or the last one ends soon", "show_tokens"),
    "seats": _Words("All seats are in use", "show_seats"),
    "domain": _Words("A domain is no longer verified", "show_domains"),
    "webhook": _Words("A webhook fails", "show_webhooks_of_organization"),
    "no_token": _Words("Requests come without a token", "show_tokens"),
    "wrong_token": _Words("Requests come with a wrong token", "show_tokens"),
    "foreign_token": _Words("Requests come with a token of another connection", "show_tokens"),
    "old_token": _Words("Requests come with a token that has expired or was revoked", "show_tokens"),
    "base_url": _Words("Requests come to a wrong base URL", "show_set_up", "provisioning"),
    "unencrypted": _Words("The identity provider calls without encryption", "show_set_up", "provisioning"),
    "identity_provider": _Words("Another identity provider than expected calls"),
    "same_refusal": _Words("The same refusal meets many people", "show_activity"),
    "last_success": _Words("No call has succeeded for a while", "show_set_up", "test"),
    "map_to_groups": _Words("No rule of Map to groups covers values of some people", "show_mapping"),
    "waiting_members": _Words("Pushed groups wait for members who are not provisioned", "show_groups"),
    "removals_held": _Words("Removals are held until somebody decides", "show_safety"),
    "adoption_waiting": _Words("Accounts wait for an admin to confirm their adoption", "show_adoption"),
    "paused": _Words("The connection is paused", "show_safety"),
}
#: Causes that every connection of an organization shares.
_OF_ORGANIZATIONS = frozenset({"plan", "single_sign_on", "seats", "domain", "webhook", "adoption_waiting"})
#: Pages that show one connection.
_OF_CONNECTIONS = frozenset({"show_set_up", "show_tokens", "show_activity", "show_mapping"})


def describe_troubles(organization_uid: str, records: Iterable[TroubleRecord]) -> list[ShownTrouble]:
    """Return warnings in words; one that all connections share is there once."""
    shown: dict[tuple[str, str], ShownTrouble] = {}
    for record in records:
        of = "" if record.cause in _OF_ORGANIZATIONS else record.connection_uid
        shown.setdefault((record.cause, of), _describe(organization_uid, record))
    return list(shown.values())


def _describe(organization_uid: str, record: TroubleRecord) -> ShownTrouble:
    # One that only a plugin knows leads to the check, which says what to do.
    of_connection: dict[str, Any] = {"connection": record.connection_uid}
    check_url = url_for(
        "console.show_set_up", organization=organization_uid, check="yes", _anchor="check", **of_connection
    )
    found = _CAUSES.get(record.cause) or _Words(record.cause.replace("_", " ").capitalize())
    name = None if record.cause in _OF_ORGANIZATIONS else record.connection_name
    if not found.endpoint:
        return ShownTrouble(record.since, name, found.words, check_url, check_url)
    arguments = of_connection if found.endpoint in _OF_CONNECTIONS else {}
    url = url_for(
        f"console.{found.endpoint}", organization=organization_uid, _anchor=found.place, **arguments
    )
    return ShownTrouble(record.since, name, found.words, url, check_url)
