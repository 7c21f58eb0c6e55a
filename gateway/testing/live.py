"""A transcript told to a server that has other things to do: its names are kept apart, and what it made is taken away.

Nothing here knows a server. What the application sees is left to the tests of the plugin.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from gateway.scim.json_text import Json
from gateway.simulation.api import Answer, Session
from gateway.testing.transcripts import PLACEHOLDER, replay

#: By these a server knows a user or group.
_KNOWN_BY = frozenset({"username", "externalid"})
_LIST = re.compile(r"/(Users|Groups)(\?|$)")
#: Numbers of a whole list, which on a server that has other users are not those of the story.
_NUMBERS = frozenset({"totalResults", "itemsPerPage", "Resources"})
#: Where no name stands: their values belong to the protocol.
_PROTOCOL = frozenset({"schemas", "op", "path"})


def hold(session: Session, transcript: Mapping[str, Any], mark: str) -> list[str]:
    """Tell the story, with names that carry `mark`, and take away what it made. Differences as sentences.

    Where the server has users or groups already, the numbers of whole lists are not compared.
    """
    remembering = _Remembering(session)
    story = apart(transcript, mark)
    if any(_total(session, kind) for kind in ("Users", "Groups")):
        story = loosened(story)
    try:
        return replay(remembering, story)
    finally:
        remembering.forget()


def apart(transcript: Mapping[str, Any], mark: str) -> Json:
    """The same story with a mark in every user name, external id and group name, wherever they stand."""
    names: set[str] = set()
    for exchange in transcript["exchanges"]:
        request = exchange["request"]
        known_by = _KNOWN_BY | {"displayname"} if request["path"].startswith("/Groups") else _KNOWN_BY
        names |= set(_names(request.get("body"), known_by))
    if not names:
        return dict(transcript)
    spelt = {way(name) for name in names for way in (str, quote, quote_plus, _quoted_but_at)}
    either = "|".join(re.escape(name) for name in sorted(spelt, key=len, reverse=True))
    # A name stands by itself; in a query, behind the quotation mark %22.
    pattern = re.compile(rf"(?:(?<=%[0-9A-Fa-f]{{2}})|(?<![\w-]))(?:{either})(?![\w-])", re.IGNORECASE)
    return {**transcript, "exchanges": [_marked(each, pattern, mark) for each in transcript["exchanges"]]}


def loosened(transcript: Mapping[str, Any]) -> Json:
    """The same story, in which the numbers of lists without a filter are not compared."""
    told = []
    for exchange in transcript["exchanges"]:
        request, expect = exchange["request"], exchange.get("expect") or {}
        whole = (
            request["method"] == "GET" and _LIST.match(request["path"]) and "filter=" not in request["path"]
        )
        if whole and isinstance(expect.get("json"), dict):
            kept = {key: value for key, value in expect["json"].items() if key not in _NUMBERS}
            exchange = {**exchange, "expect": {**expect, "json": kept}}
        told.append(exchange)
    return {**transcript, "exchanges": told}


class _Remembering:
    """A session that knows what was made through it."""

    def __init__(self, session: Session) -> None:
        self._session, self._made = session, list[str]()

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        answer = self._session.call(method, path, body, **more)
        if (
            method == "POST"
            and answer.status == 201
            and isinstance(answer.json, dict)
            and answer.json.get("id")
        ):
            self._made.append(f"{path.partition('?')[0]}/{quote(str(answer.json['id']))}")
        return answer

    def forget(self) -> None:
        """Delete it, the last first. A server that deletes no users keeps them, under names nobody meets again."""
        for path in reversed(self._made):
            self._session.call("DELETE", path, headers={})


def _total(session: Session, kind: str) -> int:
    answer = session.call("GET", f"/{kind}?startIndex=1&count=1", headers={})
    total = answer.json.get("totalResults") if isinstance(answer.json, dict) else None
    return total if isinstance(total, int) else 0


def _names(value: Any, known_by: frozenset[str]) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _names(each, known_by)
    elif isinstance(value, dict):
        named = {str(value.get("path", "")).rpartition(":")[2].lower(): value.get("value")}
        for key, held in {
            **{key.rpartition(":")[2].lower(): held for key, held in value.items()},
            **named,
        }.items():
            if key in known_by and isinstance(held, str) and held.strip() and not PLACEHOLDER.search(held):
                yield held
            yield from _names(held, known_by)


def _marked(exchange: Mapping[str, Any], pattern: re.Pattern[str], mark: str) -> Json:
    request = exchange["request"]
    path, query, asked = request["path"].partition("?")
    marked = {**request, "path": path + query + _text(asked, pattern, mark)}
    if "body" in request:
        marked["body"] = _value(request["body"], pattern, mark)
    expect = dict(exchange.get("expect") or {})
    if "json" in expect:
        expect["json"] = _value(expect["json"], pattern, mark)
    return {**exchange, "request": marked, "expect": expect}


def _value(value: Any, pattern: re.Pattern[str], mark: str) -> Any:
    if isinstance(value, dict):
        return {key: held if key in _PROTOCOL else _value(held, pattern, mark) for key, held in value.items()}
    if isinstance(value, list):
        return [_value(held, pattern, mark) for held in value]
    return _text(value, pattern, mark) if isinstance(value, str) else value


def _text(text: str, pattern: re.Pattern[str], mark: str) -> str:
    """The text with every name marked, but for what stands in its placeholders."""
    parts = re.split(r"(\{\{[\w.-]+\}\})", text)
    return "".join(
        part if number % 2 else pattern.sub(lambda match: _with_mark(match[0], mark), part)
        for number, part in enumerate(parts)
    )


def _with_mark(name: str, mark: str) -> str:
    """An address gets its mark before the @, anything else at its end."""
    local, at, domain = re.fullmatch(r"(.*?)(@|%40|$)(.*)", name, re.DOTALL).groups()  # type: ignore[union-attr]
    return f"{local}-{mark}{at}{domain}" if local and domain else f"{name}-{mark}"


def _quoted_but_at(name: str) -> str:
    return quote(name, safe="@")
