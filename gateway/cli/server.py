"""`gateway serve` and `gateway migrate`."""

from __future__ import annotations

import click

from gateway import serving
from gateway.app import build
from gateway.cli.common import opened
from gateway.config import load
from gateway.store.copies import in_use


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
    # Settings, plugins and database are looked at here, before workers could fail on them again and again.
    with opened() as gateway:
        workers = workers or gateway.config.workers or serving.default_workers()
        url = gateway.config.database_url
    # Workers may come and go: while the server runs, nobody restores an older database under it.
    with in_use(url):
        serving.serve(host, port, workers)


@click.command()
def migrate() -> None:
    """Bring the database to the newest schema. Safe when many nodes start at once."""
    gateway = build(load())
    try:
        applied = gateway.store.database.migrate()
    finally:
        gateway.store.database.close()
    for name in applied:
        click.echo(f"Applied {name}.")
    if not applied:
        click.echo("Nothing to do: the database has the newest schema.")
