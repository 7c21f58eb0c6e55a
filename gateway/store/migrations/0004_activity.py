"""What a line of the activity is about, and what support needs to explain a refused token."""

from peewee import PostgresqlDatabase

TABLES = (
    # JSON in `facts`: kind and name of the target, fields that changed, members, the token's prefix.
    "ALTER TABLE activity ADD COLUMN target_uid TEXT{c}",
    "ALTER TABLE activity ADD COLUMN facts TEXT{c} NOT NULL DEFAULT '{{}}'",
    # A line may stand for many refused requests of one minute; then `at` is the moment of the last one.
    "ALTER TABLE activity ADD COLUMN times BIGINT NOT NULL DEFAULT 1",
    "ALTER TABLE activity ADD COLUMN first_at BIGINT",
    # Which line counts the refusals of a connection for a reason in a minute.
    "CREATE TABLE gathered_refusals (minute BIGINT NOT NULL, connection_uid TEXT{c} NOT NULL, reason TEXT{c} NOT NULL,"
    " activity_id BIGINT NOT NULL DEFAULT 0, PRIMARY KEY (minute, connection_uid, reason))",
    # Apart from live tokens: no release, also none before this one, lets anybody in by what stands here.
    "CREATE TABLE revoked_tokens (digest TEXT{c} NOT NULL PRIMARY KEY, connection_id INTEGER NOT NULL"
    " REFERENCES connections (id) ON DELETE CASCADE, label TEXT{c} NOT NULL, prefix TEXT{c} NOT NULL,"
    " revoked BIGINT NOT NULL)",
    "CREATE INDEX revoked_tokens_connection ON revoked_tokens (connection_id)",
)


def up(migrator, db):
    collation = ' COLLATE "C"' if isinstance(db, PostgresqlDatabase) else ""
    for sql in TABLES:
        db.execute_sql(sql.format(c=collation))
