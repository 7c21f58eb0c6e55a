"""The plugin's one setting: the plans that have SCIM, from the environment of the gateway."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache

VARIABLE = "GATEWAY_BILLING_SCIM_PLANS"
DEFAULT = "enterprise"


def with_scim() -> tuple[str, ...]:
    """The plans with SCIM, in the order in which the operator wrote them; blank means the default."""
    return _names(os.environ.get(VARIABLE, "")) or _names(DEFAULT)


def has_scim(plan: str, names: Sequence[str]) -> bool:
    """Plans are typed by people, here as in the organization: their letter case says nothing."""
    return plan.strip().lower() in {name.lower() for name in names}


@lru_cache(maxsize=16)
def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
