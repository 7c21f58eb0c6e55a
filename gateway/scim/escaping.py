"""Control characters: refused in names, escaped in text of clients that is shown within a line."""

from __future__ import annotations

import re

from gateway.scim.errors import InvalidValue

#: C0, DEL and C1 (Unicode's category Cc), separators of lines and paragraphs, and characters that turn the direction of
#: the rest (Unicode Standard Annex 9: embeddings, overrides, isolates). U+200E and U+200F are allowed.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def first_control(text: str) -> str | None:
    """Return the first control character of a text as `U+000A`, or None if the text is one plain line."""
    found = None if text.isascii() and text.isprintable() else _CONTROL.search(text)
    return f"U+{ord(found[0]):04X}" if found else None


def check_line(text: str, path: str) -> None:
    """Refuse a name that is not one line of plain text. Raises InvalidValue."""
    if control := first_control(text):
        raise InvalidValue(f"{path} holds the control character {control}; a name is one line of plain text.")


def escape_controls(text: str) -> str:
    r"""Replace the control characters of a text by escapes such as `\n`, `\x1b`, `\u2028`."""
    if text.isascii() and text.isprintable():
        return text
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
