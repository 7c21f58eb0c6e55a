"""Okta's conversations about the whole server: test the credentials, and import everybody page by page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.simulation import Actor
from gateway_okta.simulator import checks, wire
from gateway_okta.simulator.scenes import Line

WRONG_TOKEN = "not-a-token-of-this-connection"  # noqa: S105 (it opens nothing)
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


@dataclass
class Directory(Actor):
    """Everybody and everything that was told to the server, so that an import can be held against it."""

    people: Sequence[Actor] = ()
    groups: Sequence[Actor] = ()


def check_credentials(line: Line, directory: Directory) -> str:
    total, page = checks.listing(line.get(wire.check_credentials()))
    if len(page) > 2:
        raise checks.Unmet("no more than the two users that were asked for")
    return f"The server knows {total} users."


def wrong_token(line: Line, directory: Directory) -> str:
    detail = checks.error(line.get(wire.check_credentials(), token=WRONG_TOKEN), 401)
    return f'Refused with 401: "{detail}"'


def unknown_user(line: Line, directory: Directory) -> str:
    detail = checks.error(line.get(f"/Users/{UNKNOWN_ID}"), 404)
    return f'Answered 404: "{detail}"'


def import_users(line: Line, directory: Directory) -> str:
    return _import(line, "Users", directory.people)


def import_groups(line: Line, directory: Directory) -> str:
    return _import(line, "Groups", directory.groups)


def _import(line: Line, kind: str, told: Sequence[Actor]) -> str:
    """All pages until `totalResults`. Users who vanish trip Okta's import safeguard (documented)."""
    seen: set[str] = set()
    total = 1
    while len(seen) < total:
        total, page = checks.listing(line.get(wire.page(kind, len(seen) + 1)))
        seen = _joined(seen, [entry["id"] for entry in page], total)
    if missing := [actor.label for actor in told if actor.id and actor.id not in seen]:
        raise checks.Unmet(f"{missing[0]} to be among them")
    return f"All {total} came, each once."


def _joined(seen: set[str], ids: Sequence[str], total: int) -> set[str]:
    both = seen.union(ids)
    if len(both) != len(seen) + len(ids):
        raise checks.Unmet("each of them once: the order must be the same on every page")
    if len(both) > total:
        raise checks.Unmet(f"no more than {total}, as totalResults says")
    if not ids and len(seen) < total:
        raise checks.Unmet(f"{total} in all, as totalResults says, and no empty page after {len(seen)}")
    return both
