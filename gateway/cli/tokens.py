"""`gateway admin-token`: tokens of the admin REST."""

from __future__ import annotations

import click

from gateway.cli.common import as_json, echo_json, opened, show
from gateway.provisioning import Provisioning
from gateway.scim.lines import check_line
from gateway.store.clock import rfc3339
from gateway.store.records import TokenRecord


@click.group("admin-token")
def admin_token() -> None:
    """Tokens that open the admin REST."""


@admin_token.command()
@click.option("--name", required=True, help="What it is for; shown in the list.")
@click.option("--organization", metavar="ID", help="Let it open this organization only.")
def create(name: str, organization: str | None) -> None:
    """Make a token. It alone is written to stdout, and shown this once.

    Without --organization it is an operator's, for all organizations.
    """
    if not name.strip():
        raise click.ClickException("The name of a token cannot be empty.")
    check_line(name.strip(), "The name of a token")
    with opened() as gateway:
        found = gateway.store.organizations.by_id(organization) if organization is not None else None
        if organization is not None and found is None:
            raise click.ClickException(f"There is no organization with the id {organization!r}.")
        uid, token = gateway.store.admin_tokens.add(found, name.strip())
    whose = f"opens the organization {found.name}" if found else "opens all organizations"
    click.echo(f"The token {name.strip()!r} ({uid}) {whose}. Keep it: it is not shown again.", err=True)
    click.echo(token)


@admin_token.command("list")
@as_json
def list_tokens(as_json: bool) -> None:
    """Show all tokens, never their values."""
    with opened() as gateway:
        tokens = [_shown(gateway, token) for token in gateway.store.admin_tokens.all()]
    if as_json:
        echo_json(tokens)
        return
    columns = ("id", "name", "organization", "prefix", "created_at", "last_used_at")
    show("Admin tokens", columns, [[str(token[column] or "") for column in columns] for token in tokens])


@admin_token.command()
@click.argument("token_id", metavar="ID")
def revoke(token_id: str) -> None:
    """Revoke the token with this id, at once."""
    with opened() as gateway:
        if not gateway.store.admin_tokens.remove(token_id):
            raise click.ClickException(
                f"There is no admin token with the id {token_id!r}; `gateway admin-token list` shows them."
            )
    click.echo(f"Revoked {token_id}.", err=True)


def _shown(gateway: Provisioning, token: TokenRecord) -> dict[str, str | None]:
    owner = gateway.store.organizations.by_key(token.owner_id).uid if token.owner_id else None
    return {
        "id": token.uid,
        "name": token.label,
        "organization": owner,
        "prefix": token.prefix,
        "created_at": rfc3339(token.created),
        "last_used_at": rfc3339(token.last_used) if token.last_used else None,
    }
