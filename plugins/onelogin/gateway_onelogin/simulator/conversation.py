"""OneLogin, played against any SCIM server: the calls that were captured, in their order.

Not captured, and told as its documents let expect: how somebody comes back, and the DELETE of a user. What only
looks whether the server did it (a group or user read by its id) is the simulator's own.
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

#: What happens to people who are deleted in OneLogin is the admin's choice (documented).
SUSPEND, DELETE = "suspend", "delete"

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
NOBODY = "never-existing-user"
PAGE = 100


@dataclass
class Group(Actor):
    people: Sequence[Person] = ()


@dataclass
class Person(Actor):
    given: str = ""
    family: str = ""
    groups: Sequence[Group] = ()

    def body(self, active: bool) -> Json:
        """What the template makes of somebody; PUT sends all of it again."""
        return {
            "schemas": [USER_URN],
            "userName": self.label,
            "name": {"givenName": self.given, "familyName": self.family},
            "emails": [{"value": self.label, "type": "work", "primary": True}],
            "active": active,
        }


# People -----------------------------------------------------------------------------------------------------


def connect(line: PlainLine, _: Actor) -> str:
    if line.found("Users", "userName", NOBODY) is not None:
        raise Unmet("nobody of this name")
    return "Nobody has that name, which shows that the server answers."


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
    """Every change of a user is followed by the groups and the memberships once more (captured)."""
    person.family = f"New{person.family}"
    _put(line, person, True)
    _groups(line)
    for group in person.groups:
        if group.id:
            _change_members(line, group, "add", person)
    name = line.resource("GET", f"/Users/{person.id}", 200).get("name") or {}
    expect_equal(name.get("familyName"), person.family, "name.familyName")
    return "The family name is the new one."


def suspend(line: PlainLine, person: Person) -> str:
    _leave_groups(line, person)
    _put(line, person, False)
    found = line.found("Users", "userName", person.label)
    if found is None:
        raise Unmet("the inactive user to be found still")
    expect_equal(found.get("active"), False, "active")
    return "In no group, inactive, and still found."


def come_back(line: PlainLine, person: Person) -> str:
    found = line.found("Users", "userName", person.label)
    expect_equal(found and found["id"], person.id, "the id of the inactive user")
    _put(line, person, True)
    return "Active again, with the same id."


def delete(line: PlainLine, person: Person) -> str:
    _leave_groups(line, person)
    line.call("DELETE", f"/Users/{person.id}", 204)
    line.call("GET", f"/Users/{person.id}", 404)
    return "Gone."


# Groups -----------------------------------------------------------------------------------------------------


def make(line: PlainLine, group: Group) -> str:
    """A group that is not among those of the server is made, without a word of members (captured)."""
    known = {each.get("displayName"): each["id"] for each in _groups(line)}
    if group.label in known:
        raise Unmet("no group of this name yet")
    body = {"displayName": group.label, "schemas": [GROUP_URN]}
    group.id = line.resource("POST", "/Groups", 200, 201, body=body)["id"]
    return f"Made with the id {group.id}."


def fill(line: PlainLine, group: Group) -> str:
    people = _known(group)
    for person in people:
        _change_members(line, group, "add", person)
    return _expect_members(line, group, people)


def take_out(line: PlainLine, group: Group) -> str:
    """The others must stay: by the RFC's reading of this message nobody would."""
    people = _known(group)
    for person in people[:1]:
        _change_members(line, group, "remove", person)
    return _expect_members(line, group, people[1:])


# Pieces -----------------------------------------------------------------------------------------------------


def _put(line: PlainLine, person: Person, active: bool) -> str:
    answered = line.resource("PUT", f"/Users/{person.id}", 200, body=person.body(active))
    expect_equal(answered["id"], person.id, "id")
    expect_equal(answered.get("active"), active, "active")
    return "There already, and taken over."


def _groups(line: PlainLine) -> list[Json]:
    """All groups, page by page, as OneLogin reads them before it changes memberships."""
    groups: list[Json] = []
    while page := line.listed(f"/Groups?count={PAGE}&startIndex={len(groups) + 1}"):
        groups += page
        if len(page) < PAGE:
            break
    return groups


def _change_members(line: PlainLine, group: Group, op: str, person: Person) -> None:
    change = {"value": [{"value": person.id}], "op": op, "path": "members"}
    line.call("PATCH", f"/Groups/{group.id}", 200, 204, body={"schemas": [PATCH], "Operations": [change]})


def _leave_groups(line: PlainLine, person: Person) -> None:
    for group in person.groups:
        if group.id:
            _change_members(line, group, "remove", person)
            if person.id in line.members(group.id):
                raise Unmet(f"{person.label} to be no member of {group.label} any more")


def _known(group: Group) -> list[Person]:
    return [person for person in group.people if person.id and not person.lost]


def _expect_members(line: PlainLine, group: Group, people: Sequence[Person]) -> str:
    expect_equal(sorted(line.members(group.id)), sorted(person.id for person in people), "members")
    return f"Its members are those that it should have: {len(people)}."


# The play ---------------------------------------------------------------------------------------------------

CREATE = (Scene("look up", look_up), Scene("create", create, vital=True))
MAKE = (Scene("make", make, vital=True),)
FILL = (Scene("add each", fill), Scene("remove the first by value", take_out), Scene("add each again", fill))


def program(play: Play) -> list[Act]:
    """The acts in their order. `steps` counts them, `play` plays them, so that both always agree."""
    style = play.style or SUSPEND
    if style not in (SUSPEND, DELETE):
        raise ValueError(f"OneLogin has the styles {SUSPEND} and {DELETE}, not {style}.")
    groups = [Group(f"Group {number} {play.run}".strip()) for number in range(1, play.groups + 1)]
    people = [_person(play, number, groups) for number in range(1, play.users + play.refused + 1)]
    people, refused = people[: play.users], people[play.users :]
    for group in groups:
        group.people = people
    back = (Scene("suspend", suspend), Scene("come back", come_back)) if style == SUSPEND else ()
    leave = Scene(style, suspend if style == SUSPEND else delete)
    return [
        Act("Enable the API connection", (Scene("look up nobody", connect),), [Actor("")]),
        Act("Create", CREATE, people),
        Act("Over capacity", (Scene("be refused for want of a seat", be_refused),), refused),
        Act("Groups", MAKE + FILL if people else MAKE, groups),
        Act("Update", (Scene("update", update), *back), people),
        Act("Leave", (leave,), people[-1:] if play.keep_active else people),
    ]


def _person(play: Play, number: int, groups: Sequence[Group]) -> Person:
    name = f"user{number}.{play.run}" if play.run else f"user{number}"
    return Person(f"{name}@{play.domain}", given=f"Given{number}", family=f"Family{number}", groups=groups)


def play(session: Session, play: Play) -> Iterator[Step]:
    """Play all acts, one after the other. Within an act, as many conversations at a time as `play` says."""
    for act in program(play):
        yield from act.play(session, play.concurrency)


def steps(play: Play) -> int:
    """How many steps there are when all goes well; fewer are taken where a conversation could not go on."""
    return sum(act.steps for act in program(play))


SIMULATOR = Simulator(styles=(SUSPEND, DELETE), play=play, steps=steps)
