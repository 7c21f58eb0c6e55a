"""`gateway demo`: the whole way, from an empty folder to provisioned users, on a real server."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console, Group
from rich.text import Text

from gateway.app import build
from gateway.cli.common import show
from gateway.cli.simulate import new_run, simulator_of
from gateway.config import load
from gateway.contracts import Play, Step
from gateway.demo import setting
from gateway.demo.server import running
from gateway.demo.setting import Setting
from gateway.provisioning import Provisioning
from gateway.simulation import HttpSession, people, summary, table, watch

USERS = 3


@click.command()
@click.option(
    "--once", is_flag=True, help="Stop after the play; the exit status is 0 if every step went well."
)
@click.option(
    "--seats",
    default=USERS,
    show_default=True,
    type=click.IntRange(0),
    help=f"Seats of the organization. {USERS} users are assigned, and one more who must be refused.",
)
@click.pass_context
def demo(ctx: click.Context, once: bool, seats: int) -> None:
    """Start a gateway, set up an organization, and play Okta against it.

    Everything is kept in the SQLite file of the instance folder. Run it as often as you like: each run has an
    organization of its own.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the server is stopped then, too
    gateway = build(load({"database_url": "", "public_url": ""}))
    gateway.store.database.migrate()
    config, console, run = gateway.config, people(), new_run()
    environment = {
        "GATEWAY_INSTANCE": str(config.instance),
        "GATEWAY_DATABASE_URL": config.database_url,
        "GATEWAY_PUBLIC_URL": "",
    }
    log = config.instance / "demo.log"
    with (
        _operator(gateway, run) as operator,
        running(environment, log) as url,
        HttpSession(f"{url}/admin/v1", operator) as admin,
    ):
        console.print(Text.assemble("The gateway runs at ", (url, "bold"), f", its log is {log}.\n"))
        customer = Setting(admin, run, seats, config.extension_urn)
        steps = _play(customer, run, console)
        console.print("", table(steps), _verdict(steps), "")
        if customer.token:
            _show(customer)
        if customer.token and not once:
            _wait(console, _ways_in(url, customer, operator))
    ctx.exit(any(not step.ok for step in steps))


@contextmanager
def _operator(gateway: Provisioning, run: str) -> Iterator[str]:
    """An operator's token, for as long as the demonstration runs."""
    uid, token = gateway.store.admin_tokens.add(None, f"gateway demo {run}")
    gateway.store.database.close()
    try:
        yield token
    finally:
        gateway.store.admin_tokens.remove(uid)
        gateway.store.database.close()


def _play(customer: Setting, run: str, console: Console) -> list[Step]:
    simulator = simulator_of("okta")
    play = Play(users=USERS, groups=1, refused=1, keep_active=True, run=run)

    def story() -> Iterator[Step]:
        yield from customer.set_up()
        if customer.token:
            with HttpSession(customer.base_url, customer.token) as scim:
                yield from simulator.play(scim, play)
                yield from customer.map_groups(f"user1.{run}@{play.domain}", scim)
            yield from customer.compare(USERS)

    return watch(story(), setting.STEPS + simulator.steps(play), console, each=True)


def _verdict(steps: list[Step]) -> Text:
    failed = any(not step.ok for step in steps)
    return Text(summary(steps), "bold red" if failed else "bold green")


def _show(customer: Setting) -> None:
    """What the application sees, from the admin REST."""
    users = [
        [
            user["user_name"],
            "active" if user["active"] else "inactive",
            (user["managed_by"] or {}).get("idp", "manual"),
            ", ".join(f"{group['name']} ({'+'.join(group['sources'])})" for group in user["groups"]),
        ]
        for user in customer.look("users")
    ]
    show("Users", ("user", "state", "managed by", "groups"), users)
    events = customer.look("events")
    show(
        f"Events (the last of {len(events)})",
        ("id", "at", "type", "of"),
        [[str(each["id"]), each["at"][11:19], each["type"], _about(each)] for each in events[-8:]],
    )
    refusals = customer.look("activity", "&outcome=failure")
    show(
        "Refusals",
        ("request", "status", "said"),
        [[each["operation"], str(each["status"]), each["detail"] or ""] for each in reversed(refusals)],
    )


def _about(event: dict[str, dict[str, str]]) -> str:
    data = event["data"]
    return str(data.get("userName") or data.get("displayName") or event["resource_id"])


def _ways_in(url: str, customer: Setting, operator: str) -> Group:
    lines = (
        ("Admin REST, documented", f"{url}/admin/v1/docs"),
        ("Operator token", operator),
        ("SCIM base URL", customer.base_url),
        ("Bearer token", customer.token),
    )
    told = [Text.assemble(f"{name:24}", (value, "bold")) for name, value in lines]
    return Group("", *told, "", Text("The server goes on until Ctrl-C.", "dim"))


def _wait(console: Console, told: Group) -> None:
    try:
        # In here: whoever reads of Ctrl-C may press it at once.
        console.print(told)
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        click.echo("Stopping.")
