"""The door for plugin authors: the marker of hook implementations and the words that hooks exchange.

Nothing else in this package is meant for plugins; what they need and do not find here is missing here.
"""

import pluggy

from gateway.adapters import keep_one_primary, key_of
from gateway.contracts import (
    Answer,
    Billing,
    Connection,
    Credentials,
    Declaration,
    Event,
    GroupGrant,
    Organization,
    Play,
    Principal,
    SeatRequest,
    Seats,
    SeatVerdict,
    Session,
    Simulator,
    Step,
    User,
    Verdict,
)
from gateway.scim.errors import AuthenticationFailed, Forbidden, InvalidValue, Refusal, Unavailable
from gateway.stage import Act, Actor, Line, PlainLine, Scene, Unmet, expect_equal

hookimpl = pluggy.HookimplMarker("gateway")
"""Marks a function as the implementation of the hook of the same name in `gateway.hookspecs`."""

__all__ = [
    "Act",
    "Actor",
    "Answer",
    "AuthenticationFailed",
    "Billing",
    "Connection",
    "Credentials",
    "Declaration",
    "Event",
    "Forbidden",
    "GroupGrant",
    "InvalidValue",
    "Line",
    "Organization",
    "PlainLine",
    "Play",
    "Principal",
    "Refusal",
    "Scene",
    "SeatRequest",
    "SeatVerdict",
    "Seats",
    "Session",
    "Simulator",
    "Step",
    "Unavailable",
    "Unmet",
    "User",
    "Verdict",
    "expect_equal",
    "hookimpl",
    "keep_one_primary",
    "key_of",
]
