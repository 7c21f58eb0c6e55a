"""The rules of delivery to a webhook: what an answer means, when an event is sent again, when an endpoint is given up.

Pure: moments are arguments, in microseconds since 1970.
"""

from __future__ import annotations

import random
from enum import Enum

from gateway.store.ids_and_time import DAY

#: Seconds until an event is sent again after its first, second, … failure; after later ones the last.
WAITS = (5, 15, 60, 300, 900)
#: Part of a wait by which it is shorter or longer, so that streams which failed together are not repeated together.
JITTER = 0.2
#: Seconds of `Retry-After` that are honoured at most.
MAX_RETRY_AFTER = 3600
#: Failures in a row from which on an endpoint is `failing`.
FAILING_AFTER = 4
#: Failures in a row from which on an endpoint is sent one event at a time, with pauses, whatever organizations wait.
PAUSED_AFTER = 3
#: Statuses that refuse an event rather than say that the endpoint is out of order, and how many of them park it. By
#: the waits between them that takes more than an hour.
REFUSALS = frozenset((400, 409, 413, 415, 422))
PARKED_AFTER = 10
#: Microseconds without success after which an endpoint is disabled.
DISABLED_AFTER = 5 * DAY
GONE = 410


class Verdict(Enum):
    """What becomes of an event after an attempt."""

    DELIVERED = "delivered"
    RETRY = "retry"
    PARK = "park"
    DISABLE = "disable"


def judge(status: int | None, failures: int) -> Verdict:
    """Say what becomes of an event. `status`: of the answer, None without one; `failures`: earlier ones in a row."""
    if status is not None and 200 <= status < 300:
        return Verdict.DELIVERED
    if status == GONE:
        return Verdict.DISABLE
    if status in REFUSALS and failures + 1 >= PARKED_AFTER:
        return Verdict.PARK
    return Verdict.RETRY


def wait(failures: int, retry_after: int | None = None) -> int:
    """Return the microseconds until the next attempt, after so many failures in a row, at least one.

    `retry_after`: the seconds that the endpoint asked for; less than the wait of the rules counts for nothing.
    """
    seconds = WAITS[min(failures, len(WAITS)) - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
    return int(max(seconds, min(retry_after or 0, MAX_RETRY_AFTER)) * 1_000_000)


def is_given_up(failing_since: int | None, moment: int) -> bool:
    """Return whether an endpoint that fails at this moment is disabled: it had no success for five days."""
    return failing_since is not None and moment - failing_since >= DISABLED_AFTER


def describe(status: int | None, error: str | None) -> str:
    """Return in one sentence why an attempt failed, as events and the console name it."""
    if error:
        return error
    if status == GONE:
        return "The endpoint answered 410: it wants no more events."
    return f"The endpoint answered {status}."
