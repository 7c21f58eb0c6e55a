"""People: who has an account, by whom it is managed, and in which groups for which reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flask
from flask import Response
from marshmallow import fields

from gateway.provisioning.console_access import PEOPLE
from gateway.provisioning.documents import primary_email
from gateway.scim.documents import USER_NAME_LENGTH
from gateway.scim.errors import InvalidValue, NotFound, Refusal
from gateway.store.records import OutlinedUser
from gateway.web.console.activity_words import describe
from gateway.web.console.blueprint import blueprint, note_refusal, see
from gateway.web.console.context import current_request
from gateway.web.console.forms import (
    EMAIL,
    OPTIONAL_NAME,
    Problem,
    cut_page,
    read_after,
    read_form,
    read_text,
)
from gateway.web.console.rendering import render
from gateway.web.person_file import person_file
from gateway.web.text_fields import Name
from gateway.web.user_rows import document_paths, user_rows
from gateway.web.users_csv import users_csv

_PATH = "/console/organizations/<organization>/people"
_USER = "/organizations/{organization}/users/{user}"
#: People on a page, and lines of the activity on the page of one person.
_PAGE, _LINES = 50, 10
_NAMES: dict[str, fields.Field[Any]] = {
    "user_name": Name(USER_NAME_LENGTH),
    "display_name": OPTIONAL_NAME,
    "email": EMAIL,
}


@blueprint.page(_PATH)
def show_people() -> str:
    """Show a page of people, or of those whose names hold a text."""
    request, text, after = current_request(), read_text("q"), read_after()
    queries, organization, paths = (
        request.gateway.queries, request.organization, document_paths(request.gateway)
    )  # fmt: skip
    users: Sequence[OutlinedUser]
    if text:
        users, following = queries.users_holding(organization, text, paths, after, _PAGE)
    else:
        users, following = cut_page(queries.users(organization, paths, after, _PAGE + 1), _PAGE)
    people = user_rows(request.gateway, organization, users)
    total = queries.count_people(organization)
    return render("people.html", people=people, following=following, after=after, q=text, total=total)


@blueprint.page(f"{_PATH}.csv", expensive=True)
def export_people() -> Response:
    """Export all people as CSV."""
    request = current_request()
    return users_csv(request.gateway, request.organization)


@blueprint.page(f"{_PATH}/new")
def show_new_person() -> Any:
    """Show the form that adds a person by hand."""
    return render("new_person.html", problem=None)


@blueprint.action(f"{_PATH}/new", operation="POST /organizations/{organization}/users", needs=PEOPLE)
def add_person() -> Any:
    """Add a person by hand, who takes a seat."""
    request = current_request()
    try:
        made = request.gateway.users.make(request.caller, _read_names(), request.trace).user
    except Refusal as refusal:
        problem = Problem(note_refusal(refusal), flask.request.form)
        return render("new_person.html", problem=problem), refusal.status
    return see("show_person", f"{made.user_name} was added.", user=made.uid)


@blueprint.page(f"{_PATH}/<user>")
def show_person(user: str) -> Any:
    """Show one person; of a deleted one what can be done about its data."""
    try:
        return _person_page(user)
    except NotFound as absent:
        request = current_request()
        found = request.gateway.erasures.describe(request.caller, user)
        if found is None:
            raise
        note_refusal(absent)
        return render("deleted_person.html", uid=user, name=found[0], explained=absent.detail), 404


@blueprint.action(f"{_PATH}/<user>/active", operation=f"PATCH {_USER}", needs=PEOPLE)
def set_person_active(user: str) -> Any:
    """Activate or deactivate a person."""
    wanted = flask.request.form.get("active")
    if wanted not in ("yes", "no"):
        raise InvalidValue("The form does not say whether the person is to be active: nothing was changed.")
    active = wanted == "yes"
    done = "is active again" if active else "is deactivated, and the seat is free"
    return _change(user, lambda: {"active": active}, done)


@blueprint.action(f"{_PATH}/<user>/names", operation=f"PATCH {_USER}", needs=PEOPLE)
def edit_person(user: str) -> Any:
    """Change the names and the address of a person who was added by hand."""
    return _change(user, _read_names, "was changed")


@blueprint.page(f"{_PATH}/<user>/remove")
def show_person_removal(user: str) -> Any:
    """Ask whether a person who was added by hand shall be removed."""
    return _person_page(user, template="remove_person.html")


@blueprint.action(f"{_PATH}/<user>/remove", operation=f"DELETE {_USER}", needs=PEOPLE)
def remove_person(user: str) -> Any:
    """Remove a person."""
    request = current_request()
    name = request.gateway.users.find(request.caller, user, request.trace).user_name
    request.gateway.users.delete(request.caller, user, request.trace)
    return see("show_people", f"{name} was removed.")


@blueprint.page(f"{_PATH}/<user>/export.json", expensive=True)
def export_person(user: str) -> Response:
    """Export everything that is stored of a person."""
    return person_file(current_request(), user)


@blueprint.page(f"{_PATH}/<user>/erase")
def show_person_erasure(user: str) -> Any:
    """Ask for the reason and the name of a person who shall be erased."""
    return _erasure_page(user)


@blueprint.action(f"{_PATH}/<user>/erase", operation=f"POST {_USER}/erase", needs=PEOPLE)
def erase_person(user: str) -> Any:
    """Erase a person."""
    request, form = current_request(), flask.request.form
    reason = form.get("reason", "").strip()[:200]
    try:
        if not reason:
            raise InvalidValue("Say why the person is erased: the activity shows it.")
        request.gateway.erasures.erase(request.caller, user, reason, form.get("confirm", ""), request.trace)
    except Refusal as refusal:
        return _erasure_page(user, Problem(note_refusal(refusal), form))
    return see(
        "show_people", "The person is being erased. What else names the person follows within a minute."
    )


def _erasure_page(uid: str, problem: Problem | None = None) -> Any:
    request = current_request()
    found = request.gateway.erasures.describe(request.caller, uid)
    if found is None:
        raise request.gateway.users.absent(request.caller, uid, request.trace)
    name, deleted = found
    page = render("erase_person.html", uid=uid, name=name, deleted=deleted, problem=problem)
    return page, problem.refusal.status if problem else 200


def _change(uid: str, read: Callable[[], dict[str, Any]], done: str) -> Any:
    request = current_request()
    try:
        user = request.gateway.users.edit(request.caller, uid, read(), request.trace).user
    except Refusal as refusal:
        return _person_page(uid, Problem(note_refusal(refusal), flask.request.form))
    return see("show_person", f"{user.user_name} {done}.", user=user.uid)


def _person_page(uid: str, problem: Problem | None = None, template: str = "person.html") -> Any:
    request = current_request()
    user = request.gateway.users.find(request.caller, uid, request.trace)
    queries = request.gateway.queries
    found = queries.activity(request.organization, {"user": user.user_name}, None, _LINES)
    names = queries.connection_names(request.organization)
    explained = request.gateway.explanations.known(request.organization, found.lines)
    page = render(
        template,
        person=user_rows(request.gateway, request.organization, [user])[0],
        document=user.document,
        email=primary_email(user.document) or "",
        lines=[describe(line, names, explained) for line in found.lines],
        problem=problem,
    )
    return page, problem.refusal.status if problem else 200


def _read_names() -> dict[str, Any]:
    """Return the names in a form; what was left empty is no value. Raises InvalidValue."""
    return {name: value or None for name, value in read_form(_NAMES).items()}
