"""Refuses the changes of a paused connection, and says where an admin decides on them."""

from __future__ import annotations

from gateway.provisioning.caller import IdpCaller
from gateway.provisioning.safety.settings import ALL
from gateway.scim.errors import Waiting
from gateway.store.ids_and_time import rfc3339
from gateway.store.records import UserRecord


def person_page(caller: IdpCaller, user: UserRecord) -> str:
    """Return the URL of the console's page of a user."""
    return f"{caller.public_url}/console/organizations/{caller.organization.uid}/people/{user.uid}"


def safety_page(caller: IdpCaller) -> str:
    """Return the URL of the console's page where an admin decides."""
    return f"{caller.public_url}/console/organizations/{caller.organization.uid}/safety"


def refuse_paused(caller: IdpCaller, removal: bool = False) -> None:
    """Refuse a change while its connection is paused; `removal`: it takes somebody's access. Raises Waiting."""
    pause = caller.pause
    if pause is None or not pause.covers(removal):
        return
    scope = "" if pause.scope == ALL else " for removals"
    raise Waiting(
        f"The connection {caller.connection.name!r} is paused{scope} until {rfc3339(pause.until)}: {pause.reason}."
        " Nothing was changed. It goes on by itself then, or as soon as an admin ends the pause at"
        f" {safety_page(caller)}.",
        retry_after=caller.waiting_seconds,
    )
