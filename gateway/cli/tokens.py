"""`gateway admin-token`: tokens of the admin REST."""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.common import as_json, echo_json, open_gateway, print_table
from gateway.provisioning import Provisioning, Trace
from gateway.provisioning.admin_tokens import OPERATOR, SCOPES
from gateway.scim.escaping import check_line
from gateway.store.ids_and_time import in_days, now, rfc3339
from gateway.store.records import AdminTokenRecord

_NAME_LENGTH = 200
_VERBS = {"full": "opens", "read": "reads", "events": "reads the feeds of events of"}


@click.group("admin-token")
def admin_token() -> None:
    """Tokens that open the admin REST."""


@admin_token.command()
@click.option("--name", required=True, help="What it is for; shown in the list.")
@click.option("--organization", metavar="ID", help="Let it open this organization only.")
@click.option(
    "--scope",
    type=click.Choice(SCOPES),
    default="full",
    show_default=True,
    help="read: GET, and what only looks. events: the feeds of events only.",
)
@click.option(
    "--expires-in-days", type=click.IntRange(1, 3650), metavar="DAYS", help="Left out: it does not expire."
)
@as_json
def create(
    name: str, organization: str | None, scope: str, expires_in_days: int | None, as_json: bool
) -> None:
    """Make a token. It alone is written to stdout, and shown this once.

    Without --organization it is an operator's, for all organizations.
    """
    name = name.strip()
    if not name:
        raise click.ClickException("The name of a token cannot be empty.")
    if len(name) > _NAME_LENGTH:
        raise click.ClickException(
            f"The name of a token has {len(name)} characters; at most {_NAME_LENGTH} are kept."
        )
    check_line(name, "The name of a token")
    with open_gateway() as gateway:
        found = gateway.store.organizations.by_id(organization) if organization is not None else None
        if organization is not None and found is None:
            raise click.ClickException(f"There is no organization with the id {organization!r}.")
        added, token = gateway.admin_access.add_token(
            found, name, scope, in_days(expires_in_days), _trace("create")
        )
        made = _token_json(gateway, added)
    if as_json:
        echo_json(made | {"token": token})
        return
    whose = f"the organization {found.name}" if found else "all organizations"
    until = f" until {made['expires_at']}" if added.expires is not None else ""
    click.echo(
        f"The token {name!r} ({added.uid}) {_VERBS[scope]} {whose}{until}. Keep it: it is not shown again.",
        err=True,
    )
    click.echo(token)


@admin_token.command("list")
@as_json
def list_tokens(as_json: bool) -> None:
    """Show all tokens, never their values."""
    with open_gateway(make_key=False) as gateway:
        tokens = [_token_json(gateway, token) for token in gateway.store.admin_tokens.all()]
    if as_json:
        echo_json(tokens)
        return
    rows = [_row(token) for token in tokens]
    print_table(
        "Admin tokens", ("id", "name", "organization", "scope", "prefix", "expires", "last used"), rows
    )


@admin_token.command()
@click.argument("token_id", metavar="ID")
@as_json
def revoke(token_id: str, as_json: bool) -> None:
    """Revoke the token with this id, at once."""
    with open_gateway() as gateway:
        if gateway.store.admin_tokens.by_id(None, token_id) is None:
            raise click.ClickException(
                f"There is no admin token with the id {token_id!r}; `gateway admin-token list` shows them."
            )
        revoked = _token_json(gateway, gateway.admin_access.revoke_token(None, token_id, _trace("revoke")))
    if as_json:
        echo_json(revoked)
        return
    click.echo(f"Revoked {token_id}.", err=True)


def _trace(command: str) -> Trace:
    """Return the trace of a command: a user with a shell of the deployment is an operator."""
    name = f"gateway admin-token {command}"
    return Trace(name, name, principal=OPERATOR)


def _token_json(gateway: Provisioning, token: AdminTokenRecord) -> dict[str, Any]:
    key = token.organization_id
    return {
        "id": token.uid,
        "name": token.name,
        "organization": gateway.store.organizations.by_key(key).uid if key is not None else None,
        "scope": token.scope,
        "prefix": token.prefix,
        "expires_at": rfc3339(token.expires) if token.expires is not None else None,
        "expired": token.expires is not None and token.expires <= now(),
        "created_at": rfc3339(token.created),
        "last_used_at": rfc3339(token.last_used) if token.last_used is not None else None,
    }


def _row(token: dict[str, Any]) -> list[str]:
    expires = _minute(token["expires_at"]) + (" (expired)" if token["expired"] else "")
    return [
        token["id"], token["name"], token["organization"] or "all", token["scope"], token["prefix"],
        expires, _minute(token["last_used_at"]),
    ]  # fmt: skip


def _minute(moment: str | None) -> str:
    """Return a time to the minute; the JSON has it in full."""
    return f"{moment[:16]}Z" if moment else ""
