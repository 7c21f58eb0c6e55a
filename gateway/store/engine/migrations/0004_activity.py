"""What a line of the activity is about, and what support needs to explain a refused token."""

from typing import Any

from peewee import PostgresqlDatabase

COLUMNS = {
    # JSON in `facts`: kind and name of the target, fields that changed, members, the token's prefix.
    "target_uid": "TEXT{c}",
    "facts": "TEXT{c} NOT NULL DEFAULT '{{}}'",
    # A line may stand for many refused requests of one minute; then `at` is the moment of the last one.
    "times": "BIGINT NOT NULL DEFAULT 1",
    "first_at": "BIGINT",
}
TABLES = (
    # Which line counts the refusals of a connection for a reason in a minute.
    "CREATE TABLE IF NOT EXISTS gathered_refusals (minute BIGINT NOT NULL, connection_uid TEXT{c} NOT NULL,"
    " reason TEXT{c} NOT NULL, activity_id BIGINT NOT NULL DEFAULT 0, PRIMARY KEY (minute, connection_uid, reason))",
    # Apart from live tokens: no release, also none before this one, lets anybody in by what stands here.
    "CREATE TABLE IF NOT EXISTS revoked_tokens (digest TEXT{c} NOT NULL PRIMARY KEY, connection_id INTEGER NOT NULL"
    " REFERENCES connections (id) ON DELETE CASCADE, label TEXT{c} NOT NULL, prefix TEXT{c} NOT NULL,"
    " revoked BIGINT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS revoked_tokens_connection ON revoked_tokens (connection_id)",
)


def up(migrator: Any, db: Any) -> None:
    collation = ' COLLATE "C"' if isinstance(db, PostgresqlDatabase) else ""
    there = {column.name for column in db.get_columns("activity")}
    for name, kind in COLUMNS.items():
        if name not in there:
            db.execute_sql(f"ALTER TABLE activity ADD COLUMN {name} {kind.format(c=collation)}")
    for sql in TABLES:
        db.execute_sql(sql.format(c=collation))
