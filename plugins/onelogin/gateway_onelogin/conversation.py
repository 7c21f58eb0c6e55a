"""How a conversation with a server under test is held: scenes, acted over a line, become steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from gateway import Answer, Session, Step

Json = dict[str, Any]

LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"


class Unmet(Exception):
    """An answer that cannot be gone on with. Says what was expected, as the end of a sentence."""


@dataclass
class Actor:
    """Whom a conversation is about. `lost` once the server gave nothing that it could go on with."""

    label: str
    id: str = ""
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """One thing that is done. `act` says how it went or raises Unmet; after a vital one that failed all is over."""

    title: str
    act: Callable[[Line, Any], str]
    vital: bool = False


@dataclass(frozen=True, slots=True)
class Act:
    """The same scenes for each of the cast: that many conversations, which may be held at the same time."""

    phase: str
    scenes: Sequence[Scene]
    cast: Sequence[Actor]

    @property
    def steps(self) -> int:
        return len(self.scenes) * len(self.cast)

    def play(self, session: Session, concurrency: int) -> Iterator[Step]:
        with ThreadPoolExecutor(max(1, concurrency)) as pool:
            for steps in pool.map(lambda actor: self._converse(session, actor), self.cast):
                yield from steps

    def _converse(self, session: Session, actor: Actor) -> list[Step]:
        taken: list[Step] = []
        for scene in self.scenes:
            if not actor.lost:
                taken.append(_played(self.phase, scene, actor, Line(session)))
                actor.lost = scene.vital and not taken[-1].ok
        return taken


@dataclass
class Line:
    """A line to the server, for one scene. It remembers what was sent and what came."""

    session: Session
    sent: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def call(self, method: str, path: str, *statuses: int, body: Any = None) -> Json:
        """The object that was answered, empty where there was no body. Raises Unmet for any other status."""
        answer = self.session.call(method, path, body)
        self.sent.append(f"{method} {unquote(path)} ({answer.status or 'no answer'})")
        self.answers.append(answer)
        if answer.status not in statuses:
            raise Unmet(f"status {' or '.join(map(str, statuses))}")
        if answer.status == 204:
            return {}
        if not isinstance(answer.json, dict):
            raise Unmet("a JSON object")
        return answer.json

    def resource(self, method: str, path: str, *statuses: int, body: Any = None) -> Json:
        """A whole resource, which has an id."""
        found = self.call(method, path, *statuses, body=body)
        if not isinstance(found.get("id"), str) or not found["id"]:
            raise Unmet("the whole resource with an id that is text and not empty")
        return found

    def listed(self, path: str) -> list[Json]:
        """The resources of a list answer (RFC 7644, 3.4.2)."""
        answer = self.call("GET", path, 200)
        total, found = answer.get("totalResults"), answer.get("Resources") or []
        if not isinstance(total, int) or isinstance(total, bool):
            raise Unmet(f"totalResults to be a number, and not {total!r}")
        if not isinstance(found, list) or not all(isinstance(at(entry, "id"), str) for entry in found):
            raise Unmet("Resources to be a list of resources that have an id")
        return found

    def found(self, kind: str, attribute: str, value: str) -> Json | None:
        """The one resource with that value, letter case aside, or None."""
        query = quote(f"{attribute} eq {json.dumps(value, ensure_ascii=False)}", safe="")
        found = self.listed(f"/{kind}?filter={query}")
        if not all(str(at(entry, attribute)).lower() == value.lower() for entry in found):
            raise Unmet(f"nobody but {value}: the filter was not followed")
        if len(found) > 1:
            raise Unmet("one at most")
        return found[0] if found else None

    def members(self, group_id: str) -> set[str]:
        """The ids of a group's members."""
        found = self.resource("GET", f"/Groups/{group_id}", 200).get("members") or []
        if not isinstance(found, list) or not all(isinstance(at(entry, "value"), str) for entry in found):
            raise Unmet("members to be a list of objects with a value")
        return {entry["value"] for entry in found}


def at(document: Any, name: str) -> Any:
    """The attribute of an object, or None for anything else."""
    return document.get(name) if isinstance(document, dict) else None


def equal(found: Any, wanted: Any, what: str) -> None:
    """Raises Unmet where the server tells something else."""
    if found != wanted:
        raise Unmet(f"{what} to be {wanted!r}, and not {found!r}")


def _played(phase: str, scene: Scene, actor: Actor, line: Line) -> Step:
    try:
        ok, outcome = True, scene.act(line, actor)
    except Unmet as unmet:
        ok, outcome = False, f"Came {_came(line.answers[-1])}. Expected {unmet}."
    title = f"{actor.label}: {scene.title}" if actor.label else scene.title
    return Step(phase, title, ok, f"Sent {', then '.join(line.sent)}. {outcome}", tuple(line.answers))


def _came(answer: Answer) -> str:
    if answer.status == 0:
        return f"no answer ({answer.text})"
    if isinstance(detail := at(answer.json, "detail"), str):
        return f'{answer.status} with the detail "{detail}"'
    if answer.json is None and answer.text:
        return f"{answer.status} with a body that is not JSON: {answer.text[:120]!r}"
    return str(answer.status)
