"""`HttpSession` against servers that behave and servers that do not."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gateway.simulation.http_session import HttpSession


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _serve(self):
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length).decode()
        self.server.seen.append((self.command, self.path, dict(self.headers), body, self.client_address[1]))
        if self.path.endswith("/silence"):
            self.close_connection = True
            return
        if self.path.endswith("/slow"):
            self.server.wake.wait(5)
        text = "<html>é</html>" if self.path.endswith("/html") else json.dumps({"path": self.path})
        self.send_response(500 if self.path.endswith("/html") else 200)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())
        # Closed after an answer that promised nothing of the kind, as servers do with idle connections.
        self.close_connection = self.path.endswith("/goodbye")

    do_GET = do_POST = do_PATCH = _serve

    def log_message(self, *_):
        pass


class Tiny(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


@pytest.fixture
def server():
    with Tiny(("127.0.0.1", 0), Handler) as server:
        server.seen, server.wake = [], threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.wake.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def session(server):
    with HttpSession(f"http://127.0.0.1:{server.server_port}/scim/v2/acme/", "secret") as session:
        yield session


def test_a_call_is_json_with_the_token_below_the_base_url(server, session):
    answer = session.call("POST", "/Users", {"userName": "é"})
    assert (answer.status, answer.json) == (200, {"path": "/scim/v2/acme/Users"})
    assert answer.seconds > 0
    _, _, headers, body, _ = server.seen[0]
    assert (headers["Authorization"], headers["Content-Type"]) == ("Bearer secret", "application/scim+json")
    assert json.loads(body) == {"userName": "é"}


def test_headers_that_were_given_are_kept_and_no_body_has_no_content_type(server, session):
    session.call("GET", "/Users", headers={"User-Agent": "Okta", "authorization": "Basic x"})
    session.call("PATCH", "/Users", {}, headers={"content-type": "application/json"}, token="another")
    first, second = server.seen[0][2], server.seen[1][2]
    assert {name: first.get(name) for name in ("User-Agent", "authorization", "Authorization")} == {
        "User-Agent": "Okta",
        "authorization": "Basic x",
        "Authorization": None,
    }
    assert "Content-Type" not in first
    assert (second["content-type"], second["Authorization"]) == ("application/json", "Bearer another")


def test_what_is_not_json_is_text(session):
    answer = session.call("GET", "/html")
    assert (answer.status, answer.json, answer.text) == (500, None, "<html>é</html>")


def test_a_connection_is_kept_open_and_each_thread_has_its_own(server, session):
    met = threading.Barrier(2)

    def twice():
        met.wait()
        return [session.call("GET", "/Users").status for _ in range(2)]

    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(twice) for _ in range(2)]
        assert [result.result() for result in results] == [[200, 200], [200, 200]]
    ports = [port for *_, port in server.seen]
    assert len(ports) == 4
    assert len(set(ports)) == 2


def test_a_connection_that_the_server_closed_is_opened_again_and_nothing_is_sent_twice(server, session):
    assert session.call("GET", "/goodbye").status == 200
    connection = session._local.connection
    connection.sock.settimeout(5)
    assert connection.sock.recv(1, socket.MSG_PEEK) == b""  # the end of it has arrived
    assert session.call("POST", "/Users", {}).status == 200
    assert [(method, path) for method, path, *_ in server.seen] == [
        ("GET", "/scim/v2/acme/goodbye"),
        ("POST", "/scim/v2/acme/Users"),
    ]


def test_no_answer_has_the_status_0_and_a_reason_and_the_next_call_is_served(server, session):
    silent = session.call("POST", "/silence", {})
    assert (silent.status, silent.json) == (0, None)
    assert silent.text == "the server closed the connection without an answer"
    assert session.call("GET", "/Users").status == 200
    assert len(server.seen) == 2


def test_a_server_that_takes_too_long_is_given_up(server):
    with HttpSession(f"http://127.0.0.1:{server.server_port}", "t", timeout=0.1) as session:
        answer = session.call("GET", "/slow")
    assert (answer.status, answer.text) == (0, "no answer within 0.1 seconds")


def test_a_refused_connection_and_tls_where_there_is_none_are_no_answer(server):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with HttpSession(f"http://127.0.0.1:{port}", "t") as session:
        assert session.call("GET", "/").text == "connection refused"
    with HttpSession(f"https://127.0.0.1:{server.server_port}", "t") as session:
        answer = session.call("GET", "/")
    assert answer.status == 0
    assert answer.text


def test_a_path_keeps_its_escapes_and_gains_those_that_http_needs(server, session):
    session.call("GET", '/Users?filter=a%20eq%20"é b"')
    assert server.seen[0][1] == "/scim/v2/acme/Users?filter=a%20eq%20%22%C3%A9%20b%22"


@pytest.mark.parametrize("url", ["", "acme.test", "ftp://acme.test", "https://", "https://acme.test/?a=b"])
def test_a_base_url_must_be_one(url):
    with pytest.raises(ValueError, match="is no base URL"):
        HttpSession(url, "t")
