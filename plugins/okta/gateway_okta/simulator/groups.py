"""Okta's actions on one group: match, create, rename, push members, delete."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway import Json
from gateway.simulation import ExpectationError, SimulatedGroup, SimulatedUser, expect_status, patch_message
from gateway_okta.simulator import expectations, requests
from gateway_okta.simulator.client import Client

# Match and create -------------------------------------------------------------------------------------------------


def expect_no_group(client: Client, group: SimulatedGroup) -> str:
    if _find(client, group.label) is not None:
        raise ExpectationError("no group of this name yet")
    return "There is no group of this name yet."


def create(client: Client, group: SimulatedGroup) -> str:
    created = expectations.expect_resource(client.post("/Groups", requests.new_group(group.label)), 201)
    expectations.expect_value(created, "displayName", group.label)
    group.id = created["id"]
    return f"Created with the id {group.id}."


def match_by_name(client: Client, group: SimulatedGroup) -> str:
    found = _find(client, group.label)
    if found is None:
        raise ExpectationError("the group that was created before")
    expectations.expect_id(found, group.id)
    return "Found by its name."


def delete(client: Client, group: SimulatedGroup) -> str:
    """Delete the group, as when the admin unlinks it and chooses to delete it."""
    expect_status(client.delete(f"/Groups/{group.id}"), 204)
    expectations.expect_error(client.get(f"/Groups/{group.id}"), 404)
    return "Gone."


# The style of apps from the catalogue: PATCH ----------------------------------------------------------------------


def patch_same_name(client: Client, group: SimulatedGroup) -> str:
    _patch(client, group, requests.rename(group.id, group.label))
    _expect_name(client, group)
    return "The name with the read-only id was taken."


def patch_name(client: Client, group: SimulatedGroup) -> str:
    group.label = f"{group.label} Renamed"
    _patch(client, group, requests.rename(group.id, group.label))
    _expect_name(client, group)
    return f"The group is called {group.label}."


def patch_add_members(client: Client, group: SimulatedGroup) -> str:
    """Add all but the last, who is added while the first is removed."""
    users = group.known_users()
    added = users[:-1] or users
    _patch(client, group, requests.add_members(_references(added)))
    return _expect_members(client, group, added)


def patch_remove_and_add(client: Client, group: SimulatedGroup) -> str:
    """Remove and add in one message. A removal that is confirmed and not made leaves people their access."""
    users = group.known_users()
    operations = [requests.remove_member(user.id) for user in users[:1]]
    if users[1:]:
        operations.append(requests.add_members(_references(users[-1:])))
    _patch(client, group, *operations)
    return _expect_members(client, group, users[1:])


def patch_no_members(client: Client, group: SimulatedGroup) -> str:
    _patch(client, group, requests.replace_members([]))
    return _expect_members(client, group, [])


def patch_all_members(client: Client, group: SimulatedGroup) -> str:
    _patch(client, group, requests.replace_members(_references(group.known_users())))
    return _expect_members(client, group, group.known_users())


# The style of apps made with the wizard: PUT ----------------------------------------------------------------------


def put_all_members(client: Client, group: SimulatedGroup) -> str:
    return _put(client, group, group.known_users())


def put_without_first_member(client: Client, group: SimulatedGroup) -> str:
    return _put(client, group, group.known_users()[1:])


def put_no_members(client: Client, group: SimulatedGroup) -> str:
    return _put(client, group, [])


def put_name(client: Client, group: SimulatedGroup) -> str:
    group.label = f"{group.label} Renamed"
    outcome = _put(client, group, group.known_users())
    _expect_name(client, group)
    return outcome


# Requests of which the actions are made ---------------------------------------------------------------------------


def _find(client: Client, name: str) -> Json | None:
    total, found = expectations.expect_list(client.get(requests.group_named(name)))
    if not all(expectations.same_name(group.get("displayName"), name) for group in found):
        raise ExpectationError(f"no group but {name}: the filter was not followed")
    if total != len(found):
        raise ExpectationError("as many groups as totalResults says")
    return found[0] if found else None


def _patch(client: Client, group: SimulatedGroup, *operations: Json) -> None:
    expect_status(client.patch(f"/Groups/{group.id}", patch_message(*operations)), 200, 204)


def _put(client: Client, group: SimulatedGroup, users: Sequence[SimulatedUser]) -> str:
    body = requests.whole_group(group.label, _references(users))
    expect_status(client.put(f"/Groups/{group.id}", body), 200, 204)
    return _expect_members(client, group, users)


def _references(users: Iterable[SimulatedUser]) -> list[Json]:
    return [{"value": user.id, "display": user.label} for user in users]


def _fetch(client: Client, group: SimulatedGroup) -> Json:
    found = expectations.expect_resource(client.get(f"/Groups/{group.id}"), 200)
    expectations.expect_id(found, group.id)
    return found


def _expect_name(client: Client, group: SimulatedGroup) -> None:
    expectations.expect_value(_fetch(client, group), "displayName", group.label)


def _expect_members(client: Client, group: SimulatedGroup, users: Iterable[SimulatedUser]) -> str:
    wanted = {user.id for user in users}
    found = expectations.expect_members(_fetch(client, group))
    if missing := wanted - found:
        raise ExpectationError(f"{_describe_users(missing)} to be a member too: somebody was not added")
    if extra := found - wanted:
        raise ExpectationError(f"{_describe_users(extra)} to be no member any more: somebody was not removed")
    return f"Its members are those that it should have: {len(wanted)}."


def _describe_users(ids: set[str]) -> str:
    return f"the user {min(ids)}" if len(ids) == 1 else f"the user {min(ids)} and {len(ids) - 1} more"
