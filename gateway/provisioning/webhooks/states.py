"""What is recorded when an endpoint begins to fail, is disabled, or recovers: events to other endpoints, a log line."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway.store import Store
from gateway.store.activity import ActivityLine
from gateway.store.events import Event
from gateway.store.ids_and_time import now
from gateway.store.webhooks import DISABLED, FAILING, ON, OPERATOR, LiveWebhook

log = logging.getLogger("gateway.webhooks")

_TYPES = {ON: "webhook.recovered", FAILING: "webhook.failing", DISABLED: "webhook.disabled"}


class StateChange(NamedTuple):
    """An endpoint as it was read, and its new state. `failing_since`: of its first failure after a success."""

    webhook: LiveWebhook
    state: str
    reason: str | None
    failing_since: int | None

    def log(self) -> None:
        """Write a line for operators; the host of the URL and no more of it."""
        say = log.info if self.state == ON else log.warning
        words = {ON: "recovered", FAILING: "is failing", DISABLED: "is disabled"}[self.state]
        say(
            "webhook %s at %s %s%s",
            self.webhook.uid,
            self._host(),
            words,
            f": {self.reason}" if self.reason else "",
        )

    def activity_line(self, organization_id: int) -> ActivityLine:
        """Return the line of the organization's activity that says so; of an operator's endpoint without the reason."""
        works = self.state == ON
        status, outcome = (200, "success") if works else (502, "failure")
        operation, reason = _TYPES[self.state].replace(".", " "), self.reason
        if reason and self.webhook.owner == OPERATOR:
            reason = "It is a webhook of the operator, who sees the reason there."
        return ActivityLine(
            organization_id, None, None, operation, None, status, outcome, reason, "[]", "[]", None,
            self.webhook.uid,
        )  # fmt: skip

    def event(self, organization_uid: str | None) -> Event:
        """Return the event of the deployment that says so."""
        data = {
            "id": self.webhook.uid,
            "organization": organization_uid,
            "url_host": self._host(),
            "reason": self.reason,
        }
        return Event(
            _TYPES[self.state], "Webhook", self.webhook.uid, None, json.dumps(data, ensure_ascii=False)
        )

    def _host(self) -> str:
        return urlsplit(self.webhook.url).hostname or ""


def record_states(store: Store, changes: Sequence[StateChange]) -> list[StateChange]:
    """Store the states of endpoints that nobody changed meanwhile, and their events; return those that were stored.

    At the end of a transaction.
    """
    stored = []
    for change in changes:
        webhook = change.webhook
        if store.webhooks.set_state(
            webhook.id, webhook.version, change.state, change.reason, change.failing_since
        ):
            stored.append(change)
            if change.state == ON:
                store.webhook_positions.end_waits(webhook.id)
    events = []
    for change in stored:
        key = change.webhook.organization_id
        events.append(change.event(store.organizations.by_key(key).uid if key is not None else None))
        if key is not None:
            store.activity.add([(now(), change.activity_line(key))])
    # Last: nothing is published until the transaction ends.
    for event in events:
        store.publications.add_event(event)
    return stored
