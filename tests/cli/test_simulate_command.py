"""`gateway simulate` against a server that answers JSON, and no SCIM."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        text = json.dumps({"path": self.path}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = _answer

    def log_message(self, *_):
        pass


@pytest.fixture
def url():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_simulate_explains_the_failure_of_a_server_without_scim(url, gateway):
    result = gateway("simulate", "okta", "--base-url", url, "--token", "t", "--users", "1", "--groups", "0")
    assert result.exit_code == 1
    assert "FAILED" in result.stdout
    assert "Expected a list answer" in " ".join(result.stdout.split())


def test_simulate_counts_very_many_steps_and_shows_failed_ones_in_full(url, gateway):
    typed = f"simulate okta --base-url {url} --token t --users 45 --groups 0 --concurrency 4"
    result = gateway(*typed.split())
    # Nobody could be assigned; the look-up before that failed as well.
    assert "90 of 90 steps failed." in result.stdout
    assert "list two users" in result.stdout


def test_simulate_json_has_every_step(url, gateway):
    typed = f"simulate okta --base-url {url} --token t --users 0 --groups 0 --json"
    result = gateway(*typed.split())
    steps = json.loads(result.stdout)
    assert result.exit_code == 1
    assert {(step["phase"], step["ok"]) for step in steps} == {
        ("Test API Credentials", False),
        ("Import", False),
    }
    assert steps[0]["answers"][0]["status"] == 200
