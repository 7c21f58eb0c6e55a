"""What OneLogin does, in phases: the requests that were captured, in their order.

Not captured, and modelled on its documents: reactivation, and the DELETE of a user. Requests that only check the
server's state (a group or user read by its id) are the simulator's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway import GROUP_URN, Json
from gateway.simulation import (
    Action,
    ExpectationError,
    Phase,
    PutUser,
    ScimClient,
    SimulatedGroup,
    SimulatedUser,
    SimulationOptions,
    Target,
    build_simulator,
    change_family_name,
    create_user,
    deactivate_user,
    expect_family_name,
    expect_members,
    expect_refused_creation,
    look_up_user,
    make_groups,
    make_users,
    patch_message,
    put_user,
    reactivate_user,
)

#: What happens to users who are deleted in OneLogin is the admin's choice (documented).
SUSPEND, DELETE = "suspend", "delete"

UNKNOWN_USER_NAME = "never-existing-user"
PAGE_SIZE = 100


@dataclass
class User(PutUser):
    """A user in OneLogin, with the groups of which it is a member. The body is what the template makes of it."""

    groups: Sequence[SimulatedGroup] = ()


# Users ----------------------------------------------------------------------------------------------------------


def enable_connection(client: ScimClient, _: Target) -> str:
    if client.find("Users", "userName", UNKNOWN_USER_NAME) is not None:
        raise ExpectationError("nobody of this name")
    return "Nobody has that name, which shows that the server answers."


def update_user(client: ScimClient, user: User) -> str:
    """Change a user. OneLogin then reads all groups and sends the memberships once more (captured)."""
    change_family_name(user)
    put_user(client, user, True)
    _list_groups(client)
    for group in user.groups:
        if group.id:
            _change_member(client, group, "add", user)
    return expect_family_name(client, user)


def suspend_user(client: ScimClient, user: User) -> str:
    _leave_groups(client, user)
    deactivate_user(client, user)
    return "In no group, inactive, and still found."


def delete_user(client: ScimClient, user: User) -> str:
    _leave_groups(client, user)
    client.call("DELETE", f"/Users/{user.id}", 204)
    client.call("GET", f"/Users/{user.id}", 404)
    return "Gone."


def _leave_groups(client: ScimClient, user: User) -> None:
    for group in user.groups:
        if group.id:
            _change_member(client, group, "remove", user)
            if user.id in client.get_member_ids(group.id):
                raise ExpectationError(f"{user.label} to be no member of {group.label} any more")


# Groups ---------------------------------------------------------------------------------------------------------


def create_group(client: ScimClient, group: SimulatedGroup) -> str:
    """Create a group that is not among those of the server, without members (captured)."""
    if group.label in {each.get("displayName") for each in _list_groups(client)}:
        raise ExpectationError("no group of this name yet")
    body = {"displayName": group.label, "schemas": [GROUP_URN]}
    group.id = client.call_for_resource("POST", "/Groups", 200, 201, body=body)["id"]
    return f"Made with the id {group.id}."


def add_members(client: ScimClient, group: SimulatedGroup) -> str:
    users = group.known_users()
    for user in users:
        _change_member(client, group, "add", user)
    return expect_members(client, group, users)


def remove_first_member(client: ScimClient, group: SimulatedGroup) -> str:
    """Remove a member by its value (captured). The RFC would remove all of them; the others must stay."""
    users = group.known_users()
    for user in users[:1]:
        _change_member(client, group, "remove", user)
    return expect_members(client, group, users[1:])


def _list_groups(client: ScimClient) -> list[Json]:
    """Read all groups, page by page, as OneLogin does before it changes memberships."""
    groups: list[Json] = []
    while page := client.list_resources(f"/Groups?count={PAGE_SIZE}&startIndex={len(groups) + 1}"):
        groups += page
        if len(page) < PAGE_SIZE:
            break
    return groups


def _change_member(client: ScimClient, group: SimulatedGroup, op: str, user: SimulatedUser) -> None:
    operation = {"value": [{"value": user.id}], "op": op, "path": "members"}
    client.call("PATCH", f"/Groups/{group.id}", 200, 204, body=patch_message(operation))


# Scenario -------------------------------------------------------------------------------------------------------

CONNECT = (Action("look up nobody", enable_connection),)
CREATE = (Action("look up", look_up_user), Action("create", create_user, required=True))
REFUSED = (Action("be refused for want of a seat", expect_refused_creation),)
CREATE_GROUP = (Action("make", create_group, required=True),)
CHANGE_MEMBERS = (
    Action("add each", add_members),
    Action("remove the first by value", remove_first_member),
    Action("add each again", add_members),
)
LEAVE = {SUSPEND: Action(SUSPEND, suspend_user), DELETE: Action(DELETE, delete_user)}
UPDATE = {
    SUSPEND: (Action("update", update_user), LEAVE[SUSPEND], Action("come back", reactivate_user)),
    DELETE: (Action("update", update_user),),
}


def phases(options: SimulationOptions) -> Sequence[Phase]:
    groups = make_groups(options, SimulatedGroup, ())
    users, refused = make_users(options, User, groups=groups)
    for group in groups:
        group.users = users
    return [
        Phase("Enable the API connection", CONNECT, [Target()]),
        Phase("Create", CREATE, users),
        Phase("Over capacity", REFUSED, refused),
        Phase("Groups", CREATE_GROUP + CHANGE_MEMBERS if users else CREATE_GROUP, groups),
        Phase("Update", UPDATE[options.style], users),
        Phase("Leave", (LEAVE[options.style],), users[-1:] if options.keep_active else users),
    ]


SIMULATOR = build_simulator("OneLogin", (SUSPEND, DELETE), phases)
