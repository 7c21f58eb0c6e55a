"""What connections are warned of, in words, each with the page of the console where it is mended."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from flask import url_for

from gateway.provisioning.diagnostics.pages import PAGES
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
    #: When it ends by itself, 0 where it does not.
    until: int = 0


#: By the name of the check.
WORDS = {
    "plan": "The plan has no provisioning",
    "single_sign_on": "The single sign-on certificate is missing or ends",
    "provisioning": "The plugin of the identity provider is missing",
    "token": "There is no token, or the last one ends soon",
    "seats": "All seats are in use",
    "domain": "A domain is no longer verified",
    "webhook": "A webhook fails",
    "no_token": "Requests come without a token",
    "wrong_token": "Requests come with a wrong token",
    "foreign_token": "Requests come with a token of another connection",
    "old_token": "Requests come with a token that has expired or was revoked",
    "base_url": "Requests come to a wrong base URL",
    "unencrypted": "The identity provider calls without encryption",
    "identity_provider": "Another identity provider than expected calls",
    "same_refusal": "The same refusal meets many people",
    "last_success": "No call has succeeded for a while",
    "map_to_groups": "No rule of Map to groups covers values of some people",
    "waiting_members": "Pushed groups wait for members who are not provisioned",
    "removals_held": "Removals are held until somebody decides",
    "removals_rejected": "Removals were rejected and are refused: assign the people again, or allow them",
    "adoption_waiting": "Accounts wait for an admin to confirm their adoption",
    "paused": "The connection is paused",
}
#: Causes that every connection of an organization shares.
_OF_ORGANIZATIONS = frozenset({"plan", "single_sign_on", "seats", "domain", "webhook", "adoption_waiting"})


def describe_troubles(organization_uid: str, records: Iterable[TroubleRecord]) -> list[ShownTrouble]:
    """Return warnings in words; one that all connections share is there once."""
    shown: dict[tuple[str, str], ShownTrouble] = {}
    for record in records:
        of = "" if record.cause in _OF_ORGANIZATIONS else record.connection_uid
        shown.setdefault((record.cause, of), _describe(organization_uid, record))
    return list(shown.values())


def _describe(organization_uid: str, record: TroubleRecord) -> ShownTrouble:
    check_url = url_for(
        "console.show_set_up",
        organization=organization_uid,
        check="yes",
        connection=record.connection_uid,
        _anchor="check",
    )
    words = WORDS.get(record.cause) or record.cause.replace("_", " ").capitalize()
    name = None if record.cause in _OF_ORGANIZATIONS else record.connection_name
    page = PAGES.get(record.cause)
    # The check says what to do where no one page mends all that it finds, and where a plugin knows it.
    url = page.locate(organization_uid, record.connection_uid) if page else check_url
    return ShownTrouble(record.since, name, words, url, check_url, record.until)
