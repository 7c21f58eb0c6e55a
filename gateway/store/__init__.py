"""Persistence: one `Store` for a database, one repository for each family of tables.

Rows and SQL stay in here. Every function that touches a tenant's data takes the tenant (or one of its connections)
first, so that a query without one cannot be written by accident.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from gateway.store.activity import ActivityLog
from gateway.store.adoptions import Adoptions
from gateway.store.brakes import Brakes
from gateway.store.connection_health import ConnectionHealth
from gateway.store.connections import Connections
from gateway.store.console import ConsoleLinks, ConsoleSessions
from gateway.store.delivery_positions import ListenerPositions, WebhookPositions
from gateway.store.domains import Domains
from gateway.store.engine.base import Database, UnusableDatabase, WriteConflict
from gateway.store.engine.dry_run import open_dry_run
from gateway.store.engine.sqlite import SqliteDatabase
from gateway.store.erasures import Erasures
from gateway.store.event_retention import EventRetention
from gateway.store.events import Events
from gateway.store.explanations import Explanations
from gateway.store.exports import Exports
from gateway.store.groups import Groups
from gateway.store.hourly_calls import HourlyCalls
from gateway.store.imports import Imports
from gateway.store.long_changes import LongChanges
from gateway.store.mapping_rules import MappingRules
from gateway.store.memberships import Memberships
from gateway.store.organizations import Organizations
from gateway.store.polled_streams import PolledStreams
from gateway.store.portions import Portions
from gateway.store.publications import Publications
from gateway.store.query.page_positions import PagePositions
from gateway.store.query.search import Search
from gateway.store.removed_grants import RemovedGrants
from gateway.store.signing_keys import SigningKeys
from gateway.store.takeovers import Takeovers
from gateway.store.timelines import Timelines
from gateway.store.tokens import AdminTokens, Tokens
from gateway.store.undos import Undos
from gateway.store.users import Users
from gateway.store.waiting_members import WaitingMembers
from gateway.store.webhook_replays import WebhookReplays
from gateway.store.webhooks import Webhooks

__all__ = ["Database", "Store", "UnusableDatabase", "WriteConflict", "open_database", "open_dry_run"]


def open_database(url: str, sqlite_synchronous: str) -> Database:
    """Return the database of a URL, `sqlite:///<path>` or `postgresql://…`; it connects on first use.

    Raises UnusableDatabase if the driver is missing.
    """
    if url.startswith("sqlite:///"):
        return SqliteDatabase(Path(url.removeprefix("sqlite:///")), sqlite_synchronous)
    if find_spec("psycopg") is None:
        raise UnusableDatabase(
            "GATEWAY_DATABASE_URL is a PostgreSQL, and its driver psycopg is not installed. Install it with"
            " `pip install 'provisioning-gateway[postgres]'`."
        )
    from gateway.store.engine.postgresql import PostgresqlDatabase  # late: its driver is an extra

    return PostgresqlDatabase(url)


class Store:
    """The repositories of one database."""

    def __init__(
        self,
        database: Database,
        secret_key: str,
        query_seconds: int = 0,
        page_bytes: int = 1 << 62,
        old_keys: Sequence[str] = (),
    ) -> None:
        self.database = database
        self.transaction = database.transaction
        self.organizations = Organizations(database)
        self.connections = Connections(database)
        self.tokens = Tokens(database, secret_key, old_keys)
        self.admin_tokens = AdminTokens(database, secret_key, old_keys)
        self.console_links = ConsoleLinks(database, secret_key, old_keys)
        self.console_sessions = ConsoleSessions(database, secret_key, old_keys)
        self.signing_keys = SigningKeys(database, secret_key, old_keys)
        self.users = Users(database)
        self.polled_streams = PolledStreams(database)
        self.portions = Portions(database)
        self.groups = Groups(database)
        self.memberships = Memberships(database)
        self.removed_grants = RemovedGrants(database)
        self.waiting_members = WaitingMembers(database)
        self.mapping_rules = MappingRules(database)
        self.long_changes = LongChanges(database)
        self.takeovers = Takeovers(database)
        self.undos = Undos(database)
        self.exports = Exports(database)
        self.erasures = Erasures(database)
        self.imports = Imports(database)
        self.adoptions = Adoptions(database)
        self.events = Events(database)
        self.listener_positions = ListenerPositions(database)
        self.publications = Publications(database)
        self.webhook_positions = WebhookPositions(database)
        self.event_retention = EventRetention(database, self.publications)
        self.activity = ActivityLog(database)
        self.explanations = Explanations(database)
        self.hourly_calls = HourlyCalls(database)
        self.connection_health = ConnectionHealth(database)
        self.domains = Domains(database)
        self.timelines = Timelines(database)
        self.webhooks = Webhooks(database, secret_key, old_keys)
        self.webhook_replays = WebhookReplays(database)
        self.brakes = Brakes(database)
        self.page_positions = PagePositions(database)
        self.search = Search(database, query_seconds, page_bytes)
