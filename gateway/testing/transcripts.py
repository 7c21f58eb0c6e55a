"""Transcripts: recorded requests of an identity provider with the answers that it needs, and their replay.

`plugins/README.md` describes the format under «Transcripts». Requests go through a session; each difference between an
answer and the transcript is a sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.simulation.api import Answer, Session

PLACEHOLDER = re.compile(r"\{\{([\w.-]+)\}\}")
ANYTHING = "{{any}}"
ELLIPSIS = "…"
#: Kinds of sources; the `source` of each transcript has one of these words.
SOURCES = ("documented", "captured", "reported", "made up")
_KEYS = {"title", "source", "headers", "settings", "exchanges", "application_sees"}
_EXCHANGE = {"why", "request", "expect", "capture"}
_REQUEST = {"method", "path", "headers", "body", "token"}
_EXPECT = {"status", "json", "absent"}


def read(folder: Path | None) -> dict[str, dict[str, Any]]:
    """Read the transcripts of a folder, by name. Raises ValueError for a file that is no JSON object."""
    transcripts: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json")) if folder else ():
        try:
            transcripts[path.stem] = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(f"The transcript {path} cannot be read: {error}.") from None
        if not isinstance(transcripts[path.stem], dict):
            raise ValueError(f"The transcript {path} is no JSON object.")
    return transcripts


def find_mistakes(transcript: Mapping[str, Any]) -> list[str]:
    """Return the mistakes in the form of a transcript: unknown keys, no source, values that were not captured."""
    mistakes = _unknown("the transcript", transcript, _KEYS)
    mistakes += [f"{key} is missing" for key in ("title", "source", "exchanges") if not transcript.get(key)]
    if not any(word in transcript.get("source", "") for word in SOURCES):
        mistakes.append(f"source says none of {', '.join(SOURCES)}")
    known = {"any"}
    for number, exchange in enumerate(transcript.get("exchanges", ()), 1):
        at = f"exchange {number}"
        mistakes += _unknown(at, exchange, _EXCHANGE)
        mistakes += _unknown(f"the request of {at}", exchange.get("request", {}), _REQUEST)
        mistakes += _unknown(f"what {at} expects", exchange.get("expect", {}), _EXPECT)
        mistakes += [
            f"{at} has no {key}" for key in ("method", "path") if key not in exchange.get("request", {})
        ]
        used = {name for key in ("request", "expect") for name in _placeholders(exchange.get(key))}
        mistakes += [f"{at} needs {name}, which was not captured before" for name in sorted(used - known)]
        known |= set(exchange.get("capture", {}))
    return mistakes


def list_refusals(transcript: Mapping[str, Any]) -> list[int]:
    """Return the statuses of the refused requests, sorted: the failures that the activity must show.

    An exchange that takes several statuses alike is not counted.
    """
    statuses = (exchange.get("expect", {}).get("status", 200) for exchange in transcript["exchanges"])
    return sorted(status for status in statuses if isinstance(status, int) and status >= 400)


def _unknown(what: str, given: Mapping[str, Any], known: set[str]) -> list[str]:
    return [f"{what} has a key {key!r} that means nothing" for key in sorted(set(given) - known)]


def replay(session: Session, transcript: Mapping[str, Any]) -> list[str]:
    """Send all requests of a transcript, compare the answers, and return the differences as sentences.

    The replay ends where an earlier answer lacked what a request needs.
    """
    known: dict[str, Any] = {}
    sentences: list[str] = []
    for number, exchange in enumerate(transcript["exchanges"], 1):
        wanted = _fill({key: exchange.get(key) for key in ("request", "expect")}, known)
        if missing := ", ".join(sorted(set(_placeholders(wanted)))):
            return [*sentences, f"Exchange {number} needs {missing}, which no answer gave."]
        answer = _send(session, transcript.get("headers", {}), wanted["request"])
        title = f"Exchange {number}, {wanted['request']['method']} {wanted['request']['path']}"
        sentences += [f"{title}: {each}" for each in _compare(answer, wanted["expect"] or {})]
        known |= _captured(answer, exchange.get("capture", {}))
    return sentences


def compare_lists(transcript: Mapping[str, Any], **lists: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the differences between `application_sees` and what the application sees.

    `lists` are those of the admin API, as `users=` and `groups=`, each whole.
    """
    promised = transcript.get("application_sees", {})
    return [each for name in promised for each in differences(promised[name], list(lists[name]), name)]


def differences(wanted: Any, found: Any, at: str = "the body") -> Iterator[str]:
    """Yield each way in which `found` is not what was wanted.

    An object may hold more than is wanted; a list holds just as many entries, in any order; text that begins
    or ends with an ellipsis may go on there; `{{any}}` is anything but null and empty.
    """
    if isinstance(wanted, dict) and isinstance(found, dict):
        for name, value in wanted.items():
            yield from differences(value, found.get(name), f"{at}.{name}")
    elif isinstance(wanted, list) and isinstance(found, list):
        yield from _list_differences(wanted, found, at)
    elif not _same(wanted, found):
        yield f"{at} is {found!r}, expected {wanted!r}"


def _list_differences(wanted: Sequence[Any], found: Sequence[Any], at: str) -> Iterator[str]:
    left = list(found)
    for entry in wanted:
        match = next((each for each in left if not any(differences(entry, each))), None)
        if match is None:
            yield f"{at} has no entry like {entry!r}: {found!r}"
        else:
            left.remove(match)
    if len(found) != len(wanted):
        yield f"{at} has {len(found)} entries, expected {len(wanted)}"


def _same(wanted: Any, found: Any) -> bool:
    if wanted == ANYTHING:
        return found not in (None, "", [], {})
    if isinstance(wanted, str) and isinstance(found, str):
        return _same_text(wanted, found)
    return type(wanted) is type(found) and wanted == found


def _same_text(wanted: str, found: str) -> bool:
    pattern = re.escape(wanted.strip(ELLIPSIS))
    before = ".*" if wanted.startswith(ELLIPSIS) else ""
    after = ".*" if wanted.endswith(ELLIPSIS) else ""
    return re.fullmatch(before + pattern + after, found, re.DOTALL) is not None


def _compare(answer: Answer, expect: Mapping[str, Any]) -> Iterator[str]:
    statuses = expect.get("status", 200)
    statuses = statuses if isinstance(statuses, list) else [statuses]
    if answer.status not in statuses:
        yield f"status {answer.status}, expected {' or '.join(map(str, statuses))}: {answer.text[:200]}"
        return
    if "json" in expect:
        yield from differences(expect["json"], answer.json)
    for path in expect.get("absent", ()):
        if _at(answer.json, path) is not None:
            yield f"{path} should be absent, and is {_at(answer.json, path)!r}"


def _send(session: Session, usual: Mapping[str, str], request: Mapping[str, Any]) -> Answer:
    body = request.get("body")
    headers = {**usual, **request.get("headers", {})}
    if body is None:
        headers = {name: value for name, value in headers.items() if name.lower() != "content-type"}
    return session.call(request["method"], request["path"], body, token=request.get("token"), headers=headers)


def _captured(answer: Answer, capture: Mapping[str, str]) -> dict[str, Any]:
    values = {name: _at(answer.json, path) for name, path in capture.items()}
    return {name: value for name, value in values.items() if value is not None}


def _at(document: Any, path: str) -> Any:
    """Return the value at a dotted path; a number in it is a place in a list. None where there is nothing.

    A key may hold dots itself, as a URN does: the longest key that the path goes on with is meant.
    """
    if not path:
        return document
    if isinstance(document, list):
        place, _, rest = path.partition(".")
        return _at(dict(enumerate(document)).get(int(place)), rest) if place.isdigit() else None
    if not isinstance(document, dict):
        return None
    names = [name for name in document if path == name or path.startswith(f"{name}.")]
    longest = max(names, key=len, default=None)
    return None if longest is None else _at(document[longest], path[len(longest) + 1 :])


def _fill(value: Any, known: Mapping[str, Any]) -> Any:
    """Fill in the placeholders; text that is nothing but one takes the type of the value."""
    if isinstance(value, dict):
        return {name: _fill(held, known) for name, held in value.items()}
    if isinstance(value, list):
        return [_fill(held, known) for held in value]
    if not isinstance(value, str):
        return value
    if (whole := PLACEHOLDER.fullmatch(value)) and whole[1] in known:
        return known[whole[1]]
    return PLACEHOLDER.sub(lambda match: str(known.get(match[1], match[0])), value)


def _placeholders(value: Any) -> list[str]:
    if isinstance(value, dict | list):
        held = value.values() if isinstance(value, dict) else value
        return [each for inner in held for each in _placeholders(inner)]
    found = PLACEHOLDER.findall(value) if isinstance(value, str) else []
    return [name for name in found if name != "any"]
