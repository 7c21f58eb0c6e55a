"""JumpCloud, played against any SCIM server.

What happens is documented, the removal of a member by its value reported. No recording is public, so the lookups and
all other bodies are plain RFC 7644. What only looks whether the server did it is the simulator's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway import GROUP_URN, USER_URN, Json
from gateway.simulation import (
    Act,
    Actor,
    PlainLine,
    Play,
    Scene,
    Session,
    Simulator,
    Step,
    Unmet,
    expect_equal,
)

#: The integration that any application with SCIM can be set up with.
CUSTOM = "custom"

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


@dataclass
class Person(Actor):
    given: str = ""
    family: str = ""

    def body(self, active: bool) -> Json:
        return {
            "schemas": [USER_URN],
            "userName": self.label,
            "name": {"givenName": self.given, "familyName": self.family},
            "displayName": f"{self.given} {self.family}",
            "emails": [{"value": self.label, "type": "work", "primary": True}],
            "active": active,
        }


@dataclass
class Group(Actor):
    people: Sequence[Person] = ()


# Activation -------------------------------------------------------------------------------------------------


def activate(line: PlainLine, group: Group) -> str:
    """The test user and the test group, from the first to the last; both are gone afterwards (documented)."""
    (person,) = group.people
    look_up(line, person)
    create(line, person)
    update(line, person)
    make(line, group)
    line.call("DELETE", f"/Groups/{group.id}", 204)
    line.call("DELETE", f"/Users/{person.id}", 204)
    line.call("GET", f"/Users/{person.id}", 404)
    if line.found("Users", "userName", person.label) is not None:
        raise Unmet("nobody of this name, since the user was deleted")
    return "The test user and the test group came and went."


# People -----------------------------------------------------------------------------------------------------


def look_up(line: PlainLine, person: Person) -> str:
    found = line.found("Users", "userName", person.label)
    person.id = found["id"] if found else ""
    return "There already." if found else "Nobody has this user name yet."


def create(line: PlainLine, person: Person) -> str:
    if person.id:
        return _put(line, person, True)
    person.id = line.resource("POST", "/Users", 200, 201, body=person.body(True))["id"]
    return f"Created with the id {person.id}."


def be_refused(line: PlainLine, person: Person) -> str:
    detail = line.call("POST", "/Users", 403, body=person.body(True)).get("detail")
    if line.found("Users", "userName", person.label) is not None:
        raise Unmet("nobody of this name, since the create was refused")
    return f'Refused, and nothing was stored. The server says: "{detail}"'


def update(line: PlainLine, person: Person) -> str:
    person.family = f"New{person.family}"
    _put(line, person, True)
    name = line.resource("GET", f"/Users/{person.id}", 200).get("name") or {}
    expect_equal(name.get("familyName"), person.family, "name.familyName")
    return "The family name is the new one."


def deactivate(line: PlainLine, person: Person) -> str:
    _put(line, person, False)
    found = line.found("Users", "userName", person.label)
    if found is None:
        raise Unmet("the inactive user to be found still")
    expect_equal(found.get("active"), False, "active")
    return "Inactive, and still found."


def come_back(line: PlainLine, person: Person) -> str:
    found = line.found("Users", "userName", person.label)
    expect_equal(found and found["id"], person.id, "the id of the inactive user")
    _put(line, person, True)
    return "Active again, with the same id."


# Groups -----------------------------------------------------------------------------------------------------


def make(line: PlainLine, group: Group) -> str:
    """A group is looked for by its name, and taken over where there is one; an empty one is not made (documented)."""
    if line.found("Groups", "displayName", group.label) is not None:
        raise Unmet("no group of this name yet")
    people = _known(group)
    body = {"schemas": [GROUP_URN], "displayName": group.label, "members": _references(people)}
    group.id = line.resource("POST", "/Groups", 200, 201, body=body)["id"]
    return _expect_members(line, group, people)


def take_out(line: PlainLine, group: Group) -> str:
    """By a value (reported). The others must stay: by the RFC's reading of this message nobody would."""
    people = _known(group)
    _patch(line, group, {"op": "remove", "path": "members", "value": _references(people[:1])})
    return _expect_members(line, group, people[1:])


def add_again(line: PlainLine, group: Group) -> str:
    people = _known(group)
    _patch(line, group, {"op": "add", "path": "members", "value": _references(people[:1])})
    return _expect_members(line, group, people)


def rename(line: PlainLine, group: Group) -> str:
    group.label = f"{group.label} Renamed"
    _patch(line, group, {"op": "replace", "path": "displayName", "value": group.label})
    found = line.found("Groups", "displayName", group.label)
    expect_equal(found and found["id"], group.id, "the id of the renamed group")
    return f"The group is called {group.label}."


# Pieces -----------------------------------------------------------------------------------------------------


def _put(line: PlainLine, person: Person, active: bool) -> str:
    answered = line.resource("PUT", f"/Users/{person.id}", 200, body=person.body(active))
    expect_equal(answered["id"], person.id, "id")
    expect_equal(answered.get("active"), active, "active")
    return "There already, and taken over."


def _patch(line: PlainLine, group: Group, operation: Json) -> None:
    line.call("PATCH", f"/Groups/{group.id}", 200, 204, body={"schemas": [PATCH], "Operations": [operation]})


def _known(group: Group) -> list[Person]:
    return [person for person in group.people if person.id and not person.lost]


def _references(people: Sequence[Person]) -> list[Json]:
    return [{"value": person.id} for person in people]


def _expect_members(line: PlainLine, group: Group, people: Sequence[Person]) -> str:
    expect_equal(sorted(line.members(group.id)), sorted(person.id for person in people), "members")
    return f"Its members are those that it should have: {len(people)}."


# The play ---------------------------------------------------------------------------------------------------

ACTIVATE = (Scene("activate", activate, vital=True), Scene("activate once more", activate))
CREATE = (Scene("look up", look_up), Scene("create", create, vital=True), Scene("update", update))
PUSH = (
    Scene("make with its members", make, vital=True),
    Scene("remove the first by value", take_out),
    Scene("add the first again", add_again),
    Scene("rename", rename),
)


def program(play: Play) -> list[Act]:
    """The acts in their order. `steps` counts them, `play` plays them, so that both always agree."""
    if play.style not in ("", CUSTOM):
        raise ValueError(f"JumpCloud has the style {CUSTOM}, not {play.style}.")
    people = [
        _person(play, f"user{number}", str(number)) for number in range(1, play.users + play.refused + 1)
    ]
    people, refused = people[: play.users], people[play.users :]
    groups = [_group(play, f"Group {number}", people) for number in range(1, play.groups + 1)]
    test = _group(play, "Test group", [_person(play, "test", "Test")])
    leave = Scene("deactivate", deactivate)
    return [
        Act("Activate", ACTIVATE, [test]),
        Act("Create", CREATE, people),
        Act("Over capacity", (Scene("be refused for want of a seat", be_refused),), refused),
        Act("Groups", PUSH, groups if people else []),
        Act("Deactivate and come back", (leave, Scene("come back", come_back)), people),
        Act("Deactivate", (leave,), people[-1:] if play.keep_active else people),
    ]


def _person(play: Play, name: str, number: str) -> Person:
    name = f"{name}.{play.run}" if play.run else name
    return Person(f"{name}@{play.domain}", given=f"Given{number}", family=f"Family{number}")


def _group(play: Play, name: str, people: Sequence[Person]) -> Group:
    return Group(f"{name} {play.run}".strip(), people=people)


def play(session: Session, play: Play) -> Iterator[Step]:
    """Play all acts, one after the other. Within an act, as many conversations at a time as `play` says."""
    for act in program(play):
        yield from act.play(session, play.concurrency)


def steps(play: Play) -> int:
    """How many steps there are when all goes well; fewer are taken where a conversation could not go on."""
    return sum(act.steps for act in program(play))


SIMULATOR = Simulator(styles=(CUSTOM,), play=play, steps=steps)
