"""Microsoft Entra ID, played against any SCIM server, in one of its two dialects."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gateway import ENTERPRISE_URN
from gateway.simulation import Actor, Play, Scene, Session, Simulator, Step, Unmet
from gateway_entra.simulator import wire
from gateway_entra.simulator.scenes import Act, Talk, dig, expect

STYLES = (wire.LEGACY, wire.RFC)
WRONG_TOKEN = "not-a-token-of-this-connection"  # noqa: S105 - opens nothing

MOBILE = 'phoneNumbers[type eq "mobile"].value'
LOCALITY = 'addresses[type eq "work"].locality'
POSTAL_CODE = 'addresses[type eq "work"].postalCode'


@dataclass
class Person(Actor):
    """A user in Entra. The object id follows from the name, so that a play can be repeated."""

    style: str = wire.LEGACY
    family: str = ""
    manager: Person | None = None

    @property
    def object_id(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, self.label))

    def created(self) -> dict[str, Any]:
        return wire.new_user(self.label, "Given", self.family, self.object_id, "Sales")

    def change(self, talk: Talk, values: dict[str, Any], op: str = "replace") -> dict[str, Any]:
        return self.patch(talk, wire.change(self.style, values, op))

    def patch(self, talk: Talk, body: Any) -> dict[str, Any]:
        """Patch, for which 204 is as good as 200, and read what became of it."""
        talk.call("PATCH", f"/Users/{self.id}", body, 200, 204)
        return talk.resource("GET", f"/Users/{self.id}")


@dataclass
class Group(Actor):
    """A group in Entra, with people whom the server knows."""

    style: str = wire.LEGACY
    people: Sequence[Person] = ()

    def known(self) -> list[Person]:
        return [person for person in self.people if person.id and not person.lost]

    def patch(self, talk: Talk, body: Any) -> None:
        talk.call("PATCH", f"/Groups/{self.id}", body, 200, 204)


# Test Connection ----------------------------------------------------------------------------------------------


def test_users(talk: Talk, actor: Actor) -> str:
    if talk.found(wire.user_named(str(uuid.uuid4()))):
        raise Unmet("nobody: the name was made up")
    return "An empty list, as it should be."


def test_groups(talk: Talk, actor: Actor) -> str:
    if talk.found(wire.group_named(str(uuid.uuid4()))):
        raise Unmet("no group: the name was made up")
    return "An empty list, as it should be."


def wrong_token(talk: Talk, actor: Actor) -> str:
    path = wire.user_named(str(uuid.uuid4()))
    return f'Refused: "{talk.refusal("GET", path, None, 401, token=WRONG_TOKEN)}"'


# People -------------------------------------------------------------------------------------------------------


def look_up(talk: Talk, person: Person) -> str:
    found = talk.found(wire.user_named(person.label))
    person.id = found["id"] if found else ""
    return "There already." if found else "Nobody has this name yet."


def create(talk: Talk, person: Person) -> str:
    if person.id:
        talk.call("PATCH", f"/Users/{person.id}", wire.change(person.style, {"active": True}), 200, 204)
        return "Linked to the user who was there."
    person.id = talk.resource("POST", "/Users", person.created(), status=201)["id"]
    return f"Created with the id {person.id}."


def read_back(talk: Talk, person: Person) -> str:
    document = talk.resource("GET", f"/Users/{person.id}")
    expect(document, "userName", person.label)
    expect(document, "active", True)
    return "The server holds what Entra sent."


def find_in_capitals(talk: Talk, person: Person) -> str:
    if dig(talk.found(wire.user_named(person.label.upper())), "id") != person.id:
        raise Unmet("the user: letter case does not tell user names apart (RFC 7643, 4.1.1)")
    return "Found in capitals too."


def create_again(talk: Talk, person: Person) -> str:
    return f'Refused: "{talk.refusal("POST", "/Users", person.created(), 409)}"'


def be_refused(talk: Talk, person: Person) -> str:
    detail = talk.refusal("POST", "/Users", person.created(), 403)
    if talk.found(wire.user_named(person.label)):
        raise Unmet("nobody of this name, since the create was refused")
    return f'Refused, and nothing was stored. The server says: "{detail}"'


def update(talk: Talk, person: Person) -> str:
    person.family = f"New{person.family}"
    values = {"name.familyName": person.family, "displayName": f"Given {person.family}", "title": "Guide"}
    address = f"new.{person.label}"
    values |= {'emails[type eq "work"].value': address, f"{ENTERPRISE_URN}:department": "Tours"}
    document = person.change(talk, values)
    expect(document, "name|familyName", person.family)
    expect(document, "title", "Guide")
    expect(document, "emails|value", address)
    expect(document, f"{ENTERPRISE_URN}|department", "Tours")
    return "All of it is the new one."


def fill(talk: Talk, person: Person) -> str:
    """Nothing is there that the paths could select; two of them fill one address."""
    document = person.change(talk, {MOBILE: "+1 555 0100", LOCALITY: "Here", POSTAL_CODE: "1000"}, "add")
    expect(document, "phoneNumbers|value", "+1 555 0100")
    expect(document, "phoneNumbers|type", "mobile")
    expect(document, "addresses|locality", "Here")
    expect(document, "addresses|postalCode", "1000")
    expect(document, "addresses|type", "work")
    return "A telephone number and one address were made."


def clear(talk: Talk, person: Person) -> str:
    """Empty text, as Entra's own test of a server sends it; what is gone may be shown as empty."""
    document = person.change(talk, {"title": "", MOBILE: ""})
    for name in ("title", "phoneNumbers|value"):
        if dig(document, name):
            raise Unmet(f"{name} to be gone, and not {dig(document, name)!r}")
    return "What was emptied is gone."


def set_manager(talk: Talk, person: Person) -> str:
    """Sent as bare text, and needed back as an object: Entra cannot read a text there (reported)."""
    wanted = person.manager.id if person.manager and person.manager.id else person.id
    document = person.patch(talk, wire.manager(person.style, wanted))
    expect(document, f"{ENTERPRISE_URN}|manager|value", wanted)
    return "The manager came back as an object."


def disable(talk: Talk, person: Person) -> str:
    expect(person.change(talk, {"active": False}), "active", False)
    found = talk.found(wire.user_named(person.label))
    if dig(found, "id") != person.id:
        raise Unmet("the disabled user to be found still, until it is deleted for good")
    return "Inactive, and still to be found."


def enable(talk: Talk, person: Person) -> str:
    expect(person.change(talk, {"active": True}), "active", True)
    return "Active again."


def soft_delete(talk: Talk, person: Person) -> str:
    """The object id comes before the name. What the server makes of the name is its own affair."""
    tombstone = person.object_id.replace("-", "") + person.label
    expect(person.change(talk, {"userName": tombstone, "active": False}), "active", False)
    return "Inactive."


def restore(talk: Talk, person: Person) -> str:
    document = person.change(talk, {"userName": person.label, "active": True})
    expect(document, "userName", person.label)
    expect(document, "active", True)
    return "Active again, under its name and its id."


def delete(talk: Talk, person: Person) -> str:
    talk.call("DELETE", f"/Users/{person.id}", None, 204)
    talk.refusal("GET", f"/Users/{person.id}", None, 404)
    return "Gone."


# Groups -------------------------------------------------------------------------------------------------------


def match_group(talk: Talk, group: Group) -> str:
    found = talk.found(wire.group_named(group.label))
    group.id = found["id"] if found else ""
    if found and "members" in found:
        raise Unmet("the group without its members, which were excluded")
    return "There already." if found else "No group has this name yet."


def create_group(talk: Talk, group: Group) -> str:
    if group.id:
        return "Linked to the group that was there."
    external_id = str(uuid.uuid5(uuid.NAMESPACE_URL, group.label))
    group.id = talk.resource("POST", "/Groups", wire.new_group(group.label, external_id), status=201)["id"]
    return f"Created with the id {group.id}."


def read_without_members(talk: Talk, group: Group) -> str:
    document = talk.resource("GET", f"/Groups/{group.id}?excludedAttributes=members")
    expect(document, "displayName", group.label)
    if "members" in document:
        raise Unmet("the group without its members, which were excluded")
    return "The group came without its members."


def rename_group(talk: Talk, group: Group) -> str:
    """And back, so that a play can be repeated."""
    for name in (f"{group.label} Renamed", group.label):
        group.patch(talk, wire.change(group.style, {"displayName": name}))
        if dig(talk.found(wire.group_named(name)), "id") != group.id:
            raise Unmet("the group under its new name")
    return "Found under its other name, then under its own again."


def add_members(talk: Talk, group: Group) -> str:
    people = group.known()
    group.patch(talk, wire.add_members(group.style, [person.id for person in people]))
    return _expect_members(talk, group, people)


def add_again(talk: Talk, group: Group) -> str:
    people = group.known()
    group.patch(talk, wire.add_members(group.style, [person.id for person in people[:1]]))
    return _expect_members(talk, group, people)


def remove_member(talk: Talk, group: Group) -> str:
    """One of them. Servers that read the legacy form by the RFC lost everybody (reported)."""
    people = group.known()
    for person in people[:1]:
        group.patch(talk, wire.remove_member(group.style, person.id))
    return _expect_members(talk, group, people[1:], people[:1])


def _expect_members(talk: Talk, group: Group, people: Sequence[Person], gone: Sequence[Person] = ()) -> str:
    for person in (*people, *gone):
        inside = talk.found(wire.has_member(group.id, person.id)) is not None
        if inside != (person in people):
            raise Unmet(f"{person.label} to be {'a member' if person in people else 'no member any more'}")
    return f"Its members are those that it should have: {len(people)}."


# The play -----------------------------------------------------------------------------------------------------


def _scenes(
    *acts: Callable[[Talk, Any], str], vital: Callable[[Talk, Any], str] | None = None
) -> list[Scene]:
    """Scenes with the names of their functions for titles."""
    return [Scene(act.__name__.replace("_", " "), act, act is vital) for act in acts]


def program(play: Play) -> list[Act]:
    """The acts in their order. `steps` counts them, `play` plays them, so that both always agree."""
    style = play.style or STYLES[0]
    if style not in STYLES:
        raise ValueError(f"Entra has the styles {' and '.join(STYLES)}, not {style}.")
    everybody = [_person(play, style, number) for number in range(1, play.users + 1)]
    for person in everybody:
        person.manager = everybody[0]
    refused = [_person(play, style, play.users + number) for number in range(1, play.refused + 1)]
    names = [f"Group {number} {play.run}".strip() for number in range(1, play.groups + 1)]
    groups = [Group(name, style=style, people=everybody) for name in names]
    leaving = everybody[-1:] if play.keep_active else everybody
    members = (add_members, add_again, remove_member) if everybody else ()
    return [
        Act(
            "Test Connection",
            _scenes(test_users, *([test_groups] if groups else []), wrong_token),
            [Actor()],
        ),
        Act("Provision users", _scenes(look_up, create, read_back, vital=create), everybody),
        Act("Provision users", _scenes(find_in_capitals, create_again), everybody[:1]),
        Act("Update users", _scenes(update, fill, clear, set_manager), everybody),
        Act("Over capacity", _scenes(be_refused), refused),
        Act(
            "Groups",
            _scenes(
                match_group, create_group, read_without_members, rename_group, *members, vital=create_group
            ),
            groups,
        ),
        Act("Disable, delete, restore", _scenes(disable, enable, soft_delete, restore), everybody),
        Act("Leave", _scenes(disable), leaving),
        Act("Leave", _scenes(delete), everybody[-1:]),
    ]


def play(session: Session, play: Play) -> Iterator[Step]:
    """Play all acts, one after the other."""
    for act in program(play):
        yield from act.play(session, play.concurrency)


def steps(play: Play) -> int:
    """How many steps there are when all goes well; fewer are taken where a conversation could not go on."""
    return sum(act.steps for act in program(play))


SIMULATOR = Simulator(styles=STYLES, play=play, steps=steps)


def _person(play: Play, style: str, number: int) -> Person:
    name = f"user{number}.{play.run}" if play.run else f"user{number}"
    return Person(f"{name}@{play.domain}", style=style, family=f"Family{number}")
