"""Clients for simulators: they send requests through a session and record what is needed for an explanation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote_plus

from gateway.scim.json_text import Json
from gateway.scim.schemas import PATCH_URN
from gateway.simulation.api import Answer, Session

#: Characters of a body that is no JSON, in an explanation.
EXCERPT_LENGTH = 120
#: Calls that an explanation names; earlier ones are counted.
CALLS_SHOWN = 5


class ExpectationError(Exception):
    """An answer that ends an action. The message is what was expected, as the end of a sentence."""


@dataclass
class Client:
    """A client for one action. It records the requests and their answers."""

    session: Session
    requests: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] = {},
    ) -> Answer:
        """Send one request and return the answer, whatever its status."""
        answer = self.session.call(method, path, body, token=token, headers=headers)
        self.requests.append(f"{method} {unquote_plus(path)} ({answer.status or 'no answer'})")
        self.answers.append(answer)
        return answer

    def explain(self, outcome: str) -> str:
        """Return the explanation of a step: the last few requests, then the outcome."""
        hidden = len(self.requests) - CALLS_SHOWN
        calls = ", then ".join(self.requests[-CALLS_SHOWN:])
        return f"Sent {f'{hidden} calls, then ' if hidden > 0 else ''}{calls}. {outcome}"

    def describe_last_answer(self) -> str:
        """Return the last answer in short: the status, with the detail of an error or the start of a foreign body."""
        answer = self.answers[-1]
        if answer.status == 0:
            return f"no answer ({answer.text})"
        if isinstance(detail := get_member(answer.json, "detail"), str):
            return f'{answer.status} with the detail "{detail}"'
        if answer.json is None and answer.text:
            return f"{answer.status} with a body that is not JSON: {answer.text[:EXCERPT_LENGTH]!r}"
        return str(answer.status)


@dataclass
class ScimClient(Client):
    """A client that speaks plain RFC 7644 and checks that the answers conform to it.

    Each method raises ExpectationError for an answer that it cannot use.
    """

    def call(self, method: str, path: str, *statuses: int, body: Any = None) -> Json:
        """Send a request that must have one of the statuses. Returns the JSON object of the answer, empty for 204."""
        answer = self.send(method, path, body)
        expect_status(answer, *statuses)
        if answer.status == 204:
            return {}
        if not isinstance(answer.json, dict):
            raise ExpectationError("a JSON object")
        return answer.json

    def call_for_resource(self, method: str, path: str, *statuses: int, body: Any = None) -> Json:
        """Send a request that must be answered with a whole resource, which has an id."""
        resource = self.call(method, path, *statuses, body=body)
        if not isinstance(resource.get("id"), str) or not resource["id"]:
            raise ExpectationError("the whole resource with an id that is text and not empty")
        return resource

    def list_resources(self, path: str) -> list[Json]:
        """Return the resources of a list response (RFC 7644, 3.4.2)."""
        answer = self.call("GET", path, 200)
        total, resources = answer.get("totalResults"), answer.get("Resources") or []
        if not isinstance(total, int) or isinstance(total, bool):
            raise ExpectationError(f"totalResults to be a number, and not {total!r}")
        if not isinstance(resources, list) or not all(
            isinstance(get_member(resource, "id"), str) for resource in resources
        ):
            raise ExpectationError("Resources to be a list of resources that have an id")
        return resources

    def find(self, kind: str, attribute: str, value: str) -> Json | None:
        """Return the one resource with that value, letter case aside, or None. `kind` is `Users` or `Groups`."""
        resources = self.list_resources(f"/{kind}?filter={quote(filter_equal(attribute, value), safe='')}")
        if not all(str(get_member(each, attribute)).lower() == value.lower() for each in resources):
            raise ExpectationError(f"nobody but {value}: the filter was not followed")
        if len(resources) > 1:
            raise ExpectationError("one at most")
        return resources[0] if resources else None

    def get_member_ids(self, group_id: str) -> set[str]:
        """Return the ids of a group's members."""
        members = self.call_for_resource("GET", f"/Groups/{group_id}", 200).get("members") or []
        if not isinstance(members, list) or not all(
            isinstance(get_member(entry, "value"), str) for entry in members
        ):
            raise ExpectationError("members to be a list of objects with a value")
        return {entry["value"] for entry in members}


def expect_status(answer: Answer, *statuses: int) -> None:
    """Raise ExpectationError where the answer has none of the statuses."""
    if answer.status not in statuses:
        raise ExpectationError(f"status {' or '.join(map(str, statuses))}")


def expect_equal(value: Any, expected: Any, name: str) -> None:
    """Raise ExpectationError where a value of the server, called `name`, is not the expected one."""
    if value != expected:
        raise ExpectationError(f"{name} to be {expected!r}, and not {value!r}")


def get_member(document: Any, name: str) -> Any:
    """Return the attribute of an object; None for anything that is no object."""
    return document.get(name) if isinstance(document, dict) else None


def filter_equal(attribute: str, value: str) -> str:
    """Return the filter `attribute eq "value"`, not yet percent-encoded."""
    return f"{attribute} eq {json.dumps(value, ensure_ascii=False)}"


def patch_message(*operations: Json) -> Json:
    """Return the body of a PATCH (RFC 7644, 3.5.2)."""
    return {"schemas": [PATCH_URN], "Operations": list(operations)}
