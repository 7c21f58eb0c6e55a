"""Replay of a transcript against a server in use: under names of its own, and deleting what it created.

`application_sees` is not compared here: that is left to the tests of the plugin.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from gateway.scim.json_text import Json
from gateway.simulation.api import Answer, Session
from gateway.testing.transcripts import PLACEHOLDER, replay

#: Attributes by which a server identifies a user or group.
_IDENTIFYING = frozenset({"username", "externalid"})
_LIST = re.compile(r"/(Users|Groups)(\?|$)")
#: Parts of the answer to a whole list, which differ on a server that has other users.
_LIST_PARTS = frozenset({"totalResults", "itemsPerPage", "Resources"})
#: Keys whose values are no names: they belong to the protocol.
_PROTOCOL = frozenset({"schemas", "op", "path"})


def replay_live(session: Session, transcript: Mapping[str, Any], mark: str) -> list[str]:
    """Replay a transcript with names that carry `mark`, delete what it created, and return the differences.

    Where the server has users or groups already, whole lists are not compared.
    """
    recording = _RecordingSession(session)
    marked = mark_names(transcript, mark)
    if any(_total(session, kind) for kind in ("Users", "Groups")):
        marked = ignore_whole_lists(marked)
    try:
        return replay(recording, marked)
    finally:
        recording.delete_created()


def mark_names(transcript: Mapping[str, Any], mark: str) -> Json:
    """Return the transcript with a mark in every user name, external id and group name, wherever they stand."""
    names: set[str] = set()
    for exchange in transcript["exchanges"]:
        request = exchange["request"]
        identifying = (
            _IDENTIFYING | {"displayname"} if request["path"].startswith("/Groups") else _IDENTIFYING
        )
        names |= set(_find_names(request.get("body"), identifying))
    if not names:
        return dict(transcript)
    spelt = {way(name) for name in names for way in (str, quote, quote_plus, _quoted_but_at)}
    either = "|".join(re.escape(name) for name in sorted(spelt, key=len, reverse=True))
    # A name stands by itself; in a query, behind the quotation mark %22.
    pattern = re.compile(rf"(?:(?<=%[0-9A-Fa-f]{{2}})|(?<![\w-]))(?:{either})(?![\w-])", re.IGNORECASE)
    return {
        **transcript,
        "exchanges": [_mark_exchange(each, pattern, mark) for each in transcript["exchanges"]],
    }


def ignore_whole_lists(transcript: Mapping[str, Any]) -> Json:
    """Return the transcript without the expected numbers and resources of lists without a filter."""
    exchanges = []
    for exchange in transcript["exchanges"]:
        request, expect = exchange["request"], exchange.get("expect") or {}
        whole = (
            request["method"] == "GET" and _LIST.match(request["path"]) and "filter=" not in request["path"]
        )
        if whole and isinstance(expect.get("json"), dict):
            compared = {key: value for key, value in expect["json"].items() if key not in _LIST_PARTS}
            exchange = {**exchange, "expect": {**expect, "json": compared}}
        exchanges.append(exchange)
    return {**transcript, "exchanges": exchanges}


class _RecordingSession:
    """A session that records what was created through it."""

    def __init__(self, session: Session) -> None:
        self._session, self._created = session, list[str]()

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        answer = self._session.call(method, path, body, **more)
        if (
            method == "POST"
            and answer.status == 201
            and isinstance(answer.json, dict)
            and answer.json.get("id")
        ):
            self._created.append(f"{path.partition('?')[0]}/{quote(str(answer.json['id']))}")
        return answer

    def delete_created(self) -> None:
        """Delete it, the last first. A server that deletes no users keeps them, under names that no run repeats."""
        for path in reversed(self._created):
            self._session.call("DELETE", path, headers={})


def _total(session: Session, kind: str) -> int:
    answer = session.call("GET", f"/{kind}?startIndex=1&count=1", headers={})
    total = answer.json.get("totalResults") if isinstance(answer.json, dict) else None
    return total if isinstance(total, int) else 0


def _find_names(value: Any, identifying: frozenset[str]) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _find_names(each, identifying)
    elif isinstance(value, dict):
        named = {str(value.get("path", "")).rpartition(":")[2].lower(): value.get("value")}
        for key, held in {
            **{key.rpartition(":")[2].lower(): held for key, held in value.items()},
            **named,
        }.items():
            if key in identifying and isinstance(held, str) and held.strip() and not PLACEHOLDER.search(held):
                yield held
            yield from _find_names(held, identifying)


def _mark_exchange(exchange: Mapping[str, Any], pattern: re.Pattern[str], mark: str) -> Json:
    request = exchange["request"]
    path, query, asked = request["path"].partition("?")
    marked = {**request, "path": path + query + _mark_text(asked, pattern, mark)}
    if "body" in request:
        marked["body"] = _mark_value(request["body"], pattern, mark)
    expect = dict(exchange.get("expect") or {})
    if "json" in expect:
        expect["json"] = _mark_value(expect["json"], pattern, mark)
    return {**exchange, "request": marked, "expect": expect}


def _mark_value(value: Any, pattern: re.Pattern[str], mark: str) -> Any:
    if isinstance(value, dict):
        return {
            key: held if key in _PROTOCOL else _mark_value(held, pattern, mark) for key, held in value.items()
        }
    if isinstance(value, list):
        return [_mark_value(held, pattern, mark) for held in value]
    return _mark_text(value, pattern, mark) if isinstance(value, str) else value


def _mark_text(text: str, pattern: re.Pattern[str], mark: str) -> str:
    """Return the text with every name marked, except in its placeholders."""
    parts = re.split(r"(\{\{[\w.-]+\}\})", text)
    return "".join(
        part if number % 2 else pattern.sub(lambda match: _with_mark(match[0], mark), part)
        for number, part in enumerate(parts)
    )


def _with_mark(name: str, mark: str) -> str:
    """Put the mark before the @ of an address, and at the end of any other name."""
    local, at, domain = re.fullmatch(r"(.*?)(@|%40|$)(.*)", name, re.DOTALL).groups()  # type: ignore[union-attr]
    return f"{local}-{mark}{at}{domain}" if local and domain else f"{name}-{mark}"


def _quoted_but_at(name: str) -> str:
    return quote(name, safe="@")
