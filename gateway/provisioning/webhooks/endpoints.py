"""Operations of admins on webhooks: make, change, pause, resume, rotate the secret, remove.

An organization's admin finds the organization's own; an operator, who is None in place of an organization, finds all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from gateway.config import Config
from gateway.provisioning.caller import Callers
from gateway.provisioning.event_types import EVENT_TYPES, ORGANIZATION_TYPES, check_types
from gateway.provisioning.preconditions import check_version
from gateway.provisioning.trace import Target, Trace
from gateway.provisioning.unit_of_work import UnitsOfWork
from gateway.provisioning.webhooks.addresses import check_url
from gateway.provisioning.webhooks.messages import new_secret
from gateway.scim.errors import Conflict, Forbidden, InvalidValue, NotFound
from gateway.scim.json_text import excerpt
from gateway.store import Store, WriteConflict
from gateway.store.ids_and_time import DAY, now
from gateway.store.records import AttemptRecord, OrganizationRecord, ParkedRecord, WebhookRecord
from gateway.store.webhook_replays import Lag
from gateway.store.webhooks import ON, OPERATOR, ORGANIZATION, OUTCOMES, PAUSED

log = logging.getLogger("gateway.webhooks")

FORMATS = ("standard", "thin", "set")
#: What attempts can be asked for.
ATTEMPT_OUTCOMES = OUTCOMES
#: Endpoints that an organization has, and those that the operator has.
MOST = 20
#: How long the secret before the newest one signs too, in microseconds.
OLD_SECRET_LASTS = DAY
#: What the activity of an organization calls a webhook of the operator, whose hosts and addresses are not its business.
OPERATORS_WEBHOOK = "webhook of the operator"
#: Attempts that one transaction removes.
_PORTION = 5000
#: Times that a change is tried which the deliverer came before.
_TRIES = 5


class WebhookEndpoints:
    """Makes and changes webhooks."""

    def __init__(self, store: Store, units_of_work: UnitsOfWork, callers: Callers, config: Config) -> None:
        self._store, self._units_of_work, self._callers, self._config = store, units_of_work, callers, config

    @property
    def organizations_allowed(self) -> bool:
        """Whether organizations make webhooks of their own."""
        return self._config.organization_webhooks == "on"

    def require_allowed(self) -> None:
        """Refuse an organization's admin where the operator alone makes webhooks. Raises Forbidden."""
        if not self.organizations_allowed:
            raise Forbidden(
                "Organizations have no webhooks of their own here. An operator of the application can make one for this"
                " organization, or allow it to make its own by GATEWAY_ORGANIZATION_WEBHOOKS=on."
            )

    # Reading --------------------------------------------------------------------------------------------------------

    def find(self, organization: OrganizationRecord | None, uid: str) -> WebhookRecord:
        """Return a webhook. Raises NotFound."""
        found = self._store.webhooks.by_id(organization, uid)
        if found is None:
            raise NotFound(f"There is no webhook with the id {excerpt(uid)} here.")
        return found

    def page(self, organization: OrganizationRecord | None, after: int, limit: int) -> list[WebhookRecord]:
        """Return webhooks after a key, in the order of making."""
        return self._store.webhooks.page(organization, after, limit)

    def troubled(self, organization: OrganizationRecord | None) -> list[WebhookRecord]:
        """Return webhooks that are failing or disabled, the first ten."""
        return self._store.webhooks.troubled(organization, 10)

    def lag(self, webhook: WebhookRecord) -> Lag:
        """Return how far a webhook is behind."""
        return self._store.webhook_replays.lag(webhook)

    def attempts(
        self, webhook: WebhookRecord, outcome: str | None, before: int | None, limit: int
    ) -> list[AttemptRecord]:
        """Return attempts before a key, the newest first."""
        return self._store.webhooks.attempts(webhook, outcome, before, limit)

    def parked(self, webhook: WebhookRecord, after: int, limit: int) -> list[ParkedRecord]:
        """Return parked events after a key."""
        return self._store.webhooks.parked(webhook, after, limit)

    def count_parked(self, webhook: WebhookRecord) -> int:
        """Return how many events a webhook has refused for good."""
        return self._store.webhooks.count_parked(webhook.id)

    # Changing -------------------------------------------------------------------------------------------------------

    def add(
        self, organization: OrganizationRecord | None, owner: str, url: str, types: Sequence[str] | None, format: str,
        trace: Trace,
    ) -> tuple[WebhookRecord, str]:  # fmt: skip
        """Make a webhook and return it with its secret, which is shown this once. "" as `url`: it is polled.

        It receives what is committed from now on. Raises InvalidValue, and Conflict where there are too many.
        """
        self._check(owner, organization is None, url, types, format)
        holder = organization if owner == ORGANIZATION else None
        secret = new_secret()
        with self.changing(organization, trace):
            if self._store.webhooks.count(holder) >= MOST:
                whose = "The organization has" if holder else "The operator has"
                raise Conflict(f"{whose} {MOST} webhooks already, which is the most. Remove one first.")
            webhook = self._store.webhooks.add(
                organization, owner, url, format, types, secret, trace.principal
            )
            self._store.webhook_replays.move_to_newest(webhook)
            name_target(webhook, trace)
        self._log("made", webhook, trace)
        return webhook, secret

    def edit(
        self, webhook: WebhookRecord, values: Mapping[str, Any], trace: Trace, if_match: str | None
    ) -> WebhookRecord:
        """Change url, types or format; a new URL is tried at once. Raises PreconditionFailed and InvalidValue."""

        def check(found: WebhookRecord) -> None:
            types = values.get("types", found.type_names)
            chosen = values.get("url", found.url), types, values.get("format", found.format)
            self._check(found.owner, found.organization_id is None, *chosen)

        check(webhook)
        trace.changed = sorted(values)

        def changes(found: WebhookRecord) -> dict[str, Any]:
            if found.version != webhook.version:
                check(found)
            if values.get("url", found.url) != found.url:
                self._store.webhook_replays.end_failures(found)
            return dict(values)

        return self.change(webhook, trace, if_match, changes, "changed")

    def pause(self, webhook: WebhookRecord, trace: Trace, if_match: str | None) -> WebhookRecord:
        """Send nothing more until it is resumed; its events stay in the feed."""
        reason = f"Paused by {trace.principal}."
        return self.change(webhook, trace, if_match, lambda _: {"state": PAUSED, "reason": reason}, "paused")

    def resume(self, webhook: WebhookRecord, start: str, trace: Trace, if_match: str | None) -> WebhookRecord:
        """Go on sending, from the `position` where it stopped or from `now`, which leaves out what is in between."""

        def values(found: WebhookRecord) -> dict[str, Any]:
            if start == "now":
                self._store.webhook_replays.move_to_newest(found)
            self._store.webhook_replays.end_failures(found)
            return {"state": ON, "reason": None, "failing_since": None}

        return self.change(webhook, trace, if_match, values, f"resumed from {start}")

    def rotate_secret(
        self, webhook: WebhookRecord, trace: Trace, if_match: str | None
    ) -> tuple[WebhookRecord, str]:
        """Make a new secret and return it, shown this once; the one before signs too for 24 hours."""
        secret = new_secret()
        values = {"secret": secret, "old_until": now() + OLD_SECRET_LASTS}
        changed = self.change(
            webhook,
            trace,
            if_match,
            lambda found: values | {"old_secret": found.secret},
            "given a new secret",
        )
        return changed, secret

    def remove(self, webhook: WebhookRecord, trace: Trace, if_match: str | None) -> None:
        """Remove a webhook with its attempts and parked events. Raises PreconditionFailed."""
        check_version(webhook, if_match)
        while True:
            with self._store.transaction():
                if self._store.webhooks.remove_attempts(webhook, _PORTION) < _PORTION:
                    break
        for _ in range(_TRIES):
            with self.changing(self.organization_of(webhook), trace):
                found = self.find(None, webhook.uid)
                check_version(found, if_match)
                name_target(found, trace)
                removed = self._store.webhooks.remove(found)
            if removed:
                self._log("removed", webhook, trace)
                return
        raise WriteConflict

    def change(
        self, webhook: WebhookRecord, trace: Trace, if_match: str | None,
        values: Callable[[WebhookRecord], dict[str, Any]], verb: str,
    ) -> WebhookRecord:  # fmt: skip
        """Set what `values` returns for the webhook as it is stored; it is called in the transaction.

        Raises PreconditionFailed, NotFound, and WriteConflict.
        """
        for _ in range(_TRIES):
            with self.changing(self.organization_of(webhook), trace):
                found = self.find(None, webhook.uid)
                check_version(found, if_match)
                name_target(found, trace)
                if self._store.webhooks.change(found, **values(found)):
                    changed = self.find(None, webhook.uid)
                    break
        else:
            raise WriteConflict
        self._log(verb, changed, trace)
        return changed

    def organization_of(self, webhook: WebhookRecord) -> OrganizationRecord | None:
        """Return the organization whose events a webhook receives; None for all."""
        key = webhook.organization_id
        return None if key is None else self._store.organizations.by_key(key)

    @contextmanager
    def changing(self, organization: OrganizationRecord | None, trace: Trace) -> Iterator[None]:
        """Run a transaction that records activity in the organization of the webhook."""
        if organization is None:
            with self._store.transaction():
                yield
            # Whatever fails from here on, the answer must not say that nothing was changed.
            trace.written = True
        else:
            trace.organization_id = organization.id
            with self._units_of_work.open(self._callers.admin(organization), trace):
                yield

    def _check(self, owner: str, of_all: bool, url: str, types: Sequence[str] | None, format: str) -> None:
        if types is not None:
            if not types:
                raise InvalidValue("types is empty: name at least one, or null for all of them.")
            check_types(types, EVENT_TYPES if of_all else ORGANIZATION_TYPES)
        if format not in FORMATS:
            raise InvalidValue(f"There is no format {excerpt(format)}. Choose from: {', '.join(FORMATS)}.")
        if format == "set" and not self._config.public_url:
            raise InvalidValue(
                "Security event tokens name their issuer, the public URL of the gateway: an operator sets"
                " GATEWAY_PUBLIC_URL first."
            )
        if not url and format == "set":
            return
        if not url:
            raise InvalidValue("url is null, which is for the format set alone: its tokens can be polled.")
        check_url(url, self._config.webhook_allow, owner == OPERATOR)

    def _log(self, verb: str, webhook: WebhookRecord, trace: Trace) -> None:
        # The activity is kept by organization, and its people do not learn where the operator's webhooks lead: of these
        # this line is all that is left.
        if webhook.owner == OPERATOR:
            log.info(
                "webhook %s at %s %s by %s, request %s",
                webhook.uid, host_of(webhook.url), verb, trace.principal, trace.request_id,
            )  # fmt: skip


def host_of(url: str) -> str:
    """Return the host of a URL, which may hold a secret in its path or query; `polled` without one."""
    return urlsplit(url).hostname or "polled"


def name_target(webhook: WebhookRecord, trace: Trace) -> None:
    """Name a webhook in the activity by its host, one of the operator without: the organization reads the activity."""
    name = OPERATORS_WEBHOOK if webhook.owner == OPERATOR else host_of(webhook.url)
    trace.target = Target("Webhook", webhook.uid, name)
