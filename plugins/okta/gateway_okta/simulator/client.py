"""Okta's SCIM client: its headers with every request, a method for each verb."""

from __future__ import annotations

from typing import Any

import gateway.simulation
from gateway.simulation import Answer
from gateway_okta.simulator import requests


class Client(gateway.simulation.Client):
    """Sends the requests of one action with the headers of Okta."""

    def get(self, path: str, *, token: str | None = None) -> Answer:
        return self._send("GET", path, None, token)

    def post(self, path: str, body: Any) -> Answer:
        return self._send("POST", path, body)

    def put(self, path: str, body: Any) -> Answer:
        return self._send("PUT", path, body)

    def patch(self, path: str, body: Any) -> Answer:
        return self._send("PATCH", path, body)

    def delete(self, path: str) -> Answer:
        return self._send("DELETE", path, None)

    def _send(self, method: str, path: str, body: Any, token: str | None = None) -> Answer:
        headers = requests.HEADERS if body is None else requests.HEADERS_WITH_BODY
        return self.send(method, path, body, token=token, headers=headers)
