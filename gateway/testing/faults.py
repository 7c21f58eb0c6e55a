"""Servers that are broken in ways that were met in the field: a simulator that one of them passes proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from gateway.simulation.api import Answer, Session, Step

#: Passes a call on: method, path, body.
Call = Callable[[str, str, Any], Answer]


class Broken:
    """A server that does not do what `spoil` takes away: it gets each call, and `call` to pass it on."""

    def __init__(self, session: Session, spoil: Callable[[Call, str, str, Any], Answer]) -> None:
        self.session, self.spoil, self.sent = session, spoil, list[tuple[str, str, Any]]()

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """As a session has it."""
        self.sent.append((method, path, body))
        return self.spoil(self.session.call, method, path, body)


def failures(steps: Iterable[Step]) -> dict[str, str]:
    """The steps that went wrong, by their title without the actor, with what was said of the first of each."""
    return {step.title.split(": ")[-1]: step.explanation for step in reversed([*steps]) if not step.ok}


def _removal(method: str, body: Any) -> bool:
    return bool(method == "PATCH" and body["Operations"][0]["op"] == "remove")


def ignored(call: Call, method: str, path: str, body: Any) -> Answer:
    """A removal is answered, and not done."""
    return Answer(204, None, "", 0.0) if _removal(method, body) else call(method, path, body)


def emptied(call: Call, method: str, path: str, body: Any) -> Answer:
    """A removal of one takes everybody out."""
    if _removal(method, body):
        body = body | {"Operations": [{"op": "remove", "path": "members"}]}
    return call(method, path, body)


def hidden(call: Call, method: str, path: str, body: Any) -> Answer:
    """Who is inactive is not found."""
    answer = call(method, path, body)
    users = (answer.json or {}).get("Resources") or [{}]
    if "filter=userName" in path and users[0].get("active") is False:
        return replace(answer, json=answer.json | {"totalResults": 0, "Resources": []})
    return answer


def unfiltered(call: Call, method: str, path: str, body: Any) -> Answer:
    """A filter is not followed."""
    return call(method, path.split("?")[0] if "filter=" in path else path, body)


def text_total(call: Call, method: str, path: str, body: Any) -> Answer:
    """A number is told as text."""
    answer = call(method, path, body)
    if "totalResults" in (answer.json or {}):
        return replace(answer, json=answer.json | {"totalResults": str(answer.json["totalResults"])})
    return answer


def active_lost(call: Call, method: str, path: str, body: Any) -> Answer:
    """A PUT leaves everybody active."""
    return call(method, path, body | {"active": True} if method == "PUT" else body)


def no_id(call: Call, method: str, path: str, body: Any) -> Answer:
    """What was created has no id."""
    answer = call(method, path, body)
    return replace(answer, json={}) if method == "POST" else answer


def html(call: Call, method: str, path: str, body: Any) -> Answer:
    """A proxy answers."""
    return Answer(502, None, "<html>Bad Gateway</html>", 0.0)


def silent(call: Call, method: str, path: str, body: Any) -> Answer:
    """Nobody does."""
    return Answer(0, None, "connection refused", 0.0)


def undeleted(call: Call, method: str, path: str, body: Any) -> Answer:
    """A DELETE is answered, and not done."""
    return Answer(204, None, "", 0.0) if method == "DELETE" else call(method, path, body)
