"""`gateway simulate`: run the simulator of an identity provider against any SCIM server."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import click
from rich.console import Console

from gateway.app import build
from gateway.cli.common import as_json, echo_json
from gateway.config import load
from gateway.plugin.contracts import Declaration
from gateway.plugin.declarations import PluginInfo
from gateway.simulation.api import SimulationOptions, Simulator
from gateway.simulation.http_session import HttpSession
from gateway.simulation.report import as_json as steps_as_json
from gateway.simulation.report import show_progress, summary, table, table_console


@click.command()
@click.argument("idp")
@click.option("--base-url", required=True, metavar="URL", help="The SCIM base URL of the server.")
@click.option("--token", required=True, envvar="GATEWAY_SIMULATE_TOKEN", help="Its bearer token.")
@click.option("--users", default=3, show_default=True, type=click.IntRange(0), help="How many to assign.")
@click.option("--groups", default=1, show_default=True, type=click.IntRange(0), help="How many to push.")
@click.option("--style", default="", help="The kind of app that is simulated.")
@click.option("--concurrency", default=1, show_default=True, type=click.IntRange(1, 256), help="At a time.")
@as_json
@click.pass_context
def simulate(
    ctx: click.Context,
    idp: str,
    base_url: str,
    token: str,
    users: int,
    groups: int,
    style: str,
    concurrency: int,
    as_json: bool,
) -> None:
    """Simulate an identity provider, as `okta`, against any SCIM server.

    Each step says what was sent, what came and what was expected. The exit status is 1 if a step failed. The token is
    read from GATEWAY_SIMULATE_TOKEN as well, where other users of the machine cannot see it.
    """
    simulator = simulator_of(idp)
    if style and style not in simulator.styles:
        raise click.ClickException(
            f"{idp} can be played in the styles {', '.join(simulator.styles)}, not {style!r}."
        )
    options = SimulationOptions(
        users=users, groups=groups, style=style, concurrency=concurrency, run=new_run()
    )
    with session_to(base_url, token) as session:
        steps = show_progress(
            simulator.run(session, options), simulator.count_steps(options), Console(stderr=True)
        )
    if as_json:
        echo_json(steps_as_json(steps))
    else:
        table_console().print(table(steps), summary(steps))
    ctx.exit(any(not step.ok for step in steps))


def new_run() -> str:
    """Return random text that keeps the names of this run apart from those of other runs."""
    return secrets.token_hex(3)


@contextmanager
def session_to(base_url: str, token: str) -> Iterator[HttpSession]:
    """Open a session to a server. Raises ClickException where the URL is wrong or no server answers."""
    try:
        session = HttpSession(base_url, token)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    with session:
        if (answer := session.call("GET", "/ServiceProviderConfig")).status == 0:
            raise click.ClickException(f"No server answers at {base_url}: {answer.text}.")
        yield session


def declared(idp: str) -> Declaration:
    """Return the declaration of an identity provider's plugin. No instance is needed, and none is made."""
    found = {each.name: each.declaration for each in _plugins() if each.idp}
    if idp not in found:
        raise click.ClickException(
            f"No plugin is an identity provider called {idp!r}. There are: {', '.join(sorted(found))}."
        )
    return found[idp]


def simulator_of(idp: str) -> Simulator:
    """Return the simulator of a plugin. Raises ClickException where it brings none."""
    simulator = declared(idp).simulator
    if simulator is None:
        known = ", ".join(sorted(each.name for each in _plugins() if each.declaration.simulator)) or "nobody"
        raise click.ClickException(
            f"The plugin {idp} brings no simulator. There are simulators for: {known}."
        )
    return simulator


def _plugins() -> list[PluginInfo]:
    with TemporaryDirectory() as folder:
        overrides = {
            "instance": folder,
            "database_url": "",
            "secret_key": "not used" * 4,
            "plugins_disabled": "",
        }
        return build(load(overrides)).plugins.declared.plugins()
