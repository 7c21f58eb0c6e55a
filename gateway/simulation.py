"""Playing an identity provider against a SCIM server over HTTP: the line to the server, and what is told of the play.

Any SCIM server will do. What is sent, and what the answers should have been, is known to the plugin's simulator alone.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from email.message import Message
from itertools import groupby
from typing import Any, Self
from urllib.parse import quote, urlsplit

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from gateway.contracts import Answer, Step

#: Okta waits as long for an answer.
TIMEOUT = 60.0
#: A play of more steps than this is told by numbers, and by the steps that failed.
MOST_ROWS = 80
#: Columns of a table that no terminal shows.
WIDE = 160
#: The calls of a step, as explanations begin.
_SENT = re.compile(r"Sent .*?\(\d+\)\. ", re.DOTALL)
_AS_IT_IS = "!#$%&'()*+,/:;=?@[]~"


class HttpSession:
    """A `gateway.Session` over HTTP. Each thread keeps a connection of its own, open from call to call."""

    def __init__(self, base_url: str, token: str, timeout: float = TIMEOUT) -> None:
        """`base_url` begins with http:// or https://; a slash at its end is dropped. Raises ValueError otherwise."""
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"{base_url!r} is no base URL: it begins with https:// and names a server.")
        if not token.isascii() or not token.isprintable():
            raise ValueError("The token holds characters that no HTTP header can carry.")
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._path, self._token, self._timeout = parts.path.rstrip("/"), token, timeout
        self._context = ssl.create_default_context() if self._secure else None
        self._kept = threading.local()
        self._connections: list[http.client.HTTPConnection] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.close()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request with the token of the session, or with `token`. No answer at all has the status 0."""
        return self.exchange(method, path, body, token=token, headers=headers)[0]

    def exchange(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Answer, Message]:
        """The same, with the headers of the answer."""
        given = dict(headers or {})
        names = {name.lower() for name in given}
        if "authorization" not in names:
            given["Authorization"] = f"Bearer {self._token if token is None else token}"
        if body is not None and "content-type" not in names:
            given["Content-Type"] = "application/scim+json"
        data = None if body is None else json.dumps(body).encode()
        began = time.perf_counter()
        try:
            status, text, told = self._exchange(method, quote(self._path + path, safe=_AS_IT_IS), data, given)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._drop()
            return Answer(0, None, _reason(error, self._timeout), time.perf_counter() - began), Message()
        return Answer(status, _parsed(text), text, time.perf_counter() - began), told

    def _exchange(
        self, method: str, path: str, data: bytes | None, headers: dict[str, str]
    ) -> tuple[int, str, Message]:
        connection = self._connection()
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
        return response.status, text, response.headers

    def _connection(self) -> http.client.HTTPConnection:
        """This thread's connection. A request is never sent twice, so one that the server closed is noticed before."""
        kept: http.client.HTTPConnection | None = getattr(self._kept, "connection", None)
        if kept is not None and kept.sock is not None and select.select([kept.sock], [], [], 0)[0]:
            kept.close()
        if kept is None:
            kept = self._kept.connection = self._new_connection()
            self._connections.append(kept)
        return kept

    def _new_connection(self) -> http.client.HTTPConnection:
        if self._context:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=self._context
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)

    def _drop(self) -> None:
        with suppress(AttributeError):
            self._kept.connection.close()


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _reason(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} seconds"
    if isinstance(error, http.client.RemoteDisconnected):
        return "the server closed the connection without an answer"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of the server is not trusted: {error.verify_message}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


# Telling ----------------------------------------------------------------------------------------------------


def watch(steps: Iterable[Step], total: int, console: Console, *, each: bool = False) -> list[Step]:
    """Take all steps, with a progress bar; with `each`, a line for every step as well."""
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
    taken: list[Step] = []
    with Progress(*columns, console=console, transient=each) as progress:
        task = progress.add_task("", total=total)
        for step in steps:
            taken.append(step)
            progress.update(task, advance=1, description=step.phase)
            if each:
                progress.console.print(_line(step), no_wrap=step.ok, overflow="ellipsis" if step.ok else None)
        progress.update(task, total=len(taken), description=summary(taken))
    return taken


def _line(step: Step) -> Text:
    """One line of a step that went well, cut at the console's width; everything about one that failed."""
    line = Text.assemble(_result(step), "  ", (step.phase, "dim"), "  ", step.title)
    if not step.ok:
        return line.append(f"\n        {step.explanation}", "red")
    # What came of it alone; the calls are in the table.
    return line.append(f"  {_SENT.sub('', step.explanation)}", "dim")


def _result(step: Step) -> Text:
    return Text("ok    ", "green") if step.ok else Text("FAILED", "bold red")


def people() -> Console:
    """The console for tables. Text that goes to a file or another program is not held to 80 columns."""
    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=WIDE)


def table(steps: list[Step]) -> Table:
    """The steps for people, by phase: each in a row, or where there are very many, those that failed."""
    shown = Table(box=box.SIMPLE_HEAD)
    for column in ("step", "result", "explanation"):
        shown.add_column(column, overflow="fold", no_wrap=column == "result")
    for phase, of_phase in groupby(steps, key=lambda step: step.phase):
        taken = list(of_phase)
        shown.add_section()
        shown.add_row(Text(phase, "bold"), "", Text(summary(taken), "dim"))
        for step in taken:
            if len(steps) <= MOST_ROWS or not step.ok:
                style = "" if step.ok else "red"
                shown.add_row(Text(f"  {step.title}"), _result(step), Text(step.explanation), style=style)
    return shown


def summary(steps: list[Step]) -> str:
    """How it went, in a sentence."""
    failed = sum(not step.ok for step in steps)
    if not steps:
        return "No step was taken."
    steps_taken = f"{len(steps)} step{'s' if len(steps) > 1 else ''}"
    return f"{failed} of {steps_taken} failed." if failed else f"{steps_taken} went well."


def as_json(steps: list[Step]) -> list[dict[str, Any]]:
    """The steps for programs."""
    return [
        {
            "phase": step.phase,
            "title": step.title,
            "ok": step.ok,
            "explanation": step.explanation,
            "answers": [
                {"status": answer.status, "seconds": round(answer.seconds, 4)} for answer in step.answers
            ],
        }
        for step in steps
    ]
