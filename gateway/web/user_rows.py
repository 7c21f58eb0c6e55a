"""Rows of users as admins see them, over REST, as CSV and in the console."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from gateway.provisioning import Provisioning
from gateway.store.ids_and_time import rfc3339
from gateway.store.records import OrganizationRecord, OutlinedUser, UserRecord


def document_paths(gateway: Provisioning) -> tuple[tuple[str, ...], ...]:
    """Return the paths of what is shown of a document: `displayName`, and the application's own attribute `group`."""
    return ("displayName",), (gateway.config.extension_urn, "group")


def user_rows(
    gateway: Provisioning, organization: OrganizationRecord, users: Sequence[UserRecord | OutlinedUser]
) -> list[dict[str, Any]]:
    """Return users with their groups and the reasons for them, in two statements for all."""
    managers = gateway.queries.managers(organization, users)
    groups = gateway.queries.memberships(organization, users)
    paths = document_paths(gateway)
    return [
        _profile(user, *_values_at(user, paths))
        | {"managed_by": managers.get(user.connection_id), "groups": _memberships(groups.get(user.id, ()))}
        for user in users
    ]


def _values_at(user: UserRecord | OutlinedUser, paths: Sequence[Sequence[str]]) -> Iterator[Any]:
    """Yield the values at these paths, None where there is none."""
    if isinstance(user, OutlinedUser):
        yield from (None if part is None else json.loads(part) for part in user.parts)
        return
    document = user.document
    for *way, name in paths:
        held = document
        for step in way:
            held = held.get(step, {})
        yield held.get(name)


def _profile(user: UserRecord | OutlinedUser, display_name: str | None, group: Any) -> dict[str, Any]:
    return {
        "id": user.uid,
        "user_name": user.user_name,
        "display_name": display_name,
        "active": bool(user.active),
        "protected": bool(user.protected),
        "idp_group": group if isinstance(group, list) else [] if group is None else [group],
        "created_at": rfc3339(user.created),
        "updated_at": rfc3339(user.modified),
    }


def _memberships(grants: Sequence[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """Return each group once, with every reason to be in it."""
    groups: dict[str, dict[str, Any]] = {}
    for uid, name, source in grants:
        groups.setdefault(uid, {"id": uid, "name": name, "sources": []})["sources"].append(source)
    return list(groups.values())
