"""One request and its answer, between granian's event loop and the application.

granian hands a request over as soon as its headers are read, in one of the few threads of the application. While the
client has to send or to read, the exchange is suspended in the event loop; it continues in a thread when the client has
done so or the deadline has passed. So neither a slow body nor an unread answer holds a thread. An expensive request is
suspended too, until the thread of a queue runs it (`web.queues`).

The interface to granian is that of ASGI (https://asgi.readthedocs.io/en/latest/specs/www.html); its futures are not
awaited, they call back.
"""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

from gateway.scim.errors import Refusal, RequestTimeout
from gateway.server.deadlines import Deadlines
from gateway.web.dispatch import Dispatcher
from gateway.web.flask_app import FlaskApp
from gateway.web.http import Request, ServerResponse
from gateway.web.long_polls import LongPolls, Waiting
from gateway.web.queues import DONE, Job, Queued, Suspended

log = logging.getLogger("gateway.server")

#: Pieces of a body, at most: each costs a callback, however small it is.
MAX_PIECES = 20_000
#: Seconds that the connection stays open after the answer to a request whose body was not read.
LINGER_SECONDS = 0.5


class Exchanges:
    """The exchanges of one worker process."""

    def __init__(self, app: FlaskApp) -> None:
        self.app: Dispatcher = app.extensions["dispatcher"]
        self.deadlines = Deadlines()
        config = app.extensions["gateway"].config
        self.idle_seconds, self.body_seconds = float(config.idle_seconds), float(config.body_seconds)
        for name, queue in self.app.queues.items():
            queue.start(name)
        self.long_polls = LongPolls(app.extensions["gateway"].tail)

    def stop(self) -> None:
        """Answer the requests that wait for events: the process has been told to stop."""
        self.long_polls.stop()

    def __call__(self, watcher: Any) -> None:
        """Start the exchange of a request; granian calls this, and ignores what it raises."""
        try:
            _Exchange(self, watcher).start()
        except BaseException:
            log.exception("a request could not be started")
            watcher.done()


class _Exchange:
    def __init__(self, exchanges: Exchanges, watcher: Any) -> None:
        self._exchanges, self._watcher, self._proto = exchanges, watcher, watcher.proto
        self._request: Request
        self.received = self._watched = False

    def start(self) -> None:
        environ = wsgi_environ(self._watcher.scope)
        self._request = request = self._exchanges.app.identify(environ)
        request.may_wait = True
        if request.awaits_body:
            _Body(self).receive()
        else:
            self.run()

    def run(self) -> None:
        """Answer in this thread, or in the thread of a queue if the request is expensive."""
        try:
            response = self._exchanges.app.respond(self._request)
        except Queued as queued:
            self._request.queued = True
            self._submit(queued.queue, queued.key, self._run_queued, self.refuse)
            return
        except Waiting as waiting:
            self._wait(waiting)
            return
        self._deliver(response)

    def _wait(self, waiting: Waiting) -> None:
        """Suspend the request until there is an event; answer it at once where too many wait."""
        self._watch_disconnect()
        if not self._exchanges.long_polls.add(self, waiting):
            self._request.may_wait = False
            self.run()

    def is_gone(self) -> bool:
        """Return whether the client of a suspended request has disconnected; the exchange has ended then."""
        if self._request.client_gone:
            self.drop()
        return self._request.client_gone

    def attempt(self, last: bool) -> bool:
        """Run a suspended request again; return False if it still waits."""
        self._request.may_wait = not last
        try:
            try:
                response = self._exchanges.app.respond(self._request)
            except Queued as queued:
                self._request.queued, self._request.may_wait = True, False
                self._submit(queued.queue, queued.key, self._run_queued, self.refuse)
            except Waiting:
                return False
            else:
                self._deliver(response)
        except Exception:  # its thread serves all requests that wait
            log.exception("request %s failed while it waited for an event", self._request.request_id)
            self._watcher.done()
        return True

    def _submit(
        self, queue: str, key: str, step: Callable[[], Any], refuse: Callable[[Refusal], None]
    ) -> None:
        self._exchanges.app.queues[queue].submit(Job(key, self._guard(step), refuse))

    def _run_queued(self) -> Any:
        self._watch_disconnect()
        response = self._exchanges.app.respond(self._request)
        if isinstance(response.body, bytes):
            self._send(response.status, response.headers, response.body)
            response.end()
            return DONE
        return self._stream(response)

    def _deliver(self, response: ServerResponse) -> None:
        if isinstance(response.body, bytes):
            self._send(response.status, response.headers, response.body)
            response.end()
        else:
            self._watch_disconnect()

            def refuse(refusal: Refusal) -> None:
                response.end()
                self.refuse(refusal)

            self._submit("expensive", self._request.client_key, lambda: self._stream(response), refuse)

    def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal."""
        try:
            self._deliver(self._exchanges.app.refuse(self._request, refusal))
        except Exception:  # its thread serves all exchanges
            log.exception("the refusal of request %s could not be sent", self._request.request_id)
            self._watcher.done()

    def drop(self) -> None:
        """End the exchange without an answer: the client has disconnected."""
        self._watcher.done()

    def _send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self._proto.send(_start_message(status, headers))
        self._proto.send({"type": "http.response.body", "body": body})
        if self._request.has_body and not self.received:
            # Closed at once, the connection would be reset, and a client that still sends would never see the answer.
            # After this delay the event loop discards the part of the body that has arrived.
            self._exchanges.deadlines.set(self, LINGER_SECONDS, self._watcher.done)
        else:
            self._watcher.done()

    def _stream(self, response: ServerResponse) -> Any:
        self._proto.send(_start_message(response.status, response.headers))
        return _Stream(self, response).step

    def _watch_disconnect(self) -> None:
        """Set `client_gone` when the client disconnects. A future reports one message, so another one is asked for."""
        if self._watched:
            return
        self._watched = True

        def on_result(future: Any) -> None:
            try:
                gone = future.result()["type"] == "http.disconnect"
            except Exception:  # noqa: BLE001 - a cancelled future: the exchange has ended
                gone = True
            if gone:
                self._request.client_gone = True
            else:
                self._proto.receive().add_done_callback(on_result)

        self._proto.receive().add_done_callback(on_result)

    def _guard(self, step: Callable[[], Any]) -> Callable[[], Any]:
        def guarded() -> Any:
            try:
                following = step()
            except BaseException:
                log.exception("request %s failed while it was answered", self._request.request_id)
                self._watcher.done()
                return DONE
            if isinstance(following, Suspended):
                return following._replace(step=self._guard(following.step))
            return self._guard(following) if callable(following) else following

        return guarded


class _Stream:
    """An answer that is produced while it is sent: each piece when the client has read those before."""

    def __init__(self, exchange: _Exchange, response: ServerResponse) -> None:
        assert not isinstance(response.body, bytes)
        self._exchange, self._response, self._pieces = exchange, response, iter(response.body)
        self._resume: Callable[[], None] = lambda: None

    def step(self) -> Any:
        """Produce and send one piece; return the next step, `Suspended` or `DONE`."""
        exchange = self._exchange
        if exchange._request.client_gone:
            return self._end(exchange.drop)
        try:
            piece = next(self._pieces, None)
        except Exception:  # noqa: BLE001 - logged where it arose; the unfinished body shows the client that it failed
            return self._end(exchange.drop)
        if piece is None:
            return self._end(self._finish)
        sent = exchange._proto.send({"type": "http.response.body", "body": piece, "more_body": True})
        if not hasattr(sent, "add_done_callback"):
            return self.step
        return self._suspend(sent)

    def _suspend(self, sent: Any) -> Any:
        """Continue when the client has read enough, or end the exchange at the deadline."""
        exchanges = self._exchange._exchanges

        def suspended(resume: Callable[[], None], end: Callable[[], None]) -> None:
            def give_up() -> None:
                sent.cancel()
                self._end(self._exchange.drop)
                end()

            def on_result(_: Any) -> None:
                if exchanges.deadlines.clear(self):
                    resume()

            exchanges.deadlines.set(self, exchanges.body_seconds, give_up)
            sent.add_done_callback(on_result)

        return Suspended(suspended, self.step)

    def _finish(self) -> None:
        self._exchange._proto.send({"type": "http.response.body", "body": b""})
        self._exchange.drop()

    def _end(self, last: Callable[[], None]) -> Any:
        try:
            self._response.end()
        finally:
            last()
        return DONE


class _Body:
    """The body of a request, while it is received."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange, self._request = exchange, exchange._request
        self._pieces: list[bytes] = []
        self._bytes = 0
        environ = self._request.environ
        # RFC 9112, 6.3: the transfer coding wins over a length.
        chunked = "HTTP_TRANSFER_ENCODING" in environ
        self._length = None if chunked else int(environ["CONTENT_LENGTH"])
        self._deadline = time.monotonic() + exchange._exchanges.body_seconds

    def receive(self) -> None:
        """Ask for the next piece, with a deadline."""
        exchanges = self._exchange._exchanges
        left = min(exchanges.idle_seconds, self._deadline - time.monotonic())
        future = self._exchange._proto.receive()
        exchanges.deadlines.set(self, left, lambda: self._on_timeout(future))
        future.add_done_callback(self._on_result)

    def _on_result(self, future: Any) -> None:
        if not self._exchange._exchanges.deadlines.clear(self):
            return
        try:
            self._receive_piece(future.result())
        except BaseException:
            log.exception("the body of request %s could not be received", self._request.request_id)
            self._exchange.drop()

    def _receive_piece(self, message: dict[str, Any]) -> None:
        if message["type"] != "http.request":
            self._exchange.drop()
            return
        self._pieces.append(message["body"])
        self._bytes += len(message["body"])
        most = self._request.max_content_length
        if self._length is not None:
            whole = self._bytes >= self._length
        else:
            # Sent in chunks: its length is known at the end only.
            whole = not message["more_body"] or (most is not None and self._bytes > most)
        if whole:
            self._run()
        elif len(self._pieces) > MAX_PIECES:
            self._exchange.refuse(
                RequestTimeout("The body comes in too many pieces. Send it in larger ones.")
            )
        else:
            self.receive()

    def _run(self) -> None:
        environ = self._request.environ
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        environ["wsgi.input"] = io.BytesIO(b"".join(self._pieces))
        environ["CONTENT_LENGTH"] = str(self._bytes)
        self._pieces.clear()
        self._exchange.received = True
        self._exchange.run()

    def _on_timeout(self, future: Any) -> None:
        future.cancel()
        # The event loop may hold the body for another moment; the rest of it is discarded then.
        self._exchange._exchanges.deadlines.set(self, 0.0, self._exchange.drop)
        idle, whole = self._exchange._exchanges.idle_seconds, self._exchange._exchanges.body_seconds
        self._exchange.refuse(
            RequestTimeout(
                f"The body did not come in time: {self._bytes} bytes of it are here. The gateway waits {idle:g} seconds"
                f" for the next and {whole:g} for all. Nothing was changed; send it again."
            )
        )


def wsgi_environ(scope: dict[str, Any]) -> dict[str, Any]:
    """Return the WSGI environment (PEP 3333) for an ASGI scope."""
    raw, (name, port), (address, from_port) = scope["raw_path"], scope["server"], scope["client"]
    path = unquote_to_bytes(raw) if b"%" in raw else raw
    environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": path.decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": name,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": "HTTP/1.0" if scope["http_version"] == "1" else "HTTP/1.1",
        "REMOTE_ADDR": address,
        "REMOTE_PORT": from_port,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BytesIO(),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for header, value in scope["headers"]:
        key = _environ_key(header)
        if key is None:
            continue
        if key in environ:
            # Cookies are the one header that is not joined by a comma (RFC 6265, 5.4).
            environ[key] += ("; " if key == "HTTP_COOKIE" else ",") + value.decode("latin-1")
        else:
            environ[key] = value.decode("latin-1")
    return environ


@lru_cache(maxsize=512)
def _environ_key(header: bytes) -> str | None:
    """Return the WSGI name of a header; None for one with an underscore, which would have the name of another."""
    if b"_" in header:
        return None
    name = header.decode("latin-1").upper().replace("-", "_")
    return name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"


def _start_message(status: int, headers: list[tuple[str, str]]) -> dict[str, Any]:
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
    }
