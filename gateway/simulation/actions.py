"""Actions on users and groups in plain RFC 7644, for simulators of identity providers that write whole users by PUT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.scim.json_text import Json
from gateway.scim.schemas import USER_URN
from gateway.simulation.client import ExpectationError, ScimClient, expect_equal, get_member
from gateway.simulation.scenario import SimulatedGroup, SimulatedUser


@dataclass
class PutUser(SimulatedUser):
    """A user whom the identity provider creates by POST and changes by PUT, each with the whole body."""

    def body(self, active: bool) -> Json:
        """Return the whole user as RFC 7643 has it."""
        return {
            "schemas": [USER_URN],
            "userName": self.label,
            "name": {"givenName": self.given, "familyName": self.family},
            "emails": [{"value": self.label, "type": "work", "primary": True}],
            "active": active,
        }


def look_up_user(client: ScimClient, user: PutUser) -> str:
    """Look the user up by its name, and remember the id where the server has it."""
    found = client.find("Users", "userName", user.label)
    user.id = found["id"] if found else ""
    return "There already." if found else "Nobody has this user name yet."


def create_user(client: ScimClient, user: PutUser) -> str:
    """Create the user, or take it over by PUT where the lookup found it."""
    if user.id:
        return put_user(client, user, True)
    user.id = client.call_for_resource("POST", "/Users", 200, 201, body=user.body(True))["id"]
    return f"Created with the id {user.id}."


def expect_refused_creation(client: ScimClient, user: PutUser) -> str:
    """Create a user beyond the seats: the server must refuse it with 403 and store nothing."""
    detail = client.call("POST", "/Users", 403, body=user.body(True)).get("detail")
    if client.find("Users", "userName", user.label) is not None:
        raise ExpectationError("nobody of this name, since the create was refused")
    return f'Refused, and nothing was stored. The server says: "{detail}"'


def put_user(client: ScimClient, user: PutUser, active: bool) -> str:
    """Write the whole user, and check id and `active` in the answer."""
    answered = client.call_for_resource("PUT", f"/Users/{user.id}", 200, body=user.body(active))
    expect_equal(answered["id"], user.id, "id")
    expect_equal(answered.get("active"), active, "active")
    return "There already, and taken over."


def change_family_name(user: PutUser) -> None:
    """Give the user another family name, to be sent by the next PUT."""
    user.family = f"New{user.family}"


def expect_family_name(client: ScimClient, user: PutUser) -> str:
    """Read the user and check its family name."""
    name = client.call_for_resource("GET", f"/Users/{user.id}", 200).get("name")
    expect_equal(get_member(name, "familyName"), user.family, "name.familyName")
    return "The family name is the new one."


def deactivate_user(client: ScimClient, user: PutUser) -> str:
    """Deactivate the user by PUT; the lookup must still find it."""
    put_user(client, user, False)
    found = client.find("Users", "userName", user.label)
    if found is None:
        raise ExpectationError("the inactive user to be found still")
    expect_equal(found.get("active"), False, "active")
    return "Inactive, and still found."


def reactivate_user(client: ScimClient, user: PutUser) -> str:
    """Find the inactive user, which must have the same id, and activate it by PUT."""
    found = client.find("Users", "userName", user.label)
    expect_equal(found and found["id"], user.id, "the id of the inactive user")
    put_user(client, user, True)
    return "Active again, with the same id."


def expect_members(client: ScimClient, group: SimulatedGroup, users: Sequence[SimulatedUser]) -> str:
    """Read the group and check that just these users are its members."""
    expect_equal(sorted(client.get_member_ids(group.id)), sorted(user.id for user in users), "members")
    return f"Its members are those that it should have: {len(users)}."
