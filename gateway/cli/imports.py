"""`gateway import`: people of a CSV file, previewed, confirmed and applied."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from gateway.cli.common import as_json, echo_json, open_gateway, print_table
from gateway.provisioning import Trace
from gateway.provisioning.admin_tokens import OPERATOR
from gateway.provisioning.imports.csv_files import MOST_BYTES
from gateway.provisioning.imports.imports import ABSENT_CHOICES, KEEP
from gateway.scim.json_text import Json
from gateway.store.records import ImportRecord

_SHOWN = ("create", "update", "same", "skip", "wrong", "partial", "deactivate", "seats_needed", "seats_free")


@click.command("import")
@click.argument("organization", metavar="ORGANIZATION")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--absent",
    type=click.Choice(ABSENT_CHOICES),
    default=KEEP,
    show_default=True,
    help="What happens to active people of no connection who are not in the file.",
)
@click.option("--yes", is_flag=True, help="Apply the preview without asking.")
@as_json
def import_people(organization: str, file: Path, absent: str, yes: bool, as_json: bool) -> None:
    """Import people of a CSV file into the organization with the id ORGANIZATION.

    A preview is shown and confirmed first. The result of each row is kept for 24 hours.
    """
    with file.open("rb") as opened:
        data = opened.read(MOST_BYTES + 1)
    with open_gateway() as gateway:
        found = gateway.store.organizations.by_id(organization)
        if found is None:
            raise click.ClickException(f"There is no organization with the id {organization!r}.")
        caller = gateway.callers.admin(found)
        record, preview = gateway.imports.add(caller, data, absent, _trace("upload", found.id))
        shown = gateway.imports.as_json(record, preview)
        if not as_json:
            _print_preview(file.name, shown)
        if not yes:
            if as_json:
                echo_json(shown)
            if as_json or not sys.stdin.isatty():
                click.echo("Nobody was changed: --yes applies the preview.", err=True)
                return
            click.confirm("Apply it?", abort=True, err=True)
        console = Console(stderr=True)
        columns = TextColumn("Importing"), BarColumn(), MofNCompleteColumn()
        with nullcontext() if as_json else Progress(*columns, console=console) as progress:
            task = progress.add_task("import", total=record.row_count) if progress else None

            def report(now: ImportRecord) -> None:
                if progress and task is not None:
                    progress.update(task, completed=now.done, total=now.row_count)

            trace = _trace("apply", found.id)
            done = gateway.imports.apply(caller, record.uid, preview.etag, trace, None, report)
        result = gateway.imports.as_json(done)
    if as_json:
        echo_json(result)
        return
    counts = ", ".join(f"{number} {outcome}" for outcome, number in result["outcomes"].items())
    click.echo(f"{counts}. The reasons are in the result of the import {done.uid}.")


def _print_preview(name: str, shown: Json) -> None:
    """Print what an import would do, and its first rows."""
    counts = [(key, "no limit" if shown[key] is None else str(shown[key])) for key in _SHOWN if key in shown]
    print_table(f"{name}: {shown['rows']} rows", ("", "number"), counts)
    rows = [
        (str(row["row"]), row["user_name"], row["outcome"], row["reason"] or "") for row in shown["first"]
    ]
    print_table("The first rows", ("row", "user_name", "outcome", "reason"), rows)


def _trace(step: str, organization_id: int) -> Trace:
    """Return the trace of a step: a user with a shell of the deployment is an operator."""
    path = "/organizations/{organization}/imports"
    operation = f"POST {path}" if step == "upload" else f"POST {path}/{{import}}/apply"
    return Trace(operation, "gateway import", organization_id, principal=OPERATOR)
