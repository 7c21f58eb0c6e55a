"""What deliveries leave to be written: attempts, parked events, states of endpoints. Written together, once a round."""

from __future__ import annotations

import time

from gateway.provisioning.webhooks.states import StateChange, record_states
from gateway.store import Store
from gateway.store.ids_and_time import DAY, now
from gateway.store.webhooks import FAILING, ON, Attempt, LiveWebhook

#: Seconds between two times that the moment of the last success of endpoints is stored.
SUCCESS_SECONDS = 5.0
#: Attempts that are pruned for each that is written.
PRUNED_PER_ATTEMPT = 4


class Unwritten:
    """What one process has not written yet. `attempt_days`: after which attempts are pruned, 0 for never."""

    def __init__(self, attempt_days: int) -> None:
        self._days = attempt_days
        self.attempts: list[Attempt] = []
        #: (webhook, organization, number, why) of events that an endpoint refused for good.
        self.parked: list[tuple[int, int, int, str]] = []
        self.states: dict[int, StateChange] = {}
        #: When endpoints took an event last.
        self._succeeded: dict[int, int] = {}
        self._recorded, self._due = -SUCCESS_SECONDS, False

    def __bool__(self) -> bool:
        """Return whether something should be written in this round."""
        return bool(self.attempts or self.states)

    def record_success(self, webhook: LiveWebhook, moment: int) -> None:
        """Note that an endpoint took an event: if it was failing, it has recovered."""
        self._succeeded[webhook.id] = moment
        pending = self.states.get(webhook.id)
        if webhook.state == FAILING and pending is None:
            self.states[webhook.id] = StateChange(webhook, ON, None, None)
        elif pending is not None and webhook.state == ON and pending.state == FAILING:
            del self.states[webhook.id]

    def write(self, store: Store, everything: bool) -> list[StateChange]:
        """Write all of it at the end of a transaction; return the states that were stored."""
        store.webhooks.add_attempts(self.attempts)
        for parked in self.parked:
            store.webhooks.park(*parked)
        self._due = everything or time.monotonic() - self._recorded >= SUCCESS_SECONDS
        if self._due:
            store.webhooks.record_successes([(at, key) for key, at in self._succeeded.items()])
        if self.attempts and self._days:
            before = now() - self._days * DAY
            store.webhooks.prune_attempts(before, PRUNED_PER_ATTEMPT * len(self.attempts))
        return record_states(store, list(self.states.values()))

    def clear(self) -> None:
        """Forget what was written, after the commit."""
        self.attempts, self.parked, self.states = [], [], {}
        if self._due:
            self._succeeded, self._recorded = {}, time.monotonic()
