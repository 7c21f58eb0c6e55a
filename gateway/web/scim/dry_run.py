"""Dry runs over HTTP: a request as an identity provider would send it, run on a database that keeps nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from werkzeug.test import create_environ

from gateway.provisioning import Provisioning
from gateway.provisioning.explanations.dry_run import DryRun, DryRunOutcome
from gateway.scim.errors import InvalidValue, TooManyRequests
from gateway.scim.json_text import dumps
from gateway.store.records import ConnectionRecord, OrganizationRecord
from gateway.web.base_urls import BASE_SEGMENTS
from gateway.web.errors import Errors
from gateway.web.http import MEDIA_TYPE, ScimRequest
from gateway.web.scim.wsgi import ScimApp

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
#: Characters of a path with its query.
LONGEST_PATH = 8_000
#: Characters of a body that is shown; a longer one is cut.
_LONGEST_BODY = 262_144
#: Seconds that a dry run waits for another one of this process.
_PATIENCE = 5
#: Organizations whose last dry run is remembered.
_MOST_REMEMBERED = 10_000


class DryAnswer(NamedTuple):
    """The answer that a request would get; `status` is None where the request was not run (the last step says why)."""

    status: int | None
    headers: dict[str, str]
    body: Any
    outcome: DryRunOutcome


class _Uncounted:
    """Stands where the metrics are: a dry run is no request of an identity provider."""

    def count(self, request: ScimRequest, status: int) -> None:
        """Count nothing."""


class DryRuns:
    """Runs requests without keeping what they do, one at a time, and one in `interval` seconds an organization."""

    def __init__(self, gateway: Provisioning) -> None:
        self._gateway, self.interval = gateway, 1.0
        self._last: dict[int, float] = {}
        self._running = threading.Lock()

    def run(
        self,
        organization: OrganizationRecord,
        connection: ConnectionRecord,
        origin: str,
        method: str,
        path: str,
        body: Any,
    ) -> DryAnswer:
        """Return what a request below the base URL of a connection would do.

        Raises InvalidValue for a path that is none, TooManyRequests where the last dry run was too short a time ago.
        """
        if not path.startswith("/") or len(path) > LONGEST_PATH or not path.isprintable():
            raise InvalidValue(
                f"path must begin with / and follow the base URL of the connection, as /Users does, in at most"
                f" {LONGEST_PATH} characters."
            )
        if not self._running.acquire(timeout=_PATIENCE):
            raise TooManyRequests("Other dry runs take long. Try again.", retry_after=5)
        try:
            self._limit(organization.id)
            return self._run(
                DryRun(self._gateway, organization, connection), connection, origin, method, path, body
            )
        finally:
            self._running.release()

    def _limit(self, organization_id: int) -> None:
        """Each dry run holds the organization's lock for as long as the change would."""
        moment = time.monotonic()
        if moment - self._last.get(organization_id, -self.interval) < self.interval:
            raise TooManyRequests(
                "An organization has one dry run a second. Nothing was tried; try again.", retry_after=1
            )
        if len(self._last) >= _MOST_REMEMBERED:
            self._last.clear()
        self._last[organization_id] = moment

    def _run(
        self, gateway: DryRun, connection: ConnectionRecord, origin: str, method: str, path: str, body: Any
    ) -> DryAnswer:
        # Its metrics are nobody's, and it waits in no queue.
        app = ScimApp(gateway, _Uncounted(), Errors(gateway), {})
        data = b"" if body is None else dumps(body).encode()
        environ = create_environ(
            f"/{'/'.join((*BASE_SEGMENTS, connection.slug))}{path}",
            origin,
            method=method,
            data=data or None,
            content_type=MEDIA_TYPE if data else None,
        )
        try:
            request = app.identify(environ)
            request.queued = True
            response = app.respond(request)
            text = _text(response.body)
            response.end()
            outcome = gateway.outcome()
        finally:
            gateway.discard()
        shown = {
            name: value for name, value in response.headers if name in ("Location", "ETag", "Retry-After")
        }
        if gateway.in_portions:
            return DryAnswer(None, {}, None, outcome)
        return DryAnswer(response.status, shown, _parsed(text), outcome)


def _text(body: bytes | Iterator[bytes]) -> str:
    return (body if isinstance(body, bytes) else b"".join(body)).decode()


def _parsed(text: str) -> Any:
    if len(text) > _LONGEST_BODY:
        return f"{text[:_LONGEST_BODY]}… and {len(text) - _LONGEST_BODY} more characters"
    return json.loads(text) if text else None
