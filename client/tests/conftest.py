"""A gateway behind a socket, and a server that answers as a test says."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from werkzeug.serving import make_server

TOKEN = "pga_a-token-of-these-tests"


def serve(server):
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def served(deployment):
    """The URL of the real application."""
    for server in serve(make_server("127.0.0.1", 0, deployment.app, threaded=True)):
        yield f"http://127.0.0.1:{server.port}"


class Scripted:
    """Answers one after the other, the last one for ever. `requests`: path, query and headers of each."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, dict[str, str], dict[str, str]]] = []
        self.answers: list[tuple[int, Any, dict[str, str]]] = []

    def answer(self, body: Any, status: int = 200, **headers: str) -> None:
        self.answers.append(
            (status, body, {name.replace("_", "-"): value for name, value in headers.items()})
        )

    def page(self, *items: dict[str, Any], next: int, epoch: int = 7) -> None:
        self.answer({"items": items, "next": next, "epoch": epoch})


@pytest.fixture
def scripted():
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            parts = urlsplit(self.path)
            script.requests.append((parts.path, dict(parse_qsl(parts.query)), dict(self.headers)))
            status, body, headers = script.answers[min(len(script.requests), len(script.answers)) - 1]
            if headers.get("Connection") == "close":
                self.close_connection = True
            if status == 0:
                self.close_connection = True
                return
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(data))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            """Write nothing."""

    for server in serve(ThreadingHTTPServer(("127.0.0.1", 0), Handler)):
        script.url = f"http://127.0.0.1:{server.server_port}"
        yield script
