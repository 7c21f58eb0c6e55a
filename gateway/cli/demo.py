"""`gateway demo`: from an empty folder to provisioned users, on a real server."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click
from rich.console import Console
from rich.text import Text

from gateway.app import build
from gateway.cli.common import explain_outages, name_database, print_table
from gateway.cli.simulate import new_run, simulator_of
from gateway.config import load
from gateway.demo.customer import STEPS, Customer
from gateway.demo.server import run_server
from gateway.provisioning import Provisioning, Trace
from gateway.scim.errors import NotFound
from gateway.simulation.api import SimulationOptions, Step
from gateway.simulation.http_session import HttpSession
from gateway.simulation.report import show_progress, summary, table
from gateway.store.ids_and_time import in_days

USERS = 3


@click.command()
@click.option(
    "--once", is_flag=True, help="Stop after the simulation; the exit status is 0 if every step went well."
)
@click.option(
    "--seats",
    default=USERS,
    show_default=True,
    type=click.IntRange(1),
    help=f"Seats of the organization. {USERS + 1} users are assigned; those beyond the seats must be refused.",
)
@click.option("--verbose", is_flag=True, help="Explain every step in a table, and show events and refusals.")
@click.pass_context
def demo(ctx: click.Context, once: bool, seats: int, verbose: bool) -> None:
    """Start a gateway, set up an organization, and simulate Okta against it.

    Everything is kept in the SQLite file of the instance folder. Run it as often as you like: each run has an
    organization of its own.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the server is stopped then, too
    gateway = build(load({"database_url": "", "public_url": ""}))
    database = gateway.store.database
    try:
        with explain_outages(database):
            database.migrate()
    finally:
        database.close()
    name_database(database.place)
    # As wide as the terminal, also where a file is written to.
    config, console, run = gateway.config, Console(), new_run()
    environment = {
        "GATEWAY_INSTANCE": str(config.instance),
        "GATEWAY_DATABASE_URL": config.database_url,
        "GATEWAY_PUBLIC_URL": "",
    }
    log = config.instance / "demo.log"
    with (
        explain_outages(database),
        _operator(gateway, run) as operator,
        run_server(environment, log) as url,
        HttpSession(f"{url}/admin/v1", operator) as admin,
    ):
        console.print(
            Text.assemble("The gateway runs at ", (url, "bold"), f", its log is {log}.\n"), soft_wrap=True
        )
        customer = Customer(admin, run, seats, config.extension_urn)
        steps = _simulate(customer, run, seats, console)
        if verbose:
            console.print("", table(steps))
        console.print("", _verdict(steps), "")
        if customer.token:
            _show(customer, console, verbose)
            _print_lines(console, [("Organization", customer.organization)])
        if customer.token and not once:
            _wait(console, url, customer, operator)
    ctx.exit(any(not step.ok for step in steps))


@contextmanager
def _operator(gateway: Provisioning, run: str) -> Iterator[str]:
    """Make an operator's token for the demonstration. It is revoked at the end, and expires after a month."""
    trace, access = Trace("gateway demo", "gateway demo", principal="operator"), gateway.admin_access
    made, token = access.add_token(None, f"gateway demo {run}", "full", in_days(31), trace)
    gateway.store.database.close()
    try:
        yield token
    finally:
        with suppress(NotFound):  # it may be revoked already
            access.revoke_token(None, made.uid, trace)
        gateway.store.database.close()


def _simulate(customer: Customer, run: str, seats: int, console: Console) -> list[Step]:
    simulator, users = simulator_of("okta"), min(seats, USERS)
    options = SimulationOptions(
        users=users, groups=1, refused=max(0, USERS + 1 - seats), keep_active=True, run=run
    )

    def steps() -> Iterator[Step]:
        yield from customer.set_up()
        if customer.token:
            with HttpSession(customer.base_url, customer.token) as scim:
                yield from simulator.run(scim, options)
                others = [options.user_name(f"user{number}") for number in range(2, users)]
                yield from customer.map_groups(options.user_name("user1"), others, scim)
            yield from customer.compare(users)

    return show_progress(steps(), STEPS + simulator.count_steps(options), console, each=True)


def _verdict(steps: list[Step]) -> Text:
    failed = any(not step.ok for step in steps)
    return Text(summary(steps), "bold red" if failed else "bold green")


def _show(customer: Customer, console: Console, verbose: bool) -> None:
    """Show what the application and the customer see, from the admin REST."""
    users = [
        [
            user["user_name"],
            "active" if user["active"] else "inactive",
            (user["managed_by"] or {}).get("idp", "manual"),
            ", ".join(f"{group['name']} ({'+'.join(group['sources'])})" for group in user["groups"]),
        ]
        for user in customer.list_all("users")
    ]
    print_table("The application sees", ("user", "state", "managed by", "groups"), users, console)
    events = customer.list_all("events") if verbose else []
    if events:
        print_table(
            f"Events (the last of {len(events)})",
            ("id", "at", "type", "of"),
            [[str(each["id"]), each["at"][11:19], each["type"], _about(each)] for each in events[-8:]],
            console,
        )
    refusals = customer.list_all("activity", "&outcome=failure")[::-1]
    # Without --verbose those for want of a seat alone, which are the ones that a customer meets.
    shown = [each for each in refusals if verbose or each["status"] == 403]
    print_table(
        "The customer's admin reads in Okta",
        ("request", "status", "said"),
        [[each["operation"], str(each["status"]), each["detail"] or ""] for each in shown],
        console,
    )


def _about(event: dict[str, dict[str, str]]) -> str:
    data = event["data"]
    return str(data.get("userName") or data.get("displayName") or event["resource_id"])


def _describe_access(url: str, customer: Customer, operator: str) -> list[tuple[str, str]]:
    of_organization = f"{url}/admin/v1/organizations/{customer.organization}"
    user = (
        '{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"you@acme.test","active":true}'
    )
    operator_header, token_header = (
        f"-H 'Authorization: Bearer {operator}'",
        f"-H 'Authorization: Bearer {customer.token}'",
    )
    return [
        ("", "Open this link in a browser: the console, as the customer's IT admin. It opens once."),
        ("Setup link", customer.make_setup_link()),
        ("", "The console as operator: sign in there with the operator token."),
        ("Console", f"{url}/console/"),
        ("Feed", f"{of_organization}/events"),
        ("Admin REST, documented", f"{url}/admin/v1/docs"),
        ("Operator token", operator),
        ("SCIM base URL", customer.base_url),
        ("Bearer token", customer.token),
        ("", "Provision somebody yourself, follow the feed, and read what the customer's admin reads:"),
        (
            "",
            f"curl {token_header} -H 'Content-Type: application/scim+json' -d '{user}' '{customer.base_url}/Users'",
        ),
        ("", f"curl {operator_header} '{of_organization}/events'"),
        ("", f"curl {operator_header} '{of_organization}/activity?limit=5'"),
        ("", "The server goes on until Ctrl-C."),
    ]


def _print_lines(console: Console, lines: list[tuple[str, str]]) -> None:
    """Print lines without breaks, so that they can be copied, however wide the terminal is."""
    for name, value in lines:
        console.print(Text.assemble(f"{name:24}", (value, "bold")) if name else Text(value), soft_wrap=True)


def _wait(console: Console, url: str, customer: Customer, operator: str) -> None:
    try:
        # Inside the `try`: a reader of the lines may press Ctrl-C at once.
        _print_lines(console, _describe_access(url, customer, operator))
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        click.echo("Stopping.")
