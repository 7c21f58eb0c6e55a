"""The use cases on a database whose changes are rolled back: what a request would do, and nothing of it done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway.plugin.contracts import Credentials
from gateway.provisioning import Provisioning
from gateway.provisioning.activity_writer import ActivityWriter
from gateway.provisioning.admission import NOT_VALID, Admission, AdmissionControl, NotAuthenticated
from gateway.provisioning.caller import IdpCaller
from gateway.provisioning.explanations.steps import Exchange, steps_of
from gateway.provisioning.trace import ExplanationStep, Trace
from gateway.scim.errors import Refusal
from gateway.store import Store, open_dry_run
from gateway.store.engine.failures import Outage
from gateway.store.records import ConnectionRecord, EventRecord, OrganizationRecord

#: Events that a dry run shows.
MOST_EVENTS = 100
#: By whom the requests of dry runs are, as their steps say.
_PRINCIPAL = "a dry run"


class InPortions(Refusal):
    """The change takes several transactions, none of which a dry run makes."""

    status = 501


def _refuse_portions() -> None:
    raise InPortions(
        "This change is made in several transactions, in portions. A dry run makes none of them, so its outcome is not"
        " known. Try the same change with fewer members."
    )


class DryRunOutcome(NamedTuple):
    """What a request would have done."""

    events: Sequence[EventRecord]
    seats_before: int
    seats_after: int
    steps: Sequence[ExplanationStep]


class _UnrecordedActivity(ActivityWriter):
    """Collects the traces of a dry run, and writes nothing."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.traces: list[tuple[Trace, Refusal | None]] = []

    def record_read(self, trace: Trace) -> None:
        """Collect the trace of a read."""
        self._collect(trace)

    def record_change(self, trace: Trace) -> None:
        """Collect the trace of a change."""
        self._collect(trace)

    def record_refusal(
        self, trace: Trace, refusal: Refusal, exchange: Callable[[], Exchange] | None = None
    ) -> None:
        """Collect the trace of a refusal."""
        self.traces.append((trace, refusal))

    def record_outage(self, outage: Outage, trace: Trace | None = None) -> None:
        """Leave an outage to the request of the admin, which meets it as well."""

    def explain(self, trace: Trace, exchange: Callable[[], Exchange]) -> None:
        """Collect the trace of a request that leaves no line, too: discovery."""
        self._collect(trace)

    def _collect(self, trace: Trace) -> None:
        if not any(trace is collected for collected, _ in self.traces):
            self.traces.append((trace, None))


class _DryRunAdmission(AdmissionControl):
    """Admits the requests of one connection without a token."""

    connection_uid = ""

    def admit(
        self, slug: str, credentials: Credentials, origin: Callable[[], str], trace: Trace
    ) -> Admission:
        """See AdmissionControl."""
        trace.watch()
        trace.before_portions = _refuse_portions
        found = self._store.connections.find_for_authentication(slug, ())
        if found is None or found.connection.uid != self.connection_uid:
            raise NotAuthenticated(NOT_VALID)
        caller = self._caller(found, origin, trace)
        trace.principal = _PRINCIPAL
        trace.explain(
            "admission", "gateway", "A dry run: no token is looked at, all else is decided as always."
        )
        return self._permit(caller)

    def find(self, slug: str, origin: Callable[[], str], trace: Trace) -> IdpCaller:
        """See AdmissionControl."""
        trace.watch()
        return super().find(slug, origin, trace)


class DryRun(Provisioning):
    """The use cases of one dry run for a connection, in one thread. To be discarded afterwards."""

    def __init__(
        self, gateway: Provisioning, organization: OrganizationRecord, connection: ConnectionRecord
    ) -> None:
        config = gateway.config
        self._organization = organization
        self._database = open_dry_run(gateway.store.database, organization.id)
        store = Store(
            self._database, config.secret_key, config.query_seconds, config.page_bytes, config.secret_key_old
        )
        super().__init__(config, store, gateway.plugins)
        self._activity = _UnrecordedActivity(
            store, self.worker, self.outages, lambda _: None, 0, 0, lambda _: ()
        )
        self.activity_writer = self._activity
        admission = _DryRunAdmission(store, gateway.plugins, self.callers, config.public_url)
        admission.connection_uid = connection.uid
        self.admission = admission

    @property
    def in_portions(self) -> bool:
        """Whether the request was not run, because it takes several transactions."""
        return any(isinstance(refusal, InPortions) for _, refusal in self._activity.traces)

    def outcome(self) -> DryRunOutcome:
        """Return what the request did, before that is discarded."""
        before = self._database.before
        if before is None:
            seats = self.store.organizations.by_key(self._organization.id).seats_used
            return DryRunOutcome((), seats, seats, self._steps())
        after = self.store.organizations.by_key(self._organization.id).seats_used
        events = self.store.events.page(self._organization.id, before[1], MOST_EVENTS)
        return DryRunOutcome(events, before[0], after, self._steps())

    def _steps(self) -> list[ExplanationStep]:
        steps: list[ExplanationStep] = []
        for trace, refusal in self._activity.traces:
            status = refusal.status if refusal else trace.status
            if trace.operation.endswith("(bulk)"):
                steps.append(ExplanationStep("operation", "gateway", f"An operation: {trace.operation}."))
            steps += steps_of(trace, status, refusal.detail if refusal else None)
        return steps

    def discard(self) -> None:
        """Roll back whatever was done."""
        self._database.discard()
