"""Groups of an organization, and their members by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.scim.documents import shown
from gateway.scim.errors import NotFound
from gateway.store.ids_and_time import rfc3339
from gateway.store.records import GroupRecord
from gateway.web.admin import schemas
from gateway.web.admin.auth import AdminRequest, Resource, here, tagged, versioned
from gateway.web.admin.parsing import Paging, page

blueprint = Resource("groups", "Groups of an organization: made by hand, or pushed by an identity provider.")

_PATH = "/organizations/<organization>/groups"


@blueprint.route(_PATH)
@blueprint.arguments(schemas.GroupsAsked, location="query")
@blueprint.response(200, schemas.page_of(schemas.Group))
def list_groups(asked: dict[str, Any]) -> Any:
    """Groups in the order of making; with `q` those whose name begins like that."""
    visit = here()
    rows = visit.gateway.store.groups.page(visit.organization, asked["q"], asked["after"], asked["limit"] + 1)
    return page(rows, asked["limit"], lambda groups: _shown(visit, groups))


@blueprint.route(_PATH, methods=["POST"])
@blueprint.arguments(schemas.NewGroup)
@blueprint.response(201, schemas.Group)
def add_group(values: dict[str, str]) -> Any:
    """Make a group by hand."""
    visit = here()
    return _answer(visit, visit.gateway.groups.make(visit.caller, values["name"], visit.trace))


@blueprint.route(f"{_PATH}/<group>")
@blueprint.response(200, schemas.Group)
def read_group(group: str) -> Any:
    """A group."""
    visit = here()
    return _answer(visit, _found(visit, group))


@blueprint.route(f"{_PATH}/<group>", methods=["PATCH"])
@blueprint.arguments(schemas.GroupChange)
@blueprint.response(200, schemas.Group)
@versioned
def change_group(values: dict[str, str], group: str) -> Any:
    """Rename a group made by hand; 409 for a pushed one."""
    visit = here()
    name = values.get("name", _found(visit, group).name)
    return _answer(visit, visit.gateway.groups.rename(visit.caller, group, name, visit.trace, visit.if_match))


@blueprint.route(f"{_PATH}/<group>", methods=["DELETE"])
@blueprint.response(204)
@versioned
def remove_group(group: str) -> None:
    """Remove a group made by hand; 409 while a rule of Map to groups leads to it."""
    visit = here()
    visit.gateway.groups.unmake(visit.caller, group, visit.trace, visit.if_match)


@blueprint.route(f"{_PATH}/<group>/members")
@blueprint.arguments(Paging, location="query")
@blueprint.response(200, schemas.page_of(schemas.Member))
def list_members(asked: dict[str, int], group: str) -> Any:
    """Who is in a group, and why."""
    visit, store, limit = here(), here().gateway.store, asked["limit"]
    rows = store.memberships.page(_found(visit, group), asked["after"], limit + 1)
    sources = dict(rows)
    users = store.users.by_keys(visit.organization.id, list(sources))
    users.sort(key=lambda user: user.id)
    return page(
        users,
        limit,
        lambda members: [
            {"id": user.uid, "user_name": user.user_name, "sources": sources[user.id]} for user in members
        ],
    )


@blueprint.route(f"{_PATH}/<group>/members/<user>", methods=["PUT"])
@blueprint.response(204)
def add_member(group: str, user: str) -> None:
    """Put a user into a group by hand; 409 while Map to groups decides it, or for a pushed group."""
    _set_member(group, user, True)


@blueprint.route(f"{_PATH}/<group>/members/<user>", methods=["DELETE"])
@blueprint.response(204)
def remove_member(group: str, user: str) -> None:
    """Take a user out of a group by hand; 409 while Map to groups decides it, or for a pushed group."""
    _set_member(group, user, False)


def _set_member(group: str, user: str, inside: bool) -> None:
    visit = here()
    visit.trace.status = 204
    visit.gateway.groups.set_member(visit.caller, group, user, inside, visit.trace)


def _found(visit: AdminRequest, uid: str) -> GroupRecord:
    group = visit.gateway.store.groups.of(visit.organization, uid)
    if group is None:
        raise NotFound(f"There is no group with the id {shown(uid)} here.")
    return group


def _answer(visit: AdminRequest, group: GroupRecord) -> Any:
    return tagged(_shown(visit, [group])[0], group)


def _shown(visit: AdminRequest, groups: Sequence[GroupRecord]) -> list[dict[str, Any]]:
    managers = visit.managers(groups)
    return [
        {
            "id": group.uid,
            "name": group.name,
            "source": "manual" if group.connection_id is None else "push",
            "managed_by": managers.get(group.connection_id),
            "members": group.members,
            "created_at": rfc3339(group.created),
            "updated_at": rfc3339(group.modified),
        }
        for group in groups
    ]
