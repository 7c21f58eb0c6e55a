"""No way inside: URLs and names that lead to other addresses than public ones are refused before any connection."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.provisioning.webhooks.sender import Sender, check_url
from gateway.scim.errors import InvalidValue

#: Hosts as they stand in a URL, and words of the reason that is given.
INSIDE = {
    "127.0.0.1": "loopback", "127.255.255.254": "loopback", "127.1": "loopback", "2130706433": "loopback",
    "0177.0.0.1": "loopback", "0x7f000001": "loopback", "0x7f.1": "loopback", "017700000001": "loopback",
    "[::1]": "loopback", "[0:0:0:0:0:0:0:1]": "loopback", "[::ffff:127.0.0.1]": "written as IPv6",
    "[::ffff:7f00:1]": "written as IPv6", "[::ffff:8.8.8.8]": "written as IPv6", "[::127.0.0.1]": "private",
    "[::]": "private", "0.0.0.0": "private", "0": "private", "10.0.0.1": "private", "172.16.0.1": "private",
    "192.168.1.1": "private", "3232235777": "private", "0300.0250.1.1": "private", "198.18.0.1": "private",
    "192.0.2.1": "private", "203.0.113.7": "private", "240.0.0.1": "private", "255.255.255.255": "private",
    "100.64.0.1": "carrier", "224.0.0.1": "multicast", "[ff02::1]": "multicast", "[ff0e::1]": "multicast",
    "169.254.1.1": "link-local", "[fe80::1]": "link-local", "169.254.169.254": "metadata", "2852039166": "metadata",
    "100.100.100.200": "metadata", "168.63.129.16": "metadata", "[fd00:ec2::254]": "metadata",
    "[fd12:3456::1]": "private", "[fec0::1]": "private", "[2001:db8::1]": "private", "[3fff::1]": "private",
    "[5f00::1]": "private", "[4000::1]": "private", "[2002:7f00:1::]": "6to4", "192.88.99.1": "6to4",
    "[64:ff9b::7f00:1]": "NAT64", "[64:ff9b:1::a00:1]": "NAT64", "[2001:0:7f00:1::]": "protocol",
    "192.0.0.8": "protocol", "localhost": "loopback", "localhost.": "loopback", "LOCALHOST": "loopback",
}  # fmt: skip
PUBLIC = ("93.184.216.34", "8.8.8.8", "2606:2800:220:1::1")


class Resolver:
    """`socket.getaddrinfo` for names below acme.test: each call gives the next answer of a name, the last one again."""

    def __init__(self) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []
        self._real = socket.getaddrinfo

    def __call__(self, host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        if host not in self.answers:
            assert not host.endswith("acme.test") or options.get("flags"), f"{host} is unknown"
            return self._real(host, port, *args, **options)
        if options.get("flags", 0) & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        self.asked.append(host)
        answers = self.answers[host]
        now = answers.pop(0) if len(answers) > 1 else answers[0]
        return [entry for each in now for entry in self._real(each, port, type=socket.SOCK_STREAM)]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    made = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    return made


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses to which a connection was begun; each refuses."""
    targets: list[str] = []

    def connect(self: socket.socket, target: Any) -> None:
        targets.append(target[0])
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket.socket, "connect", connect)
    return targets


@pytest.fixture
def sender() -> Iterator[Sender]:
    made = Sender(["10.1.0.0/16"])
    yield made
    made.close()


@pytest.mark.parametrize("operator", [False, True])
def test_hosts_that_lead_inside_are_refused(
    sender: Sender, resolver: Resolver, connected: list[str], operator: bool
):
    resolver.answers |= {name: [["127.0.0.1"]] for name in ("localhost", "localhost.")}
    for host, reason in INSIDE.items():
        outcome = sender.post(f"https://{host}/hook", b"{}", {}, operator)
        assert reason in (outcome.error or ""), (host, outcome)
        if not host.casefold().startswith("localhost"):
            with pytest.raises(InvalidValue, match=reason):
                check_url(f"https://{host}/hook", ["10.1.0.0/16"], operator)
    assert connected == []


@pytest.mark.parametrize("operator", [False, True])
def test_names_that_lead_inside_are_refused_at_the_connection(
    sender: Sender, resolver: Resolver, connected: list[str], operator: bool
):
    addresses = {host.strip("[]"): reason for host, reason in INSIDE.items() if "local" not in host.lower()}
    for number, (address, reason) in enumerate(addresses.items()):
        name = f"metadata{number}.acme.test"
        resolver.answers[name] = [[address]]
        check_url(f"https://{name}/hook", [], operator)
        outcome = sender.post(f"https://{name}/hook", b"{}", {}, operator)
        error = outcome.error or ""
        assert reason in error, (address, outcome)
        # An organization learns no address of our names.
        assert name in error, error
        assert operator or address not in error, error
    assert connected == []


def test_a_name_is_resolved_once_and_the_checked_address_is_the_one_that_is_connected_to(
    sender: Sender, resolver: Resolver, connected: list[str]
):
    resolver.answers["changing.acme.test"] = [["93.184.216.34"], ["127.0.0.1"]]
    first, second = (sender.post("https://changing.acme.test/hook", b"{}", {}, False) for _ in range(2))
    assert first.error == "No connection to changing.acme.test was made: Connection refused."
    assert second.error == "changing.acme.test leads to a loopback address; an endpoint has a public address."
    assert resolver.asked == ["changing.acme.test"] * 2
    assert connected == ["93.184.216.34"]


def test_a_name_with_one_private_address_among_public_ones_is_refused(
    sender: Sender, resolver: Resolver, connected: list[str]
):
    resolver.answers["mixed.acme.test"] = [["8.8.8.8", "10.0.0.1"]]
    assert "private" in (sender.post("https://mixed.acme.test/", b"{}", {}, False).error or "")
    assert connected == []


def test_all_public_addresses_of_a_name_are_tried(sender: Sender, resolver: Resolver, connected: list[str]):
    resolver.answers["dual.acme.test"] = [list(PUBLIC)]
    assert "Connection refused" in (sender.post("https://dual.acme.test/", b"{}", {}, False).error or "")
    assert connected == list(PUBLIC)


def test_an_operator_reaches_its_networks_by_http_on_any_port_and_public_addresses_by_https(
    sender: Sender, resolver: Resolver, connected: list[str]
):
    resolver.answers["application.acme.test"] = [["10.1.2.3"]]
    resolver.answers["public.acme.test"] = [["93.184.216.34"]]
    reached = {
        "http://application.acme.test:8000/": True, "https://application.acme.test:9000/": True,
        "http://10.1.2.3/": True, "http://10.2.0.1/": False, "https://10.2.0.1/": False,
        "https://public.acme.test:9000/": True, "http://public.acme.test/": False, "http://8.8.8.8/": False,
    }  # fmt: skip
    for url, expected in reached.items():
        connected.clear()
        error = sender.post(url, b"{}", {}, True).error or ""
        assert bool(connected) == expected, (url, error)
        assert expected or "GATEWAY_WEBHOOK_ALLOW" in error, (url, error)


def test_no_network_of_the_operator_opens_the_metadata_service(connected: list[str]):
    sender = Sender(["0.0.0.0/0", "::/0"])
    for host in ("169.254.169.254", "[fd00:ec2::254]", "168.63.129.16"):
        assert "metadata" in (sender.post(f"http://{host}/latest", b"{}", {}, True).error or "")
    sender.close()
    assert connected == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://hooks.acme.test/", "begins with http://"),
        ("https://hooks.acme.test:22/", "the port 22"),
        ("https://hooks.acme.test:0/", "no host"),
        ("https://hooks.acme.test:99999/", "cannot be read"),
        ("https://hooks.acme.test:/", "no host"),
        ("https://user:secret@hooks.acme.test/", "names a user"),
        ("https://acme.test@127.0.0.1/", "names a user"),
        ("https://acme.test\\@127.0.0.1/", "backslash"),
        ("https://acme.test /", "space"),
        ("https://acme.test/\r\nX: y", "space"),
        ("https://höoks.acme.test/", "outside ASCII"),
        ("https://acme.test/#part", "behind #"),
        ("https://%31%32%37.0.0.1/", "no host"),
        ("https://[fe80::1%25eth0]/", "no host"),
        ("https:///hook", "no host"),
        ("https://", "no host"),
        ("ftp://acme.test/", "must begin with https://"),
        ("file:///etc/passwd", "must begin with https://"),
        ("//acme.test/", "must begin with https://"),
        ("", "must begin with https://"),
        ("https://acme.test/" + "x" * 2000, "2018 characters"),
    ],
)
def test_urls_that_no_endpoint_of_an_organization_has(sender: Sender, url: str, reason: str):
    with pytest.raises(InvalidValue) as refused:
        check_url(url, [], False)
    assert reason in refused.value.detail
    assert sender.post(url, b"{}", {}, False).error == refused.value.detail


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.acme.test/a?b=c",
        "https://hooks.acme.test:8443/",
        "https://8.8.8.8/",
        "https://[2606::1]/",
    ],
)
def test_public_urls_are_accepted(url: str):
    check_url(url, [], False)
