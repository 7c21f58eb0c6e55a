"""JumpCloud for the provisioning gateway: the hook implementations.

`steps` guides the admin through JumpCloud's pages, `simulator` acts as JumpCloud against any SCIM server, and
`transcripts/` holds what JumpCloud sends, as data.
"""

from __future__ import annotations

from pathlib import Path

from gateway import Declaration, Json, hookimpl, split_member_removals
from gateway_jumpcloud.simulator import SIMULATOR
from gateway_jumpcloud.steps import setup_steps


@hookimpl
def gateway_declare() -> Declaration:
    """Declare no setting, and keep all attributes: JumpCloud's attribute mapping decides what is sent."""
    return Declaration(
        title="JumpCloud",
        idp=True,
        setup_steps=setup_steps,
        simulator=SIMULATOR,
        transcripts=Path(__file__).with_name("transcripts"),
    )


@hookimpl
def gateway_map_patch(resource_type: str, operations: list[Json]) -> list[Json] | None:
    """Translate removals of members, which JumpCloud lists by value (reported). Nothing else is known to differ."""
    return split_member_removals(operations) if resource_type == "Group" else None
