"""Events out: the order over all organizations, webhooks and their positions, keys that sign security event tokens."""

import time
from typing import Any

from peewee import PostgresqlDatabase

STATEMENTS = (
    # One row. `epoch` (seconds since 1970) is another one after a backup was restored, `published` the number of the
    # last event in the order over all organizations, `seq` that of the last event of the deployment itself, which
    # stands in `events` under the organization 0.
    "CREATE TABLE IF NOT EXISTS feed_state (id INTEGER NOT NULL PRIMARY KEY, epoch BIGINT NOT NULL,"
    " published BIGINT NOT NULL, seq BIGINT NOT NULL)",
    # The events `first_seq` to `last_seq` of an organization have the numbers that end with `number` there.
    "CREATE TABLE IF NOT EXISTS published_events (number BIGINT NOT NULL PRIMARY KEY, organization_id BIGINT NOT NULL,"
    " first_seq BIGINT NOT NULL, last_seq BIGINT NOT NULL)",
    # How far the events of each organization are published; 0 is the deployment.
    "CREATE TABLE IF NOT EXISTS publications (organization_id BIGINT NOT NULL PRIMARY KEY, seq BIGINT NOT NULL){rowid}",
    "ALTER TABLE deliveries ADD COLUMN {absent}lease_until BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE deliveries ADD COLUMN {absent}lease_holder TEXT",
    "CREATE TABLE IF NOT EXISTS webhooks (id {key}, uid TEXT{c} NOT NULL UNIQUE,"
    " organization_id INTEGER REFERENCES organizations (id) ON DELETE CASCADE,"
    # owner: operator, organization. format: standard, set, thin. types: JSON, null for all. state: on, paused, failing,
    # disabled. Secrets are encrypted.
    " owner TEXT{c} NOT NULL, url TEXT{c} NOT NULL, format TEXT{c} NOT NULL, types TEXT{c},"
    " state TEXT{c} NOT NULL, reason TEXT{c}, secret TEXT{c} NOT NULL, old_secret TEXT{c}, old_until BIGINT,"
    " failing_since BIGINT, succeeded BIGINT, created BIGINT NOT NULL, created_by TEXT{c}, modified BIGINT NOT NULL,"
    " version BIGINT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS webhooks_organization ON webhooks (organization_id)",
    "CREATE TABLE IF NOT EXISTS webhook_positions (webhook_id INTEGER NOT NULL"
    " REFERENCES webhooks (id) ON DELETE CASCADE, organization_id BIGINT NOT NULL, seq BIGINT NOT NULL,"
    " failures INTEGER NOT NULL, retry_at BIGINT NOT NULL, lease_until BIGINT NOT NULL, lease_holder TEXT{c},"
    " PRIMARY KEY (webhook_id, organization_id)){rowid}",
    "CREATE INDEX IF NOT EXISTS webhook_positions_organization ON webhook_positions (organization_id)",
    "CREATE TABLE IF NOT EXISTS webhook_attempts (id {key}, webhook_id INTEGER NOT NULL"
    " REFERENCES webhooks (id) ON DELETE CASCADE, organization_id BIGINT NOT NULL, seq BIGINT NOT NULL,"
    " type TEXT{c} NOT NULL, message_id TEXT{c} NOT NULL, at BIGINT NOT NULL, outcome TEXT{c} NOT NULL, status INTEGER,"
    " ms INTEGER NOT NULL, error TEXT{c}, response TEXT{c})",
    "CREATE INDEX IF NOT EXISTS webhook_attempts_webhook ON webhook_attempts (webhook_id, id)",
    "CREATE INDEX IF NOT EXISTS webhook_attempts_at ON webhook_attempts (at)",
    "CREATE TABLE IF NOT EXISTS webhook_parked (webhook_id INTEGER NOT NULL"
    " REFERENCES webhooks (id) ON DELETE CASCADE, organization_id BIGINT NOT NULL, seq BIGINT NOT NULL,"
    " since BIGINT NOT NULL, error TEXT{c} NOT NULL, PRIMARY KEY (webhook_id, organization_id, seq)){rowid}",
    # `private` is encrypted; times are those from which on it signs and until which its public half is shown.
    "CREATE TABLE IF NOT EXISTS signing_keys (kid TEXT{c} NOT NULL PRIMARY KEY, private TEXT{c} NOT NULL,"
    " public TEXT{c} NOT NULL, created BIGINT NOT NULL, shown_until BIGINT){rowid}",
)


def up(migrator: Any, db: Any) -> None:
    postgresql = isinstance(db, PostgresqlDatabase)
    words = {
        "rowid": "" if postgresql else " WITHOUT ROWID",
        "key": "BIGSERIAL PRIMARY KEY" if postgresql else "INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT",
        "c": ' COLLATE "C"' if postgresql else "",
        "absent": "IF NOT EXISTS " if postgresql else "",
    }
    columns = set() if postgresql else {column.name for column in db.get_columns("deliveries")}
    for sql in STATEMENTS:
        if sql.startswith("ALTER") and any(f"{{absent}}{name} " in sql for name in columns):
            continue
        db.execute_sql(sql.format(**words))
    mark = "%s" if postgresql else "?"
    db.execute_sql(
        f"INSERT INTO feed_state (id, epoch, published, seq) VALUES (1, {mark}, 0, 0) ON CONFLICT (id) DO NOTHING",
        (int(time.time()),),
    )
