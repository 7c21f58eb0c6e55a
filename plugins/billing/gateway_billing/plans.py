"""The setting of the plugin: the plans that include SCIM, from the environment of the gateway."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache

VARIABLE = "GATEWAY_BILLING_SCIM_PLANS"
DEFAULT = "enterprise"


def plans_with_scim() -> tuple[str, ...]:
    """Return the plans with SCIM, in the order of the variable; the default where it is blank."""
    return _parse(os.environ.get(VARIABLE, "")) or _parse(DEFAULT)


def has_scim(plan: str, names: Sequence[str]) -> bool:
    """Return whether a plan is one of these, letter case aside: people type them."""
    return plan.strip().lower() in {name.lower() for name in names}


@lru_cache(maxsize=16)
def _parse(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
