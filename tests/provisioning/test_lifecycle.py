"""From coming to going: users and groups are deleted, restored, renamed, linked, released; and what happens when the
database cannot be written."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from gateway.store.records import OrganizationRecord
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import GROUP, USER
from tests.support.admin import AdminClient
from tests.support.timing import check_seconds

ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"


@pytest.fixture
def acme(deployment: Deployment) -> OrganizationRecord:
    """An organization with ten seats."""
    return deployment.organization(seats=10)


@pytest.fixture
def scim(deployment: Deployment, acme: OrganizationRecord) -> Scim:
    """Its connection."""
    return deployment.connection("generic", acme)


@pytest.fixture(autouse=True)
def _books_balance(deployment: Deployment, audit: Any) -> Iterator[None]:
    """After every test the invariants hold."""
    yield
    audit(deployment)


def delete(scim: Scim, user: dict[str, Any]) -> None:
    """Delete a user."""
    answer = scim.call("DELETE", f"/Users/{user['id']}")
    assert (answer.status, answer.text) == (204, "")


def members(scim: Scim, group: str) -> set[str]:
    """The ids of the members that a connection sees."""
    return {each["value"] for each in scim.call("GET", f"/Groups/{group}").json.get("members", ())}


def groups(scim: Scim, user: str) -> list[str]:
    """The names of a user's groups."""
    return [each["display"] for each in scim.call("GET", f"/Users/{user}").json.get("groups", ())]


class Admin(AdminClient):
    """An admin of one organization, with paths below it."""

    def __call__(self, method: str, path: str, body: Any = None, expect: int = 200) -> Any:
        return self.call(method, self.path + path, body, expect)

    def user(self, name: str, active: bool = True) -> dict[str, Any]:
        """A manual user."""
        person = {"user_name": name, "display_name": name.split("@")[0], "active": active}
        return dict(self("POST", "/users", person, 201))

    def group(self, name: str, *members: str) -> str:
        """The id of a manual group with these members."""
        group = str(self("POST", "/groups", {"name": name}, 201)["id"])
        for member in members:
            self("PUT", f"/groups/{group}/members/{member}", expect=204)
        return group

    def sources(self, user: str) -> dict[str, list[str]]:
        """Why a user is in which group."""
        return {each["name"]: each["sources"] for each in self("GET", f"/users/{user}")["groups"]}


@pytest.fixture
def admin(deployment: Deployment, acme: OrganizationRecord) -> Admin:
    """Its admin."""
    return Admin(deployment, acme.uid)


# Deleted, and back ----------------------------------------------------------------------------------------------

NAME, OTHER = "user1@acme.test", "other@acme.test"


@pytest.mark.parametrize(
    ("gone", "coming", "restored"),
    [
        ((NAME, "1"), (NAME, "1"), True),
        ((NAME, "1"), (OTHER, "1"), True),  # renamed meanwhile
        ((NAME, "1"), (NAME.upper(), "1"), True),
        ((NAME, "1"), (NAME, "2"), False),  # somebody else, who got a name that was free again
        ((NAME, "1"), (OTHER, "2"), False),
        ((NAME, None), (NAME, "1"), True),
        ((NAME, "1"), (NAME, None), True),
        ((NAME, None), (NAME.upper(), None), True),
        ((NAME, None), (OTHER, None), False),
        ((NAME, None), (OTHER, "1"), False),
        ((NAME, "1"), (OTHER, None), False),
        ((NAME, "Case"), (NAME, "case"), False),  # RFC 7643, 3.1: externalId is compared exactly
    ],
)
def test_who_comes_back_and_who_is_somebody_else(
    scim: Scim, gone: tuple[str, str | None], coming: tuple[str, str | None], restored: bool
) -> None:
    def person(name: str, external_id: str | None) -> dict[str, Any]:
        return {"name": name} | ({"externalId": external_id} if external_id else {})

    first = scim.user(**person(*gone), title="Before", nickName="Old")
    group = scim.group(members=(first["id"],))["id"]
    delete(scim, first)
    second = scim.user(**person(*coming), title="After")

    assert (second["id"] == first["id"]) is restored
    # The document is the new one, whole; nobody is put back where others took care of the memberships since.
    assert (second["userName"], second["title"], second.get("nickName")) == (coming[0], "After", None)
    assert second.get("externalId") == coming[1]
    assert members(scim, group) == set()
    assert scim.call("GET", f"/Users/{second['id']}").json["meta"] == second["meta"]
    kind = "user.restored" if restored else "user.created"
    assert scim.deployment.events(scim.organization)[-1][0] == kind
    assert scim.deployment.used(scim.organization) == 1
    if not restored:
        assert scim.call("GET", f"/Users/{first['id']}").status == 404


def test_of_two_who_could_be_meant_the_one_with_the_same_external_id_comes_back(scim: Scim) -> None:
    by_name, by_id = scim.user(NAME), scim.user(OTHER, externalId="1")
    delete(scim, by_id)
    delete(scim, by_name)
    assert scim.user(NAME, externalId="1")["id"] == by_id["id"]
    # And the other one is still there to be meant.
    assert scim.call("DELETE", f"/Users/{by_id['id']}").status == 204
    assert scim.user(NAME)["id"] in (by_id["id"], by_name["id"])


def shared_by(scim: Scim) -> list[str]:
    """What the activity says of externalIds that several users have, in order."""
    lines = [json.loads(line.decisions) for line in scim.deployment.activity(scim.organization)]
    return [each["verdict"] for line in reversed(lines) for each in line if each["hook"] == "external_id"]


@pytest.mark.parametrize("how", ["POST", "PUT", "PATCH"])
def test_users_of_one_connection_may_share_an_external_id(scim: Scim, how: str) -> None:
    """RFC 7643, 3.1. Entra fills it from mailNickname, which several people have."""
    first = scim.user(NAME, externalId="sales")
    if how == "POST":
        second = scim.user(OTHER, externalId="sales")
    else:
        second = scim.user(OTHER)
        path, reported = f"/Users/{second['id']}", {"op": "add", "path": "externalId", "value": "sales"}
        body = {"schemas": [USER], "userName": OTHER, "externalId": "sales"}
        answer = scim.call("PUT", path, body) if how == "PUT" else scim.patch(path, reported)
        assert (answer.status, answer.json["externalId"]) == (200, "sales")

    found = scim.call("GET", "/Users?filter=externalId+eq+%22sales%22").json
    assert (found["totalResults"], {user["id"] for user in found["Resources"]}) == (
        2,
        {first["id"], second["id"]},
    )
    assert shared_by(scim) == [f"shared with {NAME}"]
    # What says nothing new of it makes no further event.
    assert (
        scim.patch(f"/Users/{first['id']}", {"op": "replace", "path": "title", "value": "Guide"}).status
        == 200
    )
    assert shared_by(scim) == [f"shared with {NAME}"]


def test_the_activity_names_some_of_those_who_share_an_external_id(scim: Scim) -> None:
    names = [f"user{number}@acme.test" for number in range(6)]
    for name in names:
        scim.user(name, externalId="sales")
    first, *_, last = shared_by(scim)
    assert (first, last) == (f"shared with {names[0]}", f"shared with {', '.join(names[:3])}, others")


def test_somebody_is_renamed_by_a_new_user_with_the_same_external_id(scim: Scim) -> None:
    old = scim.user(NAME, externalId="1")
    assert (
        scim.patch(f"/Users/{old['id']}", {"op": "replace", "path": "active", "value": False}).status == 200
    )
    new = scim.user(OTHER, externalId="1")
    assert new["id"] != old["id"]
    assert scim.deployment.used(scim.organization) == 1


def test_nobody_comes_back_by_an_external_id_that_several_deleted_users_have(scim: Scim) -> None:
    first, second = scim.user(NAME, externalId="sales"), scim.user(OTHER, externalId="sales")
    nameless = scim.user("third@acme.test")
    for user in (first, second, nameless):
        delete(scim, user)

    fresh = scim.user(NAME, externalId="sales")
    assert fresh["id"] not in (first["id"], second["id"])
    # By its name, where one side has no externalId: one is meant.
    assert scim.user("third@acme.test", externalId="sales")["id"] == nameless["id"]
    assert scim.user(OTHER)["id"] == second["id"]
    # The first one is the only one left.
    assert scim.user("fourth@acme.test", externalId="sales")["id"] == first["id"]


def test_nobody_comes_back_over_somebody_who_has_the_name(scim: Scim) -> None:
    first = scim.user(NAME, externalId="1")
    delete(scim, first)
    second = scim.user(NAME, externalId="2")
    refused = scim.call("POST", "/Users", {"schemas": [USER], "userName": NAME, "externalId": "1"})
    assert (refused.status, refused.json["scimType"]) == (409, "uniqueness")
    assert scim.call("GET", f"/Users/{second['id']}").status == 200
    back = scim.user(OTHER, externalId="1")
    assert back["id"] == first["id"]


def test_another_connection_brings_nobody_back(
    deployment: Deployment, acme: OrganizationRecord, scim: Scim, admin: Admin
) -> None:
    first = scim.user(NAME, externalId="1")
    delete(scim, first)
    okta = deployment.connection("okta", acme)
    second = okta.user(NAME, externalId="1")
    assert second["id"] != first["id"]
    delete(okta, second)
    # Nor does an identity provider bring back whom an admin made and deleted.
    manual = admin.user(OTHER)
    admin("DELETE", f"/users/{manual['id']}", expect=204)
    assert scim.user(OTHER)["id"] != manual["id"]
    assert scim.user(NAME, externalId="1")["id"] == first["id"]


def test_an_admin_deletes_and_the_identity_provider_brings_back(scim: Scim, admin: Admin) -> None:
    user = scim.user(NAME, externalId="1")
    admin("DELETE", f"/users/{user['id']}", expect=204)
    assert scim.call("GET", f"/Users/{user['id']}").status == 404
    assert scim.user(NAME, externalId="1")["id"] == user["id"]


def test_back_without_a_seat_and_back_again(scim: Scim) -> None:
    """The version goes on counting: a tag from before the deletion never fits again."""
    user = scim.user(NAME, externalId="1")
    delete(scim, user)
    back = scim.user(NAME, externalId="1", active=False)
    assert (back["active"], scim.deployment.used(scim.organization)) == (False, 0)
    assert back["meta"]["version"] not in (user["meta"]["version"], None)
    assert back["meta"]["created"] == user["meta"]["created"]
    stale = scim.call("PUT", f"/Users/{user['id']}", user, headers={"If-Match": user["meta"]["version"]})
    assert stale.status == 412


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_a_deleted_user_is_gone_for_every_method(scim: Scim, method: str) -> None:
    user = scim.user()
    delete(scim, user)
    body = {
        "PUT": user,
        "PATCH": {"schemas": [USER], "Operations": [{"op": "replace", "value": {"title": "x"}}]},
    }
    body["PATCH"] |= {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"]}
    assert scim.call(method, f"/Users/{user['id']}", body.get(method)).status == 404
    assert scim.call("GET", "/Users").json["totalResults"] == 0
    assert scim.call("GET", '/Users?filter=id eq "{}"'.format(user["id"])).json["totalResults"] == 0


def test_a_deleted_user_leaves_every_group_and_the_groups_tell_it(scim: Scim, admin: Admin) -> None:
    leaving, staying = scim.user(NAME)["id"], scim.user(OTHER)["id"]
    pushed = scim.group("Pushed", (leaving, staying))["id"]
    manual = admin.group("Manual", leaving, staying)
    delete(scim, {"id": leaving})
    assert members(scim, pushed) == members(scim, manual) == {staying}
    assert scim.call("GET", f'/Groups?filter=members.value eq "{leaving}"').json["totalResults"] == 0
    assert {each["name"]: each["members"] for each in admin("GET", "/groups")["items"]} == {
        "Pushed": 1,
        "Manual": 1,
    }
    scim.user(NAME)
    assert members(scim, pushed) == members(scim, manual) == {staying}


def test_a_deactivated_user_stays_readable_and_keeps_its_groups(scim: Scim, admin: Admin) -> None:
    user = scim.user()["id"]
    group = scim.group("Pushed", (user,))["id"]
    admin.group("Manual", user)
    for active in (False, True):
        changed = scim.patch(f"/Users/{user}", {"op": "replace", "path": "active", "value": active})
        assert (changed.status, changed.json["active"]) == (200, active)
        assert scim.call("GET", f"/Users/{user}").json["active"] is active
        assert scim.call("GET", f"/Users?filter=active eq {str(active).lower()}").json["totalResults"] == 1
        assert groups(scim, user) == ["Pushed", "Manual"]
        assert members(scim, group) == {user}
        assert scim.deployment.used(scim.organization) == int(active)
    # Inactive people join and leave like others.
    scim.patch(f"/Users/{user}", {"op": "replace", "path": "active", "value": False})
    scim.patch(f"/Groups/{group}", {"op": "remove", "path": f'members[value eq "{user}"]'})
    assert groups(scim, user) == ["Manual"]


# Names ----------------------------------------------------------------------------------------------------------


def test_a_name_that_was_given_up_is_free_at_once(scim: Scim) -> None:
    first = scim.user(NAME)
    renamed = scim.call("PUT", f"/Users/{first['id']}", {**first, "userName": OTHER})
    assert (renamed.status, renamed.json["userName"]) == (200, OTHER)
    second = scim.user(NAME)
    assert second["id"] != first["id"]
    taken = scim.patch(f"/Users/{first['id']}", {"op": "replace", "path": "userName", "value": NAME.upper()})
    assert (taken.status, taken.json["scimType"]) == (409, "uniqueness")
    for name, user in ((NAME, second), (OTHER, first)):
        found = scim.call("GET", f'/Users?filter=userName eq "{name.upper()}"').json["Resources"]
        assert [each["id"] for each in found] == [user["id"]]
    # Only the letter case of one's own name is nobody else's.
    again = scim.patch(f"/Users/{first['id']}", {"op": "replace", "path": "userName", "value": OTHER.upper()})
    assert (again.status, again.json["userName"]) == (200, OTHER.upper())


def test_a_group_name_that_was_given_up_is_free_at_once(scim: Scim) -> None:
    first = scim.group("Sales")["id"]
    assert scim.patch(f"/Groups/{first}", {"op": "replace", "value": {"displayName": "EMEA"}}).status == 204
    second = scim.group("Sales")["id"]
    assert scim.call("DELETE", f"/Groups/{second}").status == 204
    third = scim.group("SALES")["id"]
    assert len({first, second, third}) == 3
    found = scim.call("GET", '/Groups?filter=displayName eq "sales"').json["Resources"]
    assert [each["id"] for each in found] == [third]


def test_a_pushed_group_that_is_deleted_leaves_its_people_alone(scim: Scim) -> None:
    user = scim.user()["id"]
    group = scim.group("Sales", (user,))["id"]
    assert scim.call("DELETE", f"/Groups/{group}").status == 204
    assert (groups(scim, user), scim.call("GET", f"/Groups/{group}").status) == ([], 404)
    assert scim.call("DELETE", f"/Groups/{group}").status == 404


# Linking --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_manual_user_is_linked_by_the_first_write(
    deployment: Deployment, acme: OrganizationRecord, scim: Scim, admin: Admin, method: str
) -> None:
    other = deployment.connection("okta", acme)
    manual = admin.user(NAME)
    group = admin.group("Sales", manual["id"])
    taken = scim.call("POST", "/Users", {"schemas": [USER], "userName": NAME})
    assert (taken.status, taken.json["scimType"]) == (409, "uniqueness")
    assert "no identity provider manages" in taken.json["detail"]
    assert other.call("GET", "/Users").json["totalResults"] == 1
    found = scim.call("GET", f'/Users?filter=userName eq "{NAME}"').json["Resources"][0]
    assert found["id"] == manual["id"]

    if method == "PUT":
        linked = scim.call("PUT", f"/Users/{found['id']}", {**found, "externalId": "1"})
    else:
        linked = scim.patch(f"/Users/{found['id']}", {"op": "add", "path": "externalId", "value": "1"})

    assert (linked.status, linked.json["id"], linked.json["active"]) == (200, manual["id"], True)
    assert deployment.used(acme) == 1
    assert admin("GET", f"/users/{manual['id']}")["managed_by"] == {"connection": scim.uid, "idp": "generic"}
    assert (groups(scim, manual["id"]), members(scim, group)) == (["Sales"], {manual["id"]})
    # From now on it is this connection's, in lists, totals and lookups; only `active` is the admin's.
    assert [each.call("GET", "/Users?count=0").json["totalResults"] for each in (scim, other)] == [1, 0]
    assert other.call("GET", f"/Users/{manual['id']}").status == 404
    admin("PATCH", f"/users/{manual['id']}", {"display_name": "By hand"}, 409)
    delete(scim, manual)
    assert scim.user(NAME, externalId="1")["id"] == manual["id"]


def test_a_write_that_only_repeats_what_is_stored_links_as_well(scim: Scim, admin: Admin) -> None:
    manual = admin.user(NAME)
    found = scim.call("GET", f"/Users/{manual['id']}").json
    assert scim.call("PUT", f"/Users/{manual['id']}", found).status == 200
    assert admin("GET", f"/users/{manual['id']}")["managed_by"]["connection"] == scim.uid


def test_linking_somebody_inactive_and_activating_takes_the_seat(
    deployment: Deployment, acme: OrganizationRecord, scim: Scim, admin: Admin
) -> None:
    manual = admin.user(NAME, active=False)
    deployment.admin("PATCH", f"/organizations/{acme.uid}", {"seats": {"limit": 0}})
    found = scim.call("GET", f"/Users/{manual['id']}").json
    refused = scim.call("PUT", f"/Users/{manual['id']}", {**found, "active": True})
    assert (refused.status, admin("GET", f"/users/{manual['id']}")["managed_by"]) == (403, None)
    deployment.admin("PATCH", f"/organizations/{acme.uid}", {"seats": {"limit": 1}})
    assert scim.call("PUT", f"/Users/{manual['id']}", {**found, "active": True}).status == 200
    assert deployment.used(acme) == 1


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_manual_group_is_linked_by_the_first_push(scim: Scim, admin: Admin, method: str) -> None:
    by_hand, pushed = scim.user(NAME)["id"], scim.user(OTHER)["id"]
    group = admin.group("Sales", by_hand)
    taken = scim.call("POST", "/Groups", {"schemas": [GROUP], "displayName": "sales"})
    assert (taken.status, taken.json["scimType"]) == (409, "uniqueness")
    found = scim.call("GET", '/Groups?filter=displayName eq "Sales"').json["Resources"]
    assert [each["id"] for each in found] == [group]

    entries = [{"value": pushed}]
    if method == "PUT":
        body = {"schemas": [GROUP], "displayName": "Sales", "members": [{"value": by_hand}, *entries]}
        assert scim.call("PUT", f"/Groups/{group}", body).status == 200
    else:
        assert (
            scim.patch(f"/Groups/{group}", {"op": "add", "path": "members", "value": entries}).status == 204
        )

    assert members(scim, group) == {by_hand, pushed}
    assert admin.sources(by_hand) == admin.sources(pushed) == {"Sales": ["push"]}
    assert (admin("GET", f"/groups/{group}")["source"], admin("GET", f"/groups/{group}")["members"]) == (
        "push",
        2,
    )
    admin("DELETE", f"/groups/{group}/members/{by_hand}", expect=409)
    admin("PUT", f"/groups/{group}/members/{by_hand}", expect=409)
    admin("PATCH", f"/groups/{group}", {"name": "By hand"}, 409)
    admin("DELETE", f"/groups/{group}", expect=409)
    # Who was put in by hand is taken out by the push like anybody.
    body = {"schemas": [GROUP], "displayName": "Sales", "members": entries}
    assert scim.call("PUT", f"/Groups/{group}", body).status == 200
    assert members(scim, group) == {pushed}


def test_what_a_removed_connection_leaves_is_manual(
    deployment: Deployment, acme: OrganizationRecord, scim: Scim, admin: Admin
) -> None:
    user, inactive = scim.user(NAME, externalId="1")["id"], scim.user(OTHER, active=False)["id"]
    group = scim.group("Sales", (user, inactive))["id"]
    gone = scim.user("gone@acme.test", externalId="3")
    delete(scim, gone)
    other = deployment.connection("okta", acme)
    assert other.call("GET", "/Users").json["totalResults"] == 0
    used = deployment.used(acme)
    assert deployment.admin("DELETE", f"/connections/{scim.uid}").status == 204

    assert deployment.used(acme) == used == 1
    kept = admin("GET", f"/groups/{group}")
    assert (kept["source"], kept["managed_by"], kept["members"]) == ("manual", None, 2)
    assert admin.sources(user) == admin.sources(inactive) == {"Sales": ["manual"]}
    assert admin("GET", f"/users/{user}")["managed_by"] is None
    admin("DELETE", f"/groups/{group}/members/{inactive}", expect=204)
    # Another connection sees, links and pushes what was left, and brings nobody back from before.
    assert other.call("GET", "/Users?count=0").json["totalResults"] == 2
    assert members(other, group) == {user}
    found = other.call("GET", f'/Users?filter=userName eq "{NAME}"').json["Resources"][0]
    assert other.call("PUT", f"/Users/{user}", found).status == 200
    assert (
        other.patch(
            f"/Groups/{group}", {"op": "add", "path": "members", "value": [{"value": inactive}]}
        ).status
        == 204
    )
    assert members(other, group) == {user, inactive}
    assert other.user("gone@acme.test", externalId="3")["id"] != gone["id"]


# The admin's word -----------------------------------------------------------------------------------------------


def test_an_admin_deactivates_and_a_profile_update_does_not_undo_it(scim: Scim, admin: Admin) -> None:
    user = scim.user(NAME)
    assert admin("PATCH", f"/users/{user['id']}", {"active": False})["active"] is False
    assert scim.deployment.used(scim.organization) == 0
    profile = {"schemas": [USER], "userName": NAME, "displayName": "New name"}
    assert scim.call("PUT", f"/Users/{user['id']}", profile).json["active"] is False
    titled = scim.patch(f"/Users/{user['id']}", {"op": "replace", "value": {"title": "New"}})
    assert titled.json["active"] is False
    assert scim.call("PUT", f"/Users/{user['id']}", {**profile, "active": True}).json["active"] is True
    assert scim.deployment.used(scim.organization) == 1
    # Nor may an admin go over what is bought.
    other = scim.user(OTHER, active=False)
    path = f"/organizations/{scim.organization.uid}"
    assert scim.deployment.admin("PATCH", path, {"seats": {"limit": 1}}).status == 200
    refused = scim.deployment.admin("PATCH", f"{path}/users/{other['id']}", {"active": True})
    assert (refused.status, refused.json["message"][:22]) == (403, "You're over capacity: ")
    kinds = [kind for kind, _ in scim.deployment.events(scim.organization)]
    assert kinds == [
        "user.created", "user.deactivated", "user.updated", "user.updated", "user.reactivated", "user.created",
    ]  # fmt: skip


# When the database cannot be written ----------------------------------------------------------------------------


def unavailable(scim: Scim, method: str, path: str, body: Any, says: str) -> None:
    """The request is answered 503, as SCIM, with when to come back."""
    answer = scim.call(method, path, body)
    assert answer.status == 503, f"{method} {path}: {answer.text}"
    assert (answer.json["schemas"], answer.json["status"]) == ([ERROR], "503")
    assert says in answer.json["detail"]
    assert "Nothing was changed" in answer.json["detail"]
    headers = scim.deployment.last_headers
    assert headers["Content-Type"].startswith("application/scim+json")
    assert int(headers["Retry-After"]) > 0


def writes(user: dict[str, Any], group: str) -> list[tuple[str, str, Any]]:
    """Every kind of write."""
    patch = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
    leaving = [{"op": "replace", "value": {"active": False}}]
    inside = [{"op": "add", "path": "members", "value": [{"value": user["id"]}]}]
    return [
        ("POST", "/Users", {"schemas": [USER], "userName": OTHER, "emails": [{"value": OTHER}]}),
        ("PUT", f"/Users/{user['id']}", {**user, "title": "Changed"}),
        ("PATCH", f"/Users/{user['id']}", {"schemas": [patch], "Operations": leaving}),
        ("DELETE", f"/Users/{user['id']}", None),
        ("POST", "/Groups", {"schemas": [GROUP], "displayName": "New", "members": [{"value": user["id"]}]}),
        ("PUT", f"/Groups/{group}", {"schemas": [GROUP], "displayName": "Changed"}),
        ("PATCH", f"/Groups/{group}", {"schemas": [patch], "Operations": inside}),
        ("DELETE", f"/Groups/{group}", None),
    ]  # fmt: skip


def stored(deployment: Deployment) -> list[Any]:
    """Everything that a write could have touched."""
    tables = ("organizations", "users", "emails", "groups", "grants", "waiting_members", "events", "tallies")
    database = deployment.gateway.store.database
    return [sorted(map(repr, database.all(f"SELECT * FROM {table}"))) for table in tables]


@contextmanager
def locked(deployment: Deployment) -> Iterator[None]:
    """Another process holds the write lock, longer than anybody waits here."""
    database = deployment.gateway.store.database
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        database.run("PRAGMA busy_timeout = 50")
        yield
        other.execute("ROLLBACK")
    database.run("PRAGMA busy_timeout = 5000")


@contextmanager
def read_only(deployment: Deployment) -> Iterator[None]:
    """The file cannot be written."""
    deployment.gateway.store.database.run("PRAGMA query_only = 1")
    yield
    deployment.gateway.store.database.run("PRAGMA query_only = 0")


@contextmanager
def full(deployment: Deployment) -> Iterator[None]:
    """The disk is full: no page more than there are, and those that there are full as well."""
    database = deployment.gateway.store.database
    with database.transaction():
        database.run("CREATE TABLE ballast (data)")
        database.run("INSERT INTO ballast VALUES (zeroblob(3500))")
    database.run(f"PRAGMA max_page_count = {database.one('PRAGMA page_count')[0]}")
    yield
    database.run("PRAGMA max_page_count = 1000000")


@pytest.mark.slow
@pytest.mark.sqlite
@pytest.mark.parametrize(("state", "says"), [(locked, "busy"), (read_only, "read-only")])
def test_no_write_is_half_done_when_the_database_is_shut(
    deployment: Deployment, scim: Scim, state: Callable[..., Any], says: str
) -> None:
    user, group = scim.user(NAME), scim.group()["id"]
    scim.user("user2@acme.test")
    deployment.gateway.publisher.publish()  # organization.created, which the worker would write at any time
    before = stored(deployment)
    # Whoever waits for a lock waits at the same place, whatever it is that is written.
    for method, path, body in writes(user, group)[:: 4 if state is locked else 1]:
        with state(deployment):
            unavailable(scim, method, path, body, says)
    with state(deployment):
        # Reading goes on, pages behind a bookmark as well.
        for path in (
            "/Users",
            "/Users?count=1",
            "/Users?startIndex=2&count=1",
            f"/Users/{user['id']}",
            "/Groups",
        ):
            assert scim.call("GET", path).status == 200, path
    with state(deployment):
        answer = deployment.admin("POST", f"/organizations/{scim.organization.uid}/groups", {"name": "New"})
        assert (answer.status, answer.json["code"]) == (503, 503)
        assert deployment.last_headers["Retry-After"]
    with state(deployment):
        assert scim.call("GET", f"/Users/{user['id']}", token="pgw_wrong").status == 401
    assert stored(deployment) == before
    # Once it can be written again, every one of them is done.
    for method, path, body in writes(user, group):
        expected = {"POST": 201, "PUT": 200, "DELETE": 204, "PATCH": 204 if "Groups" in path else 200}[method]
        if (method, path) == ("PATCH", f"/Groups/{group}"):
            body = {**body, "Operations": [{"op": "replace", "value": {"displayName": "Again"}}]}
        assert scim.call(method, path, body).status == expected, f"{method} {path}"


@pytest.mark.sqlite
def test_a_full_disk_is_told_and_leaves_nothing_half_done(deployment: Deployment, scim: Scim) -> None:
    user = scim.user(NAME)
    with full(deployment):
        refused = None
        for number in range(50):
            before = stored(deployment)
            body = {
                "schemas": [USER],
                "userName": f"more{number}@acme.test",
                "active": False,
                "title": "x" * 2000,
            }
            answer = scim.call("POST", "/Users", body)
            if answer.status != 201:
                refused = body
                break
        assert refused
        assert stored(deployment) == before
        unavailable(scim, "POST", "/Users", refused, "disk is full")
        assert stored(deployment) == before
        assert scim.call("GET", f"/Users/{user['id']}").status == 200
    assert scim.call("POST", "/Users", refused).status == 201


@pytest.mark.slow
@pytest.mark.sqlite
def test_a_database_that_stays_busy_is_waited_for_as_long_as_is_promised(
    deployment: Deployment, scim: Scim
) -> None:
    """Somebody who holds the lock for a moment hinders nobody; who holds on to it costs the busy timeout, once."""
    path = deployment.gateway.store.database.path
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = scim.call("POST", "/Users", {"schemas": [USER], "userName": NAME})
        assert answer.status == 503
        assert answer.seconds > 4.5
        check_seconds(answer.seconds, 8)  # more would be waiting twice
        other.execute("ROLLBACK")
    assert scim.user(NAME)["userName"] == NAME
