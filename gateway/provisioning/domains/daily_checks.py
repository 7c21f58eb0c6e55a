"""Daily look-ups of verified domains, in a thread of their own: a slow DNS must not delay what the worker does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from gateway.provisioning.caller import Callers
from gateway.provisioning.domains.states import CHECKED_EVERY
from gateway.provisioning.domains.verification import DomainVerification
from gateway.provisioning.trace import Trace
from gateway.scim.errors import NotFound, Refusal
from gateway.store import Store
from gateway.store.ids_and_time import new_id, now

log = logging.getLogger("gateway")

#: Seconds between two questions for domains whose time has come.
PAUSE = 300.0
#: Domains that are looked up after one such question.
MOST = 100
_OPERATION = "POST /organizations/{organization}/domains/{name}/check"


class DailyChecks:
    """Looks up what was looked up a day ago; each domain by one process."""

    def __init__(
        self, store: Store, callers: Callers, verification: DomainVerification, clock: Callable[[], int] = now,
    ) -> None:  # fmt: skip
        """`clock` returns microseconds since 1970."""
        self._store, self._callers, self._verification, self._clock = store, callers, verification, clock
        self._asked = float("-inf")
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def begin_due(self) -> None:
        """Begin the look-ups whose time has come, without waiting for them: a task of the worker."""
        if time.monotonic() - self._asked < PAUSE or (self._thread and self._thread.is_alive()):
            return
        self._asked = time.monotonic()
        if not self._stopping.is_set() and self._store.domains.due(self._clock() - CHECKED_EVERY, 1):
            self._thread = threading.Thread(target=self._run, name="gateway-domains", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End after the look-up that has begun, which takes some seconds at most."""
        self._stopping.set()
        if self._thread:
            self._thread.join(timeout=6)

    def check_due(self) -> int:
        """Look up the domains whose time has come, and return how many they are."""
        due = self._store.domains.due(self._clock() - CHECKED_EVERY, MOST)
        for domain in due:
            if self._stopping.is_set():
                break
            try:
                organization = self._store.organizations.by_key(domain.organization_id)
                trace = Trace(_OPERATION, new_id(), organization.id, principal="the daily check")
                self._verification.check_again(self._callers.admin(organization), domain, trace)
            except NotFound:
                continue  # removed meanwhile
        return len(due)

    def _run(self) -> None:
        try:
            self.check_due()
        except Refusal as refusal:
            log.warning("domains wait for their daily check: %s", refusal.detail)
        finally:
            self._store.database.close()
