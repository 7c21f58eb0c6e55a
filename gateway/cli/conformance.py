"""`gateway conformance`: what a plugin knows of its identity provider, held against any SCIM server."""

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
from gateway.simulation.report import people, summary
from gateway.testing import live, transcripts

_RESULTS = {
    True: Text("holds", "green"),
    False: Text("DOES NOT", "bold red"),
    None: Text("left out", "dim"),
}


@dataclass(frozen=True)
class Held:
    """One thing that was held against the server: what, whether it holds, and the differences as sentences.

    `ok` is None where it was left out, since it is told of a connection with other settings.
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
        stories = transcripts.read(declaration.transcripts)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    given = _settings(declaration, settings)
    styles = declaration.simulator.styles if declaration.simulator else ()
    if not stories and not styles:
        raise click.ClickException(
            f"The plugin {idp} brings neither transcripts nor a simulator: there is nothing to hold a server against."
        )
    with session_to(base_url, token) as session:
        _check_access(session)
        held: list[Held] = []
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("", total=len(stories) + len(styles))
            for name, story in stories.items():
                progress.update(task, description=name)
                held.append(
                    _told(session, name, story, given == _settings(declaration, story.get("settings", {})))
                )
                progress.advance(task)
            for style in styles:
                progress.update(task, description=f"simulator {style}")
                held.append(_played(session, declaration, style))
                progress.advance(task)
            progress.update(task, description="")
    all_hold = any(each.ok for each in held) and not any(each.ok is False for each in held)
    if as_json:
        echo_json({"idp": idp, "base_url": base_url, "holds": all_hold, "checks": [asdict(h) for h in held]})
    else:
        people().print(_table(held), _summary(held))
    ctx.exit(not all_hold)


def _check_access(session: Session) -> None:
    """Told once, not with every story."""
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
    """Settings with the defaults of the plugin filled in."""
    try:
        return settings_of(declaration, json.loads(given) if isinstance(given, str) else given)
    except (ValueError, TypeError, ValidationError) as error:
        raise click.ClickException(f"These are no settings of {declaration.title}: {error}") from None


def _told(session: Session, name: str, story: Mapping[str, Any], same_settings: bool) -> Held:
    what, source = str(story.get("story")), str(story.get("source"))
    if not same_settings:
        left_out = f"It is told of a connection with the settings {json.dumps(story.get('settings', {}))}."
        return Held("transcript", name, None, what, source, (left_out,))
    differences = transcripts.malformed(story) or live.hold(session, story, new_run())
    return Held("transcript", name, not differences, what, source, tuple(differences))


def _played(session: Session, declaration: Declaration, style: str) -> Held:
    assert declaration.simulator is not None
    steps = list(declaration.simulator.run(session, SimulationOptions(style=style, run=new_run())))
    failed = tuple(f"{step.title}: {step.explanation}" for step in steps if not step.ok)
    name = f"simulator {style}".strip()
    return Held("simulator", name, not failed, summary(steps), "", failed)


def _table(held: list[Held]) -> Table:
    shown = Table(box=box.SIMPLE_HEAD)
    for column in ("held against the server", "result", "what"):
        shown.add_column(column, overflow="fold", no_wrap=column == "result")
    for each in held:
        result = _RESULTS[each.ok]
        what = Text(each.what)
        for difference in each.differences:
            what.append(f"\n{difference}", "dim" if each.ok is None else "red")
        shown.add_row(Text(each.name), result, what)
    return shown


def _summary(held: list[Held]) -> str:
    told = [each.ok for each in held if each.ok is not None]
    left_out = f" {len(held) - len(told)} left out." if len(told) < len(held) else ""
    failed = told.count(False)
    return (f"{failed} of {len(told)} do not hold." if failed else f"All {len(told)} hold.") + left_out
