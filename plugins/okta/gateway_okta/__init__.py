"""Okta for the provisioning gateway: the hook implementations.

`dialect` translates what Okta sends, `settings` has the schema of a connection's settings, `steps` guides the admin
through Okta's pages, `simulator` acts as Okta against any SCIM server, and `transcripts/` holds what Okta sends, as
data.
"""

from __future__ import annotations

from pathlib import Path

from gateway import Declaration, Json, hookimpl
from gateway_okta.dialect import check_patch, translate_user
from gateway_okta.settings import OktaSettings, kept_attributes
from gateway_okta.simulator import SIMULATOR
from gateway_okta.steps import AFTER_WAITING, RETRY_STEP, setup_steps


@hookimpl
def gateway_declare() -> Declaration:
    return Declaration(
        title="Okta",
        idp=True,
        settings=OktaSettings,
        keeps=kept_attributes,
        setup_steps=setup_steps,
        retry_step=RETRY_STEP,
        waiting_status=429,
        after_waiting=AFTER_WAITING,
        # The second one is that of Okta's own test suites.
        user_agents=("Okta SCIM Client", "OKTA SCIM Integration"),
        simulator=SIMULATOR,
        transcripts=Path(__file__).with_name("transcripts"),
    )


@hookimpl
def gateway_map_resource(resource_type: str, document: Json) -> Json | None:
    return translate_user(document) if resource_type == "User" else None


@hookimpl
def gateway_map_patch(resource_type: str, operations: list[Json]) -> list[Json] | None:
    """Check new user names. Okta's PATCHes are plain RFC 7644, those of groups too, so nothing is translated."""
    if resource_type == "User":
        check_patch(operations)
    return None
