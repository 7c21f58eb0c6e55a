"""Shared by all commands: known failures as one sentence, the gateway of this instance, tables and JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from gateway.app import build
from gateway.config import ConfigurationError, load, unknown_settings
from gateway.plugin.manager import ENTRY_POINTS, PluginError
from gateway.provisioning import Provisioning
from gateway.scim.errors import Refusal
from gateway.server import ServingError
from gateway.simulation.report import table_console
from gateway.store import UnusableDatabase
from gateway.store.engine.base import Database
from gateway.store.engine.failures import Outage

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


class Commands(click.Group):
    """Commands whose known failures are one sentence on stderr; any other exception is a defect, with a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, after a warning for each environment variable that nothing reads."""
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
def explain_outages(database: Database) -> Iterator[None]:
    """Turn an outage of this database into a ClickException, whose sentence says why it cannot be used."""
    try:
        yield
    except Outage as outage:
        raise click.ClickException(
            database.explain_failure() or f"The database {database.place} cannot be used: {outage.what}."
        ) from None


def name_database(place: str) -> None:
    """Print on stderr which database a command uses; stdout is for programs."""
    click.echo(f"Database: {place}", err=True)


@contextmanager
def open_gateway(make_key: bool = True) -> Iterator[Provisioning]:
    """Yield the use cases of this instance, and print the name of its database.

    `make_key`: create the secret key if there is none; a command that only reads passes False, and writes nothing.
    Raises ClickException for a database that does not exist, lacks migrations or cannot be used.
    """
    gateway = build(load(make_key=False))
    database = gateway.store.database
    if not database.exists:
        raise click.ClickException(f"There is no database at {database.place}. Run `gateway migrate` first.")
    if make_key and not gateway.config.secret_key:
        gateway = build(load())
        database = gateway.store.database
    try:
        with explain_outages(database):
            if pending := database.pending_migrations():
                raise click.ClickException(
                    f"The database {database.place} lacks the migrations {', '.join(pending)}."
                    " Run `gateway migrate` first."
                )
            name_database(database.place)
            yield gateway
    finally:
        database.close()


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], console: Console | None = None
) -> None:
    """Print a table; its text is not read as markup."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    (console or table_console()).print(table)


def echo_json(value: Any) -> None:
    """Print a value as JSON on stdout, for programs."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


@contextmanager
def progress_bar(doing: str, at_the_end: str = "") -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal, on stderr; yields a function that takes how much is done, and of how much.

    `at_the_end` is what is being done once all of it is.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(doing, total=None)

        def progress(done: int, total: int) -> None:
            description = doing if done < total else at_the_end or doing
            bar.update(task, completed=done, total=total, description=description)

        yield progress
