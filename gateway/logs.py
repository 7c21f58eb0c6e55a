"""Lines of the log: whatever a client sent stands in one line, escaped, and no traceback looks like another line."""

from __future__ import annotations

import logging

from gateway.scim.escaping import escape_controls


class LineFormatter(logging.Formatter):
    """A record is one line; a traceback follows in lines that begin with `| `."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line."""
        return escape_controls(super().formatMessage(record))

    def formatException(self, ei: object) -> str:
        """The traceback."""
        return _followed(super().formatException(ei))  # type: ignore[arg-type]

    def formatStack(self, stack_info: str) -> str:
        """The stack that a record asked for."""
        return _followed(super().formatStack(stack_info))


def _followed(text: str) -> str:
    return "\n".join(f"| {escape_controls(line)}" for line in text.split("\n"))
