"""The texts that identify a person, and how a sentence is without them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

#: What stands where a text was cut.
CUT = "…"
#: A shorter text is looked for in what is about the person alone: it would be found in any sentence.
LEAST = 3
_SINGLE = ("userName", "displayName", "externalId", "nickName", "profileUrl")
_NAMES = ("formatted",)
_PLURAL = ("emails", "phoneNumbers", "ims", "photos", "x509Certificates")
_ADDRESS = ("formatted", "streetAddress")
_ENTERPRISE = ("employeeNumber",)
#: A quoted text: what a sentence says of a value. An apostrophe within a word begins none.
_QUOTED = re.compile(r"""(?<!\w)(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")(?!\w)""")


def identifying_texts(document: Mapping[str, Any]) -> set[str]:
    """Return the texts of a user's document that name this person and hardly anything else.

    A department or title is none of them: sentences about others hold it, too.
    """
    return {text for text in _candidates(document) if isinstance(text, str) and len(text) >= LEAST}


def _candidates(document: Mapping[str, Any]) -> Iterator[Any]:
    yield from (document.get(name) for name in _SINGLE)
    name = document.get("name")
    if isinstance(name, dict):
        yield from (name.get(part) for part in _NAMES)
        yield f"{name.get('givenName', '')} {name.get('familyName', '')}".strip()
    for attribute in _PLURAL:
        for entry in _entries(document.get(attribute)):
            yield entry.get("value")
            yield entry.get("display")
    for entry in _entries(document.get("addresses")):
        yield from (entry.get(part) for part in _ADDRESS)
    for urn, extension in document.items():
        if urn.startswith("urn:") and isinstance(extension, dict):
            yield from (extension.get(part) for part in _ENTERPRISE)


def _entries(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


class Eraser:
    """Finds and cuts the texts of one person, letter case aside, where they are no part of a longer word."""

    def __init__(self, texts: Iterable[str]) -> None:
        forms = {form for text in texts for form in (text, json.dumps(text)[1:-1])}
        longest_first = sorted(forms, key=len, reverse=True)
        pattern = "|".join(map(re.escape, longest_first)) or r"(?!)"
        self._texts = re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.IGNORECASE)

    def finds(self, text: str | None) -> bool:
        """Return whether a text, or JSON, holds one of the person's."""
        return bool(text) and self._texts.search(str(text)) is not None

    def cut(self, text: str | None) -> str | None:
        """Return a sentence without the person's texts."""
        return None if text is None else self._texts.sub(CUT, text)

    def cut_all(self, text: str | None) -> str | None:
        """Return a sentence about the person: without its texts, and without any quoted value."""
        return None if text is None else _QUOTED.sub(f"'{CUT}'", self._texts.sub(CUT, text))

    def cut_json(self, text: str, about_person: bool = False) -> str:
        """Return JSON whose texts are cut: by `cut_all` in what is about the person, else by `cut`."""
        if text in ("{}", "[]"):
            return text
        cut = self.cut_all if about_person else self.cut
        return json.dumps(_map_texts(json.loads(text), cut))


def _map_texts(value: Any, cut: Any) -> Any:
    if isinstance(value, str):
        return cut(value)
    if isinstance(value, list):
        return [_map_texts(each, cut) for each in value]
    if isinstance(value, dict):
        return {name: _map_texts(each, cut) for name, each in value.items()}
    return value
