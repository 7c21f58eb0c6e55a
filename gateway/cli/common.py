"""What the commands have in common: mistakes told in one sentence, an opened instance, tables and JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.app import build
from gateway.config import ConfigurationError, load, unknown_settings
from gateway.plugin.manager import ENTRY_POINTS, PluginError
from gateway.provisioning import Provisioning
from gateway.scim.errors import Refusal
from gateway.server import ServingError
from gateway.simulation.report import people
from gateway.store import UnusableDatabase
from gateway.store.engine.base import Database
from gateway.store.engine.failures import Outage

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


class Commands(click.Group):
    """Commands whose known failures are one sentence on stderr. Anything else is a defect, and shows itself as one."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        for sentence in unknown_settings(
            os.environ, (point.name for point in entry_points(group=ENTRY_POINTS))
        ):
            click.echo(f"Warning: {sentence}", err=True)
        try:
            return super().invoke(ctx)
        except (ConfigurationError, PluginError, ServingError, UnusableDatabase) as error:
            raise click.ClickException(str(error)) from None
        except Refusal as refusal:
            raise click.ClickException(refusal.detail) from None
        except OSError as error:
            if error.filename is None:
                raise
            raise click.ClickException(f"{error.filename}: {error.strerror}.") from None


@contextmanager
def explained(database: Database) -> Iterator[None]:
    """Say of an outage inside why this database cannot be used, in one sentence. Raises ClickException."""
    try:
        yield
    except Outage as outage:
        raise click.ClickException(
            database.explain_failure() or f"The database {database.place} cannot be used: {outage.what}."
        ) from None


def name_database(place: str) -> None:
    """Say which database a command uses, on stderr: what programs read on stdout stays as it is."""
    click.echo(f"Database: {place}", err=True)


@contextmanager
def opened(make_key: bool = True) -> Iterator[Provisioning]:
    """The stories of this instance. Refuses a database that is not there or lacks migrations, and names it.

    `make_key`: make the secret key if there is none; a command that only shows passes False, and writes nothing.
    """
    gateway = build(load(make_key=False))
    database = gateway.store.database
    if not database.exists:
        raise click.ClickException(f"There is no database at {database.place}. Run `gateway migrate` first.")
    if make_key and not gateway.config.secret_key:
        gateway = build(load())
        database = gateway.store.database
    try:
        with explained(database):
            if pending := database.pending_migrations():
                raise click.ClickException(
                    f"The database {database.place} lacks the migrations {', '.join(pending)}."
                    " Run `gateway migrate` first."
                )
            name_database(database.place)
            yield gateway
    finally:
        database.close()


def show(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], console: Console | None = None
) -> None:
    """A table for people. Text is shown as it is: what looks like markup is none."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    (console or people()).print(table)


def echo_json(value: Any) -> None:
    """JSON for programs, on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
