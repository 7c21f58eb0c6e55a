"""What Entra's provisioning service does, in phases, in one of its two dialects."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gateway.simulation
from gateway import ENTERPRISE_URN
from gateway.simulation import (
    Action,
    ExpectationError,
    SimulatedGroup,
    SimulatedUser,
    SimulationOptions,
    Target,
    build_simulator,
    make_groups,
    make_users,
)
from gateway_entra.simulator import requests
from gateway_entra.simulator.client import Client, expect_value, value_at

Phase = partial(gateway.simulation.Phase, client=Client)

STYLES = (requests.LEGACY, requests.RFC)
WRONG_TOKEN = "not-a-token-of-this-connection"  # noqa: S105 - opens nothing

MOBILE = 'phoneNumbers[type eq "mobile"].value'
LOCALITY = 'addresses[type eq "work"].locality'
POSTAL_CODE = 'addresses[type eq "work"].postalCode'


@dataclass
class User(SimulatedUser):
    """A user in Entra. The object id follows from the name, so that a run can be repeated."""

    style: str = requests.LEGACY
    manager: User | None = None

    @property
    def object_id(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, self.label))

    def new_body(self) -> dict[str, Any]:
        return requests.new_user(self.label, "Given", self.family, self.object_id, "Sales")

    def change(self, client: Client, values: dict[str, Any], op: str = "replace") -> dict[str, Any]:
        return self.patch(client, requests.change(self.style, values, op))

    def patch(self, client: Client, body: Any) -> dict[str, Any]:
        """Patch the user, for which 204 is as good as 200, and read it."""
        client.call("PATCH", f"/Users/{self.id}", body, 200, 204)
        return client.call_for_resource("GET", f"/Users/{self.id}")


@dataclass
class Group(SimulatedGroup):
    """A group in Entra."""

    style: str = requests.LEGACY

    def patch(self, client: Client, body: Any) -> None:
        client.call("PATCH", f"/Groups/{self.id}", body, 200, 204)


# Test Connection ----------------------------------------------------------------------------------------------


def test_users(client: Client, target: Target) -> str:
    if client.find(requests.user_named(str(uuid.uuid4()))):
        raise ExpectationError("nobody: the name was made up")
    return "An empty list, as it should be."


def test_groups(client: Client, target: Target) -> str:
    if client.find(requests.group_named(str(uuid.uuid4()))):
        raise ExpectationError("no group: the name was made up")
    return "An empty list, as it should be."


def wrong_token(client: Client, target: Target) -> str:
    path = requests.user_named(str(uuid.uuid4()))
    return f'Refused: "{client.call_for_refusal("GET", path, None, 401, token=WRONG_TOKEN)}"'


# Users --------------------------------------------------------------------------------------------------------


def look_up(client: Client, user: User) -> str:
    found = client.find(requests.user_named(user.label))
    user.id = found["id"] if found else ""
    return "There already." if found else "Nobody has this name yet."


def create(client: Client, user: User) -> str:
    if user.id:
        client.call("PATCH", f"/Users/{user.id}", requests.change(user.style, {"active": True}), 200, 204)
        return "Linked to the user who was there."
    user.id = client.call_for_resource("POST", "/Users", user.new_body(), status=201)["id"]
    return f"Created with the id {user.id}."


def read_back(client: Client, user: User) -> str:
    document = client.call_for_resource("GET", f"/Users/{user.id}")
    expect_value(document, "userName", user.label)
    expect_value(document, "active", True)
    return "The server holds what Entra sent."


def find_in_capitals(client: Client, user: User) -> str:
    if value_at(client.find(requests.user_named(user.label.upper())), "id") != user.id:
        raise ExpectationError("the user: letter case does not tell user names apart (RFC 7643, 4.1.1)")
    return "Found in capitals too."


def create_again(client: Client, user: User) -> str:
    return f'Refused: "{client.call_for_refusal("POST", "/Users", user.new_body(), 409)}"'


def be_refused(client: Client, user: User) -> str:
    detail = client.call_for_refusal("POST", "/Users", user.new_body(), 403)
    if client.find(requests.user_named(user.label)):
        raise ExpectationError("nobody of this name, since the create was refused")
    return f'Refused, and nothing was stored. The server says: "{detail}"'


def update(client: Client, user: User) -> str:
    user.family = f"New{user.family}"
    values = {"name.familyName": user.family, "displayName": f"Given {user.family}", "title": "Guide"}
    address = f"new.{user.label}"
    values |= {'emails[type eq "work"].value': address, f"{ENTERPRISE_URN}:department": "Tours"}
    document = user.change(client, values)
    expect_value(document, "name|familyName", user.family)
    expect_value(document, "title", "Guide")
    expect_value(document, "emails|value", address)
    expect_value(document, f"{ENTERPRISE_URN}|department", "Tours")
    return "All of it is the new one."


def fill(client: Client, user: User) -> str:
    """Add by paths whose filters select nothing yet; two of them fill one address."""
    document = user.change(client, {MOBILE: "+1 555 0100", LOCALITY: "Here", POSTAL_CODE: "1000"}, "add")
    expect_value(document, "phoneNumbers|value", "+1 555 0100")
    expect_value(document, "phoneNumbers|type", "mobile")
    expect_value(document, "addresses|locality", "Here")
    expect_value(document, "addresses|postalCode", "1000")
    expect_value(document, "addresses|type", "work")
    return "A telephone number and one address were made."


def clear(client: Client, user: User) -> str:
    """Empty attributes, as Entra's own test of a server does; the server may show them as empty."""
    document = user.change(client, {"title": "", MOBILE: ""})
    for name in ("title", "phoneNumbers|value"):
        if value_at(document, name):
            raise ExpectationError(f"{name} to be gone, and not {value_at(document, name)!r}")
    return "What was emptied is gone."


def set_manager(client: Client, user: User) -> str:
    """Set the manager as bare text. It must come back as an object: Entra cannot read a text there (reported)."""
    wanted = user.manager.id if user.manager and user.manager.id else user.id
    document = user.patch(client, requests.manager(user.style, wanted))
    expect_value(document, f"{ENTERPRISE_URN}|manager|value", wanted)
    return "The manager came back as an object."


def disable(client: Client, user: User) -> str:
    expect_value(user.change(client, {"active": False}), "active", False)
    found = client.find(requests.user_named(user.label))
    if value_at(found, "id") != user.id:
        raise ExpectationError("the disabled user to be found still, until it is deleted for good")
    return "Inactive, and still to be found."


def enable(client: Client, user: User) -> str:
    expect_value(user.change(client, {"active": True}), "active", True)
    return "Active again."


def soft_delete(client: Client, user: User) -> str:
    """Put the object id before the name, and deactivate. What the server makes of the name is not checked."""
    tombstone = user.object_id.replace("-", "") + user.label
    expect_value(user.change(client, {"userName": tombstone, "active": False}), "active", False)
    return "Inactive."


def restore(client: Client, user: User) -> str:
    document = user.change(client, {"userName": user.label, "active": True})
    expect_value(document, "userName", user.label)
    expect_value(document, "active", True)
    return "Active again, under its name and its id."


def delete(client: Client, user: User) -> str:
    client.call("DELETE", f"/Users/{user.id}", None, 204)
    client.call_for_refusal("GET", f"/Users/{user.id}", None, 404)
    return "Gone."


# Groups -------------------------------------------------------------------------------------------------------


def match_group(client: Client, group: Group) -> str:
    found = client.find(requests.group_named(group.label))
    group.id = found["id"] if found else ""
    if found and "members" in found:
        raise ExpectationError("the group without its members, which were excluded")
    return "There already." if found else "No group has this name yet."


def create_group(client: Client, group: Group) -> str:
    if group.id:
        return "Linked to the group that was there."
    external_id = str(uuid.uuid5(uuid.NAMESPACE_URL, group.label))
    group.id = client.call_for_resource(
        "POST", "/Groups", requests.new_group(group.label, external_id), status=201
    )["id"]
    return f"Created with the id {group.id}."


def read_without_members(client: Client, group: Group) -> str:
    document = client.call_for_resource("GET", f"/Groups/{group.id}?excludedAttributes=members")
    expect_value(document, "displayName", group.label)
    if "members" in document:
        raise ExpectationError("the group without its members, which were excluded")
    return "The group came without its members."


def rename_group(client: Client, group: Group) -> str:
    """Rename the group and back, so that a run can be repeated."""
    for name in (f"{group.label} Renamed", group.label):
        group.patch(client, requests.change(group.style, {"displayName": name}))
        if value_at(client.find(requests.group_named(name)), "id") != group.id:
            raise ExpectationError("the group under its new name")
    return "Found under its other name, then under its own again."


def add_members(client: Client, group: Group) -> str:
    users = group.known_users()
    group.patch(client, requests.add_members(group.style, [user.id for user in users]))
    return _expect_members(client, group, users)


def add_again(client: Client, group: Group) -> str:
    users = group.known_users()
    group.patch(client, requests.add_members(group.style, [user.id for user in users[:1]]))
    return _expect_members(client, group, users)


def remove_member(client: Client, group: Group) -> str:
    """Remove one member. Servers that read the legacy form by the RFC removed all of them (reported)."""
    users = group.known_users()
    for user in users[:1]:
        group.patch(client, requests.remove_member(group.style, user.id))
    return _expect_members(client, group, users[1:], users[:1])


def _expect_members(
    client: Client, group: Group, users: Sequence[SimulatedUser], gone: Sequence[SimulatedUser] = ()
) -> str:
    for user in (*users, *gone):
        inside = client.find(requests.has_member(group.id, user.id)) is not None
        if inside != (user in users):
            raise ExpectationError(
                f"{user.label} to be {'a member' if user in users else 'no member any more'}"
            )
    return f"Its members are those that it should have: {len(users)}."


# Scenario -----------------------------------------------------------------------------------------------------


def _actions(
    *functions: Callable[[Client, Any], str], required: Callable[[Client, Any], str] | None = None
) -> list[Action]:
    """Make actions that have the names of their functions for titles."""
    return [
        Action(function.__name__.replace("_", " "), function, function is required) for function in functions
    ]


CREATE_USER = _actions(look_up, create, read_back, required=create)
CREATE_GROUP = _actions(match_group, create_group, read_without_members, rename_group, required=create_group)
CHANGE_MEMBERS = _actions(add_members, add_again, remove_member)


def phases(options: SimulationOptions) -> Sequence[gateway.simulation.Phase]:
    users, refused = make_users(options, User, style=options.style)
    for user in users:
        user.manager = users[0]
    groups = make_groups(options, Group, users, style=options.style)
    return [
        Phase(
            "Test Connection",
            _actions(test_users, *([test_groups] if groups else []), wrong_token),
            [Target()],
        ),
        Phase("Provision users", CREATE_USER, users),
        Phase("Provision users", _actions(find_in_capitals, create_again), users[:1]),
        Phase("Update users", _actions(update, fill, clear, set_manager), users),
        Phase("Over capacity", _actions(be_refused), refused),
        Phase("Groups", CREATE_GROUP + CHANGE_MEMBERS if users else CREATE_GROUP, groups),
        Phase("Disable, delete, restore", _actions(disable, enable, soft_delete, restore), users),
        Phase("Leave", _actions(disable), users[-1:] if options.keep_active else users),
        Phase("Leave", _actions(delete), users[-1:]),
    ]


SIMULATOR = build_simulator("Entra", STYLES, phases)
