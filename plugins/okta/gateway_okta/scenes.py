"""How a conversation with a server under test is told: scenes, acted over a line, become steps."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from gateway import Answer, Session, Step
from gateway_okta import checks, wire

#: How much of a body that Okta could not read is repeated in an explanation.
SHOWN = 120
CALLS_SHOWN = 5


@dataclass
class Line:
    """A line to the server, for one scene. It remembers what was sent and what came."""

    session: Session
    sent: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

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
        answer = self.session.call(method, path, body, token=token, headers=headers)
        self.sent.append(f"{method} {unquote(path)} ({answer.status or 'no answer'})")
        self.answers.append(answer)
        return answer


@dataclass
class Actor:
    """Whom a conversation is about. `lost` once the server gave nothing that it could go on with."""

    label: str = ""
    id: str = ""
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """One thing that Okta does. `act` says how it went, or raises `Unmet`; after a vital one that failed, the
    conversation is over.
    """

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
        yield from together([self._converse(session, actor) for actor in self.cast], concurrency)

    def _converse(self, session: Session, actor: Actor) -> Iterator[Step]:
        for scene in self.scenes:
            if actor.lost:
                return
            step = _played(self.phase, scene, actor, Line(session))
            actor.lost = scene.vital and not step.ok
            yield step


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


def _played(phase: str, scene: Scene, actor: Actor, line: Line) -> Step:
    try:
        ok, outcome = True, scene.act(line, actor)
    except checks.Unmet as unmet:
        ok, outcome = False, f"Came {_came(line.answers)}. Expected {unmet}."
    title = f"{actor.label}: {scene.title}" if actor.label else scene.title
    return Step(phase, title, ok, f"Sent {_sent(line.sent)}. {outcome}", tuple(line.answers))


def _sent(calls: Sequence[str]) -> str:
    """The last few calls: an import has as many as there are pages."""
    hidden = len(calls) - CALLS_SHOWN
    return (f"{hidden} calls, then " if hidden > 0 else "") + ", then ".join(calls[-CALLS_SHOWN:])


def _came(answers: Sequence[Answer]) -> str:
    answer = answers[-1]
    if answer.status == 0:
        return f"no answer ({answer.text})"
    if isinstance(detail := checks.dig(answer.json, "detail"), str):
        return f'{answer.status} with the detail "{detail}"'
    if answer.json is None and answer.text:
        return f"{answer.status} with a body that is not JSON: {answer.text[:SHOWN]!r}"
    return str(answer.status)
