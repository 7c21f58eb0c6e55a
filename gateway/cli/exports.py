"""`gateway export`: all that is stored of an organization, as a zip file."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from gateway.cli.common import as_json, echo_json, open_gateway, print_table
from gateway.store.engine.backup import CopyError, write_atomically


@click.command("export")
@click.argument("organization", metavar="ORGANIZATION")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@as_json
def export_organization(organization: str, file: Path, force: bool, as_json: bool) -> None:
    """Write all that is stored of the organization with the id ORGANIZATION to FILE, a zip file.

    It holds a file of JSON lines for each table, and manifest.json with their numbers of rows and SHA-256. Secrets are
    left out. FILE holds people's data, and is readable by you alone.
    """
    with open_gateway(make_key=False) as gateway:
        found = gateway.store.organizations.by_id(organization)
        if found is None:
            raise click.ClickException(f"There is no organization with the id {organization!r}.")
        columns = TextColumn("Exporting"), BarColumn(), MofNCompleteColumn()
        with nullcontext() if as_json else Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("export") if bar else None

            def report(done: int, total: int) -> None:
                if bar and task is not None:
                    bar.update(task, completed=done, total=total)

            try:
                with write_atomically(file, force) as part:
                    manifest = gateway.organization_export.write(found, part, report)
            except CopyError as error:
                raise click.ClickException(str(error)) from None
    if as_json:
        echo_json({"file": str(file.absolute()), **manifest})
        return
    rows = [(each["name"], f"{each['rows']:,}") for each in manifest["files"] if each["rows"]]
    print_table(f"{found.name} in {file}", ("file", "rows"), rows)
