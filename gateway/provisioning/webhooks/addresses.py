"""Which URLs and addresses an endpoint may have: public ones, and those in networks that the operator allows."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway.scim.errors import InvalidValue

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Characters of the longest URL.
URL_LIMIT = 2000
#: Ports of an organization's endpoint, so that a webhook cannot speak to other services of a public host.
ORGANIZATION_PORTS = (443, 8443)
_HOST_AND_PORT = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?")
#: Where clouds hand out credentials of the machine; no setting allows them. 168.63.129.16 (Azure) is a public address.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254"
    )
)  # fmt: skip
#: Networks with a name of their own, narrower ones first (IANA's registries of special-purpose addresses, RFC 6890).
_KINDS = tuple(
    (ipaddress.ip_network(network), kind)
    for network, kind in (
        ("127.0.0.0/8", "a loopback address"),
        ("::1/128", "a loopback address"),
        ("169.254.0.0/16", "a link-local address"),
        ("fe80::/10", "a link-local address"),
        ("100.64.0.0/10", "an address behind a carrier's NAT"),
        ("224.0.0.0/4", "a multicast address"),
        ("ff00::/8", "a multicast address"),
        ("192.88.99.0/24", "a 6to4 address"),
        ("2002::/16", "a 6to4 address"),
        ("64:ff9b::/96", "a NAT64 address"),
        ("64:ff9b:1::/48", "a NAT64 address"),
        ("::ffff:0:0/96", "an IPv4 address written as IPv6"),
        ("2001::/23", "an address of a protocol"),
        ("192.0.0.0/24", "an address of a protocol"),
        ("3fff::/20", "a private or reserved address"),
    )
)
#: All that was ever given out of IPv6 to be routed (RFC 4291, 2.4; IANA: IPv6 Global Unicast Address Assignments).
_GLOBAL_IPV6 = ipaddress.ip_network("2000::/3")


class Policy(NamedTuple):
    """What one endpoint may reach. An operator's reaches private addresses in `allow`, by http and on any port."""

    allow: tuple[Network, ...]
    private_allowed: bool


def policy(allow: Sequence[str], private_allowed: bool) -> Policy:
    """Make the policy of an endpoint; `allow` has networks such as `10.0.0.0/8`. Raises ValueError for another text."""
    return Policy(tuple(ipaddress.ip_network(text) for text in allow), private_allowed)


def refusal(address: Address, scheme: str, policy: Policy) -> str | None:
    """Return what forbids a connection to an address, as the end of a sentence that names the host; None if nothing.

    The address itself is only named to an operator: an organization must not learn our names' addresses.
    """
    named = f"{address}, " if policy.private_allowed else ""
    if address in _METADATA:
        return f"leads to {named}an address of a cloud's metadata service, which no endpoint may have"
    if policy.private_allowed and any(address in network for network in policy.allow):
        return None
    kind = _special_kind(address)
    if kind is None and scheme == "https":
        return None
    if not policy.private_allowed:
        return f"leads to {kind}; an endpoint has a public address" if kind else "must be reached by https"
    setting = "GATEWAY_WEBHOOK_ALLOW names no network with it"
    if kind is None:
        return f"leads to {address}, which must be reached by https: {setting}"
    return f"leads to {address}, {kind}, and {setting}"


def _special_kind(address: Address) -> str | None:
    """Return what an address is that does not lead to the public Internet."""
    for network, kind in _KINDS:
        if address in network:
            return kind
    if not address.is_global or address.is_reserved:
        return "a private or reserved address"
    if address.version == 6 and address not in _GLOBAL_IPV6:
        return "a private or reserved address"
    return None


def check_url(url: str, allow: Sequence[str], private_allowed: bool) -> None:
    """Refuse a URL that no endpoint can have; of addresses only those that stand in it are looked at.

    `private_allowed`: it is an operator's. What a name leads to is checked at each connection. Raises InvalidValue.
    """
    host, port, scheme = _split(url)
    if not private_allowed and scheme != "https":
        raise InvalidValue(f"url begins with {scheme}://; the URL of an endpoint begins with https://.")
    if not private_allowed and port not in ORGANIZATION_PORTS:
        raise InvalidValue(f"url has the port {port}; an endpoint has the port 443 or 8443.")
    try:
        # The forms that a resolver reads as an address without asking: also 2130706433, 0x7f.1 and 0177.0.0.1.
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except OSError:
        return
    against = refusal(ipaddress.ip_address(str(found[0][4][0])), scheme, policy(allow, private_allowed))
    if against:
        raise InvalidValue(f"url has the host {host}, which {against}.")


def _split(url: str) -> tuple[str, int, str]:
    """Return host, port and scheme of a URL without user, fragment and characters that readers understand in two ways.

    Raises InvalidValue.
    """
    if len(url) > URL_LIMIT:
        raise InvalidValue(f"url has {len(url)} characters; at most {URL_LIMIT} are kept.")
    if not re.fullmatch(r"[!-\[\]-~]*", url):
        raise InvalidValue(
            "url holds a space, a backslash or a character outside ASCII; write it percent-encoded, and a name of a"
            " host as xn--…"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidValue(f"url cannot be read: {error}.") from None
    if parts.scheme not in ("http", "https"):
        raise InvalidValue("url must begin with https://.")
    if "@" in parts.netloc:
        raise InvalidValue(
            "url names a user before the host, which would be sent in each message; messages are signed instead."
        )
    if "#" in url:
        raise InvalidValue("url has a part behind #, which is never sent; leave it out.")
    host = parts.hostname if _HOST_AND_PORT.fullmatch(parts.netloc) else None
    if not host or port == 0:
        raise InvalidValue(
            "url has no host that a connection can be made to, as in https://hooks.acme.test/scim."
        )
    return host, port or (443 if parts.scheme == "https" else 80), parts.scheme
