"""What an organization allows for addresses outside of its verified domains.

There is no policy that asks an admin first: a user who does not exist yet cannot be shown to one, and cannot wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.provisioning.caller import Caller, IdpCaller
from gateway.provisioning.documents import primary_email
from gateway.provisioning.domains.names import domain_of
from gateway.scim.errors import Conflict, Forbidden
from gateway.scim.json_text import Json, excerpt
from gateway.store import Store

ALLOW, REFUSE = OUTSIDE_POLICIES = ("allow", "refuse")
#: Names that a sentence lists.
_LISTED = 10


def check_addresses(store: Store, caller: Caller, document: Json, before: Json | None) -> None:
    """Refuse an identity provider's new address (userName, primary e-mail) outside of the verified domains.

    `before` is the stored document, whose addresses stay allowed; None for a new user. A userName that is no address
    is not compared. Raises Forbidden.
    """
    organization = caller.organization
    if organization.outside_domains != REFUSE or not isinstance(caller, IdpCaller):
        return
    known = set(_addresses(before)) if before else set()
    new = [address for address in _addresses(document) if address not in known]
    if not new:
        return
    verified = store.domains.verified(organization.id)
    for address in new:
        domain = domain_of(address)
        if domain is not None and domain not in verified:
            raise Forbidden(
                f"The address {excerpt(address)} is outside of the verified domains of {organization.name}:"
                f" {_list(sorted(verified))}. Give the person an address in one of them in the identity provider, or"
                f" have an admin verify {domain[:253]} or allow other domains: {caller.console_url('domains')}.",
                page="domains",
            )


def check_policy(store: Store, organization_id: int, policy: Any) -> None:
    """Refuse a policy that would let nobody in. Raises Conflict."""
    if policy == REFUSE and not store.domains.verified(organization_id):
        raise Conflict(
            "No domain is verified yet, so every address would be outside and refused. Verify a domain first."
        )


def _list(names: list[str]) -> str:
    if not names:
        return "none is verified"
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _addresses(document: Json) -> Iterator[str]:
    yield document["userName"]
    if email := primary_email(document):
        yield email
