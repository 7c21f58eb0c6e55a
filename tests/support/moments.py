"""Moments that tests send to the admin REST."""

from __future__ import annotations

import time

from gateway.store.ids_and_time import now, rfc3339


def moment_between() -> str:
    """Return a moment after all that has happened, and before all that will: the REST knows milliseconds."""
    moment = now() + 1000
    while now() <= moment:
        time.sleep(0.001)
    return rfc3339(moment)
