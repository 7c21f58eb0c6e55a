"""Users of an organization: those of identity providers, and those made by hand."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from flask import Response

from gateway.provisioning.long_changes import pause_between_portions
from gateway.store.ids_and_time import rfc3339
from gateway.store.records import OutlinedUser, UserRecord
from gateway.web.admin import schemas
from gateway.web.admin.blueprint import Blueprint, accepts_if_match, with_etag
from gateway.web.admin.context import AdminRequest, current_request
from gateway.web.admin.pagination import Page, Pagination

blueprint = Blueprint("users", "Users of an organization, whoever manages them.")

_PATH = "/organizations/<organization>/users"
_COLUMNS = ("id", "user_name", "display_name", "active", "managed_by", "idp_group", "groups")
_CSV_PORTION = 200
#: Bytes of the file that are sent at once.
_PIECE = 1 << 16
#: With these, in whatever width, a spreadsheet takes a cell for a formula. The last one is MINUS SIGN.
_FORMULA = frozenset("=+-@\u2212")


def _shown_paths(request: AdminRequest) -> tuple[tuple[str, ...], ...]:
    """What is shown of a document: `displayName`, and the application's own attribute `group`."""
    return ("displayName",), (request.gateway.config.extension_urn, "group")


def _users_json(request: AdminRequest, users: Sequence[UserRecord | OutlinedUser]) -> list[dict[str, Any]]:
    queries = request.gateway.queries
    managers = queries.managers(request.organization, users)
    groups = queries.memberships(request.organization, users)
    paths = _shown_paths(request)
    return [
        _profile_json(user, *_values_at(user, paths))
        | {"managed_by": managers.get(user.connection_id), "groups": _groups_json(groups.get(user.id, ()))}
        for user in users
    ]


def _values_at(user: UserRecord | OutlinedUser, paths: Sequence[Sequence[str]]) -> Iterator[Any]:
    """The values at these paths, None where there is none."""
    if isinstance(user, OutlinedUser):
        yield from (None if part is None else json.loads(part) for part in user.parts)
        return
    document = user.document
    for *way, name in paths:
        held = document
        for step in way:
            held = held.get(step, {})
        yield held.get(name)


def _profile_json(user: UserRecord | OutlinedUser, display_name: str | None, group: Any) -> dict[str, Any]:
    return {
        "id": user.uid,
        "user_name": user.user_name,
        "display_name": display_name,
        "active": bool(user.active),
        "idp_group": group if isinstance(group, list) else [] if group is None else [group],
        "created_at": rfc3339(user.created),
        "updated_at": rfc3339(user.modified),
    }


def _groups_json(grants: Sequence[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """Each group once, with every reason to be in it."""
    groups: dict[str, dict[str, Any]] = {}
    for uid, name, source in grants:
        groups.setdefault(uid, {"id": uid, "name": name, "sources": []})["sources"].append(source)
    return list(groups.values())


@blueprint.route(_PATH)
@blueprint.paginate(schemas.User, _users_json, schemas.UsersQuery)
def list_users(pagination: Pagination) -> Any:
    """Users in the order of making, the one of a name, or with `q` those whose names hold a text."""
    request, query = current_request(), pagination.query
    queries, organization, paths = request.gateway.queries, request.organization, _shown_paths(request)
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
    """Activate or deactivate anybody; change the names and the address of a manual user."""
    request = current_request()
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


@blueprint.route(f"{_PATH}.csv", expensive=True)
@blueprint.response(200, {"type": "string"}, content_type="text/csv")
def export_users() -> Response:
    """All users as CSV."""
    # Made whole before it is sent, in a file: what fails in the middle is a refusal, not half of the users.
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed once it is sent
    try:
        length = _write_csv(current_request(), file)
    except BaseException:
        file.close()
        raise
    answer = Response(_pieces(file), mimetype="text/csv")
    answer.content_length = length
    answer.headers["Content-Disposition"] = 'attachment; filename="users.csv"'
    return answer


def _user_answer(request: AdminRequest, user: UserRecord) -> Any:
    return with_etag(_users_json(request, [user])[0], user)


def _csv_portions(request: AdminRequest) -> Iterator[str]:
    """Portion by portion: an organization may be large."""
    yield _lines([_COLUMNS])
    paths = _shown_paths(request)
    for users in request.gateway.queries.all_users(request.organization, paths, _CSV_PORTION):
        yield _lines([_cells(user) for user in _users_json(request, users)])


def _write_csv(request: AdminRequest, file: IO[bytes]) -> int:
    """All lines, with a rest after each portion; how many bytes they are. The file stands at its beginning then."""
    began = time.monotonic()
    for lines in _csv_portions(request):
        file.write(lines.encode())
        pause_between_portions(began)
        began = time.monotonic()
    length = file.tell()
    file.seek(0)
    return length


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE):
            yield piece


def _lines(rows: Sequence[Sequence[str]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()


def _cells(user: Mapping[str, Any]) -> list[str]:
    manager = user["managed_by"]
    cells = [
        user["id"],
        user["user_name"],
        user["display_name"] or "",
        "true" if user["active"] else "false",
        manager["idp"] if manager else "manual",
        "; ".join(user["idp_group"]),
        "; ".join(group["name"] for group in user["groups"]),
    ]
    return [f"'{cell}" if _is_formula(cell) else cell for cell in cells]


def _is_formula(cell: str) -> bool:
    """Whether a spreadsheet may take a cell for a formula, or would show it without its beginning.

    Spaces, line ends and what cannot be seen are skipped by some before they look. A cell that begins with `'` gets
    another one, so that a reader takes one away wherever a cell begins with it.
    """
    first = cell[:1]
    return bool(first) and (
        first == "'"
        or unicodedata.category(first)[0] in "CZ"
        or unicodedata.normalize("NFKC", first)[:1] in _FORMULA
    )
