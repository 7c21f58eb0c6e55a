"""`gateway export`: all that is stored of an organization, as a zip file."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.common import as_json, echo_json, open_gateway, print_table, progress_bar
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
        try:
            with write_atomically(file, force) as part, progress_bar("Exporting") as progress:
                manifest = gateway.organization_export.write(found, part, progress)
        except CopyError as error:
            raise click.ClickException(str(error)) from None
    if as_json:
        echo_json({"file": str(file.absolute()), **manifest})
        return
    rows = [(each["name"], f"{each['rows']:,}") for each in manifest["files"] if each["rows"]]
    print_table(f"{found.name} in {file}", ("file", "rows"), rows)
