"""Connections of the sender: to addresses that were checked, and no longer than the time that an attempt has.

`requests` and `urllib3` limit each call of a socket, so an endpoint that sends one byte a second would be read for
ever; and `requests_hardened` resolves a name at each request, without a limit, and tries one address. So names are
resolved and checked here, once for each connection, and each call of a socket gets what is left of the attempt.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import certifi
import requests
import urllib3.exceptions
from requests_hardened import Config, HTTPSession
from requests_hardened.ip_filter import InvalidIPAddress, get_ip_address
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from gateway.provisioning.webhooks.addresses import Address, Policy, refusal

#: Seconds for finding the address of a name, for connecting and for the handshake of TLS, together.
CONNECT_SECONDS = 5.0
#: Seconds after which a kept connection is made anew, so that a name that moved is followed.
KEPT_SECONDS = 300.0
#: Addresses of a name that are tried, and connections that a thread keeps open to different endpoints.
ADDRESS_LIMIT, KEPT_CONNECTIONS = 4, 64
#: What an endpoint can make the libraries raise; exceptions of `requests` are OSErrors.
FAILURES = (OSError, urllib3.exceptions.HTTPError, HTTPException, ValueError)
#: Names that are resolved at one time in a process: a thread that asks a resolver cannot be ended.
_resolving = threading.BoundedSemaphore(16)


class NotReachable(Exception):
    """No connection was made; the sentence says why."""


class Attempt(threading.local):
    """What the sockets of a thread may do in the attempt that it makes."""

    policy = Policy((), False)
    #: Monotonic seconds.
    deadline = 0.0
    #: Whether this attempt made a connection, and did not use one that was kept.
    connected = False

    def seconds_left(self) -> float:
        """Return the seconds until the deadline. Raises TimeoutError after it."""
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the attempt is over")
        return seconds


attempt = Attempt()


class _LimitedSocket(socket.socket):
    """A socket whose calls end with the attempt. `sendall` has one limit for all of its bytes already."""

    def recv_into(self, *args: Any) -> int:
        self.settimeout(attempt.seconds_left())
        return super().recv_into(*args)

    def sendall(self, *args: Any) -> None:
        self.settimeout(attempt.seconds_left())
        super().sendall(*args)


class _LimitedTlsSocket(ssl.SSLSocket):
    """The same with TLS, where `sendall` calls `send` for each piece."""

    def recv_into(self, *args: Any) -> int:
        self.settimeout(attempt.seconds_left())
        return super().recv_into(*args)

    def send(self, *args: Any) -> int:
        self.settimeout(attempt.seconds_left())
        return super().send(*args)


class _CheckedConnection(HTTPConnection):
    """Connects to an address of its host, after all of them were checked."""

    _connected_at = 0.0

    def _new_conn(self) -> socket.socket:
        until = min(time.monotonic() + CONNECT_SECONDS, attempt.deadline)
        scheme = "https" if isinstance(self, HTTPSConnection) else "http"
        # As given, with a dot at its end if it has one: a name without is looked for in the machine's own domain too.
        host = self._dns_host.strip("[]")
        found = _resolve(host, self.port, until)
        for address, _ in found:
            _check(address, scheme, host)
        sock = _connect(found[:ADDRESS_LIMIT], host, until)
        sock.settimeout(max(0.001, until - time.monotonic()))  # for the handshake of TLS, which follows
        attempt.connected, self._connected_at = True, time.monotonic()
        return sock

    @property
    def is_connected(self) -> bool:
        return super().is_connected and time.monotonic() - self._connected_at < KEPT_SECONDS


class _CheckedTlsConnection(_CheckedConnection, HTTPSConnection):
    pass


class _CheckedPool(HTTPConnectionPool):
    ConnectionCls = _CheckedConnection


class _CheckedTlsPool(HTTPSConnectionPool):
    ConnectionCls = _CheckedTlsConnection


class _Adapter(requests.adapters.HTTPAdapter):
    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(pool_connections=KEPT_CONNECTIONS, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, ssl_context=self._context)
        self.poolmanager.pool_classes_by_scheme = {"http": _CheckedPool, "https": _CheckedTlsPool}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        # The context has its certificates; `requests` would read the file of certifi at each connection.
        conn.cert_reqs = "CERT_REQUIRED"


class Session(HTTPSession):
    """A session that has no memory: no redirect, no cookie, nothing of the environment."""

    def __init__(self, context: ssl.SSLContext) -> None:
        limits = (CONNECT_SECONDS, CONNECT_SECONDS)
        super().__init__(
            Config(
                # At the connection instead, which also allows the networks of the operator.
                ip_filter_enable=False,
                ip_filter_allow_loopback_ips=False,
                never_redirect=True,
                default_timeout=limits,
            )
        )
        self.trust_env = False
        self.headers = {"Accept-Encoding": "identity", "User-Agent": "provisioning-gateway"}
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(context))

    def post_bytes(self, url: str, body: bytes, headers: dict[str, str], seconds: float) -> requests.Response:
        """Post a body, and return the answer once its headers have come; raises what `requests` raises."""
        answer: requests.Response = self.post(url, data=body, headers=headers, stream=True, timeout=seconds)
        return answer

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Find no redirect: `requests` would read all of one's body and parse its Location, though not follow it."""


def tls_context() -> ssl.SSLContext:
    """Make a context that trusts what the machine trusts (OpenSSL: `SSL_CERT_FILE`), and the list of certifi."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    context.sslsocket_class = _LimitedTlsSocket
    return context


def _check(address: Address, scheme: str, host: str) -> None:
    """Refuse an address that the endpoint may not have. Raises NotReachable."""
    against = refusal(address, scheme, attempt.policy)
    if against:
        raise NotReachable(f"{host} {against}.")
    if attempt.policy.private_allowed and any(address in network for network in attempt.policy.allow):
        return
    try:
        get_ip_address(str(address), 0, allow_loopback=False)
    except InvalidIPAddress:
        raise NotReachable(f"{host} leads to a private or reserved address.") from None


def _resolve(host: str, port: int, until: float) -> list[tuple[Address, tuple[Any, ...]]]:
    """Return the addresses of a name, in the order to try, each as it is checked and as `connect` takes it.

    The resolver of the system has no limit of its own that we could set, so it is waited for until `until` (monotonic).
    Raises NotReachable.
    """
    if not _resolving.acquire(blocking=False):
        raise NotReachable(f"{host} was not looked up: the resolver has not answered for many other names.")
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.append(error)
        finally:
            _resolving.release()

    thread = threading.Thread(target=ask, name="gateway-resolver", daemon=True)
    thread.start()
    thread.join(max(0.0, until - time.monotonic()))
    answer = answers[0] if answers else TimeoutError("the resolver did not answer in time")
    if isinstance(answer, Exception):
        raise NotReachable(f"{host} has no address: {getattr(answer, 'strerror', None) or answer}.")
    return [(ipaddress.ip_address(str(entry[4][0])), entry[4]) for entry in answer]


def _connect(found: list[tuple[Address, tuple[Any, ...]]], host: str, until: float) -> socket.socket:
    """Connect to the first address that accepts; each gets its share of the time that is left. Raises NotReachable."""
    reason = ""
    for tried, (address, target) in enumerate(found):
        share = (until - time.monotonic()) / (len(found) - tried)
        sock = _LimitedSocket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(max(0.001, share))
            sock.connect(target)
        except OSError as error:
            sock.close()
            reason = "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
        else:
            return sock
    raise NotReachable(f"No connection to {host} was made: {reason}.")
