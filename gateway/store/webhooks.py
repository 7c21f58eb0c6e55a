"""Webhooks: endpoints, what was sent to them, and the events that they refused for good.

How far each is, by organization, stands in `webhook_positions`. Operations that name an organization find its own
webhooks only; None stands for an operator, who finds all.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from gateway.store.engine.base import Database
from gateway.store.events import event_key, event_of
from gateway.store.ids_and_time import new_id, now
from gateway.store.organizations import HELD
from gateway.store.records import AttemptRecord, OrganizationRecord, ParkedRecord, WebhookRecord
from gateway.store.secret_values import SecretValues, UnreadableSecret

OPERATOR, ORGANIZATION = "operator", "organization"
ON, PAUSED, FAILING, DISABLED = "on", "paused", "failing", "disabled"
SUCCESS, FAILURE = OUTCOMES = ("success", "failure")

_COLUMNS = (
    "id, uid, organization_id, owner, url, format, types, state, reason, secret, old_secret, old_until,"
    " failing_since, succeeded, created, created_by, modified, version"
)
_QUALIFIED = ", ".join(f"w.{name.strip()}" for name in _COLUMNS.split(","))
_WEBHOOK = f"SELECT {_QUALIFIED}, o.uid, o.name FROM webhooks w LEFT JOIN organizations o ON o.id = w.organization_id"
_ATTEMPT_COLUMNS = (
    "webhook_id, organization_id, seq, type, message_id, at, outcome, status, ms, error, response"
)
#: What of an endpoint a person changes; the deliverer changes `state`, `reason`, `failing_since`.
_CHANGED = frozenset(
    ("url", "format", "types", "state", "reason", "failing_since", "secret", "old_secret", "old_until")
)


class LiveWebhook(NamedTuple):
    """An endpoint that messages are sent to; `secrets` are in the clear, the newest first."""

    id: int
    uid: str
    organization_id: int | None
    owner: str
    url: str
    format: str
    #: None for all.
    types: frozenset[str] | None
    state: str
    #: Empty if no key of this deployment opens them.
    secrets: tuple[str, ...]
    failing_since: int | None
    succeeded: int | None
    created: int
    modified: int
    version: int

    def __repr__(self) -> str:
        """Leave out the secrets."""
        return f"LiveWebhook(uid={self.uid!r}, state={self.state!r})"


class Attempt(NamedTuple):
    """An attempt to deliver an event, as it is written; `at` in microseconds, `outcome` one of `OUTCOMES`."""

    webhook_id: int
    organization_id: int
    seq: int
    type: str
    message_id: str
    at: int
    outcome: str
    status: int | None
    ms: int
    error: str | None
    response: str | None


class Webhooks:
    """Endpoints, their attempts and their parked events."""

    def __init__(self, database: Database, secret_key: str, old_keys: Sequence[str] = ()) -> None:
        self._db, self._secrets = database, SecretValues(secret_key, old_keys)

    # Endpoints ------------------------------------------------------------------------------------------------------

    def add(
        self, organization: OrganizationRecord | None, owner: str, url: str, format: str, types: Sequence[str] | None,
        secret: str, created_by: str | None,
    ) -> WebhookRecord:  # fmt: skip
        """Insert an endpoint. Its positions are `webhook_replays.move_to_newest`'s."""
        uid, moment = new_id(), now()
        self._db.run(
            "INSERT INTO webhooks (uid, organization_id, owner, url, format, types, state, secret, created, created_by,"
            " modified, version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)",
            *(uid, organization.id if organization else None, owner, url, format, _types_text(types), ON),
            *(self._secrets.seal(uid, secret), moment, created_by, moment),
        )
        webhook = self.by_id(None, uid)
        assert webhook is not None
        return webhook

    def by_id(self, organization: OrganizationRecord | None, uid: str) -> WebhookRecord | None:
        """Find an endpoint by its public id."""
        where, parameters = _within(organization)
        row = self._db.one(f"{_WEBHOOK} WHERE w.uid = ?{where}", uid, *parameters)
        return WebhookRecord._make(row) if row else None

    def page(self, organization: OrganizationRecord | None, after: int, limit: int) -> list[WebhookRecord]:
        """List endpoints after a key, in order of creation."""
        where, parameters = _within(organization)
        rows = self._db.all(
            f"{_WEBHOOK} WHERE w.id > ?{where} ORDER BY w.id LIMIT ?", after, *parameters, limit
        )
        return [WebhookRecord._make(row) for row in rows]

    def count(self, organization: OrganizationRecord | None) -> int:
        """Return how many endpoints an organization has of its own; None: how many the operator has."""
        sql = "SELECT COUNT(*) FROM webhooks WHERE owner = ?"
        row = (
            self._db.one(f"{sql} AND organization_id = ?", ORGANIZATION, organization.id)
            if organization
            else self._db.one(sql, OPERATOR)
        )
        return row[0] if row else 0

    def count_states(self) -> dict[str, int]:
        """Return how many endpoints of all organizations are in each state."""
        return dict(self._db.all("SELECT state, COUNT(*) FROM webhooks GROUP BY state"))

    def troubled(self, organization: OrganizationRecord | None, limit: int) -> list[WebhookRecord]:
        """List endpoints that are failing or disabled."""
        where, parameters = _within(organization)
        rows = self._db.all(
            f"{_WEBHOOK} WHERE w.state IN (?, ?){where} ORDER BY w.id LIMIT ?",
            FAILING,
            DISABLED,
            *parameters,
            limit,
        )
        return [WebhookRecord._make(row) for row in rows]

    def change(self, webhook: WebhookRecord, **values: Any) -> bool:
        """Set columns of an endpoint; return False if it was changed or removed since it was read.

        `types` is a sequence or None, `secret` in the clear; the old one stays valid until `old_until`.
        """
        assert values.keys() <= _CHANGED
        if "types" in values:
            values["types"] = _types_text(values["types"])
        if "secret" in values:
            values["secret"] = self._secrets.seal(webhook.uid, values["secret"])
        sets = "".join(f"{name} = ?, " for name in values)
        return (
            self._db.run(
                f"UPDATE webhooks SET {sets}modified = ?, version = version + 1 WHERE id = ? AND version = ?",
                *(*values.values(), now(), webhook.id, webhook.version),
            )
            > 0
        )

    def rotate_secret(self, webhook: WebhookRecord, secret: str, old_until: int) -> bool:
        """Replace the secret; the one before stays valid until `old_until` (microseconds). False as in `change`."""
        return self.change(webhook, secret=secret, old_secret=webhook.secret, old_until=old_until)

    def remove_attempts(self, webhook: WebhookRecord, most: int) -> int:
        """Delete so many attempts of an endpoint at most; return how many it were."""
        return self._db.run(
            "DELETE FROM webhook_attempts WHERE id IN (SELECT id FROM webhook_attempts WHERE webhook_id = ? LIMIT ?)",
            *(webhook.id, most),
        )

    def remove(self, webhook: WebhookRecord) -> bool:
        """Remove an endpoint with its positions, attempts and parked events; False if it was changed since."""
        return (
            self._db.run("DELETE FROM webhooks WHERE id = ? AND version = ?", webhook.id, webhook.version) > 0
        )

    # For the deliverer ----------------------------------------------------------------------------------------------

    def fingerprint(self) -> tuple[int, int]:
        """Return a value that is another one after any endpoint was added, changed or removed."""
        row = self._db.one("SELECT COUNT(*), COALESCE(SUM(id * 1000003 + version), 0) FROM webhooks")
        return (int(row[0]), int(row[1])) if row else (0, 0)

    def live(self) -> list[LiveWebhook]:
        """Return all endpoints that are on or failing and have a URL, with their secrets; those without are polled.

        Secrets that an older key of the deployment sealed are stored under the newest one.
        """
        rows = self._db.all(f"{_WEBHOOK} WHERE w.state IN (?, ?) AND w.url <> '' ORDER BY w.id", ON, FAILING)
        return [self._live(WebhookRecord._make(row)) for row in rows]

    def open(self, webhook: WebhookRecord) -> LiveWebhook:
        """Return an endpoint, in whatever state, with its secrets."""
        return self._live(webhook)

    def _live(self, record: WebhookRecord) -> LiveWebhook:
        secrets = [self._open(record, "secret", record.secret)]
        if record.old_secret and record.old_until and record.old_until > now():
            secrets.append(self._open(record, "old_secret", record.old_secret))
        types = record.type_names
        return LiveWebhook(
            record.id, record.uid, record.organization_id, record.owner, record.url, record.format,
            None if types is None else frozenset(types), record.state, tuple(s for s in secrets if s),
            record.failing_since, record.succeeded, record.created, record.modified, record.version,
        )  # fmt: skip

    def _open(self, record: WebhookRecord, column: str, sealed: str) -> str | None:
        try:
            opened = self._secrets.open(record.uid, sealed)
        except UnreadableSecret:
            return None
        if opened.stale:
            with self._db.transaction():
                self._db.run(
                    f"UPDATE webhooks SET {column} = ? WHERE id = ? AND {column} = ?",
                    *(self._secrets.seal(record.uid, opened.text), record.id, sealed),
                )
        return opened.text

    def set_state(
        self, webhook_id: int, version: int, state: str, reason: str | None, failing_since: int | None
    ) -> bool:
        """Store the state that the deliverer found; False if the endpoint was changed since `version`."""
        return (
            self._db.run(
                "UPDATE webhooks SET state = ?, reason = ?, failing_since = ?, modified = ?, version = version + 1"
                " WHERE id = ? AND version = ? AND state IN (?, ?)",
                *(state, reason, failing_since, now(), webhook_id, version, ON, FAILING),
            )
            > 0
        )

    def record_successes(self, moments: Sequence[tuple[int, int]]) -> None:
        """Store when endpoints last received an event: pairs of microseconds and key. No new version."""
        # Sorted: nodes that update the same endpoints at once would otherwise deadlock.
        self._db.run_many(
            "UPDATE webhooks SET succeeded = ? WHERE id = ? AND COALESCE(succeeded, 0) < ?",
            [(moment, key, moment) for moment, key in sorted(moments, key=lambda pair: pair[1])],
        )

    # Attempts -------------------------------------------------------------------------------------------------------

    def add_attempts(self, attempts: Sequence[Attempt]) -> None:
        """Insert attempts; those of endpoints that were removed meanwhile are left out."""
        if not attempts:
            return
        keys = sorted({attempt.webhook_id for attempt in attempts})
        # PostgreSQL: until the transaction ends they are not removed, and may be changed.
        lock = " FOR KEY SHARE" if self._db.held else ""
        found = self._db.among(keys, lambda marks: f"SELECT id FROM webhooks WHERE id IN ({marks}){lock}")
        present = {row[0] for row in found}
        rows = [attempt for attempt in attempts if attempt.webhook_id in present]
        if rows:
            self._db.insert(f"webhook_attempts ({_ATTEMPT_COLUMNS})", rows)

    def attempts(
        self, webhook: WebhookRecord, outcome: str | None, before: int | None, limit: int
    ) -> list[AttemptRecord]:
        """List attempts, the newest first, that precede the key `before`; None for the newest ones."""
        parameters: list[Any] = [webhook.id]
        where = ""
        if outcome is not None:
            where += " AND outcome = ?"
            parameters.append(outcome)
        if before is not None:
            where += " AND id < ?"
            parameters.append(before)
        rows = self._db.all(
            f"{_ATTEMPT} WHERE webhook_id = ?{where} ORDER BY id DESC LIMIT ?", *parameters, limit
        )
        return [AttemptRecord._make(row) for row in rows]

    def attempt(self, webhook: WebhookRecord, key: int) -> AttemptRecord | None:
        """Find an attempt of an endpoint by its key."""
        row = self._db.one(f"{_ATTEMPT} WHERE webhook_id = ? AND id = ?", webhook.id, key)
        return AttemptRecord._make(row) if row else None

    def prune_attempts(self, before: int, most: int) -> int:
        """Delete so many attempts at most that were made before a time (microseconds); return how many it were."""
        return self._db.run(
            "DELETE FROM webhook_attempts WHERE id IN"
            f" (SELECT id FROM webhook_attempts WHERE at < ? AND organization_id NOT IN {HELD} ORDER BY at LIMIT ?)",
            *(before, most),
        )

    # Parked events --------------------------------------------------------------------------------------------------

    def park(self, webhook_id: int, organization_id: int, seq: int, error: str) -> None:
        """Store that an endpoint refused an event for good; the next one follows."""
        self._db.run(
            "INSERT INTO webhook_parked (webhook_id, organization_id, seq, since, error)"
            " SELECT id, ?, ?, ?, ? FROM webhooks WHERE id = ? ON CONFLICT DO NOTHING",
            *(organization_id, seq, now(), error, webhook_id),
        )

    def parked(self, webhook: WebhookRecord, after: int, limit: int) -> list[ParkedRecord]:
        """List parked events after a key, by organization and number."""
        rows = self._db.all(
            f"{_PARKED} WHERE p.webhook_id = ? AND (p.organization_id, p.seq) > (?, ?)"
            " ORDER BY p.organization_id, p.seq LIMIT ?",
            *(webhook.id, *event_of(after), limit),
        )
        return [ParkedRecord._make(row) for row in rows]

    def find_parked(self, webhook: WebhookRecord, key: int) -> ParkedRecord | None:
        """Find one parked event by its key."""
        row = self._db.one(
            f"{_PARKED} WHERE p.webhook_id = ? AND p.organization_id = ? AND p.seq = ?",
            webhook.id,
            *event_of(key),
        )
        return ParkedRecord._make(row) if row else None

    def count_parked(self, webhook_id: int) -> int:
        """Return how many events an endpoint has parked."""
        row = self._db.one("SELECT COUNT(*) FROM webhook_parked WHERE webhook_id = ?", webhook_id)
        return row[0] if row else 0

    def remove_parked(self, webhook_id: int, organization_id: int, seq: int) -> bool:
        """Remove a parked event; False if there is none."""
        return (
            self._db.run(
                "DELETE FROM webhook_parked WHERE webhook_id = ? AND organization_id = ? AND seq = ?",
                *(webhook_id, organization_id, seq),
            )
            > 0
        )


_ATTEMPT = f"SELECT id, {_ATTEMPT_COLUMNS.removeprefix('webhook_id, ')} FROM webhook_attempts"
_PARKED = (
    f"SELECT {event_key('p.organization_id', 'p.seq')}, p.organization_id, o.uid, p.seq, p.since, p.error, e.type,"
    " e.resource, e.resource_uid FROM webhook_parked p LEFT JOIN organizations o ON o.id = p.organization_id"
    f" LEFT JOIN events e ON e.id = {event_key('p.organization_id', 'p.seq')}"
)


def _types_text(types: Sequence[str] | None) -> str | None:
    return None if types is None else json.dumps(sorted(set(types)))


def _within(organization: OrganizationRecord | None) -> tuple[str, tuple[Any, ...]]:
    if organization is None:
        return "", ()
    return " AND w.owner = ? AND w.organization_id = ?", (ORGANIZATION, organization.id)
