"""Groups: made by hand, pushed by an identity provider, or filled by Map to groups; and who is in them, and why."""

from __future__ import annotations

from typing import Any

import flask

from gateway.provisioning.console_access import PEOPLE
from gateway.scim.errors import InvalidValue, Refusal
from gateway.scim.json_text import excerpt
from gateway.web.console.blueprint import blueprint, note_refusal, see
from gateway.web.console.context import current_request
from gateway.web.console.forms import NAME, Problem, cut_page, read_after, read_form, read_text
from gateway.web.console.rendering import render

_PATH = "/console/organizations/<organization>/groups"
_GROUP = "/organizations/{organization}/groups/{group}"
#: Groups, and members of a group, on a page.
_PAGE = 50


@blueprint.page(_PATH)
def show_groups() -> Any:
    """Show a page of groups, or of those whose names begin with a text."""
    return _groups_page()


@blueprint.action(_PATH, operation="POST /organizations/{organization}/groups", needs=PEOPLE)
def add_group() -> Any:
    """Make a group by hand."""
    request = current_request()
    try:
        made = request.gateway.groups.make(request.caller, read_form({"name": NAME})["name"], request.trace)
    except Refusal as refusal:
        return _groups_page(_problem(refusal))
    return see("show_group", f"The group {made.name} was made.", group=made.uid)


@blueprint.page(f"{_PATH}/<group>")
def show_group(group: str) -> Any:
    """Show a group and a page of its members."""
    return _group_page(group)


@blueprint.action(f"{_PATH}/<group>/name", operation=f"PATCH {_GROUP}", needs=PEOPLE)
def rename_group(group: str) -> Any:
    """Rename a group that was made by hand."""
    request = current_request()
    try:
        name = read_form({"name": NAME})["name"]
        renamed = request.gateway.groups.rename(request.caller, group, name, request.trace)
    except Refusal as refusal:
        return _group_page(group, _problem(refusal))
    return see("show_group", f"The group is called {renamed.name} now.", group=group)


@blueprint.page(f"{_PATH}/<group>/remove")
def show_group_removal(group: str) -> Any:
    """Ask whether a group that was made by hand shall be removed."""
    return _group_page(group, template="remove_group.html")


@blueprint.action(f"{_PATH}/<group>/remove", operation=f"DELETE {_GROUP}", needs=PEOPLE)
def remove_group(group: str) -> Any:
    """Remove a group that was made by hand."""
    request = current_request()
    name = request.gateway.queries.group(request.organization, group).name
    try:
        request.gateway.groups.unmake(request.caller, group, request.trace)
    except Refusal as refusal:
        return _group_page(group, _problem(refusal))
    return see("show_groups", f"The group {name} was removed.")


@blueprint.action(f"{_PATH}/<group>/members", operation=f"PUT {_GROUP}/members/{{user}}", needs=PEOPLE)
def add_group_member(group: str) -> Any:
    """Put the person of a user name into a group."""
    request, name = current_request(), flask.request.form.get("user_name", "").strip()
    try:
        found = request.gateway.queries.user_named(request.organization, name) if name else None
        if found is None:
            raise InvalidValue(
                f"Nobody here has the user name {excerpt(name)}. Look it up on the page People."
            )
        _set_member(group, found.uid, True)
    except Refusal as refusal:
        return _group_page(group, _problem(refusal))
    return see("show_group", f"{found.user_name} is in the group.", group=group)


@blueprint.action(
    f"{_PATH}/<group>/members/<user>/remove", operation=f"DELETE {_GROUP}/members/{{user}}", needs=PEOPLE
)
def remove_group_member(group: str, user: str) -> Any:
    """Take a person out of a group."""
    try:
        _set_member(group, user, False)
    except Refusal as refusal:
        return _group_page(group, _problem(refusal))
    return see(
        "show_group", f"{current_request().trace.user} is no longer in the group by hand.", group=group
    )


def _set_member(group: str, user: str, inside: bool) -> None:
    request = current_request()
    request.trace.status = 204
    request.gateway.groups.set_member(request.caller, group, user, inside, request.trace)


def _problem(refusal: Refusal) -> Problem:
    return Problem(note_refusal(refusal), flask.request.form)


def _groups_page(problem: Problem | None = None) -> Any:
    request, text = current_request(), read_text("q")
    queries, organization = request.gateway.queries, request.organization
    groups, following = cut_page(queries.groups(organization, text, read_after(), _PAGE + 1), _PAGE)
    page = render(
        "groups.html",
        groups=groups,
        managers=queries.managers(organization, groups),
        mapped=queries.mapped_groups(groups),
        following=following,
        q=text,
        problem=problem,
    )
    return page, problem.refusal.status if problem else 200


def _group_page(uid: str, problem: Problem | None = None, template: str = "group.html") -> Any:
    request = current_request()
    queries, organization = request.gateway.queries, request.organization
    group = queries.group(organization, uid)
    found = queries.group_members(organization, uid, read_after(), _PAGE + 1)
    members, following = cut_page(found, _PAGE)
    page = render(
        template,
        group=group,
        manager=queries.managers(organization, [group]).get(group.connection_id),
        mapped_by=queries.mapped_groups([group]).get(group.id),
        members=members,
        following=following,
        problem=problem,
    )
    return page, problem.refusal.status if problem else 200
