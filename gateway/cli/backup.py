"""`gateway backup` and `gateway restore`: copies of the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.filesize import decimal

from gateway.cli.common import (
    as_json,
    echo_json,
    explain_outages,
    name_database,
    open_gateway,
    progress_bar,
)
from gateway.config import Config, load
from gateway.store import Database, open_database
from gateway.store.engine.backup import SQLITE, Copy, CopyError, Progress, back_up
from gateway.store.engine.backup import restore as put_in_place
from gateway.store.ids_and_time import now

_EPOCH_ADVICE = (
    "Event numbers since the backup are given again: who follows a feed is refused with 410 and begins anew with a"
    " snapshot."
)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@as_json
def backup(file: Path, force: bool, as_json: bool) -> None:
    """Write a copy of the database to FILE, also while the server runs.

    FILE is of one moment, and readable by you alone: an SQLite database that was checked, or what pg_dump writes of a
    PostgreSQL in its custom format, for pg_restore. It holds people's data and the digests of tokens, but not the
    secret key, so that who finds one of them has not both: keep the key as well, elsewhere.
    """
    config = load(make_key=False)
    if not config.database_url.startswith(SQLITE):
        _dump_postgresql(config, file, force, as_json)
        return
    with _progress_bar("Copying") as progress, explain_outages(_database(config)):
        copy = back_up(Path(config.database_url.removeprefix(SQLITE)), file, force, progress)
    _name_database(config)
    if as_json:
        echo_json({"file": str(file.absolute()), **_copy_json(copy)})
        return
    click.echo(f"Wrote {file} ({_describe_size(copy)}).")
    click.echo(_advise_to_keep_key(config))


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@as_json
def restore(file: Path, as_json: bool) -> None:
    """Put FILE, which `gateway backup` wrote, in the place of the SQLite database. Stop the server first.

    The database that was there is kept beside it, with the time in its name. Changes after the backup are gone from
    the new one, and their event numbers are given again. So the feeds have another epoch: who follows one is refused
    with 410, and begins anew with a snapshot. Links and sessions of the console end.
    """
    config, database = _load_sqlite()
    with _progress_bar("Restoring") as progress:
        copy, kept = put_in_place(file, database, progress)
    if as_json:
        echo_json({"database": str(database), "kept": str(kept) if kept else None, **_copy_json(copy)})
        return
    click.echo(f"Restored {database} from {file} ({_describe_size(copy)}).")
    if kept:
        click.echo(f"What was there before is kept as {kept.name}; remove it when nobody needs it.")
    if copy.pending:
        click.echo(f"It lacks the migrations {', '.join(copy.pending)}: run `gateway migrate` next.")
    click.echo(_advise_to_compare_key(config))
    click.echo(_EPOCH_ADVICE)


@click.command()
@as_json
def restored(as_json: bool) -> None:
    """Say that a backup was restored by tools of the database, such as pg_restore. Before the nodes start again.

    The feeds get another epoch, so that who follows one is refused with 410 and begins anew with a snapshot: event
    numbers since the backup are given again. Links and sessions of the console end: they may have been used or ended
    since. `gateway restore` does the same by itself. Run twice it does no harm.
    """
    with open_gateway(make_key=False) as gateway:
        store, moment = gateway.store, now()
        with store.transaction():
            epoch = store.publications.begin_epoch(moment // 1_000_000)
            links, sessions = store.console_links.revoke_all(moment), store.console_sessions.end_all(moment)
    if as_json:
        echo_json({"epoch": epoch, "links": links, "sessions": sessions})
        return
    click.echo(f"The epoch of the feeds is {epoch}. {_EPOCH_ADVICE}")
    click.echo(f"Links of the console that were revoked: {links}; sessions that ended: {sessions}.")


def _dump_postgresql(config: Config, file: Path, force: bool, as_json: bool) -> None:
    from gateway.store.engine.dumps import dump  # late: its driver is an extra

    with _progress_bar("Dumping"):
        size = dump(config.database_url, file, force)
    _name_database(config)
    if as_json:
        echo_json({"file": str(file.absolute()), "bytes": size})
        return
    click.echo(f"Wrote {file} ({decimal(size)}), for pg_restore.")
    click.echo(_advise_to_keep_key(config))


def _name_database(config: Config) -> None:
    name_database(_database(config).place)


def _database(config: Config) -> Database:
    return open_database(config.database_url, config.sqlite_synchronous)


def _load_sqlite() -> tuple[Config, Path]:
    """Return the configuration and the file of its SQLite database. Raises ClickException for PostgreSQL."""
    config = load(make_key=False)
    if not config.database_url.startswith(SQLITE):
        raise click.ClickException(
            "The database is a PostgreSQL, which has tools of its own: use pg_restore, or the files of pg_basebackup."
        )
    return config, Path(config.database_url.removeprefix(SQLITE))


@contextmanager
def _progress_bar(doing: str) -> Iterator[Progress]:
    """Show a progress bar, and report a CopyError as one sentence; yields the progress callback."""
    try:
        # The last page is followed by the check of the whole file.
        with progress_bar(doing, at_the_end="Checking") as progress:
            yield progress
    except CopyError as error:
        raise click.ClickException(str(error)) from None


def _copy_json(copy: Copy) -> dict[str, object]:
    return {
        "bytes": copy.bytes,
        "migrations": copy.migrations,
        "pending": copy.pending,
        "last_events": copy.last_events,
    }


def _describe_size(copy: Copy) -> str:
    organizations = len(copy.last_events)
    return f"{decimal(copy.bytes)}, {organizations} organization{'' if organizations == 1 else 's'}"


def _advise_to_keep_key(config: Config) -> str:
    if not config.secret_key:
        return (
            f"Tokens open nothing without the secret key, and there is none at {config.instance / 'secret_key'}: find"
            " the one that they were made with, and keep it as well, elsewhere."
        )
    return f"Tokens open nothing without the secret key. Keep it as well, elsewhere: {_key_location(config)}."


def _advise_to_compare_key(config: Config) -> str:
    if not config.secret_key:
        return (
            "Its tokens need the secret key they were made with, which is missing: put it into"
            f" {config.instance / 'secret_key'} or GATEWAY_SECRET_KEY before the server starts, which else makes a new"
            " one that opens none of them."
        )
    return f"Its tokens need the secret key they were made with; here it is {_key_location(config)}. Compare the two."


def _key_location(config: Config) -> str:
    kept = config.instance / "secret_key"
    if kept.is_file() and kept.read_text("ascii").strip() == config.secret_key:
        return str(kept)
    return "the value of GATEWAY_SECRET_KEY"
