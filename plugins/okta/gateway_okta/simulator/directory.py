"""Okta's actions on the server as a whole: test the credentials, and import users and groups page by page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.simulation import ExpectationError, Target
from gateway_okta.simulator import expectations, requests
from gateway_okta.simulator.client import Client

WRONG_TOKEN = "not-a-token-of-this-connection"  # noqa: S105 (it opens nothing)
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


@dataclass
class Directory(Target):
    """All users and groups that were sent to the server, which an import must contain."""

    users: Sequence[Target] = ()
    groups: Sequence[Target] = ()


def list_two_users(client: Client, directory: Directory) -> str:
    total, page = expectations.expect_list(client.get(requests.check_credentials()))
    if len(page) > 2:
        raise ExpectationError("no more than the two users that were asked for")
    return f"The server knows {total} users."


def expect_refused_token(client: Client, directory: Directory) -> str:
    detail = expectations.expect_error(client.get(requests.check_credentials(), token=WRONG_TOKEN), 401)
    return f'Refused with 401: "{detail}"'


def read_unknown_user(client: Client, directory: Directory) -> str:
    detail = expectations.expect_error(client.get(f"/Users/{UNKNOWN_ID}"), 404)
    return f'Answered 404: "{detail}"'


def import_users(client: Client, directory: Directory) -> str:
    return _import(client, "Users", directory.users)


def import_groups(client: Client, directory: Directory) -> str:
    return _import(client, "Groups", directory.groups)


def _import(client: Client, kind: str, sent: Sequence[Target]) -> str:
    """Read all pages until `totalResults`. Users who vanish trip Okta's import safeguard (documented)."""
    ids: set[str] = set()
    total = 1
    while len(ids) < total:
        total, page = expectations.expect_list(client.get(requests.page(kind, len(ids) + 1)))
        ids = _add_page(ids, [entry["id"] for entry in page], total)
    if missing := [target.label for target in sent if target.id and target.id not in ids]:
        raise ExpectationError(f"{missing[0]} to be among them")
    return f"All {total} came, each once."


def _add_page(ids: set[str], page: Sequence[str], total: int) -> set[str]:
    both = ids.union(page)
    if len(both) != len(ids) + len(page):
        raise ExpectationError("each of them once: the order must be the same on every page")
    if len(both) > total:
        raise ExpectationError(f"no more than {total}, as totalResults says")
    if not page and len(ids) < total:
        raise ExpectationError(f"{total} in all, as totalResults says, and no empty page after {len(ids)}")
    return both
