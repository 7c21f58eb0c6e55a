"""What Okta does, in phases, in one of its two styles: its apps from the catalogue, and those made with its wizard."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import gateway.simulation
from gateway.simulation import (
    Action,
    SimulatedGroup,
    SimulationOptions,
    build_simulator,
    make_groups,
    make_users,
)
from gateway_okta.simulator import directory, groups, users
from gateway_okta.simulator.client import Client

#: Apps from Okta's catalogue patch; apps made with its wizard put, and cannot be changed (documented).
OIN = "oin"
AIW = "aiw"

Phase = partial(gateway.simulation.Phase, client=Client)

CREDENTIALS = (
    Action("list two users", directory.list_two_users),
    Action("refuse a wrong token", directory.expect_refused_token),
    Action("answer for an unknown id", directory.read_unknown_user),
)

ASSIGN = (
    Action("look up by user name", users.look_up),
    Action("assign", users.assign, required=True),
    Action("read back", users.read_back),
    Action("update the profile", users.update),
)

ASK_AGAIN = (
    Action("look up in capitals", users.find_in_capitals),
    Action("create once more", users.create_again),
    Action("link the existing user", users.link_again),
    Action("push empty values", users.push_empty_values),
)

OVER_CAPACITY = (Action("be refused for want of a seat", users.expect_refused_creation),)

NEW_GROUP = (Action("match by name", groups.expect_no_group), Action("create", groups.create, required=True))

GROUP_NAMES = {
    OIN: (Action("repeat the name", groups.patch_same_name), Action("rename", groups.patch_name)),
    AIW: (Action("rename", groups.put_name),),
}

GROUP_MEMBERS = {
    OIN: (
        Action("add members", groups.patch_add_members),
        Action("remove and add members in one message", groups.patch_remove_and_add),
        Action("push an empty group now", groups.patch_no_members),
        Action("push all members now", groups.patch_all_members),
    ),
    AIW: (
        Action("put all members", groups.put_all_members),
        Action("put all members but the first", groups.put_without_first_member),
        Action("put no members", groups.put_no_members),
        Action("put all members again", groups.put_all_members),
    ),
}

MATCH_AGAIN = (Action("match once more", groups.match_by_name),)

DELETE_GROUP = (*NEW_GROUP, Action("delete", groups.delete))

DEACTIVATE = {
    OIN: Action("deactivate", users.deactivate_by_patch),
    AIW: Action("deactivate", users.deactivate_by_put),
}

REACTIVATE = {
    OIN: Action("assign again", users.reactivate_by_patch),
    AIW: Action("assign again", users.reactivate_by_put),
}

READ_INACTIVE = Action("read the inactive user", users.read_inactive)

IMPORT_USERS = Action("import users", directory.import_users)
IMPORT_GROUPS = Action("import groups", directory.import_groups)


def phases(options: SimulationOptions) -> Sequence[gateway.simulation.Phase]:
    style = options.style
    assigned, refused = make_users(options, users.User)
    pushed = make_groups(options, SimulatedGroup, assigned)
    deleted = [SimulatedGroup(options.group_name("Group to delete"))] if pushed else []
    whole = [directory.Directory(users=assigned, groups=pushed)]
    members = GROUP_MEMBERS[style] if assigned else ()
    leave = (DEACTIVATE[style], READ_INACTIVE)
    return [
        Phase("Test API Credentials", CREDENTIALS, whole),
        Phase("Assign", ASSIGN, assigned),
        Phase("Ask again", ASK_AGAIN, assigned[:1]),
        Phase("Over capacity", OVER_CAPACITY, refused),
        Phase("Group push", (*NEW_GROUP, *GROUP_NAMES[style], *members, *MATCH_AGAIN), pushed),
        Phase("Group push", DELETE_GROUP, deleted),
        Phase("Deactivate and assign again", (*leave, REACTIVATE[style]), assigned),
        Phase("Import", (IMPORT_USERS, IMPORT_GROUPS) if pushed else (IMPORT_USERS,), whole),
        Phase("Unassign", leave, assigned[-1:] if options.keep_active else assigned),
    ]


SIMULATOR = build_simulator("Okta", (OIN, AIW), phases)
