"""The refusal of a database that does not serve. Which error of a driver means that, its engine knows."""

from __future__ import annotations

from gateway.scim.errors import Unavailable

OUTAGE = "The gateway cannot serve this now: {}. Nothing was changed; try again later."


class Outage(Unavailable):
    """The database does not serve. `what` says why in a few words; `detail` replaces the usual sentence.

    `lasts`: it does not pass by itself, somebody has to do something about it, and waiting is in vain.
    """

    def __init__(self, what: str, detail: str | None = None, lasts: bool = False) -> None:
        super().__init__(detail or OUTAGE.format(what), retry_after=10)
        self.what, self.lasts = what, lasts
