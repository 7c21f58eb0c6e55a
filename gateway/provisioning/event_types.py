"""The types of events, in one place. Types are added: a reader passes over one that it does not know."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.scim.errors import InvalidValue
from gateway.scim.json_text import excerpt

#: Those of an organization: its feed has them.
ORGANIZATION_TYPES = (
    *(
        f"user.{verb}"
        for verb in ("created", "updated", "deactivated", "reactivated", "restored", "deleted", "erased")
    ),
    *(f"group.{verb}" for verb in ("created", "updated", "members_changed", "deleted")),
    "user.removal_held",
    "group.removal_held",
    "user.removal_withdrawn",
    "group.removal_withdrawn",
    *(f"connection.{verb}" for verb in ("paused", "resumed", "held", "hold_decided", "warning", "well")),
    "user.adoption_waiting",
    "user.adopted",
    "domain.verified",
    "domain.lost",
)
#: Those of the deployment itself, which operators alone receive.
DEPLOYMENT_TYPES = (
    "organization.created", "organization.removed", "webhook.failing", "webhook.disabled", "webhook.recovered"
)  # fmt: skip
EVENT_TYPES = (*ORGANIZATION_TYPES, *DEPLOYMENT_TYPES)
#: The type of a message that is sent on request; it is no event, and no feed has it.
TEST_TYPE = "webhook.test"


def check_types(types: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a type that a subscriber cannot choose. Raises InvalidValue, which lists those that it can."""
    for kind in types:
        if kind not in known:
            raise InvalidValue(
                f"There is no type of events {excerpt(kind)} to choose here. Choose from: {', '.join(known)}."
            )
