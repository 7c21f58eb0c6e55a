"""Formats log records: text of clients is escaped and stays in one line, and no traceback looks like another record."""

from __future__ import annotations

import logging

from gateway.scim.escaping import escape_controls


class LineFormatter(logging.Formatter):
    """Formats a record as one line; a traceback follows in lines that begin with `| `."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line of a record, escaped."""
        return escape_controls(super().formatMessage(record))

    def formatException(self, ei: object) -> str:
        """Return the lines of a traceback, marked and escaped."""
        return _mark_lines(super().formatException(ei))  # type: ignore[arg-type]

    def formatStack(self, stack_info: str) -> str:
        """Return the lines of a stack, marked and escaped."""
        return _mark_lines(super().formatStack(stack_info))


def _mark_lines(text: str) -> str:
    return "\n".join(f"| {escape_controls(line)}" for line in text.split("\n"))
