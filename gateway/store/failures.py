"""The refusal of a database that does not serve. Which error of a driver means that, its engine knows."""

from __future__ import annotations

from gateway.scim.errors import Unavailable

OUTAGE = "The gateway cannot serve this now: {}. Nothing was changed; try again later."
#: What does not pass by itself, so that waiting for it is in vain.
_LASTING = ("the disk is full", "the database is read-only", "the database cannot be opened")


class Outage(Unavailable):
    """The database does not serve. `what` says why in a few words; `detail` replaces the usual sentence."""

    def __init__(self, what: str, detail: str | None = None) -> None:
        super().__init__(detail or OUTAGE.format(what), retry_after=10)
        self.what = what

    @property
    def lasts(self) -> bool:
        """Whether somebody has to do something about it."""
        return self.what in _LASTING
