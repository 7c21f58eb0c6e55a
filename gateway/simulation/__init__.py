"""The public interface for simulators of identity providers.

A simulator sends to any SCIM server what its identity provider sends, and judges the answers. Its scenario is a list of
phases; each runs the same actions for each target, with a client that records requests and answers:

    def look_up(client, user):
        return "Found." if client.find("Users", "userName", user.label) else "Nobody has this name."

    def phases(options):
        users, _ = make_users(options, SimulatedUser)
        return [Phase("Look up", [Action("look up", look_up)], users)]

    SIMULATOR = build_simulator("Acme", ("plain",), phases)
"""

from gateway.simulation.actions import (
    PutUser,
    change_family_name,
    create_user,
    deactivate_user,
    expect_family_name,
    expect_members,
    expect_refused_creation,
    look_up_user,
    put_user,
    reactivate_user,
)
from gateway.simulation.api import Answer, Session, SimulationOptions, Simulator, Step
from gateway.simulation.client import (
    Client,
    ExpectationError,
    ScimClient,
    expect_equal,
    expect_status,
    filter_equal,
    patch_message,
)
from gateway.simulation.scenario import (
    Action,
    Phase,
    SimulatedGroup,
    SimulatedUser,
    Target,
    build_simulator,
    make_groups,
    make_users,
)

__all__ = [
    "Action",
    "Answer",
    "Client",
    "ExpectationError",
    "Phase",
    "PutUser",
    "ScimClient",
    "Session",
    "SimulatedGroup",
    "SimulatedUser",
    "SimulationOptions",
    "Simulator",
    "Step",
    "Target",
    "build_simulator",
    "change_family_name",
    "create_user",
    "deactivate_user",
    "expect_equal",
    "expect_family_name",
    "expect_members",
    "expect_refused_creation",
    "expect_status",
    "filter_equal",
    "look_up_user",
    "make_groups",
    "make_users",
    "patch_message",
    "put_user",
    "reactivate_user",
]
