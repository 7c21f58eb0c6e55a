"""The stage for simulators, offered at the door: scenes, acted over a line to the server under test, become steps.

A plugin brings what its identity provider does, as scenes, and how its lines speak, as a kind of `Line`.
"""

from __future__ import annotations

import json
import queue
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote_plus

from gateway.scim.json_text import Json
from gateway.simulation.api import Answer, Session, Step

#: How much of a body that is no JSON is repeated in an explanation.
SHOWN = 120
CALLS_SHOWN = 5


class Unmet(Exception):
    """An answer that cannot be gone on with. Says what was expected, as the end of a sentence."""


@dataclass
class Line:
    """A line to the server, for one scene. It remembers what was sent and what came."""

    session: Session
    sent: list[str] = field(default_factory=list)
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
        """One request, whatever comes of it."""
        answer = self.session.call(method, path, body, token=token, headers=headers)
        self.sent.append(f"{method} {unquote_plus(path)} ({answer.status or 'no answer'})")
        self.answers.append(answer)
        return answer

    def told(self, outcome: str) -> str:
        """What was sent, the last few calls of it, and what came of it."""
        hidden = len(self.sent) - CALLS_SHOWN
        calls = (f"{hidden} calls, then " if hidden > 0 else "") + ", then ".join(self.sent[-CALLS_SHOWN:])
        return f"Sent {calls}. {outcome}"

    def came(self) -> str:
        """The last answer, in short."""
        answer = self.answers[-1]
        if answer.status == 0:
            return f"no answer ({answer.text})"
        if isinstance(detail := at(answer.json, "detail"), str):
            return f'{answer.status} with the detail "{detail}"'
        if answer.json is None and answer.text:
            return f"{answer.status} with a body that is not JSON: {answer.text[:SHOWN]!r}"
        return str(answer.status)


@dataclass
class PlainLine(Line):
    """A line that speaks plain RFC 7644, and needs of an answer what that says."""

    def call(self, method: str, path: str, *statuses: int, body: Any = None) -> Json:
        """The object that was answered, empty where there was no body. Raises Unmet for any other status."""
        answer = self.send(method, path, body)
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


@dataclass
class Actor:
    """Whom a conversation is about. `lost` once the server gave nothing that it could go on with."""

    label: str = ""
    id: str = ""
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """One thing that is done. `act` says how it went or raises Unmet; after a vital one that failed all is over."""

    title: str
    act: Callable[[Any, Any], str]
    vital: bool = False


@dataclass(frozen=True, slots=True)
class Act:
    """The same scenes for each of the cast: that many conversations, which may be held at the same time."""

    phase: str
    scenes: Sequence[Scene]
    cast: Sequence[Actor]
    line: Callable[[Session], Line] = PlainLine

    @property
    def steps(self) -> int:
        """How many there are when all goes well."""
        return len(self.scenes) * len(self.cast)

    def play(self, session: Session, concurrency: int) -> Iterator[Step]:
        """All of it, so many conversations at a time."""
        yield from together([self._converse(session, actor) for actor in self.cast], concurrency)

    def _converse(self, session: Session, actor: Actor) -> Iterator[Step]:
        for scene in self.scenes:
            if actor.lost:
                return
            line = self.line(session)
            try:
                ok, outcome = True, scene.act(line, actor)
            except Unmet as unmet:
                ok, outcome = False, f"Came {line.came()}. Expected {unmet}."
            actor.lost = scene.vital and not ok
            title = f"{actor.label}: {scene.title}" if actor.label else scene.title
            yield Step(self.phase, title, ok, line.told(outcome), tuple(line.answers))


def together(conversations: Sequence[Iterable[Step]], workers: int) -> Iterator[Step]:
    """The steps of all conversations, each as soon as it was taken; `workers` are held at a time."""
    if workers <= 1:
        for conversation in conversations:
            yield from conversation
        return
    told: queue.SimpleQueue[Step | None] = queue.SimpleQueue()
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(_tell, conversation, told) for conversation in conversations]
        try:
            for _ in conversations:
                yield from iter(told.get, None)
            for future in futures:
                future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _tell(conversation: Iterable[Step], told: queue.SimpleQueue[Step | None]) -> None:
    try:
        for step in conversation:
            told.put(step)
    finally:
        told.put(None)


def at(document: Any, name: str) -> Any:
    """The attribute of an object, or None for anything else."""
    return document.get(name) if isinstance(document, dict) else None


def expect_equal(found: Any, wanted: Any, what: str) -> None:
    """Raises Unmet where the server tells something else."""
    if found != wanted:
        raise Unmet(f"{what} to be {wanted!r}, and not {found!r}")
