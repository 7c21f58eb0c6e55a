"""`gateway conformance`: test any SCIM server against the transcripts and the simulator of a plugin."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import click
from marshmallow import ValidationError
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from gateway.cli.common import as_json, echo_json
from gateway.cli.simulate import declared, new_run, session_to
from gateway.plugin.contracts import Declaration
from gateway.plugin.declarations import settings_of
from gateway.simulation.api import Session, SimulationOptions
from gateway.simulation.report import summary, table_console
from gateway.testing import live, transcripts

_RESULTS = {
    True: Text("holds", "green"),
    False: Text("DOES NOT", "bold red"),
    None: Text("left out", "dim"),
}


@dataclass(frozen=True)
class Check:
    """The result of one transcript or of one style of the simulator, with the differences as sentences.

    `ok` is None where it was left out, since the transcript is of a connection with other settings.
    """

    kind: str
    name: str
    ok: bool | None
    what: str
    source: str = ""
    differences: tuple[str, ...] = ()


@click.command()
@click.argument("idp")
@click.option("--base-url", required=True, metavar="URL", help="The SCIM base URL of the server.")
@click.option("--token", required=True, envvar="GATEWAY_SIMULATE_TOKEN", help="Its bearer token.")
@click.option(
    "--settings", default="{}", metavar="JSON", help="The settings of the connection, where it has any."
)
@as_json
@click.pass_context
def conformance(
    ctx: click.Context, idp: str, base_url: str, token: str, settings: str, as_json: bool
) -> None:
    """Hold a plugin's transcripts and simulator against any SCIM server, and show what holds.

    Every name carries this run, and what a transcript made is deleted again, so that it may be run at any time. Whole
    lists are compared only where the server has no other users and groups. A transcript of a connection with other
    settings is left out, and named. The exit status is 0 only if all the others hold.
    """
    declaration = declared(idp)
    try:
        recorded = transcripts.read(declaration.transcripts)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    given = _settings(declaration, settings)
    styles = declaration.simulator.styles if declaration.simulator else ()
    if not recorded and not styles:
        raise click.ClickException(
            f"The plugin {idp} brings neither transcripts nor a simulator: there is nothing to hold a server against."
        )
    with session_to(base_url, token) as session:
        _check_access(session)
        checks: list[Check] = []
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("", total=len(recorded) + len(styles))
            for name, transcript in recorded.items():
                progress.update(task, description=name)
                checks.append(
                    _check_transcript(
                        session,
                        name,
                        transcript,
                        given == _settings(declaration, transcript.get("settings", {})),
                    )
                )
                progress.advance(task)
            for style in styles:
                progress.update(task, description=f"simulator {style}")
                checks.append(_check_simulator(session, declaration, style))
                progress.advance(task)
            progress.update(task, description="")
    all_hold = any(check.ok for check in checks) and not any(check.ok is False for check in checks)
    if as_json:
        echo_json(
            {
                "idp": idp,
                "base_url": base_url,
                "holds": all_hold,
                "checks": [asdict(check) for check in checks],
            }
        )
    else:
        table_console().print(_table(checks), _summary(checks))
    ctx.exit(not all_hold)


def _check_access(session: Session) -> None:
    """Raise ClickException where the token is refused or no SCIM server answers: once, not for every transcript."""
    answer = session.call("GET", "/Users?startIndex=1&count=1", headers={})
    if answer.status in (401, 403):
        detail = answer.json.get("detail") if isinstance(answer.json, dict) else None
        raise click.ClickException(
            f"The server refuses the token with {answer.status}: {detail or 'no reason'}"
        )
    if not isinstance(answer.json, dict) or "totalResults" not in answer.json:
        raise click.ClickException(
            f"GET /Users is answered with {answer.status} and no list of SCIM. Is this the base URL?"
        )


def _settings(declaration: Declaration, given: str | Mapping[str, Any]) -> dict[str, Any]:
    """Read the settings, with the defaults of the plugin. Raises ClickException where they are invalid."""
    try:
        return settings_of(declaration, json.loads(given) if isinstance(given, str) else given)
    except (ValueError, TypeError, ValidationError) as error:
        raise click.ClickException(f"These are no settings of {declaration.title}: {error}") from None


def _check_transcript(
    session: Session, name: str, transcript: Mapping[str, Any], same_settings: bool
) -> Check:
    what, source = str(transcript.get("title")), str(transcript.get("source"))
    if not same_settings:
        left_out = (
            f"It is told of a connection with the settings {json.dumps(transcript.get('settings', {}))}."
        )
        return Check("transcript", name, None, what, source, (left_out,))
    differences = transcripts.find_mistakes(transcript) or live.replay_live(session, transcript, new_run())
    return Check("transcript", name, not differences, what, source, tuple(differences))


def _check_simulator(session: Session, declaration: Declaration, style: str) -> Check:
    assert declaration.simulator is not None
    steps = list(declaration.simulator.run(session, SimulationOptions(style=style, run=new_run())))
    failed = tuple(f"{step.title}: {step.explanation}" for step in steps if not step.ok)
    name = f"simulator {style}".strip()
    return Check("simulator", name, not failed, summary(steps), "", failed)


def _table(checks: list[Check]) -> Table:
    shown = Table(box=box.SIMPLE_HEAD)
    for column in ("held against the server", "result", "what"):
        shown.add_column(column, overflow="fold", no_wrap=column == "result")
    for check in checks:
        result = _RESULTS[check.ok]
        what = Text(check.what)
        for difference in check.differences:
            what.append(f"\n{difference}", "dim" if check.ok is None else "red")
        shown.add_row(Text(check.name), result, what)
    return shown


def _summary(checks: list[Check]) -> str:
    results = [check.ok for check in checks if check.ok is not None]
    left_out = f" {len(checks) - len(results)} left out." if len(results) < len(checks) else ""
    failed = results.count(False)
    return (f"{failed} of {len(results)} do not hold." if failed else f"All {len(results)} hold.") + left_out
