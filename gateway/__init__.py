"""What plugins import: the marker of hook implementations and the values that hooks exchange.

A plugin that brings a simulator imports `gateway.simulation` too, and its tests `gateway.testing`. Nothing else in this
package is meant for plugins; what they need and do not find here is missing here.
"""

from gateway.plugin.adapters import get, keep_one_primary, key_of
from gateway.plugin.contracts import (
    Billing,
    Connection,
    Credentials,
    Declaration,
    Event,
    GroupGrant,
    Json,
    Organization,
    Principal,
    SeatRequest,
    Seats,
    SeatVerdict,
    User,
    Verdict,
)
from gateway.plugin.hookspecs import hookimpl
from gateway.scim.errors import AuthenticationFailed, Forbidden, InvalidValue, Refusal, Unavailable
from gateway.scim.schemas import ENTERPRISE_URN, GROUP_URN, USER_URN

__all__ = [
    "ENTERPRISE_URN",
    "GROUP_URN",
    "USER_URN",
    "AuthenticationFailed",
    "Billing",
    "Connection",
    "Credentials",
    "Declaration",
    "Event",
    "Forbidden",
    "GroupGrant",
    "InvalidValue",
    "Json",
    "Organization",
    "Principal",
    "Refusal",
    "SeatRequest",
    "SeatVerdict",
    "Seats",
    "Unavailable",
    "User",
    "Verdict",
    "get",
    "hookimpl",
    "keep_one_primary",
    "key_of",
]
