"""Entra's SCIM client: what it sends with every request, and what it needs of an answer."""

from __future__ import annotations

from typing import Any

import gateway.simulation
from gateway import Json
from gateway.simulation import Answer, ExpectationError, expect_equal, expect_status
from gateway_entra.simulator import requests


class Client(gateway.simulation.Client):
    """Sends the requests of one action, without a content type where there is no body (reported).

    Each method raises ExpectationError for an answer that Entra cannot use.
    """

    def call(
        self, method: str, path: str, body: Any = None, *expected: int, token: str | None = None
    ) -> Answer:
        """Send one request, which must be answered with one of the statuses."""
        headers = {} if body is None else requests.HEADERS_WITH_BODY
        answer = self.send(method, path, body, token=token, headers=headers)
        expect_status(answer, *expected)
        return answer

    def call_for_resource(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Json:
        """Send one request, which must be answered with a resource that has an id."""
        document = self.call(method, path, body, status).json
        if not isinstance(document, dict) or not isinstance(document.get("id"), str) or not document["id"]:
            raise ExpectationError("a resource with an id that is text and not empty")
        return document

    def find(self, path: str) -> Json | None:
        """Return the one resource that a lookup finds, or None.

        A 404 for nobody puts Entra's job into quarantine (documented).
        """
        document = self.call("GET", path, None, 200).json
        resources = document.get("Resources", []) if isinstance(document, dict) else None
        if not isinstance(resources, list) or not all(
            isinstance(each, dict) and each.get("id") for each in resources
        ):
            raise ExpectationError("a list answer, with Resources that have an id")
        total = document.get("totalResults")
        if isinstance(total, bool) or total != len(resources) or total > 1:
            raise ExpectationError(
                f"one at most, and their number as totalResults, but {total!r} came for {len(resources)}: "
                "the filter was not followed"
            )
        return resources[0] if resources else None

    def call_for_refusal(
        self, method: str, path: str, body: Any, status: int, token: str | None = None
    ) -> str:
        """Send one request that must be refused. Returns the detail, which Entra shows in its provisioning logs."""
        document = self.call(method, path, body, status, token=token).json
        detail = document.get("detail") if isinstance(document, dict) else None
        if not isinstance(detail, str) or not detail:
            raise ExpectationError("an error in SCIM's JSON, with a detail")
        return detail


def value_at(document: Any, path: str) -> Any:
    """Return the value at a path, whose names are separated by bars; None where there is none.

    A list is passed through its only element.
    """
    for part in path.split("|"):
        if isinstance(document, list):
            document = document[0] if len(document) == 1 else None
        document = document.get(part) if isinstance(document, dict) else None
    return document


def expect_value(document: Json, path: str, expected: Any) -> None:
    expect_equal(value_at(document, path), expected, path)
