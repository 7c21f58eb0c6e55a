"""Indexes that answer filters of lists: displayName, who is not active, and the moment of the last change.

`deleted = 0` and the connection are in them, so that SQLite counts and pages by the index alone.
"""

from typing import Any

atomic = False


def up(steps: Any) -> None:
    steps.index("users_display", "users", "organization_id, display_key", "deleted = 0")
    steps.index(
        "users_inactive", "users", "organization_id, active, connection_id", "deleted = 0 AND active = 0"
    )
    steps.index("users_modified", "users", "organization_id, modified, connection_id", "deleted = 0")
    steps.drop_index("user_organization_id_modified")
