"""`gateway try`: creates everything that is needed to try a plugin."""

from __future__ import annotations

import secrets
from typing import Any

import click

from gateway.cli.common import as_json, echo_json, open_gateway
from gateway.config import load
from gateway.demo.metadata import saml_metadata
from gateway.provisioning import Provisioning, Trace


@click.command("try")
@click.argument("idp")
@click.option("--organization", metavar="NAME", default="Acme", show_default=True, help="Its name.")
@click.option("--seats", type=click.IntRange(0), help="Its seats; left out: no limit.")
@click.option(
    "--url", metavar="URL", help="Where the server is reached. Default: the public URL, or port 8000 here."
)
@as_json
def try_idp(idp: str, organization: str, seats: int | None, url: str | None, as_json: bool) -> None:
    """Make an organization with single sign-on, a connection of the plugin IDP with provisioning on, and a token.

    Each call makes another organization. The connection may remove any number of people. The token is shown this once.
    """
    with open_gateway() as gateway:
        made = _set_up(
            gateway,
            idp,
            organization,
            seats,
            (url or load().public_url or "http://127.0.0.1:8000").rstrip("/"),
        )
    if as_json:
        echo_json(made)
        return
    for name, value in made.items():
        click.echo(f"{name:14}{value}")


def _set_up(gateway: Provisioning, idp: str, name: str, seats: int | None, url: str) -> dict[str, Any]:
    if gateway.plugins.declared.of(idp) is None:
        known = ", ".join(plugin.name for plugin in gateway.plugins.declared.plugins() if plugin.idp)
        raise click.ClickException(
            f"No plugin for the identity provider {idp!r} is loaded; there are {known}."
        )
    trace, setup = Trace("gateway try", "gateway try"), gateway.setup
    added = setup.add_organization(
        {
            "name": name,
            "plan": "enterprise",
            "domains": [],
            "seat_limit": seats,
            "payment": "invoice",
            "billing_url": None,
            "contact_url": None,
        },
        trace,
    )
    entity = f"https://idp.acme.test/{secrets.token_hex(4)}"
    setup.set_sso(gateway.callers.admin(added), saml_metadata(entity), trace)
    settings = gateway.plugins.declared.checked_settings(idp, {})
    admin = gateway.callers.admin(gateway.store.organizations.by_key(added.id))
    connection = setup.add_connection(admin, idp, gateway.plugins.declared.title(idp), settings, trace)
    caller = gateway.callers.connection(connection, gateway.store.organizations.by_key(added.id), url)
    setup.set_provisioning(caller, True, trace)
    # Simulators and suites of identity providers remove more people than a limit lets pass.
    setup.edit_connection(caller, connection, {"brake": None}, trace)
    _, token = setup.add_token(caller, "gateway try", None, trace)
    return {
        "organization": added.uid,
        "connection": connection.uid,
        "base_url": caller.words.base_url,
        "token": token,
    }
