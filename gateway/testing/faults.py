"""Servers with faults that were met in the field. A simulator that one of them passes proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from gateway.simulation.api import Answer, Session, Step

#: Passes a request on to the server: method, path, body.
Call = Callable[[str, str, Any], Answer]
#: Answers a request in place of the server: the `Call` that passes it on, then method, path, body.
Fault = Callable[[Call, str, str, Any], Answer]


class FaultyServer:
    """A session whose requests are answered by a fault. It records them."""

    def __init__(self, session: Session, fault: Fault) -> None:
        self.session, self.fault, self.sent = session, fault, list[tuple[str, str, Any]]()

    def call(self, method: str, path: str, body: Any = None, **_: Any) -> Answer:
        """Send one request. The token and headers that were given are left out."""
        self.sent.append((method, path, body))
        return self.fault(self.session.call, method, path, body)


class FixedAnswerServer:
    """A session that answers every request with the same status, and the same body or the one that was sent."""

    def __init__(self, status: int, json: Any = None, *, echo: bool = False) -> None:
        self.status, self.json, self.echo = status, json, echo

    def call(self, method: str, path: str, body: Any = None, **_: Any) -> Answer:
        """Answer one request."""
        sent = body if isinstance(body, dict) else {}
        return Answer(self.status, sent if self.echo else self.json, "", 0.0)


def failures(steps: Iterable[Step]) -> dict[str, str]:
    """Return the failed steps: the explanation of the first of each title, by the title without the target."""
    return {step.title.split(": ")[-1]: step.explanation for step in reversed([*steps]) if not step.ok}


def pass_on(call: Call, method: str, path: str, body: Any) -> Answer:
    """Have no fault."""
    return call(method, path, body)


def ignore_removals(call: Call, method: str, path: str, body: Any) -> Answer:
    """Confirm a removal, and do not make it."""
    return Answer(204, None, "", 0.0) if _is_removal(method, body) else call(method, path, body)


def remove_all_members(call: Call, method: str, path: str, body: Any) -> Answer:
    """Remove all members where one shall be removed."""
    if _is_removal(method, body):
        body = body | {"Operations": [{"op": "remove", "path": "members"}]}
    return call(method, path, body)


def hide_inactive(call: Call, method: str, path: str, body: Any) -> Answer:
    """Find no inactive user."""
    answer = call(method, path, body)
    users = (answer.json or {}).get("Resources") or [{}]
    if "filter=userName" in path and users[0].get("active") is False:
        return replace(answer, json=answer.json | {"totalResults": 0, "Resources": []})
    return answer


def ignore_filters(call: Call, method: str, path: str, body: Any) -> Answer:
    """Answer a filter with the whole list."""
    return call(method, path.split("?")[0] if "filter=" in path else path, body)


def send_total_as_text(call: Call, method: str, path: str, body: Any) -> Answer:
    """Send `totalResults` as text."""
    answer = call(method, path, body)
    if "totalResults" in (answer.json or {}):
        return replace(answer, json=answer.json | {"totalResults": str(answer.json["totalResults"])})
    return answer


def keep_active(call: Call, method: str, path: str, body: Any) -> Answer:
    """Leave everybody active at a PUT."""
    return call(method, path, body | {"active": True} if method == "PUT" else body)


def omit_id(call: Call, method: str, path: str, body: Any) -> Answer:
    """Answer a create without an id."""
    answer = call(method, path, body)
    return replace(answer, json={}) if method == "POST" else answer


def answer_html(call: Call, method: str, path: str, body: Any) -> Answer:
    """Answer as a proxy whose server is down."""
    return Answer(502, None, "<html>Bad Gateway</html>", 0.0)


def refuse_connections(call: Call, method: str, path: str, body: Any) -> Answer:
    """Give no answer."""
    return Answer(0, None, "connection refused", 0.0)


def ignore_deletes(call: Call, method: str, path: str, body: Any) -> Answer:
    """Confirm a DELETE, and do not make it."""
    return Answer(204, None, "", 0.0) if method == "DELETE" else call(method, path, body)


def _is_removal(method: str, body: Any) -> bool:
    return bool(method == "PATCH" and body["Operations"][0]["op"] == "remove")
