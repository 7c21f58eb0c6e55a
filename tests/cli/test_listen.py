"""`gateway listen`: what reaches a program on this machine is what a webhook sends, and reaches no other machine."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import click
import pytest
from click.testing import CliRunner
from gateway_client import verify

from gateway.cli import main
from gateway.cli.listen import Feed, Target

SECRET = "whsec_dGhlIHNlY3JldCBvZiB0aGlzIHRlc3Q="


@pytest.fixture
def program():
    """A program on this machine: its URL, what it received, and the status that it answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.received.append((self.path, body, dict(self.headers)))
            self.send_response(server.status)
            self.end_headers()

        def log_message(self, *_):
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.received, server.status = [], 204
    server.url = f"http://127.0.0.1:{server.server_port}/hooks?a=1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def listen(gateway_fake):
    def run(forward_to, *more, token=None):
        arguments = ["listen", "--forward-to", forward_to, "--url", gateway_fake.url, *more]
        return CliRunner().invoke(main, arguments, env={"GATEWAY_ADMIN_TOKEN": token or gateway_fake.token})

    return run


def test_events_are_posted_once_signed_as_a_webhook_signs_them(gateway_fake, program, listen):
    user = gateway_fake.assign("ada@acme.test", displayName="Adä")
    gateway_fake.deactivate("ada@acme.test")
    organization = gateway_fake.organization
    result = listen(program.url, "--organization", organization, "--from", "0", "--stop-after", "2")
    assert result.exit_code == 0, result.output
    secret = result.stderr.split("this runs: ")[1].split()[0]
    events = [verify(body, headers, secret) for _, body, headers in program.received]
    assert [(event.type, event.id, event.organization) for event in events] == [
        ("user.created", 1, organization),
        ("user.deactivated", 2, organization),
    ]
    assert events[0].data == gateway_fake.feed().read()[0].data
    assert (events[0].resource_id, events[0].data["displayName"]) == (user, "Adä")
    assert {(path, headers["Content-Type"]) for path, _, headers in program.received} == {
        ("/hooks?a=1", "application/json")
    }
    assert not any("Authorization" in headers for *_, headers in program.received)
    assert [line.split()[1:3] for line in result.stdout.splitlines()] == [
        ["user.created", "204"],
        ["user.deactivated", "204"],
    ]
    assert gateway_fake.token not in result.output + "".join(str(each) for each in program.received)


def test_json_has_a_line_an_event_and_failures_go_on(gateway_fake, program, listen):
    for number in range(2):
        gateway_fake.assign(f"user{number}@acme.test")
    program.status = 500
    more = (
        "--organization",
        gateway_fake.organization,
        "--from",
        "1",
        "--stop-after",
        "1",
        "--secret",
        SECRET,
    )
    result = listen(program.url, *more, "--json")
    (line,) = map(json.loads, result.stdout.splitlines())
    assert (line["type"], line["status"], line["error"]) == ("user.created", 500, None)
    assert line["id"].endswith("_2")
    assert SECRET not in result.output

    result = listen("http://127.0.0.1:1/", *more, "--json")
    (line,) = map(json.loads, result.stdout.splitlines())
    assert (line["status"], line["error"]) == (None, "Connection refused")


@pytest.mark.parametrize(
    "url",
    [
        "https://localhost/hooks",
        "localhost:5000",
        "http://",
        "http://me@localhost/",
        "http://localhost:0/",
        "http://localhost:x/",
    ],
)
def test_what_is_no_url_to_forward_to_is_refused(url):
    with pytest.raises(click.ClickException, match="is no URL to forward to"):
        Target(url)


def test_another_machine_gets_nothing(monkeypatch):
    class Elsewhere:
        def getpeername(self):
            return "192.0.2.1", 80

        def close(self):
            """Nothing was opened."""

    monkeypatch.setattr("socket.create_connection", lambda *_, **__: Elsewhere())
    monkeypatch.setattr(Elsewhere, "setsockopt", lambda *_: None, raising=False)
    with pytest.raises(click.ClickException, match="is another machine"):
        Target("http://acme.test/").post(b"{}", {})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--organization", "nobody"), "404"),
        (("--secret", "whsec_"), "--secret begins with whsec_"),
        (("--secret", "secret"), "--secret begins with whsec_"),
        (("--secret", "whsec_ä"), "--secret begins with whsec_"),
        (("--url", "acme.test"), "is no base URL"),
        (("--url", "http://127.0.0.1:1"), "The gateway does not answer"),
    ],
)
def test_mistakes_are_one_sentence(listen, more, message):
    result = listen("http://localhost:3000/", "--from", "0", *more)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_a_wrong_token_and_none_are_named(listen):
    assert "401" in listen("http://localhost:3000/", "--from", "0", token="wrong").stderr
    result = CliRunner().invoke(
        main, ["listen", "--forward-to", "http://localhost:3000/"], env={"GATEWAY_ADMIN_TOKEN": ""}
    )
    assert "gateway admin-token create" in result.stderr


def test_a_gateway_that_is_down_for_a_while_is_waited_for(gateway_fake):
    from gateway.simulation.http_session import HttpSession

    gateway_fake.assign("ada@acme.test")
    session = HttpSession(f"{gateway_fake.url}/admin/v1", gateway_fake.token)
    broken = HttpSession("http://127.0.0.1:1", "token")
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        feed._session = session if len(slept) == 3 else broken

    feed = Feed(broken, gateway_fake.organization, sleep)
    with session:
        assert next(feed.events()).type == "user.created"
    assert slept == [1, 2, 4]
