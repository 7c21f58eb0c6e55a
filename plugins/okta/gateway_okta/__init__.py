"""Okta for the provisioning gateway. Only the hooks are here; each is told by a module of its own.

`dialect` translates what Okta sends, `settings` is what a connection may be told, `steps` guides the admin
through Okta's pages, and `simulator` plays Okta against any SCIM server. `transcripts/` is what Okta sends, as data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway import Declaration, hookimpl
from gateway_okta import dialect, settings, steps
from gateway_okta.simulator import conversation

Json = dict[str, Any]


@hookimpl
def gateway_declare() -> Declaration:
    return Declaration(
        title="Okta",
        idp=True,
        settings=settings.OktaSettings,
        keeps=settings.keeps,
        setup_steps=steps.setup_steps,
        simulator=conversation.SIMULATOR,
        transcripts=Path(__file__).with_name("transcripts"),
    )


@hookimpl
def gateway_map_resource(resource_type: str, document: Json) -> Json | None:
    return dialect.map_user(document) if resource_type == "User" else None


@hookimpl
def gateway_map_patch(resource_type: str, operations: list[Json]) -> list[Json] | None:
    """Okta's PATCHes are plain RFC 7644, those of groups too: only the rule for user names is held here."""
    if resource_type == "User":
        dialect.check_patch(operations)
    return None
