"""JumpCloud for the provisioning gateway. Only the hooks are here.

`dialect` translates what JumpCloud sends, `steps` guides the admin through JumpCloud's pages, and `simulator` plays
JumpCloud against any SCIM server.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway import Declaration, hookimpl
from gateway_jumpcloud import dialect, steps
from gateway_jumpcloud.simulator import conversation

Json = dict[str, Any]


@hookimpl
def gateway_declare() -> Declaration:
    """All that the schemas know is kept: what is sent is decided by the attribute mapping in JumpCloud."""
    return Declaration(
        title="JumpCloud",
        idp=True,
        setup_steps=steps.setup_steps,
        simulator=conversation.SIMULATOR,
        transcripts=Path(__file__).with_name("transcripts"),
    )


@hookimpl
def gateway_map_patch(resource_type: str, operations: list[Json]) -> list[Json] | None:
    """The one thing that is known to need a translation; users are taken as RFC 7643 has them."""
    return dialect.map_group_patch(operations) if resource_type == "Group" else None
