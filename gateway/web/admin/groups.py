"""Groups of an organization, and their members by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.provisioning.queries import GroupMember
from gateway.store.ids_and_time import rfc3339
from gateway.store.records import GroupRecord
from gateway.web.admin.blueprint import Blueprint, accepts_if_match, with_etag
from gateway.web.admin.context import AdminRequest, current_request
from gateway.web.admin.pagination import Pagination
from gateway.web.admin.schemas import groups as schemas

blueprint = Blueprint("groups", "Groups of an organization: made by hand, or pushed by an identity provider.")

_PATH = "/organizations/<organization>/groups"


def _groups_json(request: AdminRequest, groups: Sequence[GroupRecord]) -> list[dict[str, Any]]:
    managers = request.gateway.queries.managers(request.organization, groups)
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


def _members_json(_: AdminRequest, members: Sequence[GroupMember]) -> list[dict[str, Any]]:
    return [
        {"id": member.uid, "user_name": member.user_name, "sources": member.sources} for member in members
    ]


@blueprint.route(_PATH)
@blueprint.paginate(schemas.Group, _groups_json, schemas.GroupsQuery)
def list_groups(pagination: Pagination) -> Any:
    """Groups in the order of making; with `q` those whose name begins like that."""
    request, prefix = current_request(), pagination.query["q"]
    return request.gateway.queries.groups(request.organization, prefix, pagination.after, pagination.fetch)


@blueprint.route(_PATH, methods=["POST"])
@blueprint.arguments(schemas.NewGroup)
@blueprint.response(201, schemas.Group)
def add_group(values: dict[str, str]) -> Any:
    """Make a group by hand."""
    request = current_request()
    return _group_answer(request, request.gateway.groups.make(request.caller, values["name"], request.trace))


@blueprint.route(f"{_PATH}/<group>")
@blueprint.response(200, schemas.Group)
def read_group(group: str) -> Any:
    """A group."""
    request = current_request()
    return _group_answer(request, request.gateway.queries.group(request.organization, group))


@blueprint.route(f"{_PATH}/<group>", methods=["PATCH"])
@blueprint.arguments(schemas.GroupChange)
@blueprint.response(200, schemas.Group)
@accepts_if_match
def change_group(values: dict[str, str], group: str) -> Any:
    """Rename a group made by hand; 409 for a pushed one."""
    request = current_request()
    name = values.get("name", request.gateway.queries.group(request.organization, group).name)
    return _group_answer(
        request, request.gateway.groups.rename(request.caller, group, name, request.trace, request.if_match)
    )


@blueprint.route(f"{_PATH}/<group>", methods=["DELETE"])
@blueprint.response(204)
@accepts_if_match
def remove_group(group: str) -> None:
    """Remove a group made by hand; 409 while a rule of Map to groups leads to it."""
    request = current_request()
    request.gateway.groups.unmake(request.caller, group, request.trace, request.if_match)


@blueprint.route(f"{_PATH}/<group>/members")
@blueprint.paginate(schemas.Member, _members_json)
def list_members(pagination: Pagination, group: str) -> Any:
    """Who is in a group, and why."""
    request = current_request()
    return request.gateway.queries.group_members(
        request.organization, group, pagination.after, pagination.fetch
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
    request = current_request()
    request.trace.status = 204
    request.gateway.groups.set_member(request.caller, group, user, inside, request.trace)


def _group_answer(request: AdminRequest, group: GroupRecord) -> Any:
    return with_etag(_groups_json(request, [group])[0], group)
