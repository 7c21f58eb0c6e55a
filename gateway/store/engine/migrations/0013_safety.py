"""Pauses, brakes and holds, undo, adoption, verified domains, explanations, imports and erasures."""

from typing import Any

from peewee import PostgresqlDatabase

#: Table, column and type of what tables of before gain.
COLUMNS = (
    # JSON `{"percent", "least", "minutes"}`; null where there is none, as for connections of before.
    ("connections", "brake", "TEXT{c}"),
    # JSON `{"scope", "since", "until", "reason", "by"}`, or null.
    ("connections", "pause", "TEXT{c}"),
    # Whether removals of its are held, so that a change asks for them only then.
    ("connections", "holds_removals", "INTEGER NOT NULL DEFAULT 0"),
    # automatic, verified, ask.
    ("connections", "adoption", "TEXT{c} NOT NULL DEFAULT 'automatic'"),
    # Until then the steps of all its requests are stored, in microseconds.
    ("connections", "watched_until", "BIGINT NOT NULL DEFAULT 0"),
    ("users", "protected", "INTEGER NOT NULL DEFAULT 0"),
    ("organizations", "legal_hold", "INTEGER NOT NULL DEFAULT 0"),
    # What a connection may do with an address outside of the verified domains: allow, refuse.
    ("organizations", "outside_domains", "TEXT{c} NOT NULL DEFAULT 'allow'"),
)
_CONNECTION = "connection_id INTEGER NOT NULL REFERENCES connections (id) ON DELETE CASCADE"
_ORGANIZATION = "organization_id INTEGER NOT NULL REFERENCES organizations (id) ON DELETE CASCADE"
TABLES = (
    "CREATE INDEX IF NOT EXISTS connections_paused ON connections (id) WHERE pause IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS users_protected ON users (organization_id) WHERE protected = 1",
    "CREATE INDEX IF NOT EXISTS organizations_held ON organizations (id) WHERE legal_hold = 1",
    # The open minute of a connection, counted from 1970 on: `n` removals of `most`.
    "CREATE TABLE IF NOT EXISTS brakes (connection_id INTEGER NOT NULL PRIMARY KEY"
    " REFERENCES connections (id) ON DELETE CASCADE, minute BIGINT NOT NULL, n INTEGER NOT NULL,"
    " most INTEGER NOT NULL){rowid}",
    # The minutes before it.
    f"CREATE TABLE IF NOT EXISTS removals ({_CONNECTION}, minute BIGINT NOT NULL, n INTEGER NOT NULL,"
    " PRIMARY KEY (connection_id, minute)){rowid}",
    # state: waiting, allowed, rejected. `counted` removals of `most` were made when it began.
    "CREATE TABLE IF NOT EXISTS holds (connection_id INTEGER NOT NULL PRIMARY KEY"
    " REFERENCES connections (id) ON DELETE CASCADE, since BIGINT NOT NULL, counted INTEGER NOT NULL,"
    " most INTEGER NOT NULL, state TEXT{c} NOT NULL, decided_by TEXT{c}, until BIGINT,"
    " warned BIGINT NOT NULL){rowid}",
    # resource: User, Group. action: deactivate, delete, leave (members of a group). `people`: how many it counts for.
    f"CREATE TABLE IF NOT EXISTS held_removals ({_CONNECTION}, resource TEXT{{c}} NOT NULL, uid TEXT{{c}} NOT NULL,"
    " name TEXT{c} NOT NULL, action TEXT{c} NOT NULL, people INTEGER NOT NULL, first BIGINT NOT NULL,"
    " last BIGINT NOT NULL, tries INTEGER NOT NULL, allowed INTEGER NOT NULL,"
    " PRIMARY KEY (connection_id, resource, uid)){rowid}",
    # Memberships that a deleted user had, so that a deletion can be undone.
    f"CREATE TABLE IF NOT EXISTS removed_grants ({_ORGANIZATION}, user_id BIGINT NOT NULL, group_id BIGINT NOT NULL,"
    " source TEXT{c} NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (user_id, group_id, source)){rowid}",
    "CREATE INDEX IF NOT EXISTS removed_grants_at ON removed_grants (at)",
    "CREATE INDEX IF NOT EXISTS removed_grants_organization ON removed_grants (organization_id)",
    # A user whom no connection managed, and the connection that wants to. state: waiting, approved, rejected.
    f"CREATE TABLE IF NOT EXISTS adoptions (id {{key}}, uid TEXT{{c}} NOT NULL UNIQUE, {_ORGANIZATION}, {_CONNECTION},"
    " user_id BIGINT NOT NULL, found_by TEXT{c} NOT NULL, risk TEXT{c} NOT NULL, first BIGINT NOT NULL,"
    " last BIGINT NOT NULL, tries INTEGER NOT NULL, state TEXT{c} NOT NULL, decided_by TEXT{c}, decided BIGINT,"
    " UNIQUE (connection_id, user_id))",
    "CREATE INDEX IF NOT EXISTS adoptions_organization ON adoptions (organization_id, state, id)",
    "CREATE INDEX IF NOT EXISTS adoptions_user ON adoptions (user_id)",
    # state: unverified, verified, lost. verified_by: dns, operator. `token` is public, it stands in the DNS.
    f"CREATE TABLE IF NOT EXISTS domains (id {{key}}, {_ORGANIZATION}, name TEXT{{c}} NOT NULL,"
    " state TEXT{c} NOT NULL, token TEXT{c} NOT NULL, verified_by TEXT{c}, verified BIGINT,"
    " checked BIGINT NOT NULL, lost_since BIGINT, problem TEXT{c}, created BIGINT NOT NULL,"
    " UNIQUE (organization_id, name))",
    # A name is verified for one organization.
    "CREATE UNIQUE INDEX IF NOT EXISTS domains_name ON domains (name) WHERE state <> 'unverified'",
    "CREATE INDEX IF NOT EXISTS domains_checked ON domains (checked)"
    " WHERE verified_by = 'dns' AND state <> 'unverified'",
    # How the request of a line of the activity was decided; request, response and steps are JSON without secrets.
    f"CREATE TABLE IF NOT EXISTS traces (id {{key}}, {_ORGANIZATION}, request_id TEXT{{c}} NOT NULL,"
    " at BIGINT NOT NULL, connection_uid TEXT{c}, user_uid TEXT{c}, request TEXT{c} NOT NULL,"
    " response TEXT{c} NOT NULL, steps TEXT{c} NOT NULL)",
    "CREATE INDEX IF NOT EXISTS traces_organization ON traces (organization_id, request_id)",
    "CREATE INDEX IF NOT EXISTS traces_at ON traces (at)",
    # The client that called last with a valid token: its User-Agent, and flags that stand behind its base URL.
    "CREATE TABLE IF NOT EXISTS connection_clients (connection_id INTEGER NOT NULL PRIMARY KEY"
    " REFERENCES connections (id) ON DELETE CASCADE, agent TEXT{c} NOT NULL, flags TEXT{c} NOT NULL,"
    " at BIGINT NOT NULL){rowid}",
    # What a check of a connection found and told by an event, by cause.
    f"CREATE TABLE IF NOT EXISTS connection_warnings ({_CONNECTION}, cause TEXT{{c}} NOT NULL, since BIGINT NOT NULL,"
    " recorded BIGINT NOT NULL, PRIMARY KEY (connection_id, cause)){rowid}",
    # state: preview, applying, done, failed. `summary` is JSON: how many rows have each outcome.
    f"CREATE TABLE IF NOT EXISTS imports (id {{key}}, uid TEXT{{c}} NOT NULL UNIQUE, {_ORGANIZATION},"
    " created BIGINT NOT NULL, created_by TEXT{c}, expires BIGINT NOT NULL, state TEXT{c} NOT NULL,"
    " absent TEXT{c} NOT NULL, columns TEXT{c} NOT NULL, row_count INTEGER NOT NULL, done INTEGER NOT NULL,"
    " summary TEXT{c} NOT NULL, version BIGINT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS imports_organization ON imports (organization_id)",
    "CREATE TABLE IF NOT EXISTS import_rows (import_id INTEGER NOT NULL REFERENCES imports (id) ON DELETE CASCADE,"
    " number INTEGER NOT NULL, data TEXT{c} NOT NULL, outcome TEXT{c} NOT NULL, reason TEXT{c},"
    " PRIMARY KEY (import_id, number)){rowid}",
    # Erased users. No name: what proves the erasure must not undo it. state: events, activity, attempts, traces,
    # imports, remains, done; up to (`progress`, `within`) its rows are dealt with. `texts` is JSON: what is looked for.
    f"CREATE TABLE IF NOT EXISTS erasures (uid TEXT{{c}} NOT NULL PRIMARY KEY, {_ORGANIZATION}, at BIGINT NOT NULL,"
    " erased_by TEXT{c}, reason TEXT{c} NOT NULL, state TEXT{c} NOT NULL, progress BIGINT NOT NULL,"
    " within BIGINT NOT NULL, texts TEXT{c}, touched BIGINT NOT NULL){rowid}",
    "CREATE INDEX IF NOT EXISTS erasures_begun ON erasures (at) WHERE state <> 'done'",
    "CREATE INDEX IF NOT EXISTS erasures_organization ON erasures (organization_id)",
)
#: The names that an operator or the application had noted wait for a record in the DNS.
_NOTED = (
    "INSERT INTO domains (organization_id, name, state, token, checked, created)"
    " SELECT o.id, lower({value}), 'unverified', {token}, 0, {now} FROM organizations o, {values}"
    " WHERE o.domains <> '[]' AND {named} ON CONFLICT (organization_id, name) DO NOTHING"
)
_SQLITE = {
    "value": "d.value", "values": "json_each(o.domains) d", "token": "lower(hex(randomblob(13)))",
    "now": "CAST(strftime('%s', 'now') AS INTEGER) * 1000000",
    "named": "lower(d.value) GLOB '[a-z0-9]*.*[a-z]' AND lower(d.value) NOT GLOB '*[^a-z0-9.-]*'",
}  # fmt: skip
_POSTGRESQL = {
    "value": "d", "values": "jsonb_array_elements_text(o.domains::jsonb) d",
    "token": "substr(replace(gen_random_uuid()::text, '-', ''), 1, 26)",
    "now": "CAST(extract(epoch FROM now()) AS BIGINT) * 1000000",
    "named": "lower(d) ~ '^[a-z0-9][a-z0-9.-]*[.][a-z0-9.-]*[a-z]$'",
}  # fmt: skip


#: Keys of rows that are rolled back, beyond all that sequences reach.
_OWN_KEYS = {
    "bigint": "(1e15 + floor(random() * 1e15))::bigint",
    "integer": "(2e9 + floor(random() * 1e8))::integer",
}


def up(migrator: Any, db: Any) -> None:
    postgresql = isinstance(db, PostgresqlDatabase)
    words = {
        "rowid": "" if postgresql else " WITHOUT ROWID",
        "key": "BIGSERIAL PRIMARY KEY" if postgresql else "INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT",
        "c": ' COLLATE "C"' if postgresql else "",
    }
    for table, column, kind in COLUMNS:
        if postgresql:
            added = f"ADD COLUMN IF NOT EXISTS {column}"
        elif any(there.name == column for there in db.get_columns(table)):
            continue
        else:
            added = f"ADD COLUMN {column}"
        db.execute_sql(f"ALTER TABLE {table} {added} {kind.format(**words)}")
    for sql in TABLES:
        db.execute_sql(sql.format(**words))
    db.execute_sql(_NOTED.format(**(_POSTGRESQL if postgresql else _SQLITE)))
    if postgresql:
        _spare_sequences(db)


def _spare_sequences(db: Any) -> None:
    """Have a transaction that is a dry run make keys of its own: a number of a sequence cannot be given back."""
    serials = db.execute_sql(
        "SELECT table_name, column_name, data_type, column_default FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND left(column_default, 8) = 'nextval('"
    ).fetchall()
    for table, column, kind, usual in serials:
        own = _OWN_KEYS[kind]
        db.execute_sql(
            f"ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT CASE"
            f" WHEN current_setting('gateway.dry_run', true) = 'on' THEN {own} ELSE {usual} END"
        )
