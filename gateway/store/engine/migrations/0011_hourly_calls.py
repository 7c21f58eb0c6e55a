"""Calls of identity providers by organization and hour, for charts and for the organizations that are refused most."""

from typing import Any

from peewee import PostgresqlDatabase

STATEMENTS = (
    # `hour` counts from 1970 on; seats are those at the end of the hour.
    "CREATE TABLE IF NOT EXISTS hourly_calls (organization_id INTEGER NOT NULL"
    " REFERENCES organizations (id) ON DELETE CASCADE, hour BIGINT NOT NULL, done BIGINT NOT NULL,"
    " partial BIGINT NOT NULL, refused BIGINT NOT NULL, seats_used BIGINT NOT NULL, seat_limit BIGINT,"
    " PRIMARY KEY (organization_id, hour)){rowid}",
    # Old rows are pruned by it.
    "CREATE INDEX IF NOT EXISTS hourly_calls_hour ON hourly_calls (hour)",
    "CREATE INDEX IF NOT EXISTS hourly_calls_refused ON hourly_calls (hour, organization_id) WHERE refused > 0",
)


def up(migrator: Any, db: Any) -> None:
    rowid = "" if isinstance(db, PostgresqlDatabase) else " WITHOUT ROWID"
    for sql in STATEMENTS:
        db.execute_sql(sql.format(rowid=rowid))
