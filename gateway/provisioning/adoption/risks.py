"""What speaks against letting a connection manage a user whom nobody manages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.provisioning.documents import primary_email
from gateway.provisioning.domains.names import domain_of
from gateway.scim.json_text import Json, fold
from gateway.store.records import UserRecord

AUTOMATIC, VERIFIED, ASK = MODES = "automatic", "verified", "ask"
UNVERIFIED_DOMAIN, PROTECTED, DIFFERS, CANDIDATES, INACTIVE = RISKS = (
    "domain_not_verified", "protected", "address_differs", "two_candidates", "inactive"
)  # fmt: skip
_SENTENCES: Mapping[str, str] = {
    UNVERIFIED_DOMAIN: "its address is in no verified domain of the organization",
    PROTECTED: "it is protected",
    DIFFERS: "its userName and its primary e-mail address are not the same, or the identity provider sends others",
    CANDIDATES: "another user has one of its addresses",
    INACTIVE: "it is not active",
}


def describe(risks: Iterable[str]) -> str:
    """Return risks in words, for the end of a sentence."""
    return ", and ".join(_SENTENCES[risk] for risk in risks)


def primary_address(document: Json) -> str:
    """Return the address of a user: the primary e-mail address, the first one where none is, else the userName."""
    return fold(primary_email(document) or document["userName"])


def addresses(document: Json) -> list[str]:
    """Return the addresses of a user, folded: its e-mail addresses, and its userName where that is one."""
    found = {fold(entry["value"]) for entry in document.get("emails", ()) if entry.get("value")}
    name = fold(document["userName"])
    return sorted(found | {name} if "@" in name else found)


def find_risks(
    user: UserRecord, document: Json, sent: Json, domains: frozenset[str], shared: bool = False
) -> list[str]:
    """Return what speaks against an adoption.

    `document` is what is stored of the user, `sent` what it would become: an address that changes in the same request
    proves nothing. `domains` are verified, `shared` says that others have an address of the user.
    """
    address, name = primary_address(document), fold(document["userName"])
    sent_name = fold(sent["userName"])
    differs = address != name or sent_name != name or primary_address(sent) != address
    found = {
        UNVERIFIED_DOMAIN: domain_of(address) not in domains,
        PROTECTED: bool(user.protected),
        DIFFERS: differs,
        CANDIDATES: shared,
        INACTIVE: not user.active,
    }
    return [risk for risk in RISKS if found[risk]]
