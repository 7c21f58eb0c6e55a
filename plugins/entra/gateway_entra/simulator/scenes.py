"""How Entra speaks on the stage: what it sends with every call, and what it needs of an answer."""

from __future__ import annotations

from functools import partial
from typing import Any

import gateway
from gateway import Json
from gateway.simulation import Answer, Line, Unmet
from gateway_entra.simulator import wire


class Talk(Line):
    """The requests and answers of one scene. Entra names no content type where there is no body (reported)."""

    def call(
        self, method: str, path: str, body: Any = None, *expected: int, token: str | None = None
    ) -> Answer:
        """Send one request, and hand back the answer if it has one of the expected statuses."""
        headers = {} if body is None else wire.WITH_BODY
        answer = self.send(method, path, body, token=token, headers=headers)
        if answer.status not in expected:
            raise Unmet(f"status {' or '.join(map(str, expected))}")
        return answer

    def resource(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Json:
        """A resource with an id."""
        document = self.call(method, path, body, status).json
        if not isinstance(document, dict) or not isinstance(document.get("id"), str) or not document["id"]:
            raise Unmet("a resource with an id that is text and not empty")
        return document

    def found(self, path: str) -> Json | None:
        """The one resource that a lookup finds. A 404 for nobody puts Entra's job into quarantine (documented)."""
        document = self.call("GET", path, None, 200).json
        listed = document.get("Resources", []) if isinstance(document, dict) else None
        if not isinstance(listed, list) or not all(
            isinstance(each, dict) and each.get("id") for each in listed
        ):
            raise Unmet("a list answer, with Resources that have an id")
        total = document.get("totalResults")
        if isinstance(total, bool) or total != len(listed) or total > 1:
            raise Unmet(
                f"one at most, and their number as totalResults, but {total!r} came for {len(listed)}: "
                "the filter was not followed"
            )
        return listed[0] if listed else None

    def refusal(self, method: str, path: str, body: Any, status: int, token: str | None = None) -> str:
        """The sentence of an error, which Entra shows in its provisioning logs."""
        document = self.call(method, path, body, status, token=token).json
        detail = document.get("detail") if isinstance(document, dict) else None
        if not isinstance(detail, str) or not detail:
            raise Unmet("an error in SCIM's JSON, with a detail")
        return detail


Act = partial(gateway.simulation.Act, line=Talk)


def dig(document: Any, path: str) -> Any:
    """The value behind names that are divided by bars; None where there is none, and of a list the only element."""
    for part in path.split("|"):
        if isinstance(document, list):
            document = document[0] if len(document) == 1 else None
        document = document.get(part) if isinstance(document, dict) else None
    return document


def expect(document: Json, path: str, wanted: Any) -> None:
    if dig(document, path) != wanted:
        raise Unmet(f"{path} to be {wanted!r}, and not {dig(document, path)!r}")
