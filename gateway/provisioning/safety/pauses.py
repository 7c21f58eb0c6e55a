"""Refuses the changes of a paused connection."""

from __future__ import annotations

from gateway.provisioning.caller import IdpCaller
from gateway.provisioning.safety.settings import ALL, Pause
from gateway.scim.errors import Waiting
from gateway.store.ids_and_time import SECOND, in_words, now

#: Tries over the whole of a pause. Okta gives a request up after ten (documented), and then a person has to retry it.
_TRIES = 8


def refuse_paused(caller: IdpCaller, removal: bool = False) -> None:
    """Refuse a change while its connection is paused; `removal`: it takes somebody's access. Raises Waiting."""
    pause = caller.pause
    if pause is None or not pause.covers(removal):
        return
    scope = "" if pause.scope == ALL else " for removals"
    raise Waiting(
        f"The connection {caller.connection.name!r} is paused{scope} until {in_words(pause.until)}: {pause.reason}."
        " Nothing was changed. It goes on by itself then, or as soon as an admin ends the pause at"
        f" {caller.console_url('safety')}.",
        page="safety",
        retry_after=_retry_after(pause, caller.waiting_seconds),
    )


def _retry_after(pause: Pause, waiting_seconds: int) -> int:
    """Return after how many seconds to try again: so late that few tries reach the end, but not after the end."""
    part = (pause.until - pause.since) // (_TRIES * SECOND) + 1
    return min((pause.until - now()) // SECOND + 1, max(part, waiting_seconds))
