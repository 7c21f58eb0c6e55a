"""Users of one connection may share an externalId (RFC 7643, 3.1): the index that finds them is no longer unique.

A node of the release before serves on. It finds users by the new index, and takes a shared externalId in a create,
since only the index refused that; in PUT and PATCH it refuses one as before.
"""

from typing import Any

atomic = False


def up(steps: Any) -> None:
    steps.index(
        "users_known_as",
        "users",
        "organization_id, external_id, connection_id",
        "deleted = 0 AND external_id IS NOT NULL",
    )
    steps.drop_index("users_external_id")
