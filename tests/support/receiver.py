"""An endpoint of webhooks in a thread of the test."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """An endpoint that notes what it gets; `answer` decides the status by (path, body)."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.answer: Callable[[str, dict[str, Any]], int] = lambda path, body: 204
        self.headers: dict[str, str] = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                # A security event token is no JSON; it is read from `raw`.
                body = json.loads(raw) if headers["content-type"] == "application/json" else {}
                receiver.raw = raw
                receiver.got.append((self.path, headers, body))
                self.send_response(receiver.answer(self.path, body))
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self.raw = b""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def numbers(self, path: str = "/") -> list[int]:
        """The numbers of the events that a path got, in order."""
        return [body["id"] for at, _, body in self.got if at == path]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
