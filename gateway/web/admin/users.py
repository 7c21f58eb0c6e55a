"""Users of an organization: those of identity providers, and those made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Response

from gateway.scim.errors import InvalidValue
from gateway.store.ids_and_time import rfc3339
from gateway.store.records import OutlinedUser, UserRecord
from gateway.web.admin.blueprint import Blueprint, accepts_if_match, with_etag
from gateway.web.admin.context import AdminRequest, current_request
from gateway.web.admin.pagination import Page, Pagination
from gateway.web.admin.schemas import users as schemas
from gateway.web.person_file import person_file
from gateway.web.user_rows import document_paths, user_rows
from gateway.web.users_csv import users_csv

blueprint = Blueprint("users", "Users of an organization, whoever manages them.")

_PATH = "/organizations/<organization>/users"


def _users_json(request: AdminRequest, users: Sequence[UserRecord | OutlinedUser]) -> list[dict[str, Any]]:
    return user_rows(request.gateway, request.organization, users)


@blueprint.route(_PATH)
@blueprint.paginate(schemas.User, _users_json, schemas.UsersQuery)
def list_users(pagination: Pagination) -> Any:
    """Users in the order of making, the one of a name, or with `q` those whose names hold a text."""
    request, query = current_request(), pagination.query
    queries, organization, paths = (
        request.gateway.queries,
        request.organization,
        document_paths(request.gateway),
    )
    if "user_name" in query:
        found = queries.user_named(organization, query["user_name"])
        return Page([found] if found else [])
    if query["q"]:
        return Page(
            *queries.users_holding(organization, query["q"], paths, pagination.after, pagination.limit)
        )
    return queries.users(organization, paths, pagination.after, pagination.fetch)


@blueprint.route(_PATH, methods=["POST"])
@blueprint.arguments(schemas.NewUser)
@blueprint.response(201, schemas.User)
def add_user(values: dict[str, Any]) -> Any:
    """Make a user by hand. Takes a seat when active; 403 when none is left."""
    request = current_request()
    return _user_answer(request, request.gateway.users.make(request.caller, values, request.trace).user)


@blueprint.route(f"{_PATH}/<user>")
@blueprint.response(200, schemas.User)
def read_user(user: str) -> Any:
    """A user with its groups and the reasons for them."""
    request = current_request()
    return _user_answer(request, request.gateway.users.find(request.caller, user, request.trace))


@blueprint.route(f"{_PATH}/<user>", methods=["PATCH"])
@blueprint.arguments(schemas.UserChange)
@blueprint.response(200, schemas.User)
@accepts_if_match
def change_user(values: dict[str, Any], user: str) -> Any:
    """Activate, deactivate or protect anybody; change the names and the address of a manual user.

    An identity provider can neither deactivate, delete nor rename a protected user. `protected` is changed by itself.
    """
    request = current_request()
    if "protected" in values:
        if len(values) > 1:
            raise InvalidValue(
                "protected is changed by itself: send the other values in a request of their own."
            )
        protect = request.gateway.safety.protect
        return _user_answer(
            request, protect(request.caller, user, values["protected"], request.trace, request.if_match)
        )
    return _user_answer(
        request,
        request.gateway.users.edit(request.caller, user, values, request.trace, request.if_match).user,
    )


@blueprint.route(f"{_PATH}/<user>", methods=["DELETE"])
@blueprint.response(204)
@accepts_if_match
def remove_user(user: str) -> None:
    """Delete a user softly: the seat is free, and its identity provider may bring it back."""
    request = current_request()
    request.gateway.users.delete(request.caller, user, request.trace, request.if_match)


@blueprint.route(f"{_PATH}/<user>/export", expensive=True)
@blueprint.response(200, {"type": "object"}, content_type="application/json")
def export_user(user: str) -> Response:
    """Everything that is stored of a person, also of a deleted one: what an erasure would remove."""
    return person_file(current_request(), user)


@blueprint.route(f"{_PATH}/<user>/erase", methods=["POST"])
@blueprint.arguments(schemas.ErasureRequest)
@blueprint.response(200, schemas.Erasure)
def erase_user(values: dict[str, str], user: str) -> Any:
    """Erase a person who is deleted, or inactive and managed by nobody. It cannot be undone."""
    request = current_request()
    request.trace.status = 200
    erasure = request.gateway.erasures.erase(
        request.caller, user, values["reason"], values["confirm"], request.trace
    )
    return {
        "id": erasure.uid,
        "state": "erased" if erasure.finished else "erasing",
        "at": rfc3339(erasure.at),
        "by": erasure.erased_by,
        "reason": erasure.reason,
    }


@blueprint.route(f"{_PATH}.csv", expensive=True)
@blueprint.response(200, {"type": "string"}, content_type="text/csv")
def export_users() -> Response:
    """All users as CSV."""
    request = current_request()
    return users_csv(request.gateway, request.organization)


def _user_answer(request: AdminRequest, user: UserRecord) -> Any:
    return with_etag(_users_json(request, [user])[0], user)
