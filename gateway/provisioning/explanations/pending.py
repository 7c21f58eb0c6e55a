"""Explanations that are not written yet: bounded in number, whoever sends requests that are refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from gateway.provisioning.caller import IdpCaller
from gateway.provisioning.explanations.steps import Exchange, explain_request
from gateway.provisioning.trace import ExplanationStep, Trace
from gateway.store import Store
from gateway.store.explanations import ExplanationRow
from gateway.store.ids_and_time import DAY, MINUTE, now

#: Explanations of one connection in a minute, by one process: of refusals, of all requests while it is watched, and of
#: callers who are not authenticated.
REFUSALS, WATCHED, STRANGERS = 60, 600, 1
#: Explanations that are held at most until they can be written, and connections whose numbers are counted.
_MOST_PENDING, _MOST_COUNTED = 2_000, 1_000
#: Old explanations that are pruned by one flush.
_PRUNED = 1_000

#: Returns the values of a connection's settings that its plugin declares secret.
Secrets = Callable[[IdpCaller], Sequence[str]]

__all__ = ["Exchange", "PendingExplanations", "Secrets"]


class PendingExplanations:
    """The explanations of one process until the activity writer writes them. Safe to call from any thread.

    They are kept for `days`; 0 = none is stored. `secrets` returns the secret settings of a connection.
    """

    def __init__(self, store: Store, days: int, secrets: Secrets) -> None:
        self._store, self._days, self._secrets = store, days, secrets
        self._rows: list[ExplanationRow] = []
        #: By connection and kind: the minute, and how many explanations were asked for in it.
        self._counted: dict[tuple[str, str], tuple[int, int]] = {}
        #: The minute in which all explanations that were old then had been pruned.
        self._pruned_in = 0
        self._lock = threading.Lock()

    def add(
        self, trace: Trace, exchange: Callable[[], Exchange], status: int, detail: str | None, at: int
    ) -> None:
        """Add the explanation of a request, unless its connection has had too many in this minute.

        The last one of a minute says that more of them are not explained.
        """
        if not self._days or not trace.connection_uid:
            return
        if trace.principal is None and status >= 400:
            kind, most = "strangers", STRANGERS
        else:
            kind, most = ("watched", WATCHED) if trace.steps is not None else ("refusals", REFUSALS)
        number = self._count(trace.connection_uid, kind, at // MINUTE)
        if number > most:
            return
        shown = exchange()
        secrets = self._secrets(shown.caller) if shown.caller else ()
        last = _last(most) if number == most else None
        row = explain_request(trace, shown, status, detail, at, secrets, last)
        with self._lock:
            self._rows.append(row)
            del self._rows[:-_MOST_PENDING]

    def _count(self, connection_uid: str, kind: str, minute: int) -> int:
        """Count an explanation that is asked for; return its number in this minute."""
        key = connection_uid, kind
        with self._lock:
            if len(self._counted) >= _MOST_COUNTED:
                self._counted.clear()
            before, number = self._counted.get(key, (minute, 0))
            number = number + 1 if before == minute else 1
            self._counted[key] = minute, number
            return number

    def take(self) -> list[ExplanationRow]:
        """Return what is to be written, and hold it no longer."""
        with self._lock:
            rows, self._rows = self._rows, []
        return rows

    def put_back(self, rows: list[ExplanationRow]) -> None:
        """Hold again what could not be written."""
        with self._lock:
            self._rows = (rows + self._rows)[-_MOST_PENDING:]

    def write(self, rows: list[ExplanationRow]) -> None:
        """Write explanations, but those of an organization that was removed since, and prune old ones.

        Part of the transaction of a flush.
        """
        if rows:
            present = self._store.organizations.present(sorted({row.organization_id for row in rows}))
            self._store.explanations.add([row for row in rows if row.organization_id in present])
        minute = now() // MINUTE
        if minute != self._pruned_in:
            pruned = self._store.explanations.prune(now() - self._days * DAY, _PRUNED)
            self._pruned_in = minute if pruned < _PRUNED else 0


def _last(most: int) -> ExplanationStep:
    return ExplanationStep(
        "explanation",
        "gateway",
        f"This is explanation {most} of this connection in this minute: further requests of it are not explained.",
    )
