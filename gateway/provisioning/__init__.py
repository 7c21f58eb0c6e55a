"""The operations of the gateway: what `gateway.web` and `gateway.cli` call. They know no web framework.

Each change is one transaction, but for those of very many users. `Provisioning` holds what one application uses.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.config import Config
from gateway.plugin.manager import PluginManager
from gateway.provisioning.activity_writer import ActivityWriter
from gateway.provisioning.admin_tokens import AdminAccess
from gateway.provisioning.admission import AdmissionControl
from gateway.provisioning.adoption.control import AdoptionControl
from gateway.provisioning.adoption.review import Adoptions
from gateway.provisioning.caller import Caller, Callers, IdpCaller
from gateway.provisioning.console_access import ConsoleAccess
from gateway.provisioning.cursors import Cursors
from gateway.provisioning.deployment_state import DeploymentState
from gateway.provisioning.diagnostics import Diagnostics
from gateway.provisioning.diagnostics.warnings import ConnectionWarnings
from gateway.provisioning.domains.daily_checks import DailyChecks
from gateway.provisioning.domains.records import TxtRecords
from gateway.provisioning.domains.verification import DomainVerification
from gateway.provisioning.erasure.erasures import Erasures
from gateway.provisioning.erasure.kept_list import KeptList
from gateway.provisioning.erasure.person_export import PersonExport
from gateway.provisioning.event_feeds import EventFeeds
from gateway.provisioning.event_pruning import EventPruning
from gateway.provisioning.event_relay import EventRelay
from gateway.provisioning.explanations.reading import RequestExplanations
from gateway.provisioning.groups import Groups
from gateway.provisioning.history import History
from gateway.provisioning.imports.imports import Imports
from gateway.provisioning.lists import Lists
from gateway.provisioning.long_changes import LongChangeRunner
from gateway.provisioning.mapped_values import UnruledValues
from gateway.provisioning.mapping import MapToGroups
from gateway.provisioning.membership_sync import MembershipSync
from gateway.provisioning.organization_export import OrganizationExport
from gateway.provisioning.organizations import OrganizationSetup
from gateway.provisioning.outages import Outages
from gateway.provisioning.overview import Overviews
from gateway.provisioning.publication import Publisher, Tail
from gateway.provisioning.queries import Queries
from gateway.provisioning.removed_grants import RemovedGrantPruning
from gateway.provisioning.safety.operations import Safety
from gateway.provisioning.safety.removals import RemovalControl
from gateway.provisioning.seat_queue import SeatQueues
from gateway.provisioning.snapshots import Snapshots
from gateway.provisioning.takeover import Takeover
from gateway.provisioning.timelines import TimelineReader
from gateway.provisioning.trace import Target, Trace
from gateway.provisioning.undo.operations import Undo
from gateway.provisioning.unit_of_work import UnitsOfWork
from gateway.provisioning.users import Users
from gateway.provisioning.webhooks.delivery import Deliverer
from gateway.provisioning.webhooks.endpoints import WebhookEndpoints
from gateway.provisioning.webhooks.gauges import GaugeReader
from gateway.provisioning.webhooks.polling import Polling
from gateway.provisioning.webhooks.replays import WebhookReplays
from gateway.provisioning.webhooks.signing_keys import TokenKeys
from gateway.provisioning.worker import Worker
from gateway.store import Store

__all__ = ["Caller", "IdpCaller", "Provisioning", "Target", "Trace"]


class Provisioning:
    """Store, plugins and operations of one application."""

    def __init__(self, config: Config, store: Store, plugins: PluginManager) -> None:
        self.config, self.store, self.plugins = config, store, plugins
        self.callers = Callers(config, plugins)
        self.admission = AdmissionControl(store, plugins, self.callers, config.public_url)
        self.outages = Outages()
        self.worker = Worker(store, self.outages)
        self.publisher, self.tail = Publisher(store, self.worker), Tail(store)
        self.event_relay = EventRelay(store, plugins, self.callers, self.worker)
        self.activity_writer = ActivityWriter(
            store,
            self.worker,
            self.outages,
            self._schedule_delivery,
            config.activity_days,
            config.trace_days,
            lambda caller: plugins.declared.secret_values(caller.words.idp, caller.words.settings),
        )
        self.token_keys = TokenKeys(store)
        self.deliverer = Deliverer(config, store, self.outages, self.tail, self.token_keys)
        self.webhook_gauges = GaugeReader(store)
        units_of_work = UnitsOfWork(store, self.callers)
        membership_sync = MembershipSync(store, plugins)
        unruled = UnruledValues(store)
        removals = RemovalControl(store, plugins)
        adoption = AdoptionControl(store, plugins, units_of_work, membership_sync)
        self.users = Users(
            store, plugins, units_of_work, membership_sync, unruled, removals, adoption, config.document_limit
        )
        self.groups = Groups(store, plugins, units_of_work, removals, config.document_limit)
        self.long_changes = LongChangeRunner(store, units_of_work, self.callers)
        cursors = Cursors(config.secret_key, old_keys=config.secret_key_old)
        self.lists = Lists(store, plugins, config.page_limit, cursors)
        self.erasures = Erasures(
            store,
            units_of_work,
            self.callers,
            self.activity_writer,
            KeptList(config.instance),
            config.deleted_days,
        )
        self.person_export, self.organization_export, self.timelines = (
            PersonExport(store, self.activity_writer),
            OrganizationExport(store, self.activity_writer),
            TimelineReader(store, self.activity_writer),
        )
        self.domain_verification = DomainVerification(store, units_of_work, TxtRecords())
        self.daily_checks = DailyChecks(store, self.callers, self.domain_verification)
        self.worker.tasks += [
            self.activity_writer.flush_due,
            self.publisher.publish,
            self.tail.advance_for_subscribers,
            self.event_relay.deliver,
            EventPruning(store, plugins, config.event_days).prune,
            RemovedGrantPruning(store).prune,
            lambda: self._schedule_delivery(self.long_changes.resume()),
            lambda: self._schedule_delivery(self.erasures.resume()),
            self.daily_checks.begin_due,
        ]
        self.mapping = MapToGroups(store, units_of_work, self.long_changes)
        self.imports = Imports(
            store, plugins, units_of_work, self.callers, self.long_changes, config.document_limit
        )
        self.adoptions = Adoptions(store, units_of_work)
        self.takeover = Takeover(store, plugins, units_of_work, membership_sync)
        self.setup = OrganizationSetup(
            store,
            plugins,
            units_of_work,
            self.callers,
            self.long_changes,
            self.publisher,
            config.brake_values,
        )
        self.safety = Safety(store, plugins, units_of_work, self.callers)
        self.undo = Undo(
            store, plugins, units_of_work, self.callers, membership_sync, self.safety, config.event_days
        )
        self.admin_access = AdminAccess(store, units_of_work, self.callers, config.admin_token)
        self.console_access = ConsoleAccess(
            store,
            units_of_work,
            self.callers,
            self.admin_access,
            config.admin_token,
            config.console_return_origins,
        )
        self.webhook_polling = Polling(store, self.token_keys, config.public_url)
        self.webhook_endpoints = WebhookEndpoints(store, units_of_work, self.callers, config)
        self.webhook_replays = WebhookReplays(store, self.webhook_endpoints, config, self.token_keys)
        self.explanations = RequestExplanations(store, units_of_work, self.activity_writer, config.trace_days)
        self.queries = Queries(store, plugins, self.callers, self.activity_writer)
        self.event_feeds = EventFeeds(store)
        self.snapshots = Snapshots(store)
        self.history = History(store, self.activity_writer)
        self.deployment_state = DeploymentState(store, plugins)
        self.overviews = Overviews(store, plugins, self.callers, self.activity_writer, self.history)
        self.seat_queues = SeatQueues(store, plugins, self.activity_writer)
        self.diagnostics = Diagnostics(store, plugins, self.callers, self.activity_writer, unruled)
        self.connection_warnings = ConnectionWarnings(
            store, units_of_work, self.callers, self.diagnostics, config.public_url
        )
        self.worker.tasks += [
            self.imports.prune,
            lambda: self._schedule_delivery(self.safety.run_due()),
            lambda: self._schedule_delivery(self.connection_warnings.run_due()),
        ]

    def _schedule_delivery(self, organization_ids: Iterable[int]) -> None:
        changed = set(organization_ids)
        self.publisher.schedule(changed)
        self.event_relay.schedule(changed)

    def pending_migrations(self) -> list[str]:
        """Return the migrations that the database lacks. Raises Unavailable."""
        return self.store.database.pending_migrations()

    def limit_waits(self, seconds: float | None) -> None:
        """Bound how long the changes of this thread wait for other writers; None: as long as usual.

        They raise Busy then.
        """
        self.store.database.limit_waits(seconds)

    def start(self) -> None:
        """Start the background threads of a server's process, after the fork."""
        self.worker.start()
        if self.config.webhooks == "on":
            self.deliverer.start()

    def close(self) -> None:
        """Stop the background threads and write the activity that is buffered. The database stays open."""
        self.deliverer.stop()
        self.worker.stop()
        self.daily_checks.stop()
        try:
            self.activity_writer.flush()
        finally:
            self.outages.log_lost()
