"""Translates filters as Entra and Microsoft's examples write them to RFC 7644."""

from __future__ import annotations

import json
import re

from gateway import ENTERPRISE_URN

#: One token: a text in quotes, a parenthesis, or a name, operator or value.
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|[()\[\]]|[^\s"()\[\]]+')
#: Identifiers, whose value Microsoft's examples leave without quotes (documented).
IDENTIFIERS = frozenset({"id", "externalid"})
OPERATORS = frozenset({"eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le", "pr"})


def translate_filter(text: str) -> str | None:
    """Quote identifiers, and put the enterprise URN before `manager`, which is no attribute of a core user.

    Returns None where the filter needs neither.
    """
    words = list(_WORD.finditer(text))
    changes: list[tuple[int, int, str]] = []
    for number, word in enumerate(words[:-1]):
        before = words[number - 1][0].lower() if number else "and"
        operator = words[number + 1][0].lower()
        if before not in ("and", "or", "not", "(") or operator not in OPERATORS:
            continue
        if word[0].lower() == "manager":
            changes.append((word.start(), word.end(), f"{ENTERPRISE_URN}:{word[0]}"))
        value = words[number + 2] if number + 2 < len(words) else None
        is_bare = value is not None and value[0][0] not in '"()[]'
        if value is not None and is_bare and word[0].lower() in IDENTIFIERS and operator in ("eq", "ne"):
            changes.append((value.start(), value.end(), json.dumps(value[0])))
    for start, end, changed in reversed(changes):
        text = text[:start] + changed + text[end:]
    return text if changes else None
