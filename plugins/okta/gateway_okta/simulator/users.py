"""Okta's actions on one user: look up, assign or link, update, deactivate, reactivate. Okta never deletes a user."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from gateway import Json
from gateway.simulation import ExpectationError, SimulatedUser, expect_status
from gateway_okta.simulator import expectations, requests
from gateway_okta.simulator.client import Client


@dataclass
class User(SimulatedUser):
    """A user of Okta's directory. `family` changes with the profile update."""

    def profile(self) -> Json:
        # The id of an Okta user: 00u and 17 more characters.
        external_id = "00u" + hashlib.sha256(self.label.encode()).hexdigest()[:17]
        return requests.profile(self.label, self.given, self.family, external_id)


# Assign and link ------------------------------------------------------------------------------------------------


def look_up(client: Client, user: User) -> str:
    found = _find(client, user.label)
    user.id = found["id"] if found else ""
    return "This user name is there already, so Okta links." if found else "Nobody has this user name yet."


def assign(client: Client, user: User) -> str:
    if user.id:
        return _link(client, user)
    answer = client.post("/Users", requests.new_user(user.profile()))
    user.id = expectations.expect_user(answer, user.label, 201)["id"]
    return f"Created with the id {user.id}."


def read_back(client: Client, user: User) -> str:
    _expect_profile(_fetch(client, user), user, active=True)
    return "The server holds what Okta sent."


def find_in_capitals(client: Client, user: User) -> str:
    found = _find(client, user.label.upper())
    if found is None:
        raise ExpectationError("the user: letter case does not tell user names apart (RFC 7643, 4.1.1)")
    expectations.expect_id(found, user.id)
    return "Found in capitals too."


def create_again(client: Client, user: User) -> str:
    body = requests.new_user(user.profile())
    body["emails"] = [{**body["emails"][0], "value": f"another.{user.label}"}]
    detail = expectations.expect_error(client.post("/Users", body), 409)
    return f'Refused with 409 although the e-mail is another: "{detail}"'


def link_again(client: Client, user: User) -> str:
    found = _find(client, user.label)
    if found is None:
        raise ExpectationError("the user that was created before")
    expectations.expect_id(found, user.id)
    return _link(client, user)


def expect_refused_creation(client: Client, user: User) -> str:
    """Assign a user beyond the seats: Okta shows the detail of the refusal to its admin word for word."""
    if _find(client, user.label) is not None:
        raise ExpectationError("nobody of this name yet")
    detail = expectations.expect_error(client.post("/Users", requests.new_user(user.profile())), 403)
    if _find(client, user.label) is not None:
        raise ExpectationError("nobody of this name, since the create was refused")
    return f'Refused, and nothing was stored. The server says: "{detail}"'


def _link(client: Client, user: User) -> str:
    """Link a user that was found: Okta keeps its id, fetches it, and puts its own profile over it, active."""
    if not user.id:
        raise ExpectationError("a user to link")
    linked = _put(client, user, {**user.profile(), "active": True})
    expectations.expect_value(linked, "active", True)
    return f"Linked to the user with the id {user.id}."


# Update ---------------------------------------------------------------------------------------------------------


def update(client: Client, user: User) -> str:
    user.family = f"New{user.family}"
    _put(client, user, user.profile())
    _expect_profile(_fetch(client, user), user, active=True)
    return "The family name is the new one."


def push_empty_values(client: Client, user: User) -> str:
    """Update with the setting «push empty values»: text becomes empty, an entry of a list loses its value."""
    profile = user.profile()
    profile["name"] = {**profile["name"], "middleName": ""}
    profile.update(title="", phoneNumbers=[{"primary": True, "type": "work", "value": ""}])
    _put(client, user, profile)
    return "Empty values were taken without complaint."


# Deactivate and reactivate --------------------------------------------------------------------------------------


def deactivate_by_patch(client: Client, user: User) -> str:
    _patch_active(client, user, False)
    return "Answered as Okta needs it."


def deactivate_by_put(client: Client, user: User) -> str:
    """Put the whole user, as it was fetched, inactive: an app made with the wizard can only put."""
    answered = _put(client, user, {"name": {}, "active": False})
    expectations.expect_value(answered, "active", False)
    return "Answered with the user, inactive."


def read_inactive(client: Client, user: User) -> str:
    expectations.expect_value(_fetch(client, user), "active", False)
    return "Still readable, and inactive."


def reactivate_by_patch(client: Client, user: User) -> str:
    _find_inactive(client, user)
    _patch_active(client, user, True)
    _put(client, user, user.profile())
    return _expect_active(client, user)


def reactivate_by_put(client: Client, user: User) -> str:
    _find_inactive(client, user)
    _put(client, user, {**user.profile(), "active": True})
    return _expect_active(client, user)


def _find_inactive(client: Client, user: User) -> None:
    found = _find(client, user.label)
    if found is None:
        raise ExpectationError("the inactive user, so that Okta can reactivate it")
    expectations.expect_id(found, user.id)


def _patch_active(client: Client, user: User, active: bool) -> None:
    answer = client.patch(f"/Users/{user.id}", requests.set_active(active))
    expect_status(answer, 200, 204)
    if answer.status == 200:
        expectations.expect_value(expectations.expect_user(answer, user.label, 200), "active", active)


# Requests of which the actions are made -------------------------------------------------------------------------


def _find(client: Client, user_name: str) -> Json | None:
    """Look a user up in one request. Okta's documentation allows 404 for nobody, next to an empty list."""
    answer = client.get(requests.user_named(user_name))
    if answer.status == 404:
        expectations.expect_error(answer, 404)
        return None
    total, users = expectations.expect_list(answer)
    if not all(expectations.same_name(user.get("userName"), user_name) for user in users):
        raise ExpectationError(f"nobody but {user_name}: the filter was not followed")
    if total != len(users) or total > 1:
        raise ExpectationError("at most one user, and as many as totalResults says")
    return users[0] if users else None


def _fetch(client: Client, user: User) -> Json:
    document = expectations.expect_user(client.get(f"/Users/{user.id}"), user.label, 200)
    expectations.expect_id(document, user.id)
    return document


def _put(client: Client, user: User, profile: Json) -> Json:
    """Fetch the user, and put the profile over it."""
    body = requests.overlay(_fetch(client, user), profile)
    answered = expectations.expect_user(client.put(f"/Users/{user.id}", body), user.label, 200)
    expectations.expect_id(answered, user.id)
    return answered


def _expect_profile(document: Json, user: User, *, active: bool) -> None:
    expectations.expect_value(document, "name.givenName", user.given)
    expectations.expect_value(document, "name.familyName", user.family)
    expectations.expect_value(document, "emails.0.value", user.label)
    expectations.expect_value(document, "active", active)


def _expect_active(client: Client, user: User) -> str:
    expectations.expect_value(_fetch(client, user), "active", True)
    return "Active again, with the same id."
