"""What JumpCloud does, in phases: activation of the integration, then users and groups.

The course is documented, the removal of a member by its value reported. No recording is public, so the lookups and all
other bodies are plain RFC 7644. Requests that only check the server's state are the simulator's own.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    build_simulator,
    change_family_name,
    create_user,
    deactivate_user,
    expect_equal,
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

#: The integration that any application with SCIM can be set up with.
CUSTOM = "custom"


class User(PutUser):
    """A user in JumpCloud."""

    def body(self, active: bool) -> Json:
        """Return what the default attribute mapping sends."""
        return super().body(active) | {"displayName": f"{self.given} {self.family}"}


def activate(client: ScimClient, group: SimulatedGroup) -> str:
    """Create, update and delete the test user and the test group, as an activation does (documented)."""
    (user,) = group.users
    assert isinstance(user, User)
    look_up_user(client, user)
    create_user(client, user)
    update_user(client, user)
    create_group(client, group)
    client.call("DELETE", f"/Groups/{group.id}", 204)
    client.call("DELETE", f"/Users/{user.id}", 204)
    client.call("GET", f"/Users/{user.id}", 404)
    if client.find("Users", "userName", user.label) is not None:
        raise ExpectationError("nobody of this name, since the user was deleted")
    return "The test user and the test group came and went."


def update_user(client: ScimClient, user: User) -> str:
    change_family_name(user)
    put_user(client, user, True)
    return expect_family_name(client, user)


def create_group(client: ScimClient, group: SimulatedGroup) -> str:
    """Create a group with its members. JumpCloud looks for its name first, and takes over a group that has it."""
    if client.find("Groups", "displayName", group.label) is not None:
        raise ExpectationError("no group of this name yet")
    users = group.known_users()
    body = {"schemas": [GROUP_URN], "displayName": group.label, "members": _references(users)}
    group.id = client.call_for_resource("POST", "/Groups", 200, 201, body=body)["id"]
    return expect_members(client, group, users)


def remove_first_member(client: ScimClient, group: SimulatedGroup) -> str:
    """Remove a member by its value (reported). The RFC would remove all of them; the others must stay."""
    users = group.known_users()
    _patch(client, group, {"op": "remove", "path": "members", "value": _references(users[:1])})
    return expect_members(client, group, users[1:])


def add_first_member(client: ScimClient, group: SimulatedGroup) -> str:
    users = group.known_users()
    _patch(client, group, {"op": "add", "path": "members", "value": _references(users[:1])})
    return expect_members(client, group, users)


def rename_group(client: ScimClient, group: SimulatedGroup) -> str:
    group.label = f"{group.label} Renamed"
    _patch(client, group, {"op": "replace", "path": "displayName", "value": group.label})
    found = client.find("Groups", "displayName", group.label)
    expect_equal(found and found["id"], group.id, "the id of the renamed group")
    return f"The group is called {group.label}."


def _patch(client: ScimClient, group: SimulatedGroup, operation: Json) -> None:
    client.call("PATCH", f"/Groups/{group.id}", 200, 204, body=patch_message(operation))


def _references(users: Sequence[SimulatedUser]) -> list[Json]:
    return [{"value": user.id} for user in users]


ACTIVATE = (Action("activate", activate, required=True), Action("activate once more", activate))
CREATE = (
    Action("look up", look_up_user),
    Action("create", create_user, required=True),
    Action("update", update_user),
)
REFUSED = (Action("be refused for want of a seat", expect_refused_creation),)
PUSH = (
    Action("make with its members", create_group, required=True),
    Action("remove the first by value", remove_first_member),
    Action("add the first again", add_first_member),
    Action("rename", rename_group),
)
DEACTIVATE = (Action("deactivate", deactivate_user),)
COME_BACK = (*DEACTIVATE, Action("come back", reactivate_user))


def phases(options: SimulationOptions) -> Sequence[Phase]:
    users, refused = make_users(options, User)
    # An empty group is not sent (documented).
    groups = make_groups(options, SimulatedGroup, users) if users else []
    test_user = User(options.user_name("test"), given="GivenTest", family="FamilyTest")
    test_group = SimulatedGroup(options.group_name("Test group"), users=[test_user])
    return [
        Phase("Activate", ACTIVATE, [test_group]),
        Phase("Create", CREATE, users),
        Phase("Over capacity", REFUSED, refused),
        Phase("Groups", PUSH, groups),
        Phase("Deactivate and come back", COME_BACK, users),
        Phase("Deactivate", DEACTIVATE, users[-1:] if options.keep_active else users),
    ]


SIMULATOR = build_simulator("JumpCloud", (CUSTOM,), phases)
