"""How Okta speaks on the stage: its headers with every call, a method for each verb."""

from __future__ import annotations

from functools import partial
from typing import Any

import gateway
from gateway.simulation import Answer
from gateway_okta.simulator import wire


class Line(gateway.simulation.Line):
    """A line to the server under test."""

    def get(self, path: str, *, token: str | None = None) -> Answer:
        return self._call("GET", path, None, token)

    def post(self, path: str, body: Any) -> Answer:
        return self._call("POST", path, body)

    def put(self, path: str, body: Any) -> Answer:
        return self._call("PUT", path, body)

    def patch(self, path: str, body: Any) -> Answer:
        return self._call("PATCH", path, body)

    def delete(self, path: str) -> Answer:
        return self._call("DELETE", path, None)

    def _call(self, method: str, path: str, body: Any, token: str | None = None) -> Answer:
        headers = wire.HEADERS if body is None else wire.WITH_BODY
        return self.send(method, path, body, token=token, headers=headers)


Act = partial(gateway.simulation.Act, line=Line)
