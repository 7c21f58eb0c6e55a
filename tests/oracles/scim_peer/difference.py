"""One known difference, and the search for the one that explains a case."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import currently_in_test_context, event


@dataclass(frozen=True)
class Difference:
    """What the two sides are known to do differently, and whom the RFC bears out: ours, theirs, or nobody (open)."""

    name: str
    about: type
    holds: Callable
    rule: str
    right: str
    example: Any


def recognized(table, case):
    """Return the name of the difference that explains a case; `--hypothesis-show-statistics` counts them.

    Raises AssertionError where none of the table does.
    """
    names = [known.name for known in table if known.about is type(case) and known.holds(case)]
    assert names, f"not in the table of differences: {case}"
    if currently_in_test_context():
        event(names[0])
    return names[0]
