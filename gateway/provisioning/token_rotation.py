"""How a token is replaced without a gap: make a new one, enter it, see it used, revoke the old one.

All that is known is when each token was used last, so the states below follow from that alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.store.ids_and_time import now
from gateway.store.records import TokenRecord

#: What to do next: make a new token, enter it at the identity provider and wait for its use, revoke the old ones.
MAKE, ENTER, REVOKE = 1, 2, 4


class TokenState(NamedTuple):
    """A token, whether it is valid, and what a newer one in use means for it; "" for nothing."""

    token: TokenRecord
    live: bool
    hint: str


def is_live(token: TokenRecord) -> bool:
    """Return whether a token has not expired."""
    return token.expires is None or token.expires > now()


def token_states(tokens: Sequence[TokenRecord]) -> list[TokenState]:
    """Return the states of the tokens of a connection, the newest first."""
    newest_first = sorted(tokens, key=lambda token: token.id, reverse=True)
    return [
        TokenState(token, is_live(token), _hint(token, newest_first[:place]))
        for place, token in enumerate(newest_first)
    ]


def rotation_step(states: Sequence[TokenState]) -> int:
    """Return which step of replacing a token comes next: `MAKE`, `ENTER` or `REVOKE`."""
    live = [state for state in states if state.live]
    if len(live) > 1 and live[0].token.last_used is None:
        return ENTER
    return REVOKE if len(live) > 1 and any(state.hint for state in live) else MAKE


def _hint(token: TokenRecord, newer: Sequence[TokenRecord]) -> str:
    used = max((each.last_used or 0 for each in newer if is_live(each)), default=0)
    if not is_live(token) or not used:
        return ""
    if (token.last_used or 0) > used:
        return "A newer token is in use, but this one was used after it: something still sends this one."
    return "The newer token is in use: you can revoke this one."
