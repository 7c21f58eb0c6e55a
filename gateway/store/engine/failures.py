"""Refusals while a database is out of service, or busy. Each engine maps the errors of its driver to them."""

from __future__ import annotations

from gateway.scim.errors import Unavailable

#: Seconds that a write waits for other writers, at most.
BUSY_SECONDS = 5.0

OUTAGE = "The gateway cannot serve this now: {}. Nothing was changed; try again later."


class Outage(Unavailable):
    """The database is out of service: `what` says why in a few words, `detail` replaces the usual sentence.

    `lasts` is True if it does not recover by itself, so that waiting is in vain.
    """

    def __init__(self, what: str, detail: str | None = None, lasts: bool = False) -> None:
        super().__init__(detail or OUTAGE.format(what), retry_after=10)
        self.what, self.lasts = what, lasts


class Busy(Unavailable):
    """Another process or thread held the lock of writers for too long. No outage: the holder was served."""


def busy() -> Busy:
    """Return the refusal of a database whose lock is held by others."""
    return Busy(OUTAGE.format("the database is busy"), retry_after=10)
