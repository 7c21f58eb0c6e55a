"""The public interface for plugins: the marker `hookimpl`, the values that hooks exchange, refusals, and a kit.

    from gateway import Declaration, get, hookimpl

    @hookimpl
    def gateway_declare():
        return Declaration(title="Acme", idp=True)

    @hookimpl
    def gateway_map_resource(resource_type, document):
        return {**document, "title": get(document, "jobTitle")} if resource_type == "User" else None

`gateway.plugin.hookspecs` documents each hook, `plugins/README.md` shows a whole plugin. A plugin that brings a
simulator imports `gateway.simulation` too, and its tests `gateway.testing`; no other module is public.
"""

from gateway.plugin.contracts import (
    Billing,
    Connection,
    Credentials,
    Declaration,
    Event,
    GroupGrant,
    Organization,
    PluginCheck,
    Principal,
    RecentCalls,
    SeatRequest,
    Seats,
    SeatVerdict,
    User,
    Verdict,
)
from gateway.plugin.hookspecs import hookimpl
from gateway.plugin.kit import get, keep_one_primary, key_of, read_boolean, split_member_removals
from gateway.scim.errors import AuthenticationFailed, Forbidden, InvalidValue, Refusal, Unavailable
from gateway.scim.json_text import Json
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
    "PluginCheck",
    "Principal",
    "RecentCalls",
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
    "read_boolean",
    "split_member_removals",
]
