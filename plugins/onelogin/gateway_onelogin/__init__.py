"""OneLogin for the provisioning gateway: the hook implementations.

`dialect` translates what OneLogin sends, `steps` guides the admin through OneLogin's pages, `simulator` acts as
OneLogin against any SCIM server, and `transcripts/` holds what OneLogin sends, as data.
"""

from __future__ import annotations

from pathlib import Path

from gateway import Declaration, Json, hookimpl, split_member_removals
from gateway_onelogin.dialect import translate_user
from gateway_onelogin.simulator import SIMULATOR
from gateway_onelogin.steps import setup_steps


@hookimpl
def gateway_declare() -> Declaration:
    """Declare no setting, and keep all attributes: the admin's template in OneLogin decides what is sent."""
    return Declaration(
        title="OneLogin",
        idp=True,
        setup_steps=setup_steps,
        simulator=SIMULATOR,
        transcripts=Path(__file__).with_name("transcripts"),
    )


@hookimpl
def gateway_map_resource(resource_type: str, document: Json) -> Json | None:
    return translate_user(document) if resource_type == "User" else None


@hookimpl
def gateway_map_patch(resource_type: str, operations: list[Json]) -> list[Json] | None:
    """Translate removals of members, which OneLogin lists by value. Users are changed by PUT (both captured)."""
    return split_member_removals(operations) if resource_type == "Group" else None
