"""Okta's conversations about one group: match, create, and push its members."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway import Json
from gateway.simulation import Actor
from gateway_okta.simulator import checks, wire
from gateway_okta.simulator.person import Person
from gateway_okta.simulator.scenes import Line


@dataclass
class Group(Actor):
    """A group of Okta's directory. Only people whom the server knows can be pushed as its members."""

    people: Sequence[Person] = ()

    def known(self) -> list[Person]:
        return [person for person in self.people if person.id and not person.lost]


# Match and create -------------------------------------------------------------------------------------------


def match(line: Line, group: Group) -> str:
    if _find(line, group.label) is not None:
        raise checks.Unmet("no group of this name yet")
    return "There is no group of this name yet."


def create(line: Line, group: Group) -> str:
    created = checks.resource(line.post("/Groups", wire.new_group(group.label)), 201)
    checks.equal(created, "displayName", group.label)
    group.id = created["id"]
    return f"Created with the id {group.id}."


def match_again(line: Line, group: Group) -> str:
    found = _find(line, group.label)
    if found is None:
        raise checks.Unmet("the group that was created before")
    checks.same_id(found, group.id)
    return "Found by its name."


def delete(line: Line, group: Group) -> str:
    """Only where the admin unlinks a group and says that it shall go."""
    checks.status(line.delete(f"/Groups/{group.id}"), 204)
    checks.error(line.get(f"/Groups/{group.id}"), 404)
    return "Gone."


# The style of apps from the catalogue: PATCH ----------------------------------------------------------------


def repeat_name(line: Line, group: Group) -> str:
    _patch(line, group, wire.rename(group.id, group.label))
    _expect_name(line, group)
    return "The name with the read-only id was taken."


def rename(line: Line, group: Group) -> str:
    group.label = f"{group.label} Renamed"
    _patch(line, group, wire.rename(group.id, group.label))
    _expect_name(line, group)
    return f"The group is called {group.label}."


def add(line: Line, group: Group) -> str:
    """All but the last, who is added while the first is removed."""
    people = group.known()
    joining = people[:-1] or people
    _patch(line, group, wire.add_members(_references(joining)))
    return _expect_members(line, group, joining)


def remove_and_add(line: Line, group: Group) -> str:
    """Both in one message. A removal that is answered well but not made lets people keep their access."""
    people = group.known()
    operations = [wire.remove_member(person.id) for person in people[:1]]
    if people[1:]:
        operations.append(wire.add_members(_references(people[-1:])))
    _patch(line, group, *operations)
    return _expect_members(line, group, people[1:])


def push_nobody(line: Line, group: Group) -> str:
    _patch(line, group, wire.replace_members([]))
    return _expect_members(line, group, [])


def push_everybody(line: Line, group: Group) -> str:
    _patch(line, group, wire.replace_members(_references(group.known())))
    return _expect_members(line, group, group.known())


# The style of apps made with the wizard: PUT ----------------------------------------------------------------


def put_everybody(line: Line, group: Group) -> str:
    return _put(line, group, group.known())


def put_without_the_first(line: Line, group: Group) -> str:
    return _put(line, group, group.known()[1:])


def put_nobody(line: Line, group: Group) -> str:
    return _put(line, group, [])


def put_another_name(line: Line, group: Group) -> str:
    group.label = f"{group.label} Renamed"
    outcome = _put(line, group, group.known())
    _expect_name(line, group)
    return outcome


# Pieces -----------------------------------------------------------------------------------------------------


def _find(line: Line, name: str) -> Json | None:
    total, found = checks.listing(line.get(wire.group_named(name)))
    if not all(checks.same_name(group.get("displayName"), name) for group in found):
        raise checks.Unmet(f"no group but {name}: the filter was not followed")
    if total != len(found):
        raise checks.Unmet("as many groups as totalResults says")
    return found[0] if found else None


def _patch(line: Line, group: Group, *operations: Json) -> None:
    checks.status(line.patch(f"/Groups/{group.id}", wire.patch(*operations)), 200, 204)


def _put(line: Line, group: Group, people: Sequence[Person]) -> str:
    body = wire.whole_group(group.label, _references(people))
    checks.status(line.put(f"/Groups/{group.id}", body), 200, 204)
    return _expect_members(line, group, people)


def _references(people: Iterable[Person]) -> list[Json]:
    return [{"value": person.id, "display": person.user_name} for person in people]


def _fetch(line: Line, group: Group) -> Json:
    found = checks.resource(line.get(f"/Groups/{group.id}"), 200)
    checks.same_id(found, group.id)
    return found


def _expect_name(line: Line, group: Group) -> None:
    checks.equal(_fetch(line, group), "displayName", group.label)


def _expect_members(line: Line, group: Group, people: Iterable[Person]) -> str:
    wanted = {person.id for person in people}
    found = checks.members(_fetch(line, group))
    if missing := wanted - found:
        raise checks.Unmet(f"{_people(missing)} to be a member too: somebody was not added")
    if extra := found - wanted:
        raise checks.Unmet(f"{_people(extra)} to be no member any more: somebody was not removed")
    return f"Its members are those that it should have: {len(wanted)}."


def _people(ids: set[str]) -> str:
    return f"the user {min(ids)}" if len(ids) == 1 else f"the user {min(ids)} and {len(ids) - 1} more"
