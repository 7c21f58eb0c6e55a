"""Names of domains as they are stored and compared: A-labels in lower case (RFC 5890, 2.3.2.1).

Names below which anybody registers a name or has a mailbox are refused, for nobody holds all addresses in them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.scim.errors import InvalidValue
from gateway.scim.json_text import excerpt

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

#: Where the record of a domain stands.
CHALLENGE = "_gateway-challenge"
#: Characters of a name in A-labels (RFC 1035, 2.3.4), of which the record's own label takes some.
LONGEST = 253 - len(CHALLENGE) - 1
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.ASCII)
_FREE_MAIL = Path(__file__).with_name("free_mail.txt")


def read_name(text: str) -> str:
    """Return a domain's name as it is stored. Raises InvalidValue, which says what is wrong with it."""
    given = text.strip().rstrip(".")
    if "@" in given or "/" in given or ":" in given:
        raise InvalidValue(
            f"{excerpt(text)} is no name of a domain: give what stands behind the @ of an address alone, as in"
            " acme.test."
        )
    name = to_a_labels(given)
    if name is None or "." not in name or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise InvalidValue(f"{excerpt(text)} is no name of a domain. Give one as in acme.test.")
    if len(name) > LONGEST:
        raise InvalidValue(
            f"{excerpt(text)} is too long: a name has at most {LONGEST} characters, so that its record in the DNS has"
            " one too."
        )
    if name.rpartition(".")[2].isdigit():
        raise InvalidValue(f"{excerpt(text)} is an address of a computer and no name of a domain.")
    if name in _free_mail_names():
        raise InvalidValue(
            f"Anybody can have an address in {name}, so no organization can verify it. Add a domain that is the"
            " organization's own."
        )
    if _public_suffixes().is_public(name):
        raise InvalidValue(
            f"Anybody can register names below {name}, so no organization can verify it. Add the organization's own"
            f" name below it, as in acme.{name}."
        )
    return name


def to_a_labels(text: str) -> str | None:
    """Return a name in A-labels and lower case; None for what is no name."""
    if text.isascii():
        return text.lower() or None
    try:
        return text.lower().encode("idna").decode("ascii").lower()
    except UnicodeError:
        return None


def domain_of(address: str) -> str | None:
    """Return the name of the domain of an e-mail address; None for what is no address."""
    local, at, domain = address.strip().rpartition("@")
    return to_a_labels(domain.rstrip(".")) if local and at else None


@lru_cache(maxsize=1)
def _free_mail_names() -> frozenset[str]:
    lines = _FREE_MAIL.read_text("ascii").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


@lru_cache(maxsize=1)
def _public_suffixes() -> PublicSuffixList:
    """Return the list that the library brings; it is not fetched."""
    from publicsuffixlist import PublicSuffixList  # late: it takes milliseconds and megabytes

    # A name of which the list knows nothing, as acme.test, is no suffix; one label alone is refused before.
    return PublicSuffixList(accept_unknown=False)
