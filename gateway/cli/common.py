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
from gateway.host import ENTRY_POINTS, PluginError
from gateway.provisioning import Provisioning
from gateway.scim.errors import Refusal
from gateway.server import ServingError
from gateway.simulation import people
from gateway.store import UnusableDatabase, open_database
from gateway.store.failures import Outage

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
        except Outage as outage:
            raise click.ClickException(_explain_failure(outage)) from None
        except Refusal as refusal:
            raise click.ClickException(refusal.detail) from None
        except OSError as error:
            if error.filename is None:
                raise
            raise click.ClickException(f"{error.filename}: {error.strerror}.") from None


def _explain_failure(outage: Outage) -> str:
    """Say why the configured database cannot be used."""
    config = load(make_key=False)
    database = open_database(config.database_url, config.sqlite_synchronous)
    return database.explain_failure() or f"The database {database.place} cannot be used: {outage.what}."


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
    try:
        if pending := gateway.store.database.pending_migrations():
            raise click.ClickException(
                f"The database {gateway.store.database.place} lacks the migrations {', '.join(pending)}."
                " Run `gateway migrate` first."
            )
        name_database(gateway.store.database.place)
        yield gateway
    finally:
        gateway.store.database.close()


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
