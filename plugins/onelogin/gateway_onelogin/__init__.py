"""OneLogin for the provisioning gateway. Only the hooks are here.

`dialect` translates what OneLogin sends, `steps` guides the admin through OneLogin's pages, and `simulator` plays
OneLogin against any SCIM server.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway import Declaration, hookimpl
from gateway_onelogin import dialect, steps
from gateway_onelogin.simulator import conversation

Json = dict[str, Any]


@hookimpl
def gateway_declare() -> Declaration:
    """All that the schemas know is kept: what is sent is decided by the admin's template, so nothing is set here."""
    return Declaration(
        title="OneLogin",
        idp=True,
        setup_steps=steps.setup_steps,
        simulator=conversation.SIMULATOR,
        transcripts=Path(__file__).with_name("transcripts"),
    )


@hookimpl
def gateway_map_resource(resource_type: str, document: Json) -> Json | None:
    return dialect.map_user(document) if resource_type == "User" else None


@hookimpl
def gateway_map_patch(resource_type: str, operations: list[Json]) -> list[Json] | None:
    """Users are changed by PUT (captured), so only the PATCHes of groups are looked at."""
    return dialect.map_group_patch(operations) if resource_type == "Group" else None
