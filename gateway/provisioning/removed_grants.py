"""Prunes the memberships that deleted users had: a task of the worker."""

from __future__ import annotations

from collections.abc import Callable

from gateway.store import Store
from gateway.store.ids_and_time import DAY, HOUR, now

#: Days for which the memberships of a deleted user are remembered.
DAYS = 30
#: Memberships that are removed in one round of the worker.
MOST = 1000


class RemovedGrantPruning:
    """Prunes old memberships once an hour, a piece in each round. Several processes may do so at once."""

    def __init__(self, store: Store, clock: Callable[[], int] = now) -> None:
        """`clock` returns microseconds since 1970."""
        self._store, self._clock = store, clock
        #: The hour in which everything that was old then had been pruned.
        self._pruned_in = 0

    def prune(self) -> None:
        """Prune the next piece, if it is time. Raises Unavailable."""
        moment = self._clock()
        if moment // HOUR == self._pruned_in:
            return
        with self._store.transaction():
            pruned = self._store.removed_grants.prune(moment - DAYS * DAY, MOST)
        if pruned < MOST:
            self._pruned_in = moment // HOUR
