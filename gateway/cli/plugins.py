"""`gateway plugins`."""

from __future__ import annotations

from typing import Any

import click

from gateway.app import build
from gateway.cli.common import as_json, echo_json, show
from gateway.config import load


@click.command()
@as_json
def plugins(as_json: bool) -> None:
    """Show the plugins that this instance loads, with their hooks."""
    gateway = build(load())
    found: list[dict[str, Any]] = [
        {"name": plugin.name, "version": plugin.version, "idp": plugin.idp, "hooks": list(plugin.hooks)}
        for plugin in gateway.host.plugins()
    ]
    if as_json:
        echo_json(found)
        return
    rows = [
        [each["name"], each["version"], "yes" if each["idp"] else "", ", ".join(each["hooks"])]
        for each in found
    ]
    show("Plugins", ("name", "version", "IdP", "hooks"), rows)
