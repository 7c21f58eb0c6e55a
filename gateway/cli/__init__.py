"""The `gateway` command: one module for each subject, and `common` for what all commands share."""

from __future__ import annotations

import click

from gateway.cli.backup import backup, restore, restored
from gateway.cli.common import Commands
from gateway.cli.conformance import conformance
from gateway.cli.deliver import deliver
from gateway.cli.demo import demo
from gateway.cli.exports import export_organization
from gateway.cli.imports import import_people
from gateway.cli.listen import listen
from gateway.cli.plugins import plugin, plugins
from gateway.cli.server import migrate, serve
from gateway.cli.simulate import simulate
from gateway.cli.tokens import admin_token
from gateway.cli.trial import try_idp


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="provisioning-gateway")
def main() -> None:
    """A SCIM 2.0 provisioning gateway: identity providers create, group and deactivate people in your application.

    Settings stand in instance/config.toml and in GATEWAY_* of the environment; GATEWAY_INSTANCE names another folder.
    """


for command in (
    serve,
    deliver,
    migrate,
    backup,
    restore,
    restored,
    admin_token,
    import_people,
    export_organization,
    simulate,
    listen,
    conformance,
    plugins,
    plugin,
    try_idp,
    demo,
):
    main.add_command(command)
