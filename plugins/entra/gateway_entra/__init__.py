"""Microsoft Entra ID for the provisioning gateway. Only the hooks are here; each is told by a module of its own.

`documents` and `patches` translate what Entra sends, `steps` guides the admin through Entra's pages, and `simulator`
plays Entra against any SCIM server. `transcripts/` is what Entra sends, story by story, as data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway import Connection, Declaration, hookimpl
from gateway_entra import documents, filters, patches, steps
from gateway_entra.simulator import conversation

Json = dict[str, Any]


@hookimpl
def gateway_declare() -> Declaration:
    # Nearly every attribute of the schemas is kept: Entra patches again, cycle after cycle, what it mapped and does not
    # read back.
    return Declaration(
        title="Microsoft Entra ID",
        idp=True,
        keeps=lambda settings: documents.KEPT,
        # Microsoft's validator sends one.
        empty_patches=True,
        setup_steps=steps.setup_steps,
        simulator=conversation.SIMULATOR,
        transcripts=Path(__file__).with_name("transcripts"),
    )


@hookimpl
def gateway_map_resource(resource_type: str, document: Json) -> Json | None:
    """Groups need no translation: the URN that Entra adds to their `schemas` has no attributes, and none is kept."""
    return documents.map_user(document) if resource_type == "User" else None


@hookimpl
def gateway_map_filter(filter: str) -> str | None:
    return filters.map_filter(filter)


@hookimpl
def gateway_map_patch(
    connection: Connection, resource_type: str, operations: list[Json], current: Json
) -> list[Json]:
    if resource_type == "Group":
        return patches.map_group(operations)
    return patches.map_user(operations, current, connection.extension_urn)
