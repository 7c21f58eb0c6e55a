"""Okta, played against any SCIM server: its conversations, in their order, in one of its two styles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.simulation import Play, Scene, Session, Simulator, Step
from gateway_okta.simulator import directory, leaving, people, push
from gateway_okta.simulator.directory import Directory
from gateway_okta.simulator.person import Person
from gateway_okta.simulator.push import Group
from gateway_okta.simulator.scenes import Act

#: Apps from Okta's catalogue patch; apps made with its wizard put, and cannot be changed (documented).
OIN = "oin"
AIW = "aiw"

CREDENTIALS = (
    Scene("list two users", directory.check_credentials),
    Scene("refuse a wrong token", directory.wrong_token),
    Scene("answer for an unknown id", directory.unknown_user),
)

ASSIGN = (
    Scene("look up by user name", people.look_up),
    Scene("assign", people.assign, vital=True),
    Scene("read back", people.read_back),
    Scene("update the profile", people.update),
)

ASK_AGAIN = (
    Scene("look up in capitals", people.find_in_capitals),
    Scene("create once more", people.create_again),
    Scene("link the existing user", people.link_again),
    Scene("push empty values", people.push_empty_values),
)

OVER_CAPACITY = (Scene("be refused for want of a seat", people.be_refused),)

NEW_GROUP = (Scene("match by name", push.match), Scene("create", push.create, vital=True))

GROUP_NAMES = {
    OIN: (Scene("repeat the name", push.repeat_name), Scene("rename", push.rename)),
    AIW: (Scene("rename", push.put_another_name),),
}

GROUP_MEMBERS = {
    OIN: (
        Scene("add members", push.add),
        Scene("remove and add members in one message", push.remove_and_add),
        Scene("push an empty group now", push.push_nobody),
        Scene("push all members now", push.push_everybody),
    ),
    AIW: (
        Scene("put all members", push.put_everybody),
        Scene("put all members but the first", push.put_without_the_first),
        Scene("put no members", push.put_nobody),
        Scene("put all members again", push.put_everybody),
    ),
}

MATCH_AGAIN = (Scene("match once more", push.match_again),)

DELETE_GROUP = (*NEW_GROUP, Scene("delete", push.delete))

DEACTIVATE = {
    OIN: Scene("deactivate", leaving.deactivate_by_patch),
    AIW: Scene("deactivate", leaving.deactivate_by_put),
}

REACTIVATE = {
    OIN: Scene("assign again", leaving.reactivate_by_patch),
    AIW: Scene("assign again", leaving.reactivate_by_put),
}

READ_INACTIVE = Scene("read the inactive user", leaving.read_inactive)


def program(play: Play) -> list[Act]:
    """The acts in their order. `steps` counts them, `play` plays them, so that both always agree."""
    style = _style(play)
    everybody = [_person(play, number) for number in range(1, play.users + 1)]
    refused = [_person(play, play.users + number) for number in range(1, play.refused + 1)]
    groups = [_group(play, f"Group {number}", everybody) for number in range(1, play.groups + 1)]
    deleted = [_group(play, "Group to delete", everybody)] if groups else []
    whole = [Directory(people=everybody, groups=groups)]
    return [
        Act("Test API Credentials", CREDENTIALS, whole),
        Act("Assign", ASSIGN, everybody),
        Act("Ask again", ASK_AGAIN, everybody[:1]),
        Act("Over capacity", OVER_CAPACITY, refused),
        Act("Group push", _group_scenes(style, with_members=bool(everybody)), groups),
        Act("Group push", DELETE_GROUP, deleted),
        Act("Deactivate and assign again", (DEACTIVATE[style], READ_INACTIVE, REACTIVATE[style]), everybody),
        Act("Import", _import_scenes(play), whole),
        Act("Unassign", (DEACTIVATE[style], READ_INACTIVE), _unassigned(play, everybody)),
    ]


def play(session: Session, play: Play) -> Iterator[Step]:
    """Play all acts, one after the other. Within an act, as many conversations at a time as `play` says."""
    for act in program(play):
        yield from act.play(session, play.concurrency)


def steps(play: Play) -> int:
    """How many steps there are when all goes well; fewer are taken where a conversation could not go on."""
    return sum(act.steps for act in program(play))


SIMULATOR = Simulator(styles=(OIN, AIW), play=play, steps=steps)


def _style(play: Play) -> str:
    style = play.style or OIN
    if style not in DEACTIVATE:
        raise ValueError(f"Okta has the styles {OIN} and {AIW}, not {style}.")
    return style


def _group_scenes(style: str, *, with_members: bool) -> Sequence[Scene]:
    members = GROUP_MEMBERS[style] if with_members else ()
    return (*NEW_GROUP, *GROUP_NAMES[style], *members, *MATCH_AGAIN)


def _import_scenes(play: Play) -> Sequence[Scene]:
    scenes = (Scene("import users", directory.import_users), Scene("import groups", directory.import_groups))
    return scenes if play.groups else scenes[:1]


def _unassigned(play: Play, everybody: Sequence[Person]) -> Sequence[Person]:
    return everybody[-1:] if play.keep_active else everybody


def _person(play: Play, number: int) -> Person:
    name = f"user{number}.{play.run}" if play.run else f"user{number}"
    return Person(label=f"{name}@{play.domain}", given=f"Given{number}", family=f"Family{number}")


def _group(play: Play, name: str, everybody: Sequence[Person]) -> Group:
    return Group(label=f"{name} {play.run}".strip(), people=everybody)
