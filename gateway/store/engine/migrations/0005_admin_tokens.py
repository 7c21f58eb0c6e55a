"""Admin tokens may expire, and may open less than everything; those that are there open everything for good."""

from typing import Any

from peewee import PostgresqlDatabase

COLUMNS = {"expires": "BIGINT", "scope": "TEXT{c} NOT NULL DEFAULT 'full'"}


def up(migrator: Any, db: Any) -> None:
    collation = ' COLLATE "C"' if isinstance(db, PostgresqlDatabase) else ""
    there = {column.name for column in db.get_columns("admin_tokens")}
    for name, kind in COLUMNS.items():
        if name not in there:
            db.execute_sql(f"ALTER TABLE admin_tokens ADD COLUMN {name} {kind.format(c=collation)}")
