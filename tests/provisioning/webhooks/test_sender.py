"""One attempt over a real socket: what is sent, what is kept of the answer, and that it ends in time."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.provisioning.webhooks import connections
from gateway.provisioning.webhooks.sender import Sender
from tests.provisioning.webhooks.conftest import Endpoint, answer
from tests.support.timing import check_seconds

LOOPBACK = ["127.0.0.0/8"]
#: Seconds that an attempt of 0.3 seconds never takes, though the machine does other things too.
LONG = 15


@pytest.fixture
def sender() -> Iterator[Sender]:
    made = Sender(LOOPBACK, seconds=60)
    yield made
    made.close()


@pytest.fixture
def hasty() -> Iterator[Sender]:
    """One whose attempts end after 0.3 seconds."""
    made = Sender(LOOPBACK, seconds=0.3)
    yield made
    made.close()


def url(endpoint: Endpoint, path: str = "/hook?a=b") -> str:
    return f"http://127.0.0.1:{endpoint.port}{path}"


def test_the_body_and_headers_are_sent_as_given_and_the_connection_is_used_again(
    sender: Sender, endpoint: Endpoint
):
    body = '{"name":"zoë"}'.encode()
    for _ in range(3):
        outcome = sender.post(url(endpoint), body, {"webhook-id": "evt_1"}, True)
        assert outcome[0] == 200
        assert outcome.error is None
        assert outcome.response == "ok"
    assert endpoint.connections == 1
    head, received = endpoint.requests[0]
    assert received == body
    lines = head.split("\r\n")
    assert lines[0] == "POST /hook?a=b HTTP/1.1"
    named = dict(line.split(": ", 1) for line in lines[1:])
    assert named == {
        "Host": f"127.0.0.1:{endpoint.port}", "Content-Type": "application/json", "webhook-id": "evt_1",
        "User-Agent": "provisioning-gateway", "Accept-Encoding": "identity", "Content-Length": str(len(body)),
    }  # fmt: skip


def test_a_connection_that_the_endpoint_closed_meanwhile_is_made_anew(sender: Sender, endpoint: Endpoint):
    # The second request comes over the kept connection, and the endpoint closes it without an answer.
    endpoint.answers = [answer(200), None, answer(201)]
    assert sender.post(url(endpoint), b"1", {}, True).status == 200
    assert sender.post(url(endpoint), b"2", {}, True).status == 201
    assert [body for _, body in endpoint.requests] == [b"1", b"2", b"2"]
    # A connection that is new is not made a second time.
    endpoint.answers = [None]
    fresh = Sender(LOOPBACK, seconds=60)
    outcome = fresh.post(url(endpoint), b"3", {}, True)
    fresh.close()
    assert outcome.status is None
    assert outcome.error == "The endpoint closed the connection before it answered."
    assert [body for _, body in endpoint.requests][3:] == [b"3"]


def test_an_old_connection_is_made_anew(sender: Sender, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch):
    sender.post(url(endpoint), b"", {}, True)
    monkeypatch.setattr(connections, "KEPT_SECONDS", 0)
    sender.post(url(endpoint), b"", {}, True)
    assert endpoint.connections == 2


def test_an_organization_never_gets_a_connection_that_was_made_for_the_operator(
    sender: Sender, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.provisioning.webhooks.addresses.ORGANIZATION_PORTS", (endpoint.port,))
    assert sender.post(url(endpoint), b"", {}, True).status == 200
    outcome = sender.post(url(endpoint).replace("http:", "https:"), b"", {}, False)
    assert outcome.status is None
    assert "loopback" in (outcome.error or "")
    assert endpoint.connections == 1


def test_nothing_of_the_environment_and_no_cookie_is_used(
    sender: Sender, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    endpoint.answers = [answer(200, b"", "Set-Cookie: a=b; Path=/\r\n")]
    for _ in range(2):
        assert sender.post(url(endpoint), b"", {}, True).status == 200
    for head, _ in endpoint.requests:
        assert "cookie" not in head.lower()
        assert "authorization" not in head.lower()


def test_redirects_are_failures_that_name_the_host_and_are_never_followed(sender: Sender, endpoint: Endpoint):
    other = f"http://127.0.0.1:{endpoint.port}/other"
    for status in (301, 302, 303, 307, 308):
        endpoint.answers = [answer(status, b"moved", f"Location: {other}\r\n")]
        outcome = sender.post(url(endpoint), b"", {}, True)
        assert outcome.status == status
        assert "redirect to 127.0.0.1, which is not followed" in (outcome.error or "")
    assert len(endpoint.requests) == 5
    for location in ("http://[", "http://\\@\r\n X: y", "javascript:alert(1)", ""):
        endpoint.answers = [answer(302, b"", f"Location: {location}\r\n")]
        assert "redirect, which is not followed" in (sender.post(url(endpoint), b"", {}, True).error or "")


def test_the_begin_of_an_answer_is_kept_as_one_line_of_text(sender: Sender, endpoint: Endpoint):
    endpoint.answers = [answer(500, b"a\r\n\x00\x1b[31m\xff \xe2\x80\xae<img>" + b"x" * 3000)]
    outcome = sender.post(url(endpoint), b"", {}, True)
    assert (outcome.status, outcome.error) == (500, None)
    assert outcome.response is not None
    assert outcome.response.startswith("a\\r\\n\\x00\\x1b[31m� \\u202e<img>xxx")
    assert len(outcome.response) <= 1024 + 20
    # The rest of a short answer was read, so its connection serves the next message; that of a long one is closed.
    sender.post(url(endpoint), b"", {}, True)
    assert endpoint.connections == 1
    endpoint.answers = [answer(200, b"x" * 1_000_000), answer(200)]
    sender.post(url(endpoint), b"", {}, True)
    assert sender.post(url(endpoint), b"", {}, True).status == 200
    assert endpoint.connections == 2


def test_no_answer_is_unpacked(sender: Sender, endpoint: Endpoint):
    bomb = gzip.compress(b"x" * 10_000_000)
    endpoint.answers = [answer(302, bomb, "Content-Encoding: gzip\r\nLocation: https://acme.test/\r\n")]
    outcome = sender.post(url(endpoint), b"", {}, True)
    assert outcome.status == 302
    assert outcome.response is not None
    assert "xxx" not in outcome.response


def endless(begin: bytes, piece: bytes) -> Any:
    return [begin, *repeat(piece, 10_000)]


@pytest.mark.parametrize(
    "pieces",
    [
        endless(b"HTTP/1.1 2", b"0"),
        endless(b"HTTP/1.1 200 OK\r\nX-", b"y"),
        endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["status", "header", "headers", "interim"],
)
def test_an_endpoint_whose_headers_drip_holds_an_attempt_no_longer(
    hasty: Sender, endpoint: Endpoint, pieces: Any
):
    endpoint.answers, endpoint.pause = [pieces], 0.02
    begun = time.monotonic()
    outcome = hasty.post(url(endpoint), b"", {}, True)
    check_seconds(time.monotonic() - begun, LONG)
    assert outcome.status is None
    assert outcome.error


@pytest.mark.parametrize(
    "pieces",
    [
        endless(b"HTTP/1.1 503 No\r\nContent-Length: 50000\r\n\r\n", b"x"),
        endless(b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        endless(b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    ],
    ids=["body", "chunks", "trailers"],
)
def test_an_endpoint_whose_body_drips_holds_an_attempt_no_longer_and_its_status_counts(
    endpoint: Endpoint, pieces: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.provisioning.webhooks.sender.BODY_SECONDS", 0.2)
    patient = Sender(LOOPBACK, seconds=60)
    endpoint.answers, endpoint.pause = [pieces], 0.02
    begun = time.monotonic()
    outcome = patient.post(url(endpoint), b"", {}, True)
    patient.close()
    check_seconds(time.monotonic() - begun, LONG)
    assert (outcome.status, outcome.error) == (503, None)


def test_an_endpoint_that_does_not_read_holds_an_attempt_no_longer(hasty: Sender):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        begun = time.monotonic()
        outcome = hasty.post(f"http://127.0.0.1:{listening.getsockname()[1]}/", b"x" * 20_000_000, {}, True)
    check_seconds(time.monotonic() - begun, LONG)
    assert outcome.status is None
    assert outcome.error


def test_a_resolver_that_does_not_answer_holds_an_attempt_no_longer(
    hasty: Sender, monkeypatch: pytest.MonkeyPatch
):
    real, answered, ended = socket.getaddrinfo, threading.Event(), threading.Event()

    def slow(host: str, *args: Any, **options: Any) -> Any:
        if host == "slow.acme.test" and "flags" not in options:
            assert answered.wait(60)
            ended.set()
        return real("127.0.0.1", *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    outcome = hasty.post("http://slow.acme.test:1/", b"", {}, True)
    answered.set()
    assert outcome.error == "slow.acme.test has no address: the resolver did not answer in time."
    assert ended.wait(60)


@pytest.mark.parametrize(
    "garbage",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x00" * 100 + b"\n",
     b"HTTP/1.1 200 " + b"x" * 70_000 + b"\r\n",
     b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"],
)  # fmt: skip
def test_what_is_not_http_is_an_error_in_one_line(sender: Sender, endpoint: Endpoint, garbage: bytes):
    endpoint.answers = [[garbage], None]
    outcome = sender.post(url(endpoint), b"", {}, True)
    assert outcome.status is None
    assert outcome.error
    assert outcome.error.isprintable()
    assert "is not HTTP" in outcome.error or "closed the connection" in outcome.error


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("120", 120), ("0", 0), ("-1", None), ("soon", None), ("", None), ("9" * 50, None), ("²", None),
     ("Fri, 31 Dec 1999 23:59:59 GMT", 0)],
)  # fmt: skip
def test_retry_after_is_a_number_or_a_date(
    sender: Sender, endpoint: Endpoint, value: str, seconds: int | None
):
    endpoint.answers = [
        f"HTTP/1.1 503 No\r\nContent-Length: 0\r\nRetry-After: {value}\r\n\r\n".encode("latin-1", "replace")
    ]
    assert sender.post(url(endpoint), b"", {}, True).retry_after == seconds


def test_retry_after_of_a_date_to_come(sender: Sender, endpoint: Endpoint):
    later = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    endpoint.answers = [answer(429, b"", f"Retry-After: {later}\r\n")]
    retry_after = sender.post(url(endpoint), b"", {}, True).retry_after
    assert retry_after is not None
    assert 590 <= retry_after <= 600


class TestTls:
    @pytest.fixture
    def authority(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A certificate of hooks.acme.test that the machine trusts, and its key."""
        path = tmp_path / "certificate.pem"
        path.write_bytes(certificate("hooks.acme.test"))
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        return path

    @pytest.fixture
    def endpoint(self, authority: Path) -> Iterator[Endpoint]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority)
        self.names: list[str | None] = []
        context.sni_callback = lambda _socket, name, _context: self.names.append(name)
        made = Endpoint(lambda plain: context.wrap_socket(plain, server_side=True))
        yield made
        made.close()

    @pytest.fixture(autouse=True)
    def resolver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket, "getaddrinfo",
            lambda host, *args, **options: real("127.0.0.1" if ".acme.test" in host else host, *args, **options),
        )  # fmt: skip

    def test_the_name_is_verified_and_sent_and_one_handshake_serves_all_messages(
        self, sender: Sender, endpoint: Endpoint
    ):
        for _ in range(3):
            outcome = sender.post(f"https://hooks.acme.test:{endpoint.port}/", b"{}", {}, True)
            assert (outcome.status, outcome.error) == (200, None)
        assert endpoint.connections == 1
        assert self.names == ["hooks.acme.test"]
        assert f"Host: hooks.acme.test:{endpoint.port}" in endpoint.requests[0][0]

    def test_a_certificate_of_another_name_is_not_accepted(self, sender: Sender, endpoint: Endpoint):
        outcome = sender.post(f"https://other.acme.test:{endpoint.port}/", b"{}", {}, True)
        assert outcome.status is None
        assert "certificate of the endpoint was not accepted" in (outcome.error or "")
        assert endpoint.requests == []

    def test_a_certificate_that_nobody_trusts_is_not_accepted(
        self, sender: Sender, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.delenv("SSL_CERT_FILE")
        outcome = sender.post(f"https://hooks.acme.test:{endpoint.port}/", b"{}", {}, True)
        assert outcome.status is None
        assert "self-signed" in (outcome.error or "")

    def test_an_endpoint_without_tls_is_named(self, sender: Sender, authority: Path):
        def speak_first(connected: socket.socket) -> socket.socket:
            connected.sendall(b"220 mail.acme.test ESMTP\r\n")
            connected.recv(65536)
            raise ConnectionError

        plain = Endpoint(speak_first)
        outcome = sender.post(f"https://hooks.acme.test:{plain.port}/", b"{}", {}, True)
        plain.close()
        assert outcome.status is None
        assert outcome.error
        assert outcome.error.isprintable()

    def test_an_endpoint_that_drips_holds_an_attempt_no_longer(self, hasty: Sender, endpoint: Endpoint):
        endpoint.answers, endpoint.pause = [endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n")], 0.02
        begun = time.monotonic()
        outcome = hasty.post(f"https://hooks.acme.test:{endpoint.port}/", b"", {}, True)
        check_seconds(time.monotonic() - begun, LONG)
        assert outcome.error

    def test_a_handshake_that_never_ends_holds_an_attempt_no_longer(self, hasty: Sender, authority: Path):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            begun = time.monotonic()
            outcome = hasty.post(f"https://hooks.acme.test:{listening.getsockname()[1]}/", b"", {}, True)
        check_seconds(time.monotonic() - begun, LONG)
        assert outcome.error


def certificate(name: str) -> bytes:
    """Make a certificate that is its own authority; PEM of key and certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + made.public_bytes(serialization.Encoding.PEM)
