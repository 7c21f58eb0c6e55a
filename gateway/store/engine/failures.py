"""The refusal while a database is out of service. Each engine maps the errors of its driver to it."""

from __future__ import annotations

from gateway.scim.errors import Unavailable

OUTAGE = "The gateway cannot serve this now: {}. Nothing was changed; try again later."


class Outage(Unavailable):
    """The database is out of service: `what` says why in a few words, `detail` replaces the usual sentence.

    `lasts` is True if it does not recover by itself, so that waiting is in vain.
    """

    def __init__(self, what: str, detail: str | None = None, lasts: bool = False) -> None:
        super().__init__(detail or OUTAGE.format(what), retry_after=10)
        self.what, self.lasts = what, lasts
