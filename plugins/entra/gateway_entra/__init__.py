"""Microsoft Entra ID for the provisioning gateway: the hook implementations.

`documents`, `patches` and `filters` translate what Entra sends, `steps` guides the admin through Entra's pages,
`checks` names what its calls betray, `simulator` acts as Entra against any SCIM server, and `transcripts/` holds what
Entra sends, as data.
"""

from __future__ import annotations

from pathlib import Path

from gateway import Connection, Declaration, Json, hookimpl
from gateway_entra.checks import CYCLE_SECONDS, FLAG, find_checks
from gateway_entra.documents import KEPT_ATTRIBUTES, translate_user
from gateway_entra.filters import translate_filter
from gateway_entra.patches import translate_group_patch, translate_user_patch
from gateway_entra.simulator import SIMULATOR
from gateway_entra.steps import AFTER_WAITING, setup_steps


@hookimpl
def gateway_declare() -> Declaration:
    return Declaration(
        title="Microsoft Entra ID",
        idp=True,
        # Nearly all: Entra patches again, cycle after cycle, what it mapped and does not read back.
        keeps=lambda settings: KEPT_ATTRIBUTES,
        # Microsoft's validator sends one.
        empty_patches=True,
        setup_steps=setup_steps,
        after_waiting=AFTER_WAITING,
        # Entra's own calls bear no User-Agent (reported), so it is recognised by its flag alone.
        url_flags=(FLAG,),
        cycle_seconds=CYCLE_SECONDS,
        checks=find_checks,
        simulator=SIMULATOR,
        transcripts=Path(__file__).with_name("transcripts"),
    )


@hookimpl
def gateway_map_resource(resource_type: str, document: Json) -> Json | None:
    """Translate a user. The URN that Entra adds to the `schemas` of a group has no attributes, and is not kept."""
    return translate_user(document) if resource_type == "User" else None


@hookimpl
def gateway_map_filter(filter: str) -> str | None:
    return translate_filter(filter)


@hookimpl
def gateway_map_patch(
    connection: Connection, resource_type: str, operations: list[Json], current: Json
) -> list[Json]:
    if resource_type == "Group":
        return translate_group_patch(operations)
    return translate_user_patch(operations, current, connection.extension_urn)
