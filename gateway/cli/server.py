"""`gateway serve` and `gateway migrate`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar

from gateway import server
from gateway.app import build
from gateway.cli.common import as_json, echo_json, explain_outages, name_database, open_gateway
from gateway.config import load
from gateway.store import UnusableDatabase
from gateway.store.engine.backup import hold_in_use
from gateway.store.engine.migrate import Progress

#: Seconds between two lines on a long migration, where there is no terminal for a bar.
LOG_INTERVAL = 10.0


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port; 0 takes a free one and prints it.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="Worker processes; else as configured, else one for each core, from 2 to 8.",
)
def serve(host: str, port: int, workers: int | None) -> None:
    """Serve in production, until SIGTERM or Ctrl-C.

    Put a proxy that speaks TLS in front, and let it check /live. The database must have been migrated.
    """
    # Settings, plugins and database are checked here, before workers fail on them repeatedly.
    with open_gateway() as gateway:
        if failure := gateway.store.database.explain_failure():
            raise UnusableDatabase(failure)
        workers = workers or gateway.config.workers or server.default_workers()
        url = gateway.config.database_url
        wanted, given = workers * server.DATABASE_CONNECTIONS, gateway.store.database.sessions()
        if given is not None and wanted > given:
            click.echo(
                f"Warning: {workers} workers may want {wanted} connections to the database, which gives {given} to all"
                " nodes together. Take fewer workers, raise max_connections, or put pgbouncer between.",
                err=True,
            )
    # Held by the supervisor, since workers restart: no `gateway restore` replaces the database of a running server.
    with explain_outages(gateway.store.database), hold_in_use(url):
        server.serve(host, port, workers)


@click.command()
@as_json
def migrate(as_json: bool) -> None:
    """Bring the database to the newest schema. Safe when many nodes start at once, and while others serve.

    Stopped in the middle it goes on from there the next time.
    """
    gateway = build(load())
    applied: list[Progress] = []
    named = False
    try:
        with (
            _progress_display(None if as_json else click.echo) as show_progress,
            explain_outages(gateway.store.database),
        ):

            def on_progress(progress: Progress) -> None:
                nonlocal named
                if not named:  # when it was reached; a failure before that names it itself
                    name_database(gateway.store.database.place)
                    named = True
                show_progress(progress)
                if progress.seconds is not None:
                    applied.append(progress)

            gateway.store.database.migrate(on_progress)
        if not named:
            name_database(gateway.store.database.place)
    finally:
        gateway.store.database.close()
    if as_json:
        echo_json({"applied": [{"name": each.migration, "seconds": each.seconds} for each in applied]})
    elif not applied:
        click.echo("Nothing to do: the database has the newest schema.")


@contextmanager
def _progress_display(print_line: Callable[[str], None] | None) -> Iterator[Callable[[Progress], None]]:
    """Show the progress of a migration: a bar on a terminal, else a line now and then.

    Yields the progress callback; `print_line` gets a line for each migration that was applied.
    """
    console, last_line = Console(stderr=True), time.monotonic()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
    )
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def show_progress(progress: Progress) -> None:
            nonlocal last_line
            if progress.seconds is not None:
                bar.update(task, description="", completed=0, total=None)
                if print_line:
                    print_line(f"Applied {progress.migration} in {progress.seconds:.1f} s.")
                return
            bar.update(
                task, description=progress.migration, completed=progress.done, total=progress.total or None
            )
            if progress.total and not console.is_terminal and time.monotonic() - last_line > LOG_INTERVAL:
                last_line = time.monotonic()
                click.echo(f"{progress.migration}: {progress.done * 100 // progress.total} %", err=True)

        yield show_progress
