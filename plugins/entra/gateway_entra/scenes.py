"""How a conversation with a server under test is told: each scene asks, checks what came, and is a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

from gateway import Answer, Session, Step
from gateway_entra import wire

Json = dict[str, Any]
#: How much of an answer that is no JSON is repeated.
SHOWN = 120


class Unmet(Exception):
    """An answer that Entra cannot go on with. Says what was expected, as the end of a sentence."""


@dataclass
class Talk:
    """The requests and answers of one scene. Entra names no content type where there is no body (reported)."""

    session: Session
    sent: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def call(
        self, method: str, path: str, body: Any = None, *expected: int, token: str | None = None
    ) -> Answer:
        """Send one request, and hand back the answer if it has one of the expected statuses."""
        headers = {} if body is None else wire.WITH_BODY
        answer = self.session.call(method, path, body, token=token, headers=headers)
        self.sent.append(f"{method} {unquote_plus(path)} ({answer.status or 'no answer'})")
        self.answers.append(answer)
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

    @property
    def came(self) -> str:
        if not self.answers or (answer := self.answers[-1]).status == 0:
            return f"no answer ({self.answers[-1].text})" if self.answers else "nothing"
        if isinstance(answer.json, dict) and isinstance(detail := answer.json.get("detail"), str):
            return f'{answer.status} with the detail "{detail}"'
        return f"{answer.status}" + (
            f" with no JSON: {answer.text[:SHOWN]!r}" if answer.text and answer.json is None else ""
        )


@dataclass
class Actor:
    """Whom a conversation is about. `lost` once the server gave nothing to go on with."""

    label: str = ""
    id: str = ""
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """One thing that Entra does. After a vital one that failed the actor is lost."""

    title: str
    act: Callable[[Talk, Any], str]
    vital: bool = False


@dataclass(frozen=True, slots=True)
class Act:
    """The same scenes for each of the cast."""

    phase: str
    scenes: Sequence[Scene]
    cast: Sequence[Actor]

    @property
    def steps(self) -> int:
        return len(self.scenes) * len(self.cast)

    def play(self, session: Session, concurrency: int) -> Iterator[Step]:
        """One conversation after the other, or as many at a time as `concurrency` says."""
        if concurrency <= 1:
            for actor in self.cast:
                yield from self._converse(session, actor)
            return
        with ThreadPoolExecutor(concurrency) as pool:
            for steps in pool.map(lambda actor: list(self._converse(session, actor)), self.cast):
                yield from steps

    def _converse(self, session: Session, actor: Actor) -> Iterator[Step]:
        for scene in self.scenes:
            if actor.lost:
                return
            talk = Talk(session)
            try:
                ok, outcome = True, scene.act(talk, actor)
            except Unmet as unmet:
                ok, outcome = False, f"Came {talk.came}. Expected {unmet}."
            actor.lost = scene.vital and not ok
            title = f"{actor.label}: {scene.title}" if actor.label else scene.title
            yield Step(
                self.phase, title, ok, f"Sent {', then '.join(talk.sent)}. {outcome}", tuple(talk.answers)
            )


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
